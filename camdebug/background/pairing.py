"""Which backgrounds go behind which objects: donors in pairs, one of the object's class and one of another."""

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
    """Each ``(M,)`` int64; a row puts the backgrounds of ``same`` and ``other`` behind the object of ``recipients``.

    The first three are probe indices. Rows with one ``donors`` number share their pair of donors. It is counted within
    a class of recipients.
    """

    recipients: Tensor
    same: Tensor
    other: Tensor
    donors: Tensor

    def __len__(self) -> int:
        return len(self.recipients)


def pair(labels: Tensor, usable: Tensor, *, seed: int, draw: int, recipients: int = 1, least: int = 2) -> Pairing:
    """Draw pairs of donors, and the objects that stand before each pair.

    Within a class every same-class donor serves in exactly one pair (a random cycle through the class), and the
    other-class donors are drawn without replacement, evenly over the other classes. A class with more probes than all
    others together gets no more pairs than there are donors. So, if the background does not depend on the class, the
    two backgrounds of a pair can be exchanged, pair by pair, without changing the joint distribution. That is what
    makes the sign-flip test over pairs valid; a donor in several pairs would void it. (A picture lends its background
    to one pair and its object to others, so "does not depend" includes: nor on the object within the class.)

    Args:
        labels: ``(N,)`` class of each probe.
        usable: ``(N,)`` bool, probes that take part.
        seed: of the run.
        draw: number of the draw; each is another one.
        recipients: objects before each pair of donors (fewer in a class that has no more).
        least: a class that would get fewer pairs gets none, and only lends.

    Returns:
        Rows for each class, ``recipients`` for each pair of donors.
    """
    rng = np.random.default_rng([seed, draw])
    members = {k: torch.nonzero(usable & (labels == k)).flatten().numpy() for k in torch.unique(labels).tolist()}
    members = {k: m for k, m in members.items() if len(m)}
    rows = [_rows_of(k, members, recipients, rng) for k in members if _pair_count(k, members) >= max(2, least)]
    if not rows:
        return Pairing(*(torch.zeros(0, dtype=torch.int64) for _ in range(4)))
    return Pairing(*(torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True)))


def _pair_count(class_idx: int, members: dict[int, Indices]) -> int:
    return min(len(members[class_idx]), sum(len(m) for k, m in members.items() if k != class_idx))


def _rows_of(class_idx: int, members: dict[int, Indices], recipients: int, rng: Generator) -> tuple[Indices, ...]:
    """Donor ``i + 1`` of the cycle stands behind objects ``i``, ``i - 1``, ...: never behind its own."""
    cycle = rng.permutation(members[class_idx])
    other = _others(class_idx, members, rng)[: len(cycle)]
    other = rng.permutation(other)
    before = min(recipients, len(cycle) - 1)
    donors, back = np.repeat(np.arange(len(other)), before), np.tile(np.arange(before), len(other))
    return cycle[donors - back], np.roll(cycle, -1)[donors], other[donors], donors


def _others(class_idx: int, members: dict[int, Indices], rng: Generator) -> Indices:
    """All donors of the other classes, the classes taking turns, each in random order."""
    pools = [rng.permutation(m) for k, m in members.items() if k != class_idx]
    table = np.full((max(len(pool) for pool in pools), len(pools)), -1, dtype=np.int64)
    for column, pool in enumerate(rng.permutation(len(pools))):
        table[: len(pools[pool]), column] = pools[pool]
    turns = table.ravel()
    return turns[turns >= 0]
