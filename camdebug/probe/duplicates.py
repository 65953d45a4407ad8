"""Pictures that show nearly the same: by correlation of small grey copies, and a second look at where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import tanh
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camdebug.probe.local_look import AS_IN_A_COPY, mismatches
from camdebug.probe.thumbnails import SIDE, pixel_digest, thumbnails_of

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

NEARLY_THE_SAME = 0.95
"""Least correlation of two pictures that are taken for the same one; more is asked where different ones come near."""

SURELY_THE_SAME = 0.998
"""Never more than that is asked."""

Pair = tuple[int, int, float]

_FLAT = 1.0
"""Standard deviation, of 255 grey levels, below which a thumbnail shows nothing but noise."""

_BLOCK = 2048
_UNCHANGED = 0.005
"""Mismatch of equal pictures, which say nothing of how near changed ones come."""

_CLEARLY = 2
_MOST_LOOKS = 4096
_FEWEST_LOOKS = 8
"""Second looks are many where all pictures are of one view: in each block a picture's closest ones get one."""

_SPREADS = 8.0
_BINS = 4000
_FARTHEST = 5.0
"""Of Fisher's z = atanh(correlation); beyond lie correlations above .9999."""


def fingerprints_of(thumbnails: Tensor) -> tuple[Tensor, Tensor]:
    """What similarities are computed from.

    Args:
        thumbnails: ``(N, h, w)``, in 256 grey levels; other units are scaled by what all of them span.

    Returns:
        ``(N, h w)`` float32 of mean 0 and length 1, and ``(N,)`` bool, those without contrast.
    """
    values = thumbnails.flatten(1).float()
    if thumbnails.is_floating_point() and values.numel():
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low)).nan_to_num(posinf=0.0)
    centred = values - values.mean(1, keepdim=True)
    flat = centred.square().mean(1).sqrt() < _FLAT
    return torch.nn.functional.normalize(centred, dim=1), flat


def check_threshold(threshold: object) -> float | None:
    """A similarity, or ``None`` to find one, or raise."""
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a similarity above 0 and at most 1, or None, got {threshold!r:.80}")
    return float(threshold)


class Similarities:
    """Correlations of some pictures with others, which may come in parts; those that are high are kept.

    Where all pictures look alike, as digits do, different ones correlate highly too. So the threshold is eight spreads
    above the median, both of Fisher's z of all correlations met, but within .95 and .998. And where a large part of all
    pictures is the same, as sky and sea are, different ones differ in a small place: see :mod:`.local_look`.

    Args:
        thumbnails: ``(N, 32, 32)`` of the first ones.
        threshold: least similarity, which alone decides then; ``None`` to find it so.
        side: of what the thumbnails were made from, in pixels, where that is less than theirs.
    """

    def __init__(self, thumbnails: Tensor, *, threshold: float | None = None, side: int = SIDE) -> None:
        self._prints, self._flat = fingerprints_of(thumbnails)
        self._mirrored = self._prints.reshape(thumbnails.shape).flip(2).flatten(1)
        self._fixed, self._side = threshold, min(side, SIDE)
        self._histogram = torch.zeros(_BINS, dtype=torch.float64)
        self._found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def compare(self, thumbnails: Tensor, numbers: Sequence[int], *, later_only: bool = False) -> None:
        """Take in others.

        Args:
            thumbnails: ``(M, 32, 32)``.
            numbers: of each, by which pairs name it.
            later_only: compare each of the first with those of higher numbers than its row alone.
        """
        rows = torch.arange(len(self._prints))[:, None]
        for start in range(0, len(thumbnails), _BLOCK):
            prints, flat = fingerprints_of(thumbnails[start : start + _BLOCK])
            upright = (self._prints @ prints.T).clamp(-1, 1)
            met = ~self._flat[:, None] & ~flat
            if later_only:
                met &= rows < torch.tensor(numbers[start : start + _BLOCK])
            z = torch.atanh(upright[met].clamp(-1 + 1e-6, 1 - 1e-6))
            self._histogram += torch.histc(z.clamp(-_FARTHEST, _FARTHEST), _BINS, -_FARTHEST, _FARTHEST)
            mirrored = (self._mirrored @ prints.T).clamp(-1, 1)
            found = torch.maximum(upright, mirrored)
            met &= found >= (self._fixed or NEARLY_THE_SAME)
            high, columns = (met if self._fixed else _closest(met, found)).nonzero(as_tuple=True)
            mismatch = self._mismatch(prints, high, columns, turned=(mirrored > upright)[high, columns, None])
            near = mismatch <= 2 * AS_IN_A_COPY
            high, columns, mismatch = high[near], columns[near], mismatch[near]
            self._found.append((high, torch.tensor(numbers)[columns + start], found[high, columns], mismatch))

    def _mismatch(self, prints: Tensor, high: Tensor, columns: Tensor, *, turned: Tensor) -> Tensor:
        """Of each pair of a row and a column; none where the similarity alone decides."""
        if self._fixed is not None:
            return torch.zeros(len(high))
        own = torch.where(turned, self._mirrored[high], self._prints[high]).reshape(-1, SIDE, SIDE)
        return mismatches(own, prints[columns].reshape(-1, SIDE, SIDE), side=self._side)

    @property
    def threshold(self) -> float:
        """Given, or found from what was met so far."""
        if self._fixed is not None:
            return self._fixed
        middle, upper = self._quantile(0.5), self._quantile(0.84)
        return min(max(tanh(middle + _SPREADS * (upper - middle)), NEARLY_THE_SAME), SURELY_THE_SAME)

    def pairs(self, *, most: float = AS_IN_A_COPY) -> list[Pair]:
        """Row of the first, number of the other, similarity. Mirrored pictures count; those without contrast do not.

        Args:
            most: of their mismatch.
        """
        least = self.threshold
        kept = [[part[(f[2] >= least) & (f[3] <= most)].tolist() for part in f[:3]] for f in self._found]
        return [pair for parts in kept for pair in zip(*parts, strict=True)]

    def sure_pairs(self) -> list[Pair]:
        """Those that come nearer than different pictures do: few others differ up to twice as much as they do."""
        least, found = self.threshold, torch.cat([f[3] for f in self._found] or [torch.zeros(0)])
        near = torch.cat([f[3][f[2] >= least] for f in self._found] or [torch.zeros(0)])
        for most in (AS_IN_A_COPY, AS_IN_A_COPY / 2, AS_IN_A_COPY / 4):
            changed = int(((near > _UNCHANGED) & (near <= most)).sum())
            if _CLEARLY * int(((found > most) & (found <= 2 * most)).sum()) <= changed:
                return self.pairs(most=most)
        return self.pairs(most=_UNCHANGED)

    def _quantile(self, share: float) -> float:
        """Of Fisher's z."""
        total = self._histogram.cumsum(0)
        if not total[-1]:
            return 0.0
        return float((int((total < share * total[-1]).sum()) + 0.5) / _BINS * 2 * _FARTHEST - _FARTHEST)


