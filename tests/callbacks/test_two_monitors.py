"""Two monitors in one Trainer keep to themselves, or are refused before the first step."""

import warnings

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from small_training import (
    CLASSES,
    Case,
    Module,
    differences,
    from_checkpoint,
    hooks_on,
    looks_taken,
    monitor,
    ours,
    probes,
    run,
    train_loader,
    trainer,
    val_loader,
)
from staging import staged

from camdebug import CAMMonitor, Level
from camdebug.callbacks import arguments

pytestmark = pytest.mark.versions

SHARED_NAME = "name: 2 monitors in this Trainer are called 'camdebug'; give each a name of its own, as in CAMMonitor"


class Other(CAMMonitor):
    """Of another type, so that Lightning does not compare its name with a ``CAMMonitor``'s."""


class Brings(Module):
    """Brings two monitors of its own, which Lightning does not compare either."""

    def configure_callbacks(self):
        return [monitor(), monitor(target_layer="net.conv1")]


def first(**options):
    return monitor(contrast=False, **options)


def second(**options):
    return monitor(contrast=False, name="second", target_layer="net.conv1", probes=probes(seed=10), **options)


def logged_by(outcome, name):
    rows = [{k: v for k, v in row.items() if k.startswith(f"{name}/")} for _, row in outcome.memory.rows]
    return [{k: v for k, v in row.items() if k != f"{name}/seconds"} for row in rows if row]


def test_each_finds_what_it_finds_alone_and_the_training_ends_with_the_same_bits():
    stopper = EarlyStopping("second/outside_mass", patience=9)
    without = run(Case())
    both = run(Case(callbacks=lambda: [stopper]), first(), second(every_n_epochs=2))
    assert both.said == []
    assert torch.isfinite(stopper.best_score)
    assert logged_by(both, "camdebug") == logged_by(run(Case(), first()), "camdebug")
    assert logged_by(both, "second") == logged_by(run(Case(), second(every_n_epochs=2)), "second")
    apart = [[row[f"{name}/outside_mass"] for row in logged_by(both, name)] for name in ("camdebug", "second")]
    assert [len(set(values)) for values in apart] == [3, 2]  # the second one looks at epochs 0 and 2
    assert not set(apart[0]) & set(apart[1])
    # "second" counts as the training's own in these two
    assert set(differences(without.state, both.state)) == {"logged", "metrics"}
    assert hooks_on(both.model) == 0


def test_each_tells_of_its_own_alerts_and_one_alone_may_end_the_training():
    quiet, loud = [Level.NO_EVIDENCE] * CLASSES, [Level.CONFIRMED] + [Level.NO_EVIDENCE] * (CLASSES - 1)
    rung = {"camdebug": [], "second": []}
    one = staged(first(on_alert=rung["camdebug"].append), [quiet])
    two = staged(second(on_alert=rung["second"].append, action="stop"), [quiet, loud])
    outcome = run(Case(trainer={"max_epochs": 5}), one, two)
    assert rung["camdebug"] == []
    assert [(alert.level, alert.epoch) for alert in rung["second"]] == [(Level.CONFIRMED, 1)]
    assert outcome.trainer.current_epoch == 2


def test_both_go_on_in_a_resumed_training(tmp_path):
    def pair():
        return [first(), second(every_n_epochs=2)]

    fitted = trainer(callbacks=pair())
    with ours():
        fitted.fit(Module(), train_loader(), val_loader())
        fitted.save_checkpoint(tmp_path / "last.ckpt")
    resumed = pair()
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted = trainer(callbacks=resumed, max_epochs=4)
        fitted.fit(Module(), train_loader(), val_loader(), **from_checkpoint(tmp_path / "last.ckpt"))
    assert said == []
    # epochs 0 to 3, and 0, 1 (the last of the first part), 3
    assert [looks_taken(watching.state_dict()) for watching in resumed] == [4, 3]
    films = [[shot["epoch"] for shot in watching.state_dict()["dashboard"]["film"]] for watching in resumed]
    assert films == [[0, 1, 2, 3], [0, 1, 3]]


def test_the_same_name_twice_in_the_list_is_refused_by_lightning_itself():
    with pytest.raises(RuntimeError, match=r"`CAMMonitor`.* HINT: The `callback.state_key` must be unique"):
        trainer(callbacks=[monitor(), monitor()])


@pytest.mark.parametrize(("model", "callbacks"), [(Module, [Other, CAMMonitor]), (Brings, [])])
def test_the_same_name_that_lightning_lets_through_is_refused_before_the_first_step(model, callbacks):
    learner, fitted = model(), trainer(callbacks=[kind(probes(), verbose=False) for kind in callbacks])
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    with ours(), pytest.raises(ValueError, match=f"^{SHARED_NAME}"):
        fitted.fit(learner, train_loader(), val_loader())
    assert fitted.global_step == 0
    assert all(torch.equal(before[key], value) for key, value in learner.state_dict().items())


def test_without_the_refusal_metrics_and_states_of_the_two_mix(tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "check_own_name", lambda name, taken: None)
    short = {"max_epochs": 1}
    both = run(Case(Brings, trainer=short))
    for options in ({}, {"target_layer": "net.conv1"}):
        alone = run(Case(trainer=short), monitor(**options))
        assert logged_by(both, "camdebug") != logged_by(alone, "camdebug")
    both.trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert list(torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]) == [monitor().state_key]
