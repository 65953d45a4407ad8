"""Whatever goes wrong in a look, the training goes on and ends with the same bits."""

import signal
import warnings

import pytest
import pytorch_lightning as pl
import torch
from small_training import (
    LIGHTNING_CHATTER,
    Case,
    Memory,
    Mixin,
    Module,
    differences,
    everything_of,
    hooks_on,
    monitor,
    ours,
    probes,
    run,
    seed,
    train_loader,
    trainer,
    val_loader,
)

from camdebug.callbacks import trainer_facts

CHUNK = 5  # no batch of the training has so many pictures


class ForwardFails(Module):
    def forward(self, x):
        if len(x) == CHUNK:
            raise RuntimeError("no five")
        return self.net(x)


class ForwardFailsWithoutWords(Module):
    def forward(self, x):
        if len(x) == CHUNK:
            raise WordlessError
        return self.net(x)


class WordlessError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class HookFails(Module):
    def __init__(self):
        super().__init__()
        self.net.conv1.register_forward_hook(self.fail)

    def fail(self, module, inputs, output):
        if len(output) == CHUNK:
            raise RuntimeError("no five in hooks")


class _FailingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) == CHUNK:
            raise RuntimeError("no five in gradients")
        return gradient


class GradientFails(Module):
    def forward(self, x):
        return _FailingGradient.apply(self.net(x))


class ChangesThenFails(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        if len(x) == CHUNK:
            raise RuntimeError("no five")
        return self.net(x) * (1 + 1e-2 * self.calls)


class GivesTuple(Module):
    def forward(self, x):
        return self.net(x), x

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self(batch[0])[0], batch[1])

    def validation_step(self, batch, index):
        pass


class NoForward(Mixin, pl.LightningModule):
    forward = pl.LightningModule.forward

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        pass


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ForwardFails, "RuntimeError: no five"),
        (ForwardFailsWithoutWords, "Wordless"),
        (HookFails, "RuntimeError: no five in hooks"),
        (GradientFails, "RuntimeError: no five in gradients"),
        (ChangesThenFails, "RuntimeError: no five"),
    ],
)
@pytest.mark.parametrize("validation", [True, False])
def test_a_look_that_fails_is_reported_once_and_changes_nothing(model, words, validation):
    case = Case(model, validation=validation)
    without, outcome = run(case), run(case, monitor(chunk_size=CHUNK))
    lost, closing = outcome.said
    assert words in lost
    assert "lost 3 of 3 looks" in closing
    assert differences(without.state, outcome.state) == []
    assert hooks_on(outcome.model) == hooks_on(without.model)


@pytest.mark.parametrize("model", [GivesTuple, NoForward])
def test_a_model_that_cannot_be_explained_switches_the_monitor_off(model):
    without, outcome = run(Case(model)), run(Case(model), monitor())
    assert len(outcome.said) == 1
    assert "camdebug is off in this run: it cannot explain this model" in outcome.said[0]
    assert differences(without.state, outcome.state) == []
    assert hooks_on(outcome.model) == 0


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


@pytest.mark.parametrize("validation", [True, False])
def test_an_interrupt_inside_a_look_passes_through_with_everything_restored(validation):
    class Interrupts(Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            if len(x) == CHUNK and self.global_step > 0:
                torch.rand(7)
                raise KeyboardInterrupt
            return self.net(x)

    class InterruptsToo(pl.Callback):
        def on_validation_epoch_end(self, *args):
            raise KeyboardInterrupt

        on_train_epoch_end = on_validation_epoch_end

    def interrupted(callback):
        seed(1)
        model, memory = Interrupts(), Memory()
        fitted, handler = trainer(callbacks=callback, logger=memory), signal.getsignal(signal.SIGINT)
        try:
            with ours() as said, pytest.raises((KeyboardInterrupt, SystemExit)):
                fitted.fit(model, train_loader(), val_loader() if validation else None)
        finally:
            signal.signal(signal.SIGINT, handler)
        assert said == []
        assert hooks_on(model) == 0
        return everything_of(model, fitted, memory)

    assert differences(interrupted(InterruptsToo()), interrupted(monitor(chunk_size=CHUNK))) == []


def test_running_out_of_memory_halves_the_chunks_and_loses_no_look():
    class Greedy(Module):
        def forward(self, x):
            if 2 < len(x) < 8:
                raise torch.OutOfMemoryError("five are too many")
            return self.net(x)

    watching = monitor(chunk_size=CHUNK)
    without, outcome = run(Case(Greedy)), run(Case(Greedy), watching)
    assert outcome.said == []
    assert watching.last_record.epoch == 2
    assert differences(without.state, outcome.state) == []


def test_running_out_of_memory_with_one_picture_loses_the_look():
    class Insatiable(Module):
        fitting = False

        def forward(self, x):
            if self.fitting and len(x) < 8:
                raise torch.OutOfMemoryError("one is too many")
            return self.net(x)

        def on_train_start(self):
            self.fitting = True

    outcome = run(Case(Insatiable), monitor())
    assert "OutOfMemoryError: one is too many" in outcome.said[0]


@pytest.mark.parametrize(
    "broken",
    [
        *("is_fitting", "is_last_validation", "is_last_epoch", "looks_left", "logger_step", "monitored_names"),
        *("unsupported_strategy", "weights_seen", "TrainerPrecision", "logging_off"),
    ],
)
def test_a_trainer_that_answers_in_an_unknown_way_is_trained_all_the_same(monkeypatch, broken):
    def fail(*args, **kwargs):
        raise AttributeError(f"Trainer has no {broken}")

    without = run(Case())
    monkeypatch.setattr(trainer_facts, broken, fail)
    outcome = run(Case(), monitor(every_n_epochs=2))
    assert outcome.said
    assert all(f"no {broken}" in text for text in outcome.said if "lost" not in text)
    assert differences(without.state, outcome.state) == []


def test_a_module_that_refuses_our_metrics_is_trained_all_the_same():
    class Refuses(Module):
        def log(self, name, *args, **kwargs):
            if name.startswith("camdebug/"):
                raise ValueError("not in my house")
            super().log(name, *args, **kwargs)

    without, outcome = run(Case(Refuses)), run(Case(Refuses), monitor())
    assert len(outcome.said) == 1
    assert "logging metrics failed (ValueError: not in my house)" in outcome.said[0]
    assert differences(without.state, outcome.state) == []


def test_a_training_under_warnings_as_errors_ends_well(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in LIGHTNING_CHATTER:
            warnings.filterwarnings("ignore", text)
        fitted = trainer(callbacks=monitor(chunk_size=CHUNK))
        fitted.fit(ForwardFails(), train_loader(), val_loader())
    assert fitted.current_epoch == 2
    assert "CamdebugWarning: camdebug lost its look at epoch 0" in capsys.readouterr().err
