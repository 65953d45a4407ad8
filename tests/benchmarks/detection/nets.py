"""Three kinds of small network for 28x28 pictures, each with a last stage of 3x3, 7x7 or 14x14 cells."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

GRIDS: Final = (3, 7, 14)

_WIDTHS: Final = {14: (10, 16, 16), 7: (12, 24, 28), 3: (12, 24, 32)}


def build(name: str, grid: int, classes: int) -> nn.Module:
    """A fresh network, one of ``NETS``, whose last stage has ``grid`` x ``grid`` cells."""
    return NETS[name](grid, classes)


class _Unit(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, ins: int, outs: int, *, stride: int = 1, padding: int = 1, dilation: int = 1) -> None:
        convolution = nn.Conv2d(ins, outs, 3, stride, padding, dilation, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outs), nn.ReLU())


def _trunk(grid: int) -> tuple[nn.Sequential, int]:
    """Stages down to the grid, and their last width. A fine grid is dilated, so that it sees a whole digit."""
    first, second, last = _WIDTHS[grid]
    stages = [_Unit(3, first, stride=2), _Unit(first, second, stride=2 if grid < 14 else 1)]
    if grid == 14:
        stages += [_Unit(second, last, padding=2, dilation=2), _Unit(last, last, padding=3, dilation=3)]
    elif grid == 7:
        stages += [_Unit(second, last), _Unit(last, last)]
    else:
        stages += [_Unit(second, second), _Unit(second, last, stride=2, padding=0)]
    return nn.Sequential(*stages), last


def cnn_gap(grid: int, classes: int) -> nn.Module:
    """Global average pooling and a linear head."""
    trunk, width = _trunk(grid)
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def cnn_flatten(grid: int, classes: int) -> nn.Module:
    """All cells, one by one, into a head with a hidden layer."""
    trunk, width = _trunk(grid)
    narrow = {14: 6, 7: 16, 3: 48}[grid]
    cells = nn.Sequential(nn.Conv2d(width, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU())
    hidden = nn.Sequential(nn.Linear(narrow * grid**2, 64), nn.BatchNorm1d(64), nn.ReLU())
    return nn.Sequential(trunk, cells, nn.Flatten(), hidden, nn.Linear(64, classes))


class _Block(nn.Module):
    """A ConvNeXt block, channels last: depthwise convolution, layer norm, two linear layers with GELU, residual."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(
            width, width, 5 if grid < 14 else 3, padding="same", dilation=1 if grid < 14 else 2, groups=width
        )
        back = nn.Linear(2 * width, width)
        nn.init.zeros_(back.weight)  # starts as the identity, as ConvNeXt's layer scale nearly does
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), back)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, h, w, C)`` to the same."""
        return x + self.mix(self.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class ConvNeXtLike(nn.Module):
    """A stem, blocks whose maps are ``(n, h, w, C)``, GELU, mean over cells, a linear head."""

    def __init__(self, grid: int, classes: int) -> None:
        super().__init__()
        first, _, width = _WIDTHS[grid]
        self.stem = nn.Sequential(_Unit(3, first, stride=2), _Unit(first, width, stride=1 if grid == 14 else 2))
        if grid == 3:
            self.stem.append(_Unit(width, width, stride=2, padding=0))
        self.blocks = nn.Sequential(_Block(width, grid), _Block(width, grid))
        self.last = nn.GELU()
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(n, K)`` of pictures ``(n, 3, 28, 28)``."""
        cells = self.last(self.blocks(self.stem(x).permute(0, 2, 3, 1)))
        return torch.as_tensor(self.head(cells.mean((1, 2))))


NETS: Final = {"cnn_gap": cnn_gap, "cnn_flatten": cnn_flatten, "convnext": ConvNeXtLike}
