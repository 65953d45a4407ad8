"""The reader of a folder or file, by what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from camdebug.sources.coco import CocoJson
from camdebug.sources.columns import near, shown
from camdebug.sources.csv_table import CsvTable
from camdebug.sources.entry import Source
from camdebug.sources.folders import class_folders, pictures_directly_in
from camdebug.sources.mask_folder import MaskFolder
from camdebug.sources.paths import PICTURE_ENDINGS
from camdebug.sources.picture_folder import PictureFolder
from camdebug.sources.voc import VocFolder
from camdebug.sources.yolo import YoloFolder

_TABLES = (".csv", ".tsv")
_YAML = (".yaml", ".yml")
_JSON, _XML = (".json",), (".xml",)

_VOC_ANNOTATIONS = ("Annotations", "annotations")
_VOC_PICTURES = ("JPEGImages", "jpegimages", "Images", "images")

_OTHERS = frozenset({"images", "labels", "masks", "annotations", "jpegimages", "imagesets"})
"""Folders of other formats, which are no classes."""


@dataclass(frozen=True)
class Format:
    """One way to annotate pictures on disk.

    Attributes:
        reader: of it.
        what: it is, in a line.
        places: what the reader's first arguments are, given the path; options of these names win.
        found: in a path, what speaks for the format; nothing if it is another.
    """

    reader: Callable[..., Source]
    what: str
    places: Callable[[Path], Mapping[str, Path | str]]
    found: Callable[[Path], Sequence[str]]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of all arguments of the reader."""
        return tuple(signature(self.reader).parameters)


def find_source(path: str | Path, *, format: str | None = None, **options: Any) -> Source:  # noqa: ANN401
    """The reader for a file or folder of annotations. Nothing is read yet but names of files.

    Args:
        path: a COCO ``.json``, a YOLO ``data.yaml``, a table ``.csv`` or ``.tsv``, or a folder: with one of these, with
            ``Annotations/*.xml`` (Pascal VOC), with ``images`` and ``masks``, or with a folder of pictures for each
            class.
        format: one of :data:`FORMATS`, where it cannot be told by what is there.
        options: for the reader.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: nothing, or more than one thing, is found there, or the format is unknown.
        TypeError: the reader has no such option.
    """
    place = Path(path)
    if not os.path.exists(place):
        raise FileNotFoundError(f"path: expected a file or folder of annotations, and there is none at {path}")
    name = _recognised(place) if format is None else format
    if name not in FORMATS:
        raise ValueError(
            f"format: expected one of {shown(FORMATS)}, got {name!r:.80}" + near([str(name)], list(FORMATS))
        )
    known = FORMATS[name].options
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(
            f"{unknown[0]}: {FORMATS[name].what} has no such option; expected {shown(known)}" + near(unknown, known)
        )
    return FORMATS[name].reader(**{**FORMATS[name].places(place), **options})


def _recognised(path: Path) -> str:
    found = {name: evidence for name, known in FORMATS.items() if (evidence := known.found(path))}
    if len(found) > 1:  # what annotates them counts, not that pictures lie in folders
        found.pop("folder", None)
    if not found:
        raise ValueError(
            f"path: expected annotations in {path}, found none; looked for Annotations/*.xml (voc), .json (coco), "
            ".yaml (yolo), .csv or .tsv (csv), folders images and masks (masks), folders of pictures (folder); name "
            "one with format="
        )
    if len(found) > 1 or len(next(iter(found.values()))) > 1:
        listed = "; ".join(f"{name}: {shown(evidence)}" for name, evidence in found.items())
        raise ValueError(f"path: expected one kind of annotations in {path}, found {listed}; give one file, or format=")
    return next(iter(found))


