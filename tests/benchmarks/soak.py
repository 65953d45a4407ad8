"""A long training with and without CAMMonitor: memory, live tensors, open files and threads at every epoch's end.

Each training runs in a process of its own, so that neither inherits the other's memory.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from common import arguments, keep
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from camdebug import CAMMonitor, ProbeSet

SETTLED = 60  # epochs after which the frames of film strips are full and all code has been run
KINDS = ("memory_kib", "tensors", "files", "threads")


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(True)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-2)


class Census(pl.Callback):
    """Counts after everybody else has done what an epoch's end asks for."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = sum(isinstance(o, torch.Tensor) for o in gc.get_objects())
        memory = pages * os.sysconf("SC_PAGE_SIZE") // 1024
        self.rows.append((memory, tensors, len(os.listdir("/proc/self/fd")), threading.active_count()))


def squares(count: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures of noise with a light or dark square, their labels and boxes: learned at once, so everything is run."""
    source = torch.Generator().manual_seed(count)
    images, labels = torch.randn(count, 3, side, side, generator=source) * 0.3, torch.arange(count) % 2
    corners = torch.randint(2, side - 14, (count, 2), generator=source)
    for image, label, (x, y) in zip(images, labels, corners, strict=True):
        image[:, y : y + 12, x : x + 12] += 1.0 if label else -1.0
    return images, labels, torch.cat([corners, corners + 12], 1).float()


def train(epochs: int, *, watched: bool) -> list[tuple[int, int, int, int]]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels, _ = squares(64)
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    census = Census()
    watching = [CAMMonitor(ProbeSet(*squares(80)), verbose=False, max_overhead=None)] if watched else []
    with tempfile.TemporaryDirectory() as folder:
        pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            default_root_dir=folder,
            callbacks=[*watching, census],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        ).fit(Classifier(), loader, loader)
    return census.rows


def figures_of(rows: list[tuple[int, int, int, int]]) -> dict[str, Any]:
    """First and last value of everything once it has settled, and the slope of a straight line through it."""
    settled = np.array(rows[min(SETTLED, len(rows) // 2) :], dtype=float)
    epochs = np.arange(len(settled))
    return {
        name: {
            "first": int(column[0]),
            "last": int(column[-1]),
            "most": int(column.max()),
            "slope_per_epoch": round(float(np.polyfit(epochs, column, 1)[0]), 3),
        }
        for name, column in zip(KINDS, settled.T, strict=True)
    }


def measure(epochs: int, *, watched: bool) -> dict[str, Any]:
    """The figures of a training in a process of its own."""
    command = [sys.executable, __file__, "--epochs", str(epochs), "--only", str(int(watched))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    options = arguments("memory, tensors, files and threads of a long training", epochs=200, only=-1)
    if options.only >= 0:
        warnings.simplefilter("ignore")
        print(json.dumps(figures_of(train(options.epochs, watched=bool(options.only)))))
        return
    figures = {name: measure(options.epochs, watched=watched) for name, watched in (("with", True), ("without", False))}
    print(f"{options.epochs} epochs, from epoch {min(SETTLED, options.epochs // 2)} on")
    for kind in KINDS:
        for name in figures:
            f = figures[name][kind]
            print(f"  {kind:11} {name:8} {f['first']:8} to {f['last']:8}, {f['slope_per_epoch']:+.3f} an epoch")
    keep(options.json, {"epochs": options.epochs, **figures})


if __name__ == "__main__":
    main()
