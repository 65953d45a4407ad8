"""Whose folder it is: one run's record in one folder, written by one process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from camdebug.store import disk
from camdebug.store.manifest import SCHEMA, Manifest
from camdebug.store.plain import field_types, from_plain, to_plain
from camdebug.store.strict import RecordError, from_json, to_json

MANIFEST, EPOCHS, STARTS, ENDS, SUPERSEDED, LOCK = (
    "manifest.json",
    "epochs",
    "starts",
    "ends",
    "superseded",
    "writer.lock",
)
_MOST_SIBLINGS = 10_000


@dataclass(frozen=True)
class Claim:
    """What a run has got.

    Attributes:
        folder: that is now this run's, and locked.
        goes_on: whether the run's record is in it already.
        moved_because: what the folder that was asked for is or holds, when it is another one; otherwise ``None``.
    """

    folder: Path
    goes_on: bool
    moved_because: str | None


def take_folder(folder: Path, manifest: Manifest) -> Claim:
    """Take the folder, or the next free sibling.

    Raises:
        OSError: when no folder can be made or written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder.parent)) from None
    moved_because = None
    for candidate in _candidates(folder):
        taken = _take(candidate, manifest)
        if isinstance(taken, bool):
            return Claim(candidate, taken, moved_because)
        moved_because = moved_because or taken
    raise FileExistsError(errno.EEXIST, f"and {_MOST_SIBLINGS} folders beside it are taken", str(folder))


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in range(1, _MOST_SIBLINGS + 1))


def _take(folder: Path, manifest: Manifest) -> bool | str:
    """Whether a record goes on in it; or why it is somebody else's, and then nothing in it has been touched."""
    try:
        made = disk.make_folder(folder)
    except FileExistsError:
        return "is a link" if folder.is_symlink() else "is no folder"
    found = _found_in(folder, manifest)
    if isinstance(found, str):
        return found
    try:
        locked = disk.lock(folder / LOCK)
    except BlockingIOError:
        return "is in use by another process"
    # Another process may have come first until the lock was ours. Where there are no locks, mkdir is the lock.
    found = _found_in(folder, manifest)
    if found is True:
        return True
    if isinstance(found, str) or not (locked or made):
        disk.unlock(folder / LOCK)
        return found or "may be in use by another process"
    try:
        disk.write_file(folder / MANIFEST, to_json(to_plain(manifest)) + b"\n")
    except BaseException:
        disk.unlock(folder / LOCK)
        raise
    return False


def _found_in(folder: Path, manifest: Manifest) -> bool | str:
    """Whether it holds the run's record, ``False`` when it is free; or what else it holds."""
    names = disk.names_in(folder)
    if all(name == LOCK or _is_draft(name) for name in names):  # as a run leaves it that was killed at its very start
        return False
    with suppress(OSError, RecordError):
        found = read_manifest(folder / MANIFEST)
        other = found.differs_in(manifest)
        if other is not None:
            return f"holds the record of {other}"
        if all(disk.is_folder(folder / name) for name in (EPOCHS, STARTS, ENDS, SUPERSEDED) if name in names):
            return True
    return "holds other files"


def _is_draft(name: str) -> bool:
    return name.startswith(f".{MANIFEST}.") and name.endswith(disk.DRAFT)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        OSError: when there is no such file.
        RecordError: when it is not a manifest of this schema.
    """
    found = from_json(disk.read_file(path))
    if not isinstance(found, dict) or type(found.get("schema")) is not int:
        raise RecordError("is not a manifest of camdebug")
    if found["schema"] != SCHEMA:
        number = str(found["schema"])[:20]
        raise RecordError(f"has schema {number}, this version of camdebug reads schema {SCHEMA}")
    missing = sorted(field_types(Manifest).keys() - found.keys())
    if missing:
        raise RecordError(f"lacks {', '.join(missing)}")
    try:
        manifest: Manifest = from_plain(Manifest, found)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"is not a manifest of camdebug ({str(error)[:200]!a})") from None
    return manifest
