import random
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from camdebug import compute_cams
from camdebug.measures.place import (
    FREE,
    LEAST_PROBES,
    MARGIN,
    RolledPictures,
    draw_shifts,
    place_locks,
    rim_places,
    upper_tail,
)

GRIDS = [(3, 3), (4, 4), (5, 7), (6, 6), (7, 7), (12, 12), (14, 14)]


def rolled(maps, shifts):
    return torch.stack([m.roll(tuple(s), (0, 1)) for m, s in zip(maps, shifts.tolist(), strict=True)])


def content(count, grid, seed, *, scale=1.0):
    """Heat of pictures whose content has no place: a few grains of very different size anywhere."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(scale * rng.gamma(0.3, size=(count, *grid)))


def preference(grid, seed):
    """What a flatten head does to any picture: weights of its own for every cell, here up to 50 times as large."""
    return torch.from_numpy(np.exp(np.random.default_rng(seed).uniform(0, 4, size=grid)))


def look(heat, *, model=1.0, fixed=0.0, seed=0, labels=None, cover=None):
    """Locks of pictures with ``heat`` of their content and ``fixed`` heat of a cue, through a model's preference."""
    shifts = draw_shifts(len(heat), tuple(heat.shape[1:]), seed=seed)
    inside = heat + fixed
    labels = torch.zeros(len(heat), dtype=torch.int64) if labels is None else labels
    return place_locks(model * inside, model * rolled(inside, shifts), labels, cover=cover)


def naive_p_value(maps, seed=0):
    """The obvious null: is the mean map more concentrated than that of maps whose cells are shuffled?"""
    rng = np.random.default_rng(seed)
    shares = (maps / maps.sum((1, 2), keepdim=True)).flatten(1).numpy()
    null = [rng.permuted(shares, axis=1).mean(0).max() for _ in range(199)]
    return (1 + sum(value >= shares.mean(0).max() for value in null)) / 200


def cue(grid, rows, columns, heat):
    fixed = torch.zeros(grid, dtype=torch.float64)
    fixed[rows, columns] = heat
    return fixed


# --- by hand -----------------------------------------------------------------------------------------------------


def test_all_heat_in_one_corner_by_hand():
    maps = torch.zeros(20, 6, 6)
    maps[:, 5, 5] = 5.0
    (lock,) = place_locks(maps, maps.roll((2, 3), (1, 2)), torch.full((20,), 4))
    assert (lock.class_idx, lock.probes, lock.excluded, lock.read, lock.locked) == (4, 20, 0, 20, 20)
    assert lock.place == "the bottom right corner"
    assert lock.box == pytest.approx((5 / 6, 5 / 6, 1, 1))
    assert (lock.share, lock.chance_share) == (1.0, 0.0)
    # 33 places: 4 corners of one cell and 4 of four, 4 edges, 5 stretches of each by two cells, and the border.
    assert lock.p_value == pytest.approx(33 / 2**20)
    expected = torch.zeros(6, 6)
    expected[5, 5], expected[1, 2] = 1, -1
    assert torch.equal(lock.excess_map, expected)
    assert lock.excess_map.dtype == torch.float32


@pytest.mark.parametrize(("above", "locked"), [(1e-6, 20), (-1e-6, 0)])
def test_a_place_needs_more_than_the_margin(above, locked):
    # One cell of 36. The rest of the heat fills the other cells alike, in both pictures.
    share = 1 / 36 + MARGIN * (1 / 36 * 35 / 36) ** 0.5 + above
    maps, even = torch.full((20, 6, 6), (1 - share) / 35, dtype=torch.float64), torch.ones(20, 6, 6)
    maps[:, 0, 0] = share
    (lock,) = place_locks(maps, even, torch.zeros(20, dtype=torch.int64))
    assert (lock.place, lock.box) == ("the top left corner", pytest.approx((0, 0, 1 / 6, 1 / 6)))
    assert (lock.share, lock.chance_share) == (pytest.approx(share), pytest.approx(1 / 36))
    assert lock.locked == locked
    assert lock.p_value == (pytest.approx(33 / 2**20) if locked else 1.0)


