"""Intervals of 95 %: exact for rates, by resampling whole runs for everything else (classes of a run are alike)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Floats = NDArray[np.float64]
Figure = dict[str, Any]

NOTHING: Final[Figure] = {"value": 0.0, "interval": [0.0, 1.0], "count": 0}
"""Where there is nothing to count."""

_DRAWS: Final = 400


def rate(hits: int, count: int) -> Figure:
    """A share with the interval of Clopper and Pearson. Without any trial: 0, and the interval says nothing."""
    if count == 0:
        return NOTHING
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return {"value": round(hits / count, 4), "interval": [round(low, 4), round(high, 4)], "count": count}


def over_runs(statistic: Callable[[Floats], float], runs: NDArray[np.int64], *, count: int | None = None) -> Figure:
    """A statistic with its bootstrap interval.

    Args:
        statistic: of the weights of all units, a whole number each.
        runs: the run of each unit.
        count: what to give as the count; by default the number of units.
    """
    _, number = np.unique(runs, return_inverse=True)
    total = number.max() + 1
    rng = np.random.default_rng(0)
    draws = [rng.multinomial(total, np.full(total, 1 / total))[number].astype(np.float64) for _ in range(_DRAWS)]
    found = np.array([v for weights in draws if not np.isnan(v := statistic(weights))])
    value = statistic(np.ones(len(runs)))
    interval = [short(end) for end in (_ends(found) if len(found) else (value, value))]
    return {"value": short(value), "interval": interval, "count": len(runs) if count is None else count}


def _ends(found: Floats) -> tuple[float, float]:
    """Between two draws nothing can be told where one is infinite: then the outer one."""
    if np.isfinite(found).all():
        low, high = np.quantile(found, [0.025, 0.975])
    else:
        low, high = np.quantile(found, 0.025, method="lower"), np.quantile(found, 0.975, method="higher")
    return float(low), float(high)


def short(value: float) -> float | None:
    """Four digits after the point; ``None``, in JSON ``null``, for infinity."""
    return round(float(value), 4) if np.isfinite(value) else None


def quantile(values: Floats, share: float) -> float:
    """Always one of the values, the larger of two: between a number and infinity there is nothing.

    >>> quantile(np.array([1.0, 2.0, np.inf]), 0.5), quantile(np.array([1.0, np.inf]), 0.5)
    (2.0, inf)
    """
    return float(np.quantile(values, share, method="higher"))


def weighted_median(values: Floats, weights: Floats) -> float:
    """Of ``values``, each as often as its weight says; of two middle ones the larger."""
    repeated = np.repeat(values, weights.astype(np.int64))
    return quantile(repeated, 0.5) if len(repeated) else float("nan")
