import numpy as np
import pytest
import torch

from camdebug.background.evidence import Evidence
from camdebug.background.pairing import Pairing, pair
from camdebug.background.sign_flip import sign_flip_p_value
from camdebug.background.swap import swaps


def _pairing(labels: torch.Tensor, *, recipients: int, seed: int = 0) -> Pairing:
    return pair(labels, torch.ones(len(labels), dtype=torch.bool), seed=seed, draw=0, recipients=recipients)


def _evidence(margins: torch.Tensor) -> Evidence:
    return Evidence(torch.zeros(len(margins), 2, 1, 1), margins, torch.sigmoid(margins))


def _answers(pairing: Pairing, own: torch.Tensor) -> Evidence:
    """Margin ``own`` of each donor where its background stands behind the object."""
    return _evidence(torch.stack([own[pairing.same], own[pairing.other]], 1).double())


def test_gap_error_falls_and_panels_by_hand():
    """Two objects before each of four pairs of donors; the second class takes part as a lender only."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
    pairing = Pairing(
        recipients=torch.tensor([0, 3, 1, 0, 2, 1, 3, 2]),
        same=torch.tensor([1, 1, 2, 2, 3, 3, 0, 0]),
        other=torch.tensor([4, 4, 5, 5, 8, 8, 6, 6]),
        donors=torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
    )
    margins = torch.zeros(8, 2, dtype=torch.float64)
    margins[:, 0] = torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0, 4.0, -1.0, 1.0])
    (found,) = swaps(_evidence(margins), pairing, labels, smallest_p=0.01, seed=0, decides=True)
    fall = np.array([1 / (1 + np.exp(-m)) - 0.5 for m in (1.0, 3.0, 2.0, 2.0, 0.0, 4.0, -1.0, 1.0)])
    by_pair = fall.reshape(4, 2).mean(1)
    assert (found.classes, found.counts, found.decides) == ((0,), (4,), True)
    assert found.gap == pytest.approx(by_pair.mean())
    assert found.standard_error == pytest.approx(by_pair.std(ddof=1) / 2)
    assert found.margin_gap == pytest.approx(np.mean([2.0, 2.0, 2.0, 0.0]))
    assert found.panel_gaps == pytest.approx((by_pair[[0, 2]].mean(), by_pair[[1, 3]].mean()))
    assert found.recipients.tolist() == [0, 1, 2, 3]
    assert found.falls.tolist() == pytest.approx(
        [fall[[0, 3]].mean(), fall[[2, 5]].mean(), fall[[4, 7]].mean(), fall[[1, 6]].mean()]
    )
    assert found.p_value == pytest.approx(2 / 16, abs=0.04)  # of 16 sign patterns, those that flip the 0 or nothing


def test_the_p_value_is_that_of_donor_pairs_not_of_rows():
    labels = torch.arange(3).repeat_interleave(20)
    pairing = _pairing(labels, recipients=4)
    answers = _answers(pairing, torch.randn(60, generator=torch.Generator().manual_seed(0)))
    for found in swaps(answers, pairing, labels, smallest_p=1e-3, seed=0, decides=True):
        mine = labels[pairing.recipients] == found.classes[0]
        differences = (answers.margins[:, 0] - answers.margins[:, 1])[mine]
        by_pair = torch.stack([differences[pairing.donors[mine] == n].mean() for n in range(20)])
        assert found.p_value == sign_flip_p_value(by_pair, smallest_p=1e-3, seed=0)
        assert found.counts == (20,)


def _false_alarms(as_rows: bool, repeats: int = 300) -> float:
    """Share of null worlds, in which each background pushes every object its own way, with a p-value at .05."""
    labels, fired, tests = torch.arange(4).repeat_interleave(20), 0, 0
    for world in range(repeats):
        pairing = _pairing(labels, recipients=4, seed=world)
        push = torch.from_numpy(np.random.default_rng(world).standard_normal(80))
        if as_rows:
            pairing = Pairing(pairing.recipients, pairing.same, pairing.other, torch.arange(len(pairing)))
        found = swaps(_answers(pairing, push), pairing, labels, smallest_p=0.01, seed=world, decides=True)
        fired += sum(s.p_value <= 0.05 for s in found)
        tests += len(found)
    return fired / tests


def test_the_error_rate_holds_with_several_objects_before_each_pair_of_donors():
    assert _false_alarms(as_rows=False) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1200)


def test_counting_every_object_as_an_observation_would_void_it():
    assert _false_alarms(as_rows=True, repeats=40) > 0.15


def test_the_panels_share_no_donor():
    labels = torch.arange(4).repeat_interleave(21)
    pairing = _pairing(labels, recipients=3)
    for k in range(4):
        mine = labels[pairing.recipients] == k
        for donors in (pairing.same[mine], pairing.other[mine]):
            panel = pairing.donors[mine] % 2
            assert not set(donors[panel == 0].tolist()) & set(donors[panel == 1].tolist())


def test_two_classes_give_one_swap_at_twice_the_smaller_p():
    labels = torch.arange(2).repeat_interleave(15)
    pairing = _pairing(labels, recipients=2)
    towards = torch.where(labels[pairing.recipients] == 0, 1.0, 0.05)[:, None].double()
    shift = torch.where(labels[:, None] == 0, 0.5, 0.0).flatten()
    answers = _answers(pairing, shift + 0.3 * torch.randn(30, generator=torch.Generator().manual_seed(1)))
    answers = _evidence(answers.margins * towards)
    (found,) = swaps(answers, pairing, labels, smallest_p=1e-3, seed=0, decides=True)
    single = []
    for k in (0, 1):
        mine = labels[pairing.recipients] == k
        differences = (answers.margins[:, 0] - answers.margins[:, 1])[mine]
        by_pair = torch.stack([differences[pairing.donors[mine] == n].mean() for n in range(15)])
        single.append(sign_flip_p_value(by_pair, smallest_p=1e-3, seed=0))
    assert (found.classes, found.counts, found.is_pair) == ((0, 1), (15, 15), True)
    assert found.p_value == pytest.approx(2 * min(single))


def test_a_row_without_a_finite_answer_is_left_out_on_both_sides():
    labels = torch.arange(3).repeat_interleave(6)
    pairing = _pairing(labels, recipients=2)
    margins = torch.ones(len(pairing), 2, dtype=torch.float64)
    margins[:, 1] = 0
    first, second = torch.nonzero((pairing.donors == 0) & (labels[pairing.recipients] == 0)).flatten().tolist()
    margins[first, 0] = float("nan")
    margins[second, 1] = float("inf")
    found = swaps(_evidence(margins), pairing, labels, smallest_p=0.01, seed=0, decides=False)
    assert [s.counts for s in found] == [(5,), (6,), (6,)]
    assert all(s.gap == pytest.approx(1 / (1 + np.exp(-1)) - 0.5) for s in found)
    everything = _evidence(torch.full((len(pairing), 2), float("nan")).double())
    empty = swaps(everything, pairing, labels, smallest_p=0.01, seed=0, decides=False)
    assert [(s.p_value, s.counts, len(s.recipients)) for s in empty] == [(1.0, (0,), 0)] * 3
