"""One run: train a network in one world, look at it after every epoch as the product does, and know the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camdebug import ProbeSet
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.observe import Observer
from camdebug.records import EpochRecord
from tests.benchmarks.detection.cues import ABSENT
from tests.benchmarks.detection.nets import build
from tests.benchmarks.detection.worlds import Scenes, World

MEAN: Final = 0.3
STD: Final = 0.25

_LEARNING_RATE: Final = 5e-3
_BATCH: Final = 32
_TRAINING_SETS: Final = 5
"""The same digits in other places on other backgrounds; the epochs take turns. It makes up for their small number."""

_TRUTH_SCENES: Final = 300
_TRUTH_SCENES_ON_THE_WAY: Final = 75
_CLEAN_TRUTH_EVERY: Final = 10

Row = dict[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """What a run is. ``part`` of the study, then the world, then the net, then how it is watched."""

    part: str
    kind: str
    strength: float
    side: int
    classes: int
    net: str
    grid: int
    epochs: int
    per_class: int
    seed: int
    cue_in_probes: bool = True

    @property
    def name(self) -> str:
        """Of the run's file. It holds every field, so no two runs share a file."""
        seen = "seen" if self.cue_in_probes else "unseen"
        return (
            f"{self.part}-{self.kind}-rho{self.strength:g}-side{self.side}-k{self.classes}-{self.net}-grid{self.grid}"
            f"-e{self.epochs}-p{self.per_class}-{seen}-seed{self.seed}"
        )

    @property
    def world(self) -> World:
        return World(self.kind, self.classes, self.side, self.seed)


