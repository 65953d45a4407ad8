"""Which carrier serves for what the user has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from camdebug.geometry.carrier import Carrier
from camdebug.geometry.described import kind_of


def carrier_of(
    transform: Any,  # noqa: ANN401
    *,
    image_transform: Callable[[Any], Any] | None = None,
    geometry: Sequence[Any] | None = None,
) -> Carrier:
    """Find what moves pictures and annotations together.

    Args:
        transform: torchvision.transforms.v2.
        image_transform: anything that makes the model's input of a Pillow picture; where it moves pixels is said by
            ``geometry``.
        geometry: steps.

    Raises:
        TypeError: when boxes cannot follow; the message says why and what to do.
    """
    from camdebug.geometry.torchvision_v2 import v2_carrier
    from camdebug.geometry.v2_parts import is_v2

    if is_v2(transform):
        return v2_carrier(transform)
    raise TypeError(f"transform: expected transforms.v2, got {kind_of(transform)}")
