"""Models that give no numbers, that change while they are trained, or that do more than a forward should."""

import pytest
import torch
from faulty import CHUNK, NoForward, case_of, disturbed, lost, watch
from small_training import Module, monitor, run
from torch.nn import functional as F


def spoilt(value, *, rows=slice(None)):
    class Spoilt(Module):
        def forward(self, x):
            net = self.net
            x = net.relu(net.norm1(net.conv1(x)))
            x = net.relu(net.norm2(net.conv2(x)))
            if not self.training and len(x) == CHUNK:
                x = x.clone()
                x[rows] = value
            return net.head(net.drop(x.mean((2, 3))))

    return Spoilt


NUMBERS = {
    "NaN in one probe": spoilt(float("nan"), rows=slice(0, 1)),
    "NaN in all probes": spoilt(float("nan")),
    "+Inf in one probe": spoilt(float("inf"), rows=slice(0, 1)),
    "+Inf in all probes": spoilt(float("inf")),
    "-Inf in all probes": spoilt(float("-inf")),
    "all-zero maps": spoilt(0.0),
}


@pytest.mark.parametrize("fault", NUMBERS)
def test_activations_that_are_no_numbers(fault):
    watching = watch()
    outcome = disturbed(NUMBERS[fault], watching)
    assert watching.last_record.epoch == 1
    logged = [v for _, row in outcome.memory.rows for k, v in row.items() if k.startswith("camdebug/")]
    assert logged
    assert torch.tensor(logged).isfinite().all()


class NoScores(Module):
    def forward(self, x):
        scores = self.net(x)
        return scores * float("nan") if len(x) == CHUNK else scores


class NoGradients(Module):
    def forward(self, x):
        scores = self.net(x)
        if scores.requires_grad and len(x) == CHUNK:
            scores.register_hook(lambda gradient: gradient * float("nan"))
        return scores


@pytest.mark.parametrize("model", [NoScores, NoGradients], ids=["NaN scores", "NaN gradients"])
def test_scores_or_gradients_that_are_no_numbers(model):
    watching = watch()
    disturbed(model, watching)
    assert watching.last_record.epoch == 1


def test_activations_that_overflow_in_bfloat16():
    class Overflows(Module):
        def forward(self, x):
            if len(x) == CHUNK:
                x = x * 3e38
            return self.net(x)

    watching = watch()
    without = run(case_of(Overflows, precision="bf16-mixed"))
    disturbed(Overflows, watching, precision="bf16-mixed", without=without)
    assert watching.last_record.epoch == 1


# Models that change while they are trained


class Changes(Module):
    """Something else from the second epoch on."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.change()


class ReplacesTheTargetLayer(Changes):
    def change(self):
        layer = torch.nn.Conv2d(6, 8, 3, stride=2, padding=1)
        layer.load_state_dict(self.net.conv2.state_dict())
        self.net.conv2 = layer
        self.net.relu = torch.nn.ReLU()


class Freezes(Changes):
    def change(self):
        self.net.requires_grad_(False)
        self.net.head.requires_grad_(True)


class Unfreezes(Changes):
    def __init__(self):
        super().__init__()
        self.net.conv1.requires_grad_(False)

    def change(self):
        self.net.requires_grad_(True)


class GrowsScores(Changes):
    def change(self):
        self.wider = True

    wider = False

    def forward(self, x):
        scores = self.net(x)
        return F.pad(scores, (0, 2)) if self.wider and len(x) == CHUNK else scores


@pytest.mark.parametrize("model", [ReplacesTheTargetLayer, Freezes, Unfreezes, GrowsScores])
def test_a_model_that_changes_in_mid_training_is_looked_at_all_the_same(model):
    watching = watch()
    disturbed(model, watching)
    assert watching.last_record.epoch == 1


class LosesItsLayers(Changes):
    """As a head without any spatial layer; whatever reads the pictures is flat."""

    def change(self):
        self.flat = torch.nn.Linear(3 * 16 * 16, 4)
        self.flat.load_state_dict({"weight": torch.zeros(4, 768), "bias": torch.zeros(4)})

    def forward(self, x):
        return self.flat(x.flatten(1)) if hasattr(self, "flat") and len(x) == CHUNK else self.net(x)


class GivesTwoAnswers(Changes):
    two = False

    def change(self):
        self.two = True

    def forward(self, x):
        scores = self.net(x)
        return {"one": scores, "other": scores} if self.two and len(x) == CHUNK else scores


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (LosesItsLayers, "TargetLayerError: target_layer: 'net.norm2' ran 0 times in a forward, expected once"),
        (
            GivesTwoAnswers,
            "UnreadableOutputError: model: expected one entry with class scores from its forward, got 2 that could be "
            "it: one: shape (5, 4), other: shape (5, 4); pass score_fn=, a function of the output and class_idx (n,) "
            "that gives scores (n,)",
        ),
    ],
)
def test_a_model_that_can_no_longer_be_explained_loses_the_looks_from_there_on(model, why):
    watching = watch()
    disturbed(model, watching, said=[lost(why, epoch=1)])
    assert watching.last_record.epoch == 0


# Models that do more than a forward should


class AsksItsTrainer(Module):
    def forward(self, x):
        self.log_dict({"size": float(len(x))}, batch_size=1, reduce_fx="sum", on_step=False, on_epoch=True)
        return self.net(x) * (1 if self.trainer.global_step >= 0 else 0)


class HangsHooksOnItself(Module):
    def forward(self, x):
        if len(x) == CHUNK:
            self.net.conv1.register_forward_hook(lambda module, inputs, output: output * 2)
        return self.net(x)


@pytest.mark.parametrize(
    ("model", "said"), [(AsksItsTrainer, []), (HangsHooksOnItself, ["^camdebug: the model's forward changes .*hooks"])]
)
def test_a_forward_that_does_more_than_compute(model, said):
    disturbed(model, said=said)


class HidesItsScores(Module):
    def forward(self, x):
        return lambda: self.net(x)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0])(), batch[1])

    def validation_step(self, batch, index):
        pass


@pytest.mark.parametrize("model", [HidesItsScores, NoForward])
def test_a_model_that_cannot_be_explained_switches_the_monitor_off(model):
    disturbed(model, monitor(), said=["^camdebug is off in this run: it cannot explain this model"])
