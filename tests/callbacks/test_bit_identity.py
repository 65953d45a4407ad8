"""A training ends with the same bits with and without the monitor. The last tests show that each guard is needed."""

import random
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from small_training import Case, Module, differences, hooks_on, monitor, probes, run
from torch.nn import functional as F

from camdebug.callbacks import trainer_facts
from camdebug.cam import borrow

EMA = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging").EMAWeightAveraging


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]) / 2)
        if (index + 1) % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()


class TwoOptimizers(Manual):
    def training_step(self, batch, index):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        self.optimizers()[index % 2].step()

    def configure_optimizers(self):
        return [torch.optim.Adam(self.net.conv2.parameters(), 1e-2), torch.optim.SGD(self.net.head.parameters(), 0.1)]


class SpectralNorm(Module):
    def __init__(self):
        super().__init__()
        self.net.conv1 = torch.nn.utils.spectral_norm(self.net.conv1)
        self.net.conv2 = torch.nn.utils.parametrizations.spectral_norm(self.net.conv2)


class CountingBuffer(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.net(x) * (1 + 1e-2 * self.calls)


class CountingAttribute(Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.net(x) * (1 + 1e-2 * self.calls)


class RescalesItsWeights(Module):
    """As nets with a norm constraint do; a validation's forward would do so as well, hence ``no validation loader``."""

    def forward(self, x):
        self.net.head.weight.data.clamp_(-0.2, 0.2)
        self.net.conv2.weight.data = torch.renorm(self.net.conv2.weight.data, 2, 0, 0.5)
        return self.net(x)


class FrozenBackbone(Module):
    def __init__(self):
        super().__init__()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith("head"))

    def train(self, mode=True):
        super().train(mode)
        self.net.norm2.eval()
        return self


class NoGradBackbone(FrozenBackbone):
    def forward(self, x):
        net = self.net
        with torch.no_grad():
            x = net.relu(net.norm2(net.conv2(net.relu(net.norm1(net.conv1(x))))))
        return net.head(net.drop(x.mean((2, 3))))


class MonteCarloDropout(Module):
    def forward(self, x):
        return F.dropout(self.net(x), 0.2 + 0.1 * random.random(), training=True)


class LogsInForward(Module):
    def forward(self, x):
        scores = self.net(x)
        self.log("seen", float(len(x)), batch_size=1, reduce_fx="sum", on_step=False, on_epoch=True)
        return scores


class WritesToItsInput(Module):
    def forward(self, x):
        return self.net(x.mul_(0.5))


class WithPlateau(Module):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.05)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


CASES = {
    "default": Case(),
    "sanity check": Case(trainer={"num_sanity_val_steps": 2}),
    "accumulation, validation in the middle": Case(
        trainer={"accumulate_grad_batches": 3, "val_check_interval": 2, "max_epochs": 2}
    ),
    "no validation loader": Case(validation=False),
    "limit_val_batches=0": Case(trainer={"limit_val_batches": 0}),
    "check_val_every_n_epoch=2": Case(trainer={"check_val_every_n_epoch": 2}),
    "val_check_interval=.4": Case(trainer={"val_check_interval": 0.4}),
    "validation by iterations": Case(trainer={"check_val_every_n_epoch": None, "val_check_interval": 7}),
    "bf16-mixed": Case(trainer={"precision": "bf16-mixed"}),
    "bf16-true": Case(trainer={"precision": "bf16-true"}),
    "64-true": Case(trainer={"precision": "64-true"}),
    "manual optimisation, own accumulation": Case(Manual, trainer={"val_check_interval": 3}),
    "two optimisers": Case(TwoOptimizers),
    "spectral norm, both kinds": Case(SpectralNorm),
    "buffer counts in forward": Case(CountingBuffer),
    "attribute counts in forward": Case(CountingAttribute),
    "weights rescaled in forward": Case(RescalesItsWeights, validation=False),
    "frozen backbone, own train()": Case(FrozenBackbone),
    "backbone under no_grad": Case(NoGradBackbone),
    "Monte Carlo dropout": Case(MonteCarloDropout),
    "logs in forward": Case(LogsInForward),
    "writes to its input": Case(WritesToItsInput),
    "plateau scheduler": Case(WithPlateau),
    "moving average": Case(callbacks=lambda: [EMA(decay=0.9)]),
    "stochastic weight averaging": Case(
        callbacks=lambda: [StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)], trainer={"max_epochs": 4}
    ),
    "fast_dev_run": Case(trainer={"fast_dev_run": 2}),
    "detect_anomaly": Case(trainer={"detect_anomaly": True, "max_epochs": 2}),
    "deterministic": Case(trainer={"deterministic": True}),
    "compiled": Case(compiled=True),
    "persistent workers": Case(loader={"num_workers": 2, "persistent_workers": True}),
    "overfit_batches, clipping": Case(trainer={"overfit_batches": 2, "gradient_clip_val": 0.1}),
    "max_steps": Case(trainer={"max_steps": 7, "max_epochs": -1}),
    "loaders made anew": Case(trainer={"reload_dataloaders_every_n_epochs": 1}),
}
CHANGES_ITSELF = {
    "spectral norm, both kinds": "net.conv1.weight",
    "buffer counts in forward": "calls",
    "attribute counts in forward": "calls",
    "weights rescaled in forward": "net.head.weight",
}


