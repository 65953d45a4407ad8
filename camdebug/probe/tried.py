"""Small copies of the pictures that were tried, with their boxes as annotated: whether these fit is judged there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from camdebug.probe.box_fit import Floats, of_small, small_size
from camdebug.probe.fit_matrix import LEAST_PICTURES, Sample, grouped, largest, sample_from
from camdebug.probe.naming import Naming
from camdebug.probe.selection import Candidate

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_OF_CLASS = 64
_MOST = 1024
_FARTHEST = 1e6
"""Boxes with coordinates beyond say nothing."""


@dataclass(frozen=True, eq=False)
class _Seen:
    pixels: NDArray[np.uint8]
    boxes: Floats
    size: tuple[int, int]
    class_idx: int


@dataclass(eq=False)
class Tried:
    """Pictures as they were read, before the transform, and before any was left out for its area.

    Attributes:
        after: height and width of the pictures after the transform; ``None`` as long as no picture went through it.
    """

    after: tuple[int, int] | None = None
    _seen: list[_Seen] = field(default_factory=list)
    _counts: Counter[int] = field(default_factory=Counter)

    def see(self, candidate: Candidate, picture: Image, naming: Naming) -> None:
        """Keep a small copy, up to 64 a class.

        Args:
            candidate: the picture and the class that it may serve.
            picture: as read.
            naming: of the classes.
        """
        if self._counts[candidate.class_idx] >= _MOST_OF_CLASS or len(self._seen) >= _MOST:
            return
        boxes = _annotated(candidate, naming)
        if not len(boxes) or min(picture.size) < 2:
            return
        size = picture.height, picture.width
        self._counts[candidate.class_idx] += 1
        self._seen.append(_Seen(_shrunk(picture, small_size(*size)), largest(boxes), size, candidate.class_idx))

    def sample(self) -> Sample | None:
        """Up to 64 of them, at least eight of a class where it has them; ``None`` where there are too few."""
        if len(self._seen) < LEAST_PICTURES:
            return None
        rows, groups = grouped(list(range(len(self._seen))), [seen.class_idx for seen in self._seen])
        if len(rows) < LEAST_PICTURES:
            return None
        chosen = [self._seen[row] for row in rows]
        size = sorted((seen.size for seen in chosen), key=lambda s: s[1] / s[0])[len(chosen) // 2]
        cells = small_size(*size)
        small = np.stack([_of_cells(seen.pixels, cells) for seen in chosen])
        pictures = of_small(torch.from_numpy(small).permute(0, 3, 1, 2), size)
        if pictures is None:
            return None
        return sample_from(pictures, [s.boxes for s in chosen], rows, groups, [s.size for s in chosen], size)


def _annotated(candidate: Candidate, naming: Naming) -> Floats:
    """``(k, 4)`` of the class, also those outside and inverted ones: read another way they may be none."""
    own = [
        thing.box
        for thing in candidate.entry.objects
        if thing.box is not None and not thing.ignored and naming.index.get(thing.name) == candidate.class_idx
    ]
    boxes = np.array(own, dtype=np.float64).reshape(-1, 4)
    return boxes[(np.abs(boxes) < _FARTHEST).all(1)]


def _shrunk(picture: Image, cells: tuple[int, int]) -> NDArray[np.uint8]:
    """``(h, w, 3)``."""
    from PIL.Image import Resampling

    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    return np.array(picture.resize(cells[::-1], Resampling.BOX, reducing_gap=2.0))


def _of_cells(pixels: NDArray[np.uint8], cells: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    return pixels if pixels.shape[:2] == cells else _shrunk(Image.fromarray(pixels), cells)
