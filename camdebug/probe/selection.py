"""In which order pictures are tried: every class by the sizes of its objects, small and large in turn, seeded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np

from camdebug.probe.naming import Naming
from camdebug.sources import AnnotatedObject, Entry, Unusable
from camdebug.sources.pictures import picture_size

STRATA = 5
"""Of a class, by the share of the picture that its objects take, with as many pictures in each."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A picture that can serve a class.

    Attributes:
        entry: of the source.
        class_idx: of the model.
        share: of the picture that the boxes of the class take as annotated, at most 1; ``None`` where that is unknown
            without decoding.
    """

    entry: Entry
    class_idx: int
    share: float | None


def candidates(entries: Sequence[Entry], naming: Naming) -> list[list[Candidate]]:
    """For each class of the model all pictures with an object of it. No picture is decoded."""
    found: list[list[Candidate]] = [[] for _ in naming.names]
    for entry in entries:
        objects: dict[int, list[AnnotatedObject]] = {}
        for thing in entry.objects:
            if not thing.ignored and thing.name in naming.index:
                objects.setdefault(naming.index[thing.name], []).append(thing)
        size = _size(entry) if objects and any(thing.box for group in objects.values() for thing in group) else None
        for class_idx, group in objects.items():
            found[class_idx].append(Candidate(entry, class_idx, _share(group, size)))
    return found


def drawing_order(offered: Sequence[Candidate], *, seed: int) -> list[Candidate]:
    """Candidates of one class so that any first few of them are of all sizes.

    Neither the order in which they are offered nor the file system changes it.

    Args:
        offered: of one class.
        seed: of the drawing.
    """
    known = sorted(
        (c for c in offered if c.share is not None), key=lambda c: (c.share, _chance(seed, c), c.entry.source_id)
    )
    unknown = sorted((c for c in offered if c.share is None), key=lambda c: (_chance(seed, c), c.entry.source_id))
    strata = [known[a:b] for a, b in _cuts(len(known))] + [unknown]
    shuffled = [sorted(stratum, key=lambda c: (_chance(seed, c), c.entry.source_id)) for stratum in strata if stratum]
    if not shuffled:
        return []
    rng = np.random.default_rng([seed, offered[0].class_idx])
    rounds = zip_longest(*shuffled)
    return [c for row in rounds for c in (row[i] for i in rng.permutation(len(row))) if c is not None]


def seed_of(seed: int, source_id: str) -> int:
    """Seed of one picture, the same wherever it stands in the source: 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{source_id}".encode("utf-8", "surrogatepass")).digest()[:4], "big")


def _cuts(count: int) -> Iterator[tuple[int, int]]:
    edges = np.linspace(0, count, STRATA + 1).round().astype(int).tolist()
    return pairwise(edges)


def _chance(seed: int, candidate: Candidate) -> int:
    return seed_of(seed, f"{candidate.class_idx}:{candidate.entry.source_id}")


def _size(entry: Entry) -> tuple[int, int] | None:
    """Height and width, from the header where the annotation does not declare them."""
    if entry.size is not None or not isinstance(entry.picture, Path):
        return entry.size
    try:
        return picture_size(entry.picture)
    except Unusable:  # told when the picture is tried
        return None


def _share(objects: Sequence[AnnotatedObject], size: tuple[int, int] | None) -> float | None:
    """Sum of the boxes within the picture. Where they overlap it is too much, which moves a picture up a stratum."""
    boxes = [found.box for found in objects if found.box is not None]
    if size is None or not boxes or min(size) < 1:
        return None
    height, width = size
    area = sum(_within(x0, x1, width) * _within(y0, y1, height) for x0, y0, x1, y1 in boxes)
    return min(1.0, area / (height * width))


def _within(low: float, high: float, length: float) -> float:
    """Length of an interval inside the picture; 0 for what is not a number."""
    inside = min(high, length) - max(low, 0.0)
    return inside if inside > 0 else 0.0
