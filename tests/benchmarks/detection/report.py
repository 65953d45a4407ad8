"""What the runs say: one small summary, and tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from camdebug.verdict.words import LIMITS
from tests.benchmarks.detection import intervals
from tests.benchmarks.detection.intervals import Figure
from tests.benchmarks.detection.p_values import p_values
from tests.benchmarks.detection.ranking import auroc, auroc_within, auroc_without, left_out
from tests.benchmarks.detection.runs import Row
from tests.benchmarks.detection.study import ONE_CLASS, SILENT
from tests.benchmarks.detection.units import (
    ALARMS,
    LARGE,
    MEASURES,
    SMALL,
    Unit,
    at_last_unplanned,
    contrast_ratio,
    negatives,
    positives,
    runs_of,
    units,
    verdict_score,
)
from tests.benchmarks.detection.variants import seeds_of_choices

__all__ = ["show", "summary", "units"]

HEADLINES: Final = (
    "auroc_large_gap",
    "auroc_small_gap",
    "false_alarm_rate",
    "clean_runs",
    "one_class_tag_power",
    "median_latency",
    "leave_one_size_out_accuracy",
)

NOTES: Final = {
    "auroc_unseen_by_variants": (
        "the two AUROCs over runs whose seeds were not in the study of variants, by which margin, pairing and score "
        "were chosen; it had all weak planted runs (strength .6 and .8) of more than two classes"
    ),
    "median_latency": (
        "epochs from the first true gap of .2 to confirmed, infinite for what was never confirmed; null is infinity"
    ),
    "leave_one_size_out_accuracy": (
        "balanced accuracy of a threshold on contrast / SE chosen on all other box sizes, at the last look, whose "
        "donors are planned; screen_leave_one_out_unplanned has it at the last unplanned look, as in most epochs"
    ),
    "one_class_tag_power": (
        "of runs with a gap of .2 after the last epoch; _by_peak: after any epoch; _all: of all runs of the part"
    ),
    "p_values_of_clean_runs": (
        "first over all looks; planned ones may confirm (those that the screen called for among them); "
        "one_a_run_and_class: the contrast at the last unplanned look, the swap at the first planned one"
    ),
}
"""What is not plain from the names of figures."""

_SCREEN_FACTORS: Final = ("side", "grid", "net")
_FACTORS: Final = ("kind", "strength", "side", "net", "grid", "classes", "per_class")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures, primitives only."""
    found = units(rows)
    large, small, clean = positives(found, LARGE), positives(found, SMALL, LARGE), negatives(found)
    large_unplanned, clean_unplanned = at_last_unplanned(large), at_last_unplanned(clean)
    screen = _screen(large, clean)
    return {
        "auroc_large_gap": auroc(large, clean, verdict_score),
        "auroc_small_gap": auroc(small, clean, verdict_score),
        "false_alarm_rate": false_alarms(clean, "confirmed"),
        "clean_runs": _exactly(_run_count(clean)),
        "one_class_tag_power": one_class_power(tagged(found)),
        "median_latency": latency(found),
        "leave_one_size_out_accuracy": screen["side"]["all"],
        "auroc_unseen_by_variants": auroc_unseen(large, small, clean),
        "one_class_tag_power_by_peak": one_class_power([u for u in tagged(found, -np.inf) if u.peak_gap >= LARGE]),
        "one_class_tag_power_all": one_class_power(tagged(found, -np.inf)),
        "auroc": {
            name: {"large": auroc(large, clean, m), "small": auroc(small, clean, m)} for name, m in MEASURES.items()
        },
        "auroc_by_kind": auroc_by_kind(large, small, clean),
        "screen_leave_one_out": screen,
        "screen_leave_one_out_unplanned": _screen(large_unplanned, clean_unplanned),
        "screen_auroc_within": {f: auroc_within(large, clean, contrast_ratio, f) for f in _SCREEN_FACTORS},
        "screen_auroc_without_unplanned": {
            f: auroc_without(large_unplanned, clean_unplanned, contrast_ratio, f) for f in _SCREEN_FACTORS
        },
        "power": {level: power(large, level) for level in ALARMS},
        "power_small_gap": {level: power(small, level)["all"] for level in ALARMS},
        "false_alarms": {level: _false_alarms_by_factor(clean, level) for level in ALARMS},
        "p_values_of_clean_runs": p_values(rows),
        "silent": silent(found),
        "latency": latency_spread(found),
        "missed": {"all": misses(large), "tagged_class": misses(tagged(found))},
        "cost": cost(rows),
        "made_with": {
            "runs": len(rows),
            "units": {"large_gap": len(large), "small_gap": len(small), "clean": len(clean)},
            "package_versions": dict(Counter(row.get("code", "unknown") for row in rows)),
            "torch": torch.__version__,
        },
        "notes": NOTES,
        "limits": LIMITS,
    }


