import itertools

import numpy as np
import pytest
import torch

from camdebug.background.pairing import Pairing, pair
from camdebug.background.sign_flip import exact_p_value


def _labels(*counts: int) -> torch.Tensor:
    return torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])


def test_each_same_class_donor_serves_once_and_nobody_lends_to_itself():
    labels = _labels(7, 5, 6)
    pairing = pair(labels, torch.ones(18, dtype=torch.bool), seed=0, draw=0)
    assert sorted(pairing.recipients.tolist()) == list(range(18))
    assert sorted(pairing.same.tolist()) == list(range(18))
    assert bool((pairing.recipients != pairing.same).all())
    assert torch.equal(labels[pairing.recipients], labels[pairing.same])
    assert bool((labels[pairing.recipients] != labels[pairing.other]).all())


def test_other_class_donors_are_drawn_without_replacement_and_evenly_over_classes():
    labels = _labels(8, 8, 8, 8, 8)
    pairing = pair(labels, torch.ones(40, dtype=torch.bool), seed=3, draw=2)
    for k in range(5):
        donors = pairing.other[labels[pairing.recipients] == k]
        assert len(set(donors.tolist())) == 8
        assert torch.bincount(labels[donors], minlength=5).tolist() == [0 if j == k else 2 for j in range(5)]


def test_a_class_gets_no_more_rows_than_there_are_other_donors():
    labels = _labels(9, 4)
    pairing = pair(labels, torch.ones(13, dtype=torch.bool), seed=0, draw=0)
    large = labels[pairing.recipients] == 0
    assert int(large.sum()) == 4
    assert sorted(pairing.other[large].tolist()) == [9, 10, 11, 12]
    assert len(set(pairing.same[large].tolist())) == 4


def test_the_draw_is_seeded_and_changes_with_the_draw_and_leaves_global_generators_alone():
    labels, usable = _labels(10, 10), torch.ones(20, dtype=torch.bool)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, again = pair(labels, usable, seed=1, draw=4), pair(labels, usable, seed=1, draw=4)
    other = pair(labels, usable, seed=1, draw=5)
    assert torch.equal(first.same, again.same)
    assert torch.equal(first.other, again.other)
    assert not torch.equal(first.same, other.same)
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


def test_unusable_probes_neither_receive_nor_lend():
    usable = torch.tensor([True, False, True, True, True, False])
    pairing = pair(_labels(3, 3), usable, seed=0, draw=0)
    used = {*pairing.recipients.tolist(), *pairing.same.tolist(), *pairing.other.tolist()}
    assert used == {0, 2, 3, 4}


@pytest.mark.parametrize("labels", [_labels(6), _labels(1, 1), torch.zeros(0, dtype=torch.int64)])
def test_without_two_classes_or_two_members_there_are_no_rows(labels):
    pairing = pair(labels, torch.ones(len(labels), dtype=torch.bool), seed=0, draw=0)
    assert len(pairing.recipients) == len(pairing.same) == len(pairing.other) == 0


def test_a_class_below_the_least_count_lends_but_gets_no_rows():
    labels = _labels(6, 6, 3)
    pairing = pair(labels, torch.ones(15, dtype=torch.bool), seed=0, draw=0, least=5)
    assert torch.unique(labels[pairing.recipients]).tolist() == [0, 1]
    assert 2 in labels[pairing.other].tolist()


def test_a_class_without_enough_donors_elsewhere_gets_no_rows():
    pairing = pair(_labels(9, 4), torch.ones(13, dtype=torch.bool), seed=0, draw=0, least=5)
    assert len(pairing.recipients) == 0


def test_several_objects_stand_before_each_pair_of_donors_and_never_a_donor_before_itself():
    labels = _labels(7, 9, 8)
    pairing = pair(labels, torch.ones(24, dtype=torch.bool), seed=0, draw=0, recipients=3)
    one = pair(labels, torch.ones(24, dtype=torch.bool), seed=0, draw=0)
    assert len(pairing) == 3 * len(one) == 72
    assert torch.bincount(pairing.recipients).tolist() == [3] * 24
    assert bool((pairing.recipients != pairing.same).all())
    assert torch.equal(labels[pairing.recipients], labels[pairing.same])
    for k in range(3):
        mine = torch.nonzero(labels[pairing.recipients] == k).flatten().tolist()
        by_number = {}
        for row in mine:
            donors = (int(pairing.same[row]), int(pairing.other[row]))
            by_number.setdefault(int(pairing.donors[row]), set()).add(donors)
        assert all(len(donors) == 1 for donors in by_number.values())
        donors = [donor for pairs in by_number.values() for pair_of_donors in pairs for donor in pair_of_donors]
        assert len(donors) == len(set(donors)) == 2 * len(mine) // 3


