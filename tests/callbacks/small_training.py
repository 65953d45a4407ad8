"""Trainings of a second: a small network with all that makes bit-identity hard, and a Trainer that keeps quiet."""

import inspect
import logging
import pickle
import random
import warnings
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

from camdebug.callbacks.cam_monitor import CAMMonitor
from camdebug.callbacks.losses import LOOKS
from camdebug.callbacks.messages import CamdebugWarning
from camdebug.callbacks.trainer_facts import callback_bases
from camdebug.probe.probe_set import ProbeSet

for _name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

CLASSES = 4
BATCHES = 5
LIGHTNING_CHATTER = (
    ".*module\\(s\\) in eval mode at the start.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists.*",
    ".*`isinstance\\(treespec, LeafSpec\\)`.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ".*overfit.*",
    ".*grad attribute of a Tensor that is not a leaf.*",  # torch.compile's own
    ".*GPU available but not used.*",
)


class Net(nn.Module):
    """Dropout, a BatchNorm that learns, one that is frozen, and ReLU in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.relu, self.drop, self.head = nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, CLASSES)
        self.norm1.eval()

    def forward(self, x):
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        return self.head(self.drop(x.mean((2, 3))))


class Mixin:
    """The module of the default case, without the package's base class."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch, index):
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def predict_step(self, batch, index):
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


class Module(Mixin, pl.LightningModule):
    pass


class Pictures(Dataset):
    """Augmented at random from all three global generators."""

    def __init__(self, count=8 * BATCHES, augment=True):
        source = torch.Generator().manual_seed(0)
        self.x = torch.randn(count, 3, 16, 16, generator=source)
        self.y = torch.arange(count) % CLASSES
        self.augment = augment

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if not self.augment:
            return self.x[i], self.y[i]
        shift = 0.1 * torch.randn(3, 1, 1) + random.random() * 0.1 + float(np.random.rand()) * 0.1
        return self.x[i] + shift, self.y[i]


class Stream(IterableDataset):
    """Batches without a length."""

    def __iter__(self):
        yield from ((x, y) for x, y in zip(Pictures().x, Pictures().y, strict=True))


def train_loader(**options):
    return DataLoader(Pictures(), batch_size=8, shuffle=True, **options)


def val_loader(**options):
    return DataLoader(Pictures(16, augment=False), batch_size=8, **options)


def probes(per_class=20, classes=CLASSES, class_names=None, seed=9):
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(per_class * classes) % classes
    corner = torch.randint(0, 8, (len(labels), 2), generator=source).float()
    boxes = torch.cat([corner, corner + 7], 1)
    names = class_names or [f"kind {k}" for k in range(classes)]
    return ProbeSet(
        torch.randn(len(labels), 3, 16, 16, generator=source), labels, list(boxes[:, None]), class_names=names
    )


def monitor(**options):
    given = options.pop("probes", None)
    return CAMMonitor(
        given if given is not None else probes(), **{"chunk_size": 5, "verbose": False, "record": False, **options}
    )


class Memory(pl.loggers.Logger):
    """Keeps what is logged: a list of ``(step, {name: value})``."""

    def __init__(self):
        super().__init__()
        self.rows = []

    name, version = "memory", "0"

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass

    def of(self, key):
        return [(step, row[key]) for step, row in self.rows if key in row]

    def of_user(self):
        """What the training itself logged; ours may add rows, never values to the user's."""
        rows = [(s, {k: v for k, v in row.items() if not k.startswith("camdebug/")}) for s, row in self.rows]
        return [(s, row) for s, row in rows if set(row) - {"epoch"}]


def trainer(package=pl, **options):
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 2,
    }
    return package.Trainer(**{**quiet, **options})


