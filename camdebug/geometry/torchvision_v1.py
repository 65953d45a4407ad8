"""torchvision.transforms of the first kind: they leave boxes behind, but what some of them do to places is known."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import nn
from torchvision.transforms import v2

from camdebug.geometry import v2_parts
from camdebug.geometry.described import described, kind_of
from camdebug.geometry.explicit import StepsCarrier, steps_carrier
from camdebug.geometry.steps import CenterCrop, Pad, Resize, Step
from camdebug.geometry.watch import Watch

# What they do, they do in place.
_IN_PLACE = {
    "ToTensor", "PILToTensor", "ToPILImage", "ToImage", "ConvertImageDtype", "ToDtype", "Normalize", "Grayscale", "RGB",
    "GaussianBlur", "GaussianNoise", "JPEG", "ColorJitter", "RandomGrayscale", "RandomInvert", "RandomPosterize",
    "RandomSolarize", "RandomAdjustSharpness", "RandomAutocontrast", "RandomEqualize", "RandomErasing",
    "RandomPhotometricDistort", "RandomChannelPermutation",
}  # fmt: skip


def is_v1(transform: Any) -> bool:  # noqa: ANN401
    """Whether it is a transform, a Compose or a preset of torchvision that is not of v2."""
    if isinstance(transform, nn.Sequential):
        return any(is_v1(part) for part in transform)
    return _module(transform).startswith("torchvision.transforms.") and not isinstance(transform, v2.Transform)


def v1_carrier(transform: Any, *, argument: str) -> StepsCarrier:  # noqa: ANN401
    """Pictures through the transform itself, boxes through what is known of its steps.

    Args:
        transform: of torchvision's first kind.
        argument: that it came by, for messages.

    Raises:
        TypeError: when a step is random in places, or not known; the message has the same in transforms.v2.
    """
    made = steps_carrier(transform, _geometry(transform), random=v2_parts.is_random(transform))
    mean, std = v2_parts.normalisation(transform)
    if _is_preset(transform) and hasattr(transform, "mean"):
        mean, std = tuple(transform.mean), tuple(transform.std)
    return replace(made, argument=argument, text=described(transform), mean=mean, std=std, watch=Watch("transform", ""))


def moves_at_random(transform: Any) -> str | None:  # noqa: ANN401
    """Name of a step that draws where it moves pixels to, so that no geometry could say it; ``None`` without."""
    for leaf in v2_parts.leaves(transform):
        name = type(leaf).__name__
        if _module(leaf).startswith("torchvision.") and v2_parts.is_random(leaf) and name not in _IN_PLACE:
            return name
    return None


def _geometry(transform: Any) -> list[Step]:  # noqa: ANN401
    if _is_preset(transform):
        return _of_preset(transform)
    found: list[Step] = []
    for leaf in v2_parts.leaves(transform):
        step = _of_step(leaf)
        if step is None:
            raise TypeError(_refusal(transform, leaf))
        found.extend(step)
    return found


def _of_preset(preset: Any) -> list[Step]:  # noqa: ANN401
    name = type(preset).__name__
    if name == "ObjectDetection":
        return []
    if name == "ImageClassification":
        return [Resize(_size(preset.resize_size)), CenterCrop(_size(preset.crop_size))]
    if name == "SemanticSegmentation":
        return [Resize(_size(preset.resize_size))] if preset.resize_size != [None] else []
    raise TypeError(f"transform: expected one picture from one, and the preset {name} does not make that of a picture")


def _of_step(step: Any) -> list[Step] | None:  # noqa: ANN401
    name = type(step).__name__
    known = _module(step).startswith("torchvision.")
    if isinstance(step, nn.Identity) or (known and name in _IN_PLACE):
        return []
    if known and name == "Resize":
        return [Resize(_size(step.size), step.max_size)]
    if known and name == "CenterCrop":
        return [CenterCrop(_size(step.size))]
    if known and name == "Pad" and step.padding_mode == "constant":
        return [Pad(step.padding if isinstance(step.padding, int) else tuple(step.padding))]
    return None


def _size(size: Any) -> int | tuple[int, ...]:  # noqa: ANN401
    return size if isinstance(size, int) else tuple(size)


def _refusal(transform: Any, leaf: Any) -> str:  # noqa: ANN401
    twins = [_twin(step) for step in v2_parts.leaves(transform)]
    if None in twins:
        mend = f"write {kind_of(leaf)} as a transforms.v2.Transform and the rest in transforms.v2"
    else:
        mend = f"the same in transforms.v2 is v2.Compose([{', '.join(map(str, twins))}])"
    return (
        f"transform: expected transforms.v2, got torchvision.transforms of the first kind, in which {kind_of(leaf)} "
        f"moves pictures and leaves boxes behind; {mend}; or pass it as image_transform= with geometry=[...], such as "
        "[Resize(256), CenterCrop(224)] of camdebug.geometry"
    )


def _twin(step: Any) -> str | None:  # noqa: ANN401
    name = type(step).__name__
    if name == "ToTensor":
        return "v2.ToImage(), v2.ToDtype(torch.float32, scale=True)"
    if not _module(step).startswith("torchvision.") or not hasattr(v2, name) or name == "Lambda":
        return None
    text = re.sub(r"interpolation=(\w+)", lambda m: f"interpolation=InterpolationMode.{m[1].upper()}", described(step))
    return f"v2.{' '.join(text.split())}"


def _is_preset(transform: Any) -> bool:  # noqa: ANN401
    return _module(transform) == "torchvision.transforms._presets"


def _module(transform: Any) -> str:  # noqa: ANN401
    return type(transform).__module__
