"""What may give the class away: tags, words, frames, regions of photographs, tints and small objects.

A cue is a layer: a colour and an opacity for every pixel. It is laid over the background, never over the object's box.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 28
"""Height and width of a picture, in pixels."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CORNER_TAG, RANDOM_TAG, TEXT, FRAME = "corner_tag", "random_tag", "text", "frame"
TEXTURE, CAST, SECOND_OBJECT, ONE_CLASS_TAG = "texture", "cast", "second_object", "one_class_tag"
INK = "ink"

BACKGROUND_KINDS: Final = (CORNER_TAG, RANDOM_TAG, TEXT, FRAME, TEXTURE, CAST, SECOND_OBJECT, ONE_CLASS_TAG)
KINDS: Final = (*BACKGROUND_KINDS, INK)
"""The last one lies inside the box."""

ABSENT: Final = -1
"""The cue of a picture that has none."""

PALETTE: Final = np.array(
    [
        [0.90, 0.15, 0.15],
        [0.15, 0.45, 0.95],
        [0.20, 0.80, 0.25],
        [0.95, 0.85, 0.15],
        [0.80, 0.25, 0.90],
        [0.10, 0.85, 0.85],
        [0.95, 0.50, 0.10],
        [0.05, 0.05, 0.05],
        [0.95, 0.95, 0.95],
        [0.50, 0.30, 0.15],
    ],
    dtype=np.float32,
)

FRAME_WIDTH: Final = 2
_TAG_SIDE: Final = 5
_CAST_OPACITY: Final = 0.35
_TEXT_OPACITY: Final = 0.8

REGIONS: Final = (
    (0, 0, 60, 190, 320),  # sky
    (1, 60, 170, 95, 215),  # flower
    (0, 155, 213, 170, 270),  # shrubs
    (0, 50, 110, 50, 160),  # upper storeys of the tower
    (1, 20, 130, 0, 75),  # leaves
    (0, 104, 150, 180, 270),  # lake
    (1, 60, 200, 240, 320),  # dark foliage
    (0, 120, 190, 45, 170),  # lower storeys
    (0, 75, 213, 272, 320),  # tree on the right
    (0, 75, 150, 0, 40),  # trees on the left
)
"""Photograph, top, bottom, left, right: the region that stands for each class."""

_WORDS: Final = ("LAKE", "SNOW", "MILL", "CORN", "FISH", "TAXI", "BOOK", "PINE", "GULF", "ZERO")
# Five rows of three pixels, each row an octal digit.
_GLYPHS: Final = {
    "A": "25755", "B": "65656", "C": "34443", "E": "74647", "F": "74644", "G": "34553", "H": "55755",
    "I": "72227", "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "25552", "P": "65644",
    "R": "65655", "S": "34216", "T": "72222", "U": "55557", "W": "55775", "X": "55255", "Z": "71247",
}  # fmt: skip


def stencils(kind: str) -> Floats | None:
    """``(10, h, w)``: the shape of each class's cue, 1 where it is opaque; ``None`` for a cue without a place."""
    if kind in (CORNER_TAG, RANDOM_TAG, ONE_CLASS_TAG):
        return np.ones((len(PALETTE), _TAG_SIDE, _TAG_SIDE), dtype=np.float32)
    if kind == TEXT:
        return _TEXT_OPACITY * _words()
    return _icons() if kind == SECOND_OBJECT else None


def colours(kind: str) -> Floats:
    """``(10, 3)``: the colour of each class's cue."""
    if kind == TEXT:
        return np.ones((len(PALETTE), 3), dtype=np.float32)
    return np.roll(PALETTE, 3, axis=0) if kind == SECOND_OBJECT else PALETTE


def places(kind: str, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Left and top of ``count`` cues: fixed for a corner tag, along the lower edge for a word, else anywhere."""
    shape = stencils(kind)
    height, width = shape.shape[1:] if shape is not None else (0, 0)
    left = rng.integers(SIZE - width, size=count, endpoint=True)
    top = rng.integers(SIZE - height, size=count, endpoint=True)
    if kind == CORNER_TAG:
        left = np.full(count, SIZE - width - 1)
    if kind in (CORNER_TAG, TEXT):
        top = np.full(count, SIZE - height - (kind == CORNER_TAG))
    return left, top


def opacity(kind: str, cues: Ints, left: Ints, top: Ints) -> Floats:
    """``(n, SIZE, SIZE)``: how much of every pixel the cue hides, before the object's box is spared."""
    shape = stencils(kind)
    if shape is not None:
        found = stamped(shape, np.maximum(cues, 0), left, top)
    elif kind == FRAME:
        inner = np.ones((SIZE, SIZE), dtype=np.float32)
        inner[FRAME_WIDTH:-FRAME_WIDTH, FRAME_WIDTH:-FRAME_WIDTH] = 0
        found = np.broadcast_to(inner, (len(cues), SIZE, SIZE))
    else:
        level = {TEXTURE: 1.0, CAST: _CAST_OPACITY}[kind]
        found = np.full((len(cues), SIZE, SIZE), level, dtype=np.float32)
    return found * (cues != ABSENT)[:, None, None]


def stamped(stencil: Floats, which: Ints, left: Ints, top: Ints) -> Floats:
    """``(n, SIZE, SIZE)``: stencil ``which[i]`` of ``(m, h, w)`` at its place, 0 elsewhere."""
    _, height, width = stencil.shape
    rows = np.arange(SIZE)[None] - top[:, None]
    columns = np.arange(SIZE)[None] - left[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    found = stencil[which[:, None, None], rows[:, :, None], columns[:, None]]
    return np.where(inside, found, np.float32(0))


@lru_cache(maxsize=1)
def _words() -> Floats:
    gap = np.zeros((5, 1), dtype=np.float32)
    return np.stack([np.hstack([part for letter in word for part in (_glyph(letter), gap)])[:, :-1] for word in _WORDS])


def _glyph(letter: str) -> Floats:
    rows = [[int(bit) for bit in f"{int(row):03b}"] for row in _GLYPHS[letter]]
    return np.array(rows, dtype=np.float32)


@lru_cache(maxsize=1)
def _icons() -> Floats:
    """Ten small things of 6x6 pixels: disc, ring, square, cross, saltire, triangle, diamond, bars, posts, chequers."""
    row, column = np.mgrid[:6, :6]
    y, x = abs(row - 2.5), abs(column - 2.5)
    shapes = [
        y**2 + x**2 < 8,
        (y**2 + x**2 < 10) & (y**2 + x**2 > 3),
        np.maximum(y, x) > 2,
        np.minimum(y, x) < 1,
        abs(y - x) < 0.5,
        x * 2 <= row,
        y + x < 3.5,
        row % 3 < 2,
        column % 3 < 2,
        (row // 2 + column // 2) % 2 == 0,
    ]
    return np.stack(shapes).astype(np.float32)
