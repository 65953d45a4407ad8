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
        super().__init__(probes, verbose=False, **options)
        self.ratios: list[float] = []

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
        self.ratios.append(blocked / ((before + after) / 2))


def probe_set(pictures: int) -> ProbeSet:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(pictures, 2, generator=generator) * 100
    sides = 60 + torch.rand(pictures, 2, generator=generator) * 60
    images = torch.rand(pictures, 3, 224, 224, generator=generator)
    return ProbeSet(images, torch.arange(pictures) % 2, torch.cat([corners, corners + sides], 1))


def ratios(network: str, pictures: int, epochs: int, *, contrast: bool) -> list[float]:
    monitor = Timed(probe_set(pictures), contrast=contrast, log_probes=32)
    batch = TensorDataset(torch.rand(4, 3, 224, 224), torch.arange(4))
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
    assert monitor.last_record is not None
    assert bool(monitor.last_record.contrasts) is contrast
    return monitor.ratios[1:]  # the first look also imports what draws


def main() -> None:
    options = arguments("how long CAMMonitor blocks training, in plain forwards", epochs=6, pictures=32)
    cases = {
        "maps, measures, drawing, logging": (options.pictures, False),
        # 20 probes of each of two classes, the least that is tested
        "the same with background contrast": (max(options.pictures, 40), True),
    }
    figures: dict[str, Any] = {}
    for network in ("resnet18", "resnet50"):
        print(f"\n{network}, probes of 224 px, 32 of them drawn and logged to TensorBoard (plain forward = 1)")
        for name, (pictures, contrast) in cases.items():
            s = spread(ratios(network, pictures, options.epochs, contrast=contrast))
            figures.setdefault(network, {})[name] = {**s, "probes": pictures}
            print(f"  {name:36} {s['median']:6.2f}  ({s['min']:.2f} to {s['max']:.2f}), {pictures} probes", flush=True)
    keep(options.json, figures)


if __name__ == "__main__":
    main()
