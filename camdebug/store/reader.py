"""Read a record: while the run trains, after it was killed, or from somebody who cannot be trusted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from camdebug.records import EpochRecord
from camdebug.store import disk
from camdebug.store.claim import ENDS, EPOCHS, MANIFEST, STARTS, read_manifest
from camdebug.store.epoch import LOOK, MAPS, PROBES, Files, arrays_of, rows_of, to_record, verified
from camdebug.store.layout import epoch_in, epoch_name, number_in
from camdebug.store.manifest import Manifest
from camdebug.store.plain import from_plain
from camdebug.store.strict import RecordError, from_json
from camdebug.store.writer import End

Row = dict[str, Any]

_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A record as it was when it was loaded. The content of epochs is read when it is asked for.

    Attributes:
        folder: that it is in.
        manifest: of the first start of the run.
        starts: the manifest of every start by its number; the first is 1.
        ends: how those starts ended that did so by themselves.
        epochs: those that are there whole, in order.
        notes: a sentence for each thing in the folder that was left aside because it is damaged or not ours.
    """

    folder: Path
    manifest: Manifest
    starts: Mapping[int, Manifest]
    ends: Mapping[int, End]
    epochs: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def status(self) -> str | None:
        """How the last start ended; ``None`` while the run trains, and after it was killed."""
        end = self.ends.get(max(self.starts))
        return None if end is None else end.status

    def look(self, epoch: int) -> dict[str, Any]:
        """What ``look.json`` of an epoch holds: class scores, contrasts, swaps, places, verdicts with reasons.

        Raises:
            RecordError: when the epoch is not there, or no longer as it was.
        """
        return self._read(epoch, _look_of)

    def maps(self, epoch: int) -> dict[str, np.ndarray[Any, Any]]:
        """``label_maps`` and ``predicted_maps``, ``(N, h, w)``, and the other arrays of the look, such as cue maps.

        Raises:
            RecordError: when the epoch is not there, or no longer as it was.
        """
        return {name: array.numpy() for name, array in self._read(epoch, arrays_of).items()}

    def record(self, epoch: int) -> EpochRecord:
        """The look as it was found; what was not finite is NaN or ``None``.

        Raises:
            RecordError: when the epoch is not there, or no longer as it was.
        """
        return self._read(epoch, to_record)

    def probe_rows(self) -> list[Row]:
        """A flat dict for each probe and epoch, for ``pandas.DataFrame``.

        Raises:
            RecordError: when an epoch is no longer as it was.
        """
        return [row for epoch in self.epochs for row in self._probe_rows(epoch)]

    def verdict_rows(self) -> list[Row]:
        """A flat dict for each class and epoch, scores and verdict together, for ``pandas.DataFrame``.

        Raises:
            RecordError: when an epoch is no longer as it was.
        """
        return [row for epoch in self.epochs for row in self._verdict_rows(epoch)]

    def _probe_rows(self, epoch: int) -> list[Row]:
        names, ids = self.manifest.class_names, self.manifest.source_ids
        rows = self._read(epoch, rows_of)
        step = self.look(epoch).get("step")
        return [
            {
                "epoch": epoch,
                "step": step,
                **row,
                "source_id": _at(ids, row.get("probe")),
                "class_name": _at(names, row.get("class_idx")),
                "predicted_name": _at(names, row.get("predicted_class")),
            }
            for row in rows
        ]

    def _verdict_rows(self, epoch: int) -> list[Row]:
        look = self.look(epoch)
        try:
            scores = {scores["class_idx"]: scores for scores in look["classes"]}
            found = [{**scores.get(v["class_idx"], {}), **v} for v in look["verdicts"]]
            return [{"epoch": epoch, "step": look["step"], **_flat(row)} for row in found]
        except (KeyError, TypeError, RecursionError) as error:
            raise RecordError(f"{self._path(epoch)}: {LOOK} does not hold a look ({type(error).__name__})") from None

    def _read(self, epoch: int, read: Callable[[Files], _Found]) -> _Found:
        if epoch not in self.epochs:
            raise RecordError(f"{self.folder} holds no whole epoch {epoch!a}")
        try:
            return read(_read_epoch(self.folder, epoch))
        except RecordError as error:
            raise RecordError(f"{self._path(epoch)}: {error}") from None

    def _path(self, epoch: int) -> Path:
        return self.folder / EPOCHS / epoch_name(epoch)


