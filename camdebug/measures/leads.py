"""Right for the wrong reason: which probes to look at first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camdebug.measures.split import check_correct
from camdebug.records import BackgroundSwap, LocalisationScores
from camdebug.records.split import WrongReasons

LEAST_FALL = 0.10
"""In probability; the smallest background swap that METHOD calls moderate."""

KEPT = 20
"""A longer list is not read."""


def wrong_reasons(
    scores: LocalisationScores,
    correct: Tensor,
    swaps: Sequence[BackgroundSwap],
    *,
    least_fall: float = LEAST_FALL,
    kept: int = KEPT,
) -> WrongReasons:
    """List the probes that are right, hot outside their box, and less probable on other classes' backgrounds.

    Hot outside means D > 0: the heat is denser outside than inside. What D is without reliance drifts with grid and
    box size, but its class means have stayed below 0 in every clean run so far, so the sign is the threshold to take.
    It misses probes: a model may rely on a background that its heat does not show; ``heat_on_object`` counts those.

    Args:
        scores: of N probes.
        correct: ``(N,)`` bool, the model predicts the label.
        swaps: of all classes. A probe that took part more than once has the mean of its falls; falls that are not
            finite are left out.
        least_fall: of the probability, above 0.
        kept: at most so many are listed.

    Raises:
        ValueError: when an argument does not fit; the message names it.
    """
    check_correct(scores, correct)
    if not 0 < least_fall <= 1:
        raise ValueError(f"least_fall: expected a probability above 0, got {least_fall}")
    falls = _mean_falls(swaps, len(correct))
    tested = correct & scores.valid & falls.isfinite()
    outside = scores.log_density_ratio > 0
    fallen, risen = tested & (falls >= least_fall), tested & (falls <= -least_fall)
    leads = torch.nonzero(outside & fallen).flatten()
    listed = leads[torch.argsort(falls[leads], descending=True, stable=True)][:kept]
    return WrongReasons(
        probes=tuple(listed.tolist()),
        falls=tuple(falls[listed].tolist()),
        count=len(leads),
        expected_by_chance=int((outside & risen).sum()),
        tested=int(tested.sum()),
        heat_on_object=int((~outside & fallen).sum()),
        heat_on_object_by_chance=int((~outside & risen).sum()),
        least_fall=least_fall,
    )


def _mean_falls(swaps: Sequence[BackgroundSwap], count: int) -> Tensor:
    """``(N,)`` float64: mean fall of each probe, NaN for those that were never swapped."""
    total, times = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for swap in swaps:
        if len(swap.recipients) and not 0 <= int(swap.recipients.min()) <= int(swap.recipients.max()) < count:
            raise ValueError(f"swaps: expected recipients among the {count} probes, got {swap.recipients.tolist()[:5]}")
        finite = swap.falls.isfinite()
        total.index_add_(0, swap.recipients[finite], swap.falls[finite].double())
        times.index_add_(0, swap.recipients[finite], torch.ones_like(swap.falls[finite], dtype=torch.float64))
    return torch.where(times > 0, total / times.clamp(min=1), torch.nan)
