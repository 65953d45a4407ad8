"""Means of the scores over the probes of each class, and over the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camdebug.records import ClassScores, LocalisationScores


def class_scores(
    scores: LocalisationScores, labels: Tensor, correct: Tensor, class_names: Sequence[str]
) -> tuple[ClassScores, ...]:
    """Summarise the valid probes of every class; a class without one has no means.

    Args:
        scores: of N probes.
        labels: ``(N,)`` class of each probe.
        correct: ``(N,)`` bool, the model predicts the label.
        class_names: one name a class.
    """
    return tuple(_one(scores, labels == k, correct, k, name) for k, name in enumerate(class_names))


def _one(scores: LocalisationScores, member: Tensor, correct: Tensor, class_idx: int, name: str) -> ClassScores:
    valid = member & scores.valid
    probes = int(member.sum())
    recall = float(correct[member].double().mean()) if probes else None
    if not bool(valid.any()):
        return ClassScores(class_idx, name, probes, 0, recall)
    calibrated = scores.calibrated_log_density_ratio[valid]
    calibrated = calibrated[calibrated.isfinite()]
    return ClassScores(
        class_idx,
        name,
        probes,
        int(valid.sum()),
        recall,
        outside_mass=float(scores.outside_mass[valid].mean()),
        chance_outside_mass=float(1 - scores.area_fraction[valid].mean()),
        outside_lift=float(scores.outside_lift[valid].mean()),
        log_density_ratio=float(scores.log_density_ratio[valid].mean()),
        calibrated_log_density_ratio=float(calibrated.mean()) if len(calibrated) else None,
    )


def over_classes(classes: Sequence[ClassScores], measure: str) -> float | None:
    """Mean of a measure over the classes that have it, each class counting alike; ``None`` when none has."""
    values = [v for c in classes if (v := getattr(c, measure)) is not None]
    return float(torch.tensor(values, dtype=torch.float64).mean()) if values else None
