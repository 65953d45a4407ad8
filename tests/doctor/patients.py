"""Small nets and probe sets for examinations: one in good health, and ways to spoil it."""

import torch
from torch import nn

from camdebug.probe.probe_set import ProbeSet

torch.set_num_threads(1)


class Net(nn.Module):
    """Pictures of 16x16 to 8x8 cells; every weight is above 0, so each map has evidence in each cell."""

    def __init__(self, classes=3, stride=2):
        super().__init__()
        self.stage = nn.Conv2d(3, 4, stride, stride)
        self.head = nn.Linear(4, classes)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                generator = torch.Generator().manual_seed(number)
                parameter.copy_(0.1 + torch.rand(parameter.shape, generator=generator))

    def forward(self, x):
        return self.head(self.stage(x).relu().mean((2, 3)))


def spoiled(change):
    """The net with its forward changed: ``change(net, x)``."""

    class Spoiled(Net):
        def forward(self, x):
            return change(self, x)

    return Spoiled()


def images(count=4, size=16, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def probes(counts=(25, 25, 25), box=(2, 2, 9, 10), size=16, seed=0, **options):
    """``counts`` probes of each class, with one box for all, 56 of 256 pixels."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    boxes = None if box is None else torch.tensor([box], dtype=torch.float32).repeat(len(labels), 1)
    names = [f"class {k}" for k in range(len(counts))]
    return ProbeSet(images(len(labels), size, seed), labels, boxes, **{"class_names": names, **options})
