"""The number that classes are ranked by."""

import math

import pytest
import torch

from camdebug.records import BackgroundContrast, BackgroundSwap
from camdebug.verdict.score import FLOOR, in_errors, reliance


def _contrast(value, error):
    return BackgroundContrast((0,), (20,), value, error, 0.5, torch.zeros(1).long(), torch.zeros(1), torch.zeros(1, 1))


def _swap(margin, error):
    nothing = torch.zeros(1)
    return BackgroundSwap((0,), (20,), 0.1, 0.1, margin, error, 0.5, (0, 0), (1, 1), nothing.long(), nothing, True)


def test_it_is_the_mean_of_both_readings_in_their_errors_and_a_floor():
    assert FLOOR == 0.3
    assert reliance(_contrast(1.2, 0.1), _swap(-3.0, 0.7)) == pytest.approx((1.2 / 0.4 - 3.0 / 1.0) / 2)


def test_a_sure_but_tiny_difference_counts_less_than_a_large_one_that_is_as_sure():
    assert in_errors(0.02, 0.002) < in_errors(2.0, 0.2)


def test_without_both_there_is_none():
    assert reliance(None, _swap(1.0, 0.1)) is None
    assert reliance(_contrast(1.0, 0.1), None) is None
    assert reliance(_contrast(math.nan, 0.1), _swap(1.0, 0.1)) is None
