"""Metrics reach EarlyStopping, ModelCheckpoint, schedulers and loggers: in time, finite, once an epoch."""

import csv
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from small_training import (
    CLASSES,
    Case,
    Memory,
    Module,
    differences,
    monitor,
    ours,
    probes,
    run,
    train_loader,
    trainer,
    val_loader,
)
from staging import staged
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from camdebug.records import Level

KEY = "camdebug/outside_mass"


class FailsInLooks(Module):
    """Training batches have 8 pictures, chunks of a look 5."""

    def forward(self, x):
        if len(x) == 5:
            raise RuntimeError("no five")
        return self.net(x)


class WithPlateau(Module):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.05)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "camdebug/log_density_ratio"}}


def fit(callbacks, *, model=None, validation=True, **options):
    with ours() as said:
        fitted = trainer(callbacks=callbacks, **{"max_epochs": 3, **options})
        fitted.fit(model or Module(), train_loader(), val_loader() if validation else None)
    return fitted, said


@pytest.mark.versions
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("monitor_first", [True, False])
def test_monitoring_callbacks_find_the_metric_from_the_first_epoch_on(tmp_path, validation, monitor_first):
    watching, memory = monitor(), Memory()
    best = ModelCheckpoint(tmp_path, monitor=KEY, save_top_k=-1)
    stopper = EarlyStopping(KEY, patience=9, check_finite=True, strict=True)
    callbacks = [watching, stopper, best] if monitor_first else [stopper, best, watching]

    _, said = fit(callbacks, validation=validation, enable_checkpointing=True, logger=memory)

    values = [value for _, value in memory.of(KEY)]
    assert said == []
    assert len(values) == 3
    assert float(stopper.best_score) == min(values)
    assert sorted(float(v) for v in best.best_k_models.values()) == sorted(values)
    assert values[-1] == pytest.approx(sum(c.outside_mass for c in watching.last_record.classes) / CLASSES)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_callbacks_that_monitor_swaps_and_confirmed_classes_find_them_from_the_first_epoch_on(tmp_path, monitor_first):
    story = [Level.NO_EVIDENCE, [Level.CONFIRMED] * 2 + [Level.WATCH] * 2, Level.NO_EVIDENCE]
    watching, memory = staged(monitor(), story), Memory()
    stopper = EarlyStopping("camdebug/swap_gap", patience=9, check_finite=True, strict=True)
    best = ModelCheckpoint(tmp_path, monitor="camdebug/confirmed_classes", save_top_k=-1)
    callbacks = [watching, stopper, best] if monitor_first else [stopper, best, watching]

    _, said = fit(callbacks, enable_checkpointing=True, logger=memory)

    gaps = [value for _, value in memory.of("camdebug/swap_gap")]
    assert len(gaps) == 3
    assert float(stopper.best_score) == min(gaps)
    last = [s.gap for s in watching.last_record.swaps for _ in s.classes]
    assert gaps[-1] == pytest.approx(sum(last) / len(last))
    assert [value for _, value in memory.of("camdebug/confirmed_classes")] == [0.0, 2.0, 0.0]
    assert sorted(float(v) for v in best.best_k_models.values()) == [0.0, 0.0, 2.0]
    assert all("epoch 1" in text or "epoch 2" in text for text in said)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_early_stopping_ends_a_training_at_a_swap_gap(monitor_first):
    stopper = EarlyStopping("camdebug/swap_gap", mode="max", patience=9, stopping_threshold=-1.0)
    callbacks = [monitor(), stopper] if monitor_first else [stopper, monitor()]
    fitted, said = fit(callbacks, max_epochs=9)
    assert (fitted.current_epoch, said) == (1, [])


def test_a_swap_gap_that_is_never_measured_stands_at_chance():
    memory = Memory()
    watching = monitor(contrast=False)
    fitted, said = fit([watching, EarlyStopping("camdebug/swap_gap", patience=9)], logger=memory)
    assert fitted.current_epoch == 3
    assert [value for _, value in memory.of("camdebug/swap_gap")] == [0.0] * 3
    assert len(said) == 1
    assert "camdebug/swap_gap" in said[0]
    assert "a monitor waits for it" in said[0]


@pytest.mark.versions
def test_early_stopping_stops_at_the_metric(tmp_path):
    stopper = EarlyStopping(KEY, patience=0, min_delta=2.0, mode="min")
    fitted, said = fit([stopper, monitor()], max_epochs=9)
    assert (fitted.current_epoch, said) == (2, [])


def test_a_checkpoint_at_the_end_of_the_training_epoch_finds_the_metric(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="camdebug/suspect_classes", save_on_train_epoch_end=True)
    _, said = fit([best, monitor()], enable_checkpointing=True)
    assert (float(best.best_model_score), said) == (0.0, [])


@pytest.mark.versions
def test_validations_in_the_middle_find_the_metric(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor=KEY, save_top_k=-1)
    _, said = fit([best, monitor()], enable_checkpointing=True, val_check_interval=0.4)
    assert len(best.best_k_models) == 6
    assert said == []


@pytest.mark.parametrize("validation", [True, False])
def test_a_plateau_scheduler_finds_the_metric(validation):
    fitted, said = fit([monitor()], model=WithPlateau(), validation=validation)
    value = float(fitted.callback_metrics["camdebug/log_density_ratio"])
    assert fitted.lr_scheduler_configs[0].scheduler.best <= value
    assert said == []


