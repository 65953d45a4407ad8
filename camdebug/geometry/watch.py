"""Whether a step that cannot be read moves the picture as the boxes are moved: seen by painting a patch into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camdebug.geometry.carrier import Carried, NotCarried

if TYPE_CHECKING:
    from PIL.Image import Image

Carry = Callable[["Image", Tensor, Tensor, int], Carried]

# Shares of width and height: no patch falls on itself or on another when a picture is flipped, turned or transposed.
_PATCHES = ((0.55, 0.2, 0.85, 0.4), (0.15, 0.6, 0.35, 0.85), (0.3, 0.35, 0.45, 0.45))
_LEAST_SIDE = 4
_BLACK, _WHITE = 0, 255

_PIXELS_OFF, _SHARE_OFF, _SOURCE_OFF = 1.5, 0.03, 0.8
"""Sides of patches were off by 1.4 pixels in 40 honest pipelines, or by 0.75 of the pixels that were enlarged."""
_LOOSE_PIXELS_OFF, _LOOSE_SHARE_OFF = 2.0, 0.15
"""Of random pipelines whose boxes follow: around what they turn or bend, boxes are not as tight."""

_SIZES, _RATIO_STEP = 20, 0.05
_DRAWS = 16
"""A flip of every second picture is missed once in 65 536 times, one of every tenth picture once in 5."""


@dataclass
class Watch:
    """Looks at the first pictures of each size and shape, and at every one when the steps are random.

    What is right for squares may be wrong for others. So the first 20 sizes are looked at, and every ratio of the sides
    that is new by 5 %. The first one is carried under 16 more seeds, to see whether anything is drawn.

    Attributes:
        argument: that a message starts with.
        opaque: the steps that cannot be read, in words; empty when all can be, and nothing is looked at.
        random: whether the pipeline is known to be random, so that boxes need not be tight.
    """

    argument: str
    opaque: str
    random: bool = False
    _sizes: set[tuple[int, int]] = field(default_factory=set, init=False)
    _ratios: set[int] = field(default_factory=set, init=False)
    _draws: bool = field(default=False, init=False)

    def look(self, carry: Carry, picture: Image, seed: int) -> None:
        """Carry a patch of the picture as a box, and compare it with the pixels that the patch changes.

        Raises:
            NotCarried: when no patch is where its box is.
        """
        if not self.opaque or not (self._draws or self._is_new(picture.size)):
            return
        drawn = [] if self._sizes else self._drawn(carry, picture, seed)
        self._draws |= bool(drawn)
        if not self._compare(carry, picture, seed):
            return
        for other in drawn:
            self._compare(carry, picture, other)
        self._sizes.add(picture.size)
        self._ratios.add(_ratio(picture.size))

    def _is_new(self, size: tuple[int, int]) -> bool:
        return size not in self._sizes and (len(self._sizes) < _SIZES or _ratio(size) not in self._ratios)

    def _drawn(self, carry: Carry, picture: Image, seed: int) -> list[int]:
        """Seeds under which something else comes out."""
        painted = partial(_carried, carry, picture, _PATCHES[0], _WHITE)
        first = painted(seed)
        return [other for other in range(seed + 1, seed + 1 + _DRAWS) if not _same(first, painted(other))]

    def _compare(self, carry: Carry, picture: Image, seed: int) -> bool:
        """Whether enough of a patch was left to compare."""
        apart = None
        for patch in _PATCHES:
            pair = _box_and_pixels(carry, picture, patch, seed)
            if pair is not None and self._meet(*pair, _enlarged(patch, picture, pair[0])):
                return True
            apart = apart or pair
        if apart is None:
            return False
        box, pixels = ([round(value) for value in place.tolist()] for place in apart)
        raise NotCarried(
            f"{self.argument}: did not carry the boxes along: a patch with the box {box} is seen at {pixels} in "
            f"the picture that came out of one of {picture.height}x{picture.width}; {self._reason()}"
        )

    def _reason(self) -> str:
        reason = f"{self.opaque} moves the picture otherwise than its boxes"
        if not self._draws:
            return reason
        return (
            f"{reason}, and draws something: if that is where to, leave it out, or compose it of transforms.v2 as "
            "transform=, which moves boxes too"
        )

    def _meet(self, box: Tensor, pixels: Tensor, enlarged: Tensor) -> bool:
        least, share = (_LOOSE_PIXELS_OFF, _LOOSE_SHARE_OFF) if self.random else (_PIXELS_OFF, _SHARE_OFF)
        sides = (box[2:] - box[:2]).repeat(2)
        allowed = torch.maximum((sides * share).clamp(min=least), enlarged * _SOURCE_OFF)
        if self._draws:  # a part of the patch may be covered
            outside = torch.cat([box[:2] - pixels[:2], pixels[2:] - box[2:]])
            return bool((outside <= allowed).all())
        return bool(((box - pixels).abs() <= allowed).all())


def _box_and_pixels(carry: Carry, picture: Image, patch: tuple[float, ...], seed: int) -> tuple[Tensor, Tensor] | None:
    """Where a patch should be and where it is, both xyxy; ``None`` when too little of it is left to say."""
    black, white = (_carried(carry, picture, patch, value, seed) for value in (_BLACK, _WHITE))
    if black.image.shape != white.image.shape:
        return white.boxes[0], torch.full((4,), -1.0, dtype=torch.float64)
    return _seen(white.boxes[0], (white.image - black.image).abs().sum(0))


def _carried(carry: Carry, picture: Image, patch: tuple[float, ...], value: int, seed: int) -> Carried:
    """The picture with a patch of one grey in it, and the box of that."""
    width, height = picture.size
    x1, y1, x2, y2 = (round(share * side) for share, side in zip(patch, (width, height) * 2, strict=True))
    painted = picture.copy()
    painted.paste((value,) * 3 if picture.mode == "RGB" else value, (x1, y1, x2, y2))
    place = torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64)
    return carry(painted, place, torch.zeros((0, height, width), dtype=torch.bool), seed)


def _enlarged(patch: tuple[float, ...], picture: Image, box: Tensor) -> Tensor:
    """Pixels that came out of one that went in, along x, y, x and y."""
    share = torch.tensor([patch[2] - patch[0], patch[3] - patch[1]], dtype=torch.float64)
    return ((box[2:] - box[:2]) / (share * torch.tensor(picture.size))).repeat(2)


def _same(one: Carried, other: Carried) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.boxes, other.boxes)


def _seen(box: Tensor, change: Tensor) -> tuple[Tensor, Tensor] | None:
    rows, columns = torch.nonzero(change > change.max() / 2, as_tuple=True)
    if len(rows) == 0:
        return None
    pixels = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).double()
    return None if _small(box) and _small(pixels) else (box, pixels)


def _small(place: Tensor) -> bool:
    return bool(min(place[2] - place[0], place[3] - place[1]) < _LEAST_SIDE)


def _ratio(size: tuple[int, int]) -> int:
    """Which step of 5 % the ratio of the sides lies in."""
    return round(log(size[0] / size[1]) / _RATIO_STEP)
