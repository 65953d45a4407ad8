"""The screen: what the contrast of background evidence says of a class at every look."""

from __future__ import annotations

from statistics import NormalDist

from camdebug.records import BackgroundContrast, Level
from camdebug.verdict.memory import Memory

LOOKS_TO_SUSPECT = 2
LOOKS_TO_CLEAR = 3


def screen(memory: Memory, contrast: BackgroundContrast, *, threshold: float, plan_started: bool) -> Level:
    """The level that a contrast gives, with a memory: it is raised at once and cleared slowly.

    * *watch*: above 0 at this look's share of the error budget.
    * *suspect*: that, two looks running, once the plan of swaps has started.
    * Cleared only after three looks running with a contrast below half of what would be needed to raise it.
    """
    before = Level(memory.screened)
    if contrast.p_value <= threshold:
        memory.streak, memory.quiet = memory.streak + 1, 0
        raised = memory.streak >= LOOKS_TO_SUSPECT and plan_started
        level = Level.SUSPECT if raised or before is Level.SUSPECT else Level.WATCH
    else:
        memory.streak = 0
        memory.quiet = memory.quiet + 1 if _far_below(contrast, threshold) else 0
        level = before if before.is_alert and memory.quiet < LOOKS_TO_CLEAR else Level.NO_EVIDENCE
    memory.screened = level.value
    return level


def _far_below(contrast: BackgroundContrast, threshold: float) -> bool:
    """The contrast is below half of what the threshold asks for, in standard errors."""
    if not contrast.standard_error > 0 or threshold <= 0:  # with nothing left to spend nothing is enough
        return True
    return contrast.value / contrast.standard_error < -NormalDist().inv_cdf(min(threshold, 0.5)) / 2
