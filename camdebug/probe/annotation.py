"""The objects of one picture, as a dataset's target has them: boxes, masks, or a map of class ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import index as whole
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import in_picture, plain
from camdebug.sources.entry import Kind

_OTHER_KEYS = {"boxes": ("bbox", "bboxes", "box"), "masks": ("mask", "segmentation", "segmentations")}
_HINTS = {
    "boxes": "x1, y1, x2, y2 in pixels (COCO's are x, y, width, height: torchvision.ops.box_convert converts them)",
    "masks": "(k, height, width), one for each of the labels",
}
_VOID, _BACKGROUND = 255, 0


class Skip(Exception):  # noqa: N818 - not an error: a picture that cannot serve, with the reason
    """The picture is to be left out; the message is the reason."""


class Unreadable(Skip):
    """The dataset raised."""


class NoBoxes(Skip):
    """The target has neither boxes nor masks, or not those that are asked for."""


@dataclass(frozen=True, eq=False)
class Objects:
    """What is annotated in a picture.

    Attributes:
        kind: of all objects.
        boxes: ``(k, 4)`` float64 xyxy; ``(0, 4)`` with masks.
        masks: ``(k, H, W)`` bool; ``(0, H, W)`` with boxes.
        labels: ``k`` annotation labels; ``None`` when the target has none.
        visible: ``k`` times whether any of the object is left in the picture.
        crowd: ``k`` times whether it is to be ignored whatever its label.
        void: ``(H, W)`` bool, pixels that belong to no object and are no background either.
        rounded: whether boxes came as ``BoundingBoxes`` of whole numbers, which a transform that scales them rounds.
    """

    kind: Kind
    boxes: Tensor
    masks: Tensor
    labels: list[int] | None
    visible: list[bool]
    crowd: list[bool]
    void: Tensor
    rounded: bool = False

    def __len__(self) -> int:
        return len(self.visible)

    def only(self, kept: list[int]) -> Objects:
        """Some of them."""
        return replace(
            self,
            boxes=self.boxes[kept] if self.kind == "boxes" else self.boxes,
            masks=self.masks[kept] if self.kind == "masks" else self.masks,
            labels=None if self.labels is None else [self.labels[i] for i in kept],
            visible=[self.visible[i] for i in kept],
            crowd=[self.crowd[i] for i in kept],
        )


def objects_of(target: Mapping[str, Any], kind: Kind | None, picture: tuple[int, int], where: str) -> Objects:
    """The objects of a target dict: ``boxes`` or ``masks``, ``labels``, and maybe ``iscrowd`` and ``ignore_masks``.

    Args:
        target: of one picture.
        kind: which of the two; ``None`` for boxes, and for masks where there are no boxes.
        picture: height and width of the picture as the transform left it.
        where: for messages.

    Raises:
        NoBoxes: the target has none of the kind.
        TypeError, ValueError: they are not of the kind that can be read, or did not follow the picture.
    """
    kind = kind or ("masks" if "masks" in target and "boxes" not in target else "boxes")
    if kind not in target:
        raise NoBoxes(_without(kind, target))
    boxes, masks = torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, *picture, dtype=torch.bool)
    if kind == "boxes":
        boxes = _xyxy(target["boxes"], picture, where)
        visible = in_picture(boxes, picture)
    else:
        masks = _masks("masks", target["masks"], picture, where)
        visible = masks.flatten(1).any(1).tolist()
    labels = _labels(target["labels"], len(visible), kind, where) if "labels" in target else None
    void = _masks("ignore_masks", target["ignore_masks"], picture, where) if "ignore_masks" in target else masks[:0]
    crowd = _crowd(target.get("iscrowd"), len(visible))
    rounded = kind == "boxes" and hasattr(target["boxes"], "canvas_size") and not target["boxes"].is_floating_point()
    return Objects(kind, boxes, masks, labels, visible, crowd, void.any(0), rounded)


def objects_on_map(
    target: Tensor, label_map: Mapping[int, int] | None, stuff: frozenset[int], picture: tuple[int, int], where: str
) -> Objects:
    """The objects of a map of class ids: one mask for each id that occurs.

    Args:
        target: ``(H, W)`` or ``(1, H, W)`` of whole numbers.
        label_map: annotation label to class index. Other ids are ignored regions, but for those of the background.
        stuff: ids that are background; when empty, 0 is. 255 is neither object nor background.
        picture: height and width of the picture.
        where: for messages.

    Raises:
        ValueError: without a ``label_map``, which alone tells objects from background, or when the map did not follow.
    """
    if label_map is None:
        raise ValueError(
            f"label_map: expected {{id: class index}} for the map of class ids of {where}, got None; it does not say "
            "by itself which ids are objects. 0 is background then, 255 and ids that are left out are ignored"
        )
    found = plain(target).to("cpu", torch.int64)
    found = found[0] if found.ndim == 3 else found
    _check_followed("map of class ids", tuple(found.shape), picture, where)
    background = stuff or {_BACKGROUND}
    ids = [int(value) for value in torch.unique(found) if int(value) in label_map or int(value) not in background]
    unknown = [value for value in ids if value not in label_map and value == _VOID]
    labels = [value for value in ids if value not in unknown]
    masks = torch.stack([found == value for value in labels]) if labels else torch.zeros(0, *picture, dtype=torch.bool)
    void = (found == _VOID) if unknown else torch.zeros(picture, dtype=torch.bool)
    nothing = torch.zeros(0, 4, dtype=torch.float64)
    return Objects("masks", nothing, masks, labels, [True] * len(labels), [False] * len(labels), void)


def is_map(target: object) -> bool:
    """Whether a target is a map of class ids, ``(H, W)`` or ``(1, H, W)``."""
    if not isinstance(target, Tensor) or target.is_floating_point():
        return False
    return target.ndim == 2 or (target.ndim == 3 and len(target) == 1)


def class_of(target: Any) -> int | None:  # noqa: ANN401
    """The class label that a target is, and nothing else; ``None`` when it is no whole number, nor an array of one."""
    axes = getattr(target, "ndim", 0)
    if isinstance(target, bool) or axes > 1 or (axes == 1 and len(target) != 1):
        return None
    try:
        return whole(target[0] if axes else target)
    except TypeError:
        return None


def _without(kind: Kind, target: Mapping[str, Any]) -> str:
    """The reason, with what the target has instead, and what to make of it."""
    reason = f"no {kind!r} in the target, which has " + (", ".join(map(repr, target)) or "nothing")
    other = next((key for key in target if str(key).lower() in _OTHER_KEYS[kind]), None)
    return reason if other is None else f"{reason}; give {other!r} as {kind!r}, {_HINTS[kind]}"


def _labels(values: Any, count: int, kind: Kind, where: str) -> list[int]:  # noqa: ANN401
    try:
        labels = [whole(value) for value in (values.reshape(-1) if hasattr(values, "reshape") else values)]
    except TypeError as error:
        raise TypeError(f"dataset: expected whole numbers as labels of {where}, got {values!r:.80}") from error
    if len(labels) != count:
        raise ValueError(f"dataset: {where} has {count} {kind} but {len(labels)} labels")
    return labels


def _crowd(values: Any, count: int) -> list[bool]:  # noqa: ANN401
    flags = [] if values is None else [bool(value) for value in values]
    if len(flags) != count:
        if any(flags):  # a transform took objects away, and these do not say which
            raise Skip("'iscrowd' is not of as many objects as the target has")
        return [False] * count
    return flags


def _check_followed(what: str, size: tuple[int, ...], picture: tuple[int, int], where: str) -> None:
    if size != picture:
        raise ValueError(
            f"dataset: the {what} of {where} are for a picture of {'x'.join(map(str, size))}, but the picture is "
            f"{picture[0]}x{picture[1]}: the transform did not carry them along. Use transforms.v2 for pictures and "
            f"{'boxes' if what == 'boxes' else 'masks'} together"
        )


def _masks(name: str, values: Any, picture: tuple[int, int], where: str) -> Tensor:  # noqa: ANN401
    """Masks as ``(k, H, W)`` bool."""
    if isinstance(values, (list, tuple)) and values and all(isinstance(value, Tensor) for value in values):
        values = torch.stack([plain(value) for value in values])
    try:
        masks = plain(values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))).cpu()
    except (TypeError, ValueError) as error:
        raise TypeError(f"dataset: expected {name} (k, H, W) from {where}, got {values!r:.80}") from error
    if name == "ignore_masks" and masks.ndim == 2:
        masks = masks[None]
    if masks.ndim == 4 and masks.shape[1] == 1:  # torchvision's wrapper of Cityscapes
        masks = masks[:, 0]
    if masks.numel() == 0 and (masks.ndim != 3 or len(masks) == 0):
        return torch.zeros(0, *picture, dtype=torch.bool)
    if masks.ndim != 3:
        raise ValueError(f"dataset: expected {name} (k, H, W) from {where}, got a shape {tuple(masks.shape)}")
    _check_followed("masks", tuple(masks.shape[1:]), picture, where)
    if masks.dtype is not torch.bool and not bool(((masks == 0) | (masks == 1)).all()):
        raise ValueError(f"dataset: expected {name} of {where} to be bool, or 0 and 1 alone, got other values")
    return masks.to(torch.bool)


def _xyxy(boxes: Any, picture: tuple[int, int], where: str) -> Tensor:  # noqa: ANN401
    """Boxes as ``(k, 4)`` xyxy float64. Boxes that did not follow the picture's transform are an error."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    if isinstance(boxes, tv_tensors.BoundingBoxes):
        _check_followed("boxes", tuple(boxes.canvas_size), picture, where)
        # In float64 first: the conversion of integer boxes rounds.
        boxes = tv_tensors.wrap(boxes.to(torch.float64), like=boxes)
        boxes = plain(functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY))
    try:
        # By way of numpy, because torch warns about read-only arrays.
        values = boxes if isinstance(boxes, Tensor) else torch.from_numpy(np.array(boxes, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"dataset: expected (k, 4) boxes from {where}, got {boxes!r:.80}") from error
    if values.numel() and (values.ndim != 2 or values.shape[1] != 4):
        raise ValueError(f"dataset: expected (k, 4) boxes from {where}, got a shape {tuple(values.shape)}")
    return plain(values).to("cpu", torch.float64).reshape(-1, 4)
