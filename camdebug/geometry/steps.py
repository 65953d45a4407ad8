"""What a picture goes through, said step by step, where the transform itself cannot be read.

Sizes, offsets and their rounding are torchvision's, so that the same words mean the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, runtime_checkable

from camdebug.geometry.moves import Mirror, Move, Scale, Size, Window

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@runtime_checkable
class Step(Protocol):
    """One step of an explicit geometry."""

    def moves(self, size: Size) -> tuple[Move, ...]:
        """What it does to a picture of this height and width in pixels."""
        ...


@dataclass(frozen=True)
class Resize:
    """As ``transforms.v2.Resize``.

    Attributes:
        size: of the shorter side in pixels, or height and width.
        max_size: the longer side is no longer than this; only with one ``size``.
        interpolation: of pictures; masks go by the nearest pixel.
    """

    size: int | Sequence[int]
    max_size: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        sides = _sides("Resize.size", self.size)
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"Resize.interpolation: expected one of {', '.join(_INTERPOLATIONS)}, got {self.interpolation!r}"
            )
        if self.max_size is not None and (len(sides) == 2 or self.max_size <= sides[0]):
            raise ValueError(f"Resize.max_size: expected more than one size, the shorter side's, got {self.max_size}")

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        sides = _sides("Resize.size", self.size)
        height, width = sides if len(sides) == 2 else self._shorter_side(sides[0], size)
        return (Scale(max(height, 1), max(width, 1), self.interpolation),)

    def _shorter_side(self, shorter: int, size: Size) -> Size:
        longer = int(shorter * max(size) / min(size))
        if self.max_size is not None and longer > self.max_size:
            shorter, longer = int(self.max_size * shorter / longer), self.max_size
        return (shorter, longer) if size[0] <= size[1] else (longer, shorter)


@dataclass(frozen=True)
class CenterCrop:
    """As ``transforms.v2.CenterCrop``: a picture that is smaller is padded with black.

    Attributes:
        size: of both sides in pixels, or height and width.
    """

    size: int | Sequence[int]

    def __post_init__(self) -> None:
        _sides("CenterCrop.size", self.size)

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        return (self.window(size),)

    def window(self, size: Size) -> Window:
        """That is seen of a picture of this height and width."""
        height, width = _both(_sides("CenterCrop.size", self.size))
        return Window(_offset(size[1], width), _offset(size[0], height), height, width)


@dataclass(frozen=True)
class Letterbox:
    """Scale the whole picture into a frame, and pad it to both sides alike (the odd pixel right and below).

    Attributes:
        size: of both sides of the frame in pixels, or height and width.
        fill: of the bars, 0 to 255.
        scale_up: whether smaller pictures grow.
        interpolation: as for :class:`Resize`.
    """

    size: int | Sequence[int]
    fill: int = 114
    scale_up: bool = True
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        _sides("Letterbox.size", self.size)

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        height, width = _both(_sides("Letterbox.size", self.size))
        ratio = min(height / size[0], width / size[1])
        ratio = ratio if self.scale_up else min(ratio, 1.0)
        inner = Scale(max(round(size[0] * ratio), 1), max(round(size[1] * ratio), 1), self.interpolation)
        left, top = (width - inner.width) // 2, (height - inner.height) // 2
        return inner, Window(-left, -top, height, width, self.fill)


@dataclass(frozen=True)
class Pad:
    """As ``transforms.v2.Pad``.

    Attributes:
        padding: of all sides in pixels; or left and right, top and bottom; or left, top, right, bottom.
        fill: 0 to 255.
    """

    padding: int | Sequence[int]
    fill: int = 0

    def __post_init__(self) -> None:
        self._all_sides()

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        left, top, right, bottom = self._all_sides()
        return (Window(-left, -top, size[0] + top + bottom, size[1] + left + right, self.fill),)

    def _all_sides(self) -> tuple[int, ...]:
        given = (self.padding,) if isinstance(self.padding, int) else tuple(self.padding)
        if len(given) not in (1, 2, 4) or not all(type(value) is int and value >= 0 for value in given):
            raise ValueError(f"Pad.padding: expected one, two or four numbers of pixels, got {self.padding!r}")
        return (given * (4 // len(given)))[:4]


@dataclass(frozen=True)
class HorizontalFlip:
    """Left and right change places."""

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        return (Mirror(horizontal=True),)


@dataclass(frozen=True)
class VerticalFlip:
    """Top and bottom change places."""

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        return (Mirror(horizontal=False),)


@dataclass(frozen=True)
class Normalize:
    """What the colours go through at the end; nothing moves.

    Attributes:
        mean: one value a channel, for pictures in [0, 1].
        std: likewise.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"Normalize: expected one mean and std a channel, got {self.mean!r} and {self.std!r}")
        if not all(isfinite(value) for value in self.mean) or not all(0 < value < float("inf") for value in self.std):
            raise ValueError(f"Normalize: expected finite means, and stds above 0, got {self.mean!r} and {self.std!r}")

    def moves(self, size: Size) -> tuple[Move, ...]:
        """See :class:`Step`."""
        return ()


def _sides(name: str, size: int | Sequence[int]) -> tuple[int, ...]:
    given = (size,) if isinstance(size, int) else tuple(size)
    if len(given) not in (1, 2) or not all(type(value) is int and value > 0 for value in given):
        raise ValueError(f"{name}: expected pixels, or height and width, got {size!r}")
    return given


def _both(sides: tuple[int, ...]) -> Size:
    return sides[0], sides[-1]


def _offset(side: int, wanted: int) -> int:
    """Of the crop; where the picture is smaller, torchvision pads by less before than after."""
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)
