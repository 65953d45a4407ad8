"""The demo's network and its Lightning module: nothing of camdebug in it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camdebug.demo.data import CLASSES


def small_cnn() -> nn.Sequential:
    """Four convolutions, global average pooling, a linear head; 6x6 cells at the last stage for 48 px."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    layers += [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


class DigitClassifier(pl.LightningModule):
    """A plain classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_cnn()

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(N, K)`` of pictures ``(N, 3, 48, 48)``."""
        scores: Tensor = self.net(images)
        return scores

    def training_step(self, batch: Any, _index: int) -> Tensor:  # noqa: ANN401
        """Cross-entropy."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:  # noqa: ANN401
        """Accuracy."""
        images, labels = batch
        self.log("val/accuracy", (self(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), 2e-3)
