"""Maps of several layers made one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from camdebug.cam.options import Fuse

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resized(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """``(N, *grid)``: maps on another grid, linearly interpolated between the centres of cells."""
    if tuple(maps.shape[1:]) == tuple(grid):
        return maps
    return interpolate(maps[:, None], size=tuple(grid), mode=_INTERPOLATION[len(grid)], align_corners=False)[:, 0]


def fused(maps: Sequence[Tensor], how: Fuse) -> Tensor:
    """One map for each picture from those of several layers, each ``(N, *grid)``, on the finest of the grids.

    Layers have scales of their own, so each map is divided by its peak first, and one that is empty stays so. A single
    map is returned as it is.

    Args:
        maps: of each layer.
        how: ``"mean"``, or ``"max"``, which takes in every cell the entry that is furthest from 0.

    >>> fused([torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 2.0]])], "mean")
    tensor([[0.2500, 1.0000]])
    """
    if len(maps) == 1:
        return maps[0]
    finest = max((m.shape[1:] for m in maps), key=prod)
    levels = torch.stack([resized(_by_peak(m), finest) for m in maps])
    if how == "mean":
        return levels.mean(0)
    return levels.gather(0, levels.abs().argmax(0, keepdim=True))[0]


def _by_peak(maps: Tensor) -> Tensor:
    peak = maps.abs().flatten(1).amax(1).reshape(-1, *[1] * (maps.ndim - 1))
    return torch.where(peak > 0, maps / torch.where(peak > 0, peak, 1.0), maps)
