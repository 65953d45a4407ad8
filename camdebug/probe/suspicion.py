"""Boxes that would fit their pictures better if they were read another way: axes swapped, mirrored, scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import erfc, sqrt
from typing import Protocol

import numpy as np
from torch import Tensor

from camdebug.numerals import number
from camdebug.probe.box_fit import Floats, Ints, SmallPictures, fits, pictures_for, pooled
from camdebug.records import Provenance

LEAST_PICTURES = 12
_MOST_PICTURES = 64
_MOST_BOXES = 4
"""Of a picture, the largest ones."""

SURE = 1e-6
"""P-value that the other reading fits by chance: boxes that are right are practically never doubted. With 64 pictures
at most it takes a mean gain of 0.6 standard deviations."""
_BETTER_THAN_GIVEN = 1e-3
"""P-value that the boxes as given fit as well."""
_GIVEN_AT_MOST = 0.5
"""Share of the other reading's fit that the boxes as given may have."""
_IN_MOST = 2 / 3
_FACTORS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_FINER = (0.84, 1.0, 1.19)
_MOST_SKEWED = 0.45
"""Ratio of the two factors; pictures of 16:9 squeezed into a square have 0.56."""
_TO_CHOOSE_BY = 24
_ROLLS = 5
_CLOSER_LOOKS = 2


@dataclass(frozen=True)
class Suspicion:
    """Another reading of the boxes that fits the pictures clearly better.

    Attributes:
        kind: ``"swapped"``, ``"xywh"``, ``"cxcywh"``, ``"mirrored"``, ``"upside down"`` or ``"scaled"``.
        told: what the boxes seem to be, such as ``"x and y are swapped"``.
        pictures: so many were looked at.
        better: of those, in so many the other reading fits better.
        gain: how much better it fits, in standard deviations of the fit of a box on pictures that are not its own.
        p_value: that boxes which have nothing to do with their pictures would fit as well, read that way.
    """

    kind: str
    told: str
    pictures: int
    better: int
    gain: float
    p_value: float

    @property
    def sentence(self) -> str:
        """With the numbers, without a full stop."""
        return (
            f"The boxes may be wrong: read as if {self.told}, they fit {self.better} of {self.pictures} pictures "
            f"better (p = {number(self.p_value)})"
        )

    def __str__(self) -> str:
        return f"{self.sentence}. Look at probes.preview()"


class Annotated(Protocol):
    """What of a ``ProbeSet`` is looked at."""

    images: Tensor
    boxes: tuple[Tensor, ...]
    masks: Tensor | None
    provenance: Provenance | None


@dataclass(frozen=True, eq=False)
class _Reading:
    kind: str
    told: str
    boxes: Floats


@dataclass(frozen=True, eq=False)
class _Sample:
    """Pictures made small, and the boxes ``(k, 4)`` of them with the picture ``(k,)`` of each."""

    pictures: SmallPictures
    boxes: Floats
    owner: Ints
    rows: list[int]
    size: tuple[int, int]


def suspicions(probes: Annotated) -> tuple[Suspicion, ...]:
    """Other readings of the boxes that fit the pictures better, the clearest first; as a rule there is none.

    A box fits where the picture changes along its sides and its inside differs from its surround. Each reading of the
    boxes is laid on their own pictures and on all others: what the pictures have in common, centred objects or a tag in
    a corner, fits both alike and says nothing. The p-values are of the permutation of pictures over boxes, by its exact
    mean and variance and the normal limit (Hoeffding 1951, doi:10.1214/aoms/1177729545).

    Args:
        probes: a probe set. Up to 64 pictures are looked at, evenly over the set, and four boxes of each. Of masks the
            boxes around them are.

    Returns:
        Nothing below 12 pictures with boxes.
    """
    rows = [i for i, boxes in enumerate(probes.boxes) if len(boxes)]
    if len(rows) < LEAST_PICTURES or min(probes.images.shape[2:]) < 2:
        return ()
    sample = _sample(probes, rows)
    if sample is None:
        return ()
    promising = _promising(sample, probes)
    if not promising:
        return ()
    given = _matrix(sample, sample.boxes)
    found = (_compare(reading, given, _matrix(sample, reading.boxes)) for reading in promising)
    return tuple(sorted((s for s in found if s is not None), key=lambda s: -s.gain))


