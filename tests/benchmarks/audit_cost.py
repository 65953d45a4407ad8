"""How long an audit takes, in plain ``trainer.predict`` runs over the same pictures."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from common import arguments, keep, paired_ratios, spread
from torch.utils.data import DataLoader, Dataset

from camdebug import audit

PER_CLASS = 20


class Annotated(Dataset[Any]):
    """Pictures of 224 px in memory, so that reading them costs nothing."""

    classes = ("a", "b")

    def __init__(self, pictures: int) -> None:
        generator = torch.Generator().manual_seed(0)
        corners = torch.rand(pictures, 2, generator=generator) * 100
        sides = 60 + torch.rand(pictures, 2, generator=generator) * 60
        self.images = torch.rand(pictures, 3, 224, 224, generator=generator)
        self.boxes = torch.cat([corners, corners + sides], 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.images[index], {"boxes": self.boxes[index][None], "labels": torch.tensor([index % 2])}


class Classifier(pl.LightningModule):
    def __init__(self, network: str) -> None:
        super().__init__()
        import torchvision

        self.net = getattr(torchvision.models, network)(num_classes=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def predict_step(self, batch: Any, _index: int) -> torch.Tensor:
        return self(batch)


def quiet() -> pl.Trainer:
    options = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, **options)


def main() -> None:
    options = arguments("how long an audit takes, in plain trainer.predict runs", rounds=3, pictures=96, batch_size=32)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    data, figures = Annotated(options.pictures), {}
    for network in ("resnet18",):
        model = Classifier(network).eval()
        looked: list[Any] = []

        def plain(model: Classifier = model) -> None:
            quiet().predict(model, DataLoader(data.images, batch_size=options.batch_size))

        def audited(per_class: int, model: Classifier = model, looked: list[Any] = looked) -> None:
            report = audit(quiet(), model, data, per_class=per_class, batch_size=options.batch_size)
            assert len(report.pictures) == options.pictures
            looked.append(report.look)

        cases = {
            "heat": lambda: audited(0),
            f"heat and a look through {2 * PER_CLASS} probes": lambda: audited(PER_CLASS),
        }
        found = paired_ratios(plain, cases, dict.fromkeys(cases, options.rounds))
        assert looked[-1].probes == (PER_CLASS, PER_CLASS)
        figures[network] = {name: spread(ratios) for name, ratios in found.items()}
        heat, both = (figures[network][name]["median"] for name in cases)
        figures[network]["the look alone, in forwards of its probes"] = round(
            (both - heat) * options.pictures / (2 * PER_CLASS), 2
        )
        print(f"\n{network}, {options.pictures} pictures of 224 px (plain predict = 1): {figures[network]}", flush=True)
    keep(options.json, figures)


if __name__ == "__main__":
    main()
