"""The three ways in which a picture of known size is moved: scaled, seen through a window, mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]


class Move(Protocol):
    """What one does to a picture, its boxes and its masks. Sizes are height and width in pixels."""

    def size_after(self, size: Size) -> Size:
        """Of the picture that comes out."""
        ...

    def boxes(self, boxes: Tensor, size: Size) -> Tensor:
        """``(k, 4)`` float64 xyxy, of boxes within a picture of ``size``."""
        ...

    def masks(self, masks: Tensor) -> Tensor:
        """``(m, *size)`` bool."""
        ...

    def picture(self, picture: Image) -> Image:
        """The picture itself."""
        ...


@dataclass(frozen=True)
class Scale:
    """To a size, whatever the shape; masks by the nearest pixel."""

    height: int
    width: int
    interpolation: str = "bilinear"

    def size_after(self, size: Size) -> Size:
        """See :class:`Move`."""
        return self.height, self.width

    def boxes(self, boxes: Tensor, size: Size) -> Tensor:
        """See :class:`Move`."""
        height, width = size
        return boxes * torch.tensor([self.width / width, self.height / height] * 2, dtype=torch.float64)

    def masks(self, masks: Tensor) -> Tensor:
        """See :class:`Move`."""
        rows, columns = _middles(masks.shape[1], self.height), _middles(masks.shape[2], self.width)
        return masks[:, rows][:, :, columns]

    def picture(self, picture: Image) -> Image:
        """See :class:`Move`."""
        from PIL.Image import Resampling

        if picture.size == (self.width, self.height):
            return picture
        return picture.resize((self.width, self.height), Resampling[self.interpolation.upper()])


@dataclass(frozen=True)
class Window:
    """The part from ``left`` and ``top`` on; what lies beyond the picture is ``fill``, and of no object."""

    left: int
    top: int
    height: int
    width: int
    fill: int = 0

    def size_after(self, size: Size) -> Size:
        """See :class:`Move`."""
        return self.height, self.width

    def boxes(self, boxes: Tensor, size: Size) -> Tensor:
        """See :class:`Move`."""
        moved = boxes - torch.tensor([self.left, self.top] * 2, dtype=torch.float64)
        return within(moved, (self.height, self.width))

    def masks(self, masks: Tensor) -> Tensor:
        """See :class:`Move`."""
        found = masks.new_zeros((len(masks), self.height, self.width))
        part = masks[:, max(self.top, 0) : self.top + self.height, max(self.left, 0) : self.left + self.width]
        top, left = max(-self.top, 0), max(-self.left, 0)
        found[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        return found

    def picture(self, picture: Image) -> Image:
        """See :class:`Move`."""
        from PIL import Image as Pictures

        fill = (self.fill,) * len(picture.getbands())
        found = Pictures.new(picture.mode, (self.width, self.height), fill if len(fill) > 1 else self.fill)
        found.paste(picture, (-self.left, -self.top))
        return found


@dataclass(frozen=True)
class Mirror:
    """Left and right, or top and bottom, change places."""

    horizontal: bool

    def size_after(self, size: Size) -> Size:
        """See :class:`Move`."""
        return size

    def boxes(self, boxes: Tensor, size: Size) -> Tensor:
        """See :class:`Move`."""
        height, width = size
        x1, y1, x2, y2 = boxes.unbind(1)
        mirrored = (width - x2, y1, width - x1, y2) if self.horizontal else (x1, height - y2, x2, height - y1)
        return torch.stack(mirrored, 1)

    def masks(self, masks: Tensor) -> Tensor:
        """See :class:`Move`."""
        return masks.flip(2 if self.horizontal else 1)

    def picture(self, picture: Image) -> Image:
        """See :class:`Move`."""
        from PIL.Image import Transpose

        return picture.transpose(Transpose.FLIP_LEFT_RIGHT if self.horizontal else Transpose.FLIP_TOP_BOTTOM)


def _middles(pixels: int, cells: int) -> Tensor:
    """The pixel in the middle of each cell; with the first one instead, small masks would move by half a pixel."""
    return (2 * torch.arange(cells) + 1) * pixels // (2 * cells)


def within(boxes: Tensor, size: Size) -> Tensor:
    """The parts of ``(k, 4)`` xyxy boxes that lie in a picture of ``size``; where nothing does, it has no area."""
    height, width = size
    x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
    return torch.stack([x, y], 2).reshape(-1, 4)
