"""Boxes that would fit their pictures better if they were read another way: axes swapped, mirrored, scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camdebug.numerals import number
from camdebug.probe.box_fit import Floats
from camdebug.probe.fit_matrix import SMALLEST_P, Annotated, FitMatrix, Sample, fit_matrix, glance, sample_of
from camdebug.probe.scales import Reading, fitted, scaled
from camdebug.probe.tried import Tried
from camdebug.records import Provenance


@dataclass(frozen=True)
class _Evidence:
    """That is asked for, in p-values.

    Attributes:
        sure: that the other reading fits by chance. With 64 pictures at most 1e-6 takes a mean gain of 0.6 standard
            deviations.
        not_a_few: the same without the pictures where it fits best.
        better: that the boxes as given, or others in their place, fit as well.
        fitted: that those do which were made as large as they fit best, of many sizes.
    """

    sure: float
    not_a_few: float
    better: float
    fitted: float


SURE = _Evidence(1e-6, 1e-3, 1e-3, 1e-2)
"""Boxes that are right are practically never doubted."""
SURE_WITH_RESCUED = _Evidence(1e-4, 1e-2, 1e-2, 5e-2)
"""Where boxes are impossible as given, and possible as read."""
_RESCUING = ("swapped", "xywh", "cxcywh")
_LEAST_RESCUED = 0.05
"""Share of the boxes."""
_GIVEN_AT_MOST, _OVERLAPPING_AT_MOST = 0.5, 0.67
"""Share of the other reading's fit that the boxes as given, or boxes of the other size in their place, may have: more
where they overlap the other reading by construction."""
_MIRRORS = ("swapped", "mirrored", "upside down")
_IN_MOST = 2 / 3
_CLOSER_LOOKS = 2


@dataclass(frozen=True)
class Doubt:
    """Something that seems to be wrong with the boxes.

    Attributes:
        sentence: that says it, without its full stop.
    """

    sentence: str

    def __str__(self) -> str:
        return f"{self.sentence}. Look at probes.preview()"


@dataclass(frozen=True)
class Suspicion(Doubt):
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


def suspicions(probes: Annotated) -> tuple[Doubt, ...]:
    """Other readings of the boxes that fit the pictures better, the clearest first; as a rule there is none.

    A box fits where the picture changes along its sides and its inside differs from its surround. Each reading of the
    boxes is laid on their own pictures and on others of the class: what these have in common, centred objects or a tag
    in a corner, fits both alike and says nothing. So that boxes which are only too wide or too narrow are not taken
    for scaled ones, a reading must also fit better than boxes of its sizes around the centres of those given, and than
    those given, made as wide and as high as they fit best.

    Args:
        probes: a probe set. Up to 64 pictures are looked at, and four boxes of each. Of masks the boxes around them
            are. What was found when it was drawn, in the pictures before the transform, comes in place of all that.

    Returns:
        Nothing below 12 pictures with boxes.
    """
    known = () if probes.provenance is None else probes.provenance.doubts
    if known:
        return tuple(Doubt(sentence) for sentence in known)
    sample = sample_of(probes)
    if sample is None:
        return ()
    readings = _readings(sample, masks=probes.masks is not None)
    if probes.provenance is not None:
        readings += _carried(sample, probes.provenance)
    return _judged(sample, [*readings, *scaled(sample)])


def doubts_as_annotated(tried: Tried) -> tuple[Suspicion, ...]:
    """The same for boxes as annotated, in the pictures before the transform, also those that cannot be probes."""
    sample = tried.sample()
    return () if sample is None else _judged(sample, [*_readings(sample), *scaled(sample, tried.after)])


def _judged(sample: Sample, readings: list[Reading]) -> tuple[Suspicion, ...]:
    promising = _promising(sample, readings)
    if not promising:
        return ()
    given = fit_matrix(sample, sample.boxes)
    found = [_compare(reading, given, sample) for reading in promising]
    return tuple(sorted((s for s in found if s is not None), key=lambda s: -s.gain))


def _promising(sample: Sample, readings: list[Reading]) -> list[Reading]:
    """The few readings worth a closer look: right boxes are left alone after a glance at a few other pictures."""
    given, *others = glance(sample, [sample.boxes, *(reading.boxes for reading in readings)])
    ranked = sorted(zip(others, readings, strict=True), key=lambda pair: -pair[0])[:_CLOSER_LOOKS]
    return [reading for score, reading in ranked if score > max(given, 0.0)]


def _compare(reading: Reading, given: FitMatrix, sample: Sample) -> Suspicion | None:
    other = fit_matrix(sample, reading.boxes, like=given if given.own.any() else None)
    p_value, better = other.p_value, int((other.own > given.own).sum())
    rescued = _rescued(reading, sample)
    asked = SURE_WITH_RESCUED if rescued else SURE
    if p_value >= asked.sure or other.p_value_of_most >= asked.not_a_few or better < _IN_MOST * len(other.own):
        return None
    most = _GIVEN_AT_MOST if reading.kind in _MIRRORS else _OVERLAPPING_AT_MOST
    in_place = [(sample.boxes, asked.better), (_resized(sample.boxes, reading.boxes), asked.better)]
    in_place.append((fitted(sample), asked.fitted))
    if any(_as_good(fit_matrix(sample, boxes, like=other), other, most, p) for boxes, p in in_place):
        return None
    gain, count = float((other.own - given.own).mean() / other.spread), len(other.own)
    sentence = _sentence(reading.told, better, count, p_value, rescued)
    return Suspicion(sentence, reading.kind, reading.told, count, better, gain, p_value)


def _sentence(told: str, better: int, count: int, p_value: float, rescued: int) -> str:
    relation = "<" if p_value <= SMALLEST_P else "="
    inside = f", and {rescued} of the boxes, impossible as they are, would lie in their pictures" if rescued else ""
    return (
        f"The boxes may be wrong: read as if {told}, they fit {better} of {count} pictures better (p {relation} "
        f"{number(p_value)}){inside}"
    )


def _rescued(reading: Reading, sample: Sample) -> int:
    """Boxes that are beyond their picture or inverted, and would not be; 0 where that may be chance or trivial."""
    if reading.kind not in _RESCUING:
        return 0
    before, after = _impossible(sample.boxes, sample.frames), _impossible(reading.boxes, sample.frames)
    count = int((before & ~after).sum())
    return count if count >= _LEAST_RESCUED * len(before) and 20 * int(after.sum()) <= count else 0


def _impossible(boxes: Floats, frames: Floats) -> NDArray[np.bool_]:
    slack = 1 + 0.02 * frames
    beyond = (boxes[:, :2] < -slack).any(1) | (boxes[:, 2:] > frames + slack).any(1)
    return np.asarray(beyond | (boxes[:, 2:] <= boxes[:, :2]).any(1))


def _as_good(before: FitMatrix, other: FitMatrix, most: float, p_value: float) -> bool:
    """Whether boxes may fit as well as those of the other reading."""
    worse = float(before.own.mean()) <= most * float(other.own.mean())
    return not worse or (other - before).p_value >= p_value


def _resized(boxes: Floats, like: Floats) -> Floats:
    """Boxes around the same centres, of the sides of others."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (like[:, 2:] - like[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _readings(sample: Sample, *, masks: bool = False) -> list[Reading]:
    width, height = sample.frames.T
    x1, y1, x2, y2 = sample.boxes.T
    found = [
        Reading("swapped", "x and y were swapped", _boxes(y1, x1, y2, x2)),
        Reading("mirrored", "they were mirrored left to right", _boxes(width - x2, y1, width - x1, y2)),
        Reading("upside down", "they were upside down", _boxes(x1, height - y2, x2, height - y1)),
    ]
    if masks:
        return found
    centred = _boxes(x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2)
    return [
        *found,
        Reading("xywh", "they were x, y, width, height", _boxes(x1, y1, x1 + x2, y1 + y2)),
        Reading("cxcywh", "they were centre x, centre y, width, height", centred),
    ]


def _boxes(*columns: Floats) -> Floats:
    return np.stack(columns, 1)


def _carried(sample: Sample, provenance: Provenance) -> list[Reading]:
    """The boxes with the transform's scale applied once more, and once less."""
    sizes = np.array([provenance.origins[row].image_size for row in sample.rows], dtype=np.float64)[sample.owner]
    ratio = np.tile((np.array(sample.size) / sizes)[:, ::-1], 2)
    if np.allclose(ratio, 1):
        return []
    told = "they were in pixels of the pictures before the transform"
    return [
        Reading("scaled", told, sample.boxes * ratio),
        Reading("scaled", "the transform's scale had been applied to them twice", sample.boxes / ratio),
    ]
