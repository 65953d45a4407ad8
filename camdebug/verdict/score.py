"""One number a class that says how strongly a look speaks for reliance on the background, to rank classes and runs."""

from __future__ import annotations

from math import isfinite

from camdebug.records import BackgroundContrast, BackgroundSwap

FLOOR = 0.3
"""Added to standard errors, in logits: a difference is to be sure *and* not tiny beside an ordinary margin."""


def in_errors(value: float, standard_error: float) -> float:
    """A difference in logits over its standard error and the floor; chance 0.

    >>> in_errors(1.4, 0.4)
    2.0
    """
    return value / (standard_error + FLOOR)


def reliance(contrast: BackgroundContrast | None, swap: BackgroundSwap | None) -> float | None:
    """Mean of two readings of the same composites, chance 0; ``None`` without both.

    One is the margin that the object's class loses when the background is swapped, which is all that enters the
    prediction; the other is the background evidence, which is what enters outside the object. Levels do not use it:
    they rest on p-values. ``tests/benchmarks/detection`` ranks by it.
    """
    if contrast is None or swap is None:
        return None
    score = (
        in_errors(swap.margin_gap, swap.margin_standard_error) + in_errors(contrast.value, contrast.standard_error)
    ) / 2
    return score if isfinite(score) else None
