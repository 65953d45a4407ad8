"""Networks that draw, share, rescale, differentiate or log in their forwards, for the identity matrix."""

import random

import numpy as np
import torch
from small_training import CLASSES, Module, Net
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def features(net, x):
    """The last spatial stage of the default network."""
    return net.relu(net.norm2(net.conv2(net.relu(net.norm1(net.conv1(x))))))


# Chance


class MonteCarloDropout(Module):
    def forward(self, x):
        return F.dropout(self.net(x), 0.2 + 0.1 * random.random() + 0.1 * np.random.rand(), training=True)


class StochasticDepth(Module):
    def forward(self, x):
        x = features(self.net, x)
        if self.training and random.random() < 0.5:
            x = x * 0.5
        return self.net.head(self.net.drop(x.mean((2, 3))))


class OwnGenerators(Module):
    def __init__(self):
        super().__init__()
        self.source = torch.Generator().manual_seed(3)
        self.sources = {"numpy": np.random.Generator(np.random.MT19937(3)), "python": [random.Random(3)]}
        self.older = np.random.RandomState(3)

    def forward(self, x):
        plain = self.sources["numpy"].random() + self.sources["python"][0].random() + self.older.rand()
        return self.net(x) * (1 + 0.1 * torch.rand((), generator=self.source) + 0.1 * plain)


# Weights that are computed, shared or rescaled


class SpectralNorm(Module):
    def __init__(self):
        super().__init__()
        self.net.conv1 = torch.nn.utils.spectral_norm(self.net.conv1)
        self.net.conv2 = torch.nn.utils.parametrizations.spectral_norm(self.net.conv2)


class WeightNorm(Module):
    def __init__(self):
        super().__init__()
        self.net.conv1 = torch.nn.utils.parametrizations.weight_norm(self.net.conv1)
        torch.nn.utils.parametrizations.orthogonal(self.net.head)


class RescalesItsWeights(Module):
    """As nets with a norm constraint do; a validation's forward would do so as well, hence ``no validation loader``."""

    def forward(self, x):
        self.net.head.weight.data.clamp_(-0.2, 0.2)
        self.net.conv2.weight.data = torch.renorm(self.net.conv2.weight.data, 2, 0, 0.5)
        return self.net(x)


class SwapsItsWeights(Module):
    """The data of a parameter is replaced, never written to."""

    def forward(self, x):
        self.net.conv2.weight.data = torch.renorm(self.net.conv2.weight.data, 2, 0, 0.5)
        return self.net(x)


class TiedWeights(Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(CLASSES, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.second.weight = self.first.weight
        self.again = self.net.head

    def forward(self, x):
        return self.second(self.first(self.first(self.net(x)).relu()))


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
        with torch.no_grad():
            x = features(self.net, x)
        return self.net.head(self.net.drop(x.mean((2, 3))))


class MadeLate(Module):
    def configure_model(self):
        if not hasattr(self, "late"):
            self.late = nn.Linear(CLASSES, CLASSES)

    def forward(self, x):
        return self.late(self.net(x))


class InDictsAndLists(Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.BatchNorm2d(4)})
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4, 1, 1)), nn.Parameter(torch.zeros(4, 1, 1))])
        self.by_name = nn.ParameterDict({"head": torch.randn(4, CLASSES)})

    def forward(self, x):
        x = self.parts["b"](self.parts["a"](x)).relu()
        return (x * self.scales[0] + self.scales[1]).mean((2, 3)) @ self.by_name["head"]


