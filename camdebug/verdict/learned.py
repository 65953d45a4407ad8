"""Has a class been learned? Before that there is nothing to judge."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor


def youden_lower_bound(labels: Tensor, predicted: Tensor, class_idx: int, *, confidence: float = 0.95) -> float:
    """One-sided lower bound of Youden's J (sensitivity + specificity - 1) of one class; chance level 0.

    A net that always answers one class has a sensitivity of 1 there, and still J = 0. Proportions are adjusted by one
    success and one failure each (Agresti & Caffo 2000), so that small samples do not look certain.

    Args:
        labels: ``(N,)`` int64.
        predicted: ``(N,)`` int64.
        class_idx: the class.
        confidence: of the bound.
    """
    own = labels == class_idx
    hit, n_hit = _adjusted(predicted[own] == class_idx)
    false, n_false = _adjusted(predicted[~own] == class_idx)
    error = (hit * (1 - hit) / n_hit + false * (1 - false) / n_false) ** 0.5
    return float(hit - false - NormalDist().inv_cdf(confidence) * error)


def _adjusted(outcomes: Tensor) -> tuple[float, int]:
    count = len(outcomes) + 2
    return (float(outcomes.sum()) + 1) / count, count


def learned_classes(labels: Tensor, predicted: Tensor) -> dict[int, bool]:
    """For each class among the labels: its recall beats chance and its Youden's J is surely above 0."""
    present = torch.unique(labels).tolist()
    chance = 1 / max(len(present), 2)
    return {
        k: float((predicted[labels == k] == k).double().mean()) > chance
        and youden_lower_bound(labels, predicted, k) > 0
        for k in present
    }
