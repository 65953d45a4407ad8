"""Pictures that show nearly the same: correlation of small grey copies, which size, coding and lighting hardly change."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camdebug.probe.thumbnails import pixel_digest, thumbnails_of

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

NEARLY_THE_SAME = 0.98

Pair = tuple[int, int, float]

_FLAT = 1.0
"""Standard deviation, of 255 grey levels, below which a thumbnail shows nothing but noise."""

_BLOCK = 2048


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


def check_threshold(threshold: object) -> float:
    """A similarity, or raise."""
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a similarity above 0 and at most 1, got {threshold!r:.80}")
    return float(threshold)


def similar_pairs(
    first: Tensor, second: Tensor, *, threshold: float, flat: tuple[Tensor, Tensor], side: int
) -> list[Pair]:
    """Pairs as similar as that, mirrored pictures included.

    Args:
        first: ``(N, side side)`` as of :func:`fingerprints_of`.
        second: ``(M, side side)``.
        threshold: least similarity.
        flat: of both, those that are compared with none.
        side: of the thumbnails.

    Returns:
        Index into ``first``, index into ``second``, similarity.
    """
    mirrored = first.reshape(-1, side, side).flip(2).flatten(1)
    pairs: list[Pair] = []
    for start in range(0, len(second), _BLOCK):
        block = second[start : start + _BLOCK]
        found = torch.maximum(first @ block.T, mirrored @ block.T).clamp(-1, 1)
        found[flat[0]] = 0
        found[:, flat[1][start : start + _BLOCK]] = 0
        rows, columns = (found >= threshold).nonzero(as_tuple=True)
        pairs += zip(rows.tolist(), (columns + start).tolist(), found[rows, columns].tolist(), strict=True)
    return pairs


def near_duplicates(probes: ProbeSet, *, threshold: float = NEARLY_THE_SAME) -> tuple[Pair, ...]:
    """See ``ProbeSet.near_duplicates``."""
    threshold = check_threshold(threshold)
    thumbnails = thumbnails_of(probes.images) if probes.provenance is None else probes.provenance.thumbnails
    prints, flat = fingerprints_of(thumbnails)
    found = similar_pairs(prints, prints, threshold=threshold, flat=(flat, flat), side=thumbnails.shape[-1])
    pairs = {(i, j): similarity for i, j, similarity in found if i < j}
    pairs.update({(i, j): 1.0 for i, j in _equal(probes)})
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
    """What each probe is of: one picture can serve two classes, and stands behind its second id with the class."""
    names = (probes.class_names[k] for k in probes.labels.tolist())
    ids = set(probes.source_ids)
    bare = (i.removesuffix(f":{name}") for i, name in zip(probes.source_ids, names, strict=True))
    return [short if short in ids else i for short, i in zip(bare, probes.source_ids, strict=True)]