@pytest.mark.parametrize(("counts", "recipients"), [((20, 20), 4), ((7, 9, 8), 3), ((21, 20, 35), 4)])
def test_no_two_pictures_stand_before_each_others_backgrounds(counts, recipients):
    labels = _labels(*counts)
    free = torch.from_numpy(np.random.default_rng(0).random((len(labels), 6)))
    usable = torch.ones(len(labels), dtype=torch.bool)
    pairing = pair(labels, usable, seed=0, draw=0, recipients=recipients, free=free)
    before = set(zip(pairing.recipients.tolist(), pairing.same.tolist(), strict=True))
    assert len(before) == len(pairing)
    assert not before & {(same, recipient) for recipient, same in before}


def test_a_small_class_puts_as_many_objects_before_a_donor_as_it_can():
    pairing = pair(_labels(5, 5), torch.ones(10, dtype=torch.bool), seed=0, draw=0, recipients=9)
    assert len(pairing) == 2 * 5 * 2  # of five, two lie ahead of each


def _visible(pairing, free):
    return float((free[pairing.recipients] * free[pairing.same] * free[pairing.other]).mean())


def test_pictures_with_objects_at_like_places_are_matched():
    """Objects stand left or right: a perfect matching leaves half of every picture free, chance a fifth or so."""
    labels = _labels(30, 30, 30)
    free = torch.zeros(90, 2)
    free[torch.arange(90), torch.arange(90) % 2] = 1.0
    usable = torch.ones(90, dtype=torch.bool)
    assert _visible(pair(labels, usable, seed=0, draw=0, recipients=3, free=free), free) > 0.45
    assert _visible(pair(labels, usable, seed=0, draw=0, recipients=3), free) < 0.3


def test_the_matching_maximises_what_stays_visible():
    """Slow oracle over all ways to pair four with four, for one object before each pair of donors."""
    rng = np.random.default_rng(4)
    free = torch.from_numpy(rng.random((8, 3)))
    pairing = pair(_labels(4, 4), torch.ones(8, dtype=torch.bool), seed=0, draw=0, free=free)
    first = pairing.recipients < 4
    found = float((free[pairing.same[first]] * free[pairing.other[first]]).mean(1).sum())
    best = max(
        sum(float((free[i] * free[4 + o]).mean()) for i, o in enumerate(order))
        for order in itertools.permutations(range(4))
    )
    assert found == pytest.approx(best, abs=4 * 0.02)


def test_objects_take_turns_before_the_donors():
    free = torch.from_numpy(np.random.default_rng(1).random((30, 4)))
    labels = _labels(10, 10, 10)
    pairing = pair(labels, torch.ones(30, dtype=torch.bool), seed=0, draw=0, free=free, recipients=4)
    assert torch.bincount(pairing.recipients).tolist() == [4] * 30
    assert bool((pairing.recipients != pairing.same).all())


def _mutual(labels, draw):
    """A pairing in which pictures stand before each other's backgrounds two by two."""
    ours = pair(labels, torch.ones(len(labels), dtype=torch.bool), seed=draw, draw=0)
    same = torch.arange(len(labels)) ^ 1
    return Pairing(
        torch.arange(len(labels)), same, ours.other[torch.argsort(ours.recipients)], torch.arange(20).tile(2)
    )


def _alarms(draw_pairing, *, objects):
    """Share of p-values at .01 or below of a net that rewards nothing but agreement of own and donor background."""
    labels, rng, found = torch.arange(2).repeat_interleave(20), np.random.default_rng(0), []
    for draw in range(30):
        pairing = draw_pairing(labels, draw) if objects is None else draw_pairing(labels, draw, objects)
        own, same, other = (part.numpy() for part in (pairing.recipients, pairing.same, pairing.other))
        first = (labels[pairing.recipients] == 0).numpy()
        donors = pairing.donors.numpy()[first]
        for _ in range(150):
            background = rng.standard_normal(40)
            differences = (background[own] * (background[same] - background[other]))[first]
            found.append(exact_p_value(np.bincount(donors, differences) / np.bincount(donors)))
    return float(np.mean(np.array(found) <= 0.01))


def test_traces_of_a_pictures_own_background_do_not_add_up():
    def ours(labels, draw, objects):
        return pair(labels, torch.ones(len(labels), dtype=torch.bool), seed=draw, draw=0, recipients=objects)

    noise = 3 * np.sqrt(0.01 * 0.99 / 4500)
    assert _alarms(ours, objects=1) <= 0.01 * 1.25 + noise
    assert _alarms(ours, objects=4) <= 0.01 * 1.25 + noise
    assert _alarms(_mutual, objects=None) > 0.02
