"""Probe tensors back to pictures that people recognise, with one rule for the whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SLACK = 0.02


@dataclass(frozen=True)
class Colours:
    """How to turn the model's input into display values: ``value * gain + offset`` a channel, in [0, 1].

    Attributes:
        gain: one factor a channel.
        offset: one summand a channel, in display units.
        sentence: what was assumed, for people.
    """

    gain: tuple[float, ...]
    offset: tuple[float, ...]
    sentence: str


def find_colours(images: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Colours:
    """Choose the rule for a whole set, from its statistics when given and from its range when not.

    The range [-1, 1] is tried before ImageNet's statistics, which would map that range into [0, 1] as well.

    Args:
        images: ``(N, C, H, W)`` floating, as the model receives them.
        mean: ``(C,)`` and
        std: ``(C,)`` of the normalisation.
    """
    channels = images.shape[1]
    if mean is not None and std is not None:
        return Colours(tuple(std), tuple(mean), "Colours restored with the mean and std of the probe set.")
    low, high = _range(images)
    floor, ceiling = min(low), max(high)
    if floor >= -1e-3 and ceiling <= 1 + 1e-3:
        return _same(channels, 1.0, 0.0, "Pixels lie in [0, 1] and are shown as they are.")
    if floor >= -1 - 1e-3 and ceiling <= 1 + 1e-3:
        return _same(channels, 0.5, 0.5, "Pixels lie in [-1, 1] and are shown as (x + 1) / 2.")
    if channels == 3 and _fits_imagenet(low, high):
        return Colours(_IMAGENET_STD, _IMAGENET_MEAN, "Colours restored with the mean and std of ImageNet (inferred).")
    span = ceiling - floor
    gain, offset = (1 / span, -floor / span) if 0 < span < float("inf") else (0.0, 0.5)
    return _same(channels, gain, offset, f"Pixels of {floor:.3g} to {ceiling:.3g} are shown from black to white.")


def to_pictures(images: Tensor, colours: Colours) -> NDArray[np.uint8]:
    """Turn ``(N, C, H, W)`` into ``(N, H, W, 3)`` sRGB; other than three channels become their mean as grey."""
    gain, offset = torch.tensor(colours.gain), torch.tensor(colours.offset)
    shown = images.detach().float().cpu() * gain[:, None, None] + offset[:, None, None]
    shown = shown.nan_to_num(0, 1, 0).clamp(0, 1)
    if shown.shape[1] != 3:
        shown = shown.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return shown.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _range(images: Tensor) -> tuple[list[float], list[float]]:
    """Lowest and highest value of each channel."""
    flat = images.detach().transpose(0, 1).flatten(1)
    return flat.amin(1).tolist(), flat.amax(1).tolist()


def _same(channels: int, gain: float, offset: float, sentence: str) -> Colours:
    return Colours((gain,) * channels, (offset,) * channels, sentence)


def _fits_imagenet(low: list[float], high: list[float]) -> bool:
    bounds = zip(low, high, _IMAGENET_MEAN, _IMAGENET_STD, strict=True)
    return all(lo * s + m >= -_SLACK and hi * s + m <= 1 + _SLACK for lo, hi, m, s in bounds)
