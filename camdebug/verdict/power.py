"""How small a fall in probability the probes of a class can show, before anything is measured."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from camdebug.verdict.confirm import MIN_GAP, PANEL_P_VALUE

SPREAD = 0.2
"""Standard deviation of a fall in probability from one pair of donors to another, assumed before it is known."""

POWER = 0.8

_RUNS, _MOST_PAIRS = 2000, 640


def smallest_gap(pairs: int, threshold: float, *, spread: float = SPREAD) -> float:
    """The smallest true fall that the rule of ``confirm`` finds at four looks of five.

    From 2000 simulated looks with normal falls, and Student's t in the place of the randomisation test.

    Args:
        pairs: of donors of the class, 4 or more.
        threshold: p-value at which the test counts.
        spread: standard deviation over pairs.

    Returns:
        In probability, to .01. Infinity where not even a fall of 1 would be found.
    """
    return next((gap for gap in _GAPS if power(gap, pairs, threshold, spread=spread) >= POWER), float("inf"))


def pairs_needed(gap: float, threshold: float, *, spread: float = SPREAD) -> int | None:
    """Pairs of donors a class needs to show such a gap at four looks of five, to 10; ``None`` above 640."""
    enough = (n for n in range(20, _MOST_PAIRS + 1, 10) if power(gap, n, threshold, spread=spread) >= POWER)
    return next(enough, None)


def power(gap: float, pairs: int, threshold: float, *, spread: float = SPREAD) -> float:
    """Share of looks at which a true fall is confirmed.

    >>> power(0.1, 400, 0.001) < 0.6 < power(0.15, 400, 0.001)  # the fall that is seen must itself reach .10
    True
    """
    falls = _standard_falls(pairs) * spread + gap
    halves = falls[:, 0::2], falls[:, 1::2]
    found = (falls.mean(1) >= MIN_GAP) & (_student(falls) >= _critical(threshold, pairs))
    for half in halves:
        found &= (half.mean(1) >= MIN_GAP / 2) & (_student(half) >= _critical(PANEL_P_VALUE, half.shape[1]))
    return float(found.mean())


_GAPS = tuple(round(0.1 + 0.01 * step, 2) for step in range(91))


@lru_cache(maxsize=4)
def _standard_falls(pairs: int) -> NDArray[np.float64]:
    return np.random.default_rng(pairs).standard_normal((_RUNS, pairs))


def _student(falls: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(runs,)``: mean in standard errors, of ``(runs, n)``."""
    values: NDArray[np.float64] = falls.mean(1) / (falls.std(1, ddof=1) / falls.shape[1] ** 0.5)
    return values


def _critical(threshold: float, count: int) -> float:
    from scipy.special import stdtrit

    return float(-stdtrit(count - 1, threshold))
