"""A Trainer that is unlike what we know, arguments that do not fit, and our own code: the training is the same."""

import logging
import sys
import warnings
from io import StringIO

import pytest
import pytorch_lightning as pl
import torch
from faulty import CHUNK, Fails, NoForward, both_looks, case_of, disturbed, raising, undisturbed, watch
from small_training import (
    LIGHTNING_CHATTER,
    Case,
    Module,
    differences,
    hooks_on,
    monitor,
    ours,
    probes,
    run,
    train_loader,
    trainer,
    val_loader,
)

from camdebug.callbacks import cam_monitor, metric_log, reporter, stopper, trainer_facts
from camdebug.cam import explain
from camdebug.observe import observer


class GivesProbabilities(Module):
    def forward(self, x):
        return self.net(x).softmax(1)


def test_a_model_that_gives_probabilities_is_told_that_they_are_taken_for_logits():
    outcome = run(Case(GivesProbabilities), monitor())
    assert len(outcome.said) == 1
    assert "they look like probabilities" in outcome.said[0]
    assert "return logits from forward" in outcome.said[0]


def test_a_monitor_that_is_off_still_feeds_what_waits_for_it():
    stopper = pl.callbacks.EarlyStopping("camdebug/suspect_classes", patience=9)
    outcome = run(Case(NoForward, callbacks=lambda: [stopper]), monitor())
    assert outcome.trainer.current_epoch == 3
    assert [value for _, value in outcome.memory.of("camdebug/suspect_classes")] == [0.0] * 3
    assert len(outcome.said) == 2


@pytest.mark.versions
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_layer": "net.conv9"}, "target_layer: .*did you mean net.conv"),
        ({"target_layer": "net.head"}, "target_layer: "),
        ({"target_layer": torch.nn.Conv2d(3, 6, 3)}, "target_layer: .* not a part of the model"),
        ({"probes": probes(classes=6)}, "probes: have 6 classes, but the model gives 4 scores"),
    ],
)
def test_a_wrong_argument_ends_the_fit_before_the_first_step(options, words):
    fitted, model = trainer(callbacks=monitor(**options)), Module()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with ours(), pytest.raises(ValueError, match=words):
        fitted.fit(model, train_loader(), val_loader())
    assert fitted.global_step == 0
    assert hooks_on(model) == 0
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "broken",
    [
        *("is_fitting", "is_last_validation", "is_last_epoch", "looks_left", "logger_step", "monitored_names"),
        *(
            "names_of",
            "weights_seen",
            "TrainerPrecision",
            "logging_off",
        ),
    ],
)
def test_a_trainer_that_answers_in_an_unknown_way_is_trained_all_the_same(monkeypatch, broken):
    undisturbed()
    monkeypatch.setattr(trainer_facts, broken, raising(AttributeError(f"Trainer has no {broken}")))
    outcome = run(case_of(), watch(every_n_epochs=2))
    assert outcome.said
    assert all(f"no {broken}" in text for text in outcome.said)
    assert differences(undisturbed().state, outcome.state) == []


def test_a_strategy_that_cannot_be_told_switches_the_monitor_off(monkeypatch):
    monkeypatch.setattr(trainer_facts, "unsupported_strategy", raising(KeyError("tensor_parallel")))
    watching = watch()
    outcome = run(case_of(), watching)
    assert watching.last_record is None
    assert any("camdebug is off in this run: its strategy cannot be told" in text for text in outcome.said)
    assert differences(undisturbed().state, outcome.state) == []


@pytest.mark.versions
def test_a_module_that_refuses_our_metrics_is_trained_all_the_same():
    class Refuses(Module):
        def log(self, name, *args, **kwargs):
            if name.startswith("camdebug/"):
                raise ValueError("not in my house")
            super().log(name, *args, **kwargs)

    without, outcome = run(Case(Refuses)), run(Case(Refuses), monitor())
    first, closing = outcome.said
    assert "logging metrics failed (ValueError: not in my house)" in first
    assert "logging metrics failed 3 times (epochs 0 to 2: ValueError: not in my house)" in closing
    assert differences(without.state, outcome.state) == []


