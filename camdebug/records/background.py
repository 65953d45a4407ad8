"""What a class owes to backgrounds of its own kind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BackgroundContrast:
    """Evidence that a class owes to backgrounds of its own kind, in logits; chance level 0.

    Attributes:
        classes: the class, or both classes of a pair when only two can be tested.
        counts: number of donor pairs (one background of the class, one of another) of each.
        value: mean over donor pairs of (evidence outside the box on the same-class background minus other-class).
        standard_error: of that mean.
        p_value: one-sided randomisation p-value against "the background's class does not matter".
        probes: index of each probe whose object took part.
        differences: ``(n,)`` float64, the mean difference of each.
        cue_map: ``(h, w)`` float32, mean difference of the signed evidence outside the boxes: where the cue sits.
    """

    classes: tuple[int, ...]
    counts: tuple[int, ...]
    value: float
    standard_error: float
    p_value: float
    probes: Tensor
    differences: Tensor
    cue_map: Tensor

    @property
    def is_pair(self) -> bool:
        """It speaks for two classes together: a cue on one of two opens a gap in both."""
        return len(self.classes) > 1

    @property
    def worst(self) -> list[int]:
        """Probes with the largest difference first, at most three, positive ones only."""
        order = torch.argsort(self.differences, descending=True)[:3]
        return [int(self.probes[i]) for i in order if self.differences[i] > 0]


@dataclass(frozen=True, eq=False)
class BackgroundSwap:
    """How far the predictions for a class depend on whose background stands behind its objects; chance level 0.

    Attributes:
        classes: the class, or both classes of a pair when only two can be tested.
        counts: number of donor pairs of each.
        gap: mean over donor pairs of (probability of the object's class on the same-class background minus on the
            other-class one), in [-1, 1].
        standard_error: of that mean.
        margin_gap: the same difference in the margin over the other donor's class, in logits.
        margin_standard_error: of that mean.
        p_value: one-sided randomisation p-value of ``margin_gap`` against "the background's class does not matter".
        panel_gaps: ``gap`` on each of two disjoint panels of donor pairs.
        panel_p_values: their p-values.
        recipients: index of each probe whose object took part.
        falls: ``(n,)`` float64, by how much the probability of its class is lower on other-class backgrounds.
        decides: a planned look, which may confirm. Others are shown only.
    """

    classes: tuple[int, ...]
    counts: tuple[int, ...]
    gap: float
    standard_error: float
    margin_gap: float
    margin_standard_error: float
    p_value: float
    panel_gaps: tuple[float, float]
    panel_p_values: tuple[float, float]
    recipients: Tensor
    falls: Tensor
    decides: bool

    @property
    def is_pair(self) -> bool:
        """It speaks for two classes together: a cue on one of two opens a gap in both."""
        return len(self.classes) > 1