@contextmanager
def ours():
    """Collect what camdebug says; anything else but Lightning's chatter is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        for text in LIGHTNING_CHATTER:
            warnings.filterwarnings("ignore", text)
        warnings.filterwarnings("always", category=CamdebugWarning)
        said = []
        yield said
    said += [str(w.message) for w in caught if issubclass(w.category, CamdebugWarning)]


@dataclass
class Case:
    """One configuration of a training."""

    model: Any = Module
    trainer: dict = field(default_factory=dict)
    callbacks: Any = list
    validation: bool = True
    loader: dict = field(default_factory=dict)
    compiled: bool = False


@dataclass
class Outcome:
    """Everything that must be the same with and without a monitor."""

    state: dict
    said: list
    model: Any
    trainer: Any
    memory: Memory


def seed(number):
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def run(case, *monitors):
    """Train from the same seed; the monitors come first in the list of callbacks."""
    seed(1)
    model, memory = case.model(), Memory()
    options = {"max_epochs": 3, "log_every_n_steps": 1, "logger": memory, **case.trainer}
    with ours() as said:
        fitted = trainer(callbacks=[*monitors, *case.callbacks()], **options)
        learner = torch.compile(model, backend="aot_eager") if case.compiled else model
        fitted.fit(learner, train_loader(**case.loader), val_loader() if case.validation else None)
    return Outcome(everything_of(model, fitted, memory), said, model, fitted, memory)


def from_checkpoint(path):
    """What ``fit`` takes to resume with ``weights_only=True``; before 2.6 it cannot be asked for that."""
    strict = "weights_only" in inspect.signature(pl.Trainer.fit).parameters
    return {"ckpt_path": path, "weights_only": True} if strict else {"ckpt_path": path}


def everything_of(model, fitted, memory):
    """Flat, comparable: weights, buffers, flags, attributes, optimisers, schedulers, generators, what was logged."""
    state = {f"weights.{k}": v.clone() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    state |= {f"buffer.{k}": v.clone() for k, v in model.named_buffers()}
    state |= {f"gradient.{k}": None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()}
    for name, module in model.named_modules():
        state |= {f"{name}.{k}": _plain(v) for k, v in vars(module).items() if not k.startswith("_")}
    for number, optimizer in enumerate(fitted.optimizers):
        held = optimizer.state_dict()
        state[f"optimizer.{number}.groups"] = held["param_groups"]
        for p, entries in held["state"].items():
            state |= {f"optimizer.{number}.{p}.{k}": v for k, v in entries.items()}
    state["schedulers"] = [config.scheduler.state_dict() for config in fitted.lr_scheduler_configs]
    state |= {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": str(np.random.get_state()[1:])}
    metrics = {k: v for k, v in fitted.callback_metrics.items() if not k.startswith("camdebug/")}
    state |= {"logged": memory.of_user(), "metrics": metrics}
    return state | {"step": fitted.global_step, "epoch": fitted.current_epoch}


def _plain(value):
    """An attribute and what it holds, as what can be compared. What belongs to a library counts by its type."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (np.ndarray, np.random.RandomState, np.random.Generator, random.Random)):
        return pickle.dumps(value)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, nn.Module):
        return {k: v.clone() for k, v in value.state_dict().items()} | {"training": value.training}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, int, float, str, set, type(None))):
        return value
    if type(value).__module__.startswith("identity_"):
        return {k: _plain(getattr(value, k)) for k in (*_slots_of(value), *getattr(value, "__dict__", ()))}
    return type(value).__name__


def _slots_of(value):
    return [name for name in getattr(value, "__slots__", ()) if hasattr(value, name)]


def differences(one, other):
    """Names of what is not bit for bit the same."""
    return sorted(one.keys() ^ other.keys()) + [k for k in one if k in other and not same_state(one[k], other[k])]


def _same(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def same_state(one, other):
    """Nested states with tensors in them are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_state(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same_state, one, other))
    return bool(_same(one, other))


def looks_taken(state):
    """How many looks the verdicts in a monitor's state are made of."""
    return state["observer"]["judge"]["screening"][1]


def lost_epochs(watched):
    """Epochs of the looks that a monitor has lost."""
    return [epoch for loss in watched._messages.losses if loss.what == LOOKS for epoch in loss.epochs]


def hooks_on(model):
    return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


class Spy(*callback_bases()):
    """Stands after the monitor and notes each look: epoch, hook, batches trained so far."""

    def __init__(self, watched):
        super().__init__()
        self.watched, self.last, self.looks = watched, None, []

    def on_validation_epoch_end(self, fitted, module):
        self._note(fitted, "val")

    def on_train_epoch_end(self, fitted, module):
        self._note(fitted, "train")

    def _note(self, fitted, hook):
        if self.watched.last_record is not self.last:
            self.last = self.watched.last_record
            self.looks.append((fitted.current_epoch, hook, fitted.fit_loop.total_batch_idx + 1))
