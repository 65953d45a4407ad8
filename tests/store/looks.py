"""Real looks at a tiny network, and what tests ask of a record of them."""

import hashlib
from dataclasses import fields, is_dataclass, replace
from functools import cache
from unittest.mock import patch

import torch
from torch import Tensor, nn

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.observe import Observer
from camdebug.observe import observer as observer_room
from camdebug.probe.probe_set import ProbeSet
from camdebug.store import Manifest

RAN = []


def run_code():
    RAN.append("run")


class Runs:
    """Unpickling it runs code."""

    def __reduce__(self):
        return run_code, ()


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def probe_set(classes=2, per_class=20, side=16, annotated=True):
    source = torch.Generator().manual_seed(3)
    labels = torch.arange(per_class * classes) % classes
    corner = torch.randint(0, side // 2, (len(labels), 2), generator=source).float()
    boxes = torch.cat([corner, corner + side // 2 - 1], 1)
    pictures = torch.randn(len(labels), 3, side, side, generator=source)
    return ProbeSet(pictures, labels, boxes if annotated else None)


@cache
def real_looks(count=2, classes=2, per_class=20, side=16, annotated=True):
    """Planned looks, which measure all there is, before one that does not."""
    torch.manual_seed(0)
    observer, net = Observer(probe_set(classes, per_class, side, annotated)), Net(classes)

    def learned(labels, _):
        return dict.fromkeys(labels.tolist(), True)

    with borrowed(net), patch.object(observer_room, "learned_classes", learned):
        observer.remember_initial(net, ModelPrecision(net))
        return tuple(
            observer.look(net, ModelPrecision(net), epoch=epoch, looks_left=count - epoch) for epoch in range(count)
        )


def look_at(epoch):
    """A look, quickly, when its content does not matter."""
    return replace(real_looks()[0], epoch=epoch)


def manifest(run_id="run", **given):
    facts = {
        "run_id": run_id,
        "method": "hirescam",
        "layer": "body.1",
        "layer_reason": "the last spatial stage",
        "weights": "current",
        "probe_fingerprint": "f" * 64,
        "probes": 40,
        "source_ids": tuple(f"picture {i}.jpg" for i in range(40)),
        "class_names": ("cat", "dog"),
        "class_slugs": ("cat", "dog"),
        "seed": 0,
        "alpha": 0.05,
        "every_n_epochs": 1,
    }
    return Manifest(**{**facts, **given})


def tree(folder):
    """Digest of every file below a folder, by its path; links by where they lead."""
    return {
        str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def leaves(value, path=""):
    """Path and value of all that a dataclass holds."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
    elif isinstance(value, tuple) and any(map(is_dataclass, value)):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}.{i}")
    else:
        yield path, value


def same(one, other):
    """Equal, bit for bit, where NaN equals NaN."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(-9e9), other.nan_to_num(-9e9))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))
