"""Maps of volumes and videos ``(N, d, h, w)`` and of sequences ``(N, t)``, measured as those of pictures."""

import math
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camdebug.measures.localisation import has_evidence, localisation_scores
from camdebug.measures.mass import (
    EPSILON,
    area_fraction,
    inside_mass,
    inside_mass_on_every_box,
    log_density_ratio,
    outside_lift,
    outside_mass,
)
from camdebug.measures.similarity import jensen_shannon, similarity, spearman
from camdebug.measures.split import right_against_wrong
from camdebug.measures.summary import class_scores
from camdebug.probe.boxes import coverage, mask_coverage, track_boxes
from camdebug.records import Validity
from camdebug.steadiness.chance import object_following

FORMULAS = [inside_mass, outside_mass, outside_lift, log_density_ratio]
MEASURES = ("inside_mass", "outside_mass", "outside_lift", "log_density_ratio", "calibrated_log_density_ratio")
law = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 10_000)
grids = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def random_probes(seed, grid, count=6):
    """Maps, covers, labels and readable shares; boxes that are neither too small nor too large."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, *grid, generator=generator) * (torch.rand(count, *grid, generator=generator) > 0.3) + 0.01
    cover = torch.rand(count, *grid, generator=generator).double() * 0.4 + 0.05
    readable = 1 - (1 - cover) * torch.rand(count, *grid, generator=generator) * 0.5
    return maps, cover, torch.randint(0, 2, (count,), generator=generator), readable


def assert_same_scores(found, expected):
    assert found.validity == expected.validity
    for measure in (*MEASURES, "area_fraction"):
        torch.testing.assert_close(
            getattr(found, measure), getattr(expected, measure), equal_nan=True, atol=1e-9, rtol=1e-9
        )


# --- by hand


def test_a_volume_of_two_by_two_by_two_by_hand():
    maps = torch.tensor([[[[3.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]]])
    cover = torch.zeros(1, 2, 2, 2)
    cover[0, 0, 0, 0] = 1.0  # with heat 3 of 8, one cell of 8
    cover[0, 1, 1, 1] = 0.5  # half of heat 2, half a cell
    assert area_fraction(cover).item() == 1.5 / 8
    assert inside_mass(maps, cover).item() == 4 / 8
    assert outside_mass(maps, cover).item() == 4 / 8
    assert outside_lift(maps, cover).item() == pytest.approx(0.5 / (6.5 / 8))
    assert log_density_ratio(maps, cover).item() == pytest.approx(
        math.log(0.501 / (6.5 / 8)) - math.log(0.501 / 0.1875)
    )
    readable = torch.ones(1, 2, 2, 2)
    readable[0, 0, 1, 0] = 0.0  # heat 1 is neither inside nor outside
    assert inside_mass(maps, cover, readable).item() == pytest.approx(4 / 7)
    assert area_fraction(cover, readable).item() == pytest.approx(1.5 / 7)


def test_a_sequence_by_hand():
    scores = localisation_scores(torch.tensor([[3.0, 1.0, 0.0, 4.0]]), torch.tensor([[1.0, 0.5, 0, 0]]), torch.zeros(1))
    assert scores.validity == (Validity.OK,)
    assert scores.inside_mass.item() == 3.5 / 8
    assert scores.outside_lift.item() == pytest.approx((4.5 / 8) / (2.5 / 4))


def test_two_volumes_calibrate_each_other_by_hand():
    # Each holds all its heat in its own cell of eight: on the other's box it has none.
    maps = torch.zeros(2, 2, 2, 2)
    maps[0, 0, 0, 1] = maps[1, 1, 1, 0] = 5.0
    scores = localisation_scores(maps, (maps > 0).double(), torch.zeros(2))
    own = math.log(0.001 / (7 / 8)) - math.log(1.001 / (1 / 8))
    other = math.log(1.001 / (7 / 8)) - math.log(0.001 / (1 / 8))
    assert scores.log_density_ratio.tolist() == pytest.approx([own, own])
    assert scores.calibrated_log_density_ratio.tolist() == pytest.approx([own - other] * 2)


def test_boxes_are_read_x_first_and_volumes_depth_first():
    # 20 slices of 40x60 voxels in cells of 10: the box covers column 4 of row 1 of both layers of cells.
    box = torch.tensor([[40.0, 10.0, 0.0, 50.0, 20.0, 20.0]])
    cover = coverage([box], (20, 40, 60), (2, 4, 6))
    maps = torch.zeros(1, 2, 4, 6)
    maps[0, :, 1, 4] = 1.0
    assert inside_mass(maps, cover).item() == 1.0
    assert area_fraction(cover).item() == pytest.approx(2 / 48)
    in_array_order = coverage([box[:, [2, 1, 0, 5, 4, 3]]], (20, 40, 60), (2, 4, 6))
    assert inside_mass(maps, in_array_order).item() == 0.0


def test_heat_that_follows_an_object_through_a_video_is_inside_and_heat_that_stays_is_not():
    # Four frames of 2x8 pixels; the object moves two pixels to the right in each.
    frames = torch.arange(4)
    boxes = torch.stack([2 * frames, 0 * frames, 2 * frames + 2, 0 * frames + 2], 1)
    cover = coverage([track_boxes(boxes, frames)] * 2, (4, 2, 8), (4, 1, 4))
    follows, stays = torch.eye(4)[:, None], torch.zeros(4, 1, 4)
    stays[:, 0, 0] = 1.0
    assert inside_mass(torch.stack([follows, stays]), cover).tolist() == [1.0, 0.25]
    masks = torch.zeros(2, 4, 2, 8, dtype=torch.bool)
    for t in range(4):
        masks[:, t, :, 2 * t : 2 * t + 2] = True
    assert torch.equal(mask_coverage(masks, (4, 1, 4)), cover)


# --- laws


@law
@given(seeds, grids, st.booleans())
def test_every_formula_equals_its_slow_oracle_on_every_number_of_axes(seed, grid, ignored):
    maps, cover, _, readable = random_probes(seed, grid, count=2)
    weight = readable if ignored else torch.ones_like(cover)
    every = inside_mass_on_every_box(maps, cover, readable if ignored else None)
    for box, heat in product(range(2), range(2)):
        cells = list(product(*map(range, grid)))
        inside = sum(float(cover[box][c]) * float(maps[heat][c]) for c in cells)
        share = inside / sum(float(weight[box][c]) * float(maps[heat][c]) for c in cells)
        assert every[box, heat].item() == pytest.approx(share, rel=1e-9)
        if box != heat:
            continue
        a = sum(float(cover[box][c]) for c in cells) / sum(float(weight[box][c]) for c in cells)
        ratio = math.log((1 - share + 1e-3) / (1 - a)) - math.log((share + 1e-3) / a)
        for formula, expected in zip(FORMULAS, (share, 1 - share, (1 - share) / (1 - a), ratio), strict=True):
            found = formula(maps, cover, readable if ignored else None)[box].item()
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@law
@given(seeds, st.integers(1, 4), st.booleans())
def test_a_volume_that_is_the_same_in_every_slice_scores_as_the_slice(seed, depth, ignored):
    maps, cover, labels, readable = random_probes(seed, (3, 4))
    deep = [t[:, None].expand(-1, depth, -1, -1) for t in (maps, cover, readable)]
    of_volume = localisation_scores(deep[0], deep[1], labels, readable=deep[2] if ignored else None)
    assert_same_scores(of_volume, localisation_scores(maps, cover, labels, readable=readable if ignored else None))


@law
@given(seeds)
def test_a_sequence_scores_as_a_picture_of_one_row(seed):
    maps, cover, labels, readable = random_probes(seed, (5,))
    of_picture = localisation_scores(maps[:, None], cover[:, None], labels, readable=readable[:, None])
    assert_same_scores(localisation_scores(maps, cover, labels, readable=readable), of_picture)


@law
@given(seeds, st.sampled_from(list(permutations((1, 2, 3)))), st.sets(st.sampled_from([1, 2, 3])))
def test_exchanged_and_mirrored_axes_of_map_and_cover_together_change_nothing(seed, order, mirrored):
    maps, cover, labels, readable = random_probes(seed, (2, 3, 4))
    turned = [t.permute(0, *order).flip(tuple(mirrored)) for t in (maps, cover, readable)]
    found = localisation_scores(turned[0], turned[1], labels, readable=turned[2])
    assert_same_scores(found, localisation_scores(maps, cover, labels, readable=readable))


@law
@given(seeds, grids)
def test_inside_and_outside_add_up_to_one(seed, grid):
    maps, cover, labels, readable = random_probes(seed, grid)
    for counts in (None, readable):
        scores = localisation_scores(maps, cover, labels, readable=counts)
        assert scores.valid.all()
        torch.testing.assert_close(scores.inside_mass + scores.outside_mass, torch.ones(6).double(), atol=1e-15, rtol=0)
        torch.testing.assert_close(scores.outside_lift * (1 - scores.area_fraction), scores.outside_mass)


@law
@given(seeds, grids, st.sampled_from([2.0**-8, 2.0**8]))
def test_the_scale_of_the_maps_changes_nothing(seed, grid, scale):
    maps, cover, labels, readable = random_probes(seed, grid)
    scaled = localisation_scores(maps * scale, cover, labels, readable=readable)
    assert_same_scores(scaled, localisation_scores(maps, cover, labels, readable=readable))


@law
@given(seeds, grids)
def test_a_uniform_map_stands_at_chance(seed, grid):
    _, cover, _, readable = random_probes(seed, grid)
    uniform, a = torch.full(cover.shape, 0.7), area_fraction(cover, readable)
    torch.testing.assert_close(inside_mass(uniform, cover, readable), a)
    torch.testing.assert_close(outside_lift(uniform, cover, readable), torch.ones_like(a))
    exact = torch.log(1 + EPSILON / (1 - a)) - torch.log(1 + EPSILON / a)  # 0 but for the epsilon
    torch.testing.assert_close(log_density_ratio(uniform, cover, readable), exact)


@law
@given(seeds, st.integers(0, 2))
def test_a_box_that_is_cut_in_two_scores_the_same(seed, side):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(1, 2, 3, 4, generator=generator)
    corners = torch.rand(2, 3, generator=generator, dtype=torch.float64) * torch.tensor([8.0, 6.0, 4.0])
    box = torch.cat([corners.amin(0), corners.amax(0)])
    parts = box.repeat(2, 1)
    parts[0, 3 + side] = parts[1, side] = box[side] * 0.3 + box[3 + side] * 0.7
    whole, cut = (coverage([boxes], (4, 6, 8), (2, 3, 4)) for boxes in (box[None], parts))
    assert_same_scores(localisation_scores(maps, cut, torch.zeros(1)), localisation_scores(maps, whole, torch.zeros(1)))


@law
@given(seeds)
def test_scores_of_pictures_are_those_of_the_closed_form_to_the_last_bit(seed):
    maps, cover, labels, readable = random_probes(seed, (7, 7))
    heat = maps.double()
    inside = (cover * heat).sum((1, 2)) / (readable * heat).sum((1, 2))
    area = cover.sum((1, 2)) / readable.sum((1, 2))
    scores = localisation_scores(maps, cover, labels, readable=readable)
    assert torch.equal(scores.inside_mass, inside)
    assert torch.equal(scores.area_fraction, area)
    assert torch.equal(scores.outside_lift, (1 - inside) / (1 - area))


# --- validity, and what follows from scores


def cube(side, *, size=16):
    """``(1, 8, 8, 8)``: cover of a cube of that side in a corner of a volume of ``size`` voxels a side."""
    return coverage([torch.tensor([[0.0, 0.0, 0.0, side, side, side]])], (size,) * 3, (8, 8, 8))


@pytest.mark.parametrize(
    ("side", "validity"),
    [
        (0, Validity.NO_BOX),
        (4, Validity.BOX_TOO_SMALL),  # a quarter of each side: .0156 of the volume
        (4.5, Validity.OK),  # .0222
        (14, Validity.OK),  # .67
        (14.5, Validity.BOX_TOO_LARGE),  # .74
    ],
)
def test_the_limits_of_a_box_are_shares_of_the_volume(side, validity):
    scores = localisation_scores(torch.ones(1, 8, 8, 8), cube(side), torch.zeros(1))
    assert scores.validity == (validity,)
    assert scores.inside_mass.isfinite().item() is (validity is Validity.OK)
    if side:
        assert scores.area_fraction.item() == pytest.approx((side / 16) ** 3)


@pytest.mark.parametrize(
    ("value", "validity"),
    [(0.0, Validity.NO_EVIDENCE), (1.5e-8, Validity.NO_EVIDENCE), (1e-6, Validity.OK), (math.nan, Validity.NOT_FINITE)],
)
@pytest.mark.parametrize("grid", [(6,), (2, 3), (1, 2, 3)])
def test_one_map_that_cannot_be_read_spoils_no_other_on_any_number_of_axes(value, validity, grid):
    maps, cover, labels, _ = random_probes(1, grid)
    alone = localisation_scores(maps[1:], cover[1:], labels[1:])
    maps[0] = 0.0
    maps.view(len(maps), -1)[0, -1] = value
    assert has_evidence(maps).tolist() == [validity is Validity.OK] + [True] * 5
    scores = localisation_scores(maps, cover, labels)
    assert scores.validity == (validity,) + (Validity.OK,) * 5
    for measure in MEASURES[:-1]:
        assert getattr(scores, measure)[0].isfinite().item() is (validity is Validity.OK)
        torch.testing.assert_close(getattr(scores, measure)[1:], getattr(alone, measure))


def test_means_and_splits_of_volumes_are_those_of_their_only_slice():
    maps, cover, labels, _ = random_probes(5, (3, 4))
    correct = torch.tensor([True, False, True, True, False, True])
    flat, deep = localisation_scores(maps, cover, labels), localisation_scores(maps[:, None], cover[:, None], labels)
    found, expected = (class_scores(s, labels, correct, ("cat", "dog")) for s in (deep, flat))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.probes, ours.valid, ours.recall) == (theirs.probes, theirs.valid, theirs.recall)
        assert ours.outside_mass == pytest.approx(theirs.outside_mass, rel=1e-12)
    ours, theirs = (right_against_wrong(s, labels, correct, ("cat", "dog")).overall for s in (deep, flat))
    assert ours.right.outside_mass == pytest.approx(theirs.right.outside_mass, rel=1e-12)
    assert ours.wrong.outside_mass == pytest.approx(theirs.wrong.outside_mass, rel=1e-12)
    assert ours.right.outside_mass != ours.wrong.outside_mass


@law
@given(seeds, grids)
def test_similarity_sees_cells_and_not_how_they_are_arranged(seed, grid):
    first, second = random_probes(seed, grid)[0], random_probes(seed + 1, grid)[0]
    for measure in (jensen_shannon, spearman):
        expected = measure(first.flatten(1)[:, None], second.flatten(1)[:, None])
        assert torch.equal(measure(first, second).nan_to_num(9.0), expected.nan_to_num(9.0))
    assert similarity(first, first).jensen_shannon == 0.0


@law
@given(seeds)
def test_whether_maps_follow_their_objects_is_told_of_volumes_as_of_their_only_slice(seed):
    maps, cover, labels, readable = random_probes(seed, (3, 4), count=9)
    flat = object_following(maps, cover, labels, readable=readable)
    deep = object_following(maps[:, None], cover[:, None], labels, readable=readable[:, None])
    assert deep.count == flat.count == 9 - (labels.bincount() == 1).sum()
    assert (deep.own, deep.z) == pytest.approx((flat.own, flat.z), rel=1e-6)


# --- errors name the argument


@pytest.mark.parametrize(
    ("maps", "cover", "words"),
    [
        ((2, 3, 4, 5), (2, 3, 5, 4), r"cover: expected the shape of the maps, \(2, 3, 4, 5\), got \(2, 3, 5, 4\)"),
        ((3, 3), (3, 3, 3), r"cover: expected the shape of the maps, \(3, 3\), got \(3, 3, 3\)"),
        ((2, 1, 3, 4, 5), (2, 1, 3, 4, 5), r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(2, 1, 3"),
        ((2,), (2,), r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(2,\)"),
        ((2, 3, 0, 4), (2, 3, 0, 4), r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(2, 3, 0, 4\)"),
    ],
)
def test_maps_of_other_axes_are_not_scored(maps, cover, words):
    with pytest.raises(ValueError, match=words):
        localisation_scores(torch.ones(maps), torch.full(cover, 0.5), torch.zeros(maps[0]))


def test_formulas_refuse_shapes_that_would_be_broadcast():
    picture, volume = torch.full((3, 3, 3), 0.5), torch.full((3, 3, 3, 3), 0.5)
    for formula in (*FORMULAS, inside_mass_on_every_box):
        with pytest.raises(ValueError, match=r"maps: expected the shape of cover, \(3, 3, 3, 3\), got \(3, 3, 3\)"):
            formula(picture, volume)
        with pytest.raises(ValueError, match=r"readable: expected the shape of cover, \(3, 3, 3, 3\), got \(3, 3, 3\)"):
            formula(volume, volume, picture)
        with pytest.raises(ValueError, match=r"cover: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(3,\)"):
            formula(picture, torch.ones(3))
    with pytest.raises(ValueError, match=r"cover: expected \(N, \*grid\)"):
        area_fraction(torch.ones(3))
