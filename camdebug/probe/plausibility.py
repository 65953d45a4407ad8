"""Mistakes that a whole source shares: boxes of another format or scale, found before any transform could hide them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from camdebug.sources import Annotations, Entry

Floats = NDArray[np.float64]


def check_annotated_boxes(annotations: Annotations) -> None:
    """Raise when the boxes of a source can only be of another format or scale.

    Raises:
        ValueError: most boxes end before they begin, all lie in 0 to 1, or most reach beyond the declared sizes.
    """
    boxes = _boxes(annotations.entries)
    if not len(boxes):
        return
    inverted = int(((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])).sum())
    if 2 * inverted > len(boxes):
        raise ValueError(
            f"source: {inverted} of {len(boxes)} boxes of {annotations.source} end before they begin; expected x1, y1, "
            "x2, y2, these look like x, y, width, height, or corners in another order"
        )
    usable = boxes[np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    if len(usable) and usable.max() <= 1:
        raise ValueError(
            f"source: all {len(usable)} boxes of {annotations.source} lie in 0 to 1; expected x1, y1, x2, y2 in "
            "pixels. Multiply x by the picture's width and y by its height; YOLO files, whose numbers are shares, are "
            "read by YoloFolder, and tables by CsvTable with normalised=True"
        )
    check_inside(annotations.entries, annotations.source)


def check_inside(entries: Iterable[Entry], source: str, sizes: dict[str, tuple[int, int]] | None = None) -> None:
    """Raise when most boxes reach beyond their pictures.

    Args:
        entries: of the source.
        source: what it is, in words.
        sizes: height and width by source id where they are known from the pictures; elsewhere the declared ones count,
            and pictures without either do not.
    """
    known = [(entry, size) for entry in entries if (size := (sizes or {}).get(entry.source_id, entry.size))]
    boxes = _boxes(entry for entry, _ in known)
    sides = [size[::-1] for entry, size in known for o in entry.objects if o.box is not None]
    limits = np.array(sides, dtype=np.float64).reshape(-1, 2)
    beyond = (boxes[:, 2:] > limits + 1).any(1)
    if 2 * int(beyond.sum()) > len(boxes):
        first = int(beyond.argmax())
        swapped = not (boxes[:, [3, 2]] > limits + 1).any()
        raise ValueError(
            f"source: {int(beyond.sum())} of {len(boxes)} boxes of {source} reach beyond their pictures, such as "
            f"{boxes[first].round(1).tolist()} in one of {limits[first][1]:.0f}x{limits[first][0]:.0f} (height x "
            f"width); {'they all fit with x and y swapped' if swapped else 'they seem to be of another size or format'}"
        )


def _boxes(entries: Iterable[Entry]) -> Floats:
    """``(k, 4)``."""
    found = [o.box for entry in entries for o in entry.objects if o.box is not None]
    return np.array(found, dtype=np.float64).reshape(-1, 4)
