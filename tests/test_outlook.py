"""What can be found with some probes, said before anything is measured."""

import pytest
import torch
from torch import nn

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.measures.place import rim_places
from camdebug.observe import Observer
from camdebug.observe.outlook import places_out_of_reach, smallest_effect
from camdebug.probe.probe_set import ProbeSet
from camdebug.verdict.judge import Judge


@pytest.mark.parametrize(("grid", "annotated", "needed"), [((5, 9), False, "6x6 without boxes"), ((4, 2), True, "3x3")])
def test_maps_that_are_too_coarse_to_have_a_rim_are_said(grid, annotated, needed):
    said = places_out_of_reach(grid, [40, 40], 1e-3, annotated=annotated)
    assert f"the maps have {grid[0]}x{grid[1]} cells, that takes {needed}. Choose an earlier target_layer" in said
    assert ("boxes for the probes" in said) is not annotated


@pytest.mark.parametrize(("grid", "annotated"), [((6, 6), False), ((3, 3), True), ((7, 7), True)])
def test_maps_of_the_least_size_are_enough(grid, annotated):
    assert places_out_of_reach(grid, [40, 40], 1e-3, annotated=annotated) is None


@pytest.mark.parametrize("counts", [[], [19, 3]])
def test_too_few_probes_of_every_class_are_said(counts):
    said = places_out_of_reach((7, 7), counts, 1e-3, annotated=True)
    assert said.startswith("heat at a fixed place cannot be tested: that takes 20 probes of a class")


def test_a_budget_that_no_place_can_reach_is_said_with_the_numbers():
    best = len(rim_places((7, 7))) / 2**20
    assert places_out_of_reach((7, 7), [20, 3], best, annotated=True) is None
    said = places_out_of_reach((7, 7), [20, 3], 0.99 * best, annotated=True)
    assert f"each test may spend {0.99 * best:.1e} of the error budget, and 20 probes of a class" in said
    assert f"cannot give a p-value below {best:.1e}. Add probes, look less often, or raise alpha" in said
    assert places_out_of_reach((7, 7), [20, 21], 0.99 * best, annotated=True) is None


def test_a_spent_budget_is_said():
    assert "have spent the error budget" in places_out_of_reach((7, 7), [20], 0.0, annotated=True)


@pytest.mark.parametrize(
    ("width", "said"),
    [(6, "Only whether heat stays at one place can be found."), (5, "And heat at a fixed place cannot be tested: the")],
)
def test_the_opening_words_promise_places_only_on_grids_that_can_tell_them(width, said):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(width), nn.Conv2d(4, 4, 1), *_head())
    observer = Observer(ProbeSet(torch.rand(80, 3, 30, 30), torch.arange(80) % 4))
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
    assert observer.smallest_effect(5).startswith(said)


@pytest.mark.parametrize(
    ("pairs", "found", "more"),
    [
        ({0: 41, 1: 40}, "With 40 to 41 pairs of backgrounds a class, a fall in probability of 0.15 is", False),
        ({0: 40, 1: 38}, "With 38 to 40 pairs of backgrounds a class, a fall in probability of 0.15 to 0.16", False),
        ({0: 22, 1: 20}, "With 20 to 22 pairs of backgrounds a class, a fall in probability of 0.21 to 0.23 is", True),
    ],
)
def test_a_range_rises_and_is_one_number_where_both_ends_read_alike(pairs, found, more):
    said = smallest_effect(pairs, Judge(("a", "b")), looks_left=5)
    assert found in said
    assert ("To find one of 0.15, take" in said) == more


def _head():
    return nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
