"""A table of text with one object a row, under any names of columns."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from camdebug.records import Exclusion
from camdebug.sources.columns import (
    Box,
    BoxFormat,
    check_columns,
    check_format,
    check_scale,
    corners,
    counted,
    in_pixels,
)
from camdebug.sources.csv_rows import UNREADABLE, fits, read_table
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Kind, Unusable
from camdebug.sources.paths import check_file, given_folder
from camdebug.sources.pictures import picture_size

_BRACKETS = "[](){} "


@dataclass(frozen=True, eq=False)
class CsvTable:
    """Objects in the rows of a CSV file; rows of one picture belong together.

    A picture with a row that cannot be read is left out whole: the object that is meant would count as background.
    Where a line is so broken that the picture cannot be told either, that is an error. A row with neither label nor box
    names a picture without objects.

    Args:
        file: the table, with the names of its columns in the first line.
        images: folder that the pictures' names start from; the table's own by default. Pictures outside it are left
            out.
        picture: column of the pictures' file names.
        label: column of the class names.
        box: the four columns of the boxes, or the one that holds four numbers (``"[10, 20, 30, 40]"``); ``None`` for
            classes without boxes.
        box_format: of the four numbers: ``"xyxy"`` corners, ``"xywh"`` first corner, width and height, ``"cxcywh"``
            centre, width and height.
        normalised: whether they are shares of the picture's width and height, not pixels. A picture that an EXIF tag
            turns is then taken upright.
        size: columns of the pictures' width and height; where they are known, pictures of another size are refused.
        columns: names of the columns of a file whose first line is a row already.
        delimiter: between fields; by default a tab for ``.tsv`` and a comma otherwise.
        encoding: of the text.
        suffix: of the pictures, such as ``".jpg"``, where their names are without.
    """

    file: str | Path
    images: str | Path | None = None
    _: KW_ONLY
    picture: str = "filename"
    label: str = "class"
    box: str | Sequence[str] | None = ("xmin", "ymin", "xmax", "ymax")
    box_format: BoxFormat = "xyxy"
    normalised: bool = False
    size: tuple[str, str] | None = None
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    encoding: str = "utf-8-sig"
    suffix: str = ""

    def __post_init__(self) -> None:
        check_format(self.box_format)
        if not isinstance(self.box, str) and self.box is not None and len(self.box) != 4:
            raise ValueError(f"box: expected four columns, one, or None, got {self.box!r:.80}")
        if self.size is not None and (isinstance(self.size, str) or len(self.size) != 2):
            raise ValueError(f"size: expected the columns of width and height, got {self.size!r:.80}")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n '):
            raise ValueError(f"delimiter: expected one character, got {self.delimiter!r:.80}")

    def read(self) -> Annotations:
        """Read the table, and of pictures the sizes at most, where boxes are shares and no column tells them.

        Raises:
            FileNotFoundError, NotADirectoryError: the table or the folder of pictures is not there.
            ValueError: the table cannot be read, lacks a column, has a line that may be of any picture, or no picture
                that can be used.
        """
        file = Path(self.file)
        table = read_table(
            file,
            delimiter=self._delimiter,
            encoding=self.encoding,
            columns=self.columns,
            one_line=(self.picture, *self._box_columns, *(self.size or ())),
        )
        self._check_columns(table.header, file.name)
        images = file.parent if self.images is None else given_folder("images", self.images)
        found = _Reading(self, Path(os.path.abspath(images)), table.header)
        for place, fields in table.rows:
            found.take(place, fields)
        for place, fields in table.broken:
            found.lose(place, fields)
        check_scale(found.numbers, normalised=self.normalised)
        entries = found.entries()
        faults = tuple(found.faults)
        if not entries:
            raise ValueError(
                f"file: no picture of {file.name} can be used, with images={str(found.images)!r}: "
                + (counted(faults) or "it has no rows")
            )
        kind: Kind | None = None if self.box is None else "boxes"
        return Annotations(entries, tuple(found.names), kind, f"CSV table, {len(entries)} pictures", faults)

    @property
    def _delimiter(self) -> str:
        return self.delimiter or ("\t" if Path(self.file).suffix.lower() == ".tsv" else ",")

    @property
    def _box_columns(self) -> tuple[str, ...]:
        return (self.box,) if isinstance(self.box, str) else tuple(self.box or ())

    def _check_columns(self, header: Sequence[str], name: str) -> None:
        wanted = [("picture", self.picture), ("label", self.label)]
        wanted += [("box", column) for column in self._box_columns]
        wanted += [("size", column) for column in self.size or ()]
        others = [mark for mark in ",;\t|" if mark != self._delimiter and any(mark in column for column in header)]
        if others and self.picture not in header:
            raise ValueError(
                f"delimiter: expected {self._delimiter!r} between the columns of {name}, but its first line is "
                f"{self._delimiter.join(header)!r:.200}; pass delimiter={others[0]!r}"
            )
        check_columns(wanted, header, name)


class _Fault(Exception):  # noqa: N818 - a row that cannot be read, with the reason
    pass


@dataclass(eq=False)
class _Picture:
    """What the rows of one picture say."""

    size: tuple[int, int] | None
    objects: list[tuple[str, Box | None]] = field(default_factory=list)
    fault: str | None = None


class _Reading:
    """One pass over the rows of a table."""

    def __init__(self, table: CsvTable, images: Path, header: Sequence[str]) -> None:
        self.images = images
        self.names: dict[str, None] = {}
        self.faults: list[Exclusion] = []
        self.numbers: list[tuple[float, ...]] = []
        self._table = table
        self._width = len(header)
        self._picture, self._label = header.index(table.picture), header.index(table.label)
        self._box = [header.index(column) for column in table._box_columns]
        self._size = [header.index(column) for column in table.size or ()]
        self._pictures: dict[str, _Picture] = {}
        self._keys: dict[str, str] = {}

    def take(self, place: str, fields: tuple[str, ...]) -> None:
        """One row more."""
        picture = self._named(place, fields)
        if picture is None:
            return
        try:
            self._take_object(picture, fields)
        except _Fault as fault:
            picture.fault = picture.fault or str(fault)

    def lose(self, place: str, fields: tuple[str, ...]) -> None:
        """A line that cannot be read beyond some fields."""
        if len(fields) <= self._picture:
            raise ValueError(f"file: {place} is not delimited text, and of which picture it is cannot be told; mend it")
        picture = self._named(place, fields)
        if picture is not None:
            picture.fault = picture.fault or "row that is not delimited text"

    def entries(self) -> list[Entry]:
        """The pictures that can be used; the others become faults."""
        found = []
        for key, picture in self._pictures.items():
            try:
                found.append(self._entry(key, picture))
            except (_Fault, Unusable) as fault:
                self.faults.append(Exclusion(key, str(fault)))
        return found

    def _named(self, place: str, fields: Sequence[str]) -> _Picture | None:
        try:
            return self._pictures.setdefault(self._key(fields), _Picture(None))
        except _Fault as fault:
            self.faults.append(Exclusion(place, str(fault)))
            return None

    def _key(self, fields: Sequence[str]) -> str:
        """The picture's path relative to the folder of pictures, with ``/``."""
        name = fields[self._picture] if len(fields) > self._picture else ""
        if name in self._keys:
            return self._keys[name]
        if not name:
            raise _Fault("row without a picture")
        if UNREADABLE in name:
            raise _Fault("unreadable character in the row")
        path = name.replace("\\", "/")
        if self._table.suffix and not path.lower().endswith(self._table.suffix.lower()):
            path += self._table.suffix
        relative = os.path.relpath(os.path.join(self.images, path), self.images).replace(os.sep, "/")
        if relative == ".." or relative.startswith("../"):
            raise _Fault("file name that leads out of the folder")
        self._keys[name] = relative
        return relative

    def _take_object(self, picture: _Picture, fields: tuple[str, ...]) -> None:
        if not fits(fields, self._width):
            raise _Fault("row with more or fewer fields than the header")
        if any(UNREADABLE in fields[at] for at in (self._label, *self._box, *self._size)):
            raise _Fault("unreadable character in the row")
        self._take_size(picture, fields)
        label, places = fields[self._label], [fields[at] for at in self._box]
        if not label and not any(places):
            return
        if not label:
            raise _Fault("object without a class")
        self.names.setdefault(label)
        if not self._box:
            if (label, None) not in picture.objects:
                picture.objects.append((label, None))
            return
        numbers = _four_numbers(places)
        self.numbers.append(numbers)
        picture.objects.append((label, corners(numbers, self._table.box_format)))

    def _take_size(self, picture: _Picture, fields: Sequence[str]) -> None:
        width, height = (_whole(fields[at]) for at in self._size) if self._size else (0, 0)
        if not width or not height:  # some tools write 0 where they did not know
            return
        if picture.size not in (None, (height, width)):
            raise _Fault("rows that give one picture several sizes")
        picture.size = height, width

    def _entry(self, key: str, picture: _Picture) -> Entry:
        path = _as_stored(self.images / key)
        if picture.fault is not None:
            raise _Fault(picture.fault)
        check_file(path)
        size, objects = picture.size, picture.objects
        if self._table.normalised and self._box:
            size = pixels = size or picture_size(path, upright=True)
            objects = [(name, in_pixels(box, pixels) if box else None) for name, box in objects]
        return Entry(key, path, tuple(AnnotatedObject(name, box) for name, box in objects), size, key)


def _four_numbers(fields: Sequence[str]) -> tuple[float, float, float, float]:
    values = re.split(r"[\s,;]+", fields[0].strip(_BRACKETS)) if len(fields) == 1 else fields
    if not any(values):
        raise _Fault("object without a box")
    try:
        a, b, c, d = (float(value) for value in values)
    except ValueError as error:
        commas = len(fields) == 4 and any(re.fullmatch(r"-?\d+,\d+", value) for value in fields)
        raise _Fault("box that is not four numbers" + (" (with commas; write 1.5)" if commas else "")) from error
    return a, b, c, d


def _whole(text: str) -> int:
    try:
        value = float(text or 0)
    except ValueError as error:
        raise _Fault("size that is not two whole numbers") from error
    if not 0 <= value < 2**31 or value != int(value):
        raise _Fault("size that is not two whole numbers")
    return int(value)


def _as_stored(path: Path) -> Path:
    """The same name as the file system has it: accents are one character or two, and both look alike."""
    if os.path.lexists(path):
        return path
    forms = (Path(unicodedata.normalize("NFC", str(path))), Path(unicodedata.normalize("NFD", str(path))))
    return next((form for form in forms if os.path.lexists(form)), path)
