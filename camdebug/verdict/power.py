"""How small a fall in probability the probes of a class can show, before anything is measured."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from camdebug.verdict.confirm import MIN_GAP, PANEL_P_VALUE

SPREAD = 0.2
"""Standard deviation of a fall in probability from one pair of donors to another, assumed before it is known."""

POWER = 0.8

_RUNS = 2000
_FEW = 60
"""Up to so many pairs Student's t promises too much at the smallest thresholds: at 20 pairs and 2e-6, four looks of
five where the randomisation test finds three."""


def smallest_gap(pairs: int, threshold: float, *, spread: float = SPREAD) -> float:
    """The smallest true fall that the rule of ``confirm`` finds at four looks of five.

    From 2000 simulated looks with normal falls. In the place of the randomisation test stands its saddlepoint
    approximation up to 60 pairs, and Student's t beyond.

    Args:
        pairs: of donors of the class, 4 or more.
        threshold: p-value at which the test counts.
        spread: standard deviation over pairs.

    Returns:
        In probability, to .01. Infinity where not even a fall of 1 would be found.
    """
    found = bisect_left(_GAPS, True, key=lambda gap: power(gap, pairs, threshold, spread=spread) >= POWER)
    return _GAPS[found] if found < len(_GAPS) else float("inf")


def pairs_needed(gap: float, threshold: float, *, spread: float = SPREAD) -> int | None:
    """Pairs of donors a class needs to show such a gap at four looks of five, to 10; ``None`` above 640."""
    found = bisect_left(_PAIRS, True, key=lambda pairs: power(gap, pairs, threshold, spread=spread) >= POWER)
    return _PAIRS[found] if found < len(_PAIRS) else None


def power(gap: float, pairs: int, threshold: float, *, spread: float = SPREAD) -> float:
    """Share of looks at which a true fall is confirmed.

    >>> power(0.1, 400, 0.001) < 0.6 < power(0.15, 400, 0.001)  # the fall that is seen must itself reach .10
    True
    """
    falls = _standard_falls(pairs) * spread + gap
    found = (falls.mean(1) >= MIN_GAP) & (_student(falls) >= _critical(threshold, pairs))
    for half in (falls[:, 0::2], falls[:, 1::2]):
        found &= (half.mean(1) >= MIN_GAP / 2) & (_student(half) >= _critical(PANEL_P_VALUE, half.shape[1]))
    if pairs <= _FEW:
        found[found] = saddlepoint_p_values(falls[found]) <= threshold
    return float(found.mean())


_GAPS = tuple(round(0.1 + 0.01 * step, 2) for step in range(91))
_PAIRS = tuple(range(20, 641, 10))


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


def saddlepoint_p_values(falls: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(runs,)``: p-value of the sign-flip test of ``(runs, n)`` with means above 0 (Lugannani & Rice 1980)."""
    from scipy.special import ndtr

    total, rarest = falls.sum(1), 0.5 ** falls.shape[1]
    tilt = total / (falls**2).sum(1)
    for _ in range(30):  # Newton's steps, from below; the mean sum is concave in the tilt, so none goes too far
        slopes = np.tanh(tilt[:, None] * falls)
        variance = (falls**2 * (1 - slopes**2)).sum(1)
        tilt += (total - (falls * slopes).sum(1)) / np.maximum(variance, 1e-12)
    scaled = tilt[:, None] * falls
    deviance = tilt * total - (np.logaddexp(scaled, -scaled) - np.log(2)).sum(1)
    root, error = np.sqrt(2 * deviance), tilt * np.sqrt(np.maximum(variance, 1e-300))
    tail = ndtr(-root) + np.exp(-deviance) / np.sqrt(2 * np.pi) * (1 / error - 1 / root)
    everywhere = (falls > 0).all(1)  # where all falls are positive no other signs give as much
    p_values: NDArray[np.float64] = np.maximum(tail + rarest / 2, rarest)  # half a pattern, for continuity
    return np.where(everywhere, rarest, p_values)
