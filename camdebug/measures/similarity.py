"""How alike two maps are, whatever their scale: by where their mass lies, and by the order of their cells.

Maps are ``(N, *grid)`` with 1 to 3 axes of cells and >= 0, compared pair by pair on their native grid. Results are
``(N,)`` float64 and NaN where a map of the pair is zero, not finite, or (in ranks) flat: nothing is imputed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camdebug.measures.localisation import has_evidence
from camdebug.records.steadiness import Similarity


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the maps' mass, in bits: 0 for the same shape, 1 for no cell in common.

    ``(KL(p || m) + KL(q || m)) / 2`` with ``p`` and ``q`` the maps over their sums and ``m = (p + q) / 2``; logarithms
    to base 2 (Lin 1991, IEEE Transactions on Information Theory 37(1), 145-151).

    Raises:
        ValueError: when the shapes do not agree.

    >>> jensen_shannon(torch.tensor([[[1., 0.]], [[2., 2.]]]), torch.tensor([[[0., 3.]], [[1., 1.]]]))
    tensor([1., 0.], dtype=torch.float64)
    """
    defined = _comparable(first, second)
    p, q = _mass(first, defined), _mass(second, defined)
    divergence = (_relative_to_mean(p, q) + _relative_to_mean(q, p)) / 2
    return torch.where(defined, divergence.clamp(0, 1), torch.nan)


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of the maps' cells in [-1, 1]; chance level 0. Tied cells share their mean rank.

    Pearson's correlation of the ranks. NaN also where a map has the same value everywhere.

    Raises:
        ValueError: when the shapes do not agree.

    >>> spearman(torch.tensor([[[1., 2., 3.]]]), torch.tensor([[[9., 4., 1.]]]))
    tensor([-1.], dtype=torch.float64)
    """
    defined = _comparable(first, second)
    a, b = _centred_ranks(first, defined), _centred_ranks(second, defined)
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt()
    correlation = (a * b).sum(1) / torch.where(scale > 0, scale, 1.0)
    return torch.where(defined & (scale > 0), correlation.clamp(-1, 1), torch.nan)


def summarise(divergence: Tensor, correlation: Tensor) -> Similarity:
    """Means over the pairs that can be compared, from :func:`jensen_shannon` and :func:`spearman`, each ``(N,)``."""
    divergences, correlations = (values[values.isfinite()] for values in (divergence, correlation))
    return Similarity(
        jensen_shannon=float(divergences.mean()) if len(divergences) else None,
        spearman=float(correlations.mean()) if len(correlations) else None,
        count=len(divergences),
        left_out=len(divergence) - len(divergences),
    )


def similarity(first: Tensor, second: Tensor) -> Similarity:
    """Mean similarity of N pairs of maps ``(N, *grid)``."""
    return summarise(jensen_shannon(first, second), spearman(first, second))


def _comparable(first: Tensor, second: Tensor) -> Tensor:
    if not 2 <= first.ndim <= 4 or first.shape != second.shape:
        raise ValueError(
            f"maps: expected two of one shape (N, *grid), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return has_evidence(first) & has_evidence(second)


def _mass(maps: Tensor, defined: Tensor) -> Tensor:
    """``(N, cells)`` float64 that sum to 1; all zero where not defined."""
    heat = torch.where(defined[:, None], maps.flatten(1).double(), 0.0)
    # By the peak first: the sum of the largest numbers would overflow.
    heat = heat / torch.where(defined, heat.amax(1), 1.0)[:, None]
    return heat / torch.where(defined, heat.sum(1), 1.0)[:, None]


def _relative_to_mean(p: Tensor, q: Tensor) -> Tensor:
    """KL divergence of ``p`` from the mean of both; a cell without mass adds nothing."""
    ratio = torch.where(p > 0, 2 * p / torch.where(p > 0, p + q, 1.0), 1.0)
    return (p * ratio.log2()).sum(1)


def _centred_ranks(maps: Tensor, defined: Tensor) -> Tensor:
    """``(N, cells)`` float64: the cells' ranks from 1 on, mean rank for ties, minus their mean."""
    values = torch.where(defined[:, None], maps.flatten(1).double(), 0.0).contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values, right=False)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).double() / 2 - (values.shape[1] + 1) / 2
