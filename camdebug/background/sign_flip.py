"""One-sided randomisation test of a mean above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_EXACT = 30
_FIRST_FLIPS, _LARGE = 999, 20
_TILTED_FLIPS, _TILTS = 20_000, 5

Values = NDArray[np.float64]


def sign_flip_p_value(differences: Tensor, *, smallest_p: float, seed: int) -> float:
    """One-sided p-value of a mean above 0 among all ways to flip signs (Fisher 1935).

    Valid when the two backgrounds of every pair can be exchanged under the null hypothesis, which ``pairing`` arranges.
    Exact for up to 30 values: the sums of all flips of either half are sorted and counted against each other (Horowitz
    & Sahni 1974). For more, 999 fair flips tell whether the value is far from small; if it is not, 20,000 flips are
    drawn that prefer large sums, and weighted (see ``tilted_p_value``). The rate of false alarms holds at every level:
    what the fair flips give is .022 or more, so from there on they alone decide, and below it the weighted ones alone.

    Args:
        differences: ``(n,)``.
        smallest_p: down to this p-value the result is precise, to some 5 %; below it still valid.
        seed: of the random flips.

    Returns:
        The share of flips with a mean as large, the observed signs among them, or an estimate of it; never 0. 1 for no
        values.
    """
    values: Values = differences.double().numpy()
    if len(values) <= _EXACT:
        return exact_p_value(values)
    rng = np.random.default_rng([seed, len(values)])
    as_large = _as_large(values, rng)
    if as_large > _LARGE:
        return (1 + as_large) / (1 + _FIRST_FLIPS)
    return tilted_p_value(values, smallest_p=smallest_p, rng=rng)


def exact_p_value(values: Values) -> float:
    """Share of all ``2**n`` sign patterns of ``(n,)`` values whose sum is at least the observed one.

    >>> exact_p_value(np.array([1.0, 2.0, 4.0])), exact_p_value(np.array([1.0, 1.0, -1.0]))
    (0.125, 0.5)
    """
    first, second = (_all_sums(half) for half in np.array_split(values, 2))
    second.sort()
    needed = values.sum() - _tolerance(values) - first
    return float((len(second) - np.searchsorted(second, needed)).sum() / 2.0 ** len(values))


def tilted_p_value(values: Values, *, smallest_p: float, rng: np.random.Generator) -> float:
    """P-value from random flips that prefer large sums, so that few of them resolve the smallest p-values.

    Each sign is positive with a chance that grows with its value's size, and every pattern counts with the weight that
    undoes it. With the observed pattern among the draws this is a valid p-value, however few they are (Harrison 2012,
    Biometrika 99, 57-69), because the draws depend on the sizes of the values and on ``smallest_p``, never on the
    observed signs. Patterns are drawn from five tilts alike: none, and up to the one under which sums that are as rare
    as ``smallest_p`` are common, so that no weight is above 5 and every p-value between is told as well.

    Args:
        values: ``(n,)``, not all 0.
        smallest_p: the smallest p-value that must be told precisely.
        rng: of the signs.
    """
    sizes, observed = np.abs(values), float(values.sum())
    tilts = np.linspace(0, _tilt(sizes, smallest_p), _TILTS)
    chances = 1 / (1 + np.exp(-2 * tilts[:, None] * sizes))
    logs = _log_cosh(tilts[:, None] * sizes).sum(1)

    def weights(sums: Values) -> Values:
        odds: Values = np.exp(np.minimum(tilts * sums[:, None] - logs, 700)).mean(1)  # beyond, it is not finite
        return 1 / odds

    total = float(weights(np.array([observed]))[0])
    for flips in _blocks(_TILTED_FLIPS, len(values)):
        positive = rng.random((flips, len(values)), dtype=np.float32) < chances[rng.integers(_TILTS, size=flips)]
        sums = np.where(positive, sizes, -sizes).sum(1)
        total += float(weights(sums[sums >= observed - _tolerance(values)]).sum())
    return min(1.0, max(total / (1 + _TILTED_FLIPS), 0.5 ** len(values)))


def smallest_attainable_p(rows: int) -> float:
    """The smallest p-value that ``sign_flip_p_value`` can give for so many values, however strong the effect."""
    return float(0.5**rows)


def _tilt(sizes: Values, smallest_p: float) -> float:
    """The tilt at which Chernoff's bound of the mean sum under it is ``smallest_p``."""
    # Near the rarest pattern of all, tilts grow without end and would leave what is less rare to nobody.
    rarest = 0.8 * np.log(0.5) * len(sizes)

    def log_bound(tilt: float) -> float:
        return float((_log_cosh(tilt * sizes) - tilt * sizes * np.tanh(tilt * sizes)).sum())

    aim = max(rarest, float(np.log(max(smallest_p, 1e-300))))
    low, high = 0.0, 20 / float(sizes.mean())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if log_bound(middle) > aim else (low, middle)
    return low


def _log_cosh(values: Values) -> Values:
    logs: Values = np.logaddexp(values, -values) - np.log(2)
    return logs


def _all_sums(values: Values) -> Values:
    """``(2**n,)``: the sums of ``(n,)`` values under every pattern of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _as_large(values: Values, rng: np.random.Generator) -> int:
    """How many of 999 random flips have a sum as large as the observed one."""
    signs = rng.integers(0, 2, size=(_FIRST_FLIPS, len(values)), dtype=np.int8).astype(np.float64) * 2 - 1
    return int((signs @ values >= values.sum() - _tolerance(values)).sum())


def _blocks(count: int, width: int) -> list[int]:
    """``count`` rows in blocks of half a million numbers."""
    block = max(1, 500_000 // width)
    return [min(block, count - start) for start in range(0, count, block)]


def _tolerance(values: Values) -> float:
    """Sums that differ by rounding alone are the same."""
    return float(1e-12 * np.abs(values).sum())
