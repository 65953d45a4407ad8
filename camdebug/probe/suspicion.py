"""Boxes that would fit their pictures better if they were read another way: axes swapped, mirrored, scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from camdebug.numerals import number
from camdebug.probe.box_fit import Floats
from camdebug.probe.fit_matrix import SMALLEST_P, Annotated, FitMatrix, Sample, fit_matrix, glance, sample_of
from camdebug.records import Provenance

SURE = 1e-6
"""P-value that the other reading fits by chance: boxes that are right are practically never doubted. With 64 pictures
at most it takes a mean gain of 0.6 standard deviations."""
_NOT_A_FEW = 1e-3
"""The same without the pictures where it fits best."""
_BETTER_THAN_GIVEN = 1e-3
"""P-value that the boxes as given fit as well."""
_GIVEN_AT_MOST, _OVERLAPPING_AT_MOST = 0.5, 0.67
"""Share of the other reading's fit that the boxes as given, or boxes of the other size in their place, may have: more
where they overlap the other reading by construction."""
_MIRRORS = ("swapped", "mirrored", "upside down")
_LEAST_FACTOR = 1.3
"""Less cannot be told from boxes that are too wide or too narrow."""
_IN_MOST = 2 / 3
_FACTORS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_FINER = (0.84, 1.0, 1.19)
_MOST_SKEWED = 0.45
"""Ratio of the two factors; pictures of 16:9 squeezed into a square have 0.56."""
_CLOSER_LOOKS = 2


@dataclass(frozen=True)
class Suspicion:
    """Another reading of the boxes that fits the pictures clearly better.

    Attributes:
        kind: ``"swapped"``, ``"xywh"``, ``"cxcywh"``, ``"mirrored"``, ``"upside down"`` or ``"scaled"``.
        told: what the boxes seem to be, such as ``"x and y were swapped"``.
        pictures: so many were looked at.
        better: of those, in so many the other reading fits better.
        gain: how much better it fits, in standard deviations of the fit over boxes and pictures.
        p_value: that boxes which have nothing to do with their pictures would fit as well, read that way; 1e-50 or
            more.
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
        relation = "<" if self.p_value <= SMALLEST_P else "="
        return (
            f"The boxes may be wrong: read as if {self.told}, they fit {self.better} of {self.pictures} pictures "
            f"better (p {relation} {number(self.p_value)})"
        )

    def __str__(self) -> str:
        return f"{self.sentence}. Look at probes.preview()"


@dataclass(frozen=True, eq=False)
class _Reading:
    kind: str
    told: str
    boxes: Floats


def suspicions(probes: Annotated) -> tuple[Suspicion, ...]:
    """Other readings of the boxes that fit the pictures better, the clearest first; as a rule there is none.

    A box fits where the picture changes along its sides and its inside differs from its surround. Each reading of the
    boxes is laid on their own pictures and on others of the class: what these have in common, centred objects or a tag
    in a corner, fits both alike and says nothing. So that boxes which are only too wide or too narrow are not taken
    for scaled ones, a reading must also fit better than boxes of its sizes around the centres of those given.

    Args:
        probes: a probe set. Up to 64 pictures are looked at, and four boxes of each. Of masks the boxes around them
            are.

    Returns:
        Nothing below 12 pictures with boxes.
    """
    sample = sample_of(probes)
    promising = [] if sample is None else _promising(sample, probes)
    if sample is None or not promising:
        return ()
    given = fit_matrix(sample, sample.boxes)
    found = [_compare(reading, given, sample) for reading in promising]
    return tuple(sorted((s for s in found if s is not None), key=lambda s: -s.gain))


def _promising(sample: Sample, probes: Annotated) -> list[_Reading]:
    """The few readings worth a closer look: right boxes are left alone after a glance at a few other pictures."""
    readings = [*_readings(sample, probes), *_scaled(sample)]
    given, *others = glance(sample, [sample.boxes, *(reading.boxes for reading in readings)])
    ranked = sorted(zip(others, readings, strict=True), key=lambda pair: -pair[0])[:_CLOSER_LOOKS]
    return [reading for score, reading in ranked if score > max(given, 0.0)]


def _compare(reading: _Reading, given: FitMatrix, sample: Sample) -> Suspicion | None:
    other = fit_matrix(sample, reading.boxes, like=given)
    p_value, better = other.p_value, int((other.own > given.own).sum())
    if p_value >= SURE or other.p_value_of_most >= _NOT_A_FEW or better < _IN_MOST * len(other.own):
        return None
    resized = fit_matrix(sample, _resized(sample.boxes, reading.boxes), like=given)
    most = _GIVEN_AT_MOST if reading.kind in _MIRRORS else _OVERLAPPING_AT_MOST
    if not all(_clearly_worse(before, other, most) for before in (given, resized)):
        return None
    gain = float((other.own - given.own).mean() / other.spread)
    return Suspicion(reading.kind, reading.told, len(other.own), better, gain, p_value)


def _clearly_worse(before: FitMatrix, other: FitMatrix, most: float) -> bool:
    worse = float(before.own.mean()) <= most * float(other.own.mean())
    return worse and (other - before).p_value < _BETTER_THAN_GIVEN


def _resized(boxes: Floats, like: Floats) -> Floats:
    """Boxes around the same centres, of the sides of others."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (like[:, 2:] - like[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _readings(sample: Sample, probes: Annotated) -> Iterator[_Reading]:
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


def _carried(sample: Sample, provenance: Provenance) -> Iterator[_Reading]:
    """The boxes with the transform's scale applied once more, and once less."""
    sizes = np.array([provenance.origins[row].image_size for row in sample.rows], dtype=np.float64)[sample.owner]
    ratio = np.tile((np.array(sample.size) / sizes)[:, ::-1], 2)
    if np.allclose(ratio, 1):
        return
    told = "they were in pixels of the pictures before the transform"
    yield _Reading("scaled", told, sample.boxes * ratio)
    yield _Reading("scaled", "the transform's scale had been applied to them twice", sample.boxes / ratio)


def _scaled(sample: Sample) -> Iterator[_Reading]:
    """The boxes by the two factors with which they fit best, found in two steps; nothing where both are about 1."""
    few = sample.fewer()
    reach = np.array(sample.size[::-1]) / np.maximum(sample.boxes[:, 2:].max(0), 1)
    coarse = [(x, y) for x in (*_FACTORS, reach[0]) for y in (*_FACTORS, reach[1])]
    x, y = _best(few, [(x, y) for x, y in coarse if min(x / y, y / x) >= _MOST_SKEWED])
    x, y = _best(few, [(x * a, y * b) for a in _FINER for b in _FINER])
    if max(x, 1 / x, y, 1 / y) < _LEAST_FACTOR:
        return
    height, width = sample.size
    told = f"they were for pictures of about {height / y:.0f}x{width / x:.0f} pixels, not {height}x{width}"
    yield _Reading("scaled", told, sample.boxes * np.array([x, y, x, y]))


def _best(sample: Sample, factors: list[tuple[float, float]]) -> tuple[float, float]:
    scores = glance(sample, [sample.boxes * np.array([x, y, x, y]) for x, y in factors])
    return factors[int(np.argmax(scores))]
