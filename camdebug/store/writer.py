"""Write the record of a run while it trains."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from camdebug.records import EpochRecord, Loss
from camdebug.store import disk
from camdebug.store.claim import ENDS, EPOCHS, LOCK, STARTS, SUPERSEDED, take_folder
from camdebug.store.epoch import to_files
from camdebug.store.layout import epoch_in, epoch_name, number_in, numbered_name
from camdebug.store.manifest import Manifest
from camdebug.store.plain import to_plain
from camdebug.store.strict import to_json


@dataclass(frozen=True)
class End:
    """How a start of the run ended: a ``status`` such as ``"completed"``, when (UTC, ISO 8601), and what was lost."""

    status: str
    ended: str
    losses: tuple[Loss, ...] = ()


class RecordWriter:
    """Writes one run's record into a folder. A reader sees whole epochs only, whenever it looks.

    Made by :meth:`open`. A copy, such as in a spawned process, writes to the same folder.

    Attributes:
        folder: that the record is in.
        moved_from: the folder that was asked for, when it could not be taken; otherwise ``None``.
        moved_because: why, to be said after that folder's name, such as ``"holds the record of another run"``.
        goes_on: there was a record of this run, which goes on.
        set_aside: epochs that were moved to ``superseded/`` because the run was resumed from before them.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, moved_from: Path | None, moved_because: str | None) -> None:
        self.folder = folder
        self.moved_from = moved_from
        self.goes_on = False
        self.moved_because = moved_because
        self.set_aside: tuple[int, ...] = ()
        self._manifest = manifest
        self._start = 1

    @classmethod
    def open(cls, folder: str | Path, manifest: Manifest, *, last_epoch: int = -1) -> RecordWriter:
        """Begin a record, or go on in that of the same ``run_id``, probe set, method and layer.

        A folder that holds anything else is left alone, and the next free one of ``folder-1``, ``folder-2``, ... is
        taken. So it is when another process writes the record of the same run.

        Args:
            folder: absent, empty, or with a record.
            manifest: of the run as it starts now.
            last_epoch: the last one that the run remembers. Whole epochs after it are set aside, never deleted.

        Raises:
            OSError: when the folder cannot be made or written to.
        """
        asked = Path(os.path.abspath(folder))
        claim = take_folder(asked, manifest)
        because = claim.moved_because
        writer = cls(claim.folder, manifest, moved_from=asked if because else None, moved_because=because)
        try:
            disk.make_folder(writer.folder / EPOCHS)
            writer._sweep()
            if claim.goes_on:
                writer.goes_on = True
                writer._go_on(last_epoch)
        except BaseException:
            disk.unlock(writer.folder / LOCK)
            raise
        return writer

    def write(self, record: EpochRecord, *, step: int) -> None:
        """Add an epoch; on the disk when this returns.

        Args:
            record: of the look.
            step: at which loggers show it.

        Raises:
            OSError: also when the epoch is there already. Earlier epochs are as they were; a later call may succeed.
        """
        disk.write_folder(self.folder / EPOCHS / epoch_name(record.epoch), to_files(record, step=step))

    def finish(self, status: str, losses: Iterable[Loss] = ()) -> None:
        """Note how this start of the run ended, and unlock the folder.

        Raises:
            OSError: when that cannot be written.
        """
        end = End(status, datetime.now(timezone.utc).isoformat(timespec="seconds"), tuple(losses))
        try:
            self._note(ENDS, to_plain(end))
        finally:
            disk.unlock(self.folder / LOCK)

    def _note(self, kind: str, content: object) -> None:
        disk.make_folder(self.folder / kind)
        disk.write_file(self.folder / kind / numbered_name(self._start), to_json(content) + b"\n")

    def _go_on(self, last_epoch: int) -> None:
        self._set_aside(last_epoch)
        starts = [number_in(name) for name in disk.names_in(self.folder / STARTS)]
        self._start = max((number for number in starts if number is not None), default=1) + 1
        self._note(STARTS, to_plain(self._manifest))

    def _sweep(self) -> None:
        """Remove drafts of a run that was killed while it wrote."""
        for part in (self.folder, *(self.folder / name for name in (EPOCHS, STARTS, ENDS))):
            for name in disk.names_in(part):
                if name.startswith(".") and name.endswith(disk.DRAFT):
                    disk.discard(part / name)

    def _set_aside(self, last_epoch: int) -> None:
        """The last one first: whatever interrupts this, epochs without a gap are left."""
        found = [(epoch_in(name), name) for name in disk.names_in(self.folder / EPOCHS)]
        later = sorted(
            ((epoch, name) for epoch, name in found if epoch is not None and epoch > last_epoch), reverse=True
        )
        if not later:
            return
        disk.make_folder(self.folder / SUPERSEDED)
        taken = disk.names_in(self.folder / SUPERSEDED)
        aside = next(p for n in range(1, len(taken) + 2) if (p := f"{n:04d}") not in taken)
        disk.make_folder(self.folder / SUPERSEDED / aside)
        for _, name in later:
            disk.move(self.folder / EPOCHS / name, self.folder / SUPERSEDED / aside)
        self.set_aside = tuple(sorted(epoch for epoch, _ in later))
