"""A checkpoint of other probes: the fit ends before its first step, or a new series begins; never silently."""

import re
import warnings

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from small_training import (
    Memory,
    Module,
    differences,
    everything_of,
    from_checkpoint,
    looks_taken,
    monitor,
    ours,
    probes,
    seed,
    train_loader,
    trainer,
    val_loader,
)

from camdebug import load_record
from camdebug.observe.other_probes import other_probes

KEY = "CAMMonitor{'name': 'camdebug'}"
NOW, THEN = probes(per_class=5), probes(per_class=4, seed=10)
DIFFERENCE = (
    f"the checkpoint was made with another probe set ({THEN.fingerprint[:12]}) than this one "
    f"({NOW.fingerprint[:12]}): 16 probes then, 20 now"
)
REFUSAL = (
    f"probes: {DIFFERENCE}; looks at different probes cannot be compared. Pass the same probes (ProbeSet.save keeps "
    'them), or CAMMonitor(..., other_probes="restart") to begin a new series'
)


def small(fixed, **options):
    return monitor(probes=fixed, contrast=False, log_probes=1, **options)


class Steps(Callback):
    """Counts what a fit has begun."""

    batches = 0

    def on_train_batch_start(self, *_):
        self.batches += 1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of two epochs with the probes of then."""
    seed(3)
    fitted = trainer(callbacks=small(THEN), max_epochs=2)
    with ours() as said:
        fitted.fit(Module(), train_loader(), val_loader())
        fitted.save_checkpoint(path := tmp_path_factory.mktemp("then") / "then.ckpt")
    assert said == []
    return path


def resume(checkpoint, *callbacks, **options):
    """Go on to the fourth epoch; the state of everything, what was said, and what the fit raised."""
    seed(4)
    model, memory, raised = Module(), Memory(), None
    fitted = trainer(**{"callbacks": list(callbacks), "max_epochs": 4, "logger": memory, **options})
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        try:
            fitted.fit(model, train_loader(), val_loader(), **from_checkpoint(checkpoint))
        except ValueError as error:
            raised = str(error)
    return everything_of(model, fitted, memory) if raised is None else None, said, raised


@pytest.mark.versions
def test_a_fit_on_other_probes_is_refused_before_its_first_step(checkpoint, tmp_path):
    before, steps = checkpoint.read_bytes(), Steps()
    _, said, raised = resume(checkpoint, small(NOW, record=tmp_path / "record"), steps)
    assert raised == REFUSAL
    assert (said, steps.batches) == ([], 0)
    assert checkpoint.read_bytes() == before
    assert not (tmp_path / "record").exists()


class LoadsLate(SingleDeviceStrategy):
    """As those that shard do: checkpoints are loaded after ``on_fit_start``."""

    restore_checkpoint_after_setup = True


@pytest.mark.versions
def test_it_is_refused_before_its_first_step_too_where_checkpoints_are_loaded_late(checkpoint):
    steps = Steps()
    _, said, raised = resume(checkpoint, small(NOW), steps, strategy=LoadsLate())
    assert (raised, said, steps.batches) == (REFUSAL, [], 0)
    _, said, raised = resume(checkpoint, going_on := small(THEN), steps, strategy=LoadsLate())
    assert (raised, said, steps.batches, looks_taken(going_on.state_dict())) == (None, [], 10, 4)


@pytest.mark.versions
def test_a_new_series_begins_when_asked_for_and_is_said_once(checkpoint, tmp_path):
    anew = small(NOW, other_probes="restart", record=tmp_path / "record")
    state, said, raised = resume(checkpoint, anew)
    assert (said, raised) == ([f"camdebug begins a new series: {DIFFERENCE}."], None)
    assert looks_taken(anew.state_dict()) == 2
    assert [shot["epoch"] for shot in anew.state_dict()["dashboard"]["film"]] == [2, 3]
    assert load_record(tmp_path / "record").epochs == (2, 3)
    assert differences(resume(checkpoint)[0], state) == []


def test_the_record_of_the_earlier_series_stays_as_it_is(tmp_path):
    with ours():
        first = trainer(callbacks=small(THEN, record=tmp_path / "record"), max_epochs=1)
        first.fit(Module(), train_loader(), val_loader())
        first.save_checkpoint(tmp_path / "then.ckpt")
    _, said, _ = resume(tmp_path / "then.ckpt", small(NOW, other_probes="restart", record=tmp_path / "record"))
    assert len(said) == 2
    assert "holds the record of another run" in said[1]
    assert load_record(tmp_path / "record").epochs == (0,)
    assert load_record(tmp_path / "record-1").manifest.probe_fingerprint == NOW.fingerprint


def test_after_a_refusal_the_same_monitor_may_begin_a_fit_of_its_own(checkpoint):
    refused = small(NOW)
    assert resume(checkpoint, refused)[2] == REFUSAL
    with ours() as said:
        trainer(callbacks=refused, max_epochs=1).fit(Module(), train_loader(), val_loader())
    assert (said, looks_taken(refused.state_dict())) == ([], 1)


@pytest.mark.versions
def test_states_from_before_the_number_of_probes_was_kept_go_on_or_are_refused_alike(checkpoint, tmp_path):
    everything = torch.load(checkpoint, weights_only=True)
    del everything["callbacks"][KEY]["observer"]["probes"]
    torch.save(everything, tmp_path / "older.ckpt")
    going_on = small(THEN)
    assert resume(tmp_path / "older.ckpt", going_on)[1:] == ([], None)
    assert looks_taken(going_on.state_dict()) == 4
    raised = resume(tmp_path / "older.ckpt", small(NOW))[2]
    assert raised == REFUSAL.replace("16 probes then, 20 now", "pictures, labels or annotations differ")


def told_of(**changes):
    """The difference that is told of a state of four kinds; what it was made with comes first."""
    state = {"fingerprint": "a" * 64, "probes": 20, "judge": {"names": list(NOW.class_names)}, **changes}
    return other_probes(state, NOW).partition("): ")[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "pictures, labels or annotations differ"),
        ({"probes": 7}, "7 probes then, 20 now"),
        ({"judge": {"names": ["kind 0"]}}, "1 class name then, 4 now (with kind 1, kind 2, kind 3)"),
        ({"judge": {"names": [f"kind {k}" for k in (1, 0, 2, 3)]}}, "classes are in another order"),
        (
            {"probes": 1, "judge": {"names": ["kind 0", "kind 1", "kind 2", "\x1b[2Jcat"]}},
            "1 probe then, 20 now and 4 class names then, 4 now (without [2Jcat, with kind 3)",
        ),
        ({"probes": "many", "judge": {"names": [3]}}, "pictures, labels or annotations differ"),
        ({"probes": True, "judge": None}, "pictures, labels or annotations differ"),
    ],
)
def test_what_has_changed_is_told_as_far_as_the_state_can_tell(changes, words):
    assert told_of(**changes) == words


@pytest.mark.parametrize("state", [{}, None, 3, torch.zeros(3), {"fingerprint": "x"}, {"fingerprint": torch.ones(2)}])
def test_a_state_without_a_fingerprint_is_of_no_other_probes(state):
    assert other_probes(state, NOW) is None


def test_the_same_probes_are_no_others():
    assert other_probes({"fingerprint": NOW.fingerprint, "probes": 3}, NOW) is None


def test_a_wrong_argument_is_refused_by_name():
    words = re.escape("other_probes: expected one of 'refuse', 'restart', got 'go on'")
    with pytest.raises(ValueError, match=f"^{words}$"):
        small(NOW, other_probes="go on")
