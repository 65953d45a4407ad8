"""What a torchvision.transforms.v2 pipeline is made of: which steps can be followed, are random, or normalise."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from camdebug.geometry.described import kind_of
from camdebug.geometry.v2_exact import exactly

# They change boxes and nothing else: what they do to them says nothing about where the model sees the object.
_OF_BOXES_ALONE = {
    "SanitizeBoundingBoxes",
    "SanitizeKeyPoints",
    "ConvertBoundingBoxFormat",
    "ToPureTensor",
    "SetClampingMode",
}
_AUTOMATIC = ("AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix")
REFUSED = {
    **dict.fromkeys(("CutMix", "MixUp"), "mixes pictures"),
    **dict.fromkeys(("FiveCrop", "TenCrop"), "gives several pictures"),
    **dict.fromkeys(_AUTOMATIC, "moves pictures and no boxes"),
}
# Without a draw of their own when they are sure to be applied.
_FIXED_IF_SURE = {
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "RandomGrayscale",
    "RandomInvert",
    "RandomEqualize",
    "RandomAutocontrast",
    "RandomPosterize",
    "RandomSolarize",
    "RandomAdjustSharpness",
}
# Of others: ToTensor, where the picture is none yet.
_KNOWN_ELSEWHERE = {("timm.data.transforms", "MaybeToTensor")}
_CONTAINERS: tuple[type, ...] = (
    *(v2.Compose, v2.RandomApply, v2.RandomChoice, v2.RandomOrder),
    *(v1.Compose, v1.RandomApply, v1.RandomChoice, v1.RandomOrder),
    nn.Sequential,
)
_RANDOM = {"ElasticTransform", "GaussianNoise", "ScaleJitter", *_AUTOMATIC}


def is_v2(transform: Any) -> bool:  # noqa: ANN401
    """Whether it is a v2 transform, or one of those containers that hold v2 transforms alone."""
    held = held_by(transform)
    if held is not None and not isinstance(transform, v2.Transform):
        return bool(held) and any(is_v2(part) for part in held)
    return isinstance(transform, v2.Transform)


def followable(transform: Any) -> Any:  # noqa: ANN401
    """A copy of the pipeline that moves a pair of picture and target, in float64 and without dropping boxes.

    Raises:
        TypeError: when a step cannot be followed.
    """
    held = held_by(transform)
    if held is None:
        return _step(transform)
    parts, kind = [followable(part) for part in held] or [v2.Identity()], container_of(transform)
    if kind == "RandomApply":
        return v2.RandomApply(parts, p=transform.p)
    if kind == "RandomChoice":
        return v2.RandomChoice(parts, p=transform.p)
    return v2.RandomOrder(parts) if kind == "RandomOrder" else v2.Compose(parts)


def leaves(pipeline: Any) -> list[Any]:  # noqa: ANN401
    """The steps, whatever they are nested in."""
    held = held_by(pipeline)
    return [pipeline] if held is None else [leaf for part in held for leaf in leaves(part)]


def is_opaque(step: Any) -> bool:  # noqa: ANN401
    """Whether only its author knows what it does: a Lambda, or a class that is not torchvision's."""
    if isinstance(step, (v1.Lambda, v2.Lambda)):
        return True
    known = (type(step).__module__, type(step).__name__) in _KNOWN_ELSEWHERE
    return not known and not type(step).__module__.startswith(("torchvision.", "torch.nn."))


def name_of(step: Any) -> str:  # noqa: ANN401
    """Of a step, for a message."""
    inner = getattr(step, "lambd", None)
    return f"Lambda of {kind_of(inner)}" if inner is not None else kind_of(step)


def is_random(pipeline: Any) -> bool:  # noqa: ANN401
    """Whether it draws anything, by what it is made of."""
    held, name = held_by(pipeline), container_of(pipeline)
    if held is None:
        return _draws(pipeline)
    if name in ("RandomChoice", "RandomOrder") and len(held) > 1:
        return True
    sure = getattr(pipeline, "p", 1.0) if name == "RandomApply" else 1.0
    return sure != 0 and (sure != 1 or any(is_random(part) for part in held))


