"""Scalars of a look, named for loggers and monitors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from camdebug.measures.summary import over_classes
from camdebug.records import EpochRecord

_MEASURES = (
    "outside_mass",
    "chance_outside_mass",
    "outside_lift",
    "log_density_ratio",
    "calibrated_log_density_ratio",
)
_COUNTED = ("watch", "suspect", "confirmed")


def metrics_of(record: EpochRecord, *, name: str, slugs: Mapping[int, str]) -> dict[str, float]:
    """All finite scalars of a look. Over all: the mean over classes, each class counting alike.

    ``worst_swap_gap`` alone is the largest over classes, so its chance level is above 0: one class is enough.

    Args:
        record: the look.
        name: first part of every metric name.
        slugs: for each class the part of the metric names that stands for it.
    """
    values: dict[str, float | None] = {f"{name}/{m}": over_classes(record.classes, m) for m in _MEASURES}
    evidence = [c.value for c in record.contrasts if math.isfinite(c.value)]
    if evidence:
        values[f"{name}/background_evidence"] = sum(evidence) / len(evidence)
    gaps = {k: s.gap for s in record.swaps if math.isfinite(s.gap) for k in s.classes}
    if gaps:
        values[f"{name}/swap_gap"] = sum(gaps.values()) / len(gaps)
        values[f"{name}/worst_swap_gap"] = max(gaps.values())
    for level in _COUNTED:
        values[f"{name}/{level}_classes"] = sum(v.level.value == level for v in record.verdicts)
    values[f"{name}/seconds"] = record.seconds
    for scores, verdict in zip(record.classes, record.verdicts, strict=True):
        prefix = f"{name}/class/{slugs[scores.class_idx]}"
        values |= {f"{prefix}/{m}": getattr(scores, m) for m in _MEASURES}
        values[f"{prefix}/background_evidence"] = verdict.background_evidence.present
        values[f"{prefix}/swap_gap"] = gaps.get(scores.class_idx)
        values[f"{prefix}/recall"] = scores.recall
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def chance_level(metric: str, *, chance_outside_mass: float) -> float:
    """What a metric would be if heat ignored the objects and nothing depended on backgrounds."""
    last = metric.rsplit("/", 1)[-1]
    if last in ("outside_mass", "chance_outside_mass"):
        return chance_outside_mass
    return 1.0 if last == "outside_lift" else 0.0


def missing(names: Sequence[str], have: Mapping[str, float], *, name: str) -> list[str]:
    """Which of the monitored names are ours and have no value."""
    return sorted(n for n in names if n.startswith(f"{name}/") and n not in have)
