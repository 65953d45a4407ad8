"""How boxes fit their own pictures against others of the same class: what these have in common says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import erfc, inf, sqrt
from typing import Protocol

import numpy as np
from torch import Tensor

from camdebug.probe.box_fit import Floats, Ints, SmallPictures, fits, pooled, shrink
from camdebug.records import Provenance

LEAST_PICTURES = 12
_MOST_PICTURES = 64
_MOST_BOXES = 4
"""Of a picture, the largest ones."""
_LEAST_OF_CLASS = 8
_OTHERS = 5
_TO_CHOOSE_BY = 24
SMALLEST_P = 1e-50
_NOTHING = 1e-7


class Annotated(Protocol):
    """What of a ``ProbeSet`` is looked at."""

    images: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    masks: Tensor | None
    provenance: Provenance | None


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of the pictures, made small, and their boxes.

    Attributes:
        pictures: the ``n`` pictures.
        boxes: ``(k, 4)`` xyxy in pixels of the pictures as they came.
        owner: ``(k,)``, the picture of each box.
        rows: where the pictures stand among those it was taken from.
        groups: the pictures of each class; of classes with few of them, together.
        frames: ``(k, 2)``, width and height of the picture of each box as it came.
        size: height and width that all pictures count as; boxes are laid on pictures of other sizes by the shares of
            width and height at which they lie in their own.
    """

    pictures: SmallPictures
    boxes: Floats
    owner: Ints
    rows: list[int]
    groups: tuple[Ints, ...]
    frames: Floats
    size: tuple[int, int]

    def fewer(self) -> Sample:
        """The largest box of some of the pictures: enough to choose among many readings."""
        first = np.unique(self.owner, return_index=True)[1][:: max(1, len(self.rows) // _TO_CHOOSE_BY)]
        return replace(self, boxes=self.boxes[first], owner=self.owner[first], frames=self.frames[first])

    def placed(self, boxes: Floats) -> Floats:
        """Boxes in the order of its own, in pixels of pictures of its size."""
        return boxes * np.tile(np.array(self.size[::-1]) / self.frames, 2)


def sample_of(probes: Annotated) -> Sample | None:
    """Up to 64 pictures with boxes, at least eight of a class where it has them; ``None`` where there are too few."""
    annotated = [i for i, boxes in enumerate(probes.boxes) if len(boxes)]
    if len(annotated) < LEAST_PICTURES or min(probes.images.shape[2:]) < 2:
        return None
    rows, groups = grouped(annotated, probes.labels[annotated].tolist())
    pictures = shrink(probes.images, rows) if len(rows) >= LEAST_PICTURES else None
    if pictures is None:
        return None
    size = (probes.images.shape[2], probes.images.shape[3])
    boxes = [largest(probes.boxes[row].double().numpy()) for row in rows]
    return sample_from(pictures, boxes, rows, groups, [size] * len(rows), size)


def sample_from(
    pictures: SmallPictures,
    boxes: Sequence[Floats],
    rows: list[int],
    groups: tuple[Ints, ...],
    sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> Sample:
    """A sample from what each of its pictures has: its boxes, and its height and width."""
    owner = np.repeat(np.arange(len(rows)), [len(own) for own in boxes])
    frames = np.array(sizes, dtype=np.float64)[owner][:, ::-1]
    return Sample(pictures, np.concatenate(boxes), owner, rows, groups, frames, size)


def grouped(annotated: list[int], labels: list[int]) -> tuple[list[int], tuple[Ints, ...]]:
    """Rows of the sample, group by group, and the places of each group among them."""
    members: dict[int, list[int]] = {}
    for row, label in zip(annotated, labels, strict=True):
        members.setdefault(label, []).append(row)
    by_size = sorted(members.values(), key=lambda rows: -len(rows))
    quota = max(_LEAST_OF_CLASS, _MOST_PICTURES // len(by_size))
    groups = [_evenly(rows, quota) for rows in by_size if len(rows) >= _LEAST_OF_CLASS]
    left = [row for rows in by_size if len(rows) < _LEAST_OF_CLASS for row in rows]
    groups += [left] if len(left) >= _LEAST_OF_CLASS else []
    ends, kept = [0], []
    for group in groups:
        taken = _evenly(group, _MOST_PICTURES - ends[-1])
        if len(taken) >= _LEAST_OF_CLASS:
            kept += taken
            ends.append(len(kept))
    return kept, tuple(np.arange(a, b) for a, b in pairwise(ends))


def _evenly(rows: list[int], count: int) -> list[int]:
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]


def largest(boxes: Floats) -> Floats:
    """Of one picture, those that are looked at."""
    area = np.abs((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    found: Floats = boxes[np.argsort(-area, kind="stable")[:_MOST_BOXES]]
    return found


@dataclass(frozen=True, eq=False)
class FitMatrix:
    """How the boxes of each picture of a sample fit each picture of its group.

    Attributes:
        blocks: for each group ``(g, g)``, boxes by pictures: both kinds of fit in standard deviations, added, and
            without what belongs to the row or the column alone. Of boxes that are outside it is 0.
        units: those standard deviations.
    """

    blocks: tuple[Floats, ...]
    units: tuple[float, float] = (1.0, 1.0)

    def __sub__(self, other: FitMatrix) -> FitMatrix:
        return FitMatrix(tuple(a - b for a, b in zip(self.blocks, other.blocks, strict=True)), self.units)

    @property
    def own(self) -> Floats:
        """``(n,)``: fit of the boxes of each picture on their own."""
        return np.concatenate([np.diag(block) for block in self.blocks])

    @property
    def spread(self) -> float:
        """Standard deviation over boxes and pictures."""
        return float(np.concatenate([block.ravel() for block in self.blocks]).std())

    @property
    def p_value(self) -> float:
        """That exchanging pictures within the groups gives as large a sum of fits on own pictures, 1e-50 or more.

        By the exact mean and variance over all permutations and the normal limit (Hoeffding 1951,
        doi:10.1214/aoms/1177729545).
        """
        return self._tail(float(self.own.sum()))

    @property
    def p_value_of_most(self) -> float:
        """The same without the sixth of the pictures that fits best: the limit is no good where a few decide."""
        return self._tail(float(np.sort(self.own)[: -(len(self.own) // 6) or None].sum()))

    def _tail(self, total: float) -> float:
        variance = sum(float((block**2).sum()) / (len(block) - 1) for block in self.blocks)
        return max(SMALLEST_P, 0.5 * erfc(total / sqrt(2 * variance))) if variance > 1e-18 else 1.0


def fit_matrix(sample: Sample, boxes: Floats, *, like: FitMatrix | None = None) -> FitMatrix:
    """Lay boxes, read some way, on the pictures.

    Args:
        sample: the pictures.
        boxes: ``(k, 4)`` in the order of the sample's.
        like: a matrix to compare with, whose units are taken.
    """
    boxes = sample.placed(boxes)
    blocks = [_block(sample, boxes, group) for group in sample.groups]
    units = _units(blocks) if like is None else like.units
    return FitMatrix(tuple(block[0] / units[0] + block[1] / units[1] for block in blocks), units)


def _units(blocks: Sequence[Floats]) -> tuple[float, float]:
    """Infinite where all boxes are alike, so that what is left by rounding counts as nothing."""
    first, second = (float(np.concatenate([block[kind].ravel() for block in blocks]).std()) for kind in (0, 1))
    return first if first > _NOTHING else inf, second if second > _NOTHING else inf


def _block(sample: Sample, boxes: Floats, group: Ints) -> Floats:
    """``(2, g, g)``, centred over boxes and over pictures."""
    mine = (sample.owner >= group[0]) & (sample.owner <= group[-1])
    everywhere = np.broadcast_to(group, (int(mine.sum()), len(group)))
    values = pooled(fits(sample.pictures, boxes[mine], everywhere), sample.owner[mine] - group[0], len(group))
    known = ~np.isnan(values[:, 0, 0])
    block = np.zeros((2, len(group), len(group)))
    if known.any():
        fit = np.moveaxis(values[known], 2, 0)
        own = fit - fit.mean(1, keepdims=True) - fit.mean(2, keepdims=True) + fit.mean((1, 2), keepdims=True)
        block[:, known] = own
    return block


def glance(sample: Sample, ways: Sequence[Floats]) -> list[float]:
    """For each way to read the boxes their fit on their own pictures minus that on a few others of the group.

    In standard deviations of the latter; 0 where few boxes would lie in the picture.
    """
    rows = np.concatenate(list(_few_others(sample.groups)))[sample.owner]
    values = fits(sample.pictures, np.concatenate([sample.placed(way) for way in ways]), np.tile(rows, (len(ways), 1)))
    return [_gain(part) for part in np.split(values, len(ways))]


def _few_others(groups: Sequence[Ints]) -> Iterator[Ints]:
    """``(g, 1 + others)`` for each group: every picture and some others."""
    for group in groups:
        steps = 1 + np.arange(_OTHERS) * (len(group) - 1) // _OTHERS
        others = (np.arange(len(group))[:, None] + np.append(0, steps)) % len(group)
        yield group[others]


def _gain(values: Floats) -> float:
    known = values[~np.isnan(values[:, 0, 0])]
    if len(known) < LEAST_PICTURES:
        return 0.0
    gain, spread = (known[:, 0] - known[:, 1:].mean(1)).mean(0), known[:, 1:].std((0, 1))
    return float((gain / np.maximum(spread, 1e-9)).sum())
