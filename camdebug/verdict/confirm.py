"""Confirmation: what the swap of backgrounds says of a class at the planned looks."""

from __future__ import annotations

from camdebug.records import BackgroundSwap
from camdebug.verdict.memory import Memory

MIN_GAP = 0.10
"""A class that loses less probability is not confirmed, however sure the loss is."""

PANEL_P_VALUE = 0.05
LOOKS_TO_CLEAR = 3


def confirm(memory: Memory, swap: BackgroundSwap | None, *, threshold: float) -> bool:
    """Whether a class stands confirmed after a look.

    Raised at a planned look when its probability falls by .10 or more with a p-value within
    the budget, and each of two disjoint panels of donors agrees: half of that fall, at .05. Cleared after three looks
    running, planned or not, with less than half of it.
    """
    if swap is None:
        return memory.confirmed
    if swap.decides and swap.p_value <= threshold and swap.gap >= MIN_GAP and agree(swap):
        memory.confirmed, memory.quiet_swaps = True, 0
    else:
        memory.quiet_swaps = memory.quiet_swaps + 1 if swap.gap < MIN_GAP / 2 else 0
        memory.confirmed = memory.confirmed and memory.quiet_swaps < LOOKS_TO_CLEAR
    return memory.confirmed


def agree(swap: BackgroundSwap) -> bool:
    """Whether both panels of donors see the fall."""
    return min(swap.panel_gaps) >= MIN_GAP / 2 and max(swap.panel_p_values) <= PANEL_P_VALUE
