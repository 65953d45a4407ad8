"""Which probes are drawn."""

from __future__ import annotations

import torch

from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.probe.probe_set import ProbeSet


def choose_logged(probes: ProbeSet, limit: int = 16) -> list[int]:
    """Fixed choice of at most ``limit`` probes, spread over the classes and over each class.

    Probes whose boxes cover 2 to 70 % of the picture come before others, because their heat can be read.
    """
    by_class = [torch.nonzero(probes.labels == k)[:, 0].tolist() for k in range(len(probes.class_names))]
    present = [members for members in by_class if members]
    if len(present) > limit:
        present = [present[i * len(present) // limit] for i in range(limit)]
    area = probes.coverage((1, 1)).flatten().tolist()
    quotas = share_out([len(members) for members in present], limit)
    return sorted(
        index
        for members, quota in zip(present, quotas, strict=True)
        for index in spread_over([i for i in members if MIN_AREA <= area[i] <= MAX_AREA], members, quota)
    )


def share_out(counts: list[int], limit: int) -> list[int]:
    """How many to take from each class: one each in turn until ``limit`` or all are taken."""
    quotas = [0] * len(counts)
    while sum(quotas) < min(limit, sum(counts)):
        for k, count in enumerate(counts):
            if quotas[k] < count and sum(quotas) < limit:
                quotas[k] += 1
    return quotas


def spread_over(preferred: list[int], members: list[int], quota: int) -> list[int]:
    """``quota`` members, evenly spaced among the preferred ones if those suffice, else these and the first others."""
    if quota <= len(preferred):
        return [preferred[(2 * i + 1) * len(preferred) // (2 * quota)] for i in range(quota)]
    return [*preferred, *(i for i in members if i not in preferred)][:quota]
