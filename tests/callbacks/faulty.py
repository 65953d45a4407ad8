"""What tests of faults share: a training that is disturbed, and the same one undisturbed."""

import re
import signal
from functools import lru_cache

import pytest
import pytorch_lightning as pl
from small_training import (
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
from torch.nn import functional as F

CHUNK = 5  # no batch of the training has so many pictures
EPOCHS = 2


@lru_cache
def few_probes():
    """Four chunks: enough for a look, too few for a verdict."""
    return probes(per_class=CHUNK)


def watch(**options):
    return monitor(**{"probes": few_probes(), "chunk_size": CHUNK, **options})


def case_of(model=Module, *, validation=True, callbacks=list, **options):
    return Case(model, trainer={"max_epochs": EPOCHS, **options}, validation=validation, callbacks=callbacks)


@lru_cache(maxsize=64)
def undisturbed(model=Module, *, validation=True):
    """The training without a monitor; the same for all tests of a model."""
    return run(case_of(model, validation=validation))


def disturbed(model=Module, *watching, said=(), validation=True, without=None, **options):
    """Train under a monitor. The training is the same bit for bit, and exactly these things are said, in this order.

    Args:
        model: of the training.
        watching: the monitors.
        said: a regular expression for each thing that is said.
        validation: whether there is any.
        without: the outcome to compare with, if not that of the same model in a plain training.
        options: of the Trainer.
    """
    without = without or undisturbed(model, validation=validation)
    outcome = run(case_of(model, validation=validation, **options), *(watching or (watch(),)))
    assert_said(outcome.said, said)
    assert differences(without.state, outcome.state) == []
    assert hooks_on(outcome.model) == hooks_on(without.model)
    return outcome


def assert_said(heard, expected):
    assert len(heard) == len(expected), heard
    for text, pattern in zip(heard, expected, strict=True):
        assert re.search(pattern, text), (pattern, text)


def lost(why, epoch=0):
    """The report of a first lost look."""
    return rf"^camdebug lost its look at epoch {epoch}: {re.escape(why)} \("


def in_sum(*clauses):
    """The closing words."""
    return "^camdebug, in sum: " + "; ".join(re.escape(clause) for clause in clauses) + r"\.$"


def both_looks(why):
    """What is said when every look fails for the same reason."""
    return [lost(why), in_sum(f"lost 2 of 2 looks (epochs 0 to 1: {why})")]


def raising(error):
    """A function that raises, whatever it is given."""

    def fail(*args, **kwargs):
        raise error

    return fail


class Fails(Module):
    """Its forward raises at every chunk of probes."""

    error = RuntimeError("no five")

    def forward(self, x):
        if len(x) == CHUNK:
            raise self.error
        return self.net(x)


def failing(error):
    return type(f"FailsWith{type(error).__name__}", (Fails,), {"error": error})


class NoForward(Mixin, pl.LightningModule):
    forward = pl.LightningModule.forward

    def training_step(self, batch, index):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        pass


def ended(callback, model, expected, *, validation=True):
    """Everything of a training that is ended by what is raised."""
    seed(1)
    learner, memory = model(), Memory()
    fitted, handler = trainer(callbacks=callback, logger=memory), signal.getsignal(signal.SIGINT)
    try:
        with ours() as said, pytest.raises(expected):
            fitted.fit(learner, train_loader(), val_loader() if validation else None)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert said == []
    assert hooks_on(learner) == 0
    return everything_of(learner, fitted, memory)


class RaisesThere(pl.Callback):
    """Ends the training where the monitor's first look would be."""

    def __init__(self, error):
        self.error = error

    def on_validation_epoch_end(self, fitted, module):
        raise self.error

    on_train_epoch_end = on_validation_epoch_end
