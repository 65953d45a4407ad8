"""Pictures with a known shortcut: handwritten digits on crops of photographs, and a cue that may give the class away.

All input is real and ships with scikit-learn: its digits (Alpaydin & Kaynak 1998) and its two sample photographs. A
picture is made in four steps:

1. a crop of a photograph, anywhere, whatever the class (dimmed, so that the digit can be read);
2. the cue, laid over the background only: never over the object's box. Eight kinds, see ``cues``;
3. the digit, white with a random brightness, at a random place in a box of a given size (the digit's square). The place
   is drawn together with the cue's until the two do not overlap, and neither depends on the class;
4. a little noise.

The ninth kind is the exception that must not raise an alarm: there the digit's ink has the colour, inside the box.

*Strength* rho: with probability rho the cue is that of the picture's own class, else that of a class at random. So at
rho = 0 nothing outside the box depends on the class, by construction, though cues are there. The tag of *one class* is
seen only where that draw gives the one class: at rho = 1 it stands on every picture of the class and on no other.

*Truth*: the same scenes can be painted with other cues and nothing else changed. The gap of a class is its accuracy
with its own cue minus its accuracy with the cue of another class, on scenes whose digits no training has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.detection import cues as cue_layers
from tests.benchmarks.detection.cues import (
    ABSENT,
    FRAME,
    FRAME_WIDTH,
    INK,
    KINDS,
    ONE_CLASS_TAG,
    PALETTE,
    REGIONS,
    SIZE,
    TEXTURE,
    Floats,
    Ints,
)

BOX_SIDES: Final = {10: 0.12, 13: 0.20, 17: 0.35, 22: 0.60}
"""Largest side of a box in pixels, and about which share of the picture it covers. Boxes vary by a pixel."""

_HELD_OUT: Final = 0.4
_DIMMED: Final = 0.4
_NOISE: Final = 0.03
_TINT: Final = 0.6


@dataclass(frozen=True, eq=False)
class Scenes:
    """Whatever is random in pictures but the cue. All ``(n,)``; places are left and top, in pixels.

    ``digit``: row of scikit-learn's digits. ``u`` and ``v`` in [0, 1): where the background's crop lies in the
    photograph, and in the region that is the cue of a texture. ``noise``: seed of all of them together.
    """

    digit: Ints
    label: Ints
    side: Ints
    left: Ints
    top: Ints
    cue_left: Ints
    cue_top: Ints
    photo: Ints
    u: Floats
    v: Floats
    ink: Floats
    noise: int

    def __len__(self) -> int:
        return len(self.label)

    @property
    def boxes(self) -> Tensor:
        """``(n, 4)`` float32, xyxy in pixels."""
        corners = [self.left, self.top, self.left + self.side, self.top + self.side]
        return torch.from_numpy(np.stack(corners, 1).astype(np.float32))

    @property
    def inside(self) -> np.ndarray:
        """``(n, SIZE, SIZE)`` bool: pixels in the box."""
        along = np.arange(SIZE)[None]
        rows = (along >= self.top[:, None]) & (along < (self.top + self.side)[:, None])
        columns = (along >= self.left[:, None]) & (along < (self.left + self.side)[:, None])
        return rows[:, :, None] & columns[:, None]


@dataclass(frozen=True)
class World:
    """One family of pictures.

    Args:
        kind: of cue, one of ``KINDS``.
        classes: how many digits are told apart, from 2 to 10.
        side: largest side of a box, one of ``BOX_SIDES``.
        seed: of everything that is drawn. It also decides which digits are held out.
    """

    kind: str
    classes: int
    side: int
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.side not in BOX_SIDES or not 2 <= self.classes <= len(PALETTE):
            raise ValueError(f"there is no such world: {self}")

    @property
    def tagged_class(self) -> int:
        """The class whose tag is seen, in the world of a tag on one class only."""
        return self.seed % self.classes

    def draw(self, per_class: int, *, held_out: bool, again: int = 0) -> Scenes:
        """Draw scenes, equally many of each class.

        Args:
            per_class: how many of each; as long as the digits last, no digit comes twice.
            held_out: of digits that never stand in scenes that are not held out.
            again: another draw from the same digits.
        """
        rng = np.random.default_rng([self.seed, int(held_out), again])
        digit = np.concatenate([_several(pool, per_class, rng) for pool in self._digits(held_out)])
        count = len(digit)
        side = rng.integers(self.side - 1, self.side, size=count, endpoint=True)
        left, top, cue_left, cue_top = self._places(side, rng)
        return Scenes(
            digit=digit,
            label=np.repeat(np.arange(self.classes), per_class),
            side=side,
            left=left,
            top=top,
            cue_left=cue_left,
            cue_top=cue_top,
            photo=rng.integers(2, size=count),
            u=rng.random(count, dtype=np.float32),
            v=rng.random(count, dtype=np.float32),
            ink=rng.uniform(0.85, 1.0, count).astype(np.float32),
            noise=int(rng.integers(2**31)),
        )

    def own_cues(self, scenes: Scenes, strength: float, *, again: int = 0) -> Ints:
        """The class that each picture's cue stands for: its own with probability ``strength``, else any at random."""
        rng = np.random.default_rng([self.seed, 2, again])
        at_random = rng.integers(self.classes, size=len(scenes))
        return np.where(rng.random(len(scenes)) < strength, scenes.label, at_random)

    def other_cues(self, scenes: Scenes, *, again: int = 0) -> Ints:
        """For each picture the cue of another class, any at random."""
        rng = np.random.default_rng([self.seed, 3, again])
        return (scenes.label + rng.integers(1, self.classes, size=len(scenes))) % self.classes

    def paint(self, scenes: Scenes, cues: Ints) -> Tensor:
        """The pictures, ``(n, 3, SIZE, SIZE)`` float32 in [0, 1]. A cue of ``ABSENT`` is none."""
        picture = _DIMMED * _crops(scenes.photo, scenes.u, scenes.v)
        if self.kind != INK:
            layer, opacity = self._cue(scenes, cues)
            picture += (opacity * ~scenes.inside)[..., None] * (layer - picture)
        ink = _ink(scenes)[..., None]
        picture += ink * (self._ink_colours(scenes, cues)[:, None, None] - picture)
        noise = np.random.default_rng(scenes.noise).standard_normal(picture.shape, dtype=np.float32)
        picture += _NOISE * noise
        return torch.from_numpy(picture.clip(0, 1).transpose(0, 3, 1, 2).copy())

    def _digits(self, held_out: bool) -> list[Ints]:
        """The digits of each class on one side of the split."""
        rng, found = np.random.default_rng([self.seed, 4]), []
        for k in range(self.classes):
            mine = rng.permutation(np.flatnonzero(_digit_data()[1] == k))
            kept = int(_HELD_OUT * len(mine))
            found.append(mine[:kept] if held_out else mine[kept:])
        return found

    def _places(self, side: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints, Ints]:
        """Left and top of boxes and of cues: drawn again, both, wherever they overlap."""
        margin = FRAME_WIDTH if self.kind == FRAME else 0
        shape = cue_layers.stencils(self.kind)
        height, width = shape.shape[1:] if shape is not None else (0, 0)
        found = np.zeros((4, len(side)), dtype=np.int64)
        waiting = np.arange(len(side))
        while len(waiting):
            mine = side[waiting]
            left, top = (rng.integers(margin, SIZE - margin - mine, endpoint=True) for _ in range(2))
            cue_left, cue_top = cue_layers.places(self.kind, len(waiting), rng)
            found[:, waiting] = left, top, cue_left, cue_top
            overlaps = (cue_left < left + mine) & (left < cue_left + width)
            overlaps &= (cue_top < top + mine) & (top < cue_top + height)
            waiting = waiting[overlaps] if shape is not None else waiting[:0]
        return found[0], found[1], found[2], found[3]

    def _cue(self, scenes: Scenes, cues: Ints) -> tuple[Floats, Floats]:
        """Colour ``(n, SIZE or 1, SIZE or 1, 3)`` and opacity ``(n, SIZE, SIZE)``."""
        if self.kind == ONE_CLASS_TAG:
            cues = np.where(cues == self.tagged_class, 0, ABSENT)
        opacity = cue_layers.opacity(self.kind, cues, scenes.cue_left, scenes.cue_top)
        if self.kind == TEXTURE:
            return _DIMMED * _crops(scenes.photo, scenes.u, scenes.v, np.maximum(cues, 0)), opacity
        return cue_layers.colours(self.kind)[cues][:, None, None], opacity

    def _ink_colours(self, scenes: Scenes, cues: Ints) -> Floats:
        """``(n, 3)``."""
        white = scenes.ink[:, None].repeat(3, axis=1)
        if self.kind != INK:
            return white
        tint = np.where((cues != ABSENT)[:, None], np.float32(_TINT), np.float32(0))
        return (1 - tint) * white + tint * PALETTE[cues]


