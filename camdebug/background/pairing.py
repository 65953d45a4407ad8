"""Which backgrounds go around which object: one of the same class and one of another class for each probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Probe indices, each ``(M,)`` int64; a row puts the backgrounds of ``same`` and ``other`` behind one object."""

    recipients: Tensor
    same: Tensor
    other: Tensor


def pair(labels: Tensor, usable: Tensor, *, seed: int, epoch: int, least: int = 2) -> Pairing:
    """Draw donors afresh for an epoch.

    Within a class every same-class donor serves exactly once (a random cycle through the class), and the other-class
    donors are drawn without replacement, evenly over the other classes. A class with more probes than all others
    together gets no more rows than there are donors. So, if the background does not depend on the class, the two
    backgrounds of a row can be exchanged row by row without changing the joint distribution. That is what makes the
    sign-flip test of ``contrast`` valid; donors that are shared by many recipients would void it. (A picture lends its
    background to one row and its object to another, so "does not depend" includes: nor on the object within the class.)

    Args:
        labels: ``(N,)`` class of each probe.
        usable: ``(N,)`` bool, probes that take part.
        seed: of the run.
        epoch: each epoch has its own draw.
        least: a class that would get fewer rows gets none, and only lends.

    Returns:
        Rows for the usable probes of each class, as many as there are donors in the other classes.
    """
    rng = np.random.default_rng([seed, epoch])
    members = {k: torch.nonzero(usable & (labels == k)).flatten().numpy() for k in torch.unique(labels).tolist()}
    members = {k: m for k, m in members.items() if len(m)}
    rows = [_rows_of(k, members, rng) for k in members if _row_count(k, members) >= max(2, least)]
    if not rows:
        return Pairing(*(torch.zeros(0, dtype=torch.int64) for _ in range(3)))
    recipients, same, other = (torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True))
    return Pairing(recipients, same, other)


def _row_count(class_idx: int, members: dict[int, Indices]) -> int:
    return min(len(members[class_idx]), sum(len(m) for k, m in members.items() if k != class_idx))


def _rows_of(class_idx: int, members: dict[int, Indices], rng: Generator) -> tuple[Indices, Indices, Indices]:
    recipients = rng.permutation(members[class_idx])
    same = np.roll(recipients, -1)
    other = _others(class_idx, members, rng)[: len(recipients)]
    return recipients[: len(other)], same[: len(other)], rng.permutation(other)


def _others(class_idx: int, members: dict[int, Indices], rng: Generator) -> Indices:
    """All donors of the other classes, the classes taking turns, each in random order."""
    pools = [rng.permutation(m) for k, m in members.items() if k != class_idx]
    table = np.full((max(len(pool) for pool in pools), len(pools)), -1, dtype=np.int64)
    for column, pool in enumerate(rng.permutation(len(pools))):
        table[: len(pools[pool]), column] = pools[pool]
    turns = table.ravel()
    return turns[turns >= 0]
