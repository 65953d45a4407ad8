"""Colours of heat and of contrasts. The scale is fixed: equal density has equal colour in every picture and epoch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from camdebug.measures.localisation import has_evidence

FULL_SCALE = 6.0
"""Heat density (1 = uniform) from which on the colour no longer changes."""

_STEPS_PER_UNIT = 100
_STRONGEST = 0.88
_CUE_STEPS = 200


def density(maps: Tensor) -> Tensor:
    """Heat relative to a uniform map.

    Args:
        maps: ``(N, h, w)``, >= 0, in any unit.

    Returns:
        ``(N, h, w)`` float32 with mean 1 over the grid; all zero for a map without evidence.

    >>> density(torch.tensor([[[0., 2.], [0., 2.]]]))
    tensor([[[0., 2.],
             [0., 2.]]])
    """
    usable = has_evidence(maps)[:, None, None]
    safe = torch.where(usable, maps.double(), torch.ones((), dtype=torch.float64)).clamp_min(0)
    return torch.where(usable, safe / safe.mean((1, 2), keepdim=True), 0.0).float()


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of ``(N, h, w)`` to ``(N, *size)`` float32. For pictures only: measures use the native grid."""
    coarse = maps.float()[:, None]
    shrinks = maps.shape[1] > size[0] or maps.shape[2] > size[1]
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False, antialias=shrinks)[:, 0]


@lru_cache(maxsize=1)
def heat_lut() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Colours ``(601, 3)`` and opacities ``(601,)`` for densities 0, 0.01, ..., ``FULL_SCALE``.

    The colours are matplotlib's inferno without its darkest part, which would look like shade in the picture.
    """
    from matplotlib import colormaps

    share = np.linspace(0, 1, int(FULL_SCALE * _STEPS_PER_UNIT) + 1)
    colours = colormaps["inferno"](0.24 + 0.74 * share)[:, :3]
    return np.rint(colours * 255).astype(np.uint8), _STRONGEST * share**0.6


@lru_cache(maxsize=1)
def cue_lut() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Colours ``(401, 3)`` and opacities ``(401,)`` for -1 (blue) to 1 (red) of a symmetric scale, clear at 0."""
    from matplotlib import colormaps

    share = np.linspace(-1, 1, 2 * _CUE_STEPS + 1)
    colours = colormaps["RdBu_r"](0.5 + 0.42 * np.sign(share) * np.abs(share) ** 0.5)[:, :3]
    return np.rint(colours * 255).astype(np.uint8), 0.9 * np.abs(share) ** 0.7


def paint_heat(picture: NDArray[np.uint8], densities: Tensor) -> NDArray[np.uint8]:
    """Lay heat over a picture.

    Args:
        picture: ``(H, W, 3)`` or ``(N, H, W, 3)``, sRGB.
        densities: ``(N, H, W)`` from :func:`density`, already of the picture's size.

    Returns:
        ``(N, H, W, 3)``; where the density is 0 the picture is unchanged to the bit.
    """
    # numpy, because torch's threads would wait for cores that the data loaders use
    steps = np.clip(densities.numpy(), 0, FULL_SCALE)
    steps *= _STEPS_PER_UNIT
    steps += 0.5
    return _blend(picture, steps.astype(np.int16), _fixed_point("heat"))


def paint_cue(picture: NDArray[np.uint8], values: Tensor, scale: float) -> NDArray[np.uint8]:
    """Lay a signed map over a picture.

    Args:
        picture: ``(H, W, 3)`` or ``(N, H, W, 3)``, sRGB.
        values: ``(N, H, W)``, already of the picture's size.
        scale: absolute value (> 0) of the strongest colour.

    Returns:
        ``(N, H, W, 3)``; where the value is 0 the picture is unchanged to the bit.
    """
    share = np.clip(np.nan_to_num(values.numpy() / scale, posinf=0, neginf=0), -1, 1)
    steps = np.rint(share * _CUE_STEPS) + _CUE_STEPS
    return _blend(picture, steps.astype(np.int16), _fixed_point("cue"))


@lru_cache(maxsize=2)
def _fixed_point(which: str) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Colour times opacity, and transparency, in 1/256: integer blending is fast and exact at opacity 0."""
    colours, opacity = heat_lut() if which == "heat" else cue_lut()
    share = np.rint(opacity * 256)
    return (colours * share[:, None] + 128).astype(np.uint16), (256 - share).astype(np.uint16)


def _blend(
    picture: NDArray[np.uint8], steps: NDArray[np.int16], tables: tuple[NDArray[np.uint16], NDArray[np.uint16]]
) -> NDArray[np.uint8]:
    colour, transparency = tables
    mixed = transparency[steps][..., None] * picture
    mixed += colour[steps]
    mixed >>= 8
    return mixed.astype(np.uint8)