class OwnAttributeAccess(Module):
    """Attributes go through a store of its own."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "store", {"calls": 0})

    def __setattr__(self, name, value):
        if name == "calls":
            self.store["calls"] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name):
        return self.store["calls"] if name == "calls" else super().__getattr__(name)

    def forward(self, x):
        self.calls = self.calls + 1
        return self.net(x) * (1 + 1e-2 * self.calls)


# Normalisation and other layers


class BatchNormKinds(Module):
    """A cumulative average, batch statistics only, and statistics of a layer without weights."""

    def __init__(self):
        super().__init__()
        self.net.norm1 = nn.BatchNorm2d(6, momentum=None)
        self.net.norm2 = nn.BatchNorm2d(8, track_running_stats=False)
        self.first = nn.BatchNorm2d(3, affine=False)

    def forward(self, x):
        return self.net(self.first(x))


class OtherNorms(Module):
    def __init__(self):
        super().__init__()
        self.net.norm1 = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
        self.net.norm2 = nn.GroupNorm(2, 8)


class RecurrentHead(Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 6, num_layers=2, dropout=0.2, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x):
        cells = features(self.net, x).flatten(2).transpose(1, 2)
        return self.head(self.rnn(cells[:, ::8])[0][:, -1])


# What a forward does beside computing


class LogsInForward(Module):
    def forward(self, x):
        scores = self.net(x)
        self.log("seen", float(len(x)), batch_size=1, reduce_fx="sum", on_step=False, on_epoch=True)
        return scores


class WritesToItsInput(Module):
    def forward(self, x):
        return self.net(x.mul_(0.5))


class OwnAutocast(Module):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


class StartsSmall(Module):
    """Scales its weights when the training begins, after the first look."""

    def on_train_start(self):
        with torch.no_grad():
            self.net.conv2.weight.mul_(0.1)


class Energy(Module):
    """A forward that differentiates: the picture is moved down the slope of an energy."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        with torch.enable_grad():
            entry = x.detach().requires_grad_()
            slope = torch.autograd.grad(self.energy(entry).square().sum(), entry, create_graph=self.training)[0]
        return self.net(x - 0.1 * slope)


class EnergyOfTheLayer(Module):
    """Here the slope is that of the layer that would be explained."""

    def forward(self, x):
        with torch.enable_grad():
            entry = x.detach().requires_grad_()
            slope = torch.autograd.grad(self.net(entry).logsumexp(1).sum(), entry, create_graph=self.training)[0]
        return slope.mean((2, 3)) @ self.net.head.weight[:, :3].T


class UserHooks(Module):
    """Hooks of all kinds, some of which change values."""

    def __init__(self):
        super().__init__()
        net = self.net = Net()
        net.relu = nn.ReLU(inplace=False)
        self.backward_calls = [0]
        net.conv1.register_forward_pre_hook(lambda _m, inputs: (inputs[0] * 0.9,))
        net.conv2.register_forward_hook(lambda _m, _i, output: output * 1.1)
        net.head.register_full_backward_hook(self.scale_gradient)
        net.norm2.register_full_backward_pre_hook(lambda _m, gradients: (gradients[0] * 1.1,))
        net.head.weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        net.head.bias.register_post_accumulate_grad_hook(self.halve)
        net.register_state_dict_post_hook(lambda _m, state, prefix, _meta: state.update({f"{prefix}extra": 1}))
        net.register_load_state_dict_pre_hook(lambda _m, state, prefix, *_a: state.pop(f"{prefix}extra", None))

    def halve(self, parameter):
        parameter.grad.mul_(0.5)

    def scale_gradient(self, module, inputs, outputs):
        self.backward_calls[0] += 1
        return (inputs[0] * (1 + 1e-2 * self.backward_calls[0]),)


class BackwardHookOnRelu(Module):
    """A full backward hook makes the layer's output a view, which an activation in place may not write to."""

    def __init__(self):
        super().__init__()
        self.net.drop.register_full_backward_hook(lambda _m, gradients, _o: (gradients[0] * 0.5,))


# Activation checkpointing


class Checkpointed(Module):
    """``where``: ``below`` the target layer, ``above`` it, or ``around`` it; ``reentrant`` is the older kind."""

    where, reentrant = "below", False

    def forward(self, x):
        net = self.net
        below = lambda x: net.relu(net.norm1(net.conv1(x)))  # noqa: E731
        at = lambda x: net.relu(net.norm2(net.conv2(x)))  # noqa: E731
        above = lambda x: net.head(net.drop(x.mean((2, 3))))  # noqa: E731
        for name, part in (("below", below), ("around", at), ("above", above)):
            if self.where == name:
                x = checkpoint(part, x if x.requires_grad else x.clone().requires_grad_(), use_reentrant=self.reentrant)
            else:
                x = part(x)
        return x


def checkpointed(at, *, old=False):
    return type("Checkpointed", (Checkpointed,), {"where": at, "reentrant": old})
