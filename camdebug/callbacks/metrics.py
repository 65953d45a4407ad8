"""Scalars of a look, named for loggers and monitors."""

from __future__ import annotations

import math
from collections.abc import Mapping

from camdebug.measures.summary import over_classes
from camdebug.records import EpochRecord, Level

MEASURES = (
    "outside_mass",
    "chance_outside_mass",
    "outside_lift",
    "log_density_ratio",
    "calibrated_log_density_ratio",
)
COUNTED = (Level.WATCH, Level.SUSPECT, Level.CONFIRMED)


def metrics_of(record: EpochRecord, *, name: str, slugs: Mapping[int, str]) -> dict[str, float]:
    """All finite scalars of a look. Over all: the mean over classes, each class counting alike.

    ``worst_swap_gap`` and ``worst_reliance`` are the largest over classes, so a little above 0 by chance: one class is
    enough. ``watch_classes``, ``suspect_classes`` and ``confirmed_classes`` count the classes at that level or a worse
    one, so that none of them falls when a class gets worse.

    Args:
        record: the look.
        name: first part of every metric name.
        slugs: for each class the part of the metric names that stands for it.
    """
    values: dict[str, float | None] = {f"{name}/{m}": over_classes(record.classes, m) for m in MEASURES}
    evidence = [c.value for c in record.contrasts if math.isfinite(c.value)]
    if evidence:
        values[f"{name}/background_evidence"] = sum(evidence) / len(evidence)
    gaps = {k: s.gap for s in record.swaps if math.isfinite(s.gap) for k in s.classes}
    if gaps:
        values[f"{name}/swap_gap"] = sum(gaps.values()) / len(gaps)
        values[f"{name}/worst_swap_gap"] = max(gaps.values())
    reliances = [v.reliance for v in record.verdicts if v.reliance is not None and math.isfinite(v.reliance)]
    if reliances:
        values[f"{name}/reliance"] = sum(reliances) / len(reliances)
        values[f"{name}/worst_reliance"] = max(reliances)
    for level in COUNTED:
        values[f"{name}/{level.value}_classes"] = sum(v.level.rank >= level.rank for v in record.verdicts)
    for scores, verdict in zip(record.classes, record.verdicts, strict=True):
        prefix = f"{name}/class/{slugs[scores.class_idx]}"
        values |= {f"{prefix}/{m}": getattr(scores, m) for m in MEASURES}
        values[f"{prefix}/background_evidence"] = verdict.background_evidence.present
        values[f"{prefix}/swap_gap"] = gaps.get(scores.class_idx)
        values[f"{prefix}/reliance"] = verdict.reliance
        values[f"{prefix}/recall"] = scores.recall
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def chance_level(metric: str, *, chance_outside_mass: float) -> float:
    """What a metric would be if heat ignored the objects and nothing depended on backgrounds."""
    last = metric.rsplit("/", 1)[-1]
    if last in ("outside_mass", "chance_outside_mass"):
        return chance_outside_mass
    return 1.0 if last == "outside_lift" else 0.0
