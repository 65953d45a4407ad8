"""Every object of another source as a picture of its own: for classifiers that see one object at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from camdebug.records import Exclusion
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Source, Unusable
from camdebug.sources.pictures import Exif, open_picture, picture_size, size_of

if TYPE_CHECKING:
    from PIL.Image import Image

Window = tuple[int, int, int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ObjectCrops:
    """A square around every box of a source, with what lies around the object.

    The object's own box is what is looked at; all other objects in the square, of whatever class, are ignored regions.
    At the border of the picture the square is moved inwards, or cut where the picture is too small for it.

    Attributes:
        source: with boxes.
        context: side of the square, in longer sides of the box: at 2 an object as wide as high fills a quarter.
            Small objects are magnified then, and how large the grain of their surroundings is can tell the class.
        side: of every square in pixels, in place of ``context``: all objects are seen at one scale.
        most: of a class from one picture, the first ones; ``None`` for all. For probes take 1: crops of one picture
            show parts of each other, and what is measured on them is not independent.
        least_side: of the square in pixels; smaller ones are left out.
        exif: how the source's pictures are turned, as :meth:`ProbeSet.from_source` says it. Its own ``exif`` is for the
            crops, which have no tag any more.
    """

    source: Source
    context: float = 2.0
    side: int | None = None
    most: int | None = None
    least_side: int = 8
    exif: Exif = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.context, (int, float)) or not (isfinite(self.context) and self.context >= 1):
            raise ValueError(f"context: expected 1 or more sides of the box, got {self.context!r}")
        for name, value in (("side", self.side), ("most", self.most)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name}: expected a whole number of at least 1, or None, got {value!r}")
        if type(self.least_side) is not int or self.least_side < 1:
            raise ValueError(f"least_side: expected a whole number of at least 1, got {self.least_side!r}")
        if self.exif not in get_args(Exif):
            raise ValueError(f"exif: expected 'auto', 'apply' or 'ignore', got {self.exif!r:.80}")

    def read(self) -> Annotations:
        """Read the source's annotations, and turn each object into a picture.

        Raises:
            ValueError: the source has no boxes, or cannot be read.
        """
        whole = self.source.read()
        if whole.kind != "boxes":
            raise ValueError(f"source: expected boxes to cut out, got {whole.kind or 'classes without places'}")
        entries: list[Entry] = []
        exclusions = list(whole.exclusions)
        for entry in whole.entries:
            try:
                entries += self._crops(entry, exclusions)
            except Unusable as reason:
                exclusions.append(Exclusion(entry.source_id, str(reason)))
        return replace(
            whole, entries=entries, source=f"{len(entries)} crops of {whole.source}", exclusions=tuple(exclusions)
        )

    def _crops(self, entry: Entry, exclusions: list[Exclusion]) -> Iterator[Entry]:
        size = entry.size or _size(entry, self.exif)
        taken: Counter[str] = Counter()
        for number, found in enumerate(entry.objects):
            if found.ignored or found.box is None or taken[found.name] == self.most:
                continue
            source_id = f"{entry.source_id}#{number}"
            window = _window(found.box, size, self.context, self.side)
            if window is None or min(window[2] - window[0], window[3] - window[1]) < self.least_side:
                reason = "box that cannot be cut out" if window is None else f"crop below {self.least_side} pixels"
                exclusions.append(Exclusion(source_id, reason))
                continue
            taken[found.name] += 1
            yield Entry(
                source_id=source_id,
                picture=partial(_cut, entry, window, self.exif),
                objects=tuple(_seen(entry.objects, number, window)),
                size=(window[3] - window[1], window[2] - window[0]),
                file=entry.file,
            )


def _size(entry: Entry, exif: Exif) -> tuple[int, int]:
    """Of the picture as it will be opened; with ``"auto"`` one without a declared size is never turned."""
    if isinstance(entry.picture, Path):
        return picture_size(entry.picture, upright=exif == "apply")
    return size_of(entry.picture(), upright=exif == "apply")


def _window(box: Box, size: tuple[int, int], context: float, fixed: int | None) -> Window | None:
    """Left, top, right and bottom in whole pixels of the picture; ``None`` for a box without area in it."""
    height, width = size
    if not all(isfinite(v) for v in box):
        return None
    left, top, right, bottom = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if right <= left or bottom <= top:
        return None
    side = fixed or context * max(right - left, bottom - top)
    x, y = (_span((low + high) / 2, side, end) for low, high, end in ((left, right, width), (top, bottom, height)))
    return x[0], y[0], x[1], y[1]


def _span(middle: float, side: float, end: int) -> tuple[int, int]:
    length = min(max(round(side), 1), end)
    start = min(max(round(middle - length / 2), 0), end - length)
    return start, start + length


def _seen(objects: tuple[AnnotatedObject, ...], own: int, window: Window) -> Iterator[AnnotatedObject]:
    """The objects in the window, in its pixels; all but the own one ignored."""
    left, top, right, bottom = window
    for number, found in enumerate(objects):
        if found.box is None:
            continue
        x0, y0, x1, y1 = found.box
        if number == own or (x0 < right and x1 > left and y0 < bottom and y1 > top):
            yield AnnotatedObject(found.name, (x0 - left, y0 - top, x1 - left, y1 - top), ignored=number != own)


def _cut(entry: Entry, window: Window, exif: Exif) -> Image:
    try:
        return open_picture(entry, exif=exif).crop(window)
    except Unusable as reason:
        if "exif=" in str(reason):  # of from_source it would be without effect
            own = "turned by its EXIF tag, annotated either way; pass exif='apply' or 'ignore' to ObjectCrops"
            raise Unusable(own) from reason
        raise
