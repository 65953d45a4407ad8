"""Bring the maps of a picture and of the same picture moved to one place."""

from __future__ import annotations

import torch
from torch import Tensor


def met_halfway(maps: Tensor, moved: Tensor, steps: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Move the first maps on by half the way and the second back by the other half.

    A picture moves by whole pixels, its map by a fraction of a cell, and moving a map by a fraction smooths it. Half
    the way each smooths both alike, so what is left to compare is not the smoothing.

    Args:
        maps: ``(N, h, w)`` of the pictures.
        moved: ``(N, h, w)`` of the moved pictures.
        steps: ``(N, 2)`` pixels, rows down and columns right.
        image_size: height and width of the pictures, in pixels.
    """
    cells = steps.double() * torch.tensor(maps.shape[1:], dtype=torch.float64) / torch.tensor(image_size)
    return displaced(maps, cells / 2), displaced(moved, -cells / 2)


def displaced(maps: Tensor, cells: Tensor) -> Tensor:
    """Maps ``(N, h, w)`` moved by ``cells`` ``(N, 2)``, rows down and columns right, between cells linearly.

    What enters at an edge repeats it.

    >>> displaced(torch.tensor([[[4., 0., 0.]]]), torch.tensor([[0., 0.5]]))
    tensor([[[4., 2., 0.]]], dtype=torch.float64)
    """
    down = _along_rows(maps.double(), cells[:, 0])
    return _along_rows(down.transpose(1, 2), cells[:, 1]).transpose(1, 2)


def _along_rows(maps: Tensor, cells: Tensor) -> Tensor:
    height, width = maps.shape[1:]
    source = (torch.arange(height) - cells.double()[:, None]).clamp(0, height - 1)
    below = source.floor().long()
    share = (source - below)[:, :, None]
    lower, upper = (
        maps.gather(1, rows[:, :, None].expand(-1, -1, width)) for rows in (below, (below + 1).clamp(max=height - 1))
    )
    # A cell of weight 0 may be infinite.
    return torch.where(share > 0, lower * (1 - share) + upper * share, lower)
