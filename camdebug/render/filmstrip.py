"""One probe over the epochs, on one colour scale: read it from left to right, no slider needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camdebug.render.colour import paint_heat, upsample
from camdebug.render.ink import (
    FAINT,
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
    shorten,
    text_width,
    write,
)
from camdebug.render.legend import heat_legend, legend_height
from camdebug.render.overlay import scale_boxes
from camdebug.render.words import two_digits

TILE = 112
_GAP = 4
_TITLE, _SMALL = 13, 11
_NARROWEST = 3 * TILE


@dataclass(frozen=True, eq=False)
class Frame:
    """One probe at one epoch.

    Attributes:
        epoch: its number.
        density: ``(h, w)`` heat relative to uniform, see :func:`camdebug.render.colour.density`; all zero for none.
        outside: share of the heat outside the boxes, ``None`` where it means nothing.
        correct: the model predicted the probe's label.
    """

    epoch: int
    density: Tensor
    outside: float | None
    correct: bool


def choose_columns(count: int, limit: int = 12) -> list[int]:
    """Which of ``count`` frames to show: all, or the first, the last and evenly spaced ones between.

    >>> choose_columns(3), choose_columns(100, limit=5)
    ([0, 1, 2], [0, 25, 50, 74, 99])
    """
    if limit < 2:
        raise ValueError(f"limit: expected at least 2 columns, got {limit}")
    if count <= limit:
        return list(range(count))
    return [round(i * (count - 1) / (limit - 1)) for i in range(limit)]


def draw_filmstrip(
    picture: NDArray[np.uint8],
    frames: Sequence[Frame],
    boxes: Tensor,
    *,
    title: str,
    chance: float | None = None,
    limit: int = 12,
    legend: bool = True,
) -> NDArray[np.uint8]:
    """Draw the strip of one probe.

    Args:
        picture: ``(H, W, 3)`` sRGB.
        frames: oldest first; at most ``limit`` of them are shown.
        boxes: ``(k, 4)`` xyxy in pixels of the picture.
        title: one line above, for example ``#12 kangaroo``.
        chance: share of the picture outside the boxes: what a uniform map would give.
        limit: number of epochs shown at most.
        legend: draw the colour bar beneath.

    Returns:
        ``(H', W', 3)`` uint8: the plain picture with its boxes, then a column an epoch.
    """
    shown = [frames[i] for i in choose_columns(len(frames), limit)]
    tiles = _tiles(picture, shown, boxes)
    top = line_height(_TITLE) + line_height(_SMALL) + MARGIN
    below = top + tiles[0].shape[0]
    bottom = below + 2 * line_height(_SMALL) + 2 * MARGIN
    width = max(_NARROWEST, 2 * MARGIN + len(tiles) * (TILE + _GAP) - _GAP)
    return _compose(tiles, shown, (width, top, below, bottom), title, chance, legend=legend)


def contact_sheet(strips: Sequence[tuple[str, NDArray[np.uint8]]], *, legend: bool = False) -> NDArray[np.uint8]:
    """Stack labelled pictures of any size into one.

    Args:
        strips: heading and ``(H, W, 3)`` uint8 picture; an empty heading, or that of the one before, is not written.
        legend: add one heat legend at the end, for strips that were drawn without.

    Returns:
        ``(H', W', 3)`` uint8.
    """
    from PIL import Image, ImageDraw

    size = 15
    width = max([_NARROWEST, *(strip.shape[1] for _, strip in strips)])
    before = ["", *(heading for heading, _ in strips)]
    headings = [h if h != b else "" for (h, _), b in zip(strips, before, strict=False)]
    heights = [bool(h) * (line_height(size) + MARGIN) + s.shape[0] for h, (_, s) in zip(headings, strips, strict=True)]
    canvas = sheet(width, max(1, sum(heights) + legend * (legend_height() + MARGIN)))
    pen, y = ImageDraw.Draw(canvas), 0
    for heading, (_, strip), height in zip(headings, strips, heights, strict=True):
        line = ellipsise(heading, size, width - 2 * MARGIN)
        write(pen, (MARGIN, y + MARGIN), line, size, bold=text_width(line, size, True) <= width - 2 * MARGIN)
        y += height
        canvas.paste(Image.fromarray(strip), (0, y - strip.shape[0]))
    if legend:
        canvas.paste(Image.fromarray(heat_legend(width)), (0, y))
    return np.asarray(canvas)


def _tiles(picture: NDArray[np.uint8], frames: Sequence[Frame], boxes: Tensor) -> list[NDArray[np.uint8]]:
    """The plain tile and one for each frame, all of one size, boxes drawn."""
    height, width = picture.shape[:2]
    size = (min(max(round(TILE * height / width), TILE // 2), 2 * TILE), TILE)
    plain = resize(picture, size)
    tiles = np.concatenate([plain[None], *(paint_heat(plain, heat) for heat in _upsampled(frames, size))])
    for box in scale_boxes(boxes, (height, width), size):
        outline(tiles, box)
    return list(tiles)


def _upsampled(frames: Sequence[Frame], size: tuple[int, int]) -> list[Tensor]:
    """``(n, *size)``: in one call where all frames share a grid, as they do unless the layer changed."""
    grids = {tuple(f.density.shape) for f in frames}
    if len(grids) == 1:
        return [upsample(torch.stack([f.density for f in frames]), size)]
    return [upsample(f.density[None], size) for f in frames]


def _compose(
    tiles: list[NDArray[np.uint8]],
    frames: Sequence[Frame],
    geometry: tuple[int, int, int, int],
    title: str,
    chance: float | None,
    *,
    legend: bool,
) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    width, top, below, bottom = geometry
    canvas = sheet(width, bottom + legend * (legend_height() + MARGIN))
    pen = ImageDraw.Draw(canvas)
    write(pen, (MARGIN, 2), fit(lambda n: shorten(title, n), _TITLE, width - 2 * MARGIN), _TITLE)
    heads = ["picture", *(f"epoch {f.epoch}" for f in frames)]
    known = "" if chance is None else f"chance {two_digits(chance)}"
    feet = [("outside heat" if chance is not None else "", known, FAINT), *(_foot(f) for f in frames)]
    for i, (tile, head, (first, second, colour)) in enumerate(zip(tiles, heads, feet, strict=True)):
        x = MARGIN + i * (TILE + _GAP)
        canvas.paste(Image.fromarray(tile), (x, top))
        middle = x + TILE / 2
        for y, text, shade in (
            (top - line_height(_SMALL), head, INK),
            (below + 2, first, INK),
            (below + 2 + line_height(_SMALL), second, colour),
        ):
            write(pen, (middle, y), ellipsise(text, _SMALL, TILE), _SMALL, colour=shade, centre=True)
    if legend:
        canvas.paste(Image.fromarray(heat_legend(width)), (0, bottom))
    return np.asarray(canvas)


def _foot(frame: Frame) -> tuple[str, str, tuple[int, int, int]]:
    """Two lines beneath a column and the colour of the second."""
    measured = "" if frame.outside is None else two_digits(frame.outside)
    first = measured if bool(frame.density.any()) else "no heat"
    return (first, "right", RIGHT) if frame.correct else (first, "wrong", WRONG)
