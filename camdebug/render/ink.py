"""Fonts, text that is never cut, box outlines and the legend bars."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont
    from PIL.Image import Image

PAPER = (252, 252, 250)
INK = (26, 28, 32)
FAINT = (96, 99, 106)
RIGHT = (0, 92, 158)
WRONG = (184, 62, 0)
LIGHT = (255, 255, 255)
DARK = (0, 0, 0)

MARGIN = 5
_END = 4
"""Length of the dark ends of boxes that are too thin for a dark line all around."""
Colour = tuple[int, int, int]


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans as it ships with matplotlib, at ``size`` pixels; Pillow's own font where that file is missing."""
    from PIL import ImageFont

    path = _font_file(bold)
    return ImageFont.truetype(str(path), size) if path else ImageFont.load_default(size)


def printable(text: str) -> str:
    r"""One line of characters that the font can draw: others become ``?``, invisible ones vanish.

    >>> printable("cat\n/ dog")
    'cat / dog'
    """
    known = _known_characters()
    one_line = "".join(" " if c.isspace() else c for c in text).strip()
    visible = (c for c in one_line if unicodedata.category(c) not in ("Cc", "Cf", "Mn", "Me", "Cs"))
    return "".join(c if ord(c) in known else "?" for c in visible)


@lru_cache(maxsize=8192)
def text_width(text: str, size: int, bold: bool = False) -> int:
    """Width of a line in pixels, never less than what is drawn."""
    face = font(size, bold)
    return max(math.ceil(face.getlength(text)), math.ceil(face.getbbox(text)[2]))


def line_height(size: int) -> int:
    """Distance of two lines in pixels."""
    return math.ceil(size * 1.32)


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters (at least 4), the end replaced by dots.

    >>> shorten("kangaroo", 6)
    'kan...'
    """
    limit = max(limit, 4)
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def fit(sentence: Callable[[int], str], size: int, width: int) -> str:
    """The longest wording that fits.

    Args:
        sentence: gives the wording in which every name has at most so many characters.
        size: of the font, in pixels.
        width: available, in pixels.

    Returns:
        A printable line of at most ``width`` pixels.
    """
    full = printable(sentence(10_000))
    if text_width(full, size) <= width:
        return full
    low, high = 4, len(full)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(printable(sentence(middle)), size) <= width else (low, middle - 1)
    return ellipsise(sentence(low), size, width)


def ellipsise(text: str, size: int, width: int, *, bold: bool = False) -> str:
    """``text`` as one printable line of at most ``width`` pixels."""
    line = printable(text)
    if text_width(line, size, bold) <= width:
        return line
    keep = len(line)
    while keep > 0 and text_width(line[:keep].rstrip() + "...", size, bold) > width:
        keep -= max(1, keep // 16)
    return line[: max(keep, 0)].rstrip() + "..." if text_width("...", size, bold) <= width else ""


def wrap(text: str, size: int, width: int, lines: int) -> list[str]:
    """``text`` over at most ``lines`` printable lines of at most ``width`` pixels; the last one ends in dots if cut."""
    words, done = printable(text).split(" "), list[str]()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        done.append(ellipsise(" ".join(words[:count]), size, width))
        words = words[count:]
    return [*done, ellipsise(" ".join(words), size, width)] if words else done


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    *,
    colour: Colour = INK,
    centre: bool = False,
    bold: bool = False,
) -> None:
    """Write a line with its top at ``at`` (x, y), x being its left end or its centre. The caller made it fit."""
    x = at[0] - text_width(text, size, bold) / 2 if centre else at[0]
    pen.text((max(0, round(x)), at[1]), text, fill=colour, font=font(size, bold))


def sheet(width: int, height: int) -> Image:
    """An empty RGB canvas."""
    from PIL import Image

    return Image.new("RGB", (width, height), PAPER)


def outline(image: NDArray[np.uint8], box: Sequence[float]) -> None:
    """Draw a box in place as a light line with a dark one inside it, which reads on any picture.

    Args:
        image: ``(..., H, W, 3)``; leading axes all get the box.
        box: xyxy in pixels of the image, clipped to it and widened to at least 4 pixels where there is room. Where it
            is too thin for both lines the dark one is at its ends alone.
    """
    height, width = image.shape[-3:-1]
    (left, right), (top, bottom) = _span(box[0], box[2], width), _span(box[1], box[3], height)
    _frame(image, left, top, right, bottom, LIGHT)
    if right - left >= 5 and bottom - top >= 5:
        _frame(image, left + 1, top + 1, right - 1, bottom - 1, DARK)
    elif right - left >= 3 and bottom - top >= 3:
        _ends(image, left + 1, top + 1, right - 1, bottom - 1, DARK)


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize ``(H, W, 3)`` to ``(*size, 3)``: exact repetition for whole factors, else bilinear with antialiasing."""
    from PIL import Image

    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    if size[0] % height == 0 and size[1] % width == 0:
        return picture.repeat(size[0] // height, 0).repeat(size[1] // width, 1)
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """First and last pixel of an interval, at least 4 pixels long where the picture has them."""
    first = min(max(round(low), 0), size - 1)
    last = min(max(round(high) - 1, first), size - 1)
    need = min(4, size)
    if last - first + 1 < need:
        first = min(max(0, (first + last + 1 - need) // 2), size - need)
        last = first + need - 1
    return first, last


def _frame(image: NDArray[np.uint8], left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
    for row in (top, bottom):
        image[..., row, left : right + 1, :] = colour
    for column in (left, right):
        image[..., top : bottom + 1, column, :] = colour


def _ends(image: NDArray[np.uint8], left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
    """Of a sliver: filled whole it would look like a bar in the picture."""
    if bottom - top >= right - left:
        for start, stop in ((top, min(top + _END, bottom + 1)), (max(bottom + 1 - _END, top), bottom + 1)):
            image[..., start:stop, left : right + 1, :] = colour
        return
    for start, stop in ((left, min(left + _END, right + 1)), (max(right + 1 - _END, left), right + 1)):
        image[..., top : bottom + 1, start:stop, :] = colour


@lru_cache(maxsize=2)
def _font_file(bold: bool) -> Path | None:
    try:
        import matplotlib
    except ImportError:
        return None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def _known_characters() -> frozenset[int]:
    path = _font_file(False)
    if path is None:
        return frozenset(range(32, 127))
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(path)).get_charmap())
