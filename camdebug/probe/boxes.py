"""Geometry of annotated objects: the exact coverage of the cells of a grid by boxes or masks, and pixel masks.

Pictures have one to three axes: ``(T,)``, ``(H, W)`` or ``(D, H, W)``; for a video D is time. Sizes and grids are in
the order of the tensor. Boxes are in torchvision's order, continued: the first corner, then the second, each x first.
x runs along the last axis of the tensor (W), y along the one before (H), z along the one before that (D):

===========  ============================  ==============
picture      box                           size and grid
===========  ============================  ==============
``(D,H,W)``  ``x1, y1, z1, x2, y2, z2``    depth, height, width
``(H,W)``    ``x1, y1, x2, y2``            height, width
``(T,)``     ``x1, x2``                    length
===========  ============================  ==============

So a box of a slice becomes a box of the volume by adding z, and nothing that is known of pictures turns round. Where
the first number of a box runs along the first axis of the tensor instead, turn the numbers of each corner round first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

JUDGED_AREA = 0.02, 0.70
"""Least and largest share of the picture that an object may take to be judged: others say too little about heat."""


def coverage(boxes: Sequence[Tensor], image_size: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """Share of every grid cell that the union of a picture's boxes covers, exactly.

    Args:
        boxes: for each of N pictures a ``(k, 4)`` tensor, xyxy in pixels; ``k`` may be 0. Volumes have ``(k, 6)``
            boxes, xyzxyz, and sequences ``(k, 2)``.
        image_size: height and width of the pictures in pixels; depth, height and width of volumes; length of sequences.
        grid: cells along the same axes.

    Returns:
        ``(N, *grid)`` float64 in [0, 1].

    Raises:
        ValueError: when boxes, sizes and grid are not of the same axes, or a box ends before it begins.

    >>> coverage([torch.tensor([[0., 0., 2., 4.]])], (4, 4), (1, 2))
    tensor([[[1., 0.]]], dtype=torch.float64)

    The left half of a volume, in the second of its two slices:

    >>> coverage([torch.tensor([[0., 0., 1., 2., 4., 2.]])], (2, 4, 4), (2, 1, 2))[0].tolist()
    [[[0.0, 0.0]], [[1.0, 0.0]]]
    """
    _check_grid("image_size", image_size, grid)
    covers = [_union_coverage(*_corners(b, len(image_size), n), image_size, grid) for n, b in enumerate(boxes)]
    return torch.from_numpy(np.stack(covers)) if covers else torch.zeros((0, *grid), dtype=torch.float64)


def mask_coverage(masks: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Share of every grid cell that a mask covers, exactly; a pixel that cells share counts in each by its part.

    Args:
        masks: ``(N, *size)`` of one to three axes, bool, or 0 and 1.
        grid: cells along each axis; the size need not be a multiple.

    Returns:
        ``(N, *grid)`` float64 in [0, 1]: the nearest number to the fraction.

    Raises:
        TypeError, ValueError: when an argument is not as described; the message names it.

    Three pixels on two cells of a pixel and a half; the object is the middle one:

    >>> mask_coverage(torch.tensor([[0, 1, 0]]), (2,)).tolist()
    [[0.3333333333333333, 0.3333333333333333]]

    With regions to ignore, ``readable = 1 - mask_coverage(ignored & ~objects, grid)``.
    """
    if not isinstance(masks, Tensor):
        raise TypeError(f"masks: expected a tensor (N, *size), got {type(masks).__name__}")
    size = tuple(masks.shape[1:])
    _check_grid("masks", size, grid)
    if masks.dtype is not torch.bool and not bool(((masks == 0) | (masks == 1)).all()):
        raise ValueError("masks: expected bool, or 0 and 1 alone; compare a map of labels with the label first")
    overlaps = [_overlaps(pixels, cells) for pixels, cells in zip(size, grid, strict=True)]
    found = torch.zeros((len(masks), *grid), dtype=torch.float64)
    for row, mask in zip(found, masks, strict=True):
        covered = mask.detach().cpu().double()
        for overlap in overlaps:  # takes the first axis away and puts its cells last
            covered = torch.tensordot(covered, overlap, dims=([0], [1]))
        row.copy_(covered / prod(size))
    return found


