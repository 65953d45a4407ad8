"""What may enter a probe set: one clear error for a wrong argument, a named fault for a bad picture or box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# What a crop makes of an object that it leaves out; other faults are mistakes of the annotation.
NOT_IN_PICTURE = ("box of no area", "box outside the picture")

LEAST_PROBES = 20
"""Of a class; with fewer that can be used nothing is said about it."""

_MOST_UNNAMED_CLASSES = 100_000

_SWAPPED = "they all fit with x and y swapped; expected x1, y1, x2, y2, x along the width"
_UNSCALED = (
    "they seem to belong to the pictures before resizing. Transform boxes with the pictures (transforms.v2 and "
    "tv_tensors.BoundingBoxes)"
)


def plain(tensor: Tensor) -> Tensor:
    """The same values without a graph and without a subclass (``tv_tensors.Image``)."""
    return tensor.detach().as_subclass(Tensor)


def check_images(images: object) -> Tensor:
    """Return ``images`` as a ``(N, C, H, W)`` floating tensor, or raise. A sequence of ``(C, H, W)`` is stacked."""
    if isinstance(images, np.ndarray):
        images = _from_numpy(images)
    elif isinstance(images, Sequence) and not isinstance(images, str):
        images = _stack(images)
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected a tensor (N, C, H, W), got {type(images).__name__}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images: expected a shape (N, C, H, W) with no zero, got {tuple(images.shape)}")
    check_floating("images", images)
    return plain(images)


def check_floating(name: str, images: Tensor) -> None:
    """Raise for integer pictures: no model receives them as they are."""
    if not images.is_floating_point():
        raise TypeError(
            f"{name}: expected floating pictures as the model receives them, got {images.dtype}; "
            "scale and normalise them first, for example with transforms.v2.ToDtype(torch.float32, scale=True)"
        )


def _stack(values: Sequence[object]) -> Tensor:
    pictures: list[Tensor] = []
    for number, value in enumerate(values):
        picture = _from_numpy(value) if isinstance(value, np.ndarray) else value
        if not isinstance(picture, Tensor):
            raise TypeError(
                f"images: expected tensors (C, H, W), got {type(value).__name__} at picture {number}; "
                "transforms.v2.ToImage() and transforms.v2.ToDtype(torch.float32, scale=True) make them"
            )
        pictures.append(picture)
        for what in ("shape", "dtype"):
            if getattr(picture, what) != getattr(pictures[0], what):
                raise ValueError(
                    f"images: expected pictures of one size and type, but picture 0 is {_describe(pictures[0])} and "
                    f"picture {number} is {_describe(picture)}; add a Resize or a crop to the transforms.v2"
                )
    if not pictures:
        raise ValueError("images: expected at least one picture, got none")
    return torch.stack(pictures)


def _describe(picture: Tensor) -> str:
    return f"{tuple(picture.shape)} {picture.dtype}"


def _from_numpy(array: NDArray[Any]) -> Tensor:
    # torch warns about read-only arrays and refuses negative strides
    readable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if readable else array.copy())


def check_labels(labels: object, count: int, classes: int | None) -> Tensor:
    """Return ``labels`` as ``(N,)`` int64 within the classes, or raise naming the first that is not."""
    try:
        values = plain(torch.as_tensor(np.array(labels) if isinstance(labels, np.ndarray) else labels)).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"labels: expected class indices (integers), got {labels!r:.80}") from error
    if values.shape != (count,):
        raise ValueError(f"labels: expected one for each of the {count} images, got shape {tuple(values.shape)}")
    if values.is_floating_point() or values.is_complex() or values.dtype is torch.bool:
        raise TypeError(f"labels: expected class indices (integers), got {values.dtype}")
    values = values.to(torch.int64)
    wrong = ((values < 0) | (values >= (classes or _MOST_UNNAMED_CLASSES))).nonzero().flatten()
    if len(wrong):
        expected = f"0 to {classes - 1}" if classes else f"0 to {_MOST_UNNAMED_CLASSES - 1} (without class_names)"
        first = int(wrong[0])
        raise ValueError(
            f"labels: expected {expected}, got {int(values[first])} at picture {first}"
            + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        )
    return values


def check_names(name: str, values: object) -> tuple[str, ...]:
    """Return class names as a tuple of different strings, or raise."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"{name}: expected a sequence of strings, one for each class, got {values!r:.80}")
    if not values:
        raise ValueError(f"{name}: expected at least one name, got none")
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{name}: expected different names, got {', '.join(repeated[:5])} more than once")
    return tuple(values)


