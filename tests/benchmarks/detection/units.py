"""From runs to units: a class of a run at its last look, with the truth and everything that was measured.

With two classes the product gives one verdict for the pair, so the pair is one unit, and its gap the mean of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camdebug.verdict.score import in_errors
from tests.benchmarks.detection.cues import ONE_CLASS_TAG
from tests.benchmarks.detection.runs import Row
from tests.benchmarks.detection.study import CLEAN, ONE_CLASS, PLANTED

LARGE: Final = 0.2
SMALL: Final = 0.05

ALARMS: Final = ("watch", "suspect", "confirmed")
"""Levels that raise an alarm, mildest first."""

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """A class of a run, or its pair of classes.

    ``run`` numbers the run and ``config`` is its own; ``gap`` is the true one after the last epoch; ``last`` holds what
    the last look measured, ``last_unplanned`` what the last one did that could not confirm (empty where there is none);
    ``gaps`` (``None`` where not measured) and ``levels`` go over the epochs. ``unlearned``: some class of the run is
    not learned at the last look. ``decided``: any look could confirm.
    """

    run: int
    config: dict[str, Any]
    class_idx: int
    gap: float
    last: Numbers
    gaps: tuple[float | None, ...]
    levels: tuple[str, ...]
    unlearned: bool = False
    last_unplanned: Numbers = field(default_factory=dict)
    decided: bool = False

    def raised(self, level: str) -> bool:
        """Whether any look gave this alarm, or a graver one."""
        return any(found in ALARMS[ALARMS.index(level) :] for found in self.levels)

    @property
    def peak_gap(self) -> float:
        """The largest true gap after any epoch: reliance often peaks early."""
        return max((gap for gap in self.gaps if gap is not None), default=float("nan"))

    @property
    def tagged(self) -> bool:
        """The class with the tag, or its pair; any class in worlds where every class has a cue."""
        classes: int = self.config["classes"]
        return bool(
            self.config["kind"] != ONE_CLASS_TAG or classes == 2 or self.class_idx == self.config["seed"] % classes
        )

    @property
    def latency(self) -> float | None:
        """Epochs from the first true gap of .2 to *confirmed*; infinite if it never was.

        ``None`` where there never was such a gap.
        """
        first = next((e for e, gap in enumerate(self.gaps) if gap is not None and gap >= LARGE), None)
        if first is None:
            return None
        found = next((e for e, level in enumerate(self.levels) if level == "confirmed"), np.inf)
        return float(max(0, found - first))


def units(rows: Iterable[Row]) -> list[Unit]:
    """All units of all runs."""
    found: list[Unit] = []
    for number, row in enumerate(rows):
        classes = row["config"]["classes"]
        groups = [(0, 1)] if classes == 2 else [(k,) for k in range(classes)]
        found += [_unit(number, row, group) for group in groups]
    return found


def _unit(number: int, row: Row, group: tuple[int, ...]) -> Unit:
    epochs = row["epochs"]
    gaps = tuple(None if e["true_gap"] is None else _mean([e["true_gap"][k] for k in group]) for e in epochs)
    unplanned = [e for e in epochs if not decides(e)]
    levels = tuple(max((e["level"][k] for k in group), key=_severity) for e in epochs)
    gap, unlearned = gaps[-1], "not learned yet" in epochs[-1]["level"]
    return Unit(
        number,
        row["config"],
        group[0],
        float("nan") if gap is None else gap,
        _numbers(epochs[-1], group),
        gaps,
        levels,
        unlearned,
        _numbers(unplanned[-1], group) if unplanned else {},
        len(unplanned) < len(epochs),
    )


def decides(look: Row) -> bool:
    """Whether the look may confirm: it is planned, or the screen has called for it."""
    return any(look.get("swap_decides") or ())


def _numbers(look: Row, group: tuple[int, ...]) -> Numbers:
    return {name: _of(values, group) for name, values in look.items() if isinstance(values, list)}


def _of(values: Sequence[Any], group: tuple[int, ...]) -> Any:
    mine = [values[k] for k in group]
    if any(v is None for v in mine):
        return None
    return _mean(mine) if all(isinstance(v, float) for v in mine) else mine[0]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _severity(level: str) -> int:
    return ALARMS.index(level) if level in ALARMS else -1


def runs_of(found: Sequence[Unit]) -> NDArray[np.int64]:
    """The number of each unit's run."""
    return np.array([u.run for u in found], dtype=np.int64)


def positives(found: Sequence[Unit], low: float, high: float = np.inf) -> list[Unit]:
    """Units of planted runs with a true gap from ``low`` to below ``high``."""
    return [u for u in found if u.config["part"] in (PLANTED, ONE_CLASS) and low <= u.gap < high]


def negatives(found: Sequence[Unit]) -> list[Unit]:
    """Units of runs that are clean by construction."""
    return [u for u in found if u.config["part"] == CLEAN]


def at_last_unplanned(found: Iterable[Unit]) -> list[Unit]:
    """The same units, their truth unchanged, as their last unplanned look measured them; without those that had none.

    That look is at most a few epochs before the last, which is planned: see ``camdebug.verdict.plan``.
    """
    return [replace(u, last=u.last_unplanned) for u in found if u.last_unplanned]


def verdict_score(last: Numbers) -> float:
    """How strongly a look speaks for reliance on the background: the package's own ``reliance``, of a run's numbers."""
    return (_ratio(last, "swap_margin_gap", "swap_margin_standard_error") + contrast_ratio(last)) / 2


def contrast_ratio(last: Numbers) -> float:
    """The contrast of background evidence in standard errors, which every look measures, planned or not."""
    return _ratio(last, "contrast_value", "contrast_standard_error")


def _ratio(last: Numbers, value: str, error: str) -> float:
    if last.get(value) is None or last.get(error) is None:
        return float("nan")
    return in_errors(float(last[value]), float(last[error]))


def _plain(name: str) -> Callable[[Numbers], float]:
    return lambda last: float("nan") if last.get(name) is None else float(last[name])


MEASURES: Final[dict[str, Callable[[Numbers], float]]] = {
    "outside mass": _plain("outside_mass"),
    "outside lift": _plain("outside_lift"),
    "D": _plain("log_density_ratio"),
    "background alone": _plain("alone_value"),
    "background alone / SD": _plain("alone_z"),
    "contrast": _plain("contrast_value"),
    "contrast / SE": contrast_ratio,
    "swap gap": _plain("swap_gap"),
    "swap margin": _plain("swap_margin_gap"),
    "swap margin / SE": lambda last: _ratio(last, "swap_margin_gap", "swap_margin_standard_error"),
    "swap margin + contrast": lambda last: _plain("swap_margin_gap")(last) + _plain("contrast_value")(last),
    "verdict": verdict_score,
}


def measured(found: Sequence[Unit], measure: Callable[[Numbers], float]) -> NDArray[np.float64]:
    """One value a unit. What could not be measured ranks lowest: it raises nobody's suspicion."""
    values = np.array([measure(u.last) for u in found], dtype=np.float64)
    known = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, (known.min() if len(known) else 0.0) - 1)
