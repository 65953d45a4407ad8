"""How well boxes fit pictures: edges along their sides, and an inside that differs from what surrounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SIDE = 48
_CHANNELS = 3
_BAND = 1
"""Cells on both sides of a line that count as lying on it: annotations are never exact."""
_RING = 0.35
"""Width of the surround, in sides of the box."""


@dataclass(frozen=True, eq=False)
class SmallPictures:
    """Pictures made small, as running sums from which any rectangle's mean is read.

    Attributes:
        values: ``(C, n, h + 1, w + 1)`` of the pixels, each picture with a mean of 0 and a standard deviation of 1.
        across: ``(n, h + 1, w + 2)`` of the changes from a pixel to its right neighbour, mean over the channels.
        down: ``(n, h + 2, w + 1)`` of those to the neighbour below.
        scale: cells to a pixel of the pictures as they came, ``(x, y)``.
    """

    values: Floats
    across: Floats
    down: Floats
    scale: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.values.shape[2] - 1, self.values.shape[3] - 1


def shrink(images: Tensor, rows: Sequence[int]) -> SmallPictures | None:
    """Make some pictures small.

    Args:
        images: ``(N, C, H, W)`` floating and finite.
        rows: which of them.

    Returns:
        The longer side has 48 cells at most; ``None`` when nothing can be computed with such numbers.
    """
    height, width = images.shape[2:]
    size = small_size(height, width)
    few = np.unique(np.linspace(0, images.shape[1] - 1, _CHANNELS).round().astype(int)).tolist()
    # one by one: a copy of all would take longer than all the rest
    small = torch.stack([F.adaptive_avg_pool2d(images[row].float(), size)[few] for row in rows])
    return of_small(small, (height, width))


def small_size(height: int, width: int) -> tuple[int, int]:
    """Height and width in cells of a picture made small."""
    factor = min(1.0, _SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def of_small(small: Tensor, size: tuple[int, int]) -> SmallPictures | None:
    """The same of pictures that are small already.

    Args:
        small: ``(n, C, h, w)``.
        size: height and width of the pictures that they were made from.
    """
    small = small.double() - small.double().mean((2, 3), keepdim=True)
    pixels: Floats = (small / small.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1e-6)).numpy()
    if not bool(np.isfinite(pixels).all()):
        return None
    across, down = (np.abs(np.diff(pixels, axis=axis)).mean(1) for axis in (3, 2))
    return SmallPictures(
        _summed(pixels.swapaxes(0, 1)),
        _summed(np.pad(across, ((0, 0), (0, 0), (1, 1)))),
        _summed(np.pad(down, ((0, 0), (1, 1), (0, 0)))),
        (small.shape[3] / size[1], small.shape[2] / size[0]),
    )


def fits(pictures: SmallPictures, boxes: Floats, rows: Ints) -> Floats:
    """How well each box fits each of some pictures.

    Args:
        pictures: the pictures.
        boxes: ``(k, 4)`` xyxy in pixels of the pictures as they came; what lies outside is cut off.
        rows: ``(k, m)``, the pictures that each box is laid on.

    Returns:
        ``(k, m, 2)``: mean change across the four sides, and root mean square difference over the channels of inside
        and surround. NaN where nothing of the box lies in the picture.
    """
    scaled = boxes * np.array(pictures.scale * 2)
    corners, inside = _cells(scaled, pictures.size)
    found = np.stack([_edges(pictures, corners, rows), _contrast(pictures, scaled, corners, rows)], -1)
    found[~inside] = np.nan
    return found


def _edges(pictures: SmallPictures, corners: tuple[Ints, ...], rows: Ints) -> Floats:
    left, top, right, bottom = corners
    height, width = pictures.size
    total = np.zeros(rows.shape)
    for at in (left, right):
        low, high = np.clip(at - _BAND, 0, width + 1), np.clip(at + _BAND + 1, 0, width + 1)
        total += _rectangle(pictures.across, rows, low, top, high, bottom) / (bottom - top)[:, None]
    for at in (top, bottom):
        low, high = np.clip(at - _BAND, 0, height + 1), np.clip(at + _BAND + 1, 0, height + 1)
        total += _rectangle(pictures.down, rows, left, low, right, high) / (right - left)[:, None]
    return total / (4 * (2 * _BAND + 1))


def _contrast(pictures: SmallPictures, boxes: Floats, corners: tuple[Ints, ...], rows: Ints) -> Floats:
    grown = np.maximum(1.5, _RING * (boxes[:, 2:] - boxes[:, :2]))
    around, _ = _cells(np.concatenate([boxes[:, :2] - grown, boxes[:, 2:] + grown], 1), pictures.size)
    area, ring = _area(corners), np.maximum(_area(around) - _area(corners), 1)
    total = np.zeros(rows.shape)
    for channel in pictures.values:
        own, all_of_it = _rectangle(channel, rows, *corners), _rectangle(channel, rows, *around)
        total += (own / area[:, None] - (all_of_it - own) / ring[:, None]) ** 2
    # a box as large as the picture has no surround
    return np.where((_area(around) > area)[:, None], np.sqrt(total / len(pictures.values)), 0.0)


def _cells(boxes: Floats, size: tuple[int, int]) -> tuple[tuple[Ints, ...], NDArray[np.bool_]]:
    """Left, top, right and bottom in whole cells, one at least, and whether anything lies in the picture."""
    height, width = size
    inside = (boxes[:, 2] > np.maximum(boxes[:, 0], 0)) & (boxes[:, 3] > np.maximum(boxes[:, 1], 0))
    inside &= (boxes[:, 0] < width) & (boxes[:, 1] < height)
    whole = np.rint(np.clip(boxes, -1, max(size) + 1)).astype(np.int64)
    left, top = np.clip(whole[:, 0], 0, width - 1), np.clip(whole[:, 1], 0, height - 1)
    right, bottom = np.clip(whole[:, 2], left + 1, width), np.clip(whole[:, 3], top + 1, height)
    return (left, top, right, bottom), inside


def _area(corners: tuple[Ints, ...]) -> Ints:
    left, top, right, bottom = corners
    return (right - left) * (bottom - top)


def _summed(values: Floats) -> Floats:
    padded: Floats = np.pad(values.cumsum(-1).cumsum(-2), [(0, 0)] * (values.ndim - 2) + [(1, 0), (1, 0)])
    return padded


def _rectangle(summed: Floats, rows: Ints, left: Ints, top: Ints, right: Ints, bottom: Ints) -> Floats:
    """Sums ``(k, m)`` over the cells of each box in the pictures of its row."""
    flat, width = summed.reshape(-1), summed.shape[2]
    start = rows * (summed.shape[1] * width)

    def at(y: Ints, x: Ints) -> Floats:
        found: Floats = flat[start + (y * width + x)[:, None]]
        return found

    return at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)


def pooled(values: Floats, owner: Ints, count: int) -> Floats:
    """Mean over the boxes of each owner of ``(k, m, s)``, ``(count, m, s)``; boxes that are NaN do not count.

    An owner without any has NaN.
    """
    known = ~np.isnan(values[:, :1, :1])
    total, boxes = np.zeros((count, *values.shape[1:])), np.zeros((count, 1, 1))
    np.add.at(total, owner, np.where(known, values, 0.0))
    np.add.at(boxes, owner, known)
    means: Floats = np.divide(total, boxes, out=np.full_like(total, np.nan), where=boxes > 0)
    return means