def test_when_every_look_fails_a_monitored_metric_stands_at_chance_and_training_is_the_same(tmp_path):
    def guards():
        return [EarlyStopping(KEY, patience=9), ModelCheckpoint(tmp_path, monitor="camdebug/log_density_ratio")]

    options = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    without = run(Case(FailsInLooks, trainer=options))
    outcome = run(Case(FailsInLooks, trainer=options, callbacks=guards), monitor())

    assert differences(without.state, outcome.state) == []
    assert [value for _, value in outcome.memory.of(KEY)] == pytest.approx([1 - 49 / 256] * 3)
    assert {value for _, value in outcome.memory.of("camdebug/log_density_ratio")} == {0.0}
    lost, stand_in, closing = outcome.said
    assert "lost its look at epoch 0: RuntimeError: no five (test_monitors_and_steps.py:" in lost
    assert "camdebug/log_density_ratio, camdebug/outside_mass" in stand_in
    assert closing == "camdebug, in sum: lost 3 of 3 looks (epochs 0 to 2: RuntimeError: no five)."


def test_a_look_that_succeeds_later_replaces_what_stood_in():
    class FailsFirst(FailsInLooks):
        def forward(self, x):
            return super().forward(x) if self.current_epoch == 0 else self.net(x)

    memory = Memory()
    _, said = fit([monitor(), EarlyStopping(KEY, patience=9)], model=FailsFirst(), logger=memory)
    values = [value for _, value in memory.of(KEY)]
    assert values[0] == pytest.approx(1 - 49 / 256)
    assert len(set(values)) == 3
    assert len(said) == 2


def test_a_model_that_diverged_logs_nothing_that_is_not_finite():
    class Diverges(Module):
        def forward(self, x):
            return self.net(x) * (float("nan") if self.current_epoch else 1.0)

    memory = Memory()
    fitted, _ = fit([monitor(), EarlyStopping(KEY, patience=9)], model=Diverges(), logger=memory)
    ours_logged = [v for _, row in memory.rows for k, v in row.items() if k.startswith("camdebug/")]
    assert fitted.current_epoch == 3
    assert len(memory.of(KEY)) == 3
    assert all(math.isfinite(v) for v in ours_logged)


def test_metrics_are_named_as_promised():
    memory = Memory()
    names = ["grey wolf", "café", "a/b", "猫"]
    fit([monitor(probes=probes(class_names=names))], logger=memory)
    keys = {k for _, row in memory.rows for k in row if k.startswith("camdebug/")}
    assert {KEY, "camdebug/log_density_ratio", "camdebug/suspect_classes", "camdebug/background_evidence"} <= keys
    slugs = {k.split("/")[2] for k in keys if k.startswith("camdebug/class/")}
    assert {"grey-wolf", "cafe", "a-b"} < slugs
    assert len(slugs) == 4
    assert all(k.isascii() for k in keys)
    assert {k.rsplit("/", 1)[1] for k in keys if "/class/cafe/" in k} >= {"outside_mass", "log_density_ratio", "recall"}


def test_between_looks_the_last_values_are_logged_again():
    memory = Memory()
    fit([monitor(every_n_epochs=2)], logger=memory, max_epochs=4)
    (_, first), (_, again), (_, second), (_, last) = memory.of(KEY)
    assert first == again
    assert len({first, second, last}) == 3


def test_what_callbacks_see_is_what_the_last_look_found_wherever_it_was_taken():
    watching = monitor()
    fitted, _ = fit([watching], check_val_every_n_epoch=2, max_epochs=3)
    expected = sum(c.outside_mass for c in watching.last_record.classes) / CLASSES
    assert watching.last_record.epoch == 2
    assert float(fitted.callback_metrics[KEY]) == pytest.approx(expected)


@pytest.mark.versions
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [4, 9, 14]),
        ({"limit_val_batches": 0}, [4, 9, 14]),
        ({"val_check_interval": 0.4}, [1, 8, 13]),
        ({"check_val_every_n_epoch": 2}, [4, 9, 14]),
        ({"accumulate_grad_batches": 2}, [2, 5, 8]),
    ],
)
def test_scalars_and_pictures_stand_once_an_epoch_at_lightnings_own_step(tmp_path, options, steps):
    loggers = [CSVLogger(tmp_path, name="csv", version="0"), TensorBoardLogger(tmp_path, name="tb", version="0")]
    _, said = fit([monitor(log_probes=1)], logger=loggers, log_every_n_steps=1, **options)

    with open(tmp_path / "csv" / "0" / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row[KEY]]
    events = EventAccumulator(str(tmp_path / "tb" / "0"), size_guidance={"images": 0, "scalars": 0}).Reload()
    (overlay,) = [tag for tag in events.Tags()["images"] if "/probe/" in tag]
    (strip,) = [tag for tag in events.Tags()["images"] if "/filmstrip/" in tag]
    assert said == []
    assert [int(row["step"]) for row in rows] == steps
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert [event.step for event in events.Scalars(KEY)] == steps
    assert [event.step for event in events.Images(overlay)] == steps
    assert [event.step for event in events.Images(strip)] == steps


def test_training_without_any_logger():
    assert fit([monitor()], logger=False)[1] == []


@pytest.mark.versions
def test_a_barebones_trainer_that_logs_nothing_is_not_nagged():
    class Silent(Module):
        def log(self, name, *args, **kwargs):
            if name.startswith("camdebug/"):
                super().log(name, *args, **kwargs)

    watching = monitor()
    with ours() as said:
        fitted = pl.Trainer(barebones=True, max_epochs=1, accelerator="cpu", devices=1, callbacks=watching)
        fitted.fit(Silent(), train_loader())
    assert said == []
    assert watching.last_record is not None
