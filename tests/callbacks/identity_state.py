"""Networks that keep state in every way a forward can: what it counts changes what later forwards give."""

from collections import Counter, deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from small_training import CLASSES, Module, Net
from torch import nn
from torch.nn import functional as F


class CountingBuffer(Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.net(x) * (1 + 1e-2 * self.calls)


class ReplacedBuffer(CountingBuffer):
    def forward(self, x):
        self.calls = self.calls + 1
        return self.net(x) * (1 + 1e-2 * self.calls)


class GrowingNet(Module):
    """A part is added in every forward."""

    def __init__(self):
        super().__init__()
        self.grown = nn.ModuleList()

    def forward(self, x):
        self.grown.append(nn.Identity())
        return self.net(x) * (1 + 1e-2 * len(self.grown))


class CountingAttribute(Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.net(x) * (1 + 1e-2 * self.calls)


class NestedMetrics(Module):
    def __init__(self):
        super().__init__()
        self.seen = {"forward": {"calls": [0], "classes": Counter()}}

    def forward(self, x):
        scores, seen = self.net(x), self.seen["forward"]
        seen["calls"][0] += 1
        seen["classes"].update(scores.argmax(1).tolist())
        return scores * (1 + 1e-2 * seen["calls"][0] + 1e-3 * seen["classes"][0])


class CountingArray(Module):
    def __init__(self):
        super().__init__()
        self.usage = np.zeros((2, CLASSES))

    def forward(self, x):
        scores = self.net(x)
        self.usage[0] += np.bincount(scores.argmax(1).numpy(), minlength=CLASSES)
        return scores - 1e-2 * torch.from_numpy(self.usage[0]).to(scores)


@dataclass
class Tally:
    calls: int = 0
    last: list = field(default_factory=lambda: [0.0])


class SlottedTally:
    __slots__ = ("calls", "unset")

    def __init__(self):
        self.calls = 0


class CountingObject(Module):
    def __init__(self):
        super().__init__()
        self.tally, self.slotted = Tally(), SlottedTally()

    def forward(self, x):
        self.tally.calls += 1
        self.slotted.calls += 1
        self.tally.last[0] = 0.5 * self.tally.last[0] + x.mean().item()
        return self.net(x) * (1 + 1e-2 * (self.tally.calls + self.slotted.calls)) + self.tally.last[0]


class FillsEmptyObject(Module):
    def __init__(self):
        super().__init__()
        self.store = SimpleNamespace()

    def forward(self, x):
        self.store.calls = getattr(self.store, "calls", 0) + 1
        return self.net(x) * (1 + 1e-2 * self.store.calls)


class RunningMean:
    """A plain helper with tensors inside."""

    def __init__(self):
        self.mean, self.parts = torch.zeros(3), {"square": torch.zeros(3)}

    def update(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        self.parts["square"] = 0.9 * self.parts["square"] + 0.1 * x.square().mean((0, 2, 3))
        return (self.mean / (1 + self.parts["square"]))[:, None, None]


class NormalisesByHelper(Module):
    def __init__(self):
        super().__init__()
        self.running = RunningMean()

    def forward(self, x):
        return self.net(x - self.running.update(x))


class MovingCodebook(Module):
    """Prototypes that follow the features, kept where no buffer is, beside how often each was used."""

    def __init__(self):
        super().__init__()
        self.codebook = {"codes": torch.randn(5, CLASSES), "used": [torch.zeros(5)]}

    def forward(self, x):
        scores = self.net(x)
        codes, used = self.codebook["codes"], self.codebook["used"][0]
        nearest = torch.cdist(scores.detach(), codes).argmin(1)
        codes[nearest] = 0.8 * codes[nearest] + 0.2 * scores.detach()
        used += F.one_hot(nearest, 5).sum(0)
        return scores + 0.1 * codes[nearest] - 1e-2 * used[nearest][:, None]


class FeatureQueue(Module):
    def __init__(self):
        super().__init__()
        self.queue = deque([torch.zeros(CLASSES)], maxlen=3)

    def forward(self, x):
        scores = self.net(x) + 0.1 * torch.stack(list(self.queue)).mean(0)
        self.queue.append(scores.detach().mean(0))
        return scores


class CentresScores(Module):
    """A buffer that is updated from scores which are still a part of a graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(CLASSES))

    def forward(self, x):
        scores = self.net(x)
        self.centre.mul_(0.9).add_(0.1 * (scores if not self.training else scores.detach()).mean(0))
        return scores - self.centre


class HiddenTeacher(Module):
    """A teacher kept in a list, out of reach of ``parameters()`` and ``eval()``."""

    def __init__(self):
        super().__init__()
        self.teachers = [Net()]
        self.teachers[0].drop.p = 0.0

    def forward(self, x):
        with torch.no_grad():
            hint = self.teachers[0](x)
        return self.net(x) + 0.1 * hint + self.teachers[0].norm2.running_mean.mean()


class MetricInForward(Module):
    """A metric as a submodule, another in a dict: what they have seen scales the scores."""

    def __init__(self):
        super().__init__()
        from torchmetrics import MeanMetric

        self.brightness, self.others = MeanMetric(), {"largest": MeanMetric()}

    def forward(self, x):
        self.brightness.update(x.mean())
        self.others["largest"].update(x.amax())
        shift = self.brightness.compute() + 0.1 * self.others["largest"].compute()
        return self.net(x) * (1 + shift).detach()


class MetricOverValidation(Module):
    def __init__(self):
        super().__init__()
        from torchmetrics.classification import MulticlassAccuracy

        self.train_accuracy, self.accuracy = (MulticlassAccuracy(CLASSES) for _ in range(2))

    def training_step(self, batch, index):
        scores = self(batch[0])
        self.train_accuracy(scores, batch[1])
        self.log("train_accuracy", self.train_accuracy, on_step=True, on_epoch=True)
        return F.cross_entropy(scores, batch[1])

    def validation_step(self, batch, index):
        self.accuracy.update(self(batch[0]), batch[1])

    def on_validation_epoch_end(self):
        self.log("accuracy", self.accuracy.compute())
        self.accuracy.reset()