def normalisation(pipeline: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:  # noqa: ANN401
    """Mean and standard deviation for pictures in [0, 1], where one Normalize is sure and its input can be told."""
    steps, every = _sure_steps(pipeline), leaves(pipeline)
    names = [type(step).__name__ for step in steps]
    normalising = [type(leaf).__name__ for leaf in every].count("Normalize")
    if normalising != 1 or "Normalize" not in names or any(is_opaque(leaf) for leaf in every):
        return None, None
    at = names.index("Normalize")
    unit = 1.0 if any(_scales(step) for step in steps[:at]) else 255.0
    mean, std = (tuple(float(value) / unit for value in getattr(steps[at], key)) for key in ("mean", "std"))
    grey = any(getattr(step, "num_output_channels", 3) == 1 for step in steps[:at])
    return (mean, std) if len(mean) > 1 or grey else (None, None)


def container_of(transform: Any) -> str | None:  # noqa: ANN401
    """Which one of torchvision's or torch's containers it is, or is derived from and runs as; ``None`` of a step."""
    own = type(transform)
    for kind in _CONTAINERS:
        if issubclass(own, kind) and all(
            getattr(own, name, None) is getattr(kind, name, None) for name in ("forward", "__call__")
        ):
            return kind.__name__
    return None


def held_by(transform: Any) -> list[Any] | None:  # noqa: ANN401
    """The parts of a container; ``None`` of a single step."""
    kind = container_of(transform)
    if kind is None:
        return None
    return list(transform if kind == "Sequential" else transform.transforms)


def _step(step: Any) -> Any:  # noqa: ANN401
    name = type(step).__name__
    if isinstance(step, nn.Identity) or (name in _OF_BOXES_ALONE and not is_opaque(step)):
        return v2.Identity()
    if not isinstance(step, v2.Transform) and is_opaque(step) and callable(step):
        return _OfPicture(step)
    _check_step(step, name)
    if isinstance(step, v2.RandomErasing) or (isinstance(step, v2.Lambda) and object in step.types):
        return _OfPicture(step)
    step = exactly(step)
    if isinstance(step, v2.ToDtype) and isinstance(step.dtype, dict):
        step = copy(step)
        step.dtype = {**step.dtype, tv_tensors.BoundingBoxes: None, tv_tensors.Mask: None}
    return step


def _check_step(step: Any, name: str) -> None:  # noqa: ANN401
    if name in REFUSED:
        raise TypeError(f"transform: expected a picture with its boxes, but {name} {REFUSED[name]}; leave it out")
    if isinstance(step, v2.Transform):
        _check_border(step, name)
        _check_own(step, name)
        return
    twin = getattr(v2, name, None) if type(step).__module__.startswith("torchvision.") else None
    mend = f"use transforms.v2.{name}" if twin is not None else "write it as a transforms.v2.Transform"
    if name == "ToTensor":
        mend = "use transforms.v2.ToImage() and transforms.v2.ToDtype(torch.float32, scale=True)"
    raise TypeError(
        f"transform: expected steps of transforms.v2, got {kind_of(step)} of {_home(step)} among them: it moves "
        f"pictures and leaves boxes behind; {mend}, or use image_transform= and geometry=[...] instead"
    )


def _check_border(step: Any, name: str) -> None:  # noqa: ANN401
    mode = getattr(step, "padding_mode", "constant")
    pads = (
        isinstance(step, v2.Pad) or getattr(step, "padding", None) is not None or getattr(step, "pad_if_needed", False)
    )
    if not pads or mode == "constant" or (mode == "edge" and type(step) is v2.Pad):
        return
    shown = "shows an object once more in the border" if mode in ("reflect", "symmetric") else "moves no boxes"
    raise ValueError(
        f"transform: expected a border that is of no object, but {name} with padding_mode={mode!r} {shown}; use "
        "padding_mode='constant'"
    )


def _check_own(step: Any, name: str) -> None:  # noqa: ANN401
    own = type(step)
    if own.transform is v2.Transform.transform and own.forward is v2.Transform.forward and hasattr(own, "_transform"):
        raise TypeError(
            f"transform: expected {name} to have transform(self, inpt, params), got _transform, which this torchvision "
            "never calls; rename it, and _get_params to make_params"
        )


def _home(step: Any) -> str:  # noqa: ANN401
    module = str(getattr(step, "__module__", "an unknown module"))
    return "torchvision.transforms, the first kind" if module.startswith("torchvision.") else module


class _OfPicture(nn.Module):
    """A step that is meant for the picture, and would fail, or do what nobody meant, with the boxes."""

    def __init__(self, step: Callable[[Any], Any]) -> None:
        super().__init__()
        self.step = step

    def forward(self, sample: tuple[Any, Any]) -> tuple[Any, Any]:
        picture, target = sample
        return self.step(picture), target


def _draws(step: Any) -> bool:  # noqa: ANN401
    name = _known_name(step)
    sure = getattr(step, "p", None)
    if sure == 0 and name.startswith("Random"):
        return False
    if name in _FIXED_IF_SURE:
        return bool(sure != 1)
    if name == "ColorJitter":
        return any(_wide(getattr(step, key)) for key in ("brightness", "contrast", "saturation", "hue"))
    if name == "GaussianBlur":
        return _wide(step.sigma)
    if name == "JPEG":
        return _wide(step.quality)
    if name == "RandomRotation":
        return _wide(step.degrees)
    return name.startswith("Random") or name in _RANDOM


def _known_name(step: Any) -> str:  # noqa: ANN401
    """Of torchvision's class that it is, or is derived from."""
    known = [cls.__name__ for cls in type(step).__mro__ if cls.__module__.startswith("torchvision.")]
    return known[0] if known and not known[0].startswith("_") and known[0] != "Transform" else type(step).__name__


def _wide(bounds: Any) -> bool:  # noqa: ANN401
    return bounds is not None and min(bounds) != max(bounds)


def _sure_steps(pipeline: Any) -> list[Any]:  # noqa: ANN401
    """The steps that every picture goes through, in order."""
    held = held_by(pipeline)
    if held is None:
        return [pipeline]
    name = container_of(pipeline)
    sure = name in ("Compose", "Sequential") or (pipeline.p == 1 if name == "RandomApply" else len(held) == 1)
    return [step for part in held for step in _sure_steps(part)] if sure else []


def _scales(step: Any) -> bool:  # noqa: ANN401
    known = type(step).__name__ in ("ToTensor", "MaybeToTensor", "ConvertImageDtype")
    return known or bool(getattr(step, "scale", None) is True)
