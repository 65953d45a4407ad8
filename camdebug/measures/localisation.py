"""Score the maps of a probe set against its boxes, and say which probes cannot be read."""

from __future__ import annotations

import torch
from torch import Tensor

from camdebug.measures.mass import area_fraction, density_ratio_of_mass, inside_mass, inside_mass_on_every_box
from camdebug.probe.boxes import JUDGED_AREA
from camdebug.records import LocalisationScores, Validity
from camdebug.records.heatmaps import MIN_PEAK

MIN_AREA, MAX_AREA = JUDGED_AREA
"""Boxes of a smaller or larger share of the picture say too little about where heat lies.

In a volume they are shares of the volume: a cube of a quarter of each side is smaller.
"""


ROUNDING = 1e-6
"""By how much shares of cells may miss their limits."""


def localisation_scores(
    maps: Tensor, cover: Tensor, labels: Tensor, *, readable: Tensor | None = None
) -> LocalisationScores:
    """Inside and outside mass, lift and D of every probe, raw and calibrated.

    Args:
        maps: ``(N, h, w)`` >= 0, raw, for the label of each probe; ``(N, d, h, w)`` of volumes and videos, ``(N, t)``
            of sequences.
        cover: of the shape of the maps, in [0, 1], from ``ProbeSet.coverage`` on the grid of the maps; otherwise from
            ``coverage`` or ``mask_coverage`` of :mod:`camdebug.probe.boxes`.
        labels: ``(N,)`` class of each probe; the calibration compares within a class.
        readable: of the shape of the maps, in [0, 1], from ``ProbeSet.readable``; by default every cell counts.

    Returns:
        Scores that are NaN wherever ``validity`` is not OK.

    Raises:
        ValueError: when the shapes do not agree, or the values are not as described.

    >>> localisation_scores(torch.tensor([[[3., 1.]]]), torch.tensor([[[1., 0.]]]), torch.tensor([0])).outside_mass
    tensor([0.2500], dtype=torch.float64)
    """
    _check(maps, cover, labels, readable)
    area = area_fraction(cover, readable)
    validity = _validity(maps, area)
    valid = torch.tensor([v is Validity.OK for v in validity], dtype=torch.bool)
    safe = torch.where(valid.reshape(-1, *[1] * (maps.ndim - 1)), maps.double(), 0.0)
    inside = torch.where(valid, inside_mass(safe, cover, readable), torch.nan)
    ratio = density_ratio_of_mass(inside, area)
    return LocalisationScores(
        area_fraction=torch.where(area > 0, area, torch.nan),
        inside_mass=inside,
        outside_mass=1 - inside,
        outside_lift=(1 - inside) / (1 - area),
        log_density_ratio=ratio,
        calibrated_log_density_ratio=ratio - _shuffled(safe, cover, readable, area, labels, valid),
        validity=validity,
    )


def _check(maps: Tensor, cover: Tensor, labels: Tensor, readable: Tensor | None) -> None:
    if not 2 <= maps.ndim <= 4 or 0 in maps.shape[1:]:
        raise ValueError(f"maps: expected (N, *grid) with 1 to 3 axes of cells, got {tuple(maps.shape)}")
    if bool((maps < 0).any()):
        raise ValueError(f"maps: expected ReLU'd maps, 0 or more, got {float(maps.nan_to_num(0.0).min()):.3g}")
    for name, share in (("cover", cover), ("readable", readable)):
        if share is None:
            continue
        if share.shape != maps.shape:
            raise ValueError(f"{name}: expected the shape of the maps, {tuple(maps.shape)}, got {tuple(share.shape)}")
        if not bool(((share >= -ROUNDING) & (share <= 1 + ROUNDING)).all()):
            raise ValueError(f"{name}: expected shares of cells between 0 and 1")
    if readable is not None and bool((cover > readable + ROUNDING).any()):
        raise ValueError("readable: expected no less than cover; the object itself always counts")
    if labels.shape != (len(maps),):
        raise ValueError(f"labels: expected ({len(maps)},), got {tuple(labels.shape)}")


def has_evidence(maps: Tensor) -> Tensor:
    """``(N,)`` bool: the map, of ``(N, *grid)``, is finite and its peak is more than numerical noise."""
    flat = maps.flatten(1)
    return flat.isfinite().all(1) & (flat.nan_to_num(0.0, 0.0, 0.0).amax(1) >= MIN_PEAK)


def _validity(maps: Tensor, area: Tensor) -> tuple[Validity, ...]:
    finite = maps.isfinite().flatten(1).all(1)
    peak = maps.flatten(1).amax(1)
    return tuple(_validity_of(a, f, p) for a, f, p in zip(area.tolist(), finite.tolist(), peak.tolist(), strict=True))


def _validity_of(area: float, finite: bool, peak: float) -> Validity:
    if not area > 0:
        return Validity.NO_BOX
    if not finite:
        return Validity.NOT_FINITE
    if peak < MIN_PEAK:
        return Validity.NO_EVIDENCE
    if area < MIN_AREA:
        return Validity.BOX_TOO_SMALL
    return Validity.BOX_TOO_LARGE if area > MAX_AREA else Validity.OK


def _shuffled(
    maps: Tensor, cover: Tensor, readable: Tensor | None, area: Tensor, labels: Tensor, valid: Tensor
) -> Tensor:
    """``(N,)``: mean D on each probe's box of the maps of the other valid probes of its class; NaN without any.

    Class by class, so that memory grows with the largest class and not with the square of the probe set.
    """
    found = torch.full((len(maps),), torch.nan, dtype=torch.float64)
    for class_idx in torch.unique(labels[valid]).tolist():
        rows = torch.nonzero(valid & (labels == class_idx)).flatten()
        weights = None if readable is None else readable[rows]
        inside = inside_mass_on_every_box(maps[rows], cover[rows], weights)
        every = density_ratio_of_mass(inside, area[rows, None].expand(-1, len(rows)))
        other = every.isfinite().fill_diagonal_(False)
        count = other.sum(1)
        found[rows] = torch.where(count > 0, torch.where(other, every, 0.0).sum(1) / count.clamp(min=1), torch.nan)
    return found
