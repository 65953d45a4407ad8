"""A level with a memory, also where nothing is left of the error budget."""

import pytest
import torch

from camdebug.records import BackgroundContrast, Level
from camdebug.verdict.memory import Memory
from camdebug.verdict.screen import screen


def contrast(value, p_value):
    return BackgroundContrast(
        (0,), (40,), value, 1.0, p_value, torch.arange(40), torch.zeros(40).double(), torch.zeros(2, 2)
    )


@pytest.mark.parametrize("threshold", [0.0, 1e-300, 1e-17])
def test_a_look_beyond_the_plan_raises_nothing_and_fails_at_nothing(threshold):
    memory = Memory()
    level = screen(memory, contrast(2.0, 0.02), threshold=threshold, plan_started=True)
    assert (level, memory.quiet, memory.streak) == (Level.NO_EVIDENCE, 1, 0)


@pytest.mark.parametrize(("value", "quiet"), [(0.81, 1), (0.83, 0)])
def test_far_below_is_half_of_what_the_threshold_asks_for(value, quiet):
    memory = Memory()
    screen(memory, contrast(value, 0.2), threshold=0.05, plan_started=True)  # 1.645 standard errors, and half of them
    assert memory.quiet == quiet
