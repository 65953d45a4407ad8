"""Keeps what every look found in a folder beside the logs: raw maps, numbers and verdicts, readable after a crash."""

from __future__ import annotations

from pathlib import Path

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.messages import Messenger
from camdebug.cam.target.layers import TargetLayer
from camdebug.observe import Observer
from camdebug.observe.whereabouts import reason_for
from camdebug.records import EpochRecord
from camdebug.sinks import unique_slugs
from camdebug.store import Manifest, RecordWriter, new_run_id


class RecordKeeper:
    """Writes the record on rank zero. Nothing here raises: what cannot be written is reported once, and lost.

    Args:
        where: ``True`` for a folder beside the logs, a path for that folder, ``False`` for none.
        name: of the monitor.
        messages: says what went wrong.

    Attributes:
        run_id: of this run, the same after a resume.
    """

    def __init__(self, where: bool | str | Path, *, name: str, messages: Messenger) -> None:
        self._where, self._name, self._messages = where, name, messages
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self.run_id = new_run_id()
        self._writer: RecordWriter | None = None
        self._first_epoch = 0

    @property
    def words(self) -> str:
        """Where the record is; empty without one."""
        if self._writer is None:
            return ""
        anew = (
            "" if self._first_epoch == 0 or self._writer.goes_on else ", begun anew; earlier looks stay where they are"
        )
        return f"Record: {self._writer.folder}{anew}."

    def open(self, trainer: facts.Trainer, manifest: Manifest, *, last_epoch: int) -> None:
        """Begin the record, or go on with it.

        Args:
            trainer: that fits.
            manifest: of the run.
            last_epoch: the last one that the run remembers.
        """
        self._writer, self._first_epoch = None, last_epoch + 1
        if not self._messages.active or self._where is False:
            return
        with self._messages.harmless("opening the record"):
            if facts.is_a_trial(trainer):
                return
            folder = facts.run_folder(trainer) if self._where is True else Path(str(self._where))
            if folder is None:
                self._messages.warn_once(
                    "camdebug keeps no record of this run, because its logs are not on this machine's disk. Pass "
                    "record= with a folder to have one."
                )
                return
            folder = folder / f"{self._name}-record" if self._where is True else folder
            self._writer = RecordWriter.open(folder, manifest, last_epoch=last_epoch)
            self._tell_of(self._writer)

    def write(self, record: EpochRecord, *, step: int) -> None:
        """Add a look."""
        if self._writer is not None:
            with self._messages.harmless("writing the record"):
                self._writer.write(record, step=step)

    def close(self, status: str) -> None:
        """The fit has ended, ``"completed"``, ``"interrupted"`` or ``"failed"``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._messages.harmless("closing the record"):
                writer.finish(status, self._messages.losses)

    def _tell_of(self, writer: RecordWriter) -> None:
        if writer.moved_from is not None:
            self._messages.warn_once(
                f"camdebug keeps the record of this run in {writer.folder}, because {writer.moved_from} "
                f"{writer.moved_because}. Nothing there was changed."
            )
        if writer.set_aside:
            first, last = writer.set_aside[0], writer.set_aside[-1]
            self._messages.warn_once(
                f"camdebug has set aside what the record held of epochs {first} to {last}, because training goes on "
                f"from before them. It is kept in {writer.folder / 'superseded'}."
            )

    def __getstate__(self) -> dict[str, object]:
        """Without an open record: a copy is not the one that writes."""
        return {**vars(self), "_writer": None}


def manifest_of(
    run_id: str, observer: Observer, layer: TargetLayer, *, name: str, weights: str, every_n_epochs: int, ranks: int
) -> Manifest:
    """The facts of a run; see :class:`camdebug.store.Manifest`."""
    probes = observer.probes
    return Manifest(
        run_id=run_id,
        method=observer.method,
        layer=", ".join(each.name for each in observer.layers),
        layer_reason=reason_for(observer.recipe, layer, observer.grid or layer.grid),
        weights=weights,
        probe_fingerprint=probes.fingerprint,
        probes=len(probes),
        source_ids=probes.source_ids,
        class_names=probes.class_names,
        class_slugs=unique_slugs(probes.class_names),
        seed=observer.seed,
        alpha=observer.alpha,
        every_n_epochs=every_n_epochs,
        ranks=ranks,
        name=name,
    )
