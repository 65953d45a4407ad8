"""Boxes and maps over pictures as the model sees them, so that a wrong transform shows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from camdebug.doctor.pictures import Pictures
from camdebug.measures.localisation import has_evidence
from camdebug.render.annotated import draw_annotations
from camdebug.render.colour import density, paint_heat, upsample
from camdebug.render.filmstrip import contact_sheet
from camdebug.render.ink import FAINT, INK, MARGIN, ellipsise, line_height, resize, sheet, write
from camdebug.render.overlay import display_size
from camdebug.render.picture import find_colours, to_pictures
from camdebug.wording import shown_name

if TYPE_CHECKING:
    from PIL.Image import Image

DRAWN = 6
GAP = 4
TEXT = 12
_LINE = 0.45
"""How far a grid line goes towards white."""


def draw_examination(pictures: Pictures, maps: Tensor | None, *, method: str = "", layer: str = "") -> Image:
    """Draw a few pictures: plain with boxes, and under their heat with the lines of the grid.

    Args:
        pictures: what was looked at; the first few are drawn.
        maps: ``(n, h, w)`` of them; without, there is the plain column alone.
        method: of the maps.
        layer: that they are of.

    Returns:
        A picture in sRGB. The first plain tile begins ``MARGIN`` from the left; a line of text stands above each row.
    """
    from PIL import Image

    few = pictures.first(DRAWN if maps is None else min(DRAWN, len(maps)))
    probes = pictures.probes
    mean, std = (None, None) if probes is None else (probes.mean, probes.std)
    colours = find_colours(pictures.images.float(), mean, std)
    shown = to_pictures(few.images, colours)
    size = display_size(shown.shape[1], shown.shape[2])
    heat = None if maps is None else upsample(density(maps[:DRAWN]), size)
    empty = [] if maps is None else (~has_evidence(maps[:DRAWN])).tolist()
    rows = []
    for number, row in enumerate(few.rows):
        plain = resize(shown[number], size).copy()
        tiles = [plain]
        if heat is not None and maps is not None:
            warm = paint_heat(plain, heat[number][None])[0]
            draw_grid(warm, (maps.shape[1], maps.shape[2]))
            tiles.append(warm)
        if probes is not None:
            for tile in tiles:
                draw_annotations(tile, probes, row)
        told = "no map" if heat is None else f"{method} of {_explained(few)} at {layer}"
        caption = (
            f"{_caption(few, row)}: {shown_name(told)}{' (no heat)' if heat is not None and empty[number] else ''}"
        )
        rows.append(("", _row(tiles, caption, colours.sentence if number == 0 else "")))
    return Image.fromarray(contact_sheet(rows, legend=heat is not None))


def draw_grid(image: NDArray[np.uint8], grid: tuple[int, int]) -> None:
    """Lay the lines between cells over a picture ``(H, W, 3)``, in place and half transparent."""
    for axis, cells in enumerate(grid):
        for line in range(1, cells):
            at = min(round(line * image.shape[axis] / cells), image.shape[axis] - 1)
            part = image[at] if axis == 0 else image[:, at]
            part[...] = np.rint(part + _LINE * (255.0 - part)).astype(np.uint8)


def _caption(few: Pictures, row: int) -> str:
    if few.probes is None:
        return f"picture {row}"
    return f"#{row} {shown_name(few.probes.class_names[int(few.probes.labels[row])])}"


def _explained(few: Pictures) -> str:
    """The class that maps are of."""
    if few.labels is None:
        return "the predicted class"
    return "its label" if few.probes is not None else "class 0"


def _row(tiles: list[NDArray[np.uint8]], caption: str, note: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    height, width = tiles[0].shape[:2]
    full = max(2 * MARGIN + len(tiles) * (width + GAP) - GAP, 2 * 224)
    top = line_height(TEXT) * (2 if note else 1)
    canvas = sheet(full, top + height + GAP)
    pen = ImageDraw.Draw(canvas)
    lines = [(note, FAINT)] * bool(note) + [(caption, INK)]
    for number, (line, colour) in enumerate(lines):
        place = (MARGIN, number * line_height(TEXT))
        write(pen, place, ellipsise(line, TEXT, full - 2 * MARGIN), TEXT, colour=colour)
    for number, tile in enumerate(tiles):
        canvas.paste(Image.fromarray(tile), (MARGIN + number * (width + GAP), top))
    return np.asarray(canvas)
