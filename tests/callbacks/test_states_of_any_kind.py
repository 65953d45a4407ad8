"""Whatever stands in a checkpoint: it is taken whole or not at all, nothing is raised, and the training is the same."""

import copy
import math
from functools import lru_cache

import pytest
import torch
from faulty import EPOCHS, case_of, undisturbed, watch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import (
    Module,
    differences,
    looks_taken,
    ours,
    run,
    same_state,
    seed,
    train_loader,
    trainer,
    val_loader,
)

AFRESH = "camdebug starts afresh, its state in the checkpoint is unusable"


@pytest.fixture(scope="module")
def real():
    """The state of a monitor after a training."""
    seed(1)
    watching = watch(log_probes=2)
    with ours() as said:
        trainer(callbacks=watching, max_epochs=EPOCHS).fit(Module(), train_loader(), val_loader())
    assert said == []
    return watching.state_dict()


@lru_cache
def used_again():
    return watch(log_probes=2)


def loaded(state):
    """A monitor at the beginning of a run that has loaded a copy of the state, and what it said."""
    fresh = used_again()
    fresh._forget()
    with ours() as said:
        fresh.load_state_dict(copy.deepcopy(state))
    return fresh, said


def put(state, *path_and_value):
    *path, key, value = path_and_value
    changed = place = copy.deepcopy(state)
    for step in path:
        place = place[step]
    place[key] = value
    return changed


MEMORY = ("observer", "judge", "memory", 0)
CORRUPT = {
    "a truncated state": lambda s: dict(list(s.items())[:3]),
    "an empty state": lambda s: {},
    "a number": lambda s: 7,
    "a tensor": lambda s: torch.zeros(3),
    "another version": lambda s: put(s, "version", 99),
    "a version that is a tensor": lambda s: put(s, "version", torch.tensor([1, 1])),
    "a negative epoch": lambda s: put(s, "last_epoch", -7),
    "an epoch beyond all reason": lambda s: put(s, "last_epoch", 10**30),
    "an epoch that is no number": lambda s: put(s, "last_epoch", float("nan")),
    "metrics that are a list": lambda s: put(s, "metrics", [1.0]),
    "verdicts of another version": lambda s: put(s, "observer", "judge", "version", 2),
    "verdicts of other classes": lambda s: put(s, "observer", "judge", "names", ["a", "b"]),
    "a level that does not exist": lambda s: put(s, *MEMORY, "level", "certain"),
    "a streak that is text": lambda s: put(s, *MEMORY, "streak", "long"),
    "a negative streak": lambda s: put(s, *MEMORY, "streak", -1),
    "a peak that is NaN": lambda s: put(s, *MEMORY, "evidence_peak", math.nan),
    "a field that does not exist": lambda s: put(s, *MEMORY, "colour", "red"),
    "the memory of a class that does not exist": lambda s: put(
        s, "observer", "judge", "memory", s["observer"]["judge"]["memory"] * 2
    ),
    "a budget that is NaN": lambda s: put(s, "observer", "judge", "screening", [math.nan, 1]),
    "a huge number of looks": lambda s: put(s, "observer", "judge", "screening", [0.0, 10**400]),
    "a plan with a negative count": lambda s: put(s, "observer", "judge", "plan", "measured", -1),
    "maps of another dtype": lambda s: put(
        s, "observer", "steadiness", "initial", "maps", torch.zeros(20, 8, 8, dtype=torch.float64)
    ),
    "maps that are NaN": lambda s: put(
        s, "observer", "steadiness", "previous", "maps", torch.full((20, 8, 8), math.nan).half()
    ),
    "maps of other probes": lambda s: put(s, "observer", "steadiness", "initial", "maps", torch.zeros(3, 8, 8).half()),
    "an id of a run that is none": lambda s: put(s, "run_id", "../x"),
    "an id of a run that is a list": lambda s: put(s, "run_id", ["a"]),
    "a fingerprint that is none": lambda s: put(s, "observer", "fingerprint", "0" * 63),
    "no fingerprint": lambda s: put(s, "observer", "fingerprint", None),
}


@pytest.mark.parametrize("fault", CORRUPT)
def test_a_state_that_cannot_be_used_is_said_once_and_nothing_of_it_is_kept(real, fault):
    fresh, said = loaded(CORRUPT[fault](real))
    assert len(said) == 1
    assert AFRESH in said[0]
    assert same_state(*map(unnamed, (fresh.state_dict(), watch(log_probes=2).state_dict())))


