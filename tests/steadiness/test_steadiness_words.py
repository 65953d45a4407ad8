import pytest

from camdebug.numerals import count_of, percent, plain
from camdebug.records.split import GroupScores, RightAgainstWrong, Split, WrongReasons
from camdebug.records.steadiness import ObjectFollowing, Similarity, SteadinessReport
from camdebug.steadiness.split_words import lead_line, split_line
from camdebug.steadiness.words import information, steadiness_lines

NAMES = ("cat", "dog")


def alike(divergence, correlation=None, count=40, left_out=0):
    return Similarity(divergence, correlation, count, left_out)


def report(**found):
    return SteadinessReport(**{"epoch": 7, **found})


def side(outside=0.5, chance=0.8, valid=20):
    return GroupScores(valid, valid, outside, chance, outside / chance, -0.5, 0.1)


def leads(**found):
    fine = {"probes": (3, 17), "falls": (0.4, 0.2), "count": 2, "expected_by_chance": 1, "tested": 90}
    return WrongReasons(**{**fine, "heat_on_object": 0, "heat_on_object_by_chance": 0, "least_fall": 0.1, **found})


def split(right, wrong, *classes):
    one = [Split(k, NAMES[k], *sides) for k, sides in enumerate(classes)]
    return RightAgainstWrong(Split(None, "all classes", right, wrong), tuple(one))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0312, "0.031"), (0.0999, "0.10"), (0.31, "0.31"), (0.996, "1.0"), (9.96, "10"), (123.4, "123"),
     (-0.05, "-0.050"), (1e-5, "below 0.001"), (-1e-5, "above -0.001"), (0.00099, "below 0.001"), (0.001, "0.001")],
)  # fmt: skip
def test_numbers_are_short_and_never_a_row_of_zeros(value, text):
    assert plain(value) == text


def test_shares_and_counts():
    assert percent(0.314) == "31 %"
    assert (count_of(1, "probe"), count_of(2, "probe")) == ("1 probe", "2 probes")


# --- steadiness


def test_drift_stands_beside_the_floor_of_the_same_model():
    found = report(drift=alike(0.03, 0.91), since_epoch=4, jitter=alike(0.02), jitter_epoch=7)
    assert steadiness_lines(found, NAMES) == [
        "Maps changed by JS 0.030 (Spearman 0.91) since epoch 4 (a shift of one pixel changes them by 0.020)."
    ]


def test_an_older_floor_is_dated_and_without_one_nothing_is_claimed():
    old = report(drift=alike(0.03), since_epoch=6, jitter=alike(0.02), jitter_epoch=2)
    assert steadiness_lines(old, NAMES) == [
        "Maps changed by JS 0.030 since epoch 6 (a shift of one pixel changed them by 0.020, epoch 2)."
    ]
    assert steadiness_lines(report(drift=alike(0.03), since_epoch=6), NAMES) == [
        "Maps changed by JS 0.030 since epoch 6."
    ]


@pytest.mark.parametrize(
    ("dog", "named"), [(alike(0.4), True), (alike(0.15), False), (alike(0.4, count=4), False), (alike(None), False)]
)
def test_a_class_that_changed_far_more_than_the_others_is_named(dog, named):
    found = report(drift=alike(0.1), since_epoch=6, drift_by_class=(alike(0.05), dog))
    (line,) = steadiness_lines(found, NAMES)
    assert ("most in `dog` (JS 0.40)" in line) is named


def test_probes_without_heat_are_counted():
    found = report(drift=alike(0.1, left_out=1), since_epoch=6)
    assert steadiness_lines(found, NAMES)[0].endswith("epoch 6. 1 probe left out: no heat.")


def test_stability_has_the_floor_and_other_probes_beside_it():
    found = report(
        shift=alike(0.03), lighting=alike(0.01), noise=alike(1e-5), jitter=alike(0.02), other_probes=alike(0.35)
    )
    assert steadiness_lines(found, NAMES) == [
        "A probe's map changes under a small shift JS 0.030, other lighting JS 0.010, noise JS below 0.001 (one pixel "
        "0.020; maps of different probes of a class 0.35)."
    ]


def test_initial_maps_have_those_of_other_probes_beside_them():
    found = report(initial=alike(0.46, 0.02), initial_chance=alike(0.5, 0.01), jitter=alike(0.02))
    assert steadiness_lines(found, NAMES) == [
        "Maps differ from those before training by JS 0.46 (Spearman 0.020); from those of other probes before "
        "training by JS 0.50 (Spearman 0.010)."
    ]


