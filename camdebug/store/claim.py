"""Whose folder it is: one run's record in one folder, written by one process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
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


def take_folder(folder: Path, manifest: Manifest) -> tuple[Path, bool]:
    """The folder, or the next free sibling, that is now this run's and locked; and whether a record goes on in it.

    Raises:
        OSError: when no folder can be made or written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder.parent)) from None
    for candidate in _candidates(folder):
        goes_on = _take(candidate, manifest)
        if goes_on is not None:
            return candidate, goes_on
    raise FileExistsError(errno.EEXIST, f"and {_MOST_SIBLINGS} folders beside it are taken", str(folder))


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in range(1, _MOST_SIBLINGS + 1))


def _take(folder: Path, manifest: Manifest) -> bool | None:
    """``None`` when it is somebody else's, in which case nothing in it has been touched."""
    try:
        made = disk.make_folder(folder)
    except FileExistsError:
        return None
    if not _is_free(folder) and not _is_of_the_run(folder, manifest):
        return None
    try:
        locked = disk.lock(folder / LOCK)
    except BlockingIOError:
        return None
    # Another process may have come first until the lock was ours. Where there are no locks, mkdir is the lock.
    if _is_of_the_run(folder, manifest):
        return True
    if not _is_free(folder) or not (locked or made):
        disk.unlock(folder / LOCK)
        return None
    try:
        disk.write_file(folder / MANIFEST, to_json(to_plain(manifest)) + b"\n")
    except BaseException:
        disk.unlock(folder / LOCK)
        raise
    return False


def _is_free(folder: Path) -> bool:
    """Nothing is in it but what a run that was killed at its very start leaves."""
    return all(name == LOCK or _is_draft(name) for name in disk.names_in(folder))


def _is_draft(name: str) -> bool:
    return name.startswith(f".{MANIFEST}.") and name.endswith(disk.DRAFT)


def _is_of_the_run(folder: Path, manifest: Manifest) -> bool:
    with suppress(OSError, RecordError):
        parts = [folder / name for name in (EPOCHS, STARTS, ENDS, SUPERSEDED) if name in disk.names_in(folder)]
        return all(map(disk.is_folder, parts)) and read_manifest(folder / MANIFEST).is_of_the_run(manifest)
    return False


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
