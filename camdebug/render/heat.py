"""Heat over pictures, for a notebook or a report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from camdebug.records import Heatmaps
from camdebug.render.colour import density, paint_heat, upsample
from camdebug.render.picture import find_colours, to_pictures


def draw_heat(images: Tensor, heat: Heatmaps | Tensor) -> NDArray[np.uint8]:
    """Lay maps over their pictures, on the fixed scale of all our pictures: the colour is the density of the heat.

    Args:
        images: ``(N, C, H, W)``, as the model receives them; their colours are restored as far as can be told.
        heat: maps of these pictures, or ``(N, h, w)``; what is below 0 is not drawn, and a map without evidence gets no
            colour.

    Returns:
        ``(N, H, W, 3)`` uint8 sRGB, such as ``PIL.Image.fromarray`` takes.

    Raises:
        ValueError: when there is not one map ``(h, w)`` for each picture.

    >>> import torch
    >>> draw_heat(torch.zeros(2, 3, 8, 8), torch.rand(2, 4, 4)).shape
    (2, 8, 8, 3)
    """
    maps = heat.maps if isinstance(heat, Heatmaps) else heat
    if images.ndim != 4 or maps.ndim != 3 or len(maps) != len(images):
        raise ValueError(
            f"heat: expected a map (h, w) for each of {len(images)} pictures (N, C, H, W), got {tuple(maps.shape)} for "
            f"{tuple(images.shape)}"
        )
    shown = to_pictures(images, find_colours(images.float()))
    size = (images.shape[2], images.shape[3])
    return paint_heat(shown, upsample(density(maps.detach().cpu().relu()), size))
