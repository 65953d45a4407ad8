import hashlib
import itertools

import numpy as np
import pytest
import torch

from camdebug.background.pairing import Pairing, pair
from camdebug.background.sign_flip import exact_p_value
from camdebug.observe.backgrounds import Backgrounds
from camdebug.probe.probe_set import ProbeSet


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


# What was drawn before pictures were told apart: recipients, same-class donors, other-class donors, pairs.
RECORDED = (
    [2, 3, 1, 0, 4, 6, 7, 8],
    [3, 1, 0, 2, 7, 5, 8, 4],
    [5, 8, 4, 7, 0, 1, 2, 3],
    [0, 1, 2, 3, 0, 1, 2, 3],
)


def _parts(pairing):
    return tuple(part.tolist() for part in (pairing.recipients, pairing.same, pairing.other, pairing.donors))


def _digest(pairing):
    return hashlib.sha256(b"".join(np.array(part, "<i8").tobytes() for part in _parts(pairing))).hexdigest()[:16]


@pytest.mark.parametrize("told", [False, True])
def test_with_all_pictures_different_the_draw_is_what_it_was_before_pictures_were_told_apart(told):
    pictures = torch.randperm(9, generator=torch.Generator().manual_seed(0)) if told else None
    pairing = pair(_labels(4, 5), torch.ones(9, dtype=torch.bool), seed=1, draw=2, pictures=pictures)
    assert _parts(pairing) == RECORDED


@pytest.mark.parametrize(
    ("counts", "recipients", "seed", "draw", "digest"),
    [
        ((20, 20), 1, 0, 0, "b9fae8fddb482c09"),
        ((7, 9, 8), 3, 1, 4, "6eac91954488c02c"),
        ((21, 20, 35), 4, 2, 1, "7bbd29a8b66dcce3"),
        ((9, 4), 2, 5, 0, "2f1bf3ec005eef06"),
        ((40, 40, 40), 4, 0, 0, "ebd7904ec52b4032"),
    ],
)
def test_so_are_draws_of_every_shape_with_objects_at_places(counts, recipients, seed, draw, digest):
    labels = _labels(*counts)
    free = torch.from_numpy(np.random.default_rng(0).random((len(labels), 6)))
    pairing = pair(
        labels,
        torch.ones(len(labels), dtype=torch.bool),
        seed=seed,
        draw=draw,
        free=free,
        recipients=recipients,
        pictures=torch.arange(len(labels)).flip(0),
    )
    assert _digest(pairing) == digest


def _shared(seed, *, copies=8):
    """Three classes of twelve; some of them show pictures of other classes, and one class has a picture twice."""
    rng, pictures = np.random.default_rng(seed), np.arange(36)
    for first, second in zip(rng.permutation(12)[:copies], rng.permutation(np.arange(12, 36))[:copies], strict=True):
        pictures[second] = first
    pictures[1] = pictures[0]
    return _labels(12, 12, 12), torch.from_numpy(pictures)


def _faults(pairing, labels, pictures):
    """What voids the test of a class: a picture that lends twice, or that meets itself or its own class's donors."""
    found = set()
    for k in torch.unique(labels[pairing.recipients]).tolist():
        rows = labels[pairing.recipients] == k
        of_class = set(pictures[labels == k].tolist())
        recipient, same, other = (pictures[p[rows]].tolist() for p in (pairing.recipients, pairing.same, pairing.other))
        pairs = {d: (s, o) for d, s, o in zip(pairing.donors[rows].tolist(), same, other, strict=True)}
        lent = [picture for both in pairs.values() for picture in both]
        if len(set(lent)) < len(lent):
            found.add("lent twice")
        if of_class & set(other):
            found.add("other-class background of itself")
        if any(len({*row}) < 3 for row in zip(recipient, same, other, strict=True)):
            found.add("met itself")
        before = set(zip(recipient, same, strict=True))
        if any((s, r) in before for r, s in before):
            found.add("before each other")
    return found


@pytest.mark.parametrize("recipients", [1, 4])
@pytest.mark.parametrize("seed", range(6))
def test_no_picture_lends_twice_or_stands_before_itself_whatever_probes_show_it(seed, recipients):
    labels, pictures = _shared(seed)
    free = torch.from_numpy(np.random.default_rng(seed).random((36, 6)))
    usable = torch.ones(36, dtype=torch.bool)
    given = {"seed": seed, "draw": 0, "free": free, "recipients": recipients}
    pairing = pair(labels, usable, pictures=pictures, **given)
    assert _faults(pairing, labels, pictures) == set()
    blind = [_faults(pair(labels, usable, **{**given, "draw": draw}), labels, pictures) for draw in range(6)]
    assert set().union(*blind) >= {"lent twice", "other-class background of itself"}


