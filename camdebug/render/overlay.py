"""One probe at one epoch: the picture under its heat, its boxes, and a few lines that say what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from camdebug.render.colour import density, paint_heat, upsample
from camdebug.render.ink import (
    INK,
    MARGIN,
    RIGHT,
    WRONG,
    ellipsise,
    fit,
    line_height,
    outline,
    resize,
    sheet,
    text_width,
    write,
)
from camdebug.render.words import Reading

_SMALLEST, _USUAL, _LARGEST, _LONGEST = 200, 256, 320, 640
_NARROWEST = 224
_SIZES = (13, 12, 11)


@dataclass(frozen=True, eq=False)
class Overlay:
    """A finished picture.

    Attributes:
        image: ``(H, W, 3)`` uint8 sRGB, caption lines included.
        boxes: xyxy of the object's boxes in pixels of ``image``.
    """

    image: NDArray[np.uint8]
    boxes: tuple[tuple[float, float, float, float], ...]


def draw_overlays(
    pictures: NDArray[np.uint8], maps: Tensor, boxes: Sequence[Tensor], readings: Sequence[Reading]
) -> list[Overlay]:
    """Draw several probes at one epoch.

    Args:
        pictures: ``(N, H, W, 3)`` sRGB, see :func:`camdebug.render.picture.to_pictures`.
        maps: ``(N, h, w)`` raw maps; those without evidence get no colour.
        boxes: for each probe ``(k, 4)`` xyxy in pixels of the picture.
        readings: what is said beneath each.

    Returns:
        One overlay for each probe, all of one size: at least 200 pixels on the short side and about 320 at most.
    """
    size = display_size(pictures.shape[1], pictures.shape[2])
    heat = upsample(density(maps), size)
    room = max(size[1], _NARROWEST) - 2 * MARGIN
    text_size = _text_size(readings, room)
    lines = 1 + max((len(_lines(reading, text_size, room)) for reading in readings), default=1)
    drawn = []
    for picture, warmth, own, reading in zip(pictures, heat, boxes, readings, strict=True):
        painted = paint_heat(resize(picture, size), warmth[None])[0]
        scaled = scale_boxes(own, picture.shape[:2], size)
        for box in scaled:
            outline(painted, box)
        drawn.append(_with_caption(painted, scaled, reading, text_size, lines))
    return drawn


def display_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is shown: whole factors for small ones, so that their pixels stay crisp.

    >>> display_size(48, 48), display_size(224, 224), display_size(512, 1024)
    ((240, 240), (224, 224), (320, 640))
    """
    short = min(height, width)
    whole = math.ceil(_SMALLEST / short)
    if short < _SMALLEST:
        factor = float(whole) if short * whole <= _LARGEST else _USUAL / short
    else:
        factor = min(1.0, _LARGEST / short)
    factor = min(factor, _LONGEST / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def scale_boxes(boxes: Tensor, before: Sequence[int], after: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """Move ``(k, 4)`` xyxy boxes from a picture of size (height, width) ``before`` to one of size ``after``."""
    y, x = after[0] / before[0], after[1] / before[1]
    return [(b[0] * x, b[1] * y, b[2] * x, b[3] * y) for b in boxes.tolist()]


def _with_caption(
    painted: NDArray[np.uint8],
    boxes: list[tuple[float, float, float, float]],
    reading: Reading,
    size: int,
    lines: int,
) -> Overlay:
    from PIL import Image, ImageDraw

    height, width = painted.shape[:2]
    full = max(width, _NARROWEST)
    left, room = (full - width) // 2, full - 2 * MARGIN
    canvas = sheet(full, height + lines * line_height(_SIZES[0]) + MARGIN)
    canvas.paste(Image.fromarray(painted), (left, 0))
    pen = ImageDraw.Draw(canvas)
    colour = RIGHT if reading.correct else WRONG
    write(pen, (MARGIN, height + 2), fit(reading.headline, size, room), size, colour=colour)
    for number, line in enumerate(_lines(reading, size, room), 1):
        place = (MARGIN, height + 2 + number * line_height(size))
        write(pen, place, ellipsise(line, size, room), size, colour=INK)
    return Overlay(np.asarray(canvas), tuple((b[0] + left, b[1], b[2] + left, b[3]) for b in boxes))


def _lines(reading: Reading, size: int, room: int) -> list[str]:
    """The numbers in one line, or each with its chance level in a line of its own."""
    return [reading.numbers] if text_width(reading.numbers, size) <= room else reading.numbers.split("  ")


def _text_size(readings: Sequence[Reading], room: int) -> int:
    """The largest size at which each number fits in a line, and all headlines with names of ordinary length."""
    lines = [line for r in readings for line in (*r.numbers.split("  "), r.headline(12))]
    return next((s for s in _SIZES if all(text_width(line, s) <= room for line in lines)), _SIZES[-1])
