"""The probes with a change that should not matter: moved a little, lit otherwise, with noise.

Pictures are in the model's own input space, normalised in any way, so every change is in units of the picture itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Rows down and columns right, in pixels."""

Change = Callable[[Tensor, int], Tensor]
"""``(picture (C, H, W), its index) -> (C, H, W)``: changes one probe, always in the same way."""


class Perturbed:
    """Every probe under a change. A slice is made when it is asked for, so memory does not grow with the probes.

    Args:
        images: ``(N, C, H, W)`` floating.
        change: of one picture.

    >>> Perturbed(torch.zeros(2, 1, 1, 1), lambda picture, index: picture + index)[0:2].flatten()
    tensor([0., 1.])
    """

    def __init__(self, images: Tensor, change: Change) -> None:
        self._images, self._change = images, change

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: slice) -> Tensor:
        """``(n, C, H, W)``, the dtype of the probes."""
        return torch.stack([self._change(self._images[i], i) for i in range(len(self))[rows]])


def directions(count: int, *, seed: int) -> Tensor:
    """``(count, 2)`` int64, rows down and columns right: the four directions dealt out evenly, in a seeded order."""
    dealt = np.random.default_rng([seed, 1]).permutation(np.arange(count) % len(DIRECTIONS))
    return torch.tensor(DIRECTIONS)[torch.from_numpy(dealt)]


def shifted(steps: Tensor) -> Change:
    """Move the content by ``steps`` ``(N, 2)`` pixels, rows down and columns right; the edge is repeated."""

    def change(picture: Tensor, index: int) -> Tensor:
        down, right = steps[index].tolist()
        rows, columns = (torch.arange(side) for side in picture.shape[1:])
        rows, columns = (rows - down).clamp(0, len(rows) - 1), (columns - right).clamp(0, len(columns) - 1)
        moved: Tensor = picture[:, rows][:, :, columns]
        return moved

    return change


def relit(*, gain: float, offset: float, seed: int) -> Change:
    """Another contrast and brightness: ``x -> mean + g * (x - mean) + o * std``, mean and std of the picture.

    ``g`` is ``1 + gain`` or ``1 - gain`` and ``o`` is ``offset`` or ``-offset``, drawn for each picture.
    """

    def change(picture: Tensor, index: int) -> Tensor:
        stronger, brighter = np.random.default_rng([seed, 2, index]).choice([-1.0, 1.0], 2).tolist()
        values = picture.double()
        mean, std = values.mean(), values.std(correction=0)
        lit: Tensor = mean + (1 + stronger * gain) * (values - mean) + brighter * offset * std
        return lit.to(picture.dtype)

    return change


def noisy(*, share: float, seed: int) -> Change:
    """Add Gaussian noise with ``share`` of the picture's standard deviation, independent in every pixel and channel."""

    def change(picture: Tensor, index: int) -> Tensor:
        noise = np.random.default_rng([seed, 3, index]).standard_normal(picture.shape, dtype=np.float32)
        values = picture.double()
        return (values + share * values.std(correction=0) * torch.from_numpy(noise)).to(picture.dtype)

    return change