def test_every_picture_of_a_class_lends_once_to_it_and_the_others_take_turns():
    labels, pictures = _shared(0)
    pairing = pair(labels, torch.ones(36, dtype=torch.bool), seed=0, draw=0, pictures=pictures)
    for k in range(3):
        rows = labels[pairing.recipients] == k
        own = pictures[labels == k].unique()
        lenders = {int(p) for p in pictures[labels != k]} - set(own.tolist())
        assert int(rows.sum()) == min(len(own), len(lenders))
        if len(own) <= len(lenders):
            assert sorted(pictures[pairing.same[rows]].tolist()) == own.tolist()
        assert set(pictures[pairing.other[rows]].tolist()) <= lenders


def test_of_probes_of_one_class_that_show_one_picture_the_first_usable_stands_for_all():
    labels, pictures = _labels(6, 6), torch.tensor([0, 0, 0, 3, 4, 5, *range(6, 12)])
    usable = torch.ones(12, dtype=torch.bool)
    usable[0] = False
    pairing = pair(labels, usable, seed=0, draw=0, pictures=pictures)
    assert sorted(pairing.recipients[labels[pairing.recipients] == 0].tolist()) == [1, 3, 4, 5]
    assert not {0, 2} & {*pairing.same.tolist(), *pairing.other.tolist()}


def test_a_picture_that_shows_a_class_in_an_unusable_probe_does_not_lend_to_it_either():
    labels, pictures = _labels(4, 5), torch.tensor([0, 1, 2, 3, 0, 5, 6, 7, 8])
    usable = torch.ones(9, dtype=torch.bool)
    usable[0] = False
    draws = [pair(labels, usable, seed=0, draw=draw, pictures=pictures) for draw in range(10)]
    assert {i for pairing in draws for i in pairing.other.tolist()} == {1, 2, 3, 5, 6, 7, 8}
    assert 4 in {i for pairing in draws for i in pairing.same.tolist()}


def test_two_classes_that_share_all_pictures_have_nothing_to_lend_each_other():
    labels, pictures = _labels(5, 5), torch.arange(10) % 5
    assert len(pair(labels, torch.ones(10, dtype=torch.bool), seed=0, draw=0, pictures=pictures)) == 0


def _false_alarms(*, told):
    """Share of p-values at .1 or below where backgrounds matter, but not by class, and two classes share pictures."""
    labels = torch.arange(3).repeat_interleave(20)
    pictures = torch.arange(60)
    pictures[20:40] = torch.arange(20)  # each picture of class 0 is one of class 1 as well
    rng, found = np.random.default_rng(0), []
    for draw in range(40):
        pairing = pair(
            labels,
            torch.ones(60, dtype=torch.bool),
            seed=draw,
            draw=0,
            pictures=pictures if told else None,
        )
        rows = (labels[pairing.recipients] == 0).numpy()
        same, other = (pictures[p].numpy()[rows] for p in (pairing.same, pairing.other))
        for _ in range(60):
            background = rng.standard_normal(60)
            found.append(exact_p_value(background[same] - background[other]))
    return float(np.mean(np.array(found) <= 0.1))


def test_the_rate_of_false_alarms_holds_with_pictures_of_several_classes():
    noise = 3 * np.sqrt(0.1 * 0.9 / 2400)
    assert abs(_false_alarms(told=True) - 0.1) <= noise
    # A picture on both sides takes itself away from the mean, so that too few are called.
    assert _false_alarms(told=False) < 0.1 - 2 * noise


def test_a_probe_set_tells_which_of_its_probes_show_one_picture_and_looks_heed_it():
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[20:26] = images[:6]
    images[41] = images[40]
    labels = torch.arange(3).repeat_interleave(20)
    probes = ProbeSet(images, labels, torch.tensor([[2, 2, 6, 6]] * 60))
    expected = torch.arange(60)
    expected[20:26], expected[41] = torch.arange(6), 40
    assert torch.equal(probes.pictures, expected)
    assert probes.pictures.dtype is torch.int64
    backgrounds = Backgrounds(probes, seed=0)
    # one picture of the last class is there twice, so it has 19 and is too small to be tested
    assert backgrounds.pairs == {0: 20, 1: 20}
    for pairing in (backgrounds.panels(), backgrounds.pairs_of(3)):
        assert _faults(pairing, labels, probes.pictures) == set()
    blind = pair(labels, torch.ones(60, dtype=torch.bool), seed=0, draw=0, least=20, recipients=4)
    assert _faults(blind, labels, probes.pictures) >= {"other-class background of itself"}


def test_a_pixel_that_differs_makes_another_picture():
    images = torch.zeros(3, 2, 4, 4)
    images[2, 1, 3, 3] = 1e-7
    assert ProbeSet(images, [0, 1, 1]).pictures.tolist() == [0, 0, 2]