def _screen(large: Sequence[Unit], clean: Sequence[Unit]) -> dict[str, dict[str, Figure]]:
    """Thresholds on contrast / SE, tried on each box size, grid and net that they were not chosen on."""
    return {factor: left_out(large, clean, contrast_ratio, factor) for factor in _SCREEN_FACTORS}


def auroc_unseen(large: Sequence[Unit], small: Sequence[Unit], clean: Sequence[Unit]) -> dict[str, Figure]:
    """The verdict's AUROCs over the runs that no choice of the product was made on."""
    seen = seeds_of_choices()
    new_large, new_small, new_clean = (
        [u for u in group if u.config["seed"] not in seen] for group in (large, small, clean)
    )
    return {
        "large": auroc(new_large, new_clean, verdict_score),
        "small": auroc(new_small, new_clean, verdict_score),
        "clean_runs": _exactly(_run_count(new_clean)),
    }


def false_alarms(clean: Sequence[Unit], level: str) -> Figure:
    """Share of clean runs in which any class was raised to the level, or above it, at any look."""
    return intervals.rate(len({u.run for u in clean if u.raised(level)}), _run_count(clean))


def _false_alarms_by_factor(clean: Sequence[Unit], level: str) -> dict[str, Any]:
    return _by_factor(clean, lambda group: false_alarms(group, level), leave=("strength",))


def power(found: Sequence[Unit], level: str) -> dict[str, Any]:
    """Share of units that were raised to the level, or above it, at any look."""
    return _by_factor(found, lambda group: intervals.rate(sum(u.raised(level) for u in group), len(group)))


def _by_factor(
    found: Sequence[Unit], figure: Callable[[Sequence[Unit]], Figure], *, leave: Sequence[str] = ()
) -> dict[str, Any]:
    table: dict[str, Any] = {"all": figure(found)}
    for factor in _FACTORS:
        if factor in leave:
            continue
        levels = sorted({u.config[factor] for u in found})
        figures = {str(v): figure([u for u in found if u.config[factor] == v]) for v in levels}
        table[factor] = {v: [f["value"], f["count"]] for v, f in figures.items()}
    return table


def one_class_power(mine: Sequence[Unit]) -> Figure:
    """Share of units, one a run, that were confirmed at any look."""
    return intervals.rate(sum(u.raised("confirmed") for u in mine), len(mine))


def tagged(found: Sequence[Unit], low: float = LARGE) -> list[Unit]:
    """Units of the class with the tag (or of its pair) with a gap from ``low``, in the part that asks about it."""
    return [u for u in positives(found, low) if u.config["part"] == ONE_CLASS and u.tagged]


def auroc_by_kind(large: Sequence[Unit], small: Sequence[Unit], clean: Sequence[Unit]) -> dict[str, Any]:
    """The verdict's AUROC and count for each kind of cue. *Bystanders* are the classes without the one class's tag:
    a share of what they are compared with bears a tag that is not theirs.
    """
    names = {id(u): u.config["kind"] + ("" if u.tagged else " (bystanders)") for u in (*large, *small)}
    table: dict[str, Any] = {}
    for name in sorted(set(names.values())):
        figures = {
            gap: auroc([u for u in group if names[id(u)] == name], clean, verdict_score)
            for gap, group in (("large", large), ("small", small))
        }
        table[name] = {gap: [figure["value"], figure["count"]] for gap, figure in figures.items()}
    return table


def misses(found: Sequence[Unit]) -> dict[str, int]:
    """Units that were never confirmed; those whose net has not learned all classes, and their runs."""
    missed = [u for u in found if not u.raised("confirmed")]
    unlearned = [u for u in missed if u.unlearned]
    return {"units": len(missed), "unlearned_units": len(unlearned), "unlearned_runs": _run_count(unlearned)}


