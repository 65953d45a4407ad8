"""Pascal VOC: a folder of XML files, one for each picture."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from camdebug.records import Exclusion
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Unusable
from camdebug.sources.paths import (
    PICTURE_ENDINGS,
    files_under,
    given_file,
    given_folder,
    inside,
    left_out,
    optional,
    small_file,
    text_of,
)

Box = tuple[float, float, float, float]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")

# Of several bytes a character, which the parser does not know; by the names that XML has for them.
_WIDE = {"gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5", "euc-kr": "cp949"}
_WIDE |= {"shift_jis": "cp932", "euc-jp": "euc_jp"}
_DECLARED = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)[\"'][^>]*>", re.ASCII)


@dataclass(frozen=True)
class VocFolder:
    """A folder of Pascal VOC.

    The picture of an XML file is the one that its ``<filename>`` names, whatever its ending, first in the sub folder
    that the XML itself is in; or the one of the XML's own name; never that of ``<path>``, which is a place on somebody
    else's disk. Where the two lead to different pictures, the file is left out. Only ``<object>`` with their own
    ``<bndbox>`` are read, not their parts.

    Args:
        root: the folder.
        split: of ``ImageSets/Main``, such as ``"val"`` for ``val.txt``; ``None`` for all XML files.
        annotations: folder of the XML files, absolute or in ``root``; ``""`` when they lie in it directly.
        images: folder of the pictures, likewise.
        difficult: ``"ignore"`` makes difficult objects regions to ignore, ``"use"`` takes them as any other.
        one_based: in the original convention the first pixel is 1 and the last one belongs to the box. Most tools
            write, and torchvision reads, the numbers as they are; ``True`` takes 1 from ``xmin`` and ``ymin``.
    """

    root: str | Path
    split: str | None = None
    annotations: str | Path = "Annotations"
    images: str | Path = "JPEGImages"
    difficult: Literal["ignore", "use"] = "ignore"
    one_based: bool = False

    def __post_init__(self) -> None:
        if self.difficult not in ("ignore", "use"):
            raise ValueError(f"difficult: expected 'ignore' or 'use', got {self.difficult!r:.80}")
        if self.split is not None and (not self.split or Path(self.split).name != self.split):
            raise ValueError(f"split: expected a name such as 'val' (of val.txt), got {self.split!r:.80}")

    def read(self) -> Annotations:
        """Read all XML files and no picture.

        Raises:
            FileNotFoundError, NotADirectoryError, ValueError: a folder or the split is not there or holds nothing; the
                message names the argument.
            ImportError: defusedxml is not installed.
        """
        optional("defusedxml.ElementTree", "Pascal VOC")
        root = given_folder("root", self.root)
        folder = given_folder("annotations", root / self.annotations)
        pictures = _Pictures(files_under(given_folder("images", root / self.images), PICTURE_ENDINGS))
        names, exclusions = self._chosen(root, folder)
        found: dict[str, dict[str, Entry]] = defaultdict(dict)
        for name in names:
            try:
                entry = self._entry(name, folder, root, pictures)
                found[entry.source_id][name] = entry
            except Unusable as reason:
                exclusions.append(left_out(_under(self.annotations, name), reason))
        repeated = [name for same in found.values() if len(same) > 1 for name in same]
        several = [left_out(_under(self.annotations, name), "several XML files for one picture") for name in repeated]
        entries = [entry for _, same in sorted(found.items()) for entry in same.values() if len(same) == 1]
        return Annotations(
            entries=entries,
            names=tuple(sorted({each.name for entry in entries for each in entry.objects})),
            kind="boxes",
            source=f"Pascal VOC, {len(entries)} pictures",
            exclusions=(*exclusions, *several),
        )

    def _chosen(self, root: Path, folder: Path) -> tuple[list[str], list[Exclusion]]:
        """XML files to read, relative to their folder, and what the split lists without one."""
        every = files_under(folder, frozenset([".xml"]))
        if not every:
            raise ValueError(f"annotations: expected XML files of Pascal VOC, and there are none in {folder}")
        if self.split is None:
            return every, []
        content = given_file("split", root / "ImageSets" / "Main" / f"{self.split}.txt")
        wanted = {line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()}
        missing = sorted(wanted - {_stem(name) for name in every})
        exclusions = [left_out(name, "listed in the split, but without an XML file") for name in missing]
        return [name for name in every if _stem(name) in wanted], exclusions

    def _entry(self, name: str, folder: Path, root: Path, pictures: _Pictures) -> Entry:
        tree = _parsed(small_file(folder / name))
        found = pictures.find(_text(tree, "filename"), _stem(name))
        file = _under(self.images, found)
        objects = tuple(self._object(node) for node in tree.findall("object"))
        return Entry(text_of(file, "file name"), root / self.images / found, objects, size=_size(tree), file=file)

    def _object(self, node: Any) -> AnnotatedObject:  # noqa: ANN401
        x1, y1, x2, y2 = _corners(node)
        if self.one_based:
            x1, y1 = x1 - 1, y1 - 1
        hard = self.difficult == "ignore" and _text(node, "difficult").lower() in ("1", "true", "yes")
        return AnnotatedObject(text_of(_text(node, "name"), "class name"), (x1, y1, x2, y2), ignored=hard)


class _Pictures:
    """Finds pictures by names whose endings may be wrong."""

    def __init__(self, files: list[str]) -> None:
        self._files = frozenset(files)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for file in files:
            self._by_stem[_stem(file)].append(file)

    def find(self, named: str, stem: str) -> str:
        """The picture of ``<filename>`` and of the XML file, relative to their folder.

        Raises:
            Unusable: there is none, or it is not clear which.
        """
        by_name, by_stem = self._named(named, PurePosixPath(stem).parent), self._by_stem.get(stem, [])
        found = [file for file in by_name if file in by_stem] if by_name and by_stem else by_name or by_stem
        if not found:
            raise Unusable("<filename> and XML lead to different pictures" if by_name else "missing picture")
        if len(found) > 1:
            raise Unusable("several pictures of its name")
        return found[0]

    def _named(self, name: str, beside: PurePosixPath) -> list[str]:
        try:
            path = PurePosixPath(inside(name))
        except Unusable:  # as if there were none: many tools write the whole path of another disk
            return []
        tried = ((beside / path).as_posix(), path.as_posix(), path.name)
        for each in tried:
            if each in self._files:
                return [each]
        for each in tried:
            if found := self._by_stem.get(each) or self._by_stem.get(_stem(each)):
                return found
        return []


def _stem(name: str) -> str:
    """A relative path without its ending."""
    return str(PurePosixPath(name).with_suffix(""))


def _under(folder: str | Path, name: str) -> str:
    return name if Path(folder).is_absolute() else (PurePosixPath(folder) / name).as_posix()


def _parsed(content: bytes) -> Any:  # noqa: ANN401
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        tree = fromstring(_readable(content))
    except DefusedXmlException as error:
        raise Unusable("XML with entities or references to other files") from error
    except LookupError as error:
        raise Unusable("XML in an encoding that is not known; save it in UTF-8") from error
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Unusable("broken XML") from error
    if tree.tag != "annotation":
        raise Unusable("XML that is no annotation of Pascal VOC")
    return tree


def _readable(content: bytes) -> bytes:
    """XML in an encoding that the parser knows."""
    declared = _DECLARED.match(content)
    name = declared[1].decode().lower() if declared else ""
    if declared is None or name not in _WIDE:
        return content
    try:
        return content[declared.end() :].decode(_WIDE[name]).encode()
    except UnicodeDecodeError as error:
        raise Unusable("XML that is not in the encoding it declares; save it in UTF-8") from error


def _text(node: Any, tag: str) -> str:  # noqa: ANN401
    return str(node.findtext(tag) or "").strip()


def _corners(node: Any) -> Box:  # noqa: ANN401
    box = node.find("bndbox")
    if box is None:
        raise Unusable("object without a box")
    try:
        x1, y1, x2, y2 = (float(_text(box, corner)) for corner in _CORNERS)
    except ValueError as error:
        raise Unusable("box that is not four numbers") from error
    return x1, y1, x2, y2


def _size(tree: Any) -> tuple[int, int] | None:  # noqa: ANN401
    """Height and width; some tools write 0 where they did not know."""
    try:
        height, width = (int(_text(tree, f"size/{tag}")) for tag in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None
