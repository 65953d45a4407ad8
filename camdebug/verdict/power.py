"""How small a fall in probability the probes of a class can show, before anything is measured."""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist

SPREAD = 0.2
"""Standard deviation of a fall in probability from one pair of donors to another, assumed before it is known."""

POWER = 0.8


def smallest_gap(pairs: int, threshold: float, *, spread: float = SPREAD) -> float:
    """The smallest swap gap that is found in four runs of five at one look (normal approximation).

    Args:
        pairs: of donors of the class.
        threshold: p-value at which the test counts.
        spread: standard deviation over pairs.

    >>> round(smallest_gap(20, 0.001), 2), round(smallest_gap(80, 0.001), 2)
    (0.18, 0.09)
    """
    return _deviates(threshold) * spread / sqrt(pairs)


def pairs_needed(gap: float, threshold: float, *, spread: float = SPREAD) -> int:
    """Pairs of donors a class needs to show such a gap in four runs of five.

    >>> pairs_needed(0.1, 0.001)
    62
    """
    return ceil((_deviates(threshold) * spread / gap) ** 2)


def _deviates(threshold: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - threshold) + normal.inv_cdf(POWER)