@pytest.fixture(autouse=True)
def _deterministic_algorithms_off_again():
    yield
    torch.use_deterministic_algorithms(False)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", CASES)
def test_a_training_ends_with_the_same_bits(name):
    case, watching = CASES[name], monitor()
    without, under_watch = run(case), run(case, watching)

    assert differences(without.state, under_watch.state) == []
    assert len(under_watch.said) == int(name in CHANGES_ITSELF), under_watch.said
    assert all(CHANGES_ITSELF[name] in text for text in under_watch.said)
    assert watching.last_record is not None
    assert watching.last_record.contrasts
    assert hooks_on(under_watch.model) == hooks_on(without.model)
    assert "camdebug/outside_mass" in under_watch.trainer.callback_metrics


def test_pictures_of_the_probes_are_the_same_afterwards():
    fixed = probes()
    before = fixed.images.clone()
    run(CASES["writes to its input"], monitor(probes=fixed))
    assert torch.equal(fixed.images, before)


def test_two_runs_with_another_seed_differ_so_that_the_comparison_means_something():
    case = Case(trainer={"max_epochs": 1})
    longer = Case(trainer={"max_epochs": 1, "limit_train_batches": 4})
    assert differences(run(case).state, run(case).state) == []
    assert {"weights.net.head.weight", "torch", "logged"} <= set(differences(run(case).state, run(longer).state))


def test_without_the_generators_guard_the_bits_differ(monkeypatch):
    case = CASES["Monte Carlo dropout"]
    monkeypatch.setattr(borrow, "preserved_rng", nullcontext)
    assert {"torch", "python", "weights.net.head.weight"} <= set(
        differences(run(case).state, run(case, monitor()).state)
    )


def test_without_restoring_buffers_the_bits_differ(monkeypatch):
    case = CASES["buffer counts in forward"]
    monkeypatch.setattr(borrow._ModuleState, "restore", lambda self: vars(self.module).update(self.attributes) or [])
    assert "weights.net.head.weight" in differences(run(case).state, run(case, monitor()).state)


def test_without_restoring_attributes_the_bits_differ(monkeypatch):
    case = CASES["attribute counts in forward"]

    def restore(self):
        self.module.training = self.attributes["training"]
        return []

    monkeypatch.setattr(borrow._ModuleState, "restore", restore)
    assert "weights.net.head.weight" in differences(run(case).state, run(case, monitor()).state)


def test_without_a_copy_of_the_weights_that_a_forward_writes_to_the_bits_differ(monkeypatch):
    from camdebug.callbacks import looker

    monkeypatch.setattr(looker, "borrowed", lambda model, copied: borrow.borrowed(model))
    case = CASES["weights rescaled in forward"]
    assert "weights.net.head.weight" in differences(run(case).state, run(case, monitor()).state)


def test_with_eval_and_train_in_place_of_flags_the_bits_differ(monkeypatch):
    from camdebug.callbacks import looker

    class Careless:
        def __init__(self, model, copied):
            self.model = model

        def __enter__(self):
            self.model.eval()
            return []

        def __exit__(self, *error):
            self.model.train()

    monkeypatch.setattr(looker, "borrowed", Careless)
    case = CASES["no validation loader"]
    assert "buffer.net.norm1.running_mean" in differences(run(case).state, run(case, monitor()).state)


def test_without_switching_logging_off_the_users_metrics_differ(monkeypatch):
    case = CASES["logs in forward"]
    at_fit_start = iter([trainer_facts.logging_off])  # where Lightning refuses any log
    monkeypatch.setattr(trainer_facts, "logging_off", lambda module: next(at_fit_start, nullcontext)(module))
    assert differences(run(case).state, run(case, monitor()).state) == ["logged"]


def test_without_copies_of_the_pictures_the_probes_change():
    class Uncopied(torch.Tensor):
        def clone(self, **options):
            return self.as_subclass(torch.Tensor)

    fixed = probes()
    before = fixed.images.clone()
    fixed.images = fixed.images.as_subclass(Uncopied)
    run(CASES["writes to its input"], monitor(probes=fixed, contrast=False))
    assert not torch.equal(fixed.images.as_subclass(torch.Tensor), before)


def test_without_eager_execution_looks_at_a_compiled_model_are_lost(monkeypatch):
    monkeypatch.setattr(borrow, "_eager", nullcontext)
    outcome = run(CASES["compiled"], monitor())
    assert any("camdebug" in text for text in outcome.said)
