"""What a probe set holds, and what is computed from that alone."""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
from torch import Tensor

from camdebug.probe import boxes as box_geometry
from camdebug.probe.content import picture_numbers
from camdebug.records import Exclusion, Provenance


class Held:
    """Pictures, classes and annotations, each as :class:`ProbeSet` describes its argument.

    Attributes:
        annotated: whether there are boxes or masks.
        exclusions: pictures that were left out, with the reason.
        dropped_boxes: boxes that were, of pictures that were kept or not.
        provenance: where the pictures come from, when they were drawn from annotated files.
    """

    images: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    masks: Tensor | None
    ignore: tuple[Tensor, ...]
    ignore_masks: Tensor | None
    source_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    annotated: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    exclusions: tuple[Exclusion, ...]
    dropped_boxes: tuple[Exclusion, ...]
    provenance: Provenance | None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        boxes = f"{sum(len(b) for b in self.boxes)} boxes" if self.annotated else "no boxes"
        boxes = boxes if self.masks is None else f"{len(self)} masks"
        return (
            f"ProbeSet({len(self)} pictures of {channels}x{height}x{width}, {len(self.class_names)} classes, {boxes})"
        )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of probes of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.class_names)).tolist())

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Names of the classes without any probe: nothing can be said about them."""
        return tuple(name for name, count in zip(self.class_names, self.counts, strict=True) if count == 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over pictures, labels, annotations, ignored regions and class names: equal for equal content.

        Where the pictures came from does not count.
        """
        digest = hashlib.sha256()
        header = (tuple(self.images.shape), str(self.images.dtype), self.labels.tolist(), self.class_names)
        digest.update(repr(header).encode())
        digest.update(self.images.contiguous().view(torch.uint8).numpy().data)
        for group in (self.boxes, self.ignore):
            digest.update(repr([b.tolist() for b in group]).encode())
        for name, masks in (("masks", self.masks), ("ignore_masks", self.ignore_masks)):
            if masks is not None:
                digest.update(name.encode())
                digest.update(masks.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @cached_property
    def pictures(self) -> Tensor:
        """``(N,)`` int64: which picture each probe shows, the same number for pictures of the same pixels."""
        return picture_numbers(self.images)

    def coverage(self, grid: tuple[int, ...]) -> Tensor:
        """``(N, h, w)`` float64: share of each cell that the probe's own boxes, or mask, cover."""
        if self.masks is not None:
            return box_geometry.mask_coverage(self.masks, grid)
        return box_geometry.coverage(self.boxes, self.image_size, grid)

    def readable(self, grid: tuple[int, ...]) -> Tensor:
        """``(N, h, w)`` float64: share of each cell that is not an ignored region (the object itself always counts)."""
        if self.masks is not None:
            return 1 - box_geometry.mask_coverage(self.annotated_masks() & ~self.masks, grid)
        both = [torch.cat(pair) for pair in zip(self.boxes, self.ignore, strict=True)]
        return 1 - (box_geometry.coverage(both, self.image_size, grid) - self.coverage(grid))

    def object_masks(self) -> Tensor:
        """``(N, H, W)`` bool: pixels that the probe's own boxes touch, or its mask."""
        return box_geometry.pixel_masks(self.boxes, self.image_size) if self.masks is None else self.masks.clone()

    def annotated_masks(self) -> Tensor:
        """``(N, H, W)`` bool: pixels of any annotated object, ignored ones included."""
        found = self.object_masks() | box_geometry.pixel_masks(self.ignore, self.image_size)
        return found if self.ignore_masks is None else found | self.ignore_masks
