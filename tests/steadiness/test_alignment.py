import pytest
import torch

from camdebug.measures.similarity import jensen_shannon
from camdebug.steadiness.alignment import displaced, met_halfway
from camdebug.steadiness.perturbed import DIRECTIONS


def maps_of(count=1, grid=(5, 6)):
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(0)).double()


def test_a_map_between_two_cells_is_shared_by_both():
    spot = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
    assert displaced(spot, torch.tensor([[0.0, 0.25]])).tolist() == [[[0.0, 3.0, 1.0, 0.0]]]
    assert displaced(spot, torch.tensor([[0.0, -0.25]])).tolist() == [[[1.0, 3.0, 0.0, 0.0]]]
    assert displaced(spot, torch.tensor([[0.0, 1.5]])).tolist() == [[[0.0, 0.0, 2.0, 2.0]]]
    assert displaced(spot.mT, torch.tensor([[0.25, 0.0]])).flatten().tolist() == [0.0, 3.0, 1.0, 0.0]


def test_each_map_moves_its_own_way_and_whole_cells_are_copied():
    maps = maps_of(2)
    moved = displaced(maps, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    assert torch.equal(moved[0, 1:], maps[0, :-1])
    assert torch.equal(moved[0, 0], maps[0, 0])
    assert torch.equal(moved[1, :, :-2], maps[1, :, 2:])
    assert torch.equal(displaced(maps, torch.zeros(2, 2)), maps)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_map_that_moved_with_its_picture_meets_the_first_halfway(direction):
    # A spot far from the edges, 8 pixels a cell, moved by two cells.
    first = torch.zeros(1, 9, 9)
    first[0, 4, 4], first[0, 4, 5] = 2.0, 1.0
    steps = torch.tensor([direction]) * 16
    moved = displaced(first, torch.tensor([direction]) * 2.0)
    assert jensen_shannon(first, moved).item() > 0.5
    assert jensen_shannon(*met_halfway(first, moved, steps, (72, 72))).item() == pytest.approx(0.0, abs=1e-12)


def test_a_map_that_stayed_behind_is_apart_by_the_whole_way():
    spot = torch.zeros(1, 7, 7)
    spot[0, 3, 3] = 1.0
    a, b = met_halfway(spot, spot, torch.tensor([[0, 16]]), (56, 56))
    assert (a[0].argmax() - b[0].argmax()).item() == 2
    assert jensen_shannon(a, b).item() == pytest.approx(1.0)


def test_both_maps_are_smoothed_alike_so_that_a_fraction_of_a_cell_costs_nothing():
    """A narrow spot moved by a fraction: bringing one map back the whole way would leave it smoother than the other."""
    spot = torch.zeros(1, 1, 9)
    spot[0, 0, 4] = 1.0
    moved = displaced(spot, torch.tensor([[0.0, 0.5]]))
    back = displaced(moved, torch.tensor([[0.0, -0.5]]))
    halfway = met_halfway(spot, moved, torch.tensor([[0, 4]]), (8, 72))
    assert jensen_shannon(*halfway).item() < 0.5 * jensen_shannon(spot, back).item()


def test_height_and_width_have_cells_of_their_own():
    maps = maps_of(1, (4, 2))
    a, b = met_halfway(maps, maps, torch.tensor([[4, 0]]), (16, 32))  # one cell of 4 pixels
    torch.testing.assert_close(a, displaced(maps, torch.tensor([[0.5, 0.0]])))
    torch.testing.assert_close(b, displaced(maps, torch.tensor([[-0.5, 0.0]])))


def test_maps_that_are_not_finite_do_not_touch_the_others():
    maps = maps_of(2)
    maps[0, 2, 2] = float("inf")
    steps = torch.tensor([[0.3, 0.0], [0.3, 0.0]])
    torch.testing.assert_close(displaced(maps, steps)[1:], displaced(maps[1:], steps[1:]))
    assert not displaced(maps, steps)[0].isfinite().all()
