"""COCO: one JSON file with pictures, annotations and categories.

It is read as JSON and checked here, not by pycocotools, which prints, and fails without a word on what is missing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeGuard

from camdebug.records import Exclusion
from camdebug.sources.coco_masks import coco_mask
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Unusable
from camdebug.sources.paths import given_file, given_folder, inside, left_out, text_of

Key = int | str
Box = tuple[float, float, float, float]

_TABLES = ("images", "annotations", "categories")
_UNKNOWN = "annotation of an unknown picture"
_MOST_DIGITS = 18


@dataclass(frozen=True)
class CocoJson:
    """COCO annotations.

    Crowds become regions to ignore. A picture of which an annotation cannot be read is left out whole, because its
    object would be taken for background. Pictures without annotations stay, without objects. Ids may be whole numbers
    in any spelling (``7``, ``7.0``, ``"7"``), or texts. Panoptic annotations are not read.

    Args:
        annotation_file: such as ``instances_val2017.json``.
        images: folder of the pictures, which ``file_name`` starts from; it may also be absolute, or start with ``../``
            from the folder of ``annotation_file``, as long as it leads into ``images``.
        use: ``"boxes"`` or ``"masks"`` (polygons and run lengths); they are never mixed.
    """

    annotation_file: str | Path
    images: str | Path
    use: Literal["boxes", "masks"] = "boxes"

    def __post_init__(self) -> None:
        if self.use not in ("boxes", "masks"):
            raise ValueError(f"use: expected 'boxes' or 'masks', got {self.use!r:.80}")

    def read(self) -> Annotations:
        """Read the file and no picture.

        Raises:
            FileNotFoundError, NotADirectoryError, ValueError: the file or the folder is not there, or it is no such
                file; the message names the argument.
        """
        tables = _tables(given_file("annotation_file", self.annotation_file, most_bytes=None))
        folder = given_folder("images", self.images)
        names = _categories(tables["categories"])
        pictures, exclusions = _pictures(tables["images"], partial(_inside, Path(self.annotation_file), folder))
        lost = _annotate(pictures, tables["annotations"], partial(self._object, names))
        _check_assigned(pictures, tables["annotations"], lost)
        exclusions += lost
        exclusions += [left_out(each.file, each.fault) for each in pictures if each.fault]
        kept = sorted((each for each in pictures if not each.fault), key=lambda each: each.file)
        entries = [Entry(each.file, folder / each.file, tuple(each.objects), each.size, each.file) for each in kept]
        return Annotations(
            entries=entries,
            names=tuple(dict.fromkeys(names.values())),
            kind=self.use,
            source=f"COCO, {len(entries)} pictures",
            exclusions=tuple(exclusions),
        )

    def _object(
        self, names: dict[Key | None, str], row: dict[str, Any], size: tuple[int, int] | None
    ) -> AnnotatedObject:
        name = names.get(_key(row.get("category_id")))
        if name is None:
            raise Unusable("annotation of an unknown category")
        crowd = row.get("iscrowd") in (1, "1")
        if self.use == "boxes":
            return AnnotatedObject(name, _box(row.get("bbox")), ignored=crowd)
        if not row.get("segmentation"):
            raise Unusable("object without a mask")
        if size is None:
            raise Unusable("no width and height, which masks need")
        return AnnotatedObject(name, mask=partial(coco_mask, row["segmentation"], size), ignored=crowd)


@dataclass(eq=False)
class _Picture:
    key: Key
    file: str
    size: tuple[int, int] | None
    objects: list[AnnotatedObject] = field(default_factory=list)
    fault: str = ""


def _pictures(rows: Sequence[Any], file: Callable[[object], str]) -> tuple[list[_Picture], list[Exclusion]]:
    """The table of pictures; those that nothing can be assigned to are marked with the reason."""
    found: dict[tuple[Key, str], _Picture] = {}
    exclusions = []
    for number, row in enumerate(rows):
        try:
            picture = _picture(row, f"images[{number}]", file)
        except Unusable as reason:
            exclusions.append(left_out(f"images[{number}]", reason))
            continue
        if found.setdefault((picture.key, picture.file), picture) is not picture:
            exclusions.append(left_out(f"images[{number}]", "duplicate picture"))
    keys = Counter(picture.key for picture in found.values())
    files = Counter(picture.file for picture in found.values())
    for picture in found.values():
        if keys[picture.key] > 1:
            picture.fault = "duplicate image id"
        elif files[picture.file] > 1 and not picture.fault:
            picture.fault = "duplicate file_name"
    return list(found.values()), exclusions


def _picture(row: object, place: str, file: Callable[[object], str]) -> _Picture:
    fields = _fields(row)
    key, name = _key(fields.get("id")), fields.get("file_name")
    if key is None:
        raise Unusable("no id")
    try:
        return _Picture(key, file(name), _size(fields))
    except Unusable as reason:
        return _Picture(key, name if isinstance(name, str) and name else place, None, fault=str(reason))


def _inside(listing: Path, folder: Path, name: object) -> str:
    """A ``file_name`` relative to the folder of the pictures, with ``/``."""
    try:
        return inside(name)
    except Unusable as reason:
        if "leads out" not in str(reason):
            raise
        given = os.path.join(os.path.abspath(listing.parent), text_of(name, "file name").replace("\\", "/"))
        relative = os.path.relpath(given, os.path.abspath(folder)).replace(os.sep, "/")
        try:
            return inside(relative)
        except Unusable as still:
            raise Unusable("file name that leads out of images=; give the folder that holds it") from still


def _annotate(
    pictures: Sequence[_Picture],
    rows: Sequence[Any],
    read: Callable[[dict[str, Any], tuple[int, int] | None], AnnotatedObject],
) -> list[Exclusion]:
    """Give each annotation to its picture; return those that have none, and repeated ones."""
    by_key: dict[Key | None, _Picture] = {picture.key: picture for picture in pictures}
    seen: dict[Key, Any] = {}
    exclusions = []
    for number, row in enumerate(rows):
        name = f"annotations[{number}]"
        if not isinstance(row, dict):
            exclusions.append(left_out(name, "no JSON object"))
            continue
        key, picture = _key(row.get("id")), by_key.get(_key(row.get("image_id")))
        if key is not None and seen.setdefault(key, row) is not row and seen[key] == row:
            exclusions.append(left_out(name, "duplicate annotation"))
        elif picture is None:
            exclusions.append(left_out(name, _UNKNOWN))
        elif not picture.fault:
            try:
                picture.objects.append(read(row, picture.size))
            except Unusable as reason:
                picture.fault = str(reason)
    return exclusions


def _check_assigned(pictures: Sequence[_Picture], rows: Sequence[Any], lost: Sequence[Exclusion]) -> None:
    """Raise when ids do not meet. Annotations beyond a selection of pictures are none of its concern."""
    unknown = sum(each.reason == _UNKNOWN for each in lost)
    without = sum(not each.objects and not each.fault for each in pictures)
    if 2 * unknown <= len(rows) or 2 * without <= len(pictures):
        return
    ids = {picture.key for picture in pictures}
    named = (row.get("image_id") for row in rows if isinstance(row, dict))
    strange = next(each for each in named if _key(each) not in ids)
    raise ValueError(
        f"annotation_file: {unknown} of {len(rows)} annotations have an image_id that no picture has, such as "
        f"{strange!r:.80}, where ids of images are like {pictures[0].key!r:.80}; mend the ids"
    )


def _tables(content: bytes) -> dict[str, list[Any]]:
    try:
        found = json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"annotation_file: expected JSON, but there is a mistake at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotation_file: expected JSON, got what cannot be read ({type(error).__name__})") from error
    tables = found if isinstance(found, dict) else {}
    if missing := [name for name in _TABLES if not isinstance(tables.get(name), list)]:
        raise ValueError(
            "annotation_file: expected a JSON object with lists of images, annotations and categories; it has no list "
            f"of {', '.join(missing)}"
        )
    if any(isinstance(row, dict) and "segments_info" in row for row in tables["annotations"][:1]):
        raise ValueError(
            "annotation_file: expected instances, got panoptic annotations (segments_info), which are not read; pass "
            "the file of instances, such as instances_val2017.json"
        )
    if not tables["images"]:
        raise ValueError("annotation_file: expected at least one picture in images, got none")
    return tables


def _categories(rows: Sequence[Any]) -> dict[Key | None, str]:
    """Names by their ids, in the order of these."""
    names: dict[Key, str] = {}
    for number, row in enumerate(rows):
        place = f"annotation_file: categories[{number}]"
        try:
            fields = _fields(row)
            key, name = _key(fields.get("id")), text_of(fields.get("name"), "name")
        except Unusable as reason:
            raise ValueError(f"{place}: {reason}") from reason
        if key is None:
            raise ValueError(f"{place}: no id")
        if names.setdefault(key, name) != name:
            raise ValueError(
                f"{place}: expected different ids, got {key!r:.80} for {names[key]!r:.80} and {name!r:.80}"
            )
    return {key: names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))}


def _fields(row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Unusable("no JSON object")
    return row


def _key(value: object) -> Key | None:
    """An id; numbers that went through a table have come back as ``7.0`` or ``"7"``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal() and len(value) <= _MOST_DIGITS and str(int(value)) == value:
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _box(value: object) -> Box:
    """Corners from x, y, width and height."""
    if value is None or value == []:
        raise Unusable("object without a box")
    if not isinstance(value, list) or len(value) != 4 or not all(map(_number, value)):
        raise Unusable("box that is not four numbers")
    try:
        x, y, width, height = map(float, value)
    except OverflowError as error:
        raise Unusable("box that is not four numbers") from error
    return x, y, x + width, y + height


def _size(row: dict[str, Any]) -> tuple[int, int] | None:
    sides = [int(side) for side in (row.get("height"), row.get("width")) if _number(side) and 0 < side < 2**31]
    return (sides[0], sides[1]) if len(sides) == 2 else None
