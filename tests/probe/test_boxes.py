import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camdebug.probe.boxes import coverage, pixel_masks

HEIGHT, WIDTH = 12, 18
law = settings(deadline=None, max_examples=80)
FACTORS = [(1, 1), (1, 3), (2, 2), (3, 6), (4, 9), (6, 2), (12, 18)]


@st.composite
def box_lists(draw, *, most=5, whole=True):
    """Boxes with area, partly beyond the picture; integers, or any float."""
    number = st.integers if whole else st.floats
    found = []
    for _ in range(draw(st.integers(0, most))):
        x0, x1 = sorted((draw(number(-3, WIDTH + 3)), draw(number(-3, WIDTH + 3))))
        y0, y1 = sorted((draw(number(-3, HEIGHT + 3)), draw(number(-3, HEIGHT + 3))))
        found.append([x0, y0, x1, y1])
    return torch.tensor(found, dtype=torch.float64).reshape(-1, 4)


def rasterised(boxes):
    """The slow oracle for integer boxes: paint pixels one by one."""
    picture = np.zeros((HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            picture[y, x] = any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes.tolist())
    return picture


def cover(boxes, grid):
    return coverage([boxes], (HEIGHT, WIDTH), grid)[0]


def test_hand_computed_coverage_of_a_box_across_cells():
    # cells of 5x10 pixels; the box takes x 5-15 and y 2.5-5: half of the height and of the width of two cells
    found = coverage([torch.tensor([[5.0, 2.5, 15.0, 5.0]])], (10, 20), (2, 2))
    assert found.tolist() == [[[0.25, 0.25], [0.0, 0.0]]]


def test_x_and_y_are_not_swapped():
    left_half = torch.tensor([[0.0, 0.0, 9.0, 12.0]])
    assert cover(left_half, (1, 2)).tolist() == [[1.0, 0.0]]
    assert cover(left_half, (2, 1)).tolist() == [[0.5], [0.5]]


def test_overlapping_boxes_count_once():
    two = torch.tensor([[0.0, 0.0, 12.0, 12.0], [6.0, 0.0, 18.0, 12.0]])
    assert cover(two, (1, 1)).tolist() == [[1.0]]
    assert sum(cover(b[None], (1, 1)).item() for b in two) == pytest.approx(4 / 3)


def test_each_picture_has_its_own_boxes_and_none_is_allowed():
    boxes = [torch.zeros(0, 4), torch.tensor([[0.0, 0.0, 18.0, 12.0]])]
    assert coverage(boxes, (HEIGHT, WIDTH), (1, 2)).tolist() == [[[0.0, 0.0]], [[1.0, 1.0]]]
    assert coverage([], (HEIGHT, WIDTH), (3, 2)).shape == (0, 3, 2)


@law
@given(box_lists(), st.sampled_from(FACTORS))
def test_coverage_equals_the_rasterised_oracle(boxes, grid):
    h, w = grid
    expected = rasterised(boxes).reshape(h, HEIGHT // h, w, WIDTH // w).mean((1, 3))
    np.testing.assert_allclose(cover(boxes, grid).numpy(), expected, atol=1e-12)


@law
@given(box_lists(), st.integers(1, 40), st.integers(1, 40))
def test_cells_add_up_to_the_area_of_the_union_on_any_grid(boxes, rows, columns):
    found = cover(boxes, (rows, columns))
    cell = HEIGHT / rows * WIDTH / columns
    assert float(found.sum()) * cell == pytest.approx(rasterised(boxes).sum(), abs=1e-8)


@law
@given(box_lists(whole=False), st.integers(1, 9), st.integers(1, 9))
def test_coverage_lies_in_0_to_1_and_the_grid_does_not_change_the_area(boxes, rows, columns):
    found = cover(boxes, (rows, columns))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(found.mean()) == pytest.approx(float(cover(boxes, (1, 1))), abs=1e-9)


@law
@given(box_lists(whole=False), st.integers(1, 9), st.integers(1, 9))
def test_flips_commute(boxes, rows, columns):
    found = cover(boxes, (rows, columns))
    mirrored = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([WIDTH, 0, WIDTH, 0])
    upside_down = boxes[:, [0, 3, 2, 1]] * torch.tensor([1, -1, 1, -1]) + torch.tensor([0, HEIGHT, 0, HEIGHT])
    torch.testing.assert_close(cover(mirrored, (rows, columns)), found.flip(1), atol=1e-9, rtol=0)
    torch.testing.assert_close(cover(upside_down, (rows, columns)), found.flip(0), atol=1e-9, rtol=0)


@law
@given(box_lists(), st.randoms(use_true_random=False))
def test_order_and_repetition_of_boxes_change_nothing(boxes, random):
    order = random.sample(range(len(boxes)), len(boxes))
    again = torch.cat([boxes[order], boxes[:2]])
    assert torch.equal(cover(again, (5, 7)), cover(boxes, (5, 7)))


@law
@given(box_lists(most=3))
def test_masks_of_whole_pixel_boxes_are_the_rasterised_ones(boxes):
    (mask,) = pixel_masks([boxes], (HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask.numpy(), rasterised(boxes) > 0)


def test_masks_take_pixels_that_a_box_touches_in_part():
    (mask,) = pixel_masks([torch.tensor([[0.9, 1.1, 2.0, 1.2]])], (3, 4))
    assert mask.int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
