"""One-sided randomisation test of a mean above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_EXACT, _EXACT_IF_SMALL = 30, 40
_FIRST_FLIPS, _MOST_FLIPS = 999, 400_000

Values = NDArray[np.float64]


def sign_flip_p_value(differences: Tensor, *, smallest_p: float, seed: int) -> float:
    """One-sided p-value of a mean above 0 among all ways to flip signs (Fisher 1935).

    Valid when the two backgrounds of every pair can be exchanged under the null hypothesis, which ``pairing`` arranges.
    Exact for up to 30 values: the sums of all flips of either half are sorted and counted against each other (Horowitz
    & Sahni 1974). For more, 999 random flips tell whether the value is far from small (Besag & Clifford 1991 for the
    idea of stopping early), and Hoeffding's bound whether it is surely below ``smallest_p``. In between it is exact for
    up to 40 values, and estimated beyond them by enough random flips to resolve ``smallest_p`` ten times over, at most
    400,000.

    Args:
        differences: ``(n,)``.
        smallest_p: the p-value that must be resolvable.
        seed: of the random flips.

    Returns:
        The share of flips with a mean as large, the observed signs among them, an estimate or an upper bound of it;
        never 0. 1 for no values.
    """
    values: Values = differences.double().numpy()
    if len(values) <= _EXACT:
        return exact_p_value(values)
    rng = np.random.default_rng([seed, len(values)])
    as_large = _as_large(values, _FIRST_FLIPS, rng)
    if as_large > 20:
        return (1 + as_large) / (1 + _FIRST_FLIPS)
    bound = hoeffding_bound(values)
    if bound <= smallest_p:
        return bound
    if len(values) <= _EXACT_IF_SMALL:
        return exact_p_value(values)
    flips = max(_FIRST_FLIPS, min(int(10 / smallest_p), _MOST_FLIPS))
    as_large += _as_large(values, flips - _FIRST_FLIPS, rng)
    return (1 + as_large) / (1 + flips) if as_large else min(1 / (1 + flips), bound)


def exact_p_value(values: Values) -> float:
    """Share of all ``2**n`` sign patterns of ``(n,)`` values whose sum is at least the observed one.

    >>> exact_p_value(np.array([1.0, 2.0, 4.0])), exact_p_value(np.array([1.0, 1.0, -1.0]))
    (0.125, 0.5)
    """
    first, second = (_all_sums(half) for half in np.array_split(values, 2))
    second.sort()
    needed = values.sum() - _tolerance(values) - first
    return float((len(second) - np.searchsorted(second, needed)).sum() / 2.0 ** len(values))


def smallest_attainable_p(rows: int) -> float:
    """The smallest p-value that ``sign_flip_p_value`` can give for so many values, however strong the effect."""
    if rows <= _EXACT_IF_SMALL:
        return float(0.5**rows)
    return float(max(0.5**rows, min(1 / (1 + _MOST_FLIPS), np.exp(-rows / 2))))


def hoeffding_bound(values: Values) -> float:
    """Upper bound of the exact sign-flip p-value of ``(n,)`` values (Hoeffding 1963), for what flips cannot resolve."""
    squares = float(values @ values)
    bound = np.exp(-(max(0.0, float(values.sum())) ** 2) / (2 * squares)) if squares > 0 else 1.0
    return float(max(bound, 0.5 ** len(values)))


def _all_sums(values: Values) -> Values:
    """``(2**n,)``: the sums of ``(n,)`` values under every pattern of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _as_large(values: Values, flips: int, rng: np.random.Generator) -> int:
    """How many of so many random flips have a sum as large as the observed one."""
    observed, found = values.sum() - _tolerance(values), 0
    block = max(1, 500_000 // len(values))
    for start in range(0, flips, block):
        shape = (min(block, flips - start), len(values))
        signs = rng.integers(0, 2, size=shape, dtype=np.int8).astype(np.float64) * 2 - 1
        found += int((signs @ values >= observed).sum())
    return found


def _tolerance(values: Values) -> float:
    """Sums that differ by rounding alone are the same."""
    return float(1e-12 * np.abs(values).sum())
