"""One annotated picture, read and carried to where the model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from camdebug.geometry.carrier import Carried, Carrier, NotCarried
from camdebug.probe.boxes import coverage
from camdebug.probe.checks import NOT_IN_PICTURE, check_floating, clean_boxes, plain
from camdebug.probe.naming import Naming
from camdebug.probe.selection import Candidate, seed_of
from camdebug.probe.thumbnails import digest_of, thumbnail_of
from camdebug.probe.tried import Tried
from camdebug.records import Exclusion
from camdebug.sources import AnnotatedObject, Entry, Unusable
from camdebug.sources.entry import Kind
from camdebug.sources.pictures import Exif, open_picture
from camdebug.wording import told

if TYPE_CHECKING:
    from PIL.Image import Image

_PATIENCE = 5
"""A transform that fails so often, and never works, is broken; single failures leave the picture out."""

_LOOKS_AGAIN = 4

Size = tuple[int, int]


class NoObject(Unusable):
    """Nothing of the class can be used; the picture may serve another one."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A picture as the model receives it, and what is annotated in it, for one class.

    Attributes:
        image: ``(C, H, W)`` floating.
        boxes: ``(k, 4)`` float64 xyxy of the class; the box around the mask is not among them.
        mask: ``(H, W)`` bool, all objects of the class; ``None`` in a source of boxes.
        ignore: ``(j, 4)`` float64 xyxy of other objects and ignored ones.
        ignore_mask: ``(H, W)`` bool, likewise.
        size: height and width as read.
        before: share of the picture that the objects of the class take, as read; ``None`` without places.
        after: the same after the transform.
        digest: see :class:`camdebug.records.Origin`.
        thumbnail: ``(32, 32)`` uint8, of the picture as read.
        dropped: boxes that could not be used.
    """

    image: Tensor
    boxes: Tensor
    mask: Tensor | None
    ignore: Tensor
    ignore_mask: Tensor | None
    size: Size
    before: float | None
    after: float | None
    digest: str
    thumbnail: Tensor
    dropped: tuple[Exclusion, ...]


@dataclass(frozen=True, eq=False)
class _Places:
    """Of one picture as read: boxes of the class and of others, masks of the class and of others."""

    boxes: Tensor
    ignore: Tensor
    masks: Tensor
    dropped: tuple[Exclusion, ...]


@dataclass(eq=False)
class Placer:
    """Reads pictures and carries them, one by one; remembers what its transform turned out to be.

    Attributes:
        carrier: of the transform.
        kind: of the source.
        naming: of the classes.
        seed: of random transforms.
        exif: as of :func:`camdebug.sources.pictures.open_picture`.
        random: whether the transform is known to be random, or has shown it.
        sizes: height and width as read, by source id.
        tried: small copies of pictures as read, whatever becomes of them; of a source of boxes.
        failure: the first error of the transform, as long as no picture went through it.
    """

    carrier: Carrier
    kind: Kind | None
    naming: Naming
    seed: int
    exif: Exif
    random: bool = False
    sizes: dict[str, Size] = field(default_factory=dict)
    tried: Tried = field(default_factory=Tried)
    failure: Exception | None = None
    _failures: int = 0
    _worked: int = 0

    def place(self, candidate: Candidate) -> Placed:
        """Read and carry.

        Raises:
            Unusable: this picture cannot serve; :class:`NoObject` if that is for lack of an object of the class.
            NotCarried: the boxes of no picture can be believed.
            TypeError, ValueError: the transform works with none.
        """
        entry = candidate.entry
        picture = open_picture(entry, exif=self.exif)
        size = picture.height, picture.width
        self.sizes[entry.source_id] = size
        if self.kind == "boxes":
            self.tried.see(candidate, picture, self.naming)
        places = self._places(candidate, size)
        carried = self._carry(picture, entry, places)
        after = carried.image.shape[1], carried.image.shape[2]
        own, others = carried.boxes[: len(places.boxes)], carried.boxes[len(places.boxes) :]
        boxes = clean_boxes(own, after)[0]
        mask, ignore_mask = carried.masks.cpu() if self.kind == "masks" else (None, None)
        return Placed(
            image=plain(carried.image).to("cpu", copy=True),
            boxes=boxes,
            mask=mask,
            ignore=clean_boxes(others, after)[0],
            ignore_mask=ignore_mask,
            size=size,
            before=self._share(places.boxes, places.masks[:1], size),
            after=self._share(boxes, carried.masks[:1], after),
            digest=digest_of(picture),
            thumbnail=thumbnail_of(picture),
            dropped=places.dropped,
        )

    def raise_failure(self) -> None:
        """Raise the transform's error if no picture went through it."""
        if self.failure is None:
            return
        if isinstance(self.failure, (TypeError, ValueError)):
            raise self.failure
        raise ValueError(f"transform: no picture went through it; it raised {told(self.failure)}") from self.failure

    def _places(self, candidate: Candidate, size: Size) -> _Places:
        """Boxes cleaned before the transform: it would clamp them, or fail, and hide their faults."""
        entry, index = candidate.entry, self.naming.index
        own = [o for o in entry.objects if not o.ignored and index.get(o.name) == candidate.class_idx]
        others = [o for o in entry.objects if o not in own]
        nothing = torch.zeros(0, 4, dtype=torch.float64)
        boxes, faults = clean_boxes(_boxes(own), size) if self.kind == "boxes" else (nothing, [])
        if self.kind == "boxes" and not len(boxes):
            raise NoObject(faults[0] if faults else "no box")
        # With masks a box is taken only for what has nothing better.
        rest = others if self.kind == "boxes" else [o for o in others if o.mask is None and self.kind == "masks"]
        ignore, other_faults = clean_boxes(_boxes(rest), size)
        masks = torch.zeros(0, *size, dtype=torch.bool)
        if self.kind == "masks":
            masks = torch.stack([_union(own, size), _union([o for o in others if o.mask is not None], size)])
            if not bool(masks[0].any()):
                raise NoObject("mask of no area")
        reasons = faults + [f"ignored {fault}" for fault in other_faults if fault not in NOT_IN_PICTURE]
        return _Places(boxes, ignore, masks, tuple(Exclusion(entry.source_id, reason) for reason in reasons))

    def _carry(self, picture: Image, entry: Entry, places: _Places) -> Carried:
        boxes, seed = torch.cat([places.boxes, places.ignore]), seed_of(self.seed, entry.source_id)
        try:
            carried = self.carrier.carry(picture, boxes, places.masks, seed=seed)
        except (Unusable, NotCarried):
            raise
        except Exception as error:
            self._note_failure(error)
            raise Unusable(f"the transform failed ({type(error).__name__})") from error
        if carried.image.ndim != 3:
            raise ValueError(f"transform: expected pictures (C, H, W), got a shape {tuple(carried.image.shape)}")
        check_floating("transform", carried.image)
        self._worked += 1
        self.tried.after = carried.image.shape[1], carried.image.shape[2]
        self.failure = None
        if self._worked <= _LOOKS_AGAIN and not self.random:
            self.random = self._is_random(picture, boxes, places.masks, seed, carried)
        return carried

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if not self._worked:
            self.failure = self.failure or error
            if self._failures >= _PATIENCE:
                self.raise_failure()

    def _is_random(self, picture: Image, boxes: Tensor, masks: Tensor, seed: int, carried: Carried) -> bool:
        """Whether the picture looks different under another seed."""
        try:
            again = self.carrier.carry(picture, boxes, masks, seed=seed ^ 1).image
        except NotCarried:
            raise
        except Exception:  # a transform that fails under some seeds only
            return True
        return again.shape != carried.image.shape or not torch.equal(plain(again), plain(carried.image))

    def _share(self, boxes: Tensor, masks: Tensor, size: Size) -> float | None:
        if self.kind == "masks":
            return float(masks[0].double().mean())
        return float(coverage([boxes], size, (1, 1))) if self.kind == "boxes" else None


def _boxes(objects: Sequence[AnnotatedObject]) -> Tensor:
    return torch.tensor([o.box for o in objects if o.box is not None], dtype=torch.float64).reshape(-1, 4)


def _union(objects: Sequence[AnnotatedObject], size: Size) -> Tensor:
    """``(H, W)`` bool."""
    union = np.zeros(size, dtype=bool)
    for found in objects:
        if found.mask is None:
            raise Unusable("object without a mask")
        try:
            mask = np.asarray(found.mask())
        except Unusable:
            raise
        except Exception as error:  # others wrote it
            raise Unusable(f"mask could not be read ({type(error).__name__})") from error
        if mask.shape != size:
            raise Unusable("mask of another size than the picture")
        union |= mask.astype(bool)
    return torch.from_numpy(union)
