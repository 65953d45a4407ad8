import pytest
import torch

from camdebug.measures.localisation import localisation_scores
from camdebug.measures.split import right_against_wrong
from camdebug.records.split import GroupScores

NAMES = ("cat", "dog", "bird")


def six_probes():
    """Four cells, the box is the first. Cat: O = .25, .75 and .5; dog: a map without heat and O = 0; bird: O = 1."""
    maps = torch.tensor([[3.0, 1, 0, 0], [1, 3, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0]])[:, None]
    cover = torch.tensor([1.0, 0, 0, 0]).expand(6, 1, 4)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    return localisation_scores(maps, cover, labels), labels


def split_of(correct):
    scores, labels = six_probes()
    return right_against_wrong(scores, labels, torch.tensor(correct), NAMES)


def ratio(outside):
    """D of a box that covers a quarter."""
    return float(torch.tensor((outside + 0.001) / 0.75).log() - torch.tensor((1 - outside + 0.001) / 0.25).log())


def test_each_side_of_a_class_has_its_own_means_and_chance():
    cat = split_of([True, False, False, True, True, False]).classes[0]
    assert (cat.class_idx, cat.name) == (0, "cat")
    assert (cat.right.probes, cat.right.valid, cat.wrong.probes, cat.wrong.valid) == (1, 1, 2, 2)
    assert cat.right.outside_mass == pytest.approx(0.25)
    assert cat.wrong.outside_mass == pytest.approx(0.625)
    assert cat.right.chance_outside_mass == cat.wrong.chance_outside_mass == pytest.approx(0.75)
    assert cat.wrong.outside_lift == pytest.approx(0.625 / 0.75)
    assert cat.right.log_density_ratio == pytest.approx(ratio(0.25), abs=1e-6)
    assert cat.wrong.log_density_ratio == pytest.approx((ratio(0.75) + ratio(0.5)) / 2, abs=1e-6)
    # One and the same box for all: the ratio less the mean ratio of the other two maps of the class.
    assert cat.right.calibrated_log_density_ratio == pytest.approx(
        ratio(0.25) - (ratio(0.75) + ratio(0.5)) / 2, abs=1e-6
    )


def test_probes_without_a_readable_map_count_but_enter_no_mean():
    dog = split_of([True] * 6).classes[1]
    assert (dog.right.probes, dog.right.valid) == (2, 1)
    assert dog.right.outside_mass == pytest.approx(0.0)
    assert dog.right.calibrated_log_density_ratio is None  # no other map to calibrate with


@pytest.mark.parametrize(("correct", "side", "probes"), [(True, "wrong", 0), (False, "right", 0)])
def test_a_side_without_a_probe_has_no_means(correct, side, probes):
    bird = split_of([correct] * 6).classes[2]
    assert getattr(bird, side) == GroupScores(probes, 0)


def test_a_side_whose_maps_are_all_zero_has_no_means():
    dog = split_of([True, True, True, False, True, True]).classes[1]
    assert dog.wrong == GroupScores(1, 0)
    assert dog.wrong.outside_mass is None


def test_over_all_every_probe_counts_alike():
    overall = split_of([True, False, False, True, True, False]).overall
    assert overall.class_idx is None
    assert (overall.right.probes, overall.right.valid, overall.wrong.valid) == (3, 2, 3)
    assert overall.right.outside_mass == pytest.approx((0.25 + 0.0) / 2)
    assert overall.wrong.outside_mass == pytest.approx((0.75 + 0.5 + 1.0) / 3)


def test_right_and_wrong_together_are_the_whole_class():
    split = split_of([True, False, True, True, False, False])
    for one in (split.overall, *split.classes):
        sides = [g for g in (one.right, one.wrong) if g.valid]
        together = sum(g.valid * g.outside_mass for g in sides) / sum(g.valid for g in sides)
        everything = split_of([True] * 6)
        whole = next(s for s in (everything.overall, *everything.classes) if s.class_idx == one.class_idx).right
        assert together == pytest.approx(whole.outside_mass)


@pytest.mark.parametrize(
    ("labels", "correct", "words"),
    [
        (torch.zeros(6), torch.ones(5).bool(), r"correct: expected \(6,\) bool, got \(5,\)"),
        (torch.zeros(6), torch.ones(6), "correct: .*float32"),
        (torch.zeros(5), torch.ones(6).bool(), r"labels: expected \(6,\), got \(5,\)"),
    ],
)
def test_what_does_not_fit_is_named(labels, correct, words):
    scores, _ = six_probes()
    with pytest.raises(ValueError, match=words):
        right_against_wrong(scores, labels, correct, NAMES)
