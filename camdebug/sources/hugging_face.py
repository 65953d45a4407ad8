"""Rows of a ``datasets.Dataset``, whose pictures stay encoded until one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

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
    shown,
)
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Kind, Unusable
from camdebug.sources.row_pictures import RowPictures

_OBJECT_LABELS = ("category", "categories", "label", "labels", "category_id", "class", "classes", "class_label")
_PICTURE_LABELS = ("label", "labels", "category", "class", "fine_label")
_BOXES = ("bbox", "bboxes", "box", "boxes")
_CROWD = ("iscrowd", "is_crowd")
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class HuggingFaceRows:
    """Rows with an ``objects`` column, with boxes and classes in columns of their own, or with a ``label`` alone.

    An ``objects`` value is a dict of lists or a list of dicts. Crowds (``iscrowd``) become regions to ignore. A row
    with an object that cannot be read is left out whole: that object would count as background.

    Args:
        dataset: one part of a ``datasets.Dataset``; it is read through a view, and stays as it is.
        image: column of the pictures: of the feature ``Image``, or bytes, or paths of files.
        objects: column of the objects; where the default is missing, rows have a class and no boxes. ``None`` where the
            rows themselves have ``box`` and ``label``, lists of them or one each.
        box: field of the box in an object, or column.
        label: field of the class in an object, or column; by default the first there is of
            ``category``, ``label`` and their like.
        box_format: of the boxes: ``"xywh"`` first corner, width and height, as most are; ``"xyxy"`` corners;
            ``"cxcywh"`` centre, width and height.
        normalised: whether they are shares of the picture's width and height. Where ``size`` does not tell these, the
            header of the picture does, upright.
        size: columns of the pictures' width and height, used where both are there.
        names: of the classes by number, where the features have none.
    """

    dataset: Any
    _: KW_ONLY
    image: str = "image"
    objects: str | None = "objects"
    box: str = "bbox"
    label: str | None = None
    box_format: BoxFormat = "xywh"
    normalised: bool = False
    size: tuple[str, str] = ("width", "height")
    names: Sequence[str] | Mapping[int, str] | None = None

    def __post_init__(self) -> None:
        check_format(self.box_format)
        _check_dataset(self.dataset)

    def read(self) -> Annotations:
        """Read all columns that are needed; of the pictures headers at most, where boxes are shares of their size.

        Raises:
            TypeError: the column of objects holds something else.
            ValueError: a column or field is missing, classes are numbers without names, or no row can be used.
        """
        rows = self.dataset.with_format(None)
        check_columns([("image", self.image)], list(rows.column_names), "the dataset")
        pictures = RowPictures(rows, self.image)
        reader = self._reader(rows.features)
        entries = [
            Entry(f"row {number}", partial(pictures.open, number), objects, size)
            for number, objects, size in reader.rows(rows, pictures.upright)
        ]
        check_scale(reader.numbers, normalised=self.normalised)
        if not entries:
            raise ValueError(f"dataset: no row can be used: {counted(reader.faults) or 'it has none'}")
        source = f"Hugging Face dataset, {len(entries)} pictures"
        return Annotations(entries, reader.class_names(), reader.kind, source, tuple(reader.faults))

    def _reader(self, features: Mapping[str, Any]) -> _Reader:
        if self.objects is None:
            return _Reader.of_columns(self, features)
        if self.objects in features:
            return _Reader.of_objects(self, features, self.objects)
        if self.objects != "objects":
            check_columns([("objects", self.objects)], list(features), "the dataset")
        if boxes := [name for name in dict.fromkeys((self.box, *_BOXES)) if name in features]:
            raise ValueError(
                f"objects: expected a column 'objects', and the dataset has {shown(boxes)} without; pass objects=None "
                f"and box={boxes[0]!r} where these are boxes, or remove_columns({boxes!r}) for classes alone"
            )
        return _Reader.of_labels(self, features)


class _Fault(Exception):  # noqa: N818 - a row that cannot be read, with the reason
    pass


Row = tuple[int, tuple[AnnotatedObject, ...], "tuple[int, int] | None"]


class _Reader:
    """Of the rows of one dataset.

    Args:
        source: its arguments.
        columns: the one that holds objects or classes, or those of boxes, classes and more.
        label: field of an object; ``None`` where the column holds classes.
        feature: of the classes.
        size: columns of width and height, or none.
    """

    def __init__(
        self, source: HuggingFaceRows, columns: Sequence[str], label: str | None, feature: object, size: Sequence[str]
    ) -> None:
        self.kind: Kind | None = None if label is None else "boxes"
        self.faults: list[Exclusion] = []
        self.numbers: list[Sequence[float]] = []
        self._source, self._columns, self._label, self._size = source, columns, label, size
        self._names = _names(source.names, feature)
        self._met: dict[str, None] = {}

    @classmethod
    def of_objects(cls, source: HuggingFaceRows, features: Mapping[str, Any], column: str) -> _Reader:
        fields = _inner(features[column])
        if not isinstance(fields, Mapping):
            raise TypeError(f"objects: expected dicts in the column {column!r}, got {fields!r:.80}")
        where = f"an object in {column!r}"
        check_columns([("box", source.box)], list(fields), where)
        label = _label(source.label, _OBJECT_LABELS, list(fields), where)
        return cls(source, [column], label, fields[label], _size_columns(source, features))

    @classmethod
    def of_columns(cls, source: HuggingFaceRows, features: Mapping[str, Any]) -> _Reader:
        check_columns([("box", source.box)], list(features), "the dataset")
        label = _label(source.label, _OBJECT_LABELS, list(features), "the dataset")
        columns = [source.box, label, *(name for name in _CROWD if name in features)]
        return cls(source, columns, label, features[label], _size_columns(source, features))

    @classmethod
    def of_labels(cls, source: HuggingFaceRows, features: Mapping[str, Any]) -> _Reader:
        label = _label(source.label, _PICTURE_LABELS, list(features), "the dataset, which has no 'objects'")
        return cls(source, [label], None, features[label], ())

    def rows(self, dataset: Any, upright: Callable[[int], tuple[int, int]]) -> Iterator[Row]:  # noqa: ANN401
        """Number, objects and size of each row that can be read; the others become faults.

        Args:
            dataset: of all columns.
            upright: height and width of a row's picture.
        """
        table = dataset.select_columns([*dict.fromkeys((*self._columns, *self._size))])
        for start in range(0, len(table), _ROWS_AT_ONCE):
            batch = table[start : start + _ROWS_AT_ONCE]
            for number in range(start, min(start + _ROWS_AT_ONCE, len(table))):
                row = {column: values[number - start] for column, values in batch.items()}
                try:
                    size = _size([row[column] for column in self._size])
                    if self._source.normalised and self._label is not None and size is None:
                        size = upright(number)
                    yield number, tuple(self._objects(self._value(row), size)), size
                except (_Fault, Unusable) as fault:
                    self.faults.append(Exclusion(f"row {number}", str(fault)))

    def class_names(self) -> tuple[str, ...]:
        """Of all classes that have a name, or of those met."""
        return tuple(dict.fromkeys(self._names.values())) if self._names else tuple(self._met)

    def _value(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Of objects or classes, in whichever columns they are."""
        if len(self._columns) == 1:
            return row[self._columns[0]]
        several = isinstance(row[str(self._label)], list)
        return {column: row[column] if several else [row[column]] for column in self._columns}

    def _objects(self, value: Any, size: tuple[int, int] | None) -> list[AnnotatedObject]:  # noqa: ANN401
        if self._label is None:
            found = dict.fromkeys(self._name(item) for item in (value if isinstance(value, list) else [value]))
            return [AnnotatedObject(name) for name in found]
        return [self._object(item, size) for item in _one_by_one(value)]

    def _object(self, item: Mapping[str, Any], size: tuple[int, int] | None) -> AnnotatedObject:
        name = self._name(item.get(str(self._label)))
        box = self._box(item.get(self._source.box))
        if self._source.normalised and size is not None:
            box = in_pixels(box, size)
        return AnnotatedObject(name, box, ignored=any(item.get(key) for key in _CROWD))

    def _box(self, value: Any) -> Box:  # noqa: ANN401
        try:
            a, b, c, d = (float(number) for number in value)
        except (TypeError, ValueError) as error:
            raise _Fault("box that is not four numbers") from error
        self.numbers.append((a, b, c, d))
        return corners((a, b, c, d), self._source.box_format)

    def _name(self, value: object) -> str:
        if value is None or value == "" or value == -1:
            raise _Fault("object without a class")
        if isinstance(value, str):
            self._met.setdefault(value)
            return value
        if not self._names:
            raise ValueError(f"names: expected those of the dataset's classes, which are numbers like {value!r:.80}")
        if not isinstance(value, int) or value not in self._names:
            raise _Fault("class number without a name")
        return self._names[value]