def run(config: RunConfig) -> Row:
    """Train and look. Uses one thread, so that several runs can share a machine.

    Returns:
        Primitives only: the configuration, one row an epoch, and what it cost.
    """
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    started = time.perf_counter()
    net = build(config.net, config.grid, config.classes)
    training, truth = _Training(config, net), _Truth(config)
    probes = _probes(config)
    observer = Observer(probes, seed=config.seed)
    passes = _Passes(net)
    epochs = []
    for epoch in range(config.epochs):
        training.epoch(epoch)
        last = epoch == config.epochs - 1
        with passes.counted(), borrowed(net):
            record = observer.look(net, ModelPrecision(net), epoch=epoch, looks_left=config.epochs - epoch)
        row = _row(record, config.classes)
        row["true_gap"] = truth.gaps(net, thorough=last) if last or truth.due(epoch) else None
        if last or (config.strength > 0 and (epoch + 1) % max(1, config.epochs // 3) == 0):
            row |= background_alone(net, probes)
        epochs.append(row)
    return {
        "config": asdict(config),
        "accuracy": _accuracy(net, truth),
        "epochs": epochs,
        "passes_per_probe": passes.rows / (config.epochs * len(probes)),
        "forward_seconds": _forward_seconds(net, probes.images),
        "seconds": round(time.perf_counter() - started, 2),
    }


def pictures(world: World, scenes: Scenes, cues: np.ndarray) -> Tensor:
    """Painted, and normalised as the networks receive them."""
    return (world.paint(scenes, cues) - MEAN) / STD


class _Training:
    """A plain loop with Adam."""

    def __init__(self, config: RunConfig, net: nn.Module) -> None:
        world, per_class = config.world, max(512, 80 * config.classes) // config.classes
        self._net = net
        self._optimiser = torch.optim.Adam(net.parameters(), _LEARNING_RATE)
        self._sets = []
        for again in range(min(_TRAINING_SETS, config.epochs)):
            scenes = world.draw(per_class, held_out=False, again=again)
            cues = world.own_cues(scenes, config.strength, again=again)
            self._sets.append((pictures(world, scenes, cues), torch.from_numpy(scenes.label)))

    def epoch(self, number: int) -> None:
        images, labels = self._sets[number % len(self._sets)]
        self._net.train()
        for rows in torch.randperm(len(images)).split(_BATCH):
            self._optimiser.zero_grad()
            F.cross_entropy(self._net(images[rows]), labels[rows]).backward()
            self._optimiser.step()


class _Truth:
    """Counterfactual copies: the same scenes with each picture's own cue, and with the cue of another class."""

    def __init__(self, config: RunConfig) -> None:
        world, self._classes = config.world, config.classes
        scenes = world.draw(_TRUTH_SCENES, held_out=True, again=2)
        self.own = pictures(world, scenes, scenes.label)
        self._other = pictures(world, scenes, world.other_cues(scenes, again=2))
        self.labels = torch.from_numpy(scenes.label)
        self._every = 1 if config.strength > 0 else _CLEAN_TRUTH_EVERY

    def due(self, epoch: int) -> bool:
        return (epoch + 1) % self._every == 0

    def gaps(self, net: nn.Module, *, thorough: bool) -> list[float]:
        """Of each class: accuracy with the own cue minus accuracy with that of another class."""
        step = 1 if thorough else _TRUTH_SCENES // _TRUTH_SCENES_ON_THE_WAY
        labels = self.labels[::step]
        own = scores(net, self.own[::step]).argmax(1) == labels
        other = scores(net, self._other[::step]).argmax(1) == labels
        falls = own.double() - other.double()
        return [round(float(falls[labels == k].mean()), 4) for k in range(self._classes)]


class _Passes:
    """Counts the pictures that go through a network."""

    def __init__(self, net: nn.Module) -> None:
        self._net, self.rows = net, 0

    def counted(self) -> Any:
        return self._net.register_forward_pre_hook(self._count)

    def _count(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.rows += len(inputs[0])


def _probes(config: RunConfig) -> ProbeSet:
    """Drawn like the training's pictures, of digits that it does not see; without the cue where that is asked for."""
    world = config.world
    scenes = world.draw(config.per_class, held_out=True, again=1)
    cues = world.own_cues(scenes, config.strength, again=_TRAINING_SETS)
    if not config.cue_in_probes:
        cues = np.full_like(cues, ABSENT)
    return ProbeSet(
        pictures(world, scenes, cues),
        torch.from_numpy(scenes.label),
        scenes.boxes,
        class_names=[f"digit {k}" for k in range(config.classes)],
        mean=[MEAN] * 3,
        std=[STD] * 3,
    )


def _row(record: EpochRecord, classes: int) -> Row:
    """What is kept of a look: a list over classes for every measure."""
    contrasts = [record.contrast_of(k) for k in range(classes)]
    swaps = [next((s for s in record.swaps if k in s.classes), None) for k in range(classes)]
    row: Row = {"epoch": record.epoch, "look_seconds": _short(record.seconds)}
    for name in ("recall", "outside_mass", "outside_lift", "log_density_ratio"):
        row[name] = _column(record.classes, name)
    for name in ("value", "standard_error", "p_value"):
        row[f"contrast_{name}"] = _column(contrasts, name)
    for name in ("gap", "standard_error", "margin_gap", "margin_standard_error", "p_value", "decides"):
        row[f"swap_{name}"] = _column(swaps, name)
    for name in ("panel_gaps", "panel_p_values"):
        row[f"swap_{name}"] = [s and [_short(v) for v in getattr(s, name)] for s in swaps]
    row["level"] = [v.level.value for v in record.verdicts]
    return row


def _column(found: Sequence[object], name: str) -> list[Any]:
    return [None if one is None else _short(getattr(one, name)) for one in found]


def _short(value: Any) -> Any:
    """Floats with four digits; ``None`` for what is no number."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None


def background_alone(net: nn.Module, probes: ProbeSet) -> Row:
    """How much of a class's probability its backgrounds earn alone, the objects filled with their surrounds' colour.

    A comparator of the benchmark, not of the package. ``alone_value``: mean probability of the class on its own
    backgrounds minus that on all (what a permutation of labels would give); ``alone_z``: the same in its standard
    deviations under permutation.
    """
    likely = scores(net, without_objects(probes)).softmax(1).double()
    values, ratios = [], []
    for k in range(likely.shape[1]):
        mine, column = probes.labels == k, likely[:, k]
        count, total = int(mine.sum()), len(column)
        value = float(column[mine].mean() - column.mean())
        spread = float(column.var(correction=0)) * (total - count) / (count * (total - 1))
        values.append(_short(value))
        ratios.append(_short(value / math.sqrt(spread)) if spread > 0 else 0.0)
    return {"alone_value": values, "alone_z": ratios}


def without_objects(probes: ProbeSet) -> Tensor:
    """The probes, every box filled with the mean of the two pixels around it."""
    inside = probes.object_masks()[:, None].float()
    around = F.max_pool2d(inside, 5, 1, 2) - inside
    colour = (probes.images * around).sum((2, 3), keepdim=True) / around.sum((2, 3), keepdim=True)
    return torch.where(inside > 0, colour, probes.images)


def scores(net: nn.Module, images: Tensor) -> Tensor:
    """``(n, K)`` in evaluation mode, without a graph."""
    net.eval()
    with torch.inference_mode():
        return torch.cat([net(part) for part in images.split(256)])


def _accuracy(net: nn.Module, truth: _Truth) -> float:
    return round(float((scores(net, truth.own).argmax(1) == truth.labels).double().mean()), 4)


def _forward_seconds(net: nn.Module, images: Tensor) -> float:
    """Of a plain forward of all probes in the look's own chunks; the fastest of five."""
    net.eval()
    found = []
    with torch.inference_mode():
        for _ in range(5):
            started = time.perf_counter()
            for part in images.split(32):
                net(part)
            found.append(time.perf_counter() - started)
    return round(min(found), 5)
