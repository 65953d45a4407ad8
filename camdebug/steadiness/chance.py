"""What maps look like when they mean nothing: against other probes, and on other probes' boxes."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor

from camdebug.measures.localisation import MAX_AREA, MIN_AREA, has_evidence
from camdebug.measures.mass import area_fraction, inside_mass_on_every_box
from camdebug.measures.similarity import jensen_shannon, spearman, summarise
from camdebug.records.steadiness import ObjectFollowing, Similarity

PARTNERS = 4
"""Each map is compared with so many others of its class: the cost grows with the probes and not with their square."""


def against_other_probes(first: Tensor, second: Tensor, labels: Tensor, *, partners: int = PARTNERS) -> Similarity:
    """Similarity of every first map to the second maps of other probes of its class, every probe counting alike.

    Args:
        first: ``(N, h, w)``.
        second: ``(N, h, w)``, of the same probes.
        labels: ``(N,)`` class of each probe. A probe that is alone in its class is left out.
        partners: at most so many others; the next ones of the class, from the last on to the first.
    """
    other = torch.stack([_next_of_class(labels, step) for step in range(1, partners + 1)])
    rows = torch.arange(len(labels)).repeat(partners)
    pairs = first[rows], second[other.flatten().clamp(min=0)]
    found = torch.stack([jensen_shannon(*pairs), spearman(*pairs)]).reshape(2, partners, -1)
    divergence, correlation = torch.where(other >= 0, found, torch.nan).nanmean(1)
    return summarise(divergence, correlation)


def _next_of_class(labels: Tensor, step: int) -> Tensor:
    """``(N,)`` int64: the probe that stands ``step`` further in the class, around the end; -1 where that is itself.

    -1 as well where an earlier step has led there.
    """
    other = torch.full_like(labels, -1, dtype=torch.int64)
    for class_idx in torch.unique(labels).tolist():
        rows = torch.nonzero(labels == class_idx).flatten()
        if step < len(rows):
            other[rows] = rows.roll(-step)
    return other


def object_following(
    maps: Tensor, cover: Tensor, labels: Tensor, *, readable: Tensor | None = None
) -> ObjectFollowing | None:
    """Whether maps put more of their heat on their own objects than the class's other maps do.

    ``z`` needs no random permutation: if the maps of a class are dealt out to its boxes at random, the sum of
    ``M[i, deal(i)]`` has the mean ``sum(M) / n`` and the variance ``sum(D ** 2) / (n - 1)``, ``D`` being ``M`` less
    its row and column means (Hoeffding 1951, Annals of Mathematical Statistics 22(4), 558-566). Classes add up.

    Args:
        maps: ``(N, h, w)`` >= 0.
        cover: ``(N, h, w)`` share of each cell that the object covers.
        labels: ``(N,)`` class of each probe.
        readable: ``(N, h, w)`` share of each cell that counts, by default all.

    Returns:
        ``None`` when no class has two probes with a map, and a box that can be read; or when all maps of a class, or
        all its boxes, are the same, so that dealing them out changes nothing.
    """
    area = area_fraction(cover, readable)
    usable = has_evidence(maps) & (area >= MIN_AREA) & (area <= MAX_AREA)
    own = others = uniform = mean = variance = 0.0
    count = 0
    for class_idx in torch.unique(labels).tolist():
        rows = torch.nonzero(usable & (labels == class_idx)).flatten()
        shares, kept = _of_every_map(maps[rows], cover[rows], None if readable is None else readable[rows])
        if (size := len(shares)) < 2:
            continue
        total, matched = float(shares.sum()), float(shares.trace())
        residual = shares - shares.mean(0) - shares.mean(1, keepdim=True) + shares.mean()
        own, others = own + matched, others + (total - matched) / (size - 1)
        mean, variance = mean + total / size, variance + float(residual.square().sum()) / (size - 1)
        uniform, count = uniform + float(area[rows][kept].sum()), count + size
    if not variance > count * 1e-20:  # rounding
        return None
    z = (own - mean) / variance**0.5
    return ObjectFollowing(own / count, others / count, uniform / count, z, NormalDist().cdf(-z), count)


def _of_every_map(maps: Tensor, cover: Tensor, readable: Tensor | None) -> tuple[Tensor, Tensor]:
    """``(n, n)``: share of map ``j``'s heat on the object of probe ``i``, for the probes kept, and which those are.

    A map whose heat lies only where another probe has ignored regions has no share there, so both are left out.
    """
    shares = inside_mass_on_every_box(maps, cover, readable)
    finite = shares.isfinite()
    kept = finite.all(0) & finite.all(1)
    return shares[kept][:, kept], kept
