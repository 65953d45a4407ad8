"""Read one sample of a dataset, ``dataset[i] -> (image, target)``, as a picture with the objects of each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import index as whole
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.annotation import NoBoxes, Objects, Skip, Unreadable, class_of, is_map, objects_of, objects_on_map
from camdebug.probe.checks import check_floating, plain
from camdebug.probe.classes import ClassPlan
from camdebug.rng import seeded_rng
from camdebug.sources.entry import Kind

__all__ = ["NoBoxes", "Reader", "Sample", "Skip", "Unreadable"]


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and the objects of one class in it.

    Attributes:
        image: ``(C, H, W)``.
        label: the class.
        boxes: of its own objects, ``(k, 4)`` xyxy float64; ``(0, 4)`` with a mask.
        ignore: of other objects, likewise.
        mask: ``(H, W)`` bool, pixels of its own objects; ``None`` without masks.
        ignore_mask: ``(H, W)`` bool, pixels of other objects and void; ``None`` without masks.
        kind: of what is annotated; ``None`` for a class alone.
        rounded: whether boxes are such that a transform that scales them would have rounded them.
    """

    image: Tensor
    label: int
    boxes: Tensor
    ignore: Tensor
    mask: Tensor | None = None
    ignore_mask: Tensor | None = None
    kind: Kind | None = "boxes"
    rounded: bool = False


@dataclass(frozen=True)
class Reader:
    """Reads samples under generators seeded for each of them, so that the order does not matter.

    Attributes:
        dataset: gives ``(image, target)``.
        seed: of the dataset's transforms.
        plan: how annotation labels become classes.
        label: class index of a picture from its target; ``None`` to take the labels of its objects.
        annotation: boxes or masks; ``None`` for what a target has, boxes first.
        stuff: annotation labels that are background, not objects.
    """

    dataset: Any
    seed: int
    plan: ClassPlan
    label: Callable[[Any], int | None] | None
    annotation: Kind | None = None
    stuff: frozenset[int] = frozenset()

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
        """Return the one sample of a picture whose objects are of one class; raises as :meth:`samples`."""
        first, *others = self.samples(index)
        if others:
            raise Skip("objects of several classes (pass label= to say which one counts)")
        return first

    def samples(self, index: int) -> tuple[Sample, ...]:
        """Return a sample for each class with an object in the picture, in the order of the classes.

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
        objects = self._objects(target, (image.shape[1], image.shape[2]), where)
        # A copy: datasets may keep what they hand out, and hand it out again.
        picture = plain(image).to("cpu", copy=True)
        if isinstance(objects, int):
            nothing = torch.zeros(0, 4, dtype=torch.float64)
            return (Sample(picture, self._class_alone(objects, target, where), nothing, nothing, kind=None),)
        classes = self.plan.of(objects.labels, where) if objects.labels is not None else None
        return tuple(_sample(picture, k, classes, objects) for k in self._shown(classes, objects, target, where))

    def _objects(self, target: Any, size: tuple[int, int], where: str) -> Objects | int:  # noqa: ANN401
        """What is annotated; the label of a class alone."""
        if isinstance(target, Mapping):
            return self._without_stuff(objects_of(target, self.annotation, size, where))
        if is_map(target) and self.annotation != "boxes":
            return objects_on_map(target, self.plan.label_map, self.stuff, size, where)
        label = class_of(target)
        if label is None or self.annotation is not None:
            raise TypeError(
                f"dataset: expected a target dict with {self.annotation or 'boxes'!r} and 'labels' from {where}, got "
                f"{type(target).__name__}; a class index alone, or a mask of class ids, is read as well"
                if self.annotation is None
                else f"annotation: expected {self.annotation} from {where}, got {type(target).__name__}"
            )
        return label

    def _without_stuff(self, objects: Objects) -> Objects:
        if not self.stuff or objects.labels is None or self.plan.label_map is None:
            return objects
        known = self.plan.label_map
        kept = [i for i, label in enumerate(objects.labels) if label in known or label not in self.stuff]
        return objects.only(kept)

    def _class_alone(self, label: int, target: Any, where: str) -> int:  # noqa: ANN401
        if self.label is not None:
            return self._picture_label(target, where)
        (class_idx,) = self.plan.of([label], where)
        if class_idx < 0 and self.plan.label_map is not None:
            raise Skip("no known class")
        return self.plan.expect(class_idx, f"label of {where}")

    def _shown(
        self,
        classes: list[int] | None,
        objects: Objects,
        target: Any,  # noqa: ANN401
        where: str,
    ) -> list[int]:
        """Classes that the picture can stand for."""
        if self.label is not None:
            class_idx = self._picture_label(target, where)
            if classes is not None and classes and class_idx not in classes:
                raise Skip(f"no {'box' if objects.kind == 'boxes' else 'mask'} with the label of the picture")
            return [class_idx]
        if classes is None:
            raise TypeError(f"dataset: the target of {where} has no 'labels'; pass label=, class index from a target")
        own = [i for i, crowd in enumerate(objects.crowd) if not crowd]
        # An object that a crop left out does not make this a picture of another class.
        seen = [i for i in own if objects.visible[i]]
        known = [classes[i] for i in seen or own if classes[i] >= 0 or self.plan.label_map is None]
        if not known:
            raise Skip("no object of a known class")
        found = sorted(set(known)) if seen else known[:1]
        return [self.plan.expect(class_idx, f"label of {where}") for class_idx in found]

    def _picture_label(self, target: Any, where: str) -> int:  # noqa: ANN401
        value = self.label(target) if self.label is not None else None
        if value is None:
            raise Skip("label= gave None")
        try:
            return self.plan.expect(whole(value), f"label= of {where}")
        except TypeError as error:
            raise TypeError(f"label: expected a class index or None for {where}, got {value!r:.80}") from error


def _sample(picture: Tensor, class_idx: int, classes: list[int] | None, objects: Objects) -> Sample:
    own = torch.ones(len(objects), dtype=torch.bool)
    if classes is not None:
        own = torch.tensor([value == class_idx for value in classes], dtype=torch.bool)
    own &= ~torch.tensor(objects.crowd, dtype=torch.bool)
    if objects.kind == "boxes":
        return Sample(picture, class_idx, objects.boxes[own], objects.boxes[~own], rounded=objects.rounded)
    mask, ignored = objects.masks[own].any(0), objects.masks[~own].any(0) | objects.void
    return Sample(picture, class_idx, objects.boxes, objects.boxes, mask, ignored, kind="masks")


def _check_sample(sample: Any, where: str) -> tuple[Tensor, Any]:  # noqa: ANN401
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
    return image, target
