"""One-sided randomisation test of a mean above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_MOST_FLIPS = 400_000


def sign_flip_p_value(differences: Tensor, *, smallest_p: float, seed: int) -> float:
    """One-sided p-value of a mean above 0, by flipping signs at random.

    Valid when the two backgrounds of every row can be exchanged under the null hypothesis, which ``pairing`` arranges.
    Starts with 999 flips and stops there when the value is far from small (Besag & Clifford 1991 for the idea of
    stopping early); otherwise draws enough to resolve ``smallest_p`` ten times over, at most 400,000. Where not one of
    the flips reaches the observed mean, Hoeffding's bound of the exact value is taken if it is smaller still.

    Args:
        differences: ``(n,)``.
        smallest_p: the p-value that must be resolvable.
        seed: of the flips.

    Returns:
        ``(1 + flips with a mean as large) / (1 + flips)``, or that bound; never 0. 1 for no values.
    """
    values = differences.double().numpy()
    if not len(values):
        return 1.0
    rng = np.random.default_rng([seed, len(values)])
    observed, tolerance = values.sum(), 1e-12 * np.abs(values).sum()
    as_large, flips = 0, 0
    for wanted in (999, min(int(10 / smallest_p), _MOST_FLIPS)):
        while flips < wanted:
            block = min(wanted - flips, max(1, 2_000_000 // len(values)))
            signs = rng.integers(0, 2, size=(block, len(values)), dtype=np.int8) * 2 - 1
            as_large += int((signs @ values >= observed - tolerance).sum())
            flips += block
        if as_large > 20:
            break
    return (1 + as_large) / (1 + flips) if as_large else min(1 / (1 + flips), hoeffding_bound(values))


def smallest_attainable_p(rows: int) -> float:
    """The smallest p-value that ``sign_flip_p_value`` can give for so many rows, however strong the effect."""
    return float(max(0.5**rows, min(1 / (1 + _MOST_FLIPS), np.exp(-rows / 2))))


def hoeffding_bound(values: NDArray[np.float64]) -> float:
    """Upper bound of the exact sign-flip p-value of ``(n,)`` values (Hoeffding 1963), for what flips cannot resolve."""
    squares = float(values @ values)
    bound = np.exp(-(max(0.0, float(values.sum())) ** 2) / (2 * squares)) if squares > 0 else 1.0
    return float(max(bound, 0.5 ** len(values)))
