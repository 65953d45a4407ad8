import pytest
import torch

from camdebug.measures.localisation import localisation_scores
from camdebug.measures.summary import class_scores, over_classes

NAMES = ("cat", "dog", "bird", "fish")


def scores_of_five():
    """Four cells, the box is the first. Cat: O = .25, .75 and a map without heat; dog: O = .5; bird: no heat."""
    maps = torch.tensor([[3.0, 1, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])[:, None]
    cover = torch.tensor([1.0, 0, 0, 0]).expand(5, 1, 4)
    labels = torch.tensor([0, 0, 0, 1, 2])
    return localisation_scores(maps, cover, labels), labels


def summary():
    scores, labels = scores_of_five()
    return class_scores(scores, labels, torch.tensor([True, False, True, True, False]), NAMES)


def test_means_are_over_the_valid_probes_of_the_class():
    cat = summary()[0]
    assert (cat.class_idx, cat.name, cat.probes, cat.valid) == (0, "cat", 3, 2)
    assert cat.recall == pytest.approx(2 / 3)
    assert cat.outside_mass == pytest.approx(0.5)
    assert cat.chance_outside_mass == pytest.approx(0.75)
    assert cat.outside_lift == pytest.approx((0.25 / 0.75 + 1) / 2)
    # The two cat maps calibrate each other, on one and the same box, so the differences cancel.
    assert cat.calibrated_log_density_ratio == pytest.approx(0.0, abs=1e-12)


def test_a_class_with_one_valid_probe_has_no_calibrated_ratio():
    dog = summary()[1]
    assert dog.valid == 1
    assert dog.outside_mass == pytest.approx(0.5)
    assert dog.log_density_ratio == pytest.approx(torch.tensor(0.501 / 0.75).log() - torch.tensor(0.501 / 0.25).log())
    assert dog.calibrated_log_density_ratio is None


@pytest.mark.parametrize(("class_idx", "probes", "recall"), [(2, 1, 0.0), (3, 0, None)])
def test_a_class_without_a_valid_probe_has_none_for_every_mean(class_idx, probes, recall):
    found = summary()[class_idx]
    assert (found.probes, found.valid, found.recall) == (probes, 0, recall)
    assert found.outside_mass is None
    assert found.chance_outside_mass is None
    assert found.outside_lift is None
    assert found.log_density_ratio is None
    assert found.calibrated_log_density_ratio is None


def test_over_classes_each_class_counts_alike_and_absent_ones_not_at_all():
    maps = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[:, None]
    labels = torch.tensor([0, 0, 0, 1])
    scores = localisation_scores(maps, torch.tensor([0.5, 0.0]).expand(4, 1, 2), labels)
    classes = class_scores(scores, labels, labels == 0, NAMES)
    assert [c.outside_mass for c in classes] == [0.5, 1.0, None, None]
    assert over_classes(classes, "outside_mass") == pytest.approx(0.75)
    assert scores.outside_mass.mean().item() == pytest.approx(0.625)  # what a mean over probes would say
    assert over_classes(classes[2:], "outside_mass") is None
    assert over_classes([], "outside_mass") is None