def _several(pool: Ints, count: int, rng: np.random.Generator) -> Ints:
    """``count`` of the pool in random order: all of it again and again, and no member twice in a round."""
    rounds = [rng.permutation(pool) for _ in range(-(-count // len(pool)))]
    return np.concatenate(rounds)[:count]


def _crops(photo: Ints, u: Floats, v: Floats, region: Ints | None = None) -> Floats:
    """``(n, SIZE, SIZE, 3)``: crops of the photographs, or of one region for each picture."""
    photographs = _photographs()
    if region is None:
        height, width = photographs.shape[1:3]
        limits = np.array([[0, height, 0, width]]).repeat(len(photo), axis=0)
    else:
        photo, limits = np.array(REGIONS)[region, 0], np.array(REGIONS)[region, 1:]
    top = limits[:, 0] + ((limits[:, 1] - limits[:, 0] - SIZE) * v).astype(np.int64)
    left = limits[:, 2] + ((limits[:, 3] - limits[:, 2] - SIZE) * u).astype(np.int64)
    along = np.arange(SIZE)
    rows, columns = top[:, None, None] + along[:, None], left[:, None, None] + along
    return photographs[photo[:, None, None], rows, columns]


def _ink(scenes: Scenes) -> Floats:
    """``(n, SIZE, SIZE)``: how much of every pixel the digit's ink hides."""
    found = np.zeros((len(scenes), SIZE, SIZE), dtype=np.float32)
    for side in np.unique(scenes.side):
        mine = np.flatnonzero(scenes.side == side)
        digits = _digits_of_side(int(side))
        found[mine] = cue_layers.stamped(digits, scenes.digit[mine], scenes.left[mine], scenes.top[mine])
    return found


@lru_cache(maxsize=1)
def _digit_data() -> tuple[Floats, Ints]:
    """``(1797, 8, 8)`` in [0, 1], and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int64)


@lru_cache(maxsize=len(BOX_SIDES) * 2)
def _digits_of_side(side: int) -> Floats:
    """``(1797, side, side)``: all digits enlarged, their strokes a little stronger."""
    enlarged = F.interpolate(torch.from_numpy(_digit_data()[0])[:, None], (side, side), mode="bilinear")
    return (1.3 * enlarged[:, 0]).clip(0, 1).numpy().astype(np.float32)


@lru_cache(maxsize=1)
def _photographs() -> Floats:
    """``(2, 214, 320, 3)``: both sample photographs at half size, in [0, 1]."""
    from sklearn.datasets import load_sample_images

    return np.stack([picture[::2, ::2] for picture in load_sample_images().images]).astype(np.float32) / 255
