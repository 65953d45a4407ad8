"""The model, its gradients and all generators are as they were; and that needs the guard."""

import random
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from patients import Net, images, probes
from torch import nn

from camdebug.doctor import examine


class Restless(Net):
    """Its forward counts, writes to a buffer, rescales a weight and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen = []

    def forward(self, x):
        self.steps += 1
        self.seen.append(len(x))
        with torch.no_grad():
            self.head.bias.mul_(1.01)
        random.random(), np.random.rand(), torch.rand(())
        return self.head(self.drop(self.norm(self.stage(x)).relu().mean((2, 3))))


def trained():
    """A model in the middle of a training: gradients, a frozen part in evaluation mode, statistics."""
    torch.manual_seed(0)
    model = Restless()
    model(images()).square().sum().backward()
    model.norm.eval()
    model.stage.weight.requires_grad_(False)
    return model


def state_of(model):
    name, keys, *rest = np.random.get_state()
    return {
        **{f"value of {k}": v.clone() for k, v in model.state_dict().items()},
        **{f"gradient of {k}": p.grad.clone() for k, p in model.named_parameters()},
        "needs": [p.requires_grad for p in model.parameters()],
        "training": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "seen": list(model.seen),
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "grad": torch.is_grad_enabled(),
    }


def changed(before, after):
    assert before.keys() == after.keys()
    return {k for k, v in before.items() if not (torch.equal(v, after[k]) if torch.is_tensor(v) else v == after[k])}


@pytest.mark.parametrize("options", [{}, {"target_layer": "stage"}, {"target_layer": "nothing"}], ids=str)
def test_the_model_comes_back_bit_for_bit(options):
    model = trained()
    before = state_of(model)
    report = examine(model, probes(), **options)
    assert changed(before, state_of(model)) == set()
    assert report.notes[-1].startswith("The model's forward changes ")


def test_a_model_that_raises_comes_back_too():
    model = trained()

    def failing(module, inputs, output):
        raise RuntimeError("here")

    model.head.register_forward_hook(failing)
    before = state_of(model)
    report = examine(model, probes())
    assert changed(before, state_of(model)) == set()
    assert "RuntimeError: here" in report.problems[0]


def test_without_the_guard_the_model_would_be_changed(monkeypatch):
    @contextmanager
    def unguarded(model, **options):
        yield []

    monkeypatch.setattr(sys.modules["camdebug.doctor.examine"], "borrowed", unguarded)
    model = trained()
    before = state_of(model)
    examine(model, probes())
    assert {"value of steps", "value of head.bias", "seen", "python", "numpy", "torch"} <= changed(
        before, state_of(model)
    )


def test_the_probes_stay_as_they_are():
    fixed = probes()
    before = fixed.images.clone()
    model = Net()
    model.register_forward_hook(lambda module, inputs, output: inputs[0].zero_() and None)
    examine(model, fixed)
    assert torch.equal(fixed.images, before)
