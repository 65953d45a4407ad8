import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camdebug.measures.leads import wrong_reasons
from camdebug.records import BackgroundSwap, LocalisationScores, Validity


def scores_of(ratios, validity=None):
    """Scores with these D's; NaN ones are not valid."""
    values = torch.tensor(ratios, dtype=torch.float64)
    known = [Validity.OK if v == v else Validity.NO_EVIDENCE for v in values.tolist()]
    return LocalisationScores(*[values] * 6, tuple(validity or known))


def swap_of(recipients, falls, classes=(0,)):
    numbers = {
        "classes": classes,
        "counts": (20,) * len(classes),
        "panel_gaps": (0.0, 0.0),
        "panel_p_values": (1.0, 1.0),
        "recipients": torch.tensor(recipients, dtype=torch.int64),
        "falls": torch.tensor(falls, dtype=torch.float64),
        "decides": False,
    }
    return BackgroundSwap(**{name: numbers.get(name, 0.0) for name in BackgroundSwap.__dataclass_fields__})


def right(count):
    return torch.ones(count, dtype=torch.bool)


def test_listed_are_probes_that_are_right_hot_outside_and_fall_worst_first():
    #          listed  heat inside  wrong  listed  falls little  rises  no map  not swapped  just enough
    ratios = [0.5, -0.5, 0.5, 0.1, 2.0, 0.3, float("nan"), 1.0, 0.2]
    correct = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1, 1]).bool()
    swaps = [swap_of([0, 1, 2, 3], [0.2, 0.6, 0.9, 0.4]), swap_of([4, 5, 6, 8], [0.09, -0.3, 0.8, 0.1], (1,))]
    found = wrong_reasons(scores_of(ratios), correct, swaps)
    assert found.probes == (3, 0, 8)
    assert found.falls == (0.4, 0.2, 0.1)
    assert (found.count, found.expected_by_chance) == (3, 1)
    assert found.tested == 6  # all but the wrong one, the one without a map and the one never swapped
    assert (found.heat_on_object, found.heat_on_object_by_chance) == (1, 0)
    assert found.least_fall == 0.10


@pytest.mark.parametrize(("ratio", "listed"), [(1e-9, True), (0.0, False), (-1e-9, False)])
def test_as_dense_outside_as_inside_is_not_outside(ratio, listed):
    assert bool(wrong_reasons(scores_of([ratio]), right(1), [swap_of([0], [0.5])]).count) is listed


def test_at_most_so_many_are_kept_and_all_are_counted():
    falls = torch.linspace(0.11, 0.9, 30).tolist()
    found = wrong_reasons(scores_of([1.0] * 30), right(30), [swap_of(range(30), falls)])
    assert found.count == 30
    assert found.probes == tuple(range(29, 9, -1))
    assert wrong_reasons(scores_of([1.0] * 30), right(30), [swap_of(range(30), falls)], kept=2).probes == (29, 28)


def test_of_equal_falls_the_first_probe_comes_first():
    assert wrong_reasons(scores_of([1.0] * 4), right(4), [swap_of(range(4), [0.2] * 4)]).probes == (0, 1, 2, 3)


def test_a_probe_swapped_twice_has_the_mean_of_its_falls_and_those_that_are_not_finite_are_left_out():
    swaps = [swap_of([0, 1], [0.3, 0.3]), swap_of([0, 1, 2], [-0.2, float("nan"), float("nan")])]
    found = wrong_reasons(scores_of([1.0] * 3), right(3), swaps)
    assert (found.probes, found.falls, found.tested) == ((1,), (0.3,), 2)


@pytest.mark.parametrize("swaps", [[], [swap_of([], [])]])
def test_without_a_swap_nothing_was_tested(swaps):
    found = wrong_reasons(scores_of([1.0, 1.0]), right(2), swaps)
    assert (found.probes, found.count, found.expected_by_chance, found.tested) == ((), 0, 0, 0)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 1000))
def test_with_the_sign_of_every_fall_turned_the_list_and_its_chance_level_change_places(falls, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = scores_of(torch.randn(len(falls), generator=generator).tolist())
    correct = torch.rand(len(falls), generator=generator) < 0.8
    there = wrong_reasons(scores, correct, [swap_of(range(len(falls)), falls)])
    back = wrong_reasons(scores, correct, [swap_of(range(len(falls)), [-f for f in falls])])
    assert (there.count, there.expected_by_chance) == (back.expected_by_chance, back.count)
    assert (there.heat_on_object, there.heat_on_object_by_chance) == (
        back.heat_on_object_by_chance,
        back.heat_on_object,
    )
    assert there.tested == back.tested == int(correct.sum())


def test_where_the_background_means_nothing_the_list_is_as_long_as_its_chance_level_on_average():
    generator = torch.Generator().manual_seed(0)
    difference = [
        found.count - found.expected_by_chance
        for _ in range(200)
        if (
            found := wrong_reasons(
                scores_of([1.0] * 50),
                right(50),
                [swap_of(range(50), (0.2 * torch.randn(50, generator=generator)).tolist())],
            )
        )
    ]
    # 31 % fall and 31 % rise far enough: the difference of 50 probes has a standard deviation of 5.6.
    assert abs(sum(difference) / 200) < 4 * 5.6 / 200**0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"correct": torch.ones(3).bool()}, r"correct: expected \(2,\) bool"),
        ({"swaps": [swap_of([0, 2], [0.1, 0.1])]}, r"swaps: expected recipients among the 2 probes, got \[0, 2\]"),
        ({"least_fall": 0.0}, "least_fall: expected a probability above 0, got 0.0"),
    ],
)
def test_what_does_not_fit_is_named(arguments, words):
    fine = {"scores": scores_of([1.0, 1.0]), "correct": right(2), "swaps": [swap_of([0], [0.1])]}
    with pytest.raises(ValueError, match=words):
        wrong_reasons(**{**fine, **arguments})
