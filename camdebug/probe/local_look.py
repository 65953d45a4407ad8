"""Whether two pictures that correlate highly show the same everywhere, and not only most of the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

AS_IN_A_COPY = 0.4
"""Largest mismatch that re-encoding, resizing, another lighting or a shift of a few pixels leaves."""

_WINDOW = 3
_RIDGE = 1e-4
"""Of the least squares: the columns of a picture of two grey levels depend on each other."""

_AT_ONCE = 2048


def mismatches(first: Tensor, second: Tensor, *, side: int) -> Tensor:
    """How far pictures differ where they differ most.

    A ship more or less hardly changes a correlation when sea and sky are the same. So one picture is explained by the
    other as well as a cubic curve of its grey levels and a small shift can do it (least squares), and the largest root
    mean square of what is left, over windows of 3 x 3 pixels, is taken. Light areas may be cut off in one of the two:
    the easier direction counts.

    Args:
        first: ``(M, 32, 32)``, each of mean 0.
        second: likewise.
        side: in pixels, to which both are brought first: no more than the coarser one has.

    Returns:
        ``(M,)`` in standard deviations of the picture that is explained.
    """
    parts = []
    for pair in zip(torch.split(first, _AT_ONCE), torch.split(second, _AT_ONCE), strict=True):
        a, b = (_of_spread_one(adaptive_avg_pool2d(pictures, side)) for pictures in pair)
        parts.append(torch.minimum(_unexplained(a, b), _unexplained(b, a)))
    return torch.cat(parts) if parts else torch.zeros(0)


def _unexplained(wanted: Tensor, given: Tensor) -> Tensor:
    padded = pad(given[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    terms = [torch.ones_like(given), given, given**2, given**3, across / 2, down / 2]
    columns = torch.stack(terms, 1).flatten(2)
    square = columns @ columns.mT + _RIDGE * columns.shape[2] * torch.eye(len(terms))
    weights = torch.linalg.solve(square, columns @ wanted.flatten(1)[:, :, None])
    left = wanted.flatten(1) - (weights.mT @ columns)[:, 0]
    return avg_pool2d(left.reshape(wanted.shape)[:, None].square(), _WINDOW, 1).flatten(1).amax(1).sqrt()


def _of_spread_one(pictures: Tensor) -> Tensor:
    spread = pictures.square().mean((1, 2), keepdim=True).sqrt()
    return pictures / spread.clamp(min=torch.finfo(torch.float32).tiny)