def check_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the mean and std of the normalisation as tuples, one value a channel, or raise."""
    if (mean is None) != (std is None):
        raise ValueError("mean, std: expected both or neither")
    if mean is None or std is None:
        return None, None
    checked = []
    for name, values in (("mean", mean), ("std", std)):
        numbers = tuple(np.asarray(values, dtype=np.float64).reshape(-1).tolist())
        if len(numbers) != channels or not all(isfinite(v) for v in numbers):
            raise ValueError(f"{name}: expected {channels} finite values, one a channel, got {values}")
        checked.append(numbers)
    if min(checked[1]) <= 0:
        raise ValueError(f"std: expected values above 0, got {list(checked[1])}")
    return checked[0], checked[1]


def check_boxes(name: str, boxes: object, count: int) -> list[Tensor]:
    """Return ``boxes`` as one ``(k, 4)`` float64 tensor a picture, or raise. ``(N, 4)`` is one box each."""
    _refuse_tv_boxes(name, boxes)
    if isinstance(boxes, (Tensor, np.ndarray)):
        if boxes.ndim == 2:
            boxes = boxes[:, None]
        if boxes.ndim != 3 or boxes.shape[2] != 4:
            raise ValueError(f"{name}: expected (N, 4) or (N, k, 4), got {tuple(boxes.shape)}")
        boxes = list(boxes)
    if not isinstance(boxes, Sequence) or isinstance(boxes, str):
        raise TypeError(f"{name}: expected a tensor or a sequence of (k, 4) boxes, got {type(boxes).__name__}")
    if len(boxes) != count:
        raise ValueError(f"{name}: expected boxes for each of the {count} images, got {len(boxes)}")
    return [_as_boxes(name, number, value) for number, value in enumerate(boxes)]


def check_masks(name: str, masks: object, count: int, image_size: tuple[int, int]) -> Tensor | None:
    """Return ``masks`` as ``(N, H, W)`` bool in memory of their own, or raise; ``None`` without."""
    if masks is None:
        return None
    if isinstance(masks, np.ndarray):
        masks = _from_numpy(masks)
    elif isinstance(masks, Sequence) and masks and all(isinstance(mask, Tensor) for mask in masks):
        masks = torch.stack([plain(mask) for mask in masks]) if len({mask.shape for mask in masks}) == 1 else masks
    if not isinstance(masks, Tensor) or tuple(masks.shape) != (count, *image_size):
        got = tuple(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        raise ValueError(f"{name}: expected ({count}, {image_size[0]}, {image_size[1]}), one a picture, got {got}")
    values = plain(masks).cpu()
    if values.dtype is not torch.bool and not bool(((values == 0) | (values == 1)).all()):
        raise ValueError(f"{name}: expected bool, or 0 and 1 alone; compare a map of labels with the label first")
    return values.to(torch.bool, copy=True)


def _refuse_tv_boxes(name: str, boxes: object) -> None:
    if hasattr(boxes, "canvas_size"):
        raise TypeError(
            f"{name}: got tv_tensors.BoundingBoxes; pass plain xyxy pixels here, or let ProbeSet.from_dataset "
            "convert them"
        )


def _as_boxes(name: str, number: int, value: Any) -> Tensor:  # noqa: ANN401 - whatever a user calls a box
    _refuse_tv_boxes(name, value)
    try:
        if not isinstance(value, Tensor):
            value = torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected (k, 4) xyxy for picture {number}, got {value!r:.80}") from error
    tensor: Tensor = value.detach().to("cpu", torch.float64, copy=True)
    if tensor.numel() == 0:
        return tensor.reshape(0, 4)
    if tensor.ndim == 1:
        tensor = tensor[None]
    if tensor.ndim != 2 or tensor.shape[1] != 4:
        raise ValueError(f"{name}: expected (k, 4) xyxy for picture {number}, got {tuple(tensor.shape)}")
    return tensor


def check_not_normalised(name: str, boxes: Sequence[Tensor], image_size: tuple[int, int]) -> None:
    """Raise when all boxes together can only be 0-1 coordinates."""
    every = _with_area(boxes)
    height, width = image_size
    if len(every) and min(image_size) > 2 and float(every.max()) <= 1.0:
        raise ValueError(
            f"{name}: all coordinates lie in 0 to 1; expected xyxy in pixels of the {height}x{width} picture "
            "(multiply x by its width and y by its height)"
        )


def check_order(name: str, boxes: Sequence[Tensor]) -> None:
    """Raise when most boxes end before they begin: they are of another format."""
    every = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *boxes])
    inverted = int(((every[:, 2] < every[:, 0]) | (every[:, 3] < every[:, 1])).sum())
    if 2 * inverted > len(every):
        raise ValueError(
            f"{name}: {inverted} of {len(every)} end before they begin; expected x1, y1, x2, y2 in pixels, these look "
            "like x, y, width, height (torchvision.ops.box_convert converts them)"
        )


def check_within(name: str, boxes: Sequence[Tensor], image_size: tuple[int, int]) -> None:
    """Raise when most boxes reach beyond the picture: they are another picture's, as a rule the one before resizing."""
    every = _with_area(boxes)
    height, width = image_size
    beyond = (every > torch.tensor([width, height, width, height]) + 1).any(1)
    if 2 * int(beyond.sum()) > len(every):
        swapped = not bool((every > torch.tensor([height, width, height, width]) + 1).any())
        mend = _SWAPPED if swapped else _UNSCALED
        raise ValueError(
            f"{name}: {int(beyond.sum())} of {len(every)} boxes reach beyond the {height}x{width} picture (largest x "
            f"{float(every[:, 2].max()):.0f}, largest y {float(every[:, 3].max()):.0f}); {mend}"
        )