def test_maps_that_training_left_alone_say_little():
    (line,) = steadiness_lines(report(initial=alike(0.01), jitter=alike(0.02)), NAMES)
    assert line.endswith("no more than a shift of one pixel does: they say little about what was learned.")


@pytest.mark.parametrize(
    ("own", "p", "head"),
    [
        (0.54, 1e-9, "Heat follows the object: 54 %"),
        (0.15, 1e-9, "Heat hardly follows the object: 15 %"),
        (0.54, 0.2, "Heat does not follow the object (maps fit other pictures' boxes as well): 54 %"),
    ],
)
def test_whether_heat_follows_the_object_is_said_with_both_chance_levels(own, p, head):
    (line,) = steadiness_lines(report(following=ObjectFollowing(own, 0.13, 0.22, 7.1, p, 160)), NAMES)
    assert line == (
        f"{head} of a map's heat lies on its probe's object; of other probes' maps 13 %, of a uniform one 22 % "
        "(z = 7.1, chance 0; 160 probes)."
    )


def test_what_was_not_measured_is_not_mentioned():
    nothing = alike(None, count=0, left_out=40)
    assert steadiness_lines(report(), NAMES) == []
    assert steadiness_lines(report(drift=nothing, initial=nothing, shift=nothing, jitter=nothing), NAMES) == []


# --- right and wrong


def test_leads_are_named_with_their_chance_level():
    assert lead_line(leads()) == (
        "Right for the wrong reason: 2 probes (1 expected by chance) of 90 right predictions: #3, #17. Heat is denser "
        "outside the box than inside, and the probability falls by 0.10 or more on backgrounds of other classes."
    )


def test_a_long_list_is_cut_and_counted():
    line = lead_line(leads(probes=tuple(range(20)), falls=(0.5,) * 20, count=34))
    assert "#8, #9 and 24 more. Heat" in line
    assert "#10" not in line


def test_without_leads_there_is_one_short_sentence():
    assert lead_line(leads(probes=(), falls=(), count=0)) == (
        "Right for the wrong reason: 0 probes (1 expected by chance) of 90 right predictions."
    )
    assert "not tested" in lead_line(leads(probes=(), falls=(), count=0, tested=0))


def test_falls_that_heat_does_not_show_are_said_with_their_chance_level():
    line = lead_line(leads(heat_on_object=21, heat_on_object_by_chance=19))
    assert line.endswith(" 21 more (19 expected by chance) fall as far with their heat on the object.")


def test_right_and_wrong_stand_side_by_side_with_their_chance():
    assert split_line(split(side(0.47, 0.79, 168), side(0.6, 0.77, 32))) == (
        "Heat outside the boxes: 47 % (uniform 79 %; 168 probes) where right, 60 % (uniform 77 %; 32 probes) where "
        "wrong."
    )


def test_a_side_without_probes_is_left_out_and_one_without_maps_is_said():
    assert split_line(split(side(), GroupScores(0, 0))) == (
        "Heat outside the boxes: 50 % (uniform 80 %; 20 probes) where right."
    )
    assert split_line(split(side(), GroupScores(3, 0))).endswith("not measurable (3 probes) where wrong.")
    assert split_line(split(GroupScores(2, 0), GroupScores(3, 0))) == ""


@pytest.mark.parametrize(
    ("wrong", "named"), [(side(0.7), True), (side(0.55), False), (side(0.3), False), (side(0.7, valid=4), False)]
)
def test_a_class_that_is_hotter_outside_where_it_is_wrong_is_named(wrong, named):
    line = split_line(split(side(), side(), (side(), side()), (side(), wrong)))
    expected = " Wrong predictions are hotter outside in `dog`, 70 % (uniform 80 %; 20 probes) against 50 %"
    assert (expected in line) is named
    assert "`cat`" not in line


def test_everything_together_is_a_markdown_list_with_the_leads_first():
    found = report(drift=alike(0.03), since_epoch=4)
    lines = information(found, split(side(), side()), leads(), NAMES).splitlines()
    assert [line[:12] for line in lines] == ["- Right for ", "- Heat outsi", "- Maps chang"]
    assert information(None, None, None, NAMES) == ""
