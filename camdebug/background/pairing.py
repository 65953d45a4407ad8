"""Which backgrounds go behind which objects: donors in pairs, one of the object's class and one of another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]
Shares = NDArray[np.float64]

_JITTER = 0.02
"""Of the picture: what is gained by less is left to chance, so that each draw is another one."""


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


def pair(
    labels: Tensor,
    usable: Tensor,
    *,
    seed: int,
    draw: int,
    free: Tensor | None = None,
    recipients: int = 1,
    least: int = 2,
    pictures: Tensor | None = None,
) -> Pairing:
    """Draw pairs of donors, and the objects that stand before each pair.

    Within a class every same-class donor serves in exactly one pair, and the other-class donors are drawn without
    replacement, evenly over the other classes. A class with more probes than all others together gets no more pairs
    than there are donors. So, if the background does not depend on the class, the two backgrounds of a pair can be
    exchanged, pair by pair. That is what makes the sign-flip test over pairs valid; a donor in several pairs would
    void it. ("Does not depend" includes: nor on the object within the class.)

    A composite shows the object's own background where a donor has its object, so a picture that lends its background
    to one pair shows a little of it in others as well. No two pictures stand before each other's backgrounds, which
    would let such traces add up: a net that rewarded nothing but agreement between the two made p-values below .001
    twice as frequent as they may be (``tests/background/test_pairing.py``).

    All this holds of pictures, not only of probes, where several probes show the same ``pictures``. One that is a probe
    of a class is no other-class donor of it, since its background is that class's as well; of probes of one class that
    show the same picture the first stands for all; and a picture that several other classes could lend is lent once. So
    within a class of recipients no picture is twice among the donors, and pairs stay independent: had a picture of a
    cat and a dog been the same-class donor of one pair and the other-class donor of another, its background would enter
    the two differences with opposite signs. If backgrounds do not depend on the classes that a picture shows, those of
    the donors that are left are exchangeable as before: who is left is settled by labels and identity, which then say
    nothing of them.

    A picture where objects of the class are only ignored regions still lends to it: which class an ignored region has
    is not kept. Those objects are never seen, since a composite takes nothing from where a donor is annotated. The
    background around them may be of the class's kind; that makes the two backgrounds of a pair more alike, so an effect
    of the background harder to find, and the exchange is as valid as before.

    Who is paired with whom depends on where the objects stand, on nothing else that pictures show: a composite swaps
    background only where none of its three pictures has an object, so pictures with objects at like places are
    matched (assignment problem, Kuhn 1955).

    Args:
        labels: ``(N,)`` class of each probe.
        usable: ``(N,)`` bool, probes that take part.
        seed: of the run.
        draw: number of the draw; each is another one.
        free: ``(N, ...)`` share of background in each part of the picture; without it all is left to chance.
        recipients: objects before each pair of donors, fewer in a class of less than twice as many. With as many pairs
            as probes in a class, each of its objects stands before as many pairs.
        least: a class that would get fewer pairs gets none, and only lends.
        pictures: ``(N,)`` int64, equal for probes that show the same picture; without it all are different.

    Returns:
        Rows for each class, ``recipients`` for each pair of donors.
    """
    rng = np.random.default_rng([seed, draw])
    room = np.ones((len(labels), 1)) if free is None else free.flatten(1).double().numpy()
    shown = np.arange(len(labels)) if pictures is None else pictures.numpy()
    members = {k: torch.nonzero(usable & (labels == k)).flatten().numpy() for k in torch.unique(labels).tolist()}
    pools = {k: rng.permutation(_once(m, shown)) for k, m in members.items() if len(m)}
    lenders = {k: _lenders(k, pools, shown, shown[(labels == k).numpy()]) for k in pools}
    lendable = {k: len({int(shown[i]) for pool in lenders[k] for i in pool}) for k in pools}
    counts = {k: min(len(pool), lendable[k]) for k, pool in pools.items()}
    rows = [
        _rows_of(pools[k], lenders[k], counts[k], room, recipients, shown, rng)
        for k in pools
        if counts[k] >= max(2, least)
    ]
    if not rows:
        return Pairing(*(torch.zeros(0, dtype=torch.int64) for _ in range(4)))
    return Pairing(*(torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True)))


def _once(members: Indices, shown: Indices) -> Indices:
    """Of the probes that show the same picture the first."""
    _, first = np.unique(shown[members], return_index=True)
    return members[np.sort(first)]


def _lenders(class_idx: int, pools: dict[int, Indices], shown: Indices, own: Indices) -> list[Indices]:
    """The pools of the other classes, without what shows a picture of this one."""
    others = [pool[~np.isin(shown[pool], own)] for k, pool in pools.items() if k != class_idx]
    return [pool for pool in others if len(pool)]


def _rows_of(
    own: Indices,
    lenders: list[Indices],
    count: int,
    room: Shares,
    recipients: int,
    shown: Indices,
    rng: Generator,
) -> tuple[Indices, ...]:
    same, other = own[:count], _others(lenders, count, shown, rng)
    other = other[_match(room[same] @ room[other].T / room.shape[1], rng)]
    score = (room[same] * room[other]) @ room[own].T / room.shape[1]
    # A tournament: in a circle of the class each picture may stand before the donors of the half that lies ahead.
    reach = max(1, (len(own) - 1) // 2)
    ahead = (np.arange(count)[:, None] - np.arange(len(own))) % len(own)
    taken = (ahead < 1) | (ahead > reach)
    before = []
    for _ in range(min(recipients, reach)):
        chosen = _match(np.where(taken, -np.inf, score), rng)
        taken[np.arange(count), chosen] = True
        before.append(own[chosen])
    donors = np.tile(np.arange(count), len(before))
    return np.concatenate(before), same[donors], other[donors], donors


def _match(score: Shares, rng: Generator) -> Indices:
    """For each row a column of its own, with the largest sum of scores but for some chance."""
    from scipy.optimize import linear_sum_assignment

    jittered = score + _JITTER * rng.random(score.shape)
    _, columns = linear_sum_assignment(np.where(np.isfinite(jittered), jittered, -1e6), maximize=True)
    return np.asarray(columns, dtype=np.int64)


def _others(lenders: list[Indices], count: int, shown: Indices, rng: Generator) -> Indices:
    """So many donors of the other classes, the classes taking turns, each from a random place of its pool on."""
    lenders = [lenders[i] for i in rng.permutation(len(lenders))]
    starts = rng.integers(0, [len(pool) for pool in lenders])
    in_turn = (
        pool[(start + turn) % len(pool)]
        for turn in range(max(map(len, lenders)))
        for pool, start in zip(lenders, starts, strict=True)
        if turn < len(pool)
    )
    different: dict[int, int] = {}
    for probe in in_turn:
        different.setdefault(int(shown[probe]), int(probe))
    return rng.permutation(np.fromiter(islice(different.values(), count), dtype=np.int64))
