"""Annotations over a probe's picture: its own objects in a thin double line, ignored ones in the same line dashed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from camdebug.probe.probe_set import ProbeSet
from camdebug.render.ink import DARK, LIGHT, outline, resize
from camdebug.render.overlay import scale_boxes

_DASH = 5
"""Length of dashes and of the gaps between them, in pixels."""
_FAINT = 0.6
"""Opacity of dashes: where much is ignored, the object itself still stands out."""


def draw_annotations(image: NDArray[np.uint8], probes: ProbeSet, index: int) -> None:
    """Draw what is annotated in one picture, in place.

    Args:
        image: ``(h, w, 3)``, the picture of the probe at any size.
        probes: the probe set.
        index: of the probe.
    """
    shown = image.shape[:2]
    dashed = image.copy()
    for box in scale_boxes(probes.ignore[index], probes.image_size, shown):
        outline(dashed, box)
    if probes.ignore_masks is not None:
        outline_mask(dashed, probes.ignore_masks[index])
    dashes = _dashes(shown)
    image[dashes] = np.rint(_FAINT * dashed[dashes] + (1 - _FAINT) * image[dashes]).astype(np.uint8)
    if probes.masks is not None:
        outline_mask(image, probes.masks[index])
        return
    for box in scale_boxes(probes.boxes[index], probes.image_size, shown):
        outline(image, box)


def outline_mask(image: NDArray[np.uint8], mask: Tensor) -> None:
    """Draw the edge of a mask in place: a light line just within it, and a dark one within that.

    Args:
        image: ``(h, w, 3)``.
        mask: ``(H, W)`` bool, of the same picture in its own size.
    """
    filled = _stretched(mask.numpy(), (image.shape[0], image.shape[1]))
    inner = _shrunk(filled)
    image[filled & ~inner] = LIGHT
    image[inner & ~_shrunk(inner)] = DARK


def _stretched(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Any pixel of the new size of which at least half, or the most that any has, lies in the mask."""
    grey = resize(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), size)[..., 0]
    filled: NDArray[np.bool_] = grey >= max(1, min(128, int(grey.max())))
    return filled


def _shrunk(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the pixels that touch others, or the border of the picture, with a side."""
    around = np.pad(filled, 1)
    kept: NDArray[np.bool_] = filled & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return kept


def _dashes(size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    pattern: NDArray[np.bool_] = (rows + columns) // _DASH % 2 == 0
    return pattern
