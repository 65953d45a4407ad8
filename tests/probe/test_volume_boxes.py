from fractions import Fraction
from itertools import permutations, product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool3d

from camdebug.probe.boxes import coverage, mask_coverage, track_boxes

SIZE = (4, 6, 8)
law = settings(deadline=None, max_examples=40)
grids = st.tuples(*[st.integers(1, 7)] * 3)


@st.composite
def box_lists(draw, *, most=4, whole=True, axes=3):
    """Boxes of the volume or its last axes, partly beyond it; integers, or any float."""
    number = st.integers if whole else st.floats
    found = []
    for _ in range(draw(st.integers(0, most))):
        sides = [sorted((draw(number(-2, size + 2)), draw(number(-2, size + 2)))) for size in SIZE[::-1][:axes]]
        found.append([side[0] for side in sides] + [side[1] for side in sides])
    return torch.tensor(found, dtype=torch.float64).reshape(-1, 2 * axes)


def cover(boxes, grid, size=SIZE):
    return coverage([boxes], size, grid)[0]


def rasterised(boxes, size=SIZE):
    """The slow oracle for integer boxes: paint voxels one by one."""
    painted = torch.zeros(size, dtype=torch.bool)
    for z, y, x in product(*map(range, size)):
        painted[z, y, x] = any(
            x0 <= x < x1 and y0 <= y < y1 and z0 <= z < z1 for x0, y0, z0, x1, y1, z1 in boxes.tolist()
        )
    return painted


# --- boxes, by hand