def _with_area(boxes: Sequence[Tensor]) -> Tensor:
    # A crop leaves boxes of no area at its edge, which would pass for 0-1 coordinates.
    every = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *boxes])
    return every[every.isfinite().all(1) & (every[:, 2] > every[:, 0]) & (every[:, 3] > every[:, 1])]


def clean_boxes(boxes: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Clip ``(k, 4)`` xyxy boxes to the picture and drop those that cannot be used.

    Returns:
        The boxes kept, and a fault for each box that was not.
    """
    height, width = image_size
    kept, faults = [], []
    for box in boxes.tolist():
        fault = _fault(box, image_size)
        if fault:
            faults.append(fault)
        else:
            kept.append([min(max(v, 0.0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)])
    return torch.tensor(kept, dtype=torch.float64).reshape(-1, 4), faults


def in_picture(boxes: Tensor, image_size: tuple[int, int]) -> list[bool]:
    """For each ``(k, 4)`` box, whether any of its object is left in the picture."""
    return [_fault(box, image_size) not in NOT_IN_PICTURE for box in boxes.tolist()]


def _fault(box: Sequence[float], image_size: tuple[int, int]) -> str | None:
    x0, y0, x1, y1 = box
    if not all(isfinite(v) for v in box):
        return "box not finite"
    if x1 < x0 or y1 < y0:
        return "box inverted"
    if x1 == x0 or y1 == y0:
        return "box of no area"
    if x1 <= 0 or y1 <= 0 or x0 >= image_size[1] or y0 >= image_size[0]:
        return "box outside the picture"
    return None


def unfit(picture: Tensor, usable_boxes: Tensor, faults: Sequence[str], *, annotated: bool) -> str | None:
    """Why a picture cannot be a probe, or ``None`` when it can."""
    if not bool(picture.isfinite().all()):
        return "picture not finite"
    if annotated and len(usable_boxes) == 0:
        return faults[0] if faults else "no box"
    return None


def name_a_few(names: Sequence[str]) -> str:
    """The first five names, and dots when there are more."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
