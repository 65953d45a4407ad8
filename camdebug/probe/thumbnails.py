"""What pictures are compared by: a hash of their pixels, and small grey copies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 32
"""Of a thumbnail, in pixels."""

_AT_ONCE = 256

_LUMA = (0.299, 0.587, 0.114)
"""Grey from red, green and blue (ITU-R BT.601), as Pillow does it."""


def digest_of(picture: Image) -> str:
    """SHA-256 (hex) of the size and the RGB pixels of a picture."""
    found = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    found.update((picture if picture.mode == "RGB" else picture.convert("RGB")).tobytes())
    return found.hexdigest()


def pixel_digest(image: Tensor) -> str:
    """SHA-256 (hex) of the shape, type and values of a picture ``(C, H, W)`` as a model receives it."""
    values = image.detach().cpu().contiguous()
    found = hashlib.sha256(f"{tuple(values.shape)} {values.dtype}:".encode())
    found.update(values.view(torch.uint8).numpy().data)
    return found.hexdigest()


def thumbnail_of(picture: Image) -> Tensor:
    """``(32, 32)`` uint8 grey: the picture squeezed into a square, each pixel the mean of the area it stands for."""
    from PIL.Image import Resampling

    small = picture.convert("L").resize((SIDE, SIDE), Resampling.BOX)
    return torch.from_numpy(np.array(small, dtype=np.uint8))


def thumbnails_of(images: Tensor) -> Tensor:
    """The same of pictures as a model receives them.

    Args:
        images: ``(N, C, H, W)``.

    Returns:
        ``(N, 32, 32)`` float32 in the units of the pictures; what is not finite counts as 0.
    """
    parts = [_squeezed(part) for part in torch.split(images, _AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, SIDE, SIDE)


def _squeezed(images: Tensor) -> Tensor:
    values = torch.nan_to_num(images.detach().cpu().to(torch.float32), nan=0.0, posinf=0.0, neginf=0.0)
    weights = torch.tensor(_LUMA if images.shape[1] == 3 else [1 / images.shape[1]] * images.shape[1])
    grey = (values * weights[:, None, None]).sum(1, keepdim=True)
    if min(grey.shape[2:]) < SIDE:
        return interpolate(grey, (SIDE, SIDE), mode="nearest-exact")[:, 0]
    return torch.nn.functional.adaptive_avg_pool2d(grey, SIDE)[:, 0]