def track_boxes(boxes: Tensor, frames: Tensor) -> Tensor:
    """Boxes of a video, one frame deep each, from an object's box in some of its frames.

    Args:
        boxes: ``(k, 4)`` xyxy in pixels.
        frames: ``(k,)`` the frame of each, counted in the clip that the model receives.

    Returns:
        ``(k, 6)`` float64 xyzxyz, for :func:`coverage` with the size ``(T, H, W)``.

    Raises:
        ValueError: when the shapes do not agree.

    An object that moves from the left to the right within two frames of 2x4 pixels:

    >>> track = track_boxes(torch.tensor([[0., 0., 2., 2.], [2., 0., 4., 2.]]), torch.tensor([0, 1]))
    >>> track.tolist()
    [[0.0, 0.0, 0.0, 2.0, 2.0, 1.0], [2.0, 0.0, 1.0, 4.0, 2.0, 2.0]]
    >>> coverage([track], (2, 2, 4), (2, 1, 2))[0].tolist()
    [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected (k, 4) xyxy, got {tuple(boxes.shape)}")
    if frames.shape != (len(boxes),):
        raise ValueError(f"frames: expected ({len(boxes)},), one for each box, got {tuple(frames.shape)}")
    corners, start = boxes.double(), frames.double()[:, None]
    return torch.cat([corners[:, :2], start, corners[:, 2:], start + 1], 1)


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


def _check_grid(name: str, size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise ValueError(f"{name}: expected pictures of 1 to 3 axes with pixels, got the size {tuple(size)}")
    if len(grid) != len(size) or min(grid) < 1:
        raise ValueError(f"grid: expected cells along each axis of pictures of the size {tuple(size)}, got {grid}")


def _corners(boxes: Tensor, axes: int, number: int) -> tuple[Floats, Floats]:
    """First and second corners ``(k, axes)`` in the order of the tensor's axes."""
    found = boxes.detach().cpu().double().numpy()
    if found.size and found.shape[1:] != (2 * axes,):
        raise ValueError(
            f"boxes: expected (k, {2 * axes}) for pictures of {axes} axes, got {found.shape} at picture {number}"
        )
    found = found.reshape(-1, 2 * axes)
    low, high = found[:, :axes][:, ::-1], found[:, axes:][:, ::-1]
    unusable = ~(np.isfinite(found).all(1) & (low <= high).all(1))
    if unusable.any():
        raise ValueError(
            f"boxes: expected finite corners, that of the smaller numbers first, got {found[unusable][0].tolist()} at "
            f"picture {number}"
        )
    return low, high


def _union_coverage(low: Floats, high: Floats, size: tuple[int, ...], grid: tuple[int, ...]) -> Floats:
    """Coverage from the corners ``(k, axes)`` of one picture's boxes."""
    if len(low) == 0:
        return np.zeros(grid)
    found = _cut_coverage(low, high, size, grid) if len(size) < 3 else _swept_coverage(low, high, size, grid)
    return np.asarray(np.clip(found, 0.0, 1.0))


def _cut_coverage(low: Floats, high: Floats, size: tuple[int, ...], grid: tuple[int, ...]) -> Floats:
    """By cutting the picture along every box edge and grid line: each piece is then in or out."""
    lines = [np.linspace(0, pixels, cells + 1) for pixels, cells in zip(size, grid, strict=True)]
    cuts = [_cuts(line, low[:, axis], high[:, axis]) for axis, line in enumerate(lines)]
    middles = [(cut[:-1] + cut[1:]) / 2 for cut in cuts]
    first = [np.searchsorted(middle, low[:, axis]) for axis, middle in enumerate(middles)]
    stop = [np.searchsorted(middle, high[:, axis]) for axis, middle in enumerate(middles)]
    covered = np.zeros([len(middle) for middle in middles], dtype=bool)
    for box in range(len(low)):
        covered[tuple(slice(a[box], b[box]) for a, b in zip(first, stop, strict=True))] = True
    found = covered * reduce(np.multiply.outer, [np.diff(cut) for cut in cuts])
    for axis, (cut, line) in enumerate(zip(cuts, lines, strict=True)):
        found = np.add.reduceat(found, np.searchsorted(cut, line[:-1]), axis=axis)
    cell = 1.0
    for pixels, cells in zip(size, grid, strict=True):
        cell = cell * pixels / cells
    return found / cell


def _swept_coverage(low: Floats, high: Floats, size: tuple[int, ...], grid: tuple[int, ...]) -> Floats:
    """Slab by slab of the first axis: each needs only the boxes that cross it, which is one for a track."""
    line = np.linspace(0, size[0], grid[0] + 1)
    found = np.zeros(grid)
    for start, end in pairwise(_cuts(line, low[:, 0], high[:, 0])):
        crossed = (low[:, 0] <= start) & (end <= high[:, 0])
        depth = (end - start) / (size[0] / grid[0])
        slab = _union_coverage(low[crossed, 1:], high[crossed, 1:], size[1:], grid[1:])
        found[np.searchsorted(line, start, side="right") - 1] += depth * slab
    return found


def _cuts(line: Floats, low: Floats, high: Floats) -> Floats:
    return np.unique(np.clip(np.concatenate([line, low, high]), 0, line[-1]))


def _overlaps(pixels: int, cells: int) -> Tensor:
    """``(cells, pixels)`` float64: what they share, in units in which both are whole, so that sums do not round."""
    pixel, cell = torch.arange(pixels), torch.arange(cells)[:, None]
    end = torch.minimum((pixel + 1) * cells, (cell + 1) * pixels)
    return (end - torch.maximum(pixel * cells, cell * pixels)).clamp(min=0).double()
