"""Whether a step that cannot be read moves the picture as the boxes are moved: seen by painting a patch into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camdebug.geometry.carrier import Carried
from camdebug.rng import seeded_rng

if TYPE_CHECKING:
    from PIL.Image import Image

Carry = Callable[["Image", Tensor, Tensor], Carried]

# Shares of width and height: no patch falls on itself or on another when a picture is flipped, turned or transposed.
_PATCHES = ((0.55, 0.2, 0.85, 0.4), (0.15, 0.6, 0.35, 0.85), (0.3, 0.35, 0.45, 0.45))
_LEAST_SIDE = 4
_PIXELS_OFF, _SHARE_OFF = 2.0, 0.15


@dataclass
class Watch:
    """Looks once, at the first picture that is carried.

    Attributes:
        argument: that a message starts with.
        opaque: the steps that cannot be read, in words; empty when all can be, and nothing is looked at.
    """

    argument: str
    opaque: str
    _looked: bool = field(default=False, init=False)

    def look(self, carry: Carry, picture: Image, seed: int) -> None:
        """Carry a patch of the picture as a box, and compare it with the pixels that the patch changes.

        Raises:
            ValueError: when no patch is where its box is.
        """
        if self._looked or not self.opaque:
            return
        pairs = [pair for patch in _PATCHES if (pair := _box_and_pixels(carry, picture, patch, seed)) is not None]
        if pairs and not any(_meet(box, pixels) for box, pixels in pairs):
            box, pixels = ([round(value) for value in place.tolist()] for place in pairs[0])
            raise ValueError(
                f"{self.argument}: did not carry the boxes along: a patch with the box {box} is seen at {pixels} in "
                f"the picture that came out; {self.opaque} moves the picture otherwise than its boxes"
            )
        self._looked = bool(pairs)


def _box_and_pixels(carry: Carry, picture: Image, patch: tuple[float, ...], seed: int) -> tuple[Tensor, Tensor] | None:
    """Where a patch should be and where it is, both xyxy; ``None`` when too little of it is left to say."""
    width, height = picture.size
    x1, y1, x2, y2 = (round(share * side) for share, side in zip(patch, (width, height) * 2, strict=True))
    place = torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64)
    images = []
    for value in (0, 255):
        painted = picture.copy()
        painted.paste((value,) * 3 if picture.mode == "RGB" else value, (x1, y1, x2, y2))
        with seeded_rng(seed):
            found = carry(painted, place, torch.zeros((0, height, width), dtype=torch.bool))
        images.append(found.image)
    return _seen(found.boxes[0], (images[1] - images[0]).abs().sum(0))


def _seen(box: Tensor, change: Tensor) -> tuple[Tensor, Tensor] | None:
    rows, columns = torch.nonzero(change > change.max() / 2, as_tuple=True)
    if len(rows) == 0:
        return None
    pixels = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).double()
    return None if _small(box) and _small(pixels) else (box, pixels)


def _small(place: Tensor) -> bool:
    return bool(min(place[2] - place[0], place[3] - place[1]) < _LEAST_SIDE)


def _meet(box: Tensor, pixels: Tensor) -> bool:
    sides = (box[2:] - box[:2]).repeat(2)
    return bool(((box - pixels).abs() <= (sides * _SHARE_OFF).clamp(min=_PIXELS_OFF)).all())
