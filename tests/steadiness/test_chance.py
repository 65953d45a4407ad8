import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from camdebug.measures.mass import inside_mass
from camdebug.measures.similarity import jensen_shannon, similarity, spearman
from camdebug.steadiness.chance import against_other_probes, object_following


def random_probes(seed, count=9, classes=2, grid=(3, 4)):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, *grid, generator=generator)
    cover = torch.rand(count, *grid, generator=generator).double() * 0.6
    return maps, cover, torch.arange(count) % classes


def one_box_a_cell(count, size=9):
    """Each probe's object is a cell of its own, of ``size`` cells."""
    return torch.eye(size)[:count].reshape(count, 1, size)


# --- against other probes


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_with_enough_partners_it_is_the_mean_over_all_other_probes_of_the_class(seed):
    maps, _, labels = random_probes(seed)
    second = random_probes(seed + 1)[0]
    found = against_other_probes(maps, second, labels, partners=8)
    by_probe = [
        [
            (jensen_shannon(maps[[i]], second[[j]]).item(), spearman(maps[[i]], second[[j]]).item())
            for j in range(9)
            if j != i and labels[i] == labels[j]
        ]
        for i in range(9)
    ]
    divergence, correlation = np.mean([np.mean(pairs, 0) for pairs in by_probe], 0)
    assert found.jensen_shannon == pytest.approx(divergence)
    assert found.spearman == pytest.approx(correlation)
    assert (found.count, found.left_out) == (9, 0)


def test_with_one_partner_it_is_the_next_probe_of_the_class():
    maps, _, _ = random_probes(0, count=5)
    labels = torch.tensor([0, 1, 0, 1, 0])
    expected = similarity(maps, maps[[2, 3, 4, 1, 0]])
    found = against_other_probes(maps, maps, labels, partners=1)
    assert found.jensen_shannon == pytest.approx(expected.jensen_shannon)
    assert found.spearman == pytest.approx(expected.spearman)


def test_a_probe_alone_in_its_class_and_one_without_a_map_are_left_out():
    maps, _, _ = random_probes(0, count=4)
    maps[1] = 0.0
    found = against_other_probes(maps, maps, torch.tensor([0, 0, 0, 1]))
    assert (found.count, found.left_out) == (2, 2)
    assert found.jensen_shannon == pytest.approx(jensen_shannon(maps[[0]], maps[[2]]).item())
    alone = against_other_probes(maps, maps, torch.arange(4))
    assert (alone.jensen_shannon, alone.spearman, alone.count, alone.left_out) == (None, None, 0, 4)


# --- does heat follow the object


def dealt_out(maps, cover, labels):
    """Slow oracle: mean inside mass for every way to deal out the maps within the classes."""
    rows = [torch.nonzero(labels == k).flatten().tolist() for k in labels.unique()]
    ways = itertools.product(*(itertools.permutations(r) for r in rows))
    boxes = [i for r in rows for i in r]
    return np.array([inside_mass(maps[list(itertools.chain(*way))], cover[boxes]).mean().item() for way in ways])


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_z_is_that_of_every_way_to_deal_out_the_maps(seed):
    maps, cover, labels = random_probes(seed, count=7)
    every = dealt_out(maps, cover, labels)
    own = inside_mass(maps, cover).mean().item()
    found = object_following(maps, cover, labels)
    assert found.own == pytest.approx(own)
    assert found.z == pytest.approx((own - every.mean()) / every.std())
    assert found.uniform == pytest.approx(cover.mean().item())
    assert found.count == 7


def test_own_and_others_by_hand():
    # On the first box lie 3/4 of the first map and nothing of the second, on the second box 1/4 and all.
    maps = torch.tensor([[[3.0, 1.0, 0.0, 0.0]], [[0.0, 2.0, 0.0, 0.0]]])
    found = object_following(maps, torch.eye(4)[:2].reshape(2, 1, 4), torch.tensor([0, 0]))
    assert (found.own, found.others, found.uniform) == pytest.approx((0.875, 0.125, 0.25))
    assert found.z == pytest.approx(1.0)  # two ways to deal out two maps


