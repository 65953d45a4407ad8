"""How well a measure ranks units that rely on their background above those that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from tests.benchmarks.detection import intervals
from tests.benchmarks.detection.intervals import Figure
from tests.benchmarks.detection.units import Numbers, Unit, measured, runs_of


def auroc(positive: Sequence[Unit], negative: Sequence[Unit], measure: Callable[[Numbers], float]) -> Figure:
    """How often a positive unit has the larger value; ``count`` is the number of positive units."""
    if not positive or not negative:
        return intervals.NOTHING
    both = [*positive, *negative]
    values, truth = measured(both, measure), np.repeat([1, 0], [len(positive), len(negative)])
    figure = intervals.over_runs(weighted_auroc(values, truth), runs_of(both), count=len(positive))
    return {**figure, "value": round(float(roc_auc_score(truth, values)), 4)}


def weighted_auroc(values: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], float]:
    """``roc_auc_score(truth, values, sample_weight=weights)``, quick for many weights of the same values."""
    _, place = np.unique(values, return_inverse=True)
    places = place.max() + 1

    def statistic(weights: np.ndarray) -> float:
        up = np.bincount(place, weights * truth, places)
        down = np.bincount(place, weights * (1 - truth), places)
        pairs = up.sum() * down.sum()
        return float(up @ (down.cumsum() - down / 2) / pairs) if pairs else float("nan")

    return statistic


def auroc_within(
    positive: Sequence[Unit], negative: Sequence[Unit], measure: Callable[[Numbers], float], factor: str
) -> dict[str, float]:
    """AUROC within each level of a factor."""
    found = {}
    for level in sorted({u.config[factor] for u in positive}):
        mine, theirs = ([u for u in group if u.config[factor] == level] for group in (positive, negative))
        if mine and theirs:
            truth = np.repeat([1, 0], [len(mine), len(theirs)])
            found[str(level)] = round(float(roc_auc_score(truth, measured([*mine, *theirs], measure))), 4)
    return found


def auroc_without(
    positive: Sequence[Unit], negative: Sequence[Unit], measure: Callable[[Numbers], float], factor: str
) -> dict[str, float]:
    """AUROC over the units of all other levels of a factor, for each level."""
    found = {}
    for level in sorted({u.config[factor] for u in positive}):
        mine, theirs = ([u for u in group if u.config[factor] != level] for group in (positive, negative))
        if mine and theirs:
            truth = np.repeat([1, 0], [len(mine), len(theirs)])
            found[str(level)] = round(float(roc_auc_score(truth, measured([*mine, *theirs], measure))), 4)
    return found


def left_out(
    positive: Sequence[Unit], negative: Sequence[Unit], measure: Callable[[Numbers], float], factor: str
) -> dict[str, Figure]:
    """Balanced accuracy of a threshold on units of one level of a factor, chosen on all other levels."""
    both = [*positive, *negative]
    truth = np.repeat([True, False], [len(positive), len(negative)])
    values = measured(both, measure)
    level = np.array([str(u.config[factor]) for u in both], dtype=object)
    right = np.zeros(len(both))
    for one in sorted(set(level)):
        here = level == one
        right[here] = (values[here] > threshold(values[~here], truth[~here])) == truth[here]
    found = {}
    for one in ("all", *sorted(set(level))):
        mine = np.full(len(both), True) if one == "all" else level == one
        if mine[truth].any() and mine[~truth].any():
            chosen = [u for u, is_mine in zip(both, mine, strict=True) if is_mine]
            found[one] = intervals.over_runs(_balanced(right[mine], truth[mine]), runs_of(chosen))
    return found if "all" in found else {"all": intervals.NOTHING}


def _balanced(right: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], float]:
    def statistic(weights: np.ndarray) -> float:
        if not weights[truth].any() or not weights[~truth].any():
            return float("nan")
        shares = [np.average(right[side], weights=weights[side]) for side in (truth, ~truth)]
        return float(np.mean(shares))

    return statistic


def threshold(values: np.ndarray, truth: np.ndarray) -> float:
    """The value that best separates by balanced accuracy: half way between the two units around the best cut."""
    if truth.all() or not truth.any():
        return float("inf")
    order = np.argsort(values)
    ordered, positive = values[order], truth[order]
    below = np.cumsum(~positive) / (~truth).sum()
    above = 1 - np.cumsum(positive) / truth.sum()
    score = np.where(np.append(np.diff(ordered) > 0, False), below + above, -1.0)
    best = int(score.argmax())
    return float((ordered[best] + ordered[min(best + 1, len(ordered) - 1)]) / 2)