def _sample(probes: Annotated, rows: list[int]) -> _Sample | None:
    if len(rows) > _MOST_PICTURES:
        rows = [rows[i * len(rows) // _MOST_PICTURES] for i in range(_MOST_PICTURES)]
    pictures = pictures_for(probes.images, rows)
    if pictures is None:
        return None
    largest = [_largest(probes.boxes[row]) for row in rows]
    owner = np.repeat(np.arange(len(rows)), [len(boxes) for boxes in largest])
    size = (probes.images.shape[2], probes.images.shape[3])
    return _Sample(pictures, np.concatenate(largest), owner, rows, size)


def _largest(boxes: Tensor) -> Floats:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found: Floats = boxes[area.argsort(descending=True, stable=True)[:_MOST_BOXES]].double().numpy()
    return found


def _matrix(sample: _Sample, boxes: Floats) -> Floats:
    """``(n, n)``: fit of the boxes of each picture (row) on each picture, double-centred; NaN rows become 0."""
    count = len(sample.rows)
    everywhere = np.broadcast_to(np.arange(count), (len(boxes), count))
    values = pooled(fits(sample.pictures, boxes, everywhere), sample.owner, count)
    known = ~np.isnan(values[:, 0, 0])
    total = np.zeros((count, count))
    for fit in np.moveaxis(values[known], 2, 0):
        own = fit - fit.mean(0) - fit.mean(1, keepdims=True) + fit.mean() if len(fit) else fit
        spread = own.std() if own.size else 0.0
        if spread > 1e-9:
            total[known] += own / spread
    return total


def _promising(sample: _Sample, probes: Annotated) -> list[_Reading]:
    """The few readings worth a closer look: right boxes are left alone after a glance at a few other pictures."""
    readings = [*_readings(sample, probes), *_scaled(sample)]
    given, *others = _glance(sample, [sample.boxes, *(reading.boxes for reading in readings)])
    ranked = sorted(zip(others, readings, strict=True), key=lambda pair: -pair[0])[:_CLOSER_LOOKS]
    return [reading for score, reading in ranked if score > max(given, 0.0)]


def _glance(sample: _Sample, ways: Sequence[Floats]) -> list[float]:
    """For each way to read the boxes their fit on their own pictures minus that on a few others."""
    count = len(sample.rows)
    rows = (sample.owner[:, None] + np.linspace(0, count - 1, _ROLLS + 1).astype(np.int64)) % count
    values = fits(sample.pictures, np.concatenate(ways), np.tile(rows, (len(ways), 1)))
    return [_gain(part) for part in np.split(values, len(ways))]


def _gain(values: Floats) -> float:
    """In standard deviations of the fit on other pictures, both kinds of fit together; ``(k, 1 + others, 2)``."""
    known = values[~np.isnan(values[:, 0, 0])]
    if len(known) < LEAST_PICTURES:
        return 0.0
    gain, spread = (known[:, 0] - known[:, 1:].mean(1)).mean(0), known[:, 1:].std((0, 1))
    return float((gain / np.maximum(spread, 1e-9)).sum())


def _compare(reading: _Reading, given: Floats, other: Floats) -> Suspicion | None:
    own, before = np.diag(other), np.diag(given)
    p_value, better = _p_value(other), int((own > before).sum())
    clear = p_value < SURE and _p_value(other - given) < _BETTER_THAN_GIVEN
    if not clear or before.mean() > _GIVEN_AT_MOST * own.mean() or better < _IN_MOST * len(own):
        return None
    gain = float((own - before).mean() / other.std())
    return Suspicion(reading.kind, reading.told, len(own), better, gain, p_value)


def _p_value(centred: Floats) -> float:
    """That a permutation of the columns of a double-centred matrix gives a trace as large."""
    variance = float((centred**2).sum()) / (len(centred) - 1)
    return 0.5 * erfc(float(np.trace(centred)) / sqrt(2 * variance)) if variance > 1e-18 else 1.0


def _readings(sample: _Sample, probes: Annotated) -> Iterator[_Reading]:
    height, width = sample.size
    x1, y1, x2, y2 = sample.boxes.T
    yield _Reading("swapped", "x and y were swapped", _boxes(y1, x1, y2, x2))
    yield _Reading("mirrored", "they were mirrored left to right", _boxes(width - x2, y1, width - x1, y2))
    yield _Reading("upside down", "they were upside down", _boxes(x1, height - y2, x2, height - y1))
    if probes.masks is None:
        yield _Reading("xywh", "they were x, y, width, height", _boxes(x1, y1, x1 + x2, y1 + y2))
        centred = _boxes(x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2)
        yield _Reading("cxcywh", "they were centre x, centre y, width, height", centred)
    if probes.provenance is not None:
        yield from _carried(sample, probes.provenance)


def _boxes(*columns: Floats) -> Floats:
    return np.stack(columns, 1)


def _carried(sample: _Sample, provenance: Provenance) -> Iterator[_Reading]:
    """The boxes with the transform's scale applied once more, and once less."""
    sizes = np.array([provenance.origins[row].image_size for row in sample.rows], dtype=np.float64)[sample.owner]
    ratio = np.tile((np.array(sample.size) / sizes)[:, ::-1], 2)
    if np.allclose(ratio, 1):
        return
    told = "they were in pixels of the pictures before the transform"
    yield _Reading("scaled", told, sample.boxes * ratio)
    yield _Reading("scaled", "the transform's scale had been applied to them twice", sample.boxes / ratio)


def _scaled(sample: _Sample) -> list[_Reading]:
    """The boxes by the two factors with which they fit best, found in two steps."""
    few = _fewer(sample)
    reach = np.array(sample.size[::-1]) / np.maximum(sample.boxes[:, 2:].max(0), 1)
    coarse = [(x, y) for x in (*_FACTORS, reach[0]) for y in (*_FACTORS, reach[1]) if x / y >= _MOST_SKEWED]
    x, y = _best(few, [(x, y) for x, y in coarse if x / y <= 1 / _MOST_SKEWED])
    x, y = _best(few, [(x * a, y * b) for a in _FINER for b in _FINER])
    height, width = sample.size
    told = f"they were for pictures of about {height / y:.0f}x{width / x:.0f} pixels, not {height}x{width}"
    return [_Reading("scaled", told, sample.boxes * np.array([x, y, x, y]))]


def _best(sample: _Sample, factors: list[tuple[float, float]]) -> tuple[float, float]:
    scores = _glance(sample, [sample.boxes * np.array([x, y, x, y]) for x, y in factors])
    return factors[int(np.argmax(scores))]


def _fewer(sample: _Sample) -> _Sample:
    """The largest box of some of the pictures: enough to choose a factor by."""
    first = np.unique(sample.owner, return_index=True)[1][:: max(1, len(sample.rows) // _TO_CHOOSE_BY)]
    return replace(sample, boxes=sample.boxes[first], owner=sample.owner[first])