def test_hand_computed_coverage_of_a_box_across_the_cells_of_a_volume():
    # Cells of 2x2x2 voxels. x 1-3 is half of two cells, y 0-2 all of the first, z 1-2 half of the first.
    found = cover(torch.tensor([[1.0, 0.0, 1.0, 3.0, 2.0, 2.0]]), (2, 2, 2), (4, 4, 4))
    assert found.tolist() == [[[0.25, 0.25], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]


def test_x_is_the_last_axis_and_z_the_first():
    left, top, front = torch.tensor([[0, 0, 0, 4, 6, 4], [0, 0, 0, 8, 3, 4], [0, 0, 0, 8, 6, 2]])[:, None]
    assert cover(left, (1, 1, 2)).tolist() == [[[1.0, 0.0]]]
    assert cover(top, (1, 2, 1)).tolist() == [[[1.0], [0.0]]]
    assert cover(front, (2, 1, 1)).tolist() == [[[1.0]], [[0.0]]]
    for box in (left, top, front):
        assert cover(box, (1, 1, 1)).item() == 0.5


def test_hand_computed_coverage_of_a_stretch_of_a_sequence():
    stretches = torch.tensor([[1.0, 4.0], [3.0, 4.5]])  # of cells of two steps
    assert cover(stretches, (4,), (8,)).tolist() == [0.5, 1.0, 0.25, 0.0]


def test_overlapping_boxes_count_once():
    # The whole front half and the whole left half: 1/2 + 1/2 - 1/4.
    two = torch.tensor([[0.0, 0.0, 0.0, 8.0, 6.0, 2.0], [0.0, 0.0, 0.0, 4.0, 6.0, 4.0]])
    assert cover(two, (1, 1, 1)).item() == 0.75


def test_each_volume_has_its_own_boxes_and_none_is_allowed():
    boxes = [torch.zeros(0, 6), torch.zeros(0, 4), torch.tensor([[0.0, 0.0, 0.0, 8.0, 6.0, 4.0]])]
    assert coverage(boxes, SIZE, (1, 1, 2)).tolist() == [[[[0.0, 0.0]]], [[[0.0, 0.0]]], [[[1.0, 1.0]]]]
    assert coverage([], SIZE, (3, 2, 1)).shape == (0, 3, 2, 1)
    assert coverage([], (8,), (3,)).shape == (0, 3)


def test_coverage_of_pictures_is_the_same_to_the_last_bit_as_before_there_were_volumes():
    boxes = torch.tensor([[1.7, 2.3, 11.9, 9.1], [10.1, 0.3, 14.3, 5.7]], dtype=torch.float64)
    before = [
        ["0x1.204b9e537ed19p-2", "0x1.e07e07e07e07ep-2", "0x1.8397488397488p-1", "0x1.5b9a9e8ecdd1fp-2"],
        ["0x1.3333333333333p-1", "0x1.0000000000000p+0", "0x1.b9e537ed186b4p-1", "0x1.d721f6a3eec3ep-4"],
        ["0x1.eb851eb851ebdp-5", "0x1.999999999999ep-4", "0x1.47ae147ae147fp-4", "0x0.0p+0"],
    ]
    assert [[share.hex() for share in row] for row in cover(boxes, (3, 4), (13, 17)).tolist()] == before


# --- boxes, laws


@law
@given(box_lists(), st.sampled_from([(1, 1, 1), (2, 3, 4), (4, 6, 8), (1, 2, 8)]))
def test_coverage_equals_the_rasterised_oracle(boxes, grid):
    (d, h, w), (depth, height, width) = grid, SIZE
    blocks = rasterised(boxes).double().reshape(d, depth // d, h, height // h, w, width // w)
    torch.testing.assert_close(cover(boxes, grid), blocks.mean((1, 3, 5)), atol=1e-12, rtol=0)


@law
@given(box_lists(), grids)
def test_boxes_of_whole_voxels_and_their_masks_cover_the_same_of_any_grid(boxes, grid):
    torch.testing.assert_close(cover(boxes, grid), mask_coverage(rasterised(boxes)[None], grid)[0], atol=1e-12, rtol=0)


@law
@given(box_lists(whole=False, axes=2), grids)
def test_a_box_of_all_slices_covers_of_each_what_it_covers_of_a_picture(boxes, grid):
    nothing, depth = torch.zeros(len(boxes), 1), torch.full((len(boxes), 1), SIZE[0])
    tall = torch.cat([boxes[:, :2], nothing, boxes[:, 2:], depth], 1)
    flat = cover(boxes, grid[1:], SIZE[1:])
    torch.testing.assert_close(cover(tall, grid), flat.expand(grid), atol=1e-12, rtol=0)


@law
@given(box_lists(whole=False, axes=1), st.integers(1, 7), st.integers(1, 7))
def test_a_box_of_all_rows_covers_of_each_what_it_covers_of_a_sequence(boxes, rows, columns):
    nothing, height = torch.zeros(len(boxes), 1), torch.full((len(boxes), 1), SIZE[1])
    tall = torch.cat([boxes[:, :1], nothing, boxes[:, 1:], height], 1)
    line = cover(boxes, (columns,), SIZE[2:])
    torch.testing.assert_close(cover(tall, (rows, columns), SIZE[1:]), line.expand(rows, -1), atol=1e-12, rtol=0)


@law
@given(box_lists(whole=False), grids, st.sampled_from(list(permutations(range(3)))))
def test_axes_can_be_exchanged_in_volume_and_boxes_together(boxes, grid, order):
    columns = [2 - axis for axis in order][::-1]  # x, the last axis, comes first in a box
    turned = torch.cat([boxes[:, :3][:, columns], boxes[:, 3:][:, columns]], 1)
    found = cover(turned, tuple(grid[a] for a in order), tuple(SIZE[a] for a in order))
    torch.testing.assert_close(found, cover(boxes, grid).permute(order), atol=1e-12, rtol=0)


@law
@given(box_lists(whole=False), grids, st.integers(0, 2), st.floats(0, 1))
def test_a_box_that_is_cut_in_two_covers_the_same(boxes, grid, side, where):
    middle = boxes[:, side] * (1 - where) + boxes[:, 3 + side] * where
    middle = torch.minimum(torch.maximum(middle, boxes[:, side]), boxes[:, 3 + side])
    first, second = boxes.clone(), boxes.clone()
    first[:, 3 + side] = second[:, side] = middle
    torch.testing.assert_close(cover(torch.cat([first, second]), grid), cover(boxes, grid), atol=1e-12, rtol=0)


@law
@given(box_lists(whole=False), grids)
def test_shares_lie_in_0_to_1_and_the_grid_does_not_change_the_volume(boxes, grid):
    found = cover(boxes, grid)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(found.mean()) == pytest.approx(cover(boxes, (1, 1, 1)).item(), abs=1e-9)


@law
@given(box_lists(), grids, st.randoms(use_true_random=False))
def test_order_and_repetition_of_boxes_change_nothing(boxes, grid, random):
    again = torch.cat([boxes[random.sample(range(len(boxes)), len(boxes))], boxes[:2]])
    assert torch.equal(cover(again, grid), cover(boxes, grid))


@pytest.mark.parametrize("start", [np.nextafter(3.0, 0.0), np.nextafter(4.0, 0.0), np.nextafter(1.0, 2.0)])
def test_a_box_that_ends_a_rounding_beside_a_grid_line_stays_in_its_cells(start):
    found = cover(torch.tensor([[0.0, 0.0, start, 8.0, 6.0, 4.0]], dtype=torch.float64), (4, 1, 1))[:, 0, 0]
    assert found.tolist() == pytest.approx([max(0.0, min(1.0, z + 1 - start)) for z in range(4)], abs=1e-12)


# --- boxes that cannot be meant


@pytest.mark.parametrize(
    ("boxes", "size", "grid", "words"),
    [
        (
            torch.ones(3, 4),
            SIZE,
            (1, 1, 1),
            r"boxes: expected \(k, 6\) for pictures of 3 axes, got \(3, 4\) at picture 1",
        ),
        (torch.ones(2, 6), (6, 8), (1, 1), r"boxes: expected \(k, 4\) for pictures of 2 axes, got \(2, 6\)"),
        (torch.ones(4), (8,), (1,), r"boxes: expected \(k, 2\) for pictures of 1 axes, got \(4,\)"),
        (
            torch.tensor([[0.0, 0, 0, 1, 1, 1], [0, 0, 3, 1, 1, 2]]),
            SIZE,
            (1, 1, 1),
            r"boxes: expected finite corners, .* got \[0.0, 0.0, 3.0, 1.0, 1.0, 2.0\] at picture 1",
        ),
        (torch.tensor([[0.0, 0, 0, 1, 1, float("nan")]]), SIZE, (1, 1, 1), "boxes: expected finite corners"),
        (torch.tensor([[float("-inf"), 4.0]]), (8,), (1,), "boxes: expected finite corners"),
        (torch.zeros(0, 6), SIZE, (1, 1), r"grid: expected cells along each axis .* \(4, 6, 8\), got \(1, 1\)"),
        (torch.zeros(0, 6), SIZE, (1, 0, 1), r"grid: expected cells along each axis .* got \(1, 0, 1\)"),
        (
            torch.zeros(0, 8),
            (1, *SIZE),
            (1, 1, 1, 1),
            r"image_size: expected pictures of 1 to 3 axes .* \(1, 4, 6, 8\)",
        ),
        (torch.zeros(0, 2), (), (), "image_size: expected pictures of 1 to 3 axes"),
    ],
)
def test_errors_of_boxes_name_the_argument(boxes, size, grid, words):
    with pytest.raises(ValueError, match=words):
        coverage([torch.zeros(0, 4), boxes], size, grid)


# --- tracks


@law
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, 6]))
def test_a_track_covers_the_mean_of_what_its_boxes_cover_of_their_frames(seed, cells):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 6, (5,), generator=generator)  # two objects may be in one frame, none in another
    corners = torch.rand(5, 2, 2, generator=generator, dtype=torch.float64) * torch.tensor([8.0, 6.0])
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    of_frames = coverage([boxes[frames == t] for t in range(6)], (6, 8), (3, 4))
    expected = of_frames.reshape(cells, 6 // cells, 3, 4).mean(1)
    found = cover(track_boxes(boxes, frames), (cells, 3, 4), (6, 6, 8))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_errors_of_tracks_name_the_argument():
    with pytest.raises(ValueError, match=r"boxes: expected \(k, 4\) xyxy, got \(2, 6\)"):
        track_boxes(torch.zeros(2, 6), torch.zeros(2))
    with pytest.raises(ValueError, match=r"frames: expected \(2,\), one for each box, got \(3,\)"):
        track_boxes(torch.zeros(2, 4), torch.zeros(3))


# --- masks


def exact_share(mask, grid, cell):
    """The slow oracle in whole fractions: every voxel by the part of it that lies in the cell."""
    total = Fraction(0)
    for index in product(*map(range, mask.shape)):
        part = Fraction(int(mask[index]))
        for i, c, pixels, cells in zip(index, cell, mask.shape, grid, strict=True):
            side = Fraction(pixels, cells)
            part *= max(Fraction(0), min(Fraction(i + 1), (c + 1) * side) - max(Fraction(i), c * side)) / side
        total += part
    return total


@st.composite
def masks_and_grids(draw):
    axes = draw(st.integers(1, 3))
    size, grid = (tuple(draw(st.integers(1, 5)) for _ in range(axes)) for _ in range(2))
    cells = draw(st.lists(st.booleans(), min_size=prod(size), max_size=prod(size)))
    return torch.tensor(cells).reshape(size), grid


@law
@given(masks_and_grids())
def test_the_share_of_a_mask_is_the_number_nearest_to_the_exact_fraction(given_mask):
    mask, grid = given_mask
    found = mask_coverage(mask[None], grid)[0]
    for cell in product(*map(range, grid)):
        assert found[cell].item() == float(exact_share(mask, grid, cell))


def test_hand_computed_shares_where_the_grid_does_not_divide_the_picture():
    # Cells of 1.5x2 pixels: the middle row lies half in each cell, so it is a third of both.
    mask = torch.tensor([[0, 0], [1, 1], [0, 1]])
    assert mask_coverage(mask[None], (2, 1))[0].tolist() == [[1 / 3], [2 / 3]]
    # A grid finer than the mask repeats its pixels.
    assert mask_coverage(mask[None], (6, 2))[0].tolist() == mask.double().repeat_interleave(2, 0).tolist()


def test_where_the_grid_divides_the_volume_the_shares_are_means_of_blocks():
    masks = torch.rand(3, 4, 6, 8, generator=torch.Generator().manual_seed(0)) > 0.6
    expected = avg_pool3d(masks[:, None].double(), (2, 3, 4))[:, 0]
    torch.testing.assert_close(mask_coverage(masks, (2, 2, 2)), expected, atol=1e-15, rtol=0)


@law
@given(masks_and_grids())
def test_an_object_and_its_surroundings_share_every_cell(given_mask):
    mask, grid = given_mask
    object_, rest = mask_coverage(torch.stack([mask, ~mask]), grid)
    torch.testing.assert_close(object_ + rest, torch.ones(grid).double(), atol=1e-15, rtol=0)
    assert torch.equal(mask_coverage(torch.ones_like(mask)[None], grid), torch.ones(1, *grid).double())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_masks_of_every_type_give_the_same_and_stay_as_they_are(dtype):
    masks = (torch.arange(24).reshape(1, 2, 3, 4) % 5 == 0).to(dtype)
    before = masks.clone()
    found = mask_coverage(masks, (1, 1, 2))
    assert (found.dtype, found.device.type) == (torch.float64, "cpu")
    assert found.tolist() == [[[[1 / 4, 2 / 12]]]]  # 0, 5, 20 on the left, 10, 15 on the right
    assert torch.equal(masks, before)


def test_no_mask_at_all_has_no_rows():
    assert mask_coverage(torch.zeros(0, 4, 4, dtype=torch.bool), (2, 2)).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("masks", "grid", "error", "words"),
    [
        (np.ones((1, 4)), (2,), TypeError, r"masks: expected a tensor \(N, \*size\), got ndarray"),
        (torch.ones(4), (2,), ValueError, r"masks: expected pictures of 1 to 3 axes with pixels, got the size \(\)"),
        (torch.ones(1, 1, 2, 2, 2), (1, 1, 1, 1), ValueError, r"masks: expected pictures of 1 to 3 axes"),
        (torch.ones(1, 0, 2), (1, 1), ValueError, r"masks: expected pictures of 1 to 3 axes with pixels"),
        (torch.ones(1, 4, 4), (2,), ValueError, r"grid: expected cells along each axis .* \(4, 4\), got \(2,\)"),
        (torch.full((1, 4), 255), (2,), ValueError, "masks: expected bool, or 0 and 1 alone"),
        (torch.full((1, 4), 0.5), (2,), ValueError, "masks: expected bool, or 0 and 1 alone"),
        (torch.full((1, 4), float("nan")), (2,), ValueError, "masks: expected bool, or 0 and 1 alone"),
    ],
)
def test_errors_of_masks_name_the_argument(masks, grid, error, words):
    with pytest.raises(error, match=words):
        mask_coverage(masks, grid)