def test_beside_an_object_the_cells_within_a_sixth_of_the_picture_do_not_count():
    maps, cover = torch.zeros(20, 12, 12), torch.zeros(20, 12, 12)
    maps[:, 11, 6] = 1.0
    rolled_maps = maps.roll((5, 0), (1, 2))
    labels = torch.zeros(20, dtype=torch.int64)
    cover[:, 4:9, 6] = 0.75  # two cells are a sixth: three quarters of row 10 are covered, row 11 is free
    (lock,) = place_locks(maps, rolled_maps, labels, cover=cover)
    assert (lock.place, lock.share, lock.locked) == ("the bottom edge", 1.0, 20)
    cover[:, 9, 6] = 0.75  # now a quarter of row 11 is left
    (lock,) = place_locks(maps, rolled_maps, labels, cover=cover)
    assert (lock.place, lock.share, lock.locked) == ("the bottom edge", 0.25, 20)
    cover[:, 10, 6] = 1.0
    (lock,) = place_locks(maps, rolled_maps, labels, cover=cover)
    assert (lock.share, lock.locked, lock.p_value) == (0.0, 0, 1.0)


@pytest.mark.parametrize("trials", range(9))
def test_the_tail_counts_outcomes_of_fair_trials(trials):
    outcomes = [sum(outcome) for outcome in product((0, 1), repeat=trials)]
    for successes in range(trials + 1):
        assert upper_tail(successes, trials) == sum(o >= successes for o in outcomes) / 2**trials
    assert upper_tail(1_900, 2_000) < 1e-300


def slow_lock(maps, rolled_maps, cover):
    """p-value, and for every place its counts and shares, straight from the definition, cell by cell."""
    count, height, width = maps.shape
    found = []
    for place in rim_places((height, width)):
        read, locked, shares, chances = 0, 0, [], []
        cells = [(y, x) for y in range(height) for x in range(width) if place.cells[y, x]]
        for i in range(count):
            free = {}
            for y, x in cells:
                around = cover[i, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                free[y, x] = 1 - float(around.max())
            area = sum(free.values()) / (height * width)
            if area < FREE * len(cells) / (height * width):
                continue
            read += 1
            shares.append(sum(f * float(maps[i][c]) for c, f in free.items()) / float(maps[i].sum()))
            chances.append(sum(f * float(rolled_maps[i][c]) for c, f in free.items()) / float(rolled_maps[i].sum()))
            locked += shares[-1] - chances[-1] > MARGIN * (area * (1 - area)) ** 0.5
        means = (np.mean(shares), np.mean(chances)) if read else (np.nan, np.nan)
        found.append((place.name, place.box, read, locked, *means))
    p = min(min(1.0, len(found) * upper_tail(locked, read)) for _, _, read, locked, _, _ in found)
    return p, found


@pytest.mark.parametrize("seed", range(4))
def test_the_record_is_what_the_definition_says(seed):
    grid, generator = (7, 9), torch.Generator().manual_seed(seed)
    maps = content(24, grid, seed) + cue(grid, 6, slice(3, 6), 2.0 * seed)
    rolled_maps = rolled(maps, draw_shifts(24, grid, seed=seed))
    cover = (torch.rand((24, *grid), generator=generator) > 0.9) * torch.rand((24, *grid), generator=generator)
    (lock,) = place_locks(maps, rolled_maps, torch.zeros(24, dtype=torch.int64), cover=cover)
    p, places = slow_lock(maps, rolled_maps, cover)
    assert lock.p_value == pytest.approx(p)
    (place,) = [found for found in places if found[:2] == (lock.place, lock.box)]
    assert place[2:] == (lock.read, lock.locked, pytest.approx(lock.share), pytest.approx(lock.chance_share))


# --- calibration and negative controls ---------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(6, 6), (7, 7), (14, 14)])
@pytest.mark.parametrize("prefers", [False, True], ids=["even model", "model with a place of its own"])
def test_no_lock_where_content_has_no_place(grid, prefers):
    p_values = []
    for seed in range(100):
        model = preference(grid, seed) if prefers else 1.0
        (lock,) = look(content(30, grid, seed), model=model, seed=seed)
        p_values.append(lock.p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05
    assert np.mean(np.array(p_values) <= 0.5) <= 0.5


def test_the_naive_null_takes_the_models_own_place_for_a_lock():
    naive = [naive_p_value(preference((6, 6), seed) * content(30, (6, 6), seed), seed) for seed in range(20)]
    assert np.mean(np.array(naive) <= 0.05) >= 0.9


def test_the_p_value_holds_at_the_edge_of_its_null():
    """Clearly more heat in a corner in just half of the pictures: the worst case that is no lock."""
    p_values = []
    for seed in range(200):
        on = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, size=(30, 1, 1)))
        (lock,) = look(torch.ones(30, 6, 6), fixed=on * cue((6, 6), 5, 5, 100.0), seed=seed)
        p_values.append(lock.p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05


def test_centred_objects_are_no_lock_though_their_mean_map_is_concentrated():
    heat = content(40, (6, 6), 1) + cue((6, 6), slice(2, 4), slice(2, 4), 3.0)
    assert naive_p_value(heat) <= 0.005
    (lock,) = look(heat)
    assert lock.p_value == 1.0
    assert lock.excess_map[2:4, 2:4].min() > 0  # it is drawn all the same


def test_a_cue_at_a_random_place_is_no_lock():
    heat = content(40, (6, 6), 2)
    rng = np.random.default_rng(0)
    heat[torch.arange(40), torch.from_numpy(rng.integers(0, 6, 40)), torch.from_numpy(rng.integers(0, 6, 40))] += 20
    (lock,) = look(heat)
    assert lock.p_value == 1.0


def test_a_head_with_weights_for_every_place_is_no_lock_until_a_tag_is_there():
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2, bias=False))
    nn.init.ones_(net[0].weight)
    net[3].weight.data = torch.exp(4 * torch.rand((2, 36), generator=generator))
    clean = torch.rand((60, 1, 6, 6), generator=generator) ** 4
    tagged = clean.clone()
    tagged[:30, :, 5, 0] = 3.0
    labels = torch.arange(60) // 30
    for images, p_values in ((clean, [1.0, 1.0]), (tagged, [33 / 2**30, 1.0])):
        shifts = draw_shifts(60, (6, 6), seed=0)
        maps = compute_cams(net, images, labels).maps
        rolled_maps = compute_cams(net, RolledPictures(images, shifts, (6, 6))[:], labels).maps
        locks = place_locks(maps, rolled_maps, labels)
        assert naive_p_value(maps[:30]) <= 0.005
        assert [lock.p_value for lock in locks] == pytest.approx(p_values)
    assert locks[0].place == "the bottom left corner"


