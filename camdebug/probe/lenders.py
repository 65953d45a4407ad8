"""How many pictures can lend their background to a class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


def lendable(labels: Sequence[int], pictures: Sequence[int]) -> dict[int, int]:
    """For each class the pictures that are a probe of another class, and of none of its own.

    What :func:`camdebug.background.pairing.pair` can take as other-class donors.

    Args:
        labels: class of each probe.
        pictures: of each probe, equal where probes show the same.

    Three pictures, one of which is a probe of both classes:

    >>> lendable([0, 1, 0, 1], [0, 0, 1, 2])
    {0: 1, 1: 1}
    """
    showing = defaultdict[int, set[int]](set)
    for label, picture in zip(labels, pictures, strict=True):
        showing[label].add(picture)
    return {label: len(set(pictures) - own) for label, own in sorted(showing.items())}
