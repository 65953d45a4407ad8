"""What a probe set holds: checked, selected, and copied into memory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import (
    NOT_IN_PICTURE,
    check_boxes,
    check_images,
    check_labels,
    check_masks,
    check_names,
    check_not_normalised,
    check_order,
    check_statistics,
    check_within,
    clean_boxes,
    unfit,
)
from camdebug.probe.sanity import check_ids, check_statistic, check_tensors
from camdebug.probe.sentences import summarise
from camdebug.probe.thumbnails import pixel_digest
from camdebug.records import Exclusion, Provenance


@dataclass(frozen=True, eq=False)
class Offered:
    """Arguments of a ``ProbeSet`` as they came, and what is known of how they were found.

    Attributes:
        left_out: pictures that never came this far.
        provenance: of the pictures offered, row by row.
    """

    images: Any
    labels: Any
    boxes: Any = None
    masks: Any = None
    class_names: Sequence[str] | None = None
    ignore: Any = None
    ignore_masks: Any = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    source_ids: Sequence[str] | None = None
    left_out: Sequence[Exclusion] = ()
    provenance: Provenance | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """Attributes as of ``ProbeSet``."""

    images: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    masks: Tensor | None
    ignore: tuple[Tensor, ...]
    ignore_masks: Tensor | None
    source_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    annotated: bool
    exclusions: tuple[Exclusion, ...]
    dropped_boxes: tuple[Exclusion, ...]
    provenance: Provenance | None = field(default=None)


def check(offered: Offered) -> Content:
    """Check all, leave out what cannot be a probe, and keep the rest. It says nothing.

    Raises:
        TypeError, ValueError: when an argument is wrong as a whole, or no picture is left.
    """
    for name in ("images", "labels", "boxes", "masks", "ignore", "ignore_masks"):
        check_tensors(name, getattr(offered, name))
    check_statistic("mean", offered.mean)
    check_statistic("std", offered.std)
    pictures = check_images(offered.images)
    count, size = len(pictures), (pictures.shape[2], pictures.shape[3])
    if offered.boxes is not None and offered.masks is not None:
        raise ValueError("boxes, masks: expected one of them, got both; levels of the two differ and are never pooled")
    if offered.ignore_masks is not None and offered.masks is None:
        raise ValueError("ignore_masks: expected masks= as well; with boxes pass ignore=")
    names = check_names("class_names", offered.class_names) if offered.class_names is not None else None
    labels = check_labels(offered.labels, count, len(names) if names else None)
    ids = check_ids(offered.source_ids, count)
    masks = check_masks("masks", offered.masks, count, size)
    ignore_masks = check_masks("ignore_masks", offered.ignore_masks, count, size)
    objects, faults = _cleaned("boxes", offered.boxes, count, size)
    if masks is not None:
        objects = [enclosing_box(mask) for mask in masks]
        faults = [["mask of no area"] if len(box) == 0 else [] for box in objects]
    others, other_faults = _cleaned("ignore", offered.ignore, count, size)
    annotated = offered.boxes is not None or masks is not None
    kept, exclusions = _select(pictures, objects, faults, ids, annotated=annotated)
    exclusions = [*offered.left_out, *exclusions]
    if not kept:
        raise ValueError(summarise(exclusions, len(exclusions)) + ". No picture is left")
    mean, std = check_statistics(offered.mean, offered.std, pictures.shape[1])
    return Content(
        images=_frozen(pictures, kept, shared=isinstance(offered.images, (Tensor, np.ndarray))),
        labels=labels[kept],
        boxes=tuple(objects[i] for i in kept),
        masks=None if masks is None else masks[kept],
        ignore=tuple(others[i] for i in kept),
        ignore_masks=None if ignore_masks is None else ignore_masks[kept],
        source_ids=tuple(ids[i] for i in kept),
        class_names=names or tuple(str(k) for k in range(int(labels.max()) + 1)),
        mean=mean,
        std=std,
        annotated=annotated,
        exclusions=tuple(exclusions),
        dropped_boxes=_dropped(ids, faults, other_faults),
        provenance=None if offered.provenance is None else offered.provenance.of(kept),
    )


def enclosing_box(mask: Tensor) -> Tensor:
    """The box ``(1, 4)`` xyxy float64 around the pixels of ``(H, W)``; ``(0, 4)`` without any."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(0, 4, dtype=torch.float64)
    corners = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return torch.tensor([[float(v) for v in corners]], dtype=torch.float64)


def picture_numbers(images: Tensor) -> Tensor:
    """``(N,)`` int64 for ``(N, C, H, W)``: the number of the first picture with the same pixels, by SHA-256.

    >>> picture_numbers(torch.tensor([5.0, 7.0, 5.0]).reshape(3, 1, 1, 1)).tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    numbers = [first.setdefault(pixel_digest(image), i) for i, image in enumerate(images)]
    return torch.tensor(numbers, dtype=torch.int64)


def _cleaned(name: str, boxes: object, count: int, size: tuple[int, int]) -> tuple[list[Tensor], list[list[str]]]:
    """Usable boxes and the faults of the others, for each picture."""
    if boxes is None:
        return [torch.zeros(0, 4, dtype=torch.float64) for _ in range(count)], [[] for _ in range(count)]
    checked = check_boxes(name, boxes, count)
    if name == "boxes":
        check_order(name, checked)
    check_not_normalised(name, checked, size)
    if name == "boxes":  # what is ignored may well lie outside a crop
        check_within(name, checked, size)
    cleaned = [clean_boxes(b, size) for b in checked]
    return [usable for usable, _ in cleaned], [faults for _, faults in cleaned]


def _select(
    pictures: Tensor, boxes: list[Tensor], faults: list[list[str]], ids: list[str], *, annotated: bool
) -> tuple[list[int], list[Exclusion]]:
    kept, exclusions = [], []
    for i, picture in enumerate(pictures):
        reason = unfit(picture, boxes[i], faults[i], annotated=annotated)
        if reason:
            exclusions.append(Exclusion(ids[i], reason))
        else:
            kept.append(i)
    return kept, exclusions


def _dropped(ids: list[str], own: list[list[str]], others: list[list[str]]) -> tuple[Exclusion, ...]:
    ignored = [[f"ignored {fault}" for fault in faults if fault not in NOT_IN_PICTURE] for faults in others]
    return tuple(
        Exclusion(source_id, fault)
        for found in (own, ignored)
        for source_id, faults in zip(ids, found, strict=True)
        for fault in faults
    )


def _frozen(pictures: Tensor, kept: list[int], *, shared: bool) -> Tensor:
    """The kept pictures in memory of their own, copied no more than once."""
    if shared or len(kept) < len(pictures):
        pictures = pictures[kept]
    return pictures.cpu().contiguous()
