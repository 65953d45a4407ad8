"""The probes as the model receives them, with what is annotated in each: a wrong box shows at once."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from camdebug.numerals import count_of
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.suspicion import suspicions
from camdebug.render.annotated import draw_annotations
from camdebug.render.ink import (
    FAINT,
    LIGHT,
    MARGIN,
    WRONG,
    Colour,
    ellipsise,
    fit,
    line_height,
    resize,
    sheet,
    text_width,
    wrap,
    write,
)
from camdebug.render.picture import Colours, find_colours, to_pictures
from camdebug.render.probe_sheet_layout import GAP, HEAD, Group, Layout, Order, choose, head_height, lay_out
from camdebug.render.probe_sheet_words import TEXT, covered, fault, identity, opening
from camdebug.store.disk import write_file
from camdebug.wording import shown_name

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.Image import Image

MOST_COLUMNS = 40

BAND = 18
FRAME = 3
_BETWEEN = 12


def save_probe_sheet(
    probes: ProbeSet,
    path: str | os.PathLike[str] | None,
    *,
    per_class: int | Literal["all"] | None = None,
    columns: int | None = None,
    sort: Order = "area",
) -> Image:
    """Draw a sheet, and write it as PNG where a path is given: whole, in place of an earlier one.

    Raises:
        ValueError: an argument is not as ``ProbeSet.preview`` wants it.
        OSError: the file cannot be written; an earlier one is still there then.
    """
    place = None if path is None else Path(path)
    if place is not None and place.suffix.lower() != ".png":
        raise ValueError(f"path: expected a name that ends in .png, got {place.name!r}")
    if place is not None and not place.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(place.parent)!r}; make it first")
    image = draw_probe_sheet(probes, per_class=per_class, columns=columns, sort=sort)
    if place is not None:
        data = io.BytesIO()
        image.save(data, format="PNG", compress_level=3)
        write_file(place, data.getvalue(), limited=False)
    return image


def draw_probe_sheet(
    probes: ProbeSet,
    *,
    per_class: int | Literal["all"] | None = None,
    columns: int | None = None,
    sort: Order = "area",
) -> Image:
    """Draw probes as the model receives them, grouped by class, each with its annotation, source and area.

    Args:
        probes: the probe set.
        per_class: at most so many of each class, evenly over their areas; ``"all"`` for all of them; by default all of
            up to 64, and 64 of more. A sheet has 80 million pixels at most; what finds no room is left out, and said.
        columns: pictures in a row; by default as many as fit on 1600 pixels.
        sort: within a class by ``"area"``, smallest first, or ``"index"``.

    Returns:
        A picture in sRGB.

    Raises:
        ValueError: when an argument is not as described.
    """
    _check(per_class, columns, sort)
    area = probes.coverage((1, 1))[:, 0, 0].tolist()
    layout = lay_out(probes, columns)
    groups = choose(probes, area, per_class, sort, layout)
    colours = find_colours(probes.images.float(), probes.mean, probes.std)
    room = layout.width - 2 * MARGIN
    rows = [row for group in groups for row in group.rows]
    framed = probes.annotated and any(fault(area[row]) for row in rows)
    doubts = [line for found in suspicions(probes)[:1] for line in wrap(f"{found.sentence}.", BAND, room, 3)]
    said = opening(probes, len(rows), colours, framed=framed)
    lines = [(line, size, colour) for text, size, colour in said for line in wrap(text, size, room, 2)]
    band = len(doubts) * line_height(BAND) + 2 * MARGIN if doubts else 0
    top = band + 2 * MARGIN + sum(line_height(size) for _, size, _ in lines)
    canvas = sheet(layout.width, top + layout.height(groups) + MARGIN)
    _write_band(canvas, doubts, band)
    _write_lines(canvas, lines, band + MARGIN)
    for shelf in layout.shelves(groups):
        for group, column in shelf.groups:
            _draw_group(canvas, (MARGIN + column * layout.cell[1], top), group, probes, area, colours, layout)
        top += shelf.height
    return canvas


def _check(per_class: object, columns: object, sort: object) -> None:
    if per_class not in (None, "all") and not _is_whole(per_class, 1):
        raise ValueError(f'per_class: expected a whole number of at least 1, or "all", got {per_class!r:.80}')
    if columns is not None and not _is_whole(columns, 1, MOST_COLUMNS):
        raise ValueError(f"columns: expected a whole number of 1 to {MOST_COLUMNS}, got {columns!r:.80}")
    if sort not in ("area", "index"):
        raise ValueError(f'sort: expected "area" or "index", got {sort!r:.80}')


def _is_whole(value: object, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _write_band(canvas: Image, lines: Sequence[str], height: int) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    if lines:
        pen.rectangle((0, 0, canvas.width, height - 1), fill=WRONG)
    for turn, line in enumerate(lines):
        write(pen, (MARGIN, MARGIN + turn * line_height(BAND)), line, BAND, colour=LIGHT)


def _write_lines(canvas: Image, lines: Sequence[tuple[str, int, Colour]], y: int) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    for line, size, colour in lines:
        write(pen, (MARGIN, y), line, size, colour=colour)
        y += line_height(size)


def _draw_group(
    canvas: Image,
    at: tuple[int, int],
    group: Group,
    probes: ProbeSet,
    area: list[float],
    colours: Colours,
    layout: Layout,
) -> None:
    from PIL import ImageDraw

    (left, top), pen = at, ImageDraw.Draw(canvas)
    whole = layout.span(group) == layout.columns
    width = layout.width - 2 * MARGIN if whole else layout.span(group) * layout.cell[1] - GAP
    pen.line((left, top + 2, left + width, top + 2), fill=(214, 214, 210))
    _write_head(pen, (left, top + MARGIN), group, probes, width)
    for place, row in enumerate(group.rows):
        y = top + head_height() + place // layout.columns * layout.cell[0]
        x = left + place % layout.columns * layout.cell[1]
        _draw_probe(canvas, (x, y), row, probes, area[row], colours, layout)


def _write_head(pen: ImageDraw.ImageDraw, at: tuple[int, int], group: Group, probes: ProbeSet, width: int) -> None:
    shown = f", {len(group.rows)} shown" if len(group.rows) < group.probes else ""
    count = f"{count_of(group.probes, 'probe')}{shown}"
    room = width - text_width(count, HEAD) - _BETWEEN
    name = ellipsise(shown_name(probes.class_names[group.class_idx]), HEAD, room, bold=True)
    write(pen, at, name, HEAD, bold=True)
    write(pen, (at[0] + text_width(name, HEAD, True) + _BETWEEN, at[1]), count, HEAD, colour=FAINT)


def _draw_probe(
    canvas: Image,
    at: tuple[int, int],
    row: int,
    probes: ProbeSet,
    area: float,
    colours: Colours,
    layout: Layout,
) -> None:
    from PIL import Image, ImageDraw

    (x, y), (height, width), pen = at, layout.tile, ImageDraw.Draw(canvas)
    unfit = probes.annotated and bool(fault(area))
    if unfit:
        pen.rectangle((x - FRAME, y - FRAME, x + width + FRAME - 1, y + height + FRAME - 1), fill=WRONG)
    canvas.paste(Image.fromarray(_picture(probes, row, colours, layout.tile)), (x, y))
    room = layout.cell[1] - GAP
    below = y + height + FRAME
    write(pen, (x, below), fit(lambda n: identity(probes, row, n, layout.folder), TEXT, room), TEXT)
    if probes.annotated:
        told = ellipsise(covered(probes, row, area), TEXT, room)
        write(pen, (x, below + line_height(TEXT)), told, TEXT, colour=WRONG if unfit else FAINT)


def _picture(probes: ProbeSet, row: int, colours: Colours, size: tuple[int, int]) -> NDArray[np.uint8]:
    (shown,) = to_pictures(probes.images[row : row + 1], colours)
    tile: NDArray[np.uint8] = resize(shown, size).copy()
    draw_annotations(tile, probes, row)
    return tile
