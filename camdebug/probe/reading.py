"""Read one sample of a detection dataset, ``dataset[i] -> (image, target)``, as a picture with a label and boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import index as whole
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import check_floating, in_picture, plain
from camdebug.probe.classes import ClassPlan
from camdebug.rng import seeded_rng

_OTHER_KEYS = ("bbox", "bboxes", "box")


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture ``(C, H, W)``, its class, its own boxes and the boxes of other objects, ``(k, 4)`` xyxy float64."""

    image: Tensor
    label: int
    boxes: Tensor
    ignore: Tensor


class Skip(Exception):  # noqa: N818 - not an error: a picture that cannot serve, with the reason
    """The picture is to be left out; the message is the reason."""


class Unreadable(Skip):
    """The dataset raised."""


class NoBoxes(Skip):
    """The target has none."""


@dataclass(frozen=True)
class Reader:
    """Reads samples under generators seeded for each of them, so that the order does not matter.

    Attributes:
        dataset: gives ``(image, target)``.
        seed: of the dataset's transforms.
        plan: how annotation labels become classes.
        label: class index of a picture from its target; ``None`` to take the label of its objects.
    """

    dataset: Any
    seed: int
    plan: ClassPlan
    label: Callable[[Any], int | None] | None

    @property
    def wanted(self) -> frozenset[int] | None:
        """Classes that can be expected; ``None`` when they are unknown."""
        if self.label is not None:
            return frozenset(range(len(self.plan.names))) if self.plan.names else None
        return self.plan.reachable

    def load(self, index: int, *, seed: int) -> Any:  # noqa: ANN401
        """``dataset[index]`` as it is."""
        with seeded_rng(int(np.random.SeedSequence([seed, index]).generate_state(1)[0])):
            return self.dataset[index]

    def read(self, index: int) -> Sample:
        """Return a sample.

        Raises:
            Skip: this picture cannot serve.
            TypeError, ValueError: the dataset is not of the kind that can be read.
        """
        try:
            sample = self.load(index, seed=self.seed)
        except Exception as error:
            raise Unreadable(f"could not be read ({type(error).__name__})") from error
        where = f"dataset[{index}]"
        image, target = _check_sample(sample, where)
        if "boxes" not in target:
            raise NoBoxes(_without_boxes(target))
        boxes = _xyxy(target["boxes"], (image.shape[1], image.shape[2]), where)
        labels = _labels(target["labels"], len(boxes), where) if "labels" in target else None
        visible = in_picture(boxes, (image.shape[1], image.shape[2]))
        class_idx, own = self._own(labels, visible, target, where)
        # A copy: datasets may keep what they hand out, and hand it out again.
        return Sample(plain(image).to("cpu", copy=True), class_idx, boxes[own], boxes[~own])

    def _own(
        self,
        labels: list[int] | None,
        visible: list[bool],
        target: Any,  # noqa: ANN401
        where: str,
    ) -> tuple[int, Tensor]:
        """Class of the picture, and which of its boxes are of that class: ``(k,)`` bool."""
        classes = self.plan.of(labels, where) if labels is not None else None
        if self.label is not None:
            class_idx = self._picture_label(target, where)
        elif classes is None:
            raise TypeError(f"dataset: the target of {where} has no 'labels'; pass label=, class index from a target")
        else:
            # An object that a crop left out does not make this a picture of several classes.
            shown = [value for value, is_visible in zip(classes, visible, strict=True) if is_visible] or classes
            class_idx = self.plan.expect(_only(shown, mapped=self.plan.label_map is not None), f"label of {where}")
        if classes is None:
            return class_idx, torch.ones(len(visible), dtype=torch.bool)
        own = torch.tensor([value == class_idx for value in classes], dtype=torch.bool)
        if visible and not own.any():
            raise Skip("no box with the label of the picture")
        return class_idx, own

    def _picture_label(self, target: Any, where: str) -> int:  # noqa: ANN401
        value = self.label(target) if self.label is not None else None
        if value is None:
            raise Skip("label= gave None")
        try:
            return self.plan.expect(whole(value), f"label= of {where}")
        except TypeError as error:
            raise TypeError(f"label: expected a class index or None for {where}, got {value!r:.80}") from error


def _check_sample(sample: Any, where: str) -> tuple[Tensor, Mapping[str, Any]]:  # noqa: ANN401
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise TypeError(f"dataset: expected (image, target) from {where}, got {type(sample).__name__}")
    image, target = sample
    if not isinstance(image, Tensor):
        raise TypeError(
            f"dataset: expected a tensor picture from {where}, got {type(image).__name__}; add "
            "transforms.v2.ToImage() and transforms.v2.ToDtype(torch.float32, scale=True) to its transforms"
        )
    if image.ndim != 3:
        raise ValueError(f"dataset: expected a picture (C, H, W) from {where}, got a shape {tuple(image.shape)}")
    check_floating(f"dataset: {where}", image)
    if not isinstance(target, Mapping):
        raise TypeError(
            f"dataset: expected a target dict with 'boxes' and 'labels' from {where}, got "
            f"{type(target).__name__}; for pictures without boxes use ProbeSet(images, labels)"
        )
    return image, target


def _without_boxes(target: Mapping[str, Any]) -> str:
    """The reason, with what the target has instead, and what to make of it."""
    reason = "no 'boxes' in the target, which has " + (", ".join(map(repr, target)) or "nothing")
    other = next((key for key in target if str(key).lower() in _OTHER_KEYS), None)
    if other is None:
        return reason
    return (
        f"{reason}; give {other!r} as 'boxes', x1, y1, x2, y2 in pixels (COCO's are x, y, width, height: "
        "torchvision.ops.box_convert converts them)"
    )


def _only(classes: list[int], *, mapped: bool) -> int:
    known = {value for value in classes if value >= 0 or not mapped}
    if not known:
        raise Skip("no object of a known class")
    if len(known) > 1:
        raise Skip("objects of several classes (pass label= to say which one counts)")
    return known.pop()


def _labels(values: Any, count: int, where: str) -> list[int]:  # noqa: ANN401
    try:
        labels = [whole(value) for value in (values.reshape(-1) if hasattr(values, "reshape") else values)]
    except TypeError as error:
        raise TypeError(f"dataset: expected whole numbers as labels of {where}, got {values!r:.80}") from error
    if len(labels) != count:
        raise ValueError(f"dataset: {where} has {count} boxes but {len(labels)} labels")
    return labels


def _xyxy(boxes: Any, picture: tuple[int, int], where: str) -> Tensor:  # noqa: ANN401
    """Boxes as ``(k, 4)`` xyxy float64. Boxes that did not follow the picture's transform are an error."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    if isinstance(boxes, tv_tensors.BoundingBoxes):
        canvas = tuple(boxes.canvas_size)
        if canvas != picture:
            raise ValueError(
                f"dataset: the boxes of {where} are for a picture of {canvas[0]}x{canvas[1]}, but the picture "
                f"is {picture[0]}x{picture[1]}: the transform did not carry them along. Use transforms.v2 for pictures "
                "and boxes together"
            )
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
