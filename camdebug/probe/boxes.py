"""Geometry of annotated boxes: their exact coverage of the cells of a grid, and pixel masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def coverage(boxes: Sequence[Tensor], image_size: tuple[int, int], grid: tuple[int, ...]) -> Tensor:
    """Share of every grid cell that the union of a picture's boxes covers, exactly.

    Args:
        boxes: for each of N pictures a ``(k, 4)`` tensor, xyxy in pixels; ``k`` may be 0.
        image_size: height and width of the pictures in pixels.
        grid: height and width of the grid in cells.

    Returns:
        ``(N, h, w)`` float64 in [0, 1].

    >>> coverage([torch.tensor([[0., 0., 2., 4.]])], (4, 4), (1, 2))
    tensor([[[1., 0.]]], dtype=torch.float64)
    """
    covers = [_union_coverage(b.detach().cpu().double().numpy().reshape(-1, 4), image_size, grid) for b in boxes]
    return torch.from_numpy(np.stack(covers)) if covers else torch.zeros((0, *grid), dtype=torch.float64)


def _union_coverage(
    boxes: NDArray[np.float64], image_size: tuple[int, int], grid: tuple[int, ...]
) -> NDArray[np.float64]:
    """Coverage by cutting the plane along every box edge and grid line: each piece is then in or out."""
    if len(boxes) == 0:
        return np.zeros(grid)
    (height, width), (rows, columns) = image_size, grid
    row_lines, column_lines = np.linspace(0, height, rows + 1), np.linspace(0, width, columns + 1)
    y = np.unique(np.clip(np.concatenate([row_lines, boxes[:, 1], boxes[:, 3]]), 0, height))
    x = np.unique(np.clip(np.concatenate([column_lines, boxes[:, 0], boxes[:, 2]]), 0, width))
    y_mid, x_mid = (y[:-1] + y[1:]) / 2, (x[:-1] + x[1:]) / 2
    in_y = (boxes[:, 1, None] <= y_mid) & (y_mid < boxes[:, 3, None])
    in_x = (boxes[:, 0, None] <= x_mid) & (x_mid < boxes[:, 2, None])
    covered = (in_y[:, :, None] & in_x[:, None, :]).any(0)
    area = covered * np.diff(y)[:, None] * np.diff(x)[None, :]
    by_row = np.add.reduceat(area, np.searchsorted(y, row_lines[:-1]), axis=0)
    by_cell = np.add.reduceat(by_row, np.searchsorted(x, column_lines[:-1]), axis=1)
    return np.asarray(np.clip(by_cell / (height / rows * width / columns), 0.0, 1.0))


def pixel_masks(boxes: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
    """Pixels that the boxes touch, even in part.

    Args:
        boxes: for each of N pictures a ``(k, 4)`` tensor, xyxy in pixels; ``k`` may be 0.
        image_size: height and width of the pictures in pixels.

    Returns:
        ``(N, H, W)`` bool.
    """
    masks = torch.zeros((len(boxes), *image_size), dtype=torch.bool)
    for mask, picture_boxes in zip(masks, boxes, strict=True):
        for x0, y0, x1, y1 in picture_boxes.tolist():
            rows = slice(max(int(np.floor(y0)), 0), max(int(np.ceil(y1)), 0))
            columns = slice(max(int(np.floor(x0)), 0), max(int(np.ceil(x1)), 0))
            mask[rows, columns] = True
    return masks
