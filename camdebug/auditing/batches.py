"""Pictures of a dataset, batch by batch, and why some of them cannot be used. What workers do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from camdebug.probe.boxes import pixel_masks
from camdebug.probe.checks import check_not_normalised, check_order, check_within, clean_boxes, unfit
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.reading import Reader, Sample, Skip
from camdebug.sources.entry import Kind

_FIRST = 20
_NONE = torch.zeros(0, 4, dtype=torch.float64)


class Pictures(Protocol):
    """Where samples come from: a ``Reader`` of a dataset, or a ``ProbeSet``."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """A sample; raises ``Skip`` for one that cannot serve."""
        ...

    def source_id(self, index: int) -> str:
        """How the picture is called in reports."""
        ...


@dataclass(frozen=True, eq=False)
class OfDataset:
    """Pictures of an annotated dataset."""

    reader: Reader

    def __len__(self) -> int:
        return len(self.reader.dataset)

    def read(self, index: int) -> Sample:
        """Return a sample. What is wrong with one picture of many is a reason to leave it out."""
        try:
            return self.reader.read(index)
        except (TypeError, ValueError) as error:
            told = str(error).removeprefix("dataset: ").replace(f"dataset[{index}]", "it")
            raise Skip(f"not of the kind that can be read ({told})") from error

    def source_id(self, index: int) -> str:
        """The index."""
        return str(index)


@dataclass(frozen=True, eq=False)
class OfProbes:
    """The pictures of a probe set."""

    probes: ProbeSet

    def __len__(self) -> int:
        return len(self.probes)

    def read(self, index: int) -> Sample:
        """Return a sample."""
        p = self.probes
        image, label = p.images[index], int(p.labels[index])
        if p.masks is None:
            kind: Kind | None = "boxes" if p.annotated else None
            return Sample(image, label, p.boxes[index], p.ignore[index], kind=kind)
        mask, ignored = p.masks[index], pixel_masks([p.ignore[index]], p.image_size)[0]
        if p.ignore_masks is not None:
            ignored |= p.ignore_masks[index]
        return Sample(image, label, _NONE, _NONE, mask, ignored, kind="masks")

    def source_id(self, index: int) -> str:
        """The probe's own."""
        return self.probes.source_ids[index]


class Batch:
    """Pictures that were read together. No dataclass, so that Lightning passes it on as it is.

    Attributes:
        indices: of the pictures in the dataset.
        images: ``(n, C, H, W)``; ``None`` for no picture.
        labels: class of each.
        boxes: of its own objects, xyxy in pixels.
        ignore: of other objects.
        masks: ``(n, 2, H, W)`` bool, pixels of its own objects and of others; ``None`` without masks.
        left_out: reason for each picture that cannot be used, by index.
    """

    def __init__(self, samples: Mapping[int, Sample], left_out: dict[int, str]) -> None:
        self.indices, self.left_out = list(samples), left_out
        self.images = torch.stack([s.image for s in samples.values()]) if samples else None
        self.labels = [s.label for s in samples.values()]
        # Lists, because each tensor that a worker sends takes a file descriptor.
        self.boxes: list[list[list[float]]] = [s.boxes.tolist() for s in samples.values()]
        self.ignore: list[list[list[float]]] = [s.ignore.tolist() for s in samples.values()]
        masks = [(s.mask, s.ignore_mask) for s in samples.values() if s.mask is not None and s.ignore_mask is not None]
        self.masks = torch.stack([torch.stack(both) for both in masks]) if masks else None


class Batches(Dataset[Batch]):
    """Item ``i`` is the ``i``-th batch, so that a sampler deals out whole batches.

    Whichever process a picture meets, it stands beside the same neighbours. Empty batches at the end give every process
    as many.

    Args:
        pictures: where samples come from.
        first: a sample that all others must be like in size and type.
        batch_size: pictures in a batch, those that are left out included.
        processes: how many share the batches.
    """

    def __init__(self, pictures: Pictures, first: Sample, *, batch_size: int, processes: int) -> None:
        self._pictures, self._batch_size = pictures, batch_size
        self._like = first
        self._count = -(-len(pictures) // (batch_size * processes)) * processes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Batch:
        samples: dict[int, Sample] = {}
        left_out: dict[int, str] = {}
        start = number * self._batch_size
        for index in range(start, min(start + self._batch_size, len(self._pictures))):
            try:
                samples[index] = usable(self._pictures.read(index), self._like)
            except Skip as skip:
                left_out[index] = str(skip)
        return Batch(samples, left_out)


def usable(sample: Sample, like: Sample | None = None) -> Sample:
    """The sample with clean boxes.

    Raises:
        Skip: it cannot be measured, or is not of the shape, type and annotation of ``like``.
    """
    image = sample.image
    if sample.kind is None:
        raise Skip("a class alone, without boxes or masks")
    _check_like(sample, like)
    size = (image.shape[1], image.shape[2])
    boxes, faults = clean_boxes(sample.boxes, size)
    reason = unfit(image, boxes, faults, annotated=sample.kind == "boxes")
    if reason is None and sample.mask is not None and not bool(sample.mask.any()):
        reason = "mask of no area"
    if reason is not None:
        raise Skip(reason)
    return replace(sample, boxes=boxes, ignore=clean_boxes(sample.ignore, size)[0])


def _check_like(sample: Sample, like: Sample | None) -> None:
    if like is None:
        return
    got, expected = ((tuple(s.image.shape), s.image.dtype) for s in (sample, like))
    if got != expected:
        raise Skip(f"a picture of {got[0]} {got[1]}, not {expected[0]} {expected[1]} as the first one is")
    if sample.kind != like.kind:
        raise Skip(f"has {sample.kind}, not {like.kind} as the first one has")


def first_usable(pictures: Pictures) -> Sample:
    """The first picture that can be used, after a look at whether the boxes of the first few make sense at all.

    Raises:
        ValueError: no picture can be used, or boxes are of another format.
    """
    found: Sample | None = None
    boxes: list[Tensor] = []
    skips: list[Skip] = []
    for index in range(len(pictures)):
        broken = index == _FIRST and len(skips) == _FIRST and all(skip.__cause__ for skip in skips)
        if broken or (found is not None and index >= _FIRST):
            break
        try:
            sample = pictures.read(index)
            if sample.kind == "boxes" and (found is None or sample.image.shape == found.image.shape):
                boxes.append(sample.boxes)
            found = found or usable(sample)
        except Skip as skip:
            skips.append(skip)
    if boxes:
        _check_format(boxes, found or sample)
    if found is None:
        counts = Counter(map(str, skips)).most_common()
        listed = "; ".join(f"{count} x {reason}" for reason, count in counts)
        raise ValueError(f"dataset: none of its first {len(skips)} pictures can be audited: {listed}")
    return found


def _check_format(boxes: list[Tensor], sample: Sample) -> None:
    size = (sample.image.shape[1], sample.image.shape[2])
    check_order("dataset: boxes", boxes)
    check_not_normalised("dataset: boxes", boxes, size)
    check_within("dataset: boxes", boxes, size)
