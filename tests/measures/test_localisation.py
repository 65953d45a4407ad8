import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camdebug.measures.localisation import localisation_scores
from camdebug.measures.mass import log_density_ratio
from camdebug.records import Validity

MEASURES = ("inside_mass", "outside_mass", "outside_lift", "log_density_ratio", "calibrated_log_density_ratio")
law = settings(deadline=None, max_examples=40)


def random_probes(seed, count=7, grid=(4, 5)):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, *grid, generator=generator)
    cover = torch.rand(count, *grid, generator=generator).double() * 0.6 + 0.01
    readable = 1 - (1 - cover) * torch.rand(count, *grid, generator=generator) * 0.5
    labels = torch.randint(0, 3, (count,), generator=generator)
    return maps, cover, labels, readable


def box_of(area, grid=(10, 10)):
    """``(1, h, w)``: a cover of the whole picture of that area, from the first cells on."""
    height, width = grid
    cells = torch.arange(height * width).double().reshape(1, height, width)
    return (area * height * width - cells).clamp(0, 1)


def one(maps, cover, **more):
    return localisation_scores(maps, cover, torch.zeros(1, dtype=torch.int64), **more)


@law
@given(st.integers(0, 10_000), st.booleans())
def test_the_calibrated_ratio_is_d_minus_its_mean_over_the_classs_other_maps_on_this_box(seed, ignored):
    maps, cover, labels, readable = random_probes(seed)
    maps[2] = 0.0  # no evidence: neither measured nor used to calibrate
    maps[3, 0, 0] = float("nan")
    readable = readable if ignored else None
    scores = localisation_scores(maps, cover, labels, readable=readable)
    for i in range(len(maps)):
        found = scores.calibrated_log_density_ratio[i].item()
        own = [None if t is None else t[i : i + 1] for t in (cover, readable)]
        others = [
            log_density_ratio(maps[j : j + 1], *own).item()
            for j in range(len(maps))
            if j != i and labels[j] == labels[i] and j not in (2, 3)
        ]
        if i in (2, 3) or not others:
            assert math.isnan(found)
        else:
            expected = log_density_ratio(maps[i : i + 1], *own).item() - sum(others) / len(others)
            assert found == pytest.approx(expected, abs=1e-9)


def test_maps_that_ignore_their_boxes_calibrate_to_zero():
    # The same map for all: whatever the box, shuffling changes nothing. D itself is far from 0.
    maps = torch.tensor([[[9.0, 1.0], [1.0, 1.0]]]).expand(3, 2, 2)
    cover = torch.zeros(3, 2, 2)
    cover[0, 0, 0] = cover[1, 0, 1] = cover[2, 1, 1] = 1.0
    scores = localisation_scores(maps, cover, torch.zeros(3, dtype=torch.int64))
    assert scores.calibrated_log_density_ratio.tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert scores.log_density_ratio[0] < -2
    assert scores.log_density_ratio[1] > 0.8


def test_maps_that_follow_their_boxes_calibrate_below_zero():
    cover = torch.eye(4).reshape(4, 2, 2)
    scores = localisation_scores(cover * 8 + 1, cover, torch.zeros(4, dtype=torch.int64))
    assert (scores.calibrated_log_density_ratio < -2).all()


def test_only_maps_of_the_same_class_calibrate():
    maps, cover, _, _ = random_probes(0, count=4)
    labels = torch.tensor([0, 0, 1, 2])
    scores = localisation_scores(maps, cover, labels)
    alone = localisation_scores(maps[:2], cover[:2], labels[:2])
    torch.testing.assert_close(scores.calibrated_log_density_ratio[:2], alone.calibrated_log_density_ratio)
    assert scores.calibrated_log_density_ratio[2:].isnan().all()  # alone in their classes
    assert scores.log_density_ratio[2:].isfinite().all()


@law
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1e3]))
def test_scaling_the_maps_changes_no_score_and_no_validity(seed, scale):
    maps, cover, labels, readable = random_probes(seed)
    before = localisation_scores(maps.double(), cover, labels, readable=readable)
    after = localisation_scores(maps.double() * scale, cover, labels, readable=readable)
    assert before.validity == after.validity
    for measure in MEASURES:
        torch.testing.assert_close(
            getattr(after, measure), getattr(before, measure), equal_nan=True, atol=1e-9, rtol=1e-9
        )


@law
@given(st.integers(0, 10_000))
def test_splitting_by_class_changes_no_score(seed):
    maps, cover, labels, readable = random_probes(seed)
    whole = localisation_scores(maps, cover, labels, readable=readable)
    for k in labels.unique():
        own = labels == k
        part = localisation_scores(maps[own], cover[own], labels[own], readable=readable[own])
        for measure in (*MEASURES, "area_fraction"):
            torch.testing.assert_close(
                getattr(part, measure), getattr(whole, measure)[own], equal_nan=True, atol=1e-9, rtol=1e-9
            )