# --- power, place by place ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("the top left corner", 0, 0),
        ("the top right corner", slice(0, 2), slice(4, 6)),
        ("the bottom left corner", 5, 0),
        ("the bottom right corner", slice(4, 6), slice(4, 6)),
        ("the top edge", 0, slice(2, 4)),
        ("the bottom edge", 5, slice(0, 6)),
        ("the left edge", slice(2, 4), 0),
        ("the right edge", slice(0, 6), 5),
        ("the border", [0] * 6 + [5] * 6 + [1, 2, 3, 4] * 2, [0, 1, 2, 3, 4, 5] * 2 + [0] * 4 + [5] * 4),
    ],
)
def test_heat_at_one_place_is_found_and_named_with_twenty_probes(place, rows, columns):
    fixed = cue((6, 6), rows, columns, 1.0)
    fixed *= 10 / fixed.sum()  # about as much as all of the content
    (lock,) = look(content(20, (6, 6), 3), model=preference((6, 6), 4) ** 0.25, fixed=fixed)
    assert lock.place == place
    assert lock.p_value <= 0.001
    assert lock.share > lock.chance_share + 0.2
    left, top, right, bottom = (round(6 * side) for side in lock.box)
    assert fixed[top:bottom, left:right].sum() == pytest.approx(10)


def test_a_tag_on_one_class_and_a_tag_on_all():
    labels = torch.arange(3).repeat_interleave(25)
    tag = cue((6, 6), 5, 5, 8.0)
    one = look(content(75, (6, 6), 5), fixed=(labels == 1)[:, None, None] * tag, labels=labels)
    every = look(content(75, (6, 6), 5), fixed=tag, labels=labels)
    assert [lock.class_idx for lock in one] == [0, 1, 2]
    assert [lock.p_value < 1e-4 for lock in one] == [False, True, False]
    assert all(lock.p_value < 1e-4 for lock in every)


