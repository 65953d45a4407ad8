import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from camdebug.measures.similarity import jensen_shannon, similarity, spearman, summarise
from camdebug.records.steadiness import Similarity

seeds = st.integers(0, 10_000)


def random_maps(seed, count=5, grid=(3, 4)):
    """ReLU'd, so that many cells are 0 and tied."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, *grid, generator=generator).relu()
    maps[:, 0, 0] += 0.1
    return maps


def row(*cells):
    return torch.tensor([[cells]], dtype=torch.float64)


# --- by hand


def test_divergence_of_two_maps_by_hand():
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4).
    expected = (0.5 * math.log2(2 / 3) + 0.5 * math.log2(2) + math.log2(4 / 3)) / 2
    assert jensen_shannon(row(2.0, 2.0), row(5.0, 0.0)).item() == pytest.approx(expected)


def test_rank_correlation_with_ties_by_hand():
    # Ranks 1.5, 1.5, 3, 4 and 1, 3, 3, 3; less 2.5: (-1, -1, .5, 1.5) and (-1.5, .5, .5, .5).
    expected = (1.5 - 0.5 + 0.25 + 0.75) / math.sqrt(4.5 * 3.0)
    assert spearman(row(0.0, 0.0, 1.0, 2.0), row(1.0, 7.0, 7.0, 7.0)).item() == pytest.approx(expected)


# --- against scipy, which works from the same formulas


@given(seeds)
def test_divergence_agrees_with_scipy(seed):
    first, second = random_maps(seed), random_maps(seed + 1)
    expected = [distance.jensenshannon(p.ravel(), q.ravel(), base=2) ** 2 for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(jensen_shannon(first, second).numpy(), expected, atol=1e-7)


@given(seeds)
def test_rank_correlation_agrees_with_scipy(seed):
    first, second = random_maps(seed), random_maps(seed + 1)
    expected = [stats.spearmanr(p.ravel(), q.ravel()).statistic for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(spearman(first, second).numpy(), expected, atol=1e-12)


# --- laws


@given(seeds, st.sampled_from([1e-4, 1.0, 1e5]))
def test_both_are_symmetric_bounded_and_blind_to_scale(seed, scale):
    first, second = random_maps(seed).double(), random_maps(seed + 1).double()
    for measure, low in ((jensen_shannon, 0.0), (spearman, -1.0)):
        found = measure(first, second)
        torch.testing.assert_close(measure(second, first), found)
        torch.testing.assert_close(measure(first * scale, second), found, atol=1e-9, rtol=1e-9)
        assert ((found >= low) & (found <= 1)).all()


@given(seeds)
def test_a_map_is_like_itself(seed):
    maps = random_maps(seed)
    assert jensen_shannon(maps, maps).tolist() == [0.0] * len(maps)
    torch.testing.assert_close(spearman(maps, maps), torch.ones(len(maps)).double())


@given(seeds)
def test_moving_cells_around_in_both_maps_changes_nothing(seed):
    first, second = random_maps(seed), random_maps(seed + 1)
    torch.testing.assert_close(jensen_shannon(first.flip(2), second.flip(2)), jensen_shannon(first, second))
    torch.testing.assert_close(spearman(first.mT, second.mT), spearman(first, second))


def test_the_square_root_of_the_divergence_is_a_metric():
    a, b, c = (random_maps(seed, count=200) for seed in range(3))
    direct, around = jensen_shannon(a, c).sqrt(), jensen_shannon(a, b).sqrt() + jensen_shannon(b, c).sqrt()
    assert (direct <= around + 1e-9).all()


def test_ranks_see_no_monotone_change_and_the_divergence_does():
    maps = random_maps(0)
    torch.testing.assert_close(spearman(maps, maps.square()), torch.ones(5).double())
    assert (jensen_shannon(maps, maps.square()) > 0.01).all()


def test_maps_without_a_common_cell_are_one_bit_apart():
    assert jensen_shannon(row(1.0, 0.0, 0.0), row(0.0, 3.0, 1.0)).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_floating_type_and_its_largest_numbers_are_read(dtype):
    largest = torch.finfo(dtype).max
    maps = torch.tensor([[[largest, largest, 0.0]]], dtype=dtype)
    assert jensen_shannon(maps, torch.tensor([[[1.0, 1.0, 0.0]]], dtype=dtype)).item() == 0.0
    assert spearman(maps, maps).item() == pytest.approx(1.0)


# --- nothing is imputed


@pytest.mark.parametrize("bad", [0.0, 1e-9, float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_map_without_evidence_gives_no_number_and_spoils_no_other(bad, which):
    pair = [random_maps(0), random_maps(1)]
    alone = jensen_shannon(*(m[1:] for m in pair)), spearman(*(m[1:] for m in pair))
    pair[which][0] = bad
    for found, others in zip((jensen_shannon(*pair), spearman(*pair)), alone, strict=True):
        assert found[0].isnan()
        torch.testing.assert_close(found[1:], others)


def test_a_flat_map_has_a_divergence_and_no_rank_correlation():
    flat = torch.ones(1, 2, 2)
    other = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert 0 < jensen_shannon(flat, other).item() < 1
    assert spearman(flat, other).isnan().all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(stats.spearmanr(flat.ravel(), other.ravel()).statistic)


def test_means_are_over_the_pairs_that_can_be_compared():
    first = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]], [[1.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0]], [[2.0, 0.0]], [[1.0, 0.0]], [[3.0, 3.0]]])
    assert similarity(first, second) == Similarity(pytest.approx(1 / 3), pytest.approx(0.0), 3, 1)


def test_no_pair_has_no_mean():
    assert similarity(torch.zeros(2, 2, 2), torch.ones(2, 2, 2)) == Similarity(None, None, 0, 2)
    assert summarise(torch.zeros(0), torch.zeros(0)) == Similarity(None, None, 0, 0)


@pytest.mark.parametrize(
    "shapes",
    [((2, 3, 3), (2, 3, 4)), ((2, 3, 3), (3, 3, 3)), ((2, 3), (2, 3, 1)), ((3,), (3,)), ((1, 1, 2, 2, 2),) * 2],
)
def test_maps_of_other_shapes_are_refused(shapes):
    for measure in (jensen_shannon, spearman):
        with pytest.raises(ValueError, match=r"maps: expected two of one shape \(N, \*grid\), got"):
            measure(*(torch.ones(shape) for shape in shapes))
