"""What the runs say: one small summary, and tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from tests.benchmarks.detection import intervals
from tests.benchmarks.detection.intervals import Figure
from tests.benchmarks.detection.ranking import auroc, auroc_within, left_out
from tests.benchmarks.detection.runs import Row
from tests.benchmarks.detection.study import CLEAN, ONE_CLASS, SILENT
from tests.benchmarks.detection.units import (
    ALARMS,
    LARGE,
    MEASURES,
    SMALL,
    Unit,
    contrast_ratio,
    negatives,
    positives,
    runs_of,
    units,
    verdict_score,
)

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

_FACTORS: Final = ("kind", "strength", "side", "net", "grid", "classes", "per_class")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures, primitives only."""
    found = units(rows)
    large, small, clean = positives(found, LARGE), positives(found, SMALL, LARGE), negatives(found)
    screen = {factor: left_out(large, clean, contrast_ratio, factor) for factor in ("side", "grid", "net")}
    return {
        "auroc_large_gap": auroc(large, clean, verdict_score),
        "auroc_small_gap": auroc(small, clean, verdict_score),
        "false_alarm_rate": false_alarms(clean, "confirmed"),
        "clean_runs": _exactly(_run_count(clean)),
        "one_class_tag_power": one_class_power(found),
        "median_latency": latency(found),
        "leave_one_size_out_accuracy": screen["side"]["all"],
        "auroc": {
            name: {"large": auroc(large, clean, m), "small": auroc(small, clean, m)} for name, m in MEASURES.items()
        },
        "auroc_by_kind": auroc_by_kind(large, small, clean),
        "screen_leave_one_out": screen,
        "screen_auroc_within": {f: auroc_within(large, clean, contrast_ratio, f) for f in ("side", "grid", "net")},
        "power": {level: power(large, level) for level in ALARMS},
        "power_small_gap": {level: power(small, level)["all"] for level in ALARMS},
        "false_alarms": {level: _false_alarms_by_factor(clean, level) for level in ALARMS},
        "p_values_of_clean_runs": {name: calibration(rows, name) for name in ("contrast", "swap")},
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


def one_class_power(found: Sequence[Unit]) -> Figure:
    """Share of runs with a tag on one class, relied upon (gap of .2), in which that class was confirmed."""
    relied = tagged(found)
    return intervals.rate(sum(u.raised("confirmed") for u in relied), len(relied))


def tagged(found: Sequence[Unit]) -> list[Unit]:
    """Units of the class with the tag (or of its pair) that rely on it, in the part that asks about it."""
    return [u for u in positives(found, LARGE) if u.config["part"] == ONE_CLASS and u.tagged]


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
    return known, np.array([float(u.latency or 0) for u in known])


def latency(found: Sequence[Unit]) -> Figure:
    """Median over the units of planted runs whose true gap ever reached .2."""
    known, values = _latencies(found)
    if not known:
        return intervals.NOTHING
    return intervals.over_runs(lambda weights: intervals.weighted_median(values, weights), runs_of(known))


def latency_spread(found: Sequence[Unit]) -> dict[str, float]:
    """Quartiles of the same, and the share that was never confirmed."""
    known, values = _latencies(found)
    if not known:
        return {}
    never = np.mean([not u.raised("confirmed") for u in known])
    names = ("quarter", "median", "three_quarters", "nine_tenths")
    quantiles = dict(zip(names, np.quantile(values, [0.25, 0.5, 0.75, 0.9]).tolist(), strict=True))
    return {**quantiles, "never": round(float(never), 4)}


def calibration(rows: Sequence[Row], name: str) -> dict[str, Any]:
    """P-values of all looks at clean runs: under the null the share at or below q is at most q."""
    by_run = [
        np.array([p for epoch in row["epochs"] for p in _distinct(epoch[f"{name}_p_value"]) if p is not None])
        for row in rows
        if row["config"]["part"] == CLEAN
    ]
    by_run = [values for values in by_run if len(values)]
    if not by_run:
        return {}
    every, runs = np.concatenate(by_run), np.repeat(np.arange(len(by_run)), [len(v) for v in by_run])
    levels = (0.001, 0.01, 0.05, 0.1, 0.5)
    shares = {f"share_at_or_below_{q}": intervals.over_runs(_share(every <= q), runs) for q in levels}
    return {"mean": round(float(every.mean()), 4), **shares}


def _share(hits: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: float(np.average(hits, weights=weights))


def _distinct(values: Sequence[float | None]) -> Sequence[float | None]:
    """A pair's one p-value stands in both classes."""
    return values[:1] if len(values) == 2 else values


def silent(found: Sequence[Unit]) -> dict[str, Any]:
    """What was answered where nothing can be seen: a cue inside the box, and probes without the cue."""
    table = {}
    for name, seen in (("cue_in_box", True), ("probes_without_cue", False)):
        mine = [u for u in found if u.config["part"] == SILENT and u.config["cue_in_probes"] is seen]
        table[name] = {
            "last_answers": dict(Counter(u.levels[-1] for u in mine)),
            **{f"runs_{level}": false_alarms(mine, level) for level in ALARMS},
        }
    return table


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
    """The headlines and the table of measures, for people."""
    for name in HEADLINES:
        figure = figures[name]
        low, high = figure["interval"]
        print(f"{name:32} {figure['value']:8.4f}  [{low:.4f}, {high:.4f}]  of {figure['count']}")
    for name, both in figures["auroc"].items():
        print(f"AUROC of {name:24} large gaps {both['large']['value']:.3f}   small gaps {both['small']['value']:.3f}")
