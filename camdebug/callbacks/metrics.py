"""Scalars of a look, named for loggers and monitors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from camdebug.measures.summary import over_classes
from camdebug.records import EpochRecord, Level

_MEASURES = (
    "outside_mass",
    "chance_outside_mass",
    "outside_lift",
    "log_density_ratio",
    "calibrated_log_density_ratio",
)


def metrics_of(record: EpochRecord, *, name: str, slugs: Mapping[int, str]) -> dict[str, float]:
    """All finite scalars of a look. Over all: the mean over classes, each class counting alike.

    Args:
        record: the look.
        name: first part of every metric name.
        slugs: for each class the part of the metric names that stands for it.
    """
    values: dict[str, float | None] = {f"{name}/{m}": over_classes(record.classes, m) for m in _MEASURES}
    evidence = [c.value for c in record.contrasts if math.isfinite(c.value)]
    if evidence:
        values[f"{name}/background_evidence"] = sum(evidence) / len(evidence)
    values[f"{name}/suspect_classes"] = _count(record, Level.SUSPECT)
    values[f"{name}/watch_classes"] = _count(record, Level.WATCH)
    values[f"{name}/seconds"] = record.seconds
    for scores, verdict in zip(record.classes, record.verdicts, strict=True):
        prefix = f"{name}/class/{slugs[scores.class_idx]}"
        values |= {f"{prefix}/{m}": getattr(scores, m) for m in _MEASURES}
        values[f"{prefix}/background_evidence"] = verdict.background_evidence
        values[f"{prefix}/recall"] = scores.recall
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def _count(record: EpochRecord, level: Level) -> float:
    return float(sum(v.level is level for v in record.verdicts))


def chance_level(metric: str, *, chance_outside_mass: float) -> float:
    """What a metric would be if heat ignored the objects and nothing depended on backgrounds."""
    last = metric.rsplit("/", 1)[-1]
    if last in ("outside_mass", "chance_outside_mass"):
        return chance_outside_mass
    return 1.0 if last == "outside_lift" else 0.0


def missing(names: Sequence[str], have: Mapping[str, float], *, name: str) -> list[str]:
    """Which of the monitored names are ours and have no value."""
    return sorted(n for n in names if n.startswith(f"{name}/") and n not in have)
