"""Measures split by right and wrong predictions: averaged together they hide each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camdebug.records import LocalisationScores
from camdebug.records.split import GroupScores, RightAgainstWrong, Split

ALL_CLASSES = "all classes"


def right_against_wrong(
    scores: LocalisationScores, labels: Tensor, correct: Tensor, class_names: Sequence[str]
) -> RightAgainstWrong:
    """Means of the valid probes, by whether the model predicts their label.

    Args:
        scores: of N probes.
        labels: ``(N,)`` int64, class of each probe.
        correct: ``(N,)`` bool, the model predicts the label.
        class_names: one name a class.

    Raises:
        ValueError: when labels or correct do not fit the scores.

    >>> from camdebug.measures.localisation import localisation_scores
    >>> labels = torch.tensor([0, 0])
    >>> scores = localisation_scores(torch.tensor([[[3., 1.]], [[0., 2.]]]), torch.tensor([[[1., 0.]]] * 2), labels)
    >>> split = right_against_wrong(scores, labels, torch.tensor([True, False]), ["cat"]).overall
    >>> split.right.outside_mass, split.wrong.outside_mass, split.wrong.chance_outside_mass
    (0.25, 1.0, 0.5)
    """
    check_correct(scores, correct)
    if labels.shape != correct.shape:
        raise ValueError(f"labels: expected {tuple(correct.shape)}, got {tuple(labels.shape)}")
    everything = torch.ones_like(correct)
    return RightAgainstWrong(
        _split(scores, everything, correct, None, ALL_CLASSES),
        tuple(_split(scores, labels == k, correct, k, name) for k, name in enumerate(class_names)),
    )


def check_correct(scores: LocalisationScores, correct: Tensor) -> None:
    """Raise unless ``correct`` is ``(N,)`` bool for the N probes of the scores."""
    count = len(scores.validity)
    if correct.shape != (count,) or correct.dtype is not torch.bool:
        raise ValueError(f"correct: expected ({count},) bool, got {tuple(correct.shape)} {correct.dtype}")


def _split(scores: LocalisationScores, member: Tensor, correct: Tensor, class_idx: int | None, name: str) -> Split:
    return Split(class_idx, name, _group(scores, member & correct), _group(scores, member & ~correct))


def _group(scores: LocalisationScores, member: Tensor) -> GroupScores:
    valid = member & scores.valid
    probes = int(member.sum())
    if not bool(valid.any()):
        return GroupScores(probes, 0)
    calibrated = scores.calibrated_log_density_ratio[valid]
    calibrated = calibrated[calibrated.isfinite()]
    return GroupScores(
        probes,
        int(valid.sum()),
        outside_mass=float(scores.outside_mass[valid].mean()),
        chance_outside_mass=float(1 - scores.area_fraction[valid].mean()),
        outside_lift=float(scores.outside_lift[valid].mean()),
        log_density_ratio=float(scores.log_density_ratio[valid].mean()),
        calibrated_log_density_ratio=float(calibrated.mean()) if len(calibrated) else None,
    )
