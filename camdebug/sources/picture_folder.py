"""Pictures sorted into a folder for each class, without boxes: the layout of torchvision's ``ImageFolder``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camdebug.records import Exclusion
from camdebug.sources.columns import counted, shown
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry
from camdebug.sources.folders import class_folders, pictures_below, pictures_directly_in, readable
from camdebug.sources.paths import given_folder

_PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """Pictures in ``root/<class>/``, at any depth.

    Classes and pictures come in the order of torchvision's ``ImageFolder``, and so do the suffixes that it takes for
    pictures. Different are: hidden files and folders are left out, and so are links that lead in circles.

    Args:
        root: folder of the class folders.
    """

    root: str | Path

    def read(self) -> Annotations:
        """List the pictures; none is opened. A class folder without pictures keeps its name and is an exclusion.

        Raises:
            ValueError: ``root`` is no folder, or has no class folders with pictures.
        """
        root = given_folder("root", self.root)
        names = class_folders(root)
        _check_classes(root, names)
        entries: list[Entry] = []
        faults = _outside(root)
        for name in names:
            found = pictures_below(root, name)
            entries += [_entry(root, file, readable(Path(name))) for file in found.files]
            faults += found.faults
            if not found.files:
                faults.append(Exclusion(readable(Path(name)), "class folder without pictures"))
        if not entries:
            raise ValueError(f"root: expected pictures in the class folders of {root}, got none; {counted(faults)}")
        readable_names = tuple(readable(Path(name)) for name in names)
        return Annotations(
            entries, readable_names, None, f"folders of pictures, {len(entries)} pictures", tuple(faults)
        )


def _entry(root: Path, file: Path, name: str) -> Entry:
    return Entry(readable(file), root / file, (AnnotatedObject(name),), file=readable(file))


def _check_classes(root: Path, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"root: expected a folder for each class in {root}, it has no folders")
    if {name.lower() for name in names} <= _PARTS:
        raise ValueError(
            f"root: expected folders of classes, got parts of a data set ({shown(names)}); give one of them, such as "
            f"{root / names[-1]}"
        )


def _outside(root: Path) -> list[Exclusion]:
    """Pictures beside the class folders."""
    return [Exclusion(readable(Path(name)), "picture in no class folder") for name in pictures_directly_in(root)]