def _check_dataset(dataset: object) -> None:
    kinds = {cls.__name__ for cls in type(dataset).__mro__}
    if isinstance(dataset, Mapping):
        raise TypeError(f"dataset: expected one part, got {type(dataset).__name__} of {shown(map(str, dataset))}")
    if "IterableDataset" in kinds:
        raise TypeError(
            "dataset: expected rows that can be read in any order, got an IterableDataset; load it with "
            "streaming=False, or make one of a part: datasets.Dataset.from_list(list(dataset.take(1000)), "
            "features=dataset.features)"
        )
    if not all(hasattr(dataset, name) for name in ("features", "select_columns", "with_format", "column_names")):
        raise TypeError(
            f"dataset: expected a datasets.Dataset, got {type(dataset).__name__}; ProbeSet.from_dataset takes those "
            "that give (image, target)"
        )


def _inner(feature: Any) -> Any:  # noqa: ANN401
    """What a feature is a list of."""
    while hasattr(feature, "feature") or isinstance(feature, list):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return feature


def _label(given: str | None, usual: Sequence[str], there: Sequence[str], where: str) -> str:
    label = given or next((name for name in usual if name in there), usual[0])
    check_columns([("label", label)], there, where)
    return label


def _names(given: Sequence[str] | Mapping[int, str] | None, feature: object) -> dict[int, str]:
    """Class names by number; empty without."""
    if isinstance(given, str) or (given is not None and not isinstance(given, (Sequence, Mapping))):
        raise TypeError(f"names: expected a list of names, or {{number: name}}, got {given!r:.80}")
    known = given if given is not None else getattr(_inner(feature), "names", None)
    return dict(known) if isinstance(known, Mapping) else dict(enumerate(known or ()))


def _one_by_one(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401
    """Objects of one row, which come as a dict of lists or as a list of dicts."""
    if isinstance(value, Mapping):
        lists = {key: found for key, found in value.items() if isinstance(found, list)}
        if len({len(found) for found in lists.values()}) > 1:
            raise _Fault("objects with fields of different numbers")
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if any(not isinstance(item, Mapping) for item in value or ()):
        raise _Fault("object that is empty")
    return list(value or ())


def _size_columns(source: HuggingFaceRows, features: Mapping[str, Any]) -> Sequence[str]:
    return source.size if set(source.size) <= set(features) else ()


def _size(values: Sequence[Any]) -> tuple[int, int] | None:
    """Height and width from width and height; ``None`` where they are unknown."""
    if not all(values):
        return None
    if not all(isinstance(value, int) and value > 0 for value in values):
        raise _Fault("size that is not two whole numbers")
    return (values[1], values[0]) if values else None