def _files(path: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The path itself, or files directly in it, of some suffixes."""
    names = [path.name] if path.is_file() else sorted(os.listdir(path))
    chosen = [name for name in names if name.lower().endswith(suffixes) and not name.startswith(".")]
    return chosen if path.is_file() else [name for name in chosen if (path / name).is_file()]


def _only(path: Path, names: Sequence[str]) -> Path:
    """The path itself if it is a file, else the one file in it."""
    return path / names[0] if len(names) == 1 and path.is_dir() else path


def _voc_folders(path: Path) -> Sequence[str]:
    if inside := _spelled(path, _VOC_ANNOTATIONS, _has_xml):
        return [f"{inside}/*.xml"]
    return ["*.xml"] if path.is_dir() and _files(path, _XML) else []


def _voc_places(path: Path) -> Mapping[str, Path | str]:
    """With pictures beside the XML files, as labelling programs leave them, both are in the folder itself."""
    annotations, images = _spelled(path, _VOC_ANNOTATIONS), _spelled(path, _VOC_PICTURES)
    if not annotations and path.is_dir() and _files(path, _XML):
        return {"root": path, "annotations": "", "images": ""}
    given = {"annotations": annotations, "images": images}
    return {"root": path, **{name: folder for name, folder in given.items() if folder}}


def _spelled(path: Path, names: Sequence[str], fits: Callable[[Path], bool] = Path.is_dir) -> str | None:
    """The first of some folders that there is, as it is spelled there."""
    return next((name for name in names if (path / name).is_dir() and fits(path / name)), None)


def _has_xml(folder: Path) -> bool:
    return any(_files(place, _XML) for place in (folder, *(folder / name for name in class_folders(folder))))


def _coco_files(path: Path) -> list[str]:
    below = path / "annotations"
    return _files(path, _JSON) + ([f"annotations/{name}" for name in _files(below, _JSON)] if below.is_dir() else [])


def _coco_places(path: Path) -> Mapping[str, Path | str]:
    file = _only(path, _coco_files(path))
    return {"annotation_file": file, "images": next(_coco_folders(file), file.parent)}


def _coco_folders(file: Path) -> Iterator[Path]:
    """Where the pictures of a JSON file usually are, the likeliest first."""
    folder = Path(os.path.abspath(file)).parent
    if _has_pictures(folder):
        yield folder
    last = file.stem.rpartition("_")[2]  # of instances_val2017
    for above in (folder, folder.parent):
        usual = (above / file.stem, above / last, above / "images" / last, above / "images")
        yield from (place for place in usual if last and place.is_dir())


def _has_pictures(folder: Path) -> bool:
    return any(os.path.splitext(name)[1].lower() in PICTURE_ENDINGS for name in os.listdir(folder))


def _mask_folders(path: Path) -> Sequence[str]:
    return ["images and masks"] if all((path / name).is_dir() for name in ("images", "masks")) else []


def _picture_folders(path: Path) -> Sequence[str]:
    names = class_folders(path) if path.is_dir() else []
    if _OTHERS & {name.lower() for name in names}:
        return []
    has = (name for name in names if pictures_directly_in(path / name) or class_folders(path / name))
    return ["folders"] if next(has, None) else []


FORMATS: Mapping[str, Format] = {
    "voc": Format(VocFolder, "Pascal VOC, a folder with an XML file for each picture", _voc_places, _voc_folders),
    "coco": Format(CocoJson, "COCO, one JSON file", _coco_places, _coco_files),
    "yolo": Format(
        YoloFolder,
        "YOLO, a data.yaml and a text file for each picture",
        lambda path: {"data_yaml": _only(path, _files(path, _YAML))},
        lambda path: _files(path, _YAML),
    ),
    "csv": Format(
        CsvTable,
        "a table of text with an object in each row",
        lambda path: {"file": _only(path, _files(path, _TABLES))},
        lambda path: _files(path, _TABLES),
    ),
    "masks": Format(
        MaskFolder,
        "a folder of pictures and one of masks",
        lambda path: {"images": path / "images", "masks": path / "masks"},
        _mask_folders,
    ),
    "folder": Format(
        PictureFolder,
        "a folder of pictures for each class, without boxes",
        lambda path: {"root": path},
        _picture_folders,
    ),
}
"""The formats by name, as ``format=`` takes them."""
