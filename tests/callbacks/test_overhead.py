"""Looks that take too much of a training's time become rarer: alike in all processes, said, and never by surprise."""

import itertools

import pytest
from small_training import Case, Module, Spy, differences, monitor, probes, run
from staging import staged

from camdebug import CAMMonitor, Level
from camdebug.callbacks.overhead import FREE_SECONDS, Overhead
from camdebug.callbacks.schedule import Schedule
from camdebug.cam.peers import ALONE

EPOCH = 15.0  # seconds that an epoch of the training itself takes


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Beside:
    """Two processes; the other one needs ``slower`` times as long for everything."""

    rank, count = 0, 2

    def __init__(self, slower):
        self.slower = slower

    def exchange(self, mine):
        return [mine, self.slower * mine]


def look(overhead, clock, seconds, peers=ALONE):
    with overhead.measured(peers):
        clock.now += seconds


def epochs(*seconds, limit=0.5, cadence=1, own=EPOCH, peers=ALONE, first=0):
    """What is answered after each epoch of so many seconds of looks; ``None``: an epoch without a look."""
    clock = Clock()
    overhead, answers = Overhead(limit, clock=clock), []
    overhead.begin(epoch=first)
    for epoch, taken in enumerate(seconds, start=first):
        clock.now += own
        if taken is not None:
            look(overhead, clock, taken, peers)
        answers.append(overhead.longer_cadence(peers, epoch=epoch, cadence=cadence))
        cadence = answers[-1] or cadence
    return answers


def test_a_cheap_look_changes_nothing_however_long_it_goes():
    assert epochs(*[7.0] * 40) == [None] * 40


def test_a_dear_look_changes_the_cadence_to_what_the_limit_allows():
    # 31 s for every look, 15 s for every epoch of its own: 7.5 s an epoch are allowed, so one look in 5 epochs
    assert epochs(31.0, 31.0, 31.0) == [None, 5, None]


def test_a_dear_first_look_changes_nothing():
    assert epochs(100.0, *[7.0] * 20) == [None] * 21


def test_the_first_minute_is_free():
    assert epochs(*[FREE_SECONDS / 4] * 5) == [None] * 4 + [2]
    assert epochs(0.0, FREE_SECONDS) == [None, None]
    assert epochs(1.0, FREE_SECONDS) == [None, 8]


def test_a_slow_change_takes_large_steps_so_that_it_is_said_seldom():
    assert epochs(*[31.0, 31.0] + [None] * 4 + [31.0, 80.0], limit=0.5)[-1] == 8  # 7 would be enough
    grown = [a for a in epochs(*range(8, 68)) if a is not None]
    assert grown == sorted(grown)
    assert all(b >= 1.5 * a for a, b in itertools.pairwise(grown))
    assert len(grown) <= 5


def test_it_is_asked_only_after_a_look():
    assert epochs(30.0, 70.0, None, None) == [None, 10, None, None]


def test_one_dear_look_among_cheap_ones_is_seen_in_their_mean():
    assert epochs(*[6.0] * 20, 30.0) == [None] * 21


def test_without_a_limit_nothing_is_ever_changed_but_the_time_is_known():
    assert epochs(*[500.0] * 5, limit=None) == [None] * 5
    clock = Clock()
    overhead = Overhead(None, clock=clock)
    look(overhead, clock, 3.0)
    assert overhead.last == 3.0


def test_a_limit_above_one_is_kept_as_well():
    assert epochs(70.0, 70.0, limit=2.0) == [None, 3]  # 30 s an epoch are allowed


def test_epochs_before_a_resume_do_not_count():
    assert epochs(31.0, 31.0, first=90) == [None, 5]


def test_the_slowest_process_decides_for_all():
    slowest = epochs(31.0, 31.0)
    assert epochs(31.0 / 3, 31.0 / 3, own=EPOCH / 3, peers=Beside(3)) == slowest == [None, 5]
    assert epochs(31.0 / 3, 31.0 / 3, own=EPOCH / 3) == [None, None]


def test_the_time_of_an_epoch_is_that_without_looks():
    # with looks an epoch takes 46 s, of which 31 would be a share of .67 only
    assert epochs(31.0, 31.0, limit=1.0) == [None, 3]


def test_a_schedule_that_became_slower_is_as_asked_for_in_the_next_training():
    schedule = Schedule(2)
    schedule.every_n_epochs = 9
    schedule.forget()
    assert schedule.every_n_epochs == 2


class TakesTime(Module):
    """Each step takes three seconds of a clock, and five of them an epoch's 15."""

    clock = Clock()

    def training_step(self, batch, index):
        self.clock.now += 3
        return super().training_step(batch, index)


def train(*, seconds, epochs, **options):
    """A training whose looks take so many seconds of the clock: epochs of the looks, and what came out."""
    TakesTime.clock = clock = Clock()
    watching = monitor(contrast=False, log_probes=1, **options)
    watching._overhead._clock = clock
    real = watching._observer.look

    def slow(*args, **kwargs):
        clock.now += seconds
        return real(*args, **kwargs)

    watching._observer.look = slow
    spy = Spy(watching)
    case = Case(TakesTime, trainer={"max_epochs": epochs}, callbacks=lambda: [spy])
    outcome = run(case, watching)
    return [epoch for epoch, *_ in spy.looks], outcome


@pytest.fixture(scope="module")
def slowed():
    return train(seconds=31, epochs=14)


def test_a_training_is_looked_at_less_often_and_at_its_last_epoch_and_is_told_once(slowed):
    looks, outcome = slowed
    assert looks == [0, 1, 6, 11, 13]
    assert outcome.said == [
        "camdebug: 2 looks took 62 s, more than max_overhead=0.5 of the training's own time allows. From now on it "
        "looks every 5 epochs, and at the last one. To look more often, raise max_overhead, or make looks cheaper: "
        "fewer probes, or a smaller log_probes."
    ]


def test_a_training_that_is_looked_at_less_often_has_the_same_bits(slowed):
    without = run(Case(TakesTime, trainer={"max_epochs": 14}))
    assert differences(without.state, slowed[1].state) == []


def test_with_no_limit_it_is_looked_at_every_epoch():
    looks, outcome = train(seconds=31, epochs=4, max_overhead=None)
    assert looks == [0, 1, 2, 3]
    assert outcome.said == []


def test_seconds_are_those_of_the_whole_look_and_are_logged_every_epoch():
    _, outcome = train(seconds=7, epochs=3)
    assert [value for _, value in outcome.memory.of("camdebug/seconds")] == [7.0, 7.0, 7.0]


def test_drawing_and_logging_count_as_well():
    watching = staged(monitor(log_probes=1, contrast=False), [Level.NO_EVIDENCE])
    watching._overhead._clock = clock = Clock()

    def publish(*args, **kwargs):
        clock.now += 40

    watching._reporter.publish = publish
    run(Case(trainer={"max_epochs": 1}), watching)
    assert watching._overhead.last == 40.0


def test_a_lost_look_took_its_time_too():
    watching = monitor(contrast=False)
    watching._overhead._clock = clock = Clock()

    def fail(*args, **kwargs):
        clock.now += 40
        raise RuntimeError("lost")

    watching._observer.look = fail
    outcome = run(Case(trainer={"max_epochs": 2}), watching)
    assert [value for _, value in outcome.memory.of("camdebug/seconds")] == [40.0, 40.0]
    assert sum("max_overhead" in text for text in outcome.said) == 1


@pytest.mark.parametrize("wrong", [0, -1.0, True, "much", float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"^max_overhead: expected a number above 0, or None, got "):
        CAMMonitor(probes(per_class=1), max_overhead=wrong)
