"""Boxes that may belong to pictures of another size: sizes that are common, and the one with which they fit best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from camdebug.numerals import percent
from camdebug.probe.box_fit import Floats
from camdebug.probe.fit_matrix import Sample, glance

_COMMON = (224, 256, 320, 416, 512, 640)
_LEAST_FACTOR = 1.3
"""Less cannot be told from boxes that are too wide or too narrow."""
_FACTORS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_FINER = (0.84, 1.0, 1.19)
_MOST_SKEWED = 0.45
"""Ratio of the two factors; pictures of 16:9 squeezed into a square have 0.56."""
_AS_GOOD = 0.95
"""Share of the best fit with which a common size is taken for it."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Boxes read another way.

    Attributes:
        kind: as of ``Suspicion``.
        told: likewise.
        boxes: ``(k, 4)`` in the order of the sample's.
    """

    kind: str
    told: str
    boxes: Floats


@dataclass(frozen=True, eq=False)
class _Scale:
    """A size that boxes may be for.

    Attributes:
        size: in words.
        applied: the boxes of a sample in pixels of its pictures.
    """

    size: str
    applied: Callable[[Sample], Floats]


def scaled(sample: Sample, after: tuple[int, int] | None = None) -> list[Reading]:
    """The boxes as if for a common size, or by the two factors with which they fit best; nothing where both are 1.

    Args:
        sample: the pictures.
        after: height and width of the pictures after the transform, where the sample's are those before.
    """
    few = sample.fewer()
    free = _by_factors(sample, _best_factors(few))
    known = [scale for scale in _known(sample, after) if _matters(few, scale)]
    *scores, most = glance(few, [scale.applied(few) for scale in (*known, free)])
    best = known[int(np.argmax(scores))] if known else free
    if max(scores, default=0.0) < _AS_GOOD * most:
        best = free if _matters(few, free) else replace(best, size=f"about {best.size}")
    return [_reading(sample, best)] if _matters(few, best) else []


def _reading(sample: Sample, scale: _Scale) -> Reading:
    height, width = sample.size
    real = f"the pictures are {width}x{height}" if _of_one_size(sample) else "the pictures are of several sizes"
    return Reading("scaled", f"for {scale.size} (width x height; {real})", scale.applied(sample))


def _of_one_size(sample: Sample) -> bool:
    return bool((sample.frames == sample.frames[0]).all())


def _matters(sample: Sample, scale: _Scale) -> bool:
    before, after = (boxes[:, 2:] - boxes[:, :2] for boxes in (sample.boxes, scale.applied(sample)))
    ratio = after[before != 0] / before[before != 0]
    return bool((np.maximum(ratio, 1 / ratio) >= _LEAST_FACTOR).any())


def _known(sample: Sample, after: tuple[int, int] | None) -> list[_Scale]:
    """Common squares, and what the transform makes of the pictures."""
    found = [scale for side in _COMMON for scale in _of_size(sample, side, side)]
    if after is None:
        return found
    height, width = after
    centre = _Scale(f"{width}x{height} in their middle", lambda own: _uncropped(own, width, height))
    return [*_of_size(sample, width, height), centre, *found]


def _of_size(sample: Sample, width: int, height: int) -> list[_Scale]:
    """Squeezed into it, and resized so that the shorter or the longer side is as long as its own."""
    short, long = min(width, height), max(width, height)
    return [
        _Scale(f"{width}x{height}", lambda sample: sample.boxes * np.tile(sample.frames / (width, height), 2)),
        _Scale(
            _kept(sample, short, "shorter"), lambda sample: sample.boxes * sample.frames.min(1, keepdims=True) / short
        ),
        _Scale(_kept(sample, long, "longer"), lambda sample: sample.boxes * sample.frames.max(1, keepdims=True) / long),
    ]


def _kept(sample: Sample, length: int, side: str) -> str:
    height, width = sample.size
    factor = length / (min(sample.size) if side == "shorter" else max(sample.size))
    return f"{width * factor:.0f}x{height * factor:.0f}" if _of_one_size(sample) else f"a {side} side of {length}"


def _uncropped(sample: Sample, width: int, height: int) -> Floats:
    """Of boxes in the middle of pictures that were resized until it filled that size."""
    factor = (sample.frames / (width, height)).min(1, keepdims=True)
    boxes: Floats = sample.boxes * factor + np.tile((sample.frames - factor * (width, height)) / 2, 2)
    return boxes


def _by_factors(sample: Sample, factors: tuple[float, float]) -> _Scale:
    x, y = factors
    height, width = sample.size
    about = f"about {width / x:.0f}x{height / y:.0f}"
    if not _of_one_size(sample):
        about = f"about {percent(1 / x)} x {percent(1 / y)} of their size"
    return _Scale(about, lambda own: _times(own.boxes, x, y))


def fitted(sample: Sample) -> Floats:
    """The boxes about their own centres, as wide and high as they fit best: what loose or tight ones should be."""
    few = sample.fewer()
    x, y = _best_pair(few, [(x, y) for x in _FACTORS for y in _FACTORS], grown)
    x, y = _best_pair(few, [(x * a, y * b) for a in _FINER for b in _FINER], grown)
    return grown(sample.boxes, x, y)


def grown(boxes: Floats, x: float, y: float) -> Floats:
    """Boxes about their own centres."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (x, y)
    return np.concatenate([centre - half, centre + half], 1)


def _times(boxes: Floats, x: float, y: float) -> Floats:
    """Boxes with all that is theirs, from the corner of the picture."""
    found: Floats = boxes * np.array([x, y, x, y])
    return found


def _best_factors(few: Sample) -> tuple[float, float]:
    """For x and y, found in two steps."""
    reach = np.array(few.size[::-1]) / np.maximum(few.placed(few.boxes)[:, 2:].max(0), 1)
    coarse = [(x, y) for x in (*_FACTORS, reach[0]) for y in (*_FACTORS, reach[1])]
    x, y = _best_pair(few, [(x, y) for x, y in coarse if min(x / y, y / x) >= _MOST_SKEWED], _times)
    return _best_pair(few, [(x * a, y * b) for a in _FINER for b in _FINER], _times)


def _best_pair(
    few: Sample, factors: list[tuple[float, float]], change: Callable[[Floats, float, float], Floats]
) -> tuple[float, float]:
    scores = glance(few, [change(few.boxes, x, y) for x, y in factors])
    return factors[int(np.argmax(scores))]
