"""torchvision.transforms of the first kind: they leave boxes behind, but what some of them do to places is known."""

from __future__ import annotations

import ast
from dataclasses import replace
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from camdebug.geometry import v2_parts
from camdebug.geometry.described import described, kind_of
from camdebug.geometry.explicit import StepsCarrier, steps_carrier
from camdebug.geometry.steps import CenterCrop, Pad, Resize, Step
from camdebug.geometry.watch import Watch

_SAY = "pass it as image_transform= with geometry=[...], such as [Resize(256), CenterCrop(224)] of camdebug.geometry"
# What they do, they do in place.
_IN_PLACE = {
    "ToTensor", "MaybeToTensor",
    "PILToTensor", "ToPILImage", "ToImage", "ConvertImageDtype", "ToDtype", "Normalize", "Grayscale", "RGB",
    "GaussianBlur", "GaussianNoise", "JPEG", "ColorJitter", "RandomGrayscale", "RandomInvert", "RandomPosterize",
    "RandomSolarize", "RandomAdjustSharpness", "RandomAutocontrast", "RandomEqualize", "RandomErasing",
    "RandomPhotometricDistort", "RandomChannelPermutation",
}  # fmt: skip


def is_v1(transform: Any) -> bool:  # noqa: ANN401
    """Whether it is a transform, a Compose or a preset of torchvision that is not of v2."""
    if isinstance(transform, nn.Sequential):
        return any(is_v1(part) for part in transform)
    if isinstance(transform, v2.Transform):
        return False
    return _module(transform).startswith("torchvision.transforms.") or v2_parts.container_of(transform) is not None


def v1_carrier(transform: Any, *, argument: str) -> StepsCarrier:  # noqa: ANN401
    """Pictures through the transform itself, boxes through what is known of its steps.

    Steps that are not torchvision's are taken to move nothing, and watched.

    Args:
        transform: of torchvision's first kind.
        argument: that it came by, for messages.

    Raises:
        TypeError: when a step is random in places, or moves them as no geometry says; the message has the same in
            transforms.v2.
    """
    random = v2_parts.is_random(transform)
    made = steps_carrier(transform, _geometry(transform, argument), random=random)
    mean, std = v2_parts.normalisation(transform)
    if _is_preset(transform) and hasattr(transform, "mean"):
        mean, std = tuple(transform.mean), tuple(transform.std)
    opaque = " or ".join(v2_parts.name_of(leaf) for leaf in v2_parts.leaves(transform) if v2_parts.is_opaque(leaf))
    said = f"its steps without {opaque}" if opaque else "its steps"
    watch = Watch(argument, opaque)
    return replace(
        made, argument=argument, text=described(transform), mean=mean, std=std, watch=watch, said=said, mend=_SAY
    )


def moves_at_random(transform: Any) -> str | None:  # noqa: ANN401
    """Name of a step that draws where it moves pixels to, so that no geometry could say it; ``None`` without."""
    held, kind = v2_parts.held_by(transform), v2_parts.container_of(transform)
    if held is None:
        known = _module(transform).startswith("torchvision.") and type(transform).__name__ not in _IN_PLACE
        return type(transform).__name__ if known and v2_parts.is_random(transform) else None
    moving = next((name for part in held if (name := moves_at_random(part)) is not None), None)
    if moving is not None or kind in ("Compose", "Sequential") or not _is_drawn(transform):
        return moving
    return next((f"{kind} of {type(leaf).__name__}" for leaf in v2_parts.leaves(transform) if _of_step(leaf)), None)


def _is_drawn(container: Any) -> bool:  # noqa: ANN401
    """Whether its steps are not the same for every picture."""
    if v2_parts.container_of(container) == "RandomApply":
        return bool(0 < container.p < 1)
    return len(container.transforms) > 1


def _geometry(transform: Any, argument: str) -> list[Step]:  # noqa: ANN401
    if _is_preset(transform):
        return _of_preset(transform, argument)
    found: list[Step] = []
    drawn = moves_at_random(transform)
    for leaf in _taken(transform):
        step = _of_step(leaf)
        if step is None:
            raise TypeError(_refusal(transform, kind_of(leaf), argument))
        found.extend(step)
    if drawn is not None:
        raise TypeError(_refusal(transform, drawn, argument))
    return found


