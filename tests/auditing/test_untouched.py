"""Model and Trainer come back as they were, whatever the Trainer does with the model and whatever fails."""

import random

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from small_audit import Annotated, bits, net, quick
from small_training import (
    Memory,
    Module,
    Net,
    differences,
    everything_of,
    hooks_on,
    looks_taken,
    monitor,
    ours,
    seed,
    train_loader,
    trainer,
    val_loader,
)
from torch import nn

from camdebug.auditing import engine
from camdebug.auditing.work import Work


class Restless(Module):
    """Everything in it moves when it is used: a counter, a generator, a weight written in place, dropout on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.source = torch.Generator().manual_seed(4)
        self.history = []

    def forward(self, x):
        self.calls += 1
        self.history.append(len(x))
        with torch.no_grad():
            self.net.conv1.weight.mul_(1.5)
        return self.net(x + 0.01 * torch.rand(1, generator=self.source))

    def predict_step(self, batch, index):
        raise AssertionError("not ours to call")

    def on_predict_start(self):
        raise AssertionError("not ours to call")


def state_of(model):
    found = {f"weights.{k}": v.clone() for k, v in model.state_dict().items()}
    found |= {f"at.{k}": p.data_ptr() for k, p in model.named_parameters()}
    for name, module in model.named_modules():
        found |= {f"{name}.{k}": v for k, v in vars(module).items() if isinstance(v, (bool, int, float))}
        found[f"{name} device"] = str(getattr(module, "_device", None)) + str(getattr(module, "_dtype", None))
    found |= {"hooks": hooks_on(model), "trainer": getattr(model, "_trainer", None)}
    found |= {"source": model.source.get_state(), "history": list(model.history)}
    found |= {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": str(np.random.get_state()[1])}
    return found


def restless():
    seed(2)
    model = Restless()
    model.train()
    model.net.norm1.eval()
    return model


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_the_model_comes_back_bit_for_bit(precision):
    model = restless()
    before = state_of(model)
    quick(model, fitted=trainer(precision=precision))
    assert differences(before, state_of(model)) == []


def test_without_the_guards_it_would_not(monkeypatch):
    from contextlib import nullcontext

    model = restless()
    before = state_of(model)
    monkeypatch.setattr(engine, "borrowed", lambda model, copied: nullcontext())
    quick(model, fitted=trainer(precision="64-true"))
    assert {"weights.net.conv1.weight", "trainer"} <= set(differences(before, state_of(model)))


def test_each_batch_meets_the_model_as_it_was():
    class Counter(Restless):
        """What it says depends on how often it was asked."""

        def forward(self, x):
            self.calls += 1
            return self.net(x * (1 + self.calls))

    seed(2)
    model = Counter()
    one, other = quick(model, batch_size=40), quick(model, batch_size=4)
    torch.testing.assert_close(
        one.pictures.scores.inside_mass, other.pictures.scores.inside_mass, equal_nan=True, rtol=1e-4, atol=1e-6
    )


def found_by(fitted):
    """What a Trainer has found so far, and what it works with."""
    loops = (fitted.fit_loop, fitted.fit_loop.epoch_loop.val_loop, fitted.validate_loop, fitted.predict_loop)
    state = fitted.state
    return {
        **{kind: dict(getattr(fitted, f"{kind}_metrics")) for kind in ("callback", "logged", "progress_bar")},
        "state": (state.fn, state.status, state.stage),
        "loaders": [(id(loop._data_source.instance), id(loop._combined_loader)) for loop in loops],
        "train loader": id(fitted.train_dataloader),
        "predicted": [p.clone() for part in fitted.predict_loop._predictions for p in part],
        "counted": str(fitted.predict_loop.state_dict()),
        "hooks": id(fitted._data_connector._datahook_selector),
    }


def after_a_training(*callbacks):
    fitted, model = trainer(callbacks=list(callbacks)), Module()
    with ours():
        fitted.predict(model, val_loader())
        fitted.fit(model, train_loader(), val_loader())
    before = found_by(fitted)
    assert {"train_loss", "val_loss"} <= set(before["callback"])
    assert len(before["predicted"]) > 0
    return fitted, model, before


def test_the_trainer_keeps_the_metrics_state_and_loaders_of_its_last_run():
    fitted, model, before = after_a_training()
    quick(model, fitted=fitted)
    assert differences(before, found_by(fitted)) == []
    assert fitted.state.fn == "fit"


def test_it_keeps_them_after_a_failure_too():
    fitted, model, before = after_a_training(Failing())
    with pytest.raises(OSError, match="disk full"):
        quick(model, fitted=fitted)
    assert differences(before, found_by(fitted)) == []


def test_without_keeping_them_they_would_be_gone(monkeypatch):
    fitted, model, before = after_a_training()
    monkeypatch.setattr(engine, "_kept", lambda fitted: iter(()))
    quick(model, fitted=fitted)
    lost = differences(before, found_by(fitted))
    for name in ("callback", "logged", "state", "train loader", "predicted", "counted", "hooks"):
        assert any(entry.startswith(name) for entry in lost), name


class Failing(pl.Callback):
    def on_predict_batch_end(self, fitted, module, outputs, batch, index, dataloader_idx=0):
        if index == 2:
            raise OSError("disk full")


def test_it_comes_back_after_a_failure_of_the_trainer():
    model = restless()
    before = state_of(model)
    with pytest.raises(OSError, match="disk full"):
        quick(model, fitted=trainer(callbacks=Failing(), precision="64-true"))
    assert differences(before, state_of(model)) == []


def test_it_comes_back_after_a_failure_of_its_own():
    model = restless()
    real, model.fails = type(model).forward, False

    def forward(x):
        if model.fails and len(x) > 1:
            raise ValueError("no picture like this")
        return real(model, x)

    model.forward = forward
    model.fails = True
    before = state_of(model)
    with pytest.raises(ValueError, match="no picture like this"):
        quick(model)
    assert differences(before, state_of(model)) == []


def test_a_model_that_raises_stop_iteration_is_no_end_of_the_pictures():
    class Stops(Net):
        def forward(self, x):
            if len(x) > 1:
                raise StopIteration
            return super().forward(x)

    with pytest.raises(RuntimeError, match="StopIteration"):
        quick(Stops())


def test_a_forward_that_logs_books_nothing_and_fails_nowhere():
    class Logs(Module):
        def forward(self, x):
            self.log("seen", float(len(x)))
            return self.net(x)

    memory = Memory()
    fitted = trainer(logger=memory)
    assert len(quick(Logs(), fitted=fitted).pictures) == 37
    assert memory.rows == []


def test_the_trainer_still_knows_its_module_and_goes_on_with_it():
    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return train_loader()

    fitted, model, data = trainer(), Module(), Data()
    with ours():
        fitted.fit(model, datamodule=data)
        quick(net(), fitted=fitted)
        assert fitted.lightning_module is model
        assert fitted.datamodule is data
        assert fitted.validate(fitted.lightning_module, val_loader(), verbose=False)[0]["val_loss"] > 0


def test_the_datamodule_of_an_earlier_fit_takes_no_batch_of_ours():
    class Moves(pl.LightningDataModule):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            raise AssertionError("not ours to call")

    fitted = trainer()
    fitted.datamodule = Moves()
    assert len(quick(fitted=fitted).pictures) == 37


def watched(*, audited):
    """A training with a monitor, an audit by the same Trainer, and some more of that training."""
    seed(1)
    model, memory, watching = Module(), Memory(), monitor()
    fitted = trainer(callbacks=watching, logger=memory, max_epochs=2)
    with ours() as said:
        fitted.fit(model, train_loader(), val_loader())
        if audited:
            quick(model, fitted=fitted)
        fitted.fit_loop.max_epochs = 3
        fitted.fit(model, train_loader(), val_loader())
    return everything_of(model, fitted, memory), looks_taken(watching.state_dict()), said


def test_a_monitor_and_a_training_in_the_same_trainer_are_not_disturbed():
    with_audit, without = watched(audited=True), watched(audited=False)
    assert differences(with_audit[0], without[0]) == []
    assert with_audit[1:] == without[1:]
    assert with_audit[1] == 3


def test_nothing_of_the_audit_lives_on_in_the_trainer(monkeypatch):
    import gc
    import weakref

    alive, real = [], Work.__init__

    def init(self, *args):
        real(self, *args)
        alive.append(weakref.ref(self))

    monkeypatch.setattr(Work, "__init__", init)
    fitted = trainer(callbacks=monitor())
    quick(fitted=fitted)
    gc.collect()
    assert [ref() for ref in alive] == [None]


def test_a_compiled_model_is_explained_as_well():
    torch._dynamo.reset()
    plain = bits(quick(net()))
    compiled = bits(quick(torch.compile(net(), backend="eager")))
    assert compiled["inside"] == plain["inside"]


def test_a_model_with_no_parameters_but_scores_is_refused_by_name():
    class Sums(nn.Module):
        def forward(self, x):
            return x.sum((2, 3))[:, :2]

    with pytest.raises(ValueError, match="target_layer: "):
        quick(Sums(), Annotated())
