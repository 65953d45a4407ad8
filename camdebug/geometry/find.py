"""Which carrier serves for what the user has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from camdebug.geometry.carrier import Carrier
from camdebug.geometry.described import kind_of
from camdebug.geometry.steps import Step

_SAY = "image_transform=that and geometry=[...], such as [Resize(256), CenterCrop(224)] of camdebug.geometry"


def carrier_of(
    transform: Any,  # noqa: ANN401 - of any library
    *,
    image_transform: Callable[[Any], Any] | None = None,
    geometry: Sequence[Step] | None = None,
) -> Carrier:
    """Find what moves pictures and their annotations together.

    Args:
        transform: of torchvision.transforms.v2 or albumentations, single or composed. Of torchvision.transforms of the
            first kind those that only resize, crop to the centre, pad and recolour, such as ``weights.transforms()``;
            steps that are nobody's known ones are taken to move nothing, and are watched.
        image_transform: in place of ``transform``: anything that makes the model's input of a Pillow picture. Where it
            moves pixels to is said by ``geometry``.
        geometry: steps of :mod:`camdebug.geometry`; an empty list for a picture that keeps its size. Without an
            ``image_transform`` they move the picture too, and it is scaled to [0, 1]. Nothing at all is that alone.

    Raises:
        TypeError, ValueError: when boxes could not follow; the message says why, and what to do.
    """
    if transform is not None:
        if image_transform is not None or geometry is not None:
            raise TypeError(
                "transform: expected either transform=, or image_transform= with geometry=[...], got both; a transform "
                "of transforms.v2 or albumentations carries boxes by itself"
            )
        return _self_carrying(transform)
    if image_transform is not None and geometry is None:
        return _of_known_places(image_transform)
    return _by_steps(image_transform, geometry)


def _self_carrying(transform: Any) -> Carrier:  # noqa: ANN401
    from camdebug.geometry.albumentations import albumentations_carrier, is_albumentations

    if is_albumentations(transform):
        return albumentations_carrier(transform)

    from camdebug.geometry.torchvision_v1 import is_v1, v1_carrier
    from camdebug.geometry.torchvision_v2 import v2_carrier
    from camdebug.geometry.v2_parts import is_v2

    if is_v2(transform):
        return v2_carrier(transform)
    if is_v1(transform):
        return v1_carrier(transform, argument="transform")
    raise TypeError(
        f"transform: expected torchvision.transforms.v2 or an albumentations Compose, got {kind_of(transform)}: where "
        "it moves pixels to cannot be seen, so boxes could not follow. Compose it of transforms.v2, or of "
        f"albumentations, or pass {_SAY}"
    )


def _of_known_places(image_transform: Any) -> Carrier:  # noqa: ANN401
    from camdebug.geometry.torchvision_v1 import is_v1, v1_carrier

    _check_not_albumentations(image_transform)
    if is_v1(image_transform):
        return v1_carrier(image_transform, argument="image_transform")

    from camdebug.geometry.v2_parts import is_v2

    if is_v2(image_transform):
        raise TypeError(
            "image_transform: expected geometry=[...] beside it, got torchvision.transforms.v2 alone, which moves "
            "boxes by itself: pass it as transform="
        )
    raise TypeError(
        f"image_transform: expected geometry=[...] beside it, for where {kind_of(image_transform)} moves pixels to "
        "cannot be seen: such as [Resize(256), CenterCrop(224)] of camdebug.geometry, or [] if the size stays"
    )


def _check_not_albumentations(image_transform: Any) -> None:  # noqa: ANN401
    from camdebug.geometry.albumentations import is_albumentations

    if is_albumentations(image_transform):
        raise TypeError(
            "image_transform: expected a function of a picture, got albumentations, which moves boxes by itself: pass "
            "it as transform="
        )


def _by_steps(image_transform: Any, geometry: Sequence[Step] | None) -> Carrier:  # noqa: ANN401
    from camdebug.geometry.explicit import steps_carrier

    if image_transform is None:
        return steps_carrier(None, geometry or ())
    if not callable(image_transform):
        raise TypeError(f"image_transform: expected a function of a picture, got {kind_of(image_transform)}")

    _check_not_albumentations(image_transform)

    from camdebug.geometry.torchvision_v1 import moves_at_random
    from camdebug.geometry.v2_parts import is_random

    drawn = moves_at_random(image_transform)
    if drawn is not None:
        raise TypeError(
            f"image_transform: expected one that moves all pictures alike, got one with {drawn}, of which no geometry "
            "can say where it moves them to; leave it out, or pass it as transform= in transforms.v2"
        )
    return steps_carrier(image_transform, geometry or (), random=is_random(image_transform))