def unnamed(state):
    """Without the id of the run, which is another one each time."""
    return {key: value for key, value in state.items() if key != "run_id"}


PARTS = {
    "film of another dtype": (("dashboard", "film", 0, "density"), lambda v: v.double(), "film strips"),
    "film without an epoch": (("dashboard", "film", 0, "epoch"), lambda v: None, "film strips"),
    "film in no order": (("dashboard", "film", 0, "epoch"), lambda v: 99, "film strips"),
    "film of other probes": (("dashboard", "logged"), lambda v: [3, 4], "film strips"),
    "a negative number of drawn looks": (("dashboard", "looks"), lambda v: -1, "film strips"),
    "alerts of no level": (("alerts", "told"), lambda v: {0: {"highest": "x", "repeats": 0}}, "alerts"),
    "a negative number of alerts": (("alerts", "told"), lambda v: {0: {"highest": "watch", "repeats": -9}}, "alerts"),
}


@pytest.mark.parametrize("fault", PARTS)
def test_a_part_that_cannot_be_used_costs_only_itself(real, fault):
    path, change, part = PARTS[fault]
    value = real
    for step in path:
        value = value[step]
    fresh = used_again()
    fresh._forget()
    with ours() as said:
        fresh.load_state_dict(put(real, *path, change(value)))
        fresh._reporter.open([], method="hirescam", layer=Layer, weights="current")
    assert len(said) == 1
    assert f"going on with the {part} of the checkpoint failed" in said[0]
    state = fresh.state_dict()
    assert same_state(state["observer"], real["observer"])
    assert state["alerts"] == {"told": {}}
    assert len(state["dashboard"]["film"]) == (EPOCHS if part == "alerts" else 0)


class Layer:
    name, reason = "net.conv2", ""


# A real state, changed at a random place


def places_in(state, path=()):
    """The paths to all values, those of containers too."""
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    found = []
    for key, value in pairs:
        found += [(*path, key), *places_in(value, (*path, key))]
    return found


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400]),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.sampled_from([[], {}, [[]], {"spam": 1}, {1: 2}, (), {1, 2}]),
    st.sampled_from([torch.zeros(0), torch.zeros(3), torch.full((2, 8, 8), math.nan), torch.ones(20, 8, 8).bool()]),
    st.sampled_from([torch.zeros(2, 8, 8, device="meta"), torch.zeros(20, 8, 8).half().to_sparse()]),
)


@settings(max_examples=60)
@given(data=st.data())
def test_a_state_that_was_changed_anywhere_is_taken_as_a_whole_or_not_at_all(real, data):
    path = data.draw(st.sampled_from(places_in(real)))
    changed = put(real, *path, data.draw(STRANGE))
    fresh, said = loaded(changed)
    state = fresh.state_dict()
    if said and AFRESH in said[0]:
        assert len(said) == 1
        assert same_state(*map(unnamed, (state, watch(log_probes=2).state_dict())))
    else:
        assert state["observer"].keys() == real["observer"].keys()
        untouched = [name for name in ("observer", "metrics") if path[0] != name]
        assert all(same_state(state[name], real[name]) for name in untouched)
        assert looks_taken(state) >= 0
        assert all(math.isfinite(v) and k.startswith("camdebug/") for k, v in state["metrics"].items())


def resumed(state):
    """A monitor that gets the state right after ``setup``, as Lightning hands it over, and its training."""
    watching = watch(log_probes=2)
    set_up = watching.setup

    def setup(*args, **kwargs):
        set_up(*args, **kwargs)
        watching.load_state_dict(state)

    watching.setup = setup
    return watching, run(case_of(), watching)


@pytest.mark.parametrize("fault", ["a streak that is text", "an epoch beyond all reason", "maps that are NaN"])
def test_a_training_goes_on_the_same_after_a_state_that_cannot_be_used(real, fault):
    watching, outcome = resumed(CORRUPT[fault](real))
    assert len(outcome.said) == 1
    assert differences(undisturbed().state, outcome.state) == []
    assert watching.last_record.epoch == 1


def test_a_state_of_a_later_epoch_does_not_keep_looks_away(real):
    """A run that has gone back, as a user may do who keeps a monitor's state and not the Trainer's."""
    watching, outcome = resumed(put(real, "last_epoch", 10**6))
    assert outcome.said == []
    assert differences(undisturbed().state, outcome.state) == []
    assert watching.last_record.epoch == 1
