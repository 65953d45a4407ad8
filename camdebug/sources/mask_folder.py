"""Masks in a folder of their own beside the pictures', each with its picture's name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

from camdebug.records import Exclusion
from camdebug.sources.columns import counted
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Unusable
from camdebug.sources.folders import readable
from camdebug.sources.mask_files import NOT_BINARY, binary_mask, mask_of, packed, quiet, values_in
from camdebug.sources.mask_pairs import Pair, pair
from camdebug.sources.paths import given_folder
from camdebug.sources.pictures import picture_size

Value = int | tuple[int, int, int]
Values = Mapping[int, str] | Mapping[tuple[int, int, int], str]

IGNORED = "ignored"
"""Name of the regions that are neither object nor background."""

_LOOKED_AT = 3
_MOST_SHOWN = 10


@dataclass(frozen=True, eq=False)
class MaskFolder:
    """Pictures and masks of the same relative path but for the ending: ``images/a/1.jpg`` and ``masks/a/1.png``.

    With ``values`` a mask says of each pixel which class it is of. All pixels of a class are one object; values without
    a name are background. Which classes are there is known by reading the masks. Without ``values`` masks are binary,
    whatever is not 0 is the object, and they are read when asked for.

    Args:
        images: folder of the pictures, at any depth.
        masks: folder of the masks, laid out alike; it may be the same one where ``suffix`` tells them apart.
        values: class name of each value of the pixels: an index of the palette, or grey as stored. Or of each colour,
            ``{(255, 0, 0): "cat"}``. Several may have one name.
        ignore: values that are neither object nor background: "void", unsure borders. By default 255, unless ``values``
            names it or has colours.
        class_name: of the objects of binary masks; by default the first folder of their paths.
        threshold: of binary masks that are not quite, such as JPEGs: the object is where they are above it, often 127.
        suffix: that names of masks have and those of pictures have not, such as ``"_mask"``.
    """

    images: str | Path
    masks: str | Path
    _: KW_ONLY
    values: Values | None = None
    ignore: Sequence[Value] | None = None
    class_name: str | None = None
    threshold: int | None = None
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.threshold is not None and (type(self.threshold) is not int or not 0 <= self.threshold < 65535):
            raise ValueError(f"threshold: expected a number of 0 to 65534, or None, got {self.threshold!r:.80}")
        if self.values is None:
            if self.ignore is not None:
                raise ValueError("ignore: expected values= as well, a binary mask has nothing to ignore")
            return
        if self.class_name is not None:
            raise ValueError("class_name: expected it without values=, which name the classes already")
        if self.threshold is not None:
            raise ValueError("threshold: expected it without values=, which tell objects already")
        _Values.of(self.values, self.ignore)

    def read(self) -> Annotations:
        """Pair pictures with masks. No picture is opened, and of binary masks the headers alone.

        Raises:
            ValueError, OSError: a folder is missing, no mask has the name of a picture, or none can be used.
        """
        images, masks = given_folder("images", self.images), given_folder("masks", self.masks)
        pairs, faults = pair(images, masks, self.suffix)
        kind = _Binary(self.class_name, self.threshold) if self.values is None else _Values.of(self.values, self.ignore)
        found = _read(kind, images, masks, pairs)
        entries = [entry for entry in found if isinstance(entry, Entry)]
        faults += [fault for fault in found if isinstance(fault, Exclusion)]
        if not entries:
            raise ValueError(f"masks: no mask of {masks} can be used: {counted(faults)}")
        kind.check(entries, [masks / mask for _, mask in pairs])
        return Annotations(entries, kind.names(entries), "masks", f"masks, {len(entries)} pictures", tuple(faults))


@dataclass(frozen=True)
class _Binary:
    """Masks of one object."""

    class_name: str | None
    threshold: int | None

    def entry(self, picture: Path, file: Path, mask: Path) -> Entry:
        name = self.class_name or (readable(Path(picture.parts[0])) if len(picture.parts) > 1 else None)
        if name is None:
            raise Unusable("picture in no class folder (pass class_name= or values=)")
        found = AnnotatedObject(name, mask=partial(binary_mask, mask, self.threshold))
        return _entry(picture, file, [found], picture_size(mask))

    def names(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        return tuple(sorted({found.name for entry in entries for found in entry.objects}))

    def check(self, entries: Sequence[Entry], masks: Sequence[Path]) -> None:
        """Raise when the first masks are all of another kind."""
        reasons = []
        for mask in masks[:_LOOKED_AT]:
            try:
                binary_mask(mask, self.threshold)
                return
            except Unusable as reason:
                reasons.append(str(reason))
        if set(reasons) == {NOT_BINARY}:
            raise ValueError(
                f"masks: expected two values in a mask, 0 for background, but {masks[0].name} has "
                f"{_values_of(masks[0])}; pass threshold=127 where they are shades of one object, "
                "values={value: class name} where they are classes"
            )


@dataclass(frozen=True)
class _Values:
    """Masks of several classes.

    Attributes:
        groups: the values of each class name.
        ignored: values to ignore.
        colours: whether values are packed colours.
    """

    groups: Mapping[str, tuple[int, ...]]
    ignored: tuple[int, ...]
    colours: bool

    @classmethod
    def of(
        cls, values: Mapping[int, str] | Mapping[tuple[int, int, int], str], ignore: Sequence[Value] | None
    ) -> _Values:
        """From the arguments, checked."""
        if not isinstance(values, Mapping) or not values or not all(isinstance(n, str) for n in values.values()):
            raise TypeError(f"values: expected {{value: class name}}, got {values!r:.80}")
        colours = isinstance(next(iter(values)), tuple)
        groups: dict[str, tuple[int, ...]] = {}
        for value, name in values.items():
            groups[name] = (*groups.get(name, ()), _number("values", value, colours=colours))
        named = {number for numbers in groups.values() for number in numbers}
        if ignore is None:
            return cls(groups, () if colours or 255 in named else (255,), colours)
        ignored = tuple(_number("ignore", value, colours=colours) for value in ignore)
        if named & set(ignored):
            raise ValueError(f"ignore: expected other values than values= names, got {list(ignore)!r:.80}")
        return cls(groups, ignored, colours)

    def entry(self, picture: Path, file: Path, mask: Path) -> Entry:
        there, size = values_in(mask, colours=self.colours)
        objects = [
            self._object(mask, name, values) for name, values in self.groups.items() if not there.isdisjoint(values)
        ]
        if not there.isdisjoint(self.ignored):
            objects.append(self._object(mask, IGNORED, self.ignored, ignored=True))
        return _entry(picture, file, objects, size)

    def _object(self, mask: Path, name: str, values: tuple[int, ...], *, ignored: bool = False) -> AnnotatedObject:
        return AnnotatedObject(name, mask=partial(mask_of, mask, values, colours=self.colours), ignored=ignored)

    def names(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        return tuple(self.groups)

    def check(self, entries: Sequence[Entry], masks: Sequence[Path]) -> None:
        """Raise when no mask has an object."""
        if not any(not found.ignored for entry in entries for found in entry.objects):
            raise ValueError(
                f"values: none of the {len(entries)} masks has one of those that are named; {masks[0].name} has "
                f"{_values_of(masks[0], colours=self.colours)}"
            )


def _read(kind: _Binary | _Values, images: Path, masks: Path, pairs: Sequence[Pair]) -> list[Entry | Exclusion]:
    def one(files: Pair) -> Entry | Exclusion:
        picture, mask = files
        try:
            return kind.entry(picture, images / picture, masks / mask)
        except Unusable as reason:
            return Exclusion(readable(picture), str(reason))

    if isinstance(kind, _Binary):
        return [one(files) for files in pairs]
    # Warnings are kept back out here: threads that did so themselves would undo each other's settings.
    with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, pairs))


def _entry(picture: Path, file: Path, objects: Sequence[AnnotatedObject], size: tuple[int, int]) -> Entry:
    return Entry(readable(picture), file, tuple(objects), size, readable(picture))


def _number(argument: str, value: object, *, colours: bool) -> int:
    if colours and isinstance(value, tuple) and len(value) == 3 and all(_is_byte(v) for v in value):
        return packed(value)
    if not colours and isinstance(value, int) and 0 <= value < 65536:
        return value
    expected = "colours of three numbers of 0 to 255" if colours else "numbers of 0 to 65535, or colours alone"
    raise ValueError(f"{argument}: expected {expected}, got {value!r:.80}")


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= 255


def _values_of(mask: Path, *, colours: bool = False) -> str:
    try:
        found = sorted(values_in(mask, colours=colours)[0])
    except Unusable as reason:
        return f"none that can be read ({reason})"
    shown = [str((v // 65536, v // 256 % 256, v % 256)) if colours else str(v) for v in found[:_MOST_SHOWN]]
    return ", ".join(shown) + (", ..." if len(found) > _MOST_SHOWN else "")
