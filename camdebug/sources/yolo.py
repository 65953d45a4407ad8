"""YOLO: a ``data.yaml``, folders of pictures, and beside each a text file with rows of fractions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from camdebug.records import Exclusion
from camdebug.sources.coco_masks import coco_mask
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Unusable
from camdebug.sources.paths import PICTURE_ENDINGS, files_under, given_file, left_out, small_file, text_of
from camdebug.sources.pictures import picture_size
from camdebug.sources.yolo_yaml import YoloSet, read_yaml

Row = tuple[str, list[float]]

# Of a coordinate beyond the picture: what writing with few digits may add.
_SLACK = 1e-3


@dataclass(frozen=True)
class YoloFolder:
    """Pictures and labels as ultralytics reads them.

    The label file of ``.../images/a.jpg`` is ``.../labels/a.txt``. Rows are ``class cx cy w h`` or ``class x1 y1 x2 y2
    x3 y3 ...``, in fractions of the upright picture, whose size is read from its header. A picture of which a row
    cannot be read, or which has no label file, is left out whole; one with an empty label file has no objects.

    Args:
        data_yaml: the file with ``names`` and the places of the splits. What is relative in it is looked for from its
            ``path`` and from the file's own folder.
        split: the entry to read: a folder, a text file that lists pictures, or several of them.
        use: ``"boxes"``, also around polygons, or ``"masks"``, polygons alone; they are never mixed.
    """

    data_yaml: str | Path
    split: str = "val"
    use: Literal["boxes", "masks"] = "boxes"

    def __post_init__(self) -> None:
        if self.use not in ("boxes", "masks"):
            raise ValueError(f"use: expected 'boxes' or 'masks', got {self.use!r:.80}")

    def read(self) -> Annotations:
        """Read all label files, and of pictures with objects the header.

        Raises:
            FileNotFoundError, ValueError: ``data_yaml``, or what it says of the split, cannot be read; the message
                names the argument.
            ImportError: PyYAML is not installed.
        """
        described = read_yaml(Path(self.data_yaml), self.split)
        pictures = sorted({picture for place in described.places for picture in _listed(place, described.bases)})
        if not pictures:
            raise ValueError(f"split: expected pictures in {self.split!r:.80} of data_yaml, and there are none")
        if not any(os.path.lexists(_label_file(picture)) for picture in pictures):
            raise ValueError(
                f"data_yaml: expected label files such as {_label_file(pictures[0])}, and there is none for any of the "
                f"{len(pictures)} pictures of {self.split!r:.80}"
            )
        found, exclusions = self._entries(pictures, _root(pictures, described.bases), described)
        return Annotations(
            entries=found,
            names=tuple(dict.fromkeys(described.names.values())),
            kind=self.use,
            source=f"YOLO, {len(found)} pictures",
            exclusions=tuple(exclusions),
        )

    def _entries(self, pictures: list[Path], root: Path, described: YoloSet) -> tuple[list[Entry], list[Exclusion]]:
        found, exclusions = [], []
        for picture in pictures:
            file = picture.relative_to(root).as_posix()
            try:
                text_of(file, "file name")
                rows = _rows(_label_file(picture), described.names)
                size = picture_size(picture, upright=True) if rows else None
                objects = tuple(self._object(row, size) for row in rows if size)
                found.append(Entry(file, picture, objects, size=size, file=file))
            except Unusable as reason:
                exclusions.append(left_out(file, reason))
        return found, exclusions

    def _object(self, row: Row, size: tuple[int, int]) -> AnnotatedObject:
        name, numbers = row
        height, width = size
        if self.use == "masks":
            if len(numbers) == 4:
                raise Unusable("YOLO row with a box where a polygon is needed")
            corners = [value * (height if place % 2 else width) for place, value in enumerate(numbers)]
            return AnnotatedObject(name, mask=partial(coco_mask, [corners], size))
        x1, y1, x2, y2 = _corners(numbers)
        return AnnotatedObject(name, (x1 * width, y1 * height, x2 * width, y2 * height))


def _corners(numbers: list[float]) -> tuple[float, float, float, float]:
    """Of a box, or of the box around a polygon."""
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _rows(label_file: Path, names: dict[int, str]) -> list[Row]:
    try:
        text = _content(label_file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable("label file that is no text") from error
    return [_row(line.split(), names) for line in text.splitlines() if line.strip()]


def _content(label_file: Path) -> bytes:
    """Of a label file. An empty one says that there is nothing in the picture; a missing one says nothing."""
    if not os.path.lexists(label_file):
        raise Unusable("no label file")
    empty = label_file.is_file() and label_file.stat().st_size == 0
    return b"" if empty else small_file(label_file)


def _row(columns: list[str], names: dict[int, str]) -> Row:
    try:
        number, *values = map(float, columns)
    except ValueError as error:
        raise Unusable("YOLO row that is not numbers") from error
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise Unusable("YOLO row with a wrong number of columns")
    if number not in names:
        raise Unusable("YOLO class that data.yaml does not name")
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values):  # NaN neither
        raise Unusable("YOLO row not in 0 to 1")
    return names[int(number)], values


def _label_file(picture: Path) -> Path:
    before, images, after = picture.as_posix().rpartition("/images/")
    return Path(f"{before}/labels/{after}" if images else after).with_suffix(".txt")


def _listed(place: Path, bases: tuple[Path, ...]) -> Iterator[Path]:
    """Pictures of a folder, or of a text file with a path in each line."""
    if place.is_dir():
        yield from (_absolute(place / file) for file in files_under(place, PICTURE_ENDINGS))
        return
    text = given_file("split", place).decode("utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        raise ValueError(f"split: expected a text file with a path in each line, got other content in {place}")
    for line in filter(None, map(str.strip, text.splitlines())):
        here = place.parent / line
        tried = [here] if line.startswith("./") else [*(base / line for base in bases), here]
        yield _absolute(next(filter(os.path.lexists, tried), tried[0]))


def _absolute(path: Path) -> Path:
    """Without ``..`` and with links as they are: the label file lies beside the link."""
    return Path(os.path.abspath(path))


def _root(pictures: list[Path], bases: tuple[Path, ...]) -> Path:
    """The folder that source ids are relative to: that of the set, or what its pictures share."""
    for folder in map(_absolute, bases):
        if all(picture.is_relative_to(folder) for picture in pictures):
            return folder
    return Path(os.path.commonpath([picture.parent for picture in pictures]))
