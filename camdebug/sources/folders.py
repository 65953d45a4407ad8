"""The pictures below a folder: in a stable order, through links but never in circles, and nothing that is no file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from camdebug.records import Exclusion

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""As torchvision's ``ImageFolder`` knows them, in any case."""


@dataclass(frozen=True)
class Found:
    """Pictures below a folder.

    Attributes:
        files: relative to it, folders in the order of their paths and then files by name, as ``ImageFolder`` has them.
        faults: what was passed over, with the reason.
    """

    files: tuple[Path, ...]
    faults: tuple[Exclusion, ...]


def class_folders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are none."""
    return sorted(item.name for item in os.scandir(root) if _is_folder(item) and not item.name.startswith("."))


def pictures_directly_in(folder: Path) -> list[str]:
    """Names of the pictures in a folder itself, sorted."""
    return sorted(
        item.name
        for item in os.scandir(folder)
        if item.name.lower().endswith(PICTURE_SUFFIXES) and _fault(item) is None
    )


def pictures_below(root: Path, start: str = "", *, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> Found:
    """Pictures in the folder ``start`` of ``root`` and below.

    Each folder is read once: a link to one that is read already, or that holds the link, is a fault. So are hidden
    pictures and folders; other files are passed over without a word.

    Args:
        root: paths are relative to it.
        start: a folder in it, relative; ``root`` itself by default.
        suffixes: of pictures, in lower case.
    """
    walk = _Walk(root, suffixes, {_identity(root)} if start else set())
    walk.into(start)
    files = sorted(walk.files, key=lambda file: (os.path.join(root, file[0]), file[1]))
    return Found(tuple(Path(folder, name) for folder, name in files), tuple(walk.faults))


def readable(path: Path) -> str:
    r"""A path with ``/`` that can be written anywhere: bytes that are no characters are spelled out.

    >>> readable(Path("cat", "\udce9.jpg"))
    'cat/\\udce9.jpg'
    """
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


class _Walk:
    def __init__(self, root: Path, suffixes: tuple[str, ...], seen: set[tuple[int, int]]) -> None:
        self.root = root
        self.suffixes = suffixes
        self.files: list[tuple[str, str]] = []
        self.faults: list[Exclusion] = []
        self._seen = seen
        self._folders: list[str] = []
        self._links: list[str] = []

    def into(self, start: str) -> None:
        self._folders.append(start)
        while self._folders or self._links:  # links last, so that a folder is met under its own name
            folder = self._folders.pop() if self._folders else self._links.pop(0)
            identity = _identity(self.root / folder)
            if identity in self._seen:
                self._leave_out(folder, "link to a folder that is read already")
                continue
            self._seen.add(identity)
            try:
                items = sorted(os.scandir(self.root / folder), key=lambda item: item.name)
            except OSError:
                self._leave_out(folder, "folder that cannot be read")
                continue
            for item in items:
                self._take(folder, item)

    def _take(self, folder: str, item: os.DirEntry[str]) -> None:
        path, hidden = os.path.join(folder, item.name), item.name.startswith(".")
        if _is_folder(item):
            if hidden:
                self._leave_out(path, "hidden folder")
            else:
                (self._links if item.is_symlink() else self._folders).append(path)
        elif item.name.lower().endswith(self.suffixes):
            fault = "hidden file" if hidden else _fault(item)
            if fault is None:
                self.files.append((folder, item.name))
            else:
                self._leave_out(path, fault)

    def _leave_out(self, path: str, reason: str) -> None:
        self.faults.append(Exclusion(readable(Path(path)), reason))


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _fault(item: os.DirEntry[str]) -> str | None:
    try:
        if item.is_file():
            return None
    except OSError:
        return "link that leads back to itself"
    return "link to a missing file" if item.is_symlink() else "neither file nor folder"


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
