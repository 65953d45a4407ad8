"""Neither a class that flaps nor a look that alarms everywhere floods people."""

import pytest

from camdebug.callbacks.alert_rate import AlertRate
from camdebug.records import Level
from camdebug.verdict.alerts import Alert

NONE, WATCH, SUSPECT, CONFIRMED = Level.NO_EVIDENCE, Level.WATCH, Level.SUSPECT, Level.CONFIRMED


def alert(level, *classes, epoch=4):
    classes = classes or (0,)
    names = tuple(f"kind {k}" for k in classes)
    return Alert(f"camdebug: {names[0]} {level.value}", f"It is {level.value}.", level, classes, names, epoch, 9)


def sent(rate, *levels, classes=(0,)):
    return [a.level for level in levels for a in rate.limited([alert(level, *classes)])]


def test_every_rise_alerts():
    assert sent(AlertRate("camdebug"), WATCH, SUSPECT, CONFIRMED) == [WATCH, SUSPECT, CONFIRMED]


def test_a_class_that_flaps_falls_silent_after_three_repeats_and_says_so():
    rate = AlertRate("camdebug")
    told = [a for _ in range(5) for level in (WATCH, NONE) for a in rate.limited([alert(level)])]
    assert [a.level for a in told] == [WATCH, NONE, WATCH, NONE]
    assert [a.text for a in told[:3]] == ["It is watch.", "It is no evidence.", "It is watch."]
    assert told[3].text == (
        "It is no evidence. From now on this class alerts only when it gets worse than ever; the verdict panel shows "
        "every change."
    )


def test_a_silent_class_alerts_when_it_gets_worse_than_ever_and_once_only():
    rate = AlertRate("camdebug")
    sent(rate, WATCH, NONE, WATCH, NONE, WATCH)
    assert sent(rate, SUSPECT, WATCH, SUSPECT, CONFIRMED, NONE, CONFIRMED) == [SUSPECT, CONFIRMED]


def test_clearing_is_no_rise_although_nothing_was_told_before():
    rate = AlertRate("camdebug")
    sent(rate, NONE, NONE, NONE)
    assert sent(rate, NONE) == []
    assert sent(rate, WATCH) == [WATCH]


def test_at_most_six_alerts_of_a_class_in_a_run():
    story = [WATCH, NONE, SUSPECT, NONE, CONFIRMED, NONE] * 9
    assert sent(AlertRate("camdebug"), *story) == [WATCH, NONE, SUSPECT, NONE, CONFIRMED, NONE]


def test_classes_are_counted_apart_and_a_pair_as_one():
    rate = AlertRate("camdebug")
    sent(rate, WATCH, NONE, WATCH, NONE, classes=(0, 1))
    assert sent(rate, WATCH, classes=(0, 1)) == sent(rate, WATCH, classes=(1,)) == []
    assert sent(rate, WATCH, NONE, classes=(2,)) == [WATCH, NONE]


@pytest.mark.parametrize("count", [1, 5, 6])
def test_up_to_six_alerts_a_look_are_sent_one_by_one_the_worst_first(count):
    levels = [WATCH, CONFIRMED, SUSPECT, WATCH, SUSPECT, WATCH][:count]
    found = AlertRate("camdebug").limited([alert(level, k) for k, level in enumerate(levels)])
    assert [a.level for a in found] == sorted(levels, key=lambda level: -level.rank)
    assert {a.classes for a in found} == {(k,) for k in range(count)}


def test_of_more_the_five_worst_are_sent_and_one_that_counts_and_names_the_rest():
    levels = [WATCH] * 4 + [SUSPECT] * 4
    found = AlertRate("second").limited([alert(level, k) for k, level in enumerate(levels)])
    assert [a.classes for a in found] == [(4,), (5,), (6,), (7,), (0,), (1, 2, 3)]
    summary = found[-1]
    assert summary.title == "second: 3 more classes changed"
    assert summary.text == (
        "second · epoch 4 · 3 more classes changed: `kind 1` watch, `kind 2` watch, `kind 3` watch. See second/verdict."
    )
    assert (summary.level, summary.class_names) == (WATCH, ("kind 1", "kind 2", "kind 3"))
    assert (summary.epoch, summary.step) == (4, 9)


def test_a_summary_of_very_many_stays_readable():
    summary = AlertRate("camdebug").limited([alert(WATCH, k) for k in range(1000)])[-1]
    assert summary.title == "camdebug: 995 more classes changed"
    assert summary.text.count("watch") == 50
    assert "`kind 54` watch and 945 more. See" in summary.text
    assert len(summary.classes) == 995


def test_those_in_a_summary_count_as_told():
    rate = AlertRate("camdebug")
    rate.limited([alert(WATCH, k) for k in range(9)])
    rate.limited([alert(NONE, k) for k in range(9)])
    rate.limited([alert(WATCH, k) for k in range(9)])
    rate.limited([alert(NONE, k) for k in range(9)])
    assert rate.limited([alert(WATCH, k) for k in range(9)]) == []


def test_counts_survive_a_checkpoint_and_not_a_new_run():
    rate, resumed = AlertRate("camdebug"), AlertRate("camdebug")
    sent(rate, WATCH, NONE, WATCH, NONE)
    resumed.load_state_dict(rate.state_dict())
    assert sent(resumed, WATCH, SUSPECT) == [SUSPECT]
    resumed.forget()
    assert sent(resumed, WATCH) == [WATCH]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"told": [1]},
        {"told": {0: {"highest": "watch"}}},
        {"told": {0: {"highest": "dire", "repeats": 0}}},
        {"told": {"zero": {"highest": "watch", "repeats": 0}}},
        [],
    ],
)
def test_counts_that_cannot_be_read_are_refused_and_change_nothing(state):
    rate = AlertRate("camdebug")
    sent(rate, WATCH)
    with pytest.raises(ValueError):
        rate.load_state_dict(state)
    assert rate.state_dict() == {"told": {0: {"highest": "watch", "repeats": 0}}}
