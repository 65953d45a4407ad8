"""The probe set: a frozen selection of annotated pictures in the model's own input space."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camdebug.probe import boxes as box_geometry
from camdebug.probe.checks import name_a_few, summarise
from camdebug.probe.content import Content, Offered, check
from camdebug.records import Exclusion, Provenance


class ProbeSet:
    """Pictures with labels and boxes that are looked at in every epoch. Built once; do not change it afterwards.

    Args:
        images: ``(N, C, H, W)`` floating, exactly as the model receives them (resized, normalised).
        labels: ``(N,)`` class indices of the model.
        boxes: for each picture ``(k, 4)`` xyxy in pixels of that picture (or one ``(N, 4)`` tensor); ``None`` for a
            set without annotations, which is drawn but not measured.
        masks: ``(N, H, W)`` bool, or 0 and 1: the pixels of each picture's object, in place of ``boxes``. One set has
            boxes or masks, never both; ``boxes`` are those around the masks then, and only drawn.
        class_names: one name for each class of the model; by default ``"0"``, ``"1"``, ...
        ignore: like ``boxes``: regions that count neither as object nor as background (other annotated objects).
        ignore_masks: like ``masks``: the same as pixels; with ``masks`` alone.
        mean: ``(C,)`` and
        std: ``(C,)`` of the normalisation, to show the pictures in their own colours; inferred when absent.
        source_ids: one id for each picture, used in reports and exclusions.

    Boxes that are not finite, inverted, empty or outside are dropped; pictures that are not finite, or left without
    a box while the set has boxes, are excluded. One warning counts and names them; ``exclusions`` and
    ``dropped_boxes`` keep them.

    Raises:
        TypeError, ValueError: when an argument is wrong as a whole; the message names it.

    >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1], torch.tensor([[0, 0, 4, 4], [2, 2, 8, 8]]))
    >>> probes
    ProbeSet(2 pictures of 3x8x8, 2 classes, 2 boxes)
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

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        labels: Tensor | Sequence[int],
        boxes: Tensor | Sequence[Tensor] | None = None,
        *,
        masks: Tensor | None = None,
        class_names: Sequence[str] | None = None,
        ignore: Sequence[Tensor] | None = None,
        ignore_masks: Tensor | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        source_ids: Sequence[str] | None = None,
    ) -> None:
        offered = Offered(
            images, labels, boxes, masks, class_names, ignore, ignore_masks, mean=mean, std=std, source_ids=source_ids
        )
        vars(self).update(vars(check(offered)))
        self._report()

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,  # noqa: ANN401 - anything with __len__ and __getitem__
        *,
        per_class: int = 40,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        label_map: Mapping[int, int] | None = None,
        label: Callable[[Any], int | None] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ProbeSet:
        """Draw up to ``per_class`` probes a class from an annotated dataset, the same ones for the same ``seed``.

        The dataset is read with ``dataset[i]`` in a seeded order, once, until every class is full, without touching
        the global generators (a few probes are read again, to see whether the transform is random).

        Args:
            dataset: gives ``(image, target)``: a tensor picture and a dict with ``boxes`` (``BoundingBoxes``, or plain
                xyxy pixels) and ``labels``. torchvision's CocoDetection and VOCDetection (also in a ``Subset`` or
                ``ConcatDataset``) are wrapped by torchvision's own wrapper when they are not yet; yours stays as it is.
            per_class: at most so many probes a class; 40 is recommended, below 20 no alarm is possible.
            seed: of the selection, and of the dataset's transforms if they are random.
            class_names: the model's classes, in the order of its outputs; by default ``dataset.classes`` when it has
                them and ``label_map`` is absent or leaves every label as it is. For CocoDetection and VOCDetection
                they are matched by name with the annotated categories.
            label_map: annotation label to class index, where they differ and names do not settle it. Objects with
                other labels become ignored regions.
            label: class index of a picture from its target, where it is not the label of all its objects; ``None``
                for a picture that is not to be used.
            mean: as for :class:`ProbeSet`.
            std: as for :class:`ProbeSet`.

        Raises:
            TypeError, ValueError: when the dataset cannot be read as described; the message says what came instead.
        """
        from camdebug.probe.dataset import draw

        found = draw(dataset, per_class=per_class, seed=seed, class_names=class_names, label_map=label_map, label=label)
        probes = cls._of(
            check(
                Offered(
                    found.images,
                    found.labels,
                    found.boxes,
                    class_names=found.class_names,
                    ignore=found.ignore,
                    mean=mean,
                    std=std,
                    source_ids=found.source_ids,
                    left_out=found.exclusions,
                )
            )
        )
        probes._report(*found.notes)
        return probes

    @classmethod
    def load(cls, folder: str | Path) -> ProbeSet:
        """The set that :meth:`save` wrote: the same numbers, bit for bit, with the same fingerprint.

        Nothing that is read can run code, lead out of the folder or fill the memory. Other files in it are left aside.

        Args:
            folder: that it was saved to.

        Raises:
            TypeError: ``folder`` is no path.
            ValueError: there is no set, it is damaged, or of a newer format; the message says which, and what to do.
        """
        from camdebug.probe.loading import load

        return load(folder, cls._of)

    @classmethod
    def _of(cls, content: Content) -> ProbeSet:
        """What is checked already; says nothing, so that every way to a set ends in one warning."""
        probes = cls.__new__(cls)
        vars(probes).update(vars(content))
        return probes

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

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write all of it, for :meth:`load`: ``.npz`` files of numbers and one JSON file that people can read.

        The folder is there whole or not at all. With ``overwrite`` an older set stays whole until the new one is
        complete; other files in the folder stay as they are.

        Args:
            folder: to be made; empty, or with an older set to ``overwrite``.
            overwrite: whether an older set gives way.

        Raises:
            FileExistsError: something is there.
            OSError: it cannot be written; an older set is as it was.
            TypeError, ValueError: ``folder`` is no path, or the pictures are too large; the message says by how much.

        >>> import tempfile
        >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     probes.save(folder)
        ...     ProbeSet.load(folder).fingerprint == probes.fingerprint
        True
        """
        from camdebug.probe.saving import save

        save(self, folder, overwrite=overwrite)

    def _report(self, *notes: str) -> None:
        """Give the one warning of a construction, at the line of the user, two frames up."""
        parts = list(notes)
        if self.exclusions:
            parts.append(summarise(self.exclusions, len(self) + len(self.exclusions)))
        excluded = {e.source_id for e in self.exclusions}
        dropped = [f"{d.source_id}: {d.reason}" for d in self.dropped_boxes if d.source_id not in excluded]
        if dropped:
            parts.append(f"ProbeSet dropped {len(dropped)} unusable boxes of pictures it kept ({name_a_few(dropped)})")
        empty = self.empty_classes
        if empty:
            parts.append(f"ProbeSet has no probe of {len(empty)} classes ({name_a_few(empty)}): they stay unmeasured")
        if parts:
            warnings.warn(". ".join(parts) + ".", UserWarning, stacklevel=3)
