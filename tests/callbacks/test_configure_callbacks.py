"""A LightningModule that brings the monitor itself, through ``configure_callbacks``, in both packages."""

import warnings

import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from small_training import (
    Memory,
    Mixin,
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

FIXED = probes()
KEY = "camdebug/outside_mass"


@pytest.fixture(params=[pl, lightning.pytorch], ids=lambda package: package.__name__)
def package(request):
    return request.param


def module(package, *brought):
    """A module of the package that brings these callbacks."""

    class Module(Mixin, package.LightningModule):
        def configure_callbacks(self):
            return list(brought)

    return Module()


def fit(package, *brought, callbacks=(), checkpoint=None, **options):
    seed(1)
    model = module(package, *brought)
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted = trainer(package, callbacks=list(callbacks), **options)
        fitted.fit(model, train_loader(), val_loader(), **(from_checkpoint(checkpoint) if checkpoint else {}))
    assert said == []
    return everything_of(model, fitted, Memory()), fitted


@pytest.mark.versions
def test_the_bits_are_the_same_and_callbacks_of_the_trainer_find_the_metric(package, tmp_path):
    stopper = package.callbacks.EarlyStopping(KEY, patience=9)
    saver = package.callbacks.ModelCheckpoint(tmp_path, filename="best", monitor=KEY)
    saving = {"enable_checkpointing": True}
    without, _ = fit(package)
    under_watch, _ = fit(package, monitor(), callbacks=[stopper, saver], **saving)
    assert differences(without, under_watch) == []
    assert torch.isfinite(stopper.best_score)
    assert saver.best_model_score == stopper.best_score == min(saver.best_k_models.values())
    assert (tmp_path / "best.ckpt").exists()


@pytest.mark.versions
def test_a_resumed_training_goes_on_where_it_stopped(package, tmp_path):
    _, fitted = fit(package, monitor(probes=FIXED))
    fitted.save_checkpoint(tmp_path / "last.ckpt")
    resumed = monitor(probes=FIXED)
    fit(package, resumed, max_epochs=4, checkpoint=tmp_path / "last.ckpt")
    assert looks_taken(resumed.state_dict()) == 4
    assert [shot["epoch"] for shot in resumed.state_dict()["dashboard"]["film"]] == [0, 1, 2, 3]


def test_the_modules_monitor_takes_the_place_of_the_trainers_whatever_their_names():
    """Lightning replaces callbacks of the same type; to have both, give both to one side."""
    trainers, modules = monitor(name="trainers"), monitor(name="modules")
    _, fitted = fit(pl, modules, callbacks=[trainers])
    assert trainers not in fitted.callbacks
    assert trainers.last_record is None
    assert modules.last_record.epoch == 1
    assert {name.split("/")[0] for name in fitted.callback_metrics if "outside_mass" in name} == {"modules"}


def test_a_module_may_bring_two_with_different_names():
    _, fitted = fit(pl, monitor(), monitor(name="second"))
    assert {KEY, "second/outside_mass"} <= set(fitted.callback_metrics)


def test_a_module_that_is_trained_twice_starts_afresh():
    kept = monitor()
    for _ in range(2):
        fit(pl, kept)
        assert looks_taken(kept.state_dict()) == 2


@pytest.mark.parametrize(("module_brings_average", "seen"), [(False, "current"), (True, "averaged")])
def test_the_weights_that_are_seen_are_told_truthfully(capsys, module_brings_average, seen):
    """A module's callbacks come after the Trainer's, whose moving average has then put the trained weights back."""
    average = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging").EMAWeightAveraging(decay=0.5)
    trained, same = [], []

    class Witness(pl.Callback):
        def on_validation_start(self, fitted, learner):
            trained.append(learner.net.head.weight.detach().clone())

    watching = monitor(verbose=True)
    look = watching._look

    def witnessed(fitted, learner, **hook):
        same.append(torch.equal(learner.net.head.weight, trained[-1]))
        look(fitted, learner, **hook)

    watching._look = witnessed
    callbacks = [Witness()] if module_brings_average else [Witness(), average]
    fit(pl, watching, *([average] if module_brings_average else []), callbacks=callbacks)
    assert f"{seen} weights" in capsys.readouterr().out
    assert same == [seen == "current"] * 2