def _latencies(found: Sequence[Unit]) -> tuple[list[Unit], np.ndarray]:
    known = [u for u in positives(found, -np.inf) if u.latency is not None]
    return known, np.array([np.nan if u.latency is None else u.latency for u in known])


def latency(found: Sequence[Unit]) -> Figure:
    """Median over the units of planted runs whose true gap ever reached .2; infinite where most were not confirmed."""
    known, values = _latencies(found)
    if not known:
        return intervals.NOTHING
    return intervals.over_runs(lambda weights: intervals.weighted_median(values, weights), runs_of(known))


def latency_spread(found: Sequence[Unit]) -> dict[str, float | None]:
    """Quantiles of the same, ``None`` for infinity, and the share that was never confirmed."""
    known, values = _latencies(found)
    if not known:
        return {}
    never = np.mean([not u.raised("confirmed") for u in known])
    shares = {"quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "nine_tenths": 0.9}
    quantiles = {name: intervals.short(intervals.quantile(values, share)) for name, share in shares.items()}
    return {**quantiles, "never": round(float(never), 4)}


def silent(found: Sequence[Unit]) -> dict[str, Any]:
    """What was answered where nothing can be seen: a cue inside the box, and probes without the cue.

    Where classes were never all learned no look could confirm, so silence says little: the others are given apart too.
    """
    table = {}
    for name, seen in (("cue_in_box", True), ("probes_without_cue", False)):
        mine = [u for u in found if u.config["part"] == SILENT and u.config["cue_in_probes"] is seen]
        decided = [u for u in mine if u.decided]
        table[name] = {
            **_answers(mine),
            "runs_with_a_deciding_look": _run_count(decided),
            "of_runs_with_a_deciding_look": _answers(decided),
        }
    return table


def _answers(mine: Sequence[Unit]) -> dict[str, Any]:
    return {
        "runs": _run_count(mine),
        "last_answers": dict(Counter(u.levels[-1] for u in mine)),
        **{f"runs_{level}": false_alarms(mine, level) for level in ALARMS},
    }


def cost(rows: Sequence[Row]) -> dict[str, Any]:
    """Of a look: forwards of the probe set by count and by time, and seconds."""
    if not rows:
        return {}
    looks = [float(np.median([e["look_seconds"] for e in row["epochs"]])) for row in rows]
    ratios = [look / row["forward_seconds"] for look, row in zip(looks, rows, strict=True)]
    return {
        "pictures_forwarded_per_probe_and_look": _middle([row["passes_per_probe"] for row in rows]),
        "look_seconds": _middle(looks),
        "look_over_plain_forward_time": _middle(ratios),
        "run_seconds": _middle([row["seconds"] for row in rows]),
    }


def _middle(values: Sequence[float]) -> dict[str, float]:
    quantiles = np.quantile(values, [0.5, 0.05, 0.95])
    return dict(zip(("median", "low", "high"), (float(f"{q:.4g}") for q in quantiles), strict=True))


def _run_count(found: Sequence[Unit]) -> int:
    return len({u.run for u in found})


def _exactly(count: int) -> Figure:
    return {"value": count, "interval": [count, count], "count": count}


def show(figures: dict[str, Any]) -> None:
    """The headlines, the table of measures and what all this does not tell, for people."""
    unseen = figures["auroc_unseen_by_variants"]
    places = {"auroc_large_gap": "large", "auroc_small_gap": "small", "clean_runs": "clean_runs"}
    for name in HEADLINES:
        _line(name, figures[name])
        if name in places:
            _line("  unseen by variants", unseen[places[name]])
    for name, both in figures["auroc"].items():
        print(f"AUROC of {name:24} large gaps {both['large']['value']:.3f}   small gaps {both['small']['value']:.3f}")
    print(figures["limits"].replace("*", ""))


def _line(name: str, figure: Figure) -> None:
    value, low, high = (
        "never" if number is None else f"{number:.4f}" for number in (figure["value"], *figure["interval"])
    )
    print(f"{name:32} {value:>8}  [{low}, {high}]  of {figure['count']}")
