"""Pictures that show nearly the same: by correlation of small grey copies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import tanh
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camdebug.probe.thumbnails import pixel_digest, thumbnails_of

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
    above the median, both of Fisher's z of all correlations met, but within .95 and .998.

    Args:
        thumbnails: ``(N, 32, 32)`` of the first ones.
        threshold: least similarity; ``None`` to find it so.
    """

    def __init__(self, thumbnails: Tensor, *, threshold: float | None = None) -> None:
        self._prints, self._flat = fingerprints_of(thumbnails)
        self._mirrored = self._prints.reshape(thumbnails.shape).flip(2).flatten(1)
        self._fixed = threshold
        self._histogram = torch.zeros(_BINS, dtype=torch.float64)
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

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
            found = torch.maximum(upright, (self._mirrored @ prints.T).clamp(-1, 1))
            high, columns = (met & (found >= (self._fixed or NEARLY_THE_SAME))).nonzero(as_tuple=True)
            self._found.append((high, torch.tensor(numbers)[columns + start], found[high, columns]))

    @property
    def threshold(self) -> float:
        """Given, or found from what was met so far."""
        if self._fixed is not None:
            return self._fixed
        middle, upper = self._quantile(0.5), self._quantile(0.84)
        return min(max(tanh(middle + _SPREADS * (upper - middle)), NEARLY_THE_SAME), SURELY_THE_SAME)

    def pairs(self) -> list[Pair]:
        """Row of the first, number of the other, similarity. Mirrored pictures count; those without contrast do not."""
        least = self.threshold
        kept = [[part[found[2] >= least].tolist() for part in found] for found in self._found]
        return [pair for parts in kept for pair in zip(*parts, strict=True)]

    def _quantile(self, share: float) -> float:
        """Of Fisher's z."""
        total = self._histogram.cumsum(0)
        if not total[-1]:
            return 0.0
        return float((int((total < share * total[-1]).sum()) + 0.5) / _BINS * 2 * _FARTHEST - _FARTHEST)


def near_duplicates(probes: ProbeSet, *, threshold: float | None = None) -> tuple[Pair, ...]:
    """See ``ProbeSet.near_duplicates``."""
    threshold = check_threshold(threshold)
    thumbnails = thumbnails_of(probes.images) if probes.provenance is None else probes.provenance.thumbnails
    similarities = Similarities(thumbnails, threshold=threshold)
    similarities.compare(thumbnails, range(len(thumbnails)), later_only=True)
    pairs = {(i, j): similarity for i, j, similarity in similarities.pairs()}
    pairs.update(dict.fromkeys(_equal(probes), 1.0))
    pictures = _pictures(probes)
    return tuple((i, j, similarity) for (i, j), similarity in sorted(pairs.items()) if pictures[i] != pictures[j])


def _equal(probes: ProbeSet) -> list[tuple[int, int]]:
    """Pairs that are the same to the last pixel, which pictures without contrast can be too."""
    origins = probes.provenance.origins if probes.provenance is not None else ()
    digests = [origin.digest for origin in origins] or [pixel_digest(image) for image in probes.images]
    rows: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        rows.setdefault(digest, []).append(row)
    return [pair for group in rows.values() for pair in combinations(group, 2)]


def _pictures(probes: ProbeSet) -> list[str]:
    """What each probe is of: where a picture serves several classes, its id stands before that of the class."""
    names = (probes.class_names[k] for k in probes.labels.tolist())
    return [i.removesuffix(f":{name}") for i, name in zip(probes.source_ids, names, strict=True)]
