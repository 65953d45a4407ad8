"""Masks as COCO writes them, polygons and run lengths, checked before anything is decoded.

Run lengths are decoded here rather than by pycocotools: it takes what it is given, and where runs do not fill the
picture its masks hold whatever was in the memory before. Polygons are filled by pycocotools, once their corners are
known to be numbers near the picture: others keep it busy for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camdebug.sources.entry import Mask, Unusable
from camdebug.sources.paths import optional
from camdebug.sources.pictures import MOST_PIXELS

_MOST_DIGITS = 7  # of five bits each: more than any number of pixels has


def coco_mask(segmentation: object, size: tuple[int, int]) -> Mask:
    """The mask of an annotation.

    Args:
        segmentation: polygons, each ``[x1, y1, x2, y2, ...]`` in pixels; or run lengths,
            ``{"size": [height, width], "counts": ...}``, column by column and zeros first, as a list or as COCO's text.
        size: height and width of the picture.

    Returns:
        ``(H, W)`` bool.

    Raises:
        Unusable: it is neither, or not of this picture.
        ImportError: there are polygons, and pycocotools is not installed.

    >>> coco_mask({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3)).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if size[0] * size[1] > MOST_PIXELS:
        raise Unusable(f"mask of more than {MOST_PIXELS // 1_000_000} million pixels")
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size)
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, size)
    raise Unusable("object without a mask")


def _from_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> Mask:
    if segmentation.get("size") != list(size):
        raise Unusable("mask of another size")
    counts = segmentation.get("counts")
    runs = _spelled(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise Unusable("run lengths that are no whole numbers")
    if sum(runs) != size[0] * size[1]:
        raise Unusable("run lengths that do not fill the picture")
    flat: NDArray[np.bool_] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def _spelled(text: str) -> list[int]:
    """Run lengths from COCO's text.

    Characters from ``"0"`` on stand for six bits: five of the number, lowest first, and whether it goes on. The last of
    its bits is the sign. From the fourth number on they are differences to the last but one.
    """
    runs: list[int] = []
    value = digits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or digits == _MOST_DIGITS:
            raise Unusable("run lengths that cannot be spelled out")
        value |= (code & 31) << 5 * digits
        digits += 1
        if code & 32:
            continue
        value -= (code & 16) << 5 * (digits - 1) + 1
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = digits = 0
    if digits:
        raise Unusable("run lengths that cannot be spelled out")
    return runs


def _from_polygons(polygons: list[Any], size: tuple[int, int]) -> Mask:
    reach = max(size)
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
            raise Unusable("polygon that is no list of numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise Unusable("polygon of fewer than three whole corners")
        if not all(-reach <= value <= 2 * reach for value in polygon):  # NaN neither
            raise Unusable("polygon far outside the picture")
    masks = optional("pycocotools.mask", "COCO polygons")
    filled = masks.merge(masks.frPyObjects(polygons, *size))
    return _from_runs({"size": list(size), "counts": filled["counts"].decode()}, size)