def test_a_training_under_warnings_as_errors_ends_well(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in LIGHTNING_CHATTER:
            warnings.filterwarnings("ignore", text)
        fitted = trainer(callbacks=monitor(chunk_size=CHUNK))
        fitted.fit(Fails(), train_loader(), val_loader())
    assert fitted.current_epoch == 2
    assert "CamdebugWarning: camdebug lost its look at epoch 0" in capsys.readouterr().err


# Our own code

IN_A_LOOK = {
    "the maps": (explain, "explain"),
    "the measures": (observer, "localisation_scores"),
    "the means of classes": (observer, "class_scores"),
    "the verdict": (observer.Judge, "judge"),
    "the steadiness check": (observer.Steadiness, "check"),
    "the record": (observer, "EpochRecord"),
    "the copy of the judge": (observer.Judge, "__deepcopy__"),
    "the metrics": (metric_log, "metrics_of"),
    "lending the model": (cam_monitor.Looker, "_borrow"),
}


AT_THE_START = ("the maps", "lending the model")
"""These are needed before the first step as well."""


@pytest.mark.parametrize("fault", [name for name in IN_A_LOOK if name not in AT_THE_START])
def test_a_fault_of_our_own_costs_the_looks(monkeypatch, fault):
    undisturbed()
    monkeypatch.setattr(*IN_A_LOOK[fault], raising(ZeroDivisionError("ours")), raising=False)
    disturbed(said=both_looks("ZeroDivisionError: ours"))


@pytest.mark.parametrize("fault", AT_THE_START)
def test_a_fault_in_what_is_needed_at_the_start_switches_the_monitor_off(monkeypatch, fault):
    undisturbed()
    monkeypatch.setattr(*IN_A_LOOK[fault], raising(ZeroDivisionError("ours")))
    disturbed(said=[r"camdebug is off in this run: it cannot explain this model \(ZeroDivisionError: ours\)"])


AROUND_A_LOOK = {
    "setting up": (cam_monitor.CAMMonitor, "_forget", ["setting up failed"]),
    "opening the dashboards": (reporter, "Dashboard", ["opening the dashboards failed"]),
    "the opening words": (cam_monitor.opening, "opening_words", ["starting failed"]),
    "noting who is confirmed": (stopper, "_newly_confirmed", ["noting who is confirmed failed", "2 times"]),
    "the verdict in words": (reporter, "run_report", ["logging a look failed", "logging a look failed 2 times"]),
    "the alerts": (reporter, "alerts_of", ["alerting failed", "alerting failed 2 times"]),
    "the step": (trainer_facts, "logger_step", ["reporting a look", "logging metrics", "2 times.* 2 times"]),
}


@pytest.mark.parametrize("fault", AROUND_A_LOOK)
def test_a_fault_of_our_own_around_a_look_costs_only_what_it_is_about(monkeypatch, fault):
    undisturbed()
    watching = watch()
    where, name, said = AROUND_A_LOOK[fault]
    monkeypatch.setattr(where, name, raising(ZeroDivisionError("ours")))
    disturbed(Module, watching, said=said)
    assert watching.last_record.epoch == 1


# What the host program did to us


def test_a_clock_that_goes_backwards(monkeypatch):
    undisturbed()
    ticks = iter(range(10**9, 0, -1))
    monkeypatch.setattr(observer.time, "perf_counter", lambda: next(ticks))
    watching = watch()
    disturbed(Module, watching)
    assert watching.last_record.seconds < 0


def test_closed_streams(monkeypatch):
    undisturbed()
    closed = StringIO()
    closed.close()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, closed)
    watching = watch(verbose=True)
    disturbed(Fails, watching, said=both_looks("RuntimeError: no five"), without=undisturbed())


def test_streams_that_are_gone(monkeypatch):
    undisturbed()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    disturbed(Fails, watch(verbose=True), said=both_looks("RuntimeError: no five"), without=undisturbed())


def test_a_handler_of_warnings_that_fails(monkeypatch, capsys):
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", raising(OSError("no display")))
        for text in LIGHTNING_CHATTER:
            warnings.filterwarnings("ignore", text)
        fitted = trainer(callbacks=watch())
        fitted.fit(Fails(), train_loader(), val_loader())
    assert fitted.current_epoch == 2
    printed = capsys.readouterr().err
    assert printed.count("CamdebugWarning: camdebug lost its look at epoch 0") == 1
    assert printed.count("CamdebugWarning: camdebug, in sum: lost 2 of 2 looks") == 1


def test_logging_that_is_disabled():
    logging.disable(logging.CRITICAL)
    try:
        disturbed(Fails, said=both_looks("RuntimeError: no five"), without=undisturbed())
    finally:
        logging.disable(logging.NOTSET)
