"""The cells on which maps are compared."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

MOST_CELLS = 28
"""A side. Maps as fine as the pictures would cost hundreds of times the time and memory."""


def on_few_cells(maps: Tensor) -> Tensor:
    """``(N, h, w)`` float64 with at most 28 cells a side, each the mean of those it covers; coarser maps as they are.

    Where the side is no multiple, cells share those at their border. What is not finite stays so.

    >>> import torch
    >>> on_few_cells(torch.arange(56.0).reshape(1, 1, 56))[0, 0, :3], on_few_cells(torch.ones(1, 2, 28)).dtype
    (tensor([0.5000, 2.5000, 4.5000], dtype=torch.float64), torch.float32)
    """
    sides = (min(maps.shape[1], MOST_CELLS), min(maps.shape[2], MOST_CELLS))
    return maps if sides == tuple(maps.shape[1:]) else F.adaptive_avg_pool2d(maps.double(), sides)