def test_objects_that_stand_in_the_corner_are_a_lock_only_while_nobody_knows_their_boxes():
    heat = content(30, (6, 6), 6) + cue((6, 6), slice(4, 6), slice(4, 6), 10.0)
    cover = torch.zeros(30, 6, 6)
    cover[:, 4:, 4:] = 1
    (without,), (within,) = look(heat), look(heat, cover=cover)
    assert without.place == "the bottom right corner"
    assert without.p_value < 1e-4
    assert within.p_value == 1.0
    assert within.excess_map[4:, 4:].abs().max() == 0


def heat_with_objects(seed):
    """Objects of 5x5 cells in the upper left of a 12x12 grid, with heat on them and spilt one cell around."""
    rng = np.random.default_rng(seed)
    heat, cover = content(30, (12, 12), seed), torch.zeros(30, 12, 12)
    for i, (y, x) in enumerate(rng.integers(0, 4, size=(30, 2))):
        cover[i, y : y + 5, x : x + 5] = 1
        heat[i, max(0, y - 1) : y + 6, max(0, x - 1) : x + 6] += 2
    return heat, cover


def test_heat_that_spills_over_from_objects_is_no_lock_and_a_tag_beside_them_is():
    heat, cover = heat_with_objects(7)
    (clean,) = look(heat, cover=cover)
    (tagged,) = look(heat, fixed=cue((12, 12), slice(10, 12), slice(10, 12), 15.0), cover=cover)
    assert clean.p_value == 1.0
    assert (tagged.place, tagged.read) == ("the bottom right corner", 30)
    assert tagged.p_value < 1e-6


def test_objects_that_always_touch_the_rim_are_a_lock_only_while_nobody_knows_their_boxes():
    heat, cover = heat_with_objects(8)
    for i in range(30):
        cover[i], heat[i] = cover[0], heat[0] + heat[i] * 0.01
    cover[:, :5, :5], heat[:, :6, :6] = 1, 5.0
    (without,), (within,) = look(heat), look(heat, cover=cover)
    assert without.p_value < 1e-6
    assert within.p_value == 1.0


# --- what is left out --------------------------------------------------------------------------------------------


def test_maps_without_heat_or_not_finite_are_excluded_and_counted():
    heat = content(26, (6, 6), 8) + cue((6, 6), 0, 0, 6.0)
    shifts = draw_shifts(26, (6, 6), seed=0)
    maps, rolled_maps = heat.clone(), rolled(heat, shifts)
    maps[0], maps[1, 2, 2], rolled_maps[2], rolled_maps[3, 0, 0] = 0, torch.nan, 1e-9, torch.inf
    labels = torch.zeros(26, dtype=torch.int64)
    (lock,) = place_locks(maps, rolled_maps, labels)
    (kept,) = place_locks(maps[4:], rolled_maps[4:], labels[4:])
    assert (lock.probes, lock.excluded, kept.probes, kept.excluded) == (22, 4, 22, 0)
    assert (lock.p_value, lock.box, lock.share) == (kept.p_value, kept.box, kept.share)
    assert torch.equal(lock.excess_map, kept.excess_map)
    maps[4:7] = 0
    assert place_locks(maps, rolled_maps, labels) == ()  # 19 are left


def test_classes_with_few_probes_and_grids_without_a_rim_say_nothing():
    assert look(content(LEAST_PROBES - 1, (6, 6), 9)) == ()
    assert len(look(content(LEAST_PROBES, (6, 6), 9))) == 1
    assert look(content(30, (5, 6), 9)) == ()
    assert len(look(content(30, (5, 6), 9), cover=torch.zeros(30, 5, 6))) == 1
    assert look(content(30, (2, 6), 9), cover=torch.zeros(30, 2, 6)) == ()


def test_scale_of_a_map_and_order_of_probes_change_nothing():
    heat = content(30, (6, 6), 10) + cue((6, 6), 5, 0, 1.0)
    shifts, labels = draw_shifts(30, (6, 6), seed=0), torch.zeros(30, dtype=torch.int64)
    (plain,) = place_locks(heat, rolled(heat, shifts), labels)
    scale = 10.0 ** torch.randint(-2, 4, (30, 1, 1), generator=torch.Generator().manual_seed(0))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    (other,) = place_locks((heat * scale)[order], (rolled(heat, shifts) * 7)[order], labels)
    assert (other.p_value, other.place, other.locked) == (plain.p_value, plain.place, plain.locked)
    assert other.share == pytest.approx(plain.share)