def test_maps_on_their_objects_follow_and_maps_at_one_place_do_not():
    cover, labels = one_box_a_cell(9), torch.zeros(9, dtype=torch.int64)
    noise = torch.rand(9, 1, 9, generator=torch.Generator().manual_seed(0)) * 0.5
    following = object_following(cover + noise, cover, labels)
    assert following.follows
    assert following.z > 5
    assert following.own > 0.25 > following.others
    tag = torch.zeros(9, 1, 9)
    tag[:, 0, 4] = 1.0
    fixed = object_following(tag + noise, cover, labels)
    assert not fixed.follows
    assert abs(fixed.z) < 3


def test_where_maps_ignore_their_boxes_the_p_value_is_uniform():
    p = []
    for seed in range(300):
        maps, cover, labels = random_probes(seed, count=12)
        p.append(object_following(maps, cover, labels).p_value)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(p) == pytest.approx(0.5, abs=4 * 0.29 / 300**0.5)


def test_a_place_that_goes_with_the_class_is_not_the_object():
    """Boxes and heat of a class share a place, but within the class the heat knows nothing of the box."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(40) % 2
    cover, maps = torch.rand(2, 40, 1, 8, generator=generator).unbind()
    for half in (0, 1):
        cover[labels == half, :, 4 * half : 4 * half + 4] *= 0.05
        maps[labels == half, :, 4 * half : 4 * half + 4] *= 0.05
    found = object_following(maps, cover, labels)
    assert found.own > 1.5 * found.uniform
    assert found.own == pytest.approx(found.others, abs=0.05)
    assert not found.follows


@example(812, 2.0**-7)
@given(st.integers(0, 1000), st.sampled_from([2.0**-7, 2.0**13]))  # powers of two scale float32 without rounding
def test_the_scale_of_a_map_changes_nothing(seed, scale):
    maps, cover, labels = random_probes(seed)
    factors = torch.where(torch.arange(9) % 3 == 0, scale, 1.0)[:, None, None]
    there, back = object_following(maps, cover, labels), object_following(maps * factors, cover, labels)
    assert (back.own, back.z) == pytest.approx((there.own, there.z), rel=1e-5)


def test_probes_that_cannot_be_read_are_left_out():
    maps, cover, labels = random_probes(5, count=9, classes=1)
    expected = object_following(maps[4:], cover[4:], labels[4:])
    maps[0], cover[1], cover[2], maps[3, 0, 0] = 0.0, 0.0, 0.9, float("nan")
    found = object_following(maps, cover, labels)
    assert found.count == 5
    assert (found.own, found.others, found.uniform, found.z) == pytest.approx(
        (expected.own, expected.others, expected.uniform, expected.z)
    )


def test_regions_that_are_ignored_hold_neither_heat_nor_area():
    maps, cover, labels = random_probes(0, count=4, classes=1)
    readable = torch.ones_like(cover)
    readable[:, :, 3], cover[:, :, 3] = 0.0, 0.0
    found = object_following(maps, cover, labels, readable=readable)
    cropped = object_following(maps[:, :, :3], cover[:, :, :3], labels)
    assert (found.own, found.z, found.uniform) == pytest.approx((cropped.own, cropped.z, cropped.uniform))


def test_a_map_whose_heat_is_ignored_on_another_probe_takes_both_out():
    maps, cover, labels = random_probes(0, count=5, classes=1)
    maps[0] = 0.0
    maps[0, 2, 3] = 1.0
    readable = torch.ones_like(cover)
    readable[1, 2, 3] = cover[1, 2, 3] = 0.0
    found = object_following(maps, cover, labels, readable=readable)
    expected = object_following(maps[2:], cover[2:], labels[2:])
    assert (found.count, found.own, found.z) == (3, pytest.approx(expected.own), pytest.approx(expected.z))


@pytest.mark.parametrize("why", ["alone", "same maps", "same boxes", "no map"])
def test_where_dealing_out_changes_nothing_there_is_no_answer(why):
    maps, cover, labels = random_probes(0, count=6, classes=1)
    labels = torch.arange(6) if why == "alone" else labels
    maps = {"same maps": maps[:1].expand(6, -1, -1), "no map": torch.zeros_like(maps)}.get(why, maps)
    cover = cover[:1].expand(6, -1, -1) if why == "same boxes" else cover
    assert object_following(maps, cover, labels) is None
