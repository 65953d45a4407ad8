"""State travels in the user's checkpoint, never harms it, and a resumed training goes on where it stopped."""

import copy
import pickle
import warnings

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from small_training import (
    Case,
    Memory,
    Module,
    Spy,
    differences,
    everything_of,
    from_checkpoint,
    hooks_on,
    looks_taken,
    monitor,
    ours,
    probes,
    run,
    same_state,
    seed,
    train_loader,
    trainer,
    val_loader,
)

KEY = "CAMMonitor{'name': 'camdebug'}"


def first_part(folder, *monitors, epochs=2, logger=False, **options):
    seed(3)
    saver = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    with ours() as said:
        trainer(
            max_epochs=epochs, callbacks=[*monitors, saver], enable_checkpointing=True, logger=logger, **options
        ).fit(Module(), train_loader(), val_loader())
    assert said == []
    return folder / f"epoch={epochs - 1}.ckpt"


def second_part(checkpoint, *callbacks, epochs=4, **options):
    """Resume in a fresh process, as it were: other seeds, other objects."""
    seed(4)
    model, memory = Module(), Memory()
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted = trainer(max_epochs=epochs, callbacks=list(callbacks), **{"logger": memory, **options})
        fitted.fit(model, train_loader(), val_loader(), **from_checkpoint(checkpoint))
    return everything_of(model, fitted, memory), said


@pytest.mark.versions
def test_a_checkpoint_loads_with_weights_only(tmp_path):
    saved = torch.load(first_part(tmp_path, monitor()), weights_only=True)["callbacks"][KEY]
    assert saved["last_epoch"] == 1
    assert saved["metrics"]["camdebug/outside_mass"] > 0
    assert looks_taken(saved) == 2
    assert len(saved["dashboard"]["film"]) == 2


@pytest.mark.versions
def test_a_resumed_training_goes_on_where_it_stopped(tmp_path):
    fixed = probes()
    checkpoint = first_part(tmp_path, monitor(probes=fixed))
    resumed = monitor(probes=fixed)
    spy = Spy(resumed)
    _, said = second_part(checkpoint, resumed, spy)
    state = resumed.state_dict()
    assert said == []
    assert [epoch for epoch, *_ in spy.looks] == [2, 3]
    assert looks_taken(state) == 4
    assert [shot["epoch"] for shot in state["dashboard"]["film"]] == [0, 1, 2, 3]


@pytest.mark.versions
def test_a_resumed_training_has_the_same_bits_whether_the_monitor_stays_comes_or_goes(tmp_path):
    with_it, without = first_part(tmp_path / "with", monitor()), first_part(tmp_path / "without")
    plain, _ = second_part(without)
    for checkpoint, callbacks in ((with_it, [monitor()]), (without, [monitor()]), (with_it, [])):
        state, said = second_part(checkpoint, *callbacks)
        assert differences(plain, state) == []
        assert said == []


def test_an_added_monitor_looks_at_the_first_validation(tmp_path):
    added = monitor()
    spy = Spy(added)
    second_part(first_part(tmp_path), added, spy, epochs=3)
    assert spy.looks == [(2, "val", 15)]


def damaged(state, kind):
    if kind == "nothing of ours":
        return {"spam": 1}
    if kind == "another type":
        return ["spam"]
    if kind == "another version":
        return {**state, "version": 99}
    if kind == "verdicts of another version":
        state["observer"]["judge"]["version"] = 99
    if kind == "metrics that are no numbers":
        state["metrics"] = {"camdebug/outside_mass": "much"}
    if kind == "no epoch":
        state["last_epoch"] = None
    return state


@pytest.mark.parametrize(
    "kind",
    [
        "nothing of ours",
        "another type",
        "another version",
        "verdicts of another version",
        "metrics that are no numbers",
        "no epoch",
    ],
)
def test_a_state_that_cannot_be_used_is_reported_once_and_left_aside(tmp_path, kind):
    checkpoint = first_part(tmp_path, monitor())
    everything = torch.load(checkpoint, weights_only=True)
    everything["callbacks"][KEY] = damaged(everything["callbacks"][KEY], kind)
    torch.save(everything, checkpoint)

    fresh = monitor()
    _, said = second_part(checkpoint, fresh)
    assert len(said) == 1
    assert "camdebug starts afresh, its state in the checkpoint is unusable" in said[0]
    assert looks_taken(fresh.state_dict()) == 2


def test_film_strips_that_cannot_be_used_cost_only_themselves(tmp_path):
    checkpoint = first_part(tmp_path, monitor(log_probes=4))
    resumed = monitor(log_probes=5)
    _, said = second_part(checkpoint, resumed)
    assert len(said) == 1
    assert "film strips" in said[0]
    assert looks_taken(resumed.state_dict()) == 4