# --- places, shifts and rolled pictures --------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
def test_places_cover_the_rim_and_never_the_middle(grid):
    places = rim_places(grid)
    tried = torch.stack([place.cells for place in places])
    assert len({cells.numpy().tobytes() for cells in tried}) == len(places) <= 33
    union = tried.any(0)
    assert union[0].all()
    assert union[-1].all()
    assert union[:, 0].all()
    assert union[:, -1].all()
    assert not union[grid[0] // 2, grid[1] // 2]
    for place in places[:-1]:
        left, top, right, bottom = place.box
        assert int(place.cells.sum()) == round((right - left) * grid[1]) * round((bottom - top) * grid[0])


@pytest.mark.parametrize("grid", [*GRIDS, (2, 2)])
def test_shifts_are_seeded_far_and_as_likely_as_their_opposites(grid):
    shifts = draw_shifts(4_000, grid, seed=3)
    assert shifts.dtype == torch.int64
    assert torch.equal(shifts, draw_shifts(4_000, grid, seed=3))
    for cells, drawn in zip(grid, shifts.T, strict=True):
        assert drawn.min() >= cells / 4
        assert drawn.max() <= cells * 3 / 4
        counts = torch.bincount(drawn, minlength=cells + 1).double()
        assert (counts - counts.flip(0)).abs().max() < 6 * 4_000**0.5
    assert grid == (2, 2) or not torch.equal(shifts, draw_shifts(4_000, grid, seed=4))


def test_drawing_and_testing_leave_the_global_generators_alone():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    look(content(20, (6, 6), 0))
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_rolled_pictures_are_rolled_by_whole_cells_slice_by_slice():
    images = torch.arange(2 * 3 * 12 * 18.0).reshape(2, 3, 12, 18)
    pictures = RolledPictures(images, torch.tensor([[1, 2], [3, 1]]), (4, 6))
    assert len(pictures) == 2
    assert torch.equal(pictures[0:1][0], images[0].roll((3, 6), (1, 2)))
    assert torch.equal(pictures[1:2][0], images[1].roll((9, 3), (1, 2)))
    assert torch.equal(pictures[:], torch.cat([pictures[0:1], pictures[1:2]]))
    pooled = nn.functional.avg_pool2d(pictures[:], 3)
    assert torch.equal(pooled[1], nn.functional.avg_pool2d(images, 3)[1].roll((3, 1), (1, 2)))


def test_cells_that_are_no_whole_pixels_are_rounded():
    images = torch.arange(10.0).reshape(1, 1, 1, 10).expand(1, 1, 10, 10)
    assert RolledPictures(images, torch.tensor([[1, 1]]), (3, 3))[:][0, 0, 0, 0] == 7  # 10 / 3 is rolled by 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": torch.ones(20, 6)}, r"maps: expected \(N, h, w\)"),
        ({"rolled_maps": torch.ones(20, 6, 5)}, r"rolled_maps: expected shape \(20, 6, 6\), got \(20, 6, 5\)"),
        ({"labels": torch.zeros(21)}, r"labels: expected shape \(20,\)"),
        ({"cover": torch.zeros(20, 5, 6)}, r"cover: expected shape \(20, 6, 6\)"),
        ({"cover": torch.full((20, 6, 6), 1.5)}, r"cover: expected shares in \[0, 1\]"),
        ({"cover": torch.full((20, 6, 6), torch.nan)}, r"cover: expected shares in \[0, 1\]"),
        ({"maps": torch.full((20, 6, 6), -2.0)}, "maps: expected ReLU'd maps, 0 or more, got -2"),
        ({"rolled_maps": torch.full((20, 6, 6), -2.0)}, "rolled_maps: expected ReLU'd maps, 0 or more, got -2"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {
        "maps": torch.ones(20, 6, 6),
        "rolled_maps": torch.ones(20, 6, 6),
        "labels": torch.zeros(20, dtype=torch.int64),
        "cover": torch.zeros(20, 6, 6),
    }
    with pytest.raises(ValueError, match=message):
        place_locks(**{**good, **change})


def test_a_grid_too_small_to_roll_is_named():
    with pytest.raises(ValueError, match=r"grid: expected 2 cells or more in each direction, got \(1, 6\)"):
        draw_shifts(3, (1, 6), seed=0)