@law
@given(st.integers(0, 10_000))
def test_scores_agree_with_one_another(seed):
    maps, cover, labels, readable = random_probes(seed)
    scores = localisation_scores(maps, cover, labels, readable=readable)
    torch.testing.assert_close(scores.inside_mass + scores.outside_mass, torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(scores.outside_lift * (1 - scores.area_fraction), scores.outside_mass)
    torch.testing.assert_close(scores.log_density_ratio, log_density_ratio(maps, cover, readable))


# --- validity in words, not imputed numbers


@pytest.mark.parametrize(
    ("area", "validity"),
    [
        (0.0, Validity.NO_BOX),
        (0.015, Validity.BOX_TOO_SMALL),
        (0.025, Validity.OK),
        (0.5, Validity.OK),
        (0.695, Validity.OK),
        (0.705, Validity.BOX_TOO_LARGE),
        (1.0, Validity.BOX_TOO_LARGE),
    ],
)
def test_a_box_that_is_missing_or_too_small_or_too_large_is_said_and_not_scored(area, validity):
    scores = one(torch.ones(1, 10, 10), box_of(area))
    assert scores.validity == (validity,)
    assert scores.valid.tolist() == [validity is Validity.OK]
    if area:
        assert scores.area_fraction.item() == pytest.approx(area)
    else:
        assert scores.area_fraction.isnan().all()
    for measure in MEASURES[:-1]:
        assert getattr(scores, measure).isfinite().item() is (validity is Validity.OK)


def faint(peak):
    maps = torch.zeros(1, 10, 10)
    maps[0, 3, 3] = peak
    return maps


@pytest.mark.parametrize(
    ("maps", "validity"),
    [
        (torch.zeros(1, 10, 10), Validity.NO_EVIDENCE),
        (faint(1.5e-8), Validity.NO_EVIDENCE),
        (torch.rand(1, 10, 10, generator=torch.Generator().manual_seed(0)) * 1.5e-8, Validity.NO_EVIDENCE),
        (torch.full((1, 10, 10), 1.5e-8), Validity.NO_EVIDENCE),  # 100 cells of noise are noise
        (faint(1e-6), Validity.OK),
        (faint(float("nan")), Validity.NOT_FINITE),
        (faint(float("inf")), Validity.NOT_FINITE),
    ],
)
def test_a_map_without_evidence_is_said_and_not_scored(maps, validity):
    scores = one(maps, box_of(0.3))
    assert scores.validity == (validity,)
    assert scores.area_fraction.item() == pytest.approx(0.3)
    assert scores.outside_mass.isfinite().item() is (validity is Validity.OK)


def test_noise_stays_noise_on_a_finer_grid():
    scores = one(torch.full((1, 56, 56), 1.5e-8), box_of(0.3, (56, 56)))
    assert scores.validity == (Validity.NO_EVIDENCE,)


def test_one_unreadable_probe_spoils_no_other():
    maps, cover, labels, _ = random_probes(3)
    alone = localisation_scores(maps[1:], cover[1:], labels[1:])
    maps[0] = float("nan")
    both = localisation_scores(maps, cover, labels)
    assert both.validity[0] is Validity.NOT_FINITE
    for measure in MEASURES:
        assert getattr(both, measure)[0].isnan()
        torch.testing.assert_close(getattr(both, measure)[1:], getattr(alone, measure), equal_nan=True)


def test_the_area_limits_hold_for_the_readable_part_of_the_picture():
    cover, readable = box_of(0.5), torch.ones(1, 10, 10).double()
    readable[:, 5:, :] = 0.3  # .5 / (.5 + .15) = .77
    scores = one(torch.ones(1, 10, 10), cover, readable=readable)
    assert scores.area_fraction.item() == pytest.approx(0.5 / 0.65)
    assert scores.validity == (Validity.BOX_TOO_LARGE,)


def test_no_probe_at_all_gives_empty_scores():
    empty = torch.zeros(0, 3, 3)
    scores = localisation_scores(empty, empty, torch.zeros(0, dtype=torch.int64))
    assert scores.validity == ()
    assert scores.outside_mass.tolist() == []


# --- errors name the argument


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"maps": torch.ones(3)}, r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(3,\)"),
        ({"maps": torch.ones(2, 1, 1, 1, 1)}, r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(2, 1, 1"),
        ({"maps": torch.ones(2, 0, 3)}, r"maps: expected \(N, \*grid\) with 1 to 3 axes of cells, got \(2, 0, 3\)"),
        ({"maps": torch.ones(3, 3)}, r"cover: expected the shape of the maps, \(3, 3\), got \(2, 3, 3\)"),
        ({"maps": -torch.ones(2, 3, 3)}, r"maps: expected ReLU'd maps, 0 or more, got -1"),
        ({"cover": torch.ones(2, 3, 4)}, r"cover: expected the shape of the maps, \(2, 3, 3\), got \(2, 3, 4\)"),
        ({"cover": torch.full((2, 3, 3), 1.5)}, "cover: expected shares of cells between 0 and 1"),
        ({"cover": torch.full((2, 3, 3), -0.1)}, "cover: expected shares"),
        ({"cover": torch.full((2, 3, 3), float("nan"))}, "cover: expected shares"),
        ({"readable": torch.ones(2, 4, 3)}, r"readable: expected the shape of the maps, \(2, 3, 3\), got \(2, 4, 3\)"),
        ({"readable": torch.zeros(2, 3, 3)}, "readable: expected no less than cover"),
        ({"labels": torch.zeros(3)}, r"labels: expected \(2,\), got \(3,\)"),
    ],
)
def test_errors_name_the_argument(arguments, words):
    fine = {"maps": torch.ones(2, 3, 3), "cover": torch.full((2, 3, 3), 0.5), "labels": torch.zeros(2)}
    with pytest.raises(ValueError, match=words):
        localisation_scores(**{**fine, **arguments})
