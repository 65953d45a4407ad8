"""Formulas of heat inside and outside an object, on the map's own grid.

``maps`` are ``(N, *grid)`` and >= 0: ``(N, h, w)`` of pictures, ``(N, d, h, w)`` of volumes and videos, ``(N, t)`` of
sequences. ``cover`` is of the same shape and in [0, 1], the share of each cell that the object covers; ``readable``
likewise, the share that counts at all (1 minus ignored regions), by default everywhere. Results are ``(N,)`` float64
and NaN where they are not defined (no heat, no readable cell): nothing is imputed. ``ValueError`` when shapes do not
agree. Area stands for volume or length where the grid has three axes or one.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-3
"""Added to both masses in the log density ratio, so that a map all inside or all outside stays finite."""


def area_fraction(cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """Share of the readable picture that the object covers: the chance level of ``inside_mass``."""
    cover, weight = _weights(cover, readable)
    return _ratio(_over_cells(cover), _over_cells(weight))


def inside_mass(maps: Tensor, cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """Share of the heat that lies on the object; chance level: ``area_fraction``.

    The energy-based pointing game (Wang et al. 2020, arXiv 1910.01279), equal to relevance mass accuracy
    (Arras et al. 2022, arXiv 2003.07258).

    >>> inside_mass(torch.tensor([[[3., 1.]]]), torch.tensor([[[1., 0.]]]))
    tensor([0.7500], dtype=torch.float64)
    """
    cover, weight = _weights(cover, readable)
    heat = _heat(maps, cover)
    return _ratio(_over_cells(cover * heat), _over_cells(weight * heat))


def outside_mass(maps: Tensor, cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """Share of the heat that lies outside the object; chance level: 1 - ``area_fraction``."""
    return 1 - inside_mass(maps, cover, readable)


def outside_lift(maps: Tensor, cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """Outside mass over its chance level; chance level: 1."""
    return _ratio(outside_mass(maps, cover, readable), 1 - area_fraction(cover, readable))


def log_density_ratio(maps: Tensor, cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """D: natural logarithm of heat density outside over heat density inside; chance level: 0.

    ``ln((O + e) / (1 - a)) - ln((I + e) / a)`` with ``e = 1e-3``. Above 0 the background is denser than the object.
    """
    return density_ratio_of_mass(inside_mass(maps, cover, readable), area_fraction(cover, readable))


def density_ratio_of_mass(inside: Tensor, area: Tensor) -> Tensor:
    """D from inside mass and area fraction (tensors of one shape, float64)."""
    outside = torch.log((1 - inside + EPSILON) / (1 - area)) - torch.log((inside + EPSILON) / area)
    return torch.where((area > 0) & (area < 1), outside, torch.nan)


def inside_mass_on_every_box(maps: Tensor, cover: Tensor, readable: Tensor | None = None) -> Tensor:
    """``(N, N)``: share of map ``j``'s heat that lies on the object of picture ``i``, in row ``i``, column ``j``."""
    cover, weight = _weights(cover, readable)
    heat = _heat(maps, cover).flatten(1).T
    return _ratio(cover.flatten(1) @ heat, weight.flatten(1) @ heat)


def _weights(cover: Tensor, readable: Tensor | None) -> tuple[Tensor, Tensor]:
    if not 2 <= cover.ndim <= 4:
        raise ValueError(f"cover: expected (N, *grid) with 1 to 3 axes of cells, got {tuple(cover.shape)}")
    if readable is not None and readable.shape != cover.shape:
        raise ValueError(f"readable: expected the shape of cover, {tuple(cover.shape)}, got {tuple(readable.shape)}")
    cover = cover.double()
    return cover, torch.ones_like(cover) if readable is None else readable.double()


def _heat(maps: Tensor, cover: Tensor) -> Tensor:
    # Shapes that can be broadcast would give numbers without a meaning.
    if maps.shape != cover.shape:
        raise ValueError(f"maps: expected the shape of cover, {tuple(cover.shape)}, got {tuple(maps.shape)}")
    return maps.double()


def _over_cells(values: Tensor) -> Tensor:
    """``(N,)``: sums of ``(N, *grid)``."""
    return values.sum(tuple(range(1, values.ndim)))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), torch.nan)
