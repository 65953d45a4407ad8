"""Legend bars: the colours as they look over mid grey, with numbers and what they count."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from camdebug.render.colour import FULL_SCALE, paint_cue, paint_heat
from camdebug.render.ink import DARK, FAINT, MARGIN, ellipsise, line_height, sheet, text_width, write
from camdebug.render.words import two_digits

SIZE = 11
_BAR = 10


def legend_height() -> int:
    """Height of a legend in pixels."""
    return 2 * line_height(SIZE) + _BAR + 6


@lru_cache(maxsize=32)
def heat_legend(width: int) -> NDArray[np.uint8]:
    """Legend of the heat scale, ``(legend_height(), width, 3)``."""
    bar = _bar_width(width)
    ramp = torch.linspace(0, FULL_SCALE, bar).expand(1, _BAR, bar)
    grey = np.full((_BAR, bar, 3), 128, np.uint8)
    ticks = ((0.0, "0"), (1 / FULL_SCALE, "1"), (1.0, f"{FULL_SCALE:g}+"))
    return _legend(width, paint_heat(grey, ramp)[0], ticks, "heat density (1 = uniform)")


def cue_legend(width: int, scale: float) -> NDArray[np.uint8]:
    """Legend of a signed scale from ``-scale`` to ``scale`` logits a cell, ``(legend_height(), width, 3)``."""
    bar = _bar_width(width)
    ramp = torch.linspace(-scale, scale, bar).expand(1, _BAR, bar)
    grey = np.full((_BAR, bar, 3), 128, np.uint8)
    ticks = ((0.0, two_digits(-scale)), (0.5, "0"), (1.0, two_digits(scale, sign=True)))
    return _legend(width, paint_cue(grey, ramp, scale)[0], ticks, "logits a cell, red: for the class")


def _bar_width(width: int) -> int:
    return max(20, min(200, width - 2 * MARGIN - 24))


def _legend(width: int, bar: NDArray[np.uint8], ticks: tuple[tuple[float, str], ...], label: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    canvas = sheet(width, legend_height())
    pen = ImageDraw.Draw(canvas)
    left, top, length = MARGIN + 12, line_height(SIZE) + 2, bar.shape[1]
    write(pen, (MARGIN, 0), ellipsise(label, SIZE, width - 2 * MARGIN), SIZE, colour=FAINT)
    canvas.paste(Image.fromarray(bar), (left, top))
    for share, number in ticks:
        x = left + round(share * (length - 1))
        pen.line((x, top + _BAR, x, top + _BAR + 2), fill=DARK)
        x = min(max(x, MARGIN + text_width(number, SIZE) // 2), width - text_width(number, SIZE) // 2 - 1)
        write(pen, (x, top + _BAR + 2), number, SIZE, centre=True)
    return np.asarray(canvas)
