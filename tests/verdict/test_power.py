import numpy as np
import pytest
import torch

from camdebug.background.sign_flip import exact_p_value, sign_flip_p_value
from camdebug.records import BackgroundSwap
from camdebug.verdict.confirm import confirm
from camdebug.verdict.memory import Memory
from camdebug.verdict.power import pairs_needed, power, saddlepoint_p_values, smallest_gap


def _confirmed(falls, threshold):
    """The product's own rule on simulated falls, with its own randomisation test."""

    def p(values):
        return sign_flip_p_value(torch.from_numpy(values), smallest_p=threshold, seed=0)

    halves = falls[0::2], falls[1::2]
    gaps, p_values = tuple(float(h.mean()) for h in halves), tuple(p(h.copy()) for h in halves)
    nobody = torch.arange(1), torch.zeros(1)
    swap = BackgroundSwap(
        (0,), (len(falls),), float(falls.mean()), 0.1, 1, 0.1, p(falls), gaps, p_values, *nobody, True
    )
    return confirm(Memory(), swap, threshold=threshold)


@pytest.mark.parametrize(
    ("pairs", "threshold"),
    [(20, 2e-3), (20, 2e-4), (20, 2e-6), (40, 1e-6), (50, 5e-7), (60, 1.9e-6), (100, 1e-4)],
)
def test_the_rule_confirms_the_smallest_gap_at_four_looks_of_five(pairs, threshold):
    gap, rng = smallest_gap(pairs, threshold), np.random.default_rng(0)
    found = np.mean([_confirmed(rng.normal(gap, 0.2, pairs), threshold) for _ in range(120)])
    assert found == pytest.approx(0.82, abs=0.12)
    assert power(gap - 0.01, pairs, threshold) < 0.8


@pytest.mark.parametrize("count", [20, 28])
def test_the_saddlepoint_gives_the_p_values_of_full_enumeration(count):
    falls = np.random.default_rng(0).normal(0.15, 0.2, (60, count))
    falls = falls[falls.mean(1) > 0]
    exact = np.array([exact_p_value(row) for row in falls])
    assert saddlepoint_p_values(falls) == pytest.approx(exact, rel=0.4)
    assert saddlepoint_p_values(np.ones((1, count)) + np.arange(count) / 10) == [0.5**count]


def test_more_pairs_show_smaller_gaps_but_none_at_the_least_that_counts():
    assert smallest_gap(20, 1e-3) > smallest_gap(40, 1e-3) > smallest_gap(160, 1e-3) > 0.1
    assert pairs_needed(0.1, 1e-3) is None
    assert power(0.1, 640, 1e-3) == pytest.approx(0.5, abs=0.05)


def test_the_pairs_that_are_needed_are_enough_and_ten_less_are_not():
    needed = pairs_needed(0.15, 2e-4)
    assert power(0.15, needed, 2e-4) >= 0.8 > power(0.15, needed - 10, 2e-4)
    rng = np.random.default_rng(0)
    found = np.mean([_confirmed(rng.normal(0.15, 0.2, needed), 2e-4) for _ in range(120)])
    assert found == pytest.approx(0.84, abs=0.12)


def test_what_can_never_be_found_is_said_to_be_out_of_reach():
    assert smallest_gap(4, 1e-9) == float("inf")
    assert smallest_gap(20, 0.9 * 0.5**20) == float("inf")
    assert smallest_gap(20, 1.1 * 0.5**20) < 0.6
