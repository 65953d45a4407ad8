"""What is no error passes through: interrupts and exits, wherever they come, leave everything as it was."""

import signal

import pytest
import pytorch_lightning as pl
import torch
from faulty import CHUNK, Fails, RaisesThere, ended, raising, watch
from small_training import Module, differences, ours, train_loader, trainer, val_loader

from camdebug.callbacks import metric_log, reporter
from camdebug.cam import explain
from camdebug.cam.lending import borrow
from camdebug.dashboard import board
from camdebug.observe import observer


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
    """A shell that starts the tests in the background has them ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(error, *, at="forward"):
    class Interrupts(Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            torch.rand(7) if len(x) == CHUNK else None
            if at == "forward" and len(x) == CHUNK and self.global_step:
                raise error
            scores = self.net(x)
            if at == "gradient" and len(x) == CHUNK and self.global_step and scores.requires_grad:
                scores.register_hook(self.interrupt)
            return scores

        def interrupt(self, gradient):
            raise error

    return Interrupts


ENDS = {
    "KeyboardInterrupt": (KeyboardInterrupt(), (KeyboardInterrupt, SystemExit)),
    "SystemExit": (SystemExit(3), SystemExit),
    "GeneratorExit": (GeneratorExit(), GeneratorExit),
}


@pytest.mark.parametrize("at", ["forward", "gradient"])
@pytest.mark.parametrize("fault", ENDS)
def test_what_is_no_error_passes_through_with_everything_restored(fault, at):
    error, expected = ENDS[fault]
    model = interrupting(error, at=at)
    there = ended(RaisesThere(error), model, expected)
    assert differences(there, ended(watch(), model, expected)) == []


def test_an_interrupt_in_an_epoch_without_validation_passes_through():
    error, expected = ENDS["KeyboardInterrupt"]
    model = interrupting(error)
    there = ended(RaisesThere(error), model, expected, validation=False)
    assert differences(there, ended(watch(), model, expected, validation=False)) == []


def test_an_interrupted_run_still_hears_what_was_lost_before():
    class FailsThenInterrupts(Module):
        def forward(self, x):
            if len(x) == CHUNK:
                raise KeyboardInterrupt if self.current_epoch == 2 else RuntimeError("no five")
            return self.net(x)

    fitted, handler = trainer(callbacks=watch(), max_epochs=4), signal.getsignal(signal.SIGINT)
    try:
        with ours() as said, pytest.raises((KeyboardInterrupt, SystemExit)):
            fitted.fit(FailsThenInterrupts(), train_loader(), val_loader())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(said) == 2
    assert said[1] == "camdebug, in sum: lost 2 of 3 looks (epochs 0 to 1: RuntimeError: no five)."


def test_a_run_that_ends_by_the_users_own_error_hears_what_was_lost_once():
    class EndsBadly(Fails):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                raise ValueError("the user's own")

    with ours() as said, pytest.raises(ValueError, match="the user's own"):
        trainer(callbacks=watch(), max_epochs=4).fit(EndsBadly(), train_loader(), val_loader())
    assert len(said) == 2
    assert said[1] == "camdebug, in sum: lost 2 of 2 looks (epochs 0 to 1: RuntimeError: no five)."


# In our own code

INTERRUPT, STOPPED = KeyboardInterrupt(), (KeyboardInterrupt, SystemExit)


class RaisesAtTheStart(pl.Callback):
    def on_fit_start(self, fitted, module):
        raise INTERRUPT


START = {"find_target_layers": (observer, "find_target_layers"), "explain": (explain, "explain")}


@pytest.mark.parametrize("fault", START)
def test_an_interrupt_before_the_first_step_passes_through(monkeypatch, fault):
    """While the layer is searched, and while the initial maps are computed."""
    there = ended(RaisesAtTheStart(), Module, STOPPED)
    monkeypatch.setattr(*START[fault], raising(INTERRUPT))
    assert differences(there, ended(watch(), Module, STOPPED)) == []


PLACES = {
    "before the maps": (observer.Judge, "begin"),
    "in the measures": (observer, "localisation_scores"),
    "in the verdict": (observer.Judge, "judge"),
    "after the verdict": (observer, "EpochRecord"),
    "taking the metrics": (metric_log, "metrics_of"),
    "logging the metrics": (metric_log.MetricLog, "_send"),
    "in the alerts": (reporter, "alerts_of"),
    "writing the verdict": (reporter, "run_report"),
    "in the dashboard": (board.Dashboard, "publish"),
}


@pytest.mark.parametrize("fault", PLACES)
def test_an_interrupt_in_our_own_code_passes_through(monkeypatch, fault):
    there = ended(RaisesThere(INTERRUPT), Module, STOPPED)
    monkeypatch.setattr(*PLACES[fault], raising(INTERRUPT))
    assert differences(there, ended(watch(), Module, STOPPED)) == []


class Counts(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.seen.append(len(x))
        return self.net(x) * (1 + 1e-2 * self.calls)


@pytest.fixture
def interrupted_once(monkeypatch):
    """The third thing that is restored after a look is interrupted, by a real signal, before it is done."""
    restore, calls = borrow._Content.restore, []

    def interrupted(self):
        if self.key == "calls":
            calls.append(self)
            if len(calls) == 3:
                signal.raise_signal(signal.SIGINT)
        return restore(self)

    monkeypatch.setattr(borrow._Content, "restore", interrupted)
    return calls


def test_an_interrupt_while_the_model_is_restored_waits_until_all_of_it_is(interrupted_once):
    there = ended(RaisesThere(INTERRUPT), Counts, STOPPED)
    assert differences(there, ended(watch(), Counts, STOPPED)) == []
    assert len(interrupted_once) > 3  # again, once it was interrupted


def test_without_the_second_try_an_interrupt_leaves_the_model_changed(monkeypatch, interrupted_once):
    """The negative control."""

    def every(steps):
        return [name for step in steps for name in step()]

    monkeypatch.setattr(borrow, "_every", every)
    there = ended(RaisesThere(INTERRUPT), Counts, STOPPED)
    assert "buffer.calls" in differences(there, ended(watch(), Counts, STOPPED))
