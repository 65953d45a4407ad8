"""One class at one epoch: where its background cue sits, and where its heat lies on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camdebug.measures.localisation import has_evidence
from camdebug.render.colour import density, paint_cue, paint_heat, upsample
from camdebug.render.ink import FAINT, MARGIN, line_height, outline, resize, sheet, wrap, write
from camdebug.render.legend import cue_legend, heat_legend
from camdebug.render.overlay import display_size, scale_boxes

_TITLE, _SMALL, _LINES = 13, 11, 2
_NARROWEST = 224

_FLOOR = 4.0


def cue_scale(maps: Sequence[Tensor], so_far: float = 0.0) -> float:
    """Absolute value of the strongest colour, in logits a cell.

    Never below four logits spread over the whole grid, so that a map of noise stays pale.

    Args:
        maps: ``(h, w)`` each.
        so_far: the largest value met earlier; the scale only grows.
    """
    peaks = [float(m.abs().nan_to_num(0, 0, 0).max()) for m in maps]
    floors = [_FLOOR / m.numel() for m in maps]
    return max([so_far, *peaks, *floors, 1e-6])


def mean_picture(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of ``(N, H, W, 3)`` pictures, ``(H, W, 3)``."""
    total = np.zeros(pictures.shape[1:], np.float64)
    for picture in pictures:
        total += picture
    return np.rint(total / max(1, len(pictures))).astype(np.uint8)


def mean_box(boxes: Sequence[Tensor]) -> Tensor:
    """Mean of the hulls of each picture's ``(k, 4)`` xyxy boxes, ``(1, 4)``; ``(0, 4)`` when there is none."""
    hulls = [torch.cat([b[:, :2].amin(0), b[:, 2:].amax(0)]) for b in boxes if len(b)]
    return torch.stack(hulls).double().mean(0, keepdim=True) if hulls else torch.zeros(0, 4, dtype=torch.float64)


def mean_density(maps: Tensor) -> Tensor:
    """Mean heat density ``(h, w)`` of ``(N, h, w)`` raw maps; those without evidence do not count."""
    usable = has_evidence(maps)
    return density(maps[usable]).mean(0) if bool(usable.any()) else torch.zeros(maps.shape[1:])


def draw_cue_map(
    cue_map: Tensor,
    picture: NDArray[np.uint8],
    *,
    title: str,
    scale: float | None = None,
    boxes: Tensor | None = None,
    note: str = "",
) -> NDArray[np.uint8]:
    """Draw where the evidence comes from that a class owes to its own backgrounds.

    Args:
        cue_map: ``(h, w)`` signed, in logits a cell.
        picture: ``(H, W, 3)`` sRGB, the mean picture of the class; it is greyed beneath the colours.
        title: names the class.
        scale: absolute value of the strongest colour; by default from :func:`cue_scale` on this map alone.
        boxes: ``(k, 4)`` xyxy in pixels of the picture, for example the mean box.
        note: a line beneath, for example the value with its chance level.

    Returns:
        ``(H', W', 3)`` uint8.
    """
    strongest = cue_scale([cue_map]) if scale is None else scale
    size = display_size(*picture.shape[:2])
    values = upsample(cue_map.nan_to_num(0, 0, 0)[None], size)
    painted = paint_cue(_greyed(resize(picture, size)), values, strongest)[0]
    _outline_all(painted, boxes, picture)
    return _framed(painted, title, note, cue_legend(max(_NARROWEST, size[1]), strongest))


def draw_mean_map(
    heat: Tensor, picture: NDArray[np.uint8], *, title: str, boxes: Tensor | None = None, note: str = ""
) -> NDArray[np.uint8]:
    """Draw the mean heat of a class over its mean picture: fixed places such as tags and borders show at once.

    Args:
        heat: ``(h, w)`` from :func:`mean_density`.
        picture: ``(H, W, 3)`` sRGB, the mean picture of the class.
        title: names the class.
        boxes: ``(k, 4)`` xyxy in pixels of the picture, for example the mean box.
        note: a line beneath.

    Returns:
        ``(H', W', 3)`` uint8.
    """
    size = display_size(*picture.shape[:2])
    painted = paint_heat(resize(picture, size), upsample(heat[None], size))[0]
    _outline_all(painted, boxes, picture)
    said = note if bool(heat.any()) else "no heat"
    return _framed(painted, title, said, heat_legend(max(_NARROWEST, size[1])))


def _greyed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey with half the contrast, so that only the map has colour."""
    grey = picture.mean(2, keepdims=True) * 0.6 + 76
    return np.broadcast_to(np.rint(grey), picture.shape).astype(np.uint8)


def _outline_all(painted: NDArray[np.uint8], boxes: Tensor | None, picture: NDArray[np.uint8]) -> None:
    for box in scale_boxes(boxes, picture.shape, painted.shape) if boxes is not None else ():
        outline(painted, box)


def _framed(painted: NDArray[np.uint8], title: str, note: str, legend: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Title above, note and legend beneath; two lines are kept for each text, so all classes have one size."""
    from PIL import Image, ImageDraw

    height, width = painted.shape[:2]
    full = legend.shape[1]
    room, top = full - 2 * MARGIN, _LINES * line_height(_TITLE) + MARGIN
    below = top + height + 3
    legend_top = below + _LINES * line_height(_SMALL) + 3
    canvas = sheet(full, legend_top + len(legend) + MARGIN)
    canvas.paste(Image.fromarray(painted), ((full - width) // 2, top))
    canvas.paste(Image.fromarray(legend), (0, legend_top))
    pen = ImageDraw.Draw(canvas)
    for i, line in enumerate(wrap(title, _TITLE, room, _LINES)):
        write(pen, (MARGIN, 2 + i * line_height(_TITLE)), line, _TITLE)
    for i, line in enumerate(wrap(note, _SMALL, room, _LINES)):
        write(pen, (MARGIN, below + i * line_height(_SMALL)), line, _SMALL, colour=FAINT)
    return np.asarray(canvas)