def _taken(transform: Any) -> list[Any]:  # noqa: ANN401
    """The steps but those that are never taken."""
    held = v2_parts.held_by(transform)
    if held is None:
        return [transform]
    never = v2_parts.container_of(transform) == "RandomApply" and transform.p == 0
    return [] if never else [leaf for part in held for leaf in _taken(part)]


def _of_preset(preset: Any, argument: str) -> list[Step]:  # noqa: ANN401
    name = type(preset).__name__
    if name == "ObjectDetection":
        return []
    if name == "ImageClassification":
        return [Resize(_size(preset.resize_size)), CenterCrop(_size(preset.crop_size))]
    if name == "SemanticSegmentation":
        return [Resize(_size(preset.resize_size))] if preset.resize_size != [None] else []
    raise TypeError(f"{argument}: expected one picture from one, and the preset {name} does not make that of a picture")


def _of_step(step: Any) -> list[Step] | None:  # noqa: ANN401
    name = type(step).__name__
    known = _module(step).startswith("torchvision.") or name == "MaybeToTensor"
    if isinstance(step, nn.Identity) or v2_parts.is_opaque(step) or (known and name in _IN_PLACE):
        return []
    if known and name == "Resize":
        return [Resize(_size(step.size), step.max_size)]
    if known and name == "CenterCrop":
        return [CenterCrop(_size(step.size))]
    if known and name == "Pad" and step.padding_mode in ("constant", "edge"):
        return [Pad(step.padding if isinstance(step.padding, int) else tuple(step.padding))]
    return None


def _size(size: Any) -> int | tuple[int, ...]:  # noqa: ANN401
    return size if isinstance(size, int) else tuple(size)


def _refusal(transform: Any, moving: str, argument: str) -> str:  # noqa: ANN401
    several = [name for leaf in v2_parts.leaves(transform) if (name := type(leaf).__name__) in v2_parts.REFUSED]
    twin = _twin(transform)
    if several:
        mend = f"leave {' and '.join(several)} out, for it {v2_parts.REFUSED[several[0]]}"
    elif twin is None:
        unknown = [kind_of(leaf) for leaf in v2_parts.leaves(transform) if _twin_of_step(leaf) is None]
        mend = f"write {' and '.join(unknown)} as a transforms.v2.Transform and the rest in transforms.v2"
    else:
        whole = twin if twin.startswith("v2.Compose(") else f"v2.Compose([{twin}])"
        mend = f"the same in transforms.v2, to be passed as transform=, is {whole}"
    return (
        f"{argument}: expected transforms.v2, got torchvision.transforms of the first kind, in which {moving} moves "
        f"pictures and leaves boxes behind; {mend}"
    )


def _twin(transform: Any) -> str | None:  # noqa: ANN401
    """The same in transforms.v2, as Python; ``None`` where that is not known."""
    held, kind = v2_parts.held_by(transform), v2_parts.container_of(transform)
    if held is None:
        return _twin_of_step(transform)
    twins = [_twin(part) for part in held]
    if None in twins:
        return None
    chance = f", p={transform.p}" if kind in ("RandomApply", "RandomChoice") else ""
    return f"v2.{'Compose' if kind == 'Sequential' else kind}([{', '.join(map(str, twins))}]{chance})"


def _twin_of_step(step: Any) -> str | None:  # noqa: ANN401
    name = type(step).__name__
    if name in ("ToTensor", "MaybeToTensor"):
        return "v2.ToImage(), v2.ToDtype(torch.float32, scale=True)"
    if not _module(step).startswith("torchvision.") or not hasattr(v2, name) or name == "Lambda":
        return None
    given = signature(type(step)).parameters
    if not all(hasattr(step, key) for key in given):
        return None
    # Not by its repr, which leaves out some of them, as RandomCrop's padding_mode.
    said = ((key, _written(getattr(step, key))) for key in given if key != "inplace")
    text = f"{name}({', '.join(f'{key}={value}' for key, value in said if value != repr(given[key].default))})"
    return f"v2.{text}" if _is_python(text) else None


def _written(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, InterpolationMode):
        return str(value)
    return repr(value.tolist() if isinstance(value, Tensor) else value)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def _is_preset(transform: Any) -> bool:  # noqa: ANN401
    return _module(transform) == "torchvision.transforms._presets"


def _module(transform: Any) -> str:  # noqa: ANN401
    return type(transform).__module__