def test_a_validation_of_an_earlier_checkpoint_does_not_take_the_monitor_back(tmp_path):
    """Lightning loads the state of callbacks there, too."""
    watching = monitor()
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    fitted, model = trainer(max_epochs=3, callbacks=[watching, saver], enable_checkpointing=True), Module()
    with ours() as said:
        fitted.fit(model, train_loader(), val_loader())
        before = watching.state_dict()["last_epoch"], looks_taken(watching.state_dict())
        fitted.validate(model, val_loader(), ckpt_path=tmp_path / "epoch=0.ckpt", verbose=False)
        assert (watching.state_dict()["last_epoch"], looks_taken(watching.state_dict())) == before == (2, 3)
        fitted.fit_loop.max_epochs = 4
        fitted.fit(model, train_loader(), val_loader())
    assert said == []
    assert looks_taken(watching.state_dict()) == 4


def test_values_that_are_not_finite_or_not_ours_are_not_taken_over():
    found = {"camdebug/outside_mass": float("nan"), "camdebug/seconds": 1.0, "camdebug/x": 2.0, "val_loss": 3.0}
    saved = monitor().state_dict() | {"metrics": found}
    resumed = monitor()
    resumed.load_state_dict(saved)
    assert resumed.state_dict()["metrics"] == {"camdebug/seconds": 1.0}


@pytest.mark.versions
def test_two_monitors_with_different_names_share_a_trainer_and_a_logger(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="tb", version="0")
    one, two = monitor(log_probes=1), monitor(name="second", target_layer="net.conv1", log_probes=1)
    assert one.state_key != two.state_key
    checkpoint = first_part(tmp_path, one, two, logger=logger)

    tags = EventAccumulator(str(tmp_path / "tb" / "0")).Reload().Tags()
    assert {tag.split("/")[0] for tag in tags["images"]} == {"camdebug", "second"}
    assert {"camdebug/outside_mass", "second/outside_mass"} <= set(tags["scalars"])
    assert {"camdebug/facts/text_summary", "second/facts/text_summary"} <= set(tags["tensors"])
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    assert states[one.state_key]["metrics"] != states[two.state_key]["metrics"]
    assert all(key.startswith("second/") for key in states[two.state_key]["metrics"])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_used_monitor_can_be_copied_and_used_again(tmp_path, duplicate):
    watching = monitor()
    logger = TensorBoardLogger(tmp_path, name="tb", version="0")
    first_part(tmp_path, watching, logger=logger)
    double = duplicate(watching)
    assert same_state(double.state_dict()["observer"], watching.state_dict()["observer"])
    assert not same_state(double.state_dict()["observer"], monitor().state_dict()["observer"])
    assert len(double.state_dict()["dashboard"]["film"]) == 2
    assert double._observer.layer is None
    assert "log" not in vars(double)

    outcome = run(Case(), double)
    assert outcome.said == []
    assert differences(run(Case()).state, outcome.state) == []
    assert hooks_on(outcome.model) == 0


def test_a_state_that_cannot_be_saved_does_not_cost_the_checkpoint(tmp_path, monkeypatch):
    from camdebug.verdict.judge import Judge

    monkeypatch.setattr(Judge, "state_dict", lambda self: 1 / 0)
    saver = ModelCheckpoint(tmp_path, filename="{epoch}")
    with ours() as said:
        trainer(max_epochs=2, callbacks=[monitor(), saver], enable_checkpointing=True).fit(
            Module(), train_loader(), val_loader()
        )
    assert len(said) == 2
    assert "saving its state failed (ZeroDivisionError" in said[0]
    assert "saving its state failed 2 times (epochs 0 to 1: ZeroDivisionError" in said[1]
    assert torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)["global_step"] == 10


def test_maps_before_training_are_those_of_the_initial_weights_or_not_known(tmp_path):
    """Weights that a checkpoint brings are not initial, though Lightning counts from 0 when the fit starts."""
    fresh = monitor()
    seen = first_part(tmp_path / "seen", fresh)
    assert fresh.last_record.steadiness.initial is not None
    late, goes_on = monitor(), monitor()
    second_part(first_part(tmp_path / "unseen"), late)
    assert late.last_record.steadiness.initial is None
    second_part(seen, goes_on)
    assert goes_on.last_record.steadiness.initial is not None


def test_the_opening_words_of_a_resumed_training_count_the_epochs_that_are_left(tmp_path, monkeypatch):
    asked = []
    watching = monitor()
    monkeypatch.setattr(watching._observer, "out_of_reach", lambda looks_left: asked.append(looks_left))
    second_part(first_part(tmp_path), watching)
    assert asked == [2]
