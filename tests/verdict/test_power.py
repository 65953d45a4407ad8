import numpy as np
import pytest

from camdebug.verdict.power import pairs_needed, smallest_gap


@pytest.mark.parametrize("pairs", [20, 40])
def test_four_tests_of_five_find_the_smallest_gap(pairs):
    """Simulated: falls with the assumed spread, tested at the threshold."""
    gap, rng = smallest_gap(pairs, 0.001), np.random.default_rng(0)
    falls = rng.normal(gap, 0.2, (4000, pairs))
    found = falls.mean(1) > 3.0902 * 0.2 / np.sqrt(pairs)
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_the_pairs_that_are_needed_make_the_gap_the_smallest():
    needed = pairs_needed(0.1, 0.0005)
    assert smallest_gap(needed, 0.0005) <= 0.1 < smallest_gap(needed - 1, 0.0005)
