"""How long CAMMonitor blocks a real training, in plain forwards of its probe set."""

from __future__ import annotations

import tempfile
import time
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from common import arguments, keep, seconds, spread
from pytorch_lightning.loggers import TensorBoardLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from camdebug import CAMMonitor, ProbeSet
from camdebug.observe import observer
from camdebug.records import EpochRecord


class Classifier(pl.LightningModule):
    def __init__(self, network: str) -> None:
        super().__init__()
        import torchvision

        self.net = getattr(torchvision.models, network)(num_classes=4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-4)


class Timed(CAMMonitor):
    """Times the hook that looks, and a plain forward of the probes before and after it."""

    def __init__(self, probes: ProbeSet, **options: Any) -> None:
        super().__init__(probes, verbose=False, max_overhead=None, **options)
        self.ratios: dict[str, list[float]] = {}

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        def plain() -> None:
            with torch.inference_mode():
                pl_module(self.probes.images)

        pl_module.eval()
        before = seconds(plain)
        pl_module.train()
        started = time.perf_counter()
        super().on_train_epoch_end(trainer, pl_module)
        blocked = time.perf_counter() - started
        pl_module.eval()
        after = seconds(plain)
        pl_module.train()
        self.ratios.setdefault(kind_of(self.last_record), []).append(blocked / ((before + after) / 2))


SCREEN, PLANNED, FULL = "screen", "planned look", "planned look with the full check of maps"


def kind_of(record: EpochRecord | None) -> str:
    """What a look did: the screen alone, or the panels and places as well, or also the check of steadiness."""
    assert record is not None
    if not record.places and not any(swap.decides for swap in record.swaps):
        return SCREEN
    return PLANNED if record.steadiness is None or record.steadiness.shift is None else FULL


def probe_set(pictures: int) -> ProbeSet:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(pictures, 2, generator=generator) * 100
    sides = 60 + torch.rand(pictures, 2, generator=generator) * 60
    images = torch.rand(pictures, 3, 224, 224, generator=generator)
    return ProbeSet(images, torch.arange(pictures) % 2, torch.cat([corners, corners + sides], 1))


def ratios(network: str, pictures: int, epochs: int, *, contrast: bool, learned: bool) -> dict[str, list[float]]:
    """By kind of look. ``learned``: take all classes as learned from the start, which a net on noise never is."""
    monitor = Timed(probe_set(pictures), contrast=contrast, log_probes=32)
    batch = TensorDataset(torch.rand(4, 3, 224, 224), torch.arange(4))
    truth = observer.learned_classes
    observer.learned_classes = (lambda labels, _: dict.fromkeys(labels.tolist(), True)) if learned else truth
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(
            max_epochs=epochs + 1,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[monitor],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Classifier(network), DataLoader(batch, batch_size=4))
    observer.learned_classes = truth
    assert monitor.last_record is not None
    assert bool(monitor.last_record.contrasts) is contrast
    first = next(iter(monitor.ratios.values()))
    del first[0]  # it also imports what draws
    return monitor.ratios


def main() -> None:
    options = arguments("how long CAMMonitor blocks training, in plain forwards", epochs=6, pictures=32)
    enough = max(options.pictures, 40)  # 20 probes of each of two classes, the least that is tested
    figures: dict[str, Any] = {}
    for network in ("resnet18", "resnet50"):
        print(f"\n{network}, probes of 224 px, 32 of them drawn and logged to TensorBoard (plain forward = 1)")
        without = ratios(network, options.pictures, options.epochs, contrast=False, learned=False)
        screen = ratios(network, enough, options.epochs, contrast=True, learned=False)
        planned = ratios(network, enough, options.epochs, contrast=True, learned=True)
        cases = {
            "maps, measures, drawing, logging": (options.pictures, without[SCREEN]),
            "the same with background contrast": (enough, screen[SCREEN]),
            PLANNED: (enough, planned[PLANNED]),
            FULL: (enough, planned[FULL]),
        }
        for name, (pictures, found) in cases.items():
            s = spread(found)
            figures.setdefault(network, {})[name] = {**s, "probes": pictures}
            print(f"  {name:40} {s['median']:6.2f}  ({s['min']:.2f} to {s['max']:.2f}), {pictures} probes", flush=True)
    keep(options.json, figures)


if __name__ == "__main__":
    main()
