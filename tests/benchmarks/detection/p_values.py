"""P-values of runs that are clean by construction: under the null the share at or below q is at most q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.detection import intervals
from tests.benchmarks.detection.runs import Row
from tests.benchmarks.detection.study import CLEAN
from tests.benchmarks.detection.units import decides

Looks = Callable[[Sequence[Row]], Sequence[Row]]
"""Some of a run's looks."""

LEVELS: Final = (0.001, 0.01, 0.05, 0.1, 0.5)


def planned(looks: Sequence[Row]) -> Sequence[Row]:
    """Those that may confirm, the few that the screen called for among them."""
    return [look for look in looks if decides(look)]


def unplanned(looks: Sequence[Row]) -> Sequence[Row]:
    """The others: their donors change from look to look."""
    return [look for look in looks if not decides(look)]


_ONE: Final[dict[str, Looks]] = {
    "contrast": lambda looks: unplanned(looks)[-1:],
    "swap": lambda looks: planned(looks)[:1],
}


def p_values(rows: Sequence[Row]) -> dict[str, Any]:
    """Of contrast and swap, over all looks, and over planned and unplanned ones apart.

    ``one_a_run_and_class`` takes one look of each run: the last unplanned one for the contrast, and for the swap the
    first planned one, which comes when the plan starts, whatever the screen says. Looks at one
    network are alike, so this is what tells most plainly whether p-values are honest.
    """
    return {
        name: {
            **calibration(rows, name),
            "planned": calibration(rows, name, planned),
            "unplanned": calibration(rows, name, unplanned),
            "one_a_run_and_class": calibration(rows, name, one),
        }
        for name, one in _ONE.items()
    }


def calibration(rows: Sequence[Row], name: str, looks: Looks = list) -> dict[str, Any]:
    """Of some looks at clean runs; the intervals are of resampled runs, the counts are of p-values."""
    by_run = [
        np.array([p for look in looks(row["epochs"]) for p in _distinct(look[f"{name}_p_value"]) if p is not None])
        for row in rows
        if row["config"]["part"] == CLEAN
    ]
    by_run = [values for values in by_run if len(values)]
    if not by_run:
        return {}
    every, counts, runs = np.concatenate(by_run), np.array([len(v) for v in by_run]), np.arange(len(by_run))
    shares = {
        f"share_at_or_below_{q}": intervals.over_runs(
            _share(np.array([(v <= q).sum() for v in by_run]), counts), runs, count=len(every)
        )
        for q in LEVELS
    }
    return {"mean": round(float(every.mean()), 4), **shares, "runs": len(by_run)}


def _share(hits: NDArray[np.int64], counts: NDArray[np.int64]) -> Callable[[intervals.Floats], float]:
    return lambda weights: float(weights @ hits / (weights @ counts))


def _distinct(values: Sequence[float | None]) -> Sequence[float | None]:
    """A pair's one p-value stands in both classes."""
    return values[:1] if len(values) == 2 else values