def load_record(path: str | Path) -> RunRecord:
    """The record in a folder, also while it is being written.

    Nothing that is read can run code, lead out of the folder or fill the memory. Every file of every epoch is compared
    with the digest it was written with.

    Args:
        path: the folder with ``manifest.json``.

    Raises:
        RecordError: in one sentence, when the folder holds no record that this version reads.
    """
    folder = Path(path)
    try:
        manifest = read_manifest(folder / MANIFEST)
    except OSError as error:
        raise RecordError(
            f"{folder} holds no record of camdebug: {MANIFEST} cannot be read ({error.strerror})"
        ) from None
    except RecordError as error:
        raise RecordError(f"{folder / MANIFEST} {error}") from None
    notes: list[str] = []
    starts, ends = _numbered(folder / STARTS, read_manifest, notes), _numbered(folder / ENDS, _read_end, notes)
    epochs = _whole_epochs(folder, notes)
    return RunRecord(folder, manifest, {**starts, 1: manifest}, ends, epochs, tuple(notes))


def _whole_epochs(folder: Path, notes: list[str]) -> tuple[int, ...]:
    found = []
    for name in _listed(folder / EPOCHS, notes):
        epoch = epoch_in(name)
        if epoch is None:
            notes.append(f"{EPOCHS}/{name[:80]!a} is not an epoch")
            continue
        try:
            _read_epoch(folder, epoch)
        except RecordError as error:
            if os.path.lexists(folder / EPOCHS / name):  # otherwise the run was resumed just now, from before it
                notes.append(f"{EPOCHS}/{name}: {error}")
        else:
            found.append(epoch)
    return tuple(sorted(found))


def _read_epoch(folder: Path, epoch: int) -> Files:
    path = folder / EPOCHS / epoch_name(epoch)
    if not disk.is_folder(folder / EPOCHS) or not disk.is_folder(path):
        raise RecordError("is not a folder")
    files = verified(*(_read(path / name) for name in (LOOK, PROBES, MAPS)))
    if files.look.get("epoch") != epoch:
        raise RecordError(f"{LOOK} is of another epoch")
    return files


def _look_of(files: Files) -> dict[str, Any]:
    return files.look


def _read(path: Path) -> bytes:
    try:
        return disk.read_file(path)
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read ({error.strerror})") from None


def _numbered(folder: Path, read: Callable[[Path], _Found], notes: list[str]) -> dict[int, _Found]:
    found: dict[int, _Found] = {}
    for name in _listed(folder, notes):
        number = number_in(name)
        try:
            if number is None:
                raise RecordError("is not of a record")
            found[number] = read(folder / name)
        except (OSError, RecordError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            notes.append(f"{folder.name}/{name[:80]!a}: {why}")
    return found


def _listed(folder: Path, notes: list[str]) -> list[str]:
    if os.path.lexists(folder) and not disk.is_folder(folder):
        notes.append(f"{folder.name} is not a folder")
    try:
        names = disk.names_in(folder)
    except OSError as error:
        notes.append(f"{folder.name} cannot be read ({error.strerror})")
        return []
    return [name for name in names if not (name.startswith(".") and name.endswith(disk.DRAFT))]


def _read_end(path: Path) -> End:
    try:
        end: End = from_plain(End, from_json(disk.read_file(path)))
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"is not an end of a run ({type(error).__name__})") from None
    return end


def _at(values: tuple[str, ...], index: object) -> str | None:
    return values[index] if type(index) is int and 0 <= index < len(values) else None


def _flat(row: Row) -> Row:
    """Nested objects become columns, such as ``swap_gap_peak``; lists of numbers become tuples."""
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}_{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return flat