def _closest(met: Tensor, found: Tensor) -> Tensor:
    """The pairs of ``(N, M)`` met, at most so many of each row."""
    most = max(_FEWEST_LOOKS, _MOST_LOOKS // max(1, len(met)))
    if most >= met.shape[1]:
        return met
    values = found.masked_fill(~met, -torch.inf)
    return met & (values >= values.topk(most, dim=1).values[:, -1:])


def near_duplicates(probes: ProbeSet, *, threshold: float | None = None) -> tuple[Pair, ...]:
    """See ``ProbeSet.near_duplicates``."""
    threshold = check_threshold(threshold)
    thumbnails = thumbnails_of(probes.images) if probes.provenance is None else probes.provenance.thumbnails
    similarities = Similarities(thumbnails, threshold=threshold, side=side_of(probes))
    similarities.compare(thumbnails, range(len(thumbnails)), later_only=True)
    pairs = {(i, j): similarity for i, j, similarity in similarities.pairs()}
    pairs.update(dict.fromkeys(_equal(digests := _digests(probes)), 1.0))
    shown_twice = _shown_twice(probes, digests)
    return tuple((i, j, similarity) for (i, j), similarity in sorted(pairs.items()) if (i, j) not in shown_twice)


def side_of(probes: ProbeSet) -> int:
    """Of the pictures that the thumbnails of a set were made from, in pixels: the smallest that matters."""
    known = probes.provenance.origins if probes.provenance is not None else ()
    return min((min(origin.image_size) for origin in known), default=min(probes.image_size))


def _digests(probes: ProbeSet) -> list[str]:
    """Of the pictures as they were read, where that is known; else as the model receives them."""
    origins = probes.provenance.origins if probes.provenance is not None else ()
    return [origin.digest for origin in origins] or [pixel_digest(image) for image in probes.images]


def _equal(digests: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs that are the same to the last pixel, which pictures without contrast can be too."""
    rows: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        rows.setdefault(digest, []).append(row)
    return [pair for group in rows.values() for pair in combinations(group, 2)]


def _shown_twice(probes: ProbeSet, digests: Sequence[str]) -> set[tuple[int, int]]:
    """Pairs that are one picture by its id, and by its pixels, which serves two classes.

    Drawn from a dataset whose transform is random it looks different each time, and nothing but the id tells.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(_pictures(probes)):
        rows.setdefault(name, []).append(row)
    labels = probes.labels.tolist()
    known = probes.provenance is not None
    return {
        (i, j)
        for group in rows.values()
        for i, j in combinations(group, 2)
        if labels[i] != labels[j] and (digests[i] == digests[j] or not known)
    }


def _pictures(probes: ProbeSet) -> list[str]:
    """What each probe is of: where a picture serves several classes, its id stands before that of the class."""
    names = (probes.class_names[k] for k in probes.labels.tolist())
    return [i.removesuffix(f":{name}") for i, name in zip(probes.source_ids, names, strict=True)]
