"""Ends a training in which a class becomes *confirmed*, on all ranks together."""

from __future__ import annotations

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.messages import Messenger
from camdebug.records import ClassVerdict, EpochRecord

ACTIONS = ("warn", "stop")
_STOPPING = "confirmed"


class Stopper:
    """Notes who becomes confirmed, and at the end of the epoch asks Lightning to stop. Nothing here raises.

    What was noted is no part of the state in checkpoints: whoever resumes a run that was stopped wants it to go on.

    Args:
        action: ``"stop"``; with anything else this does nothing.
        messages: says that the training ends.
    """

    def __init__(self, action: str, messages: Messenger) -> None:
        self._on, self._messages = action == "stop", messages
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self._names: list[str] = []

    def note(self, record: EpochRecord) -> None:
        """Remember the classes that this look has newly confirmed."""
        with self._messages.harmless("noting who is confirmed"):
            self._names += [v.name for v in record.verdicts if _newly_confirmed(v)]

    def decide(self, trainer: facts.Trainer) -> None:
        """Stop if any rank has noted a class. Every rank must come here once an epoch, whatever its looks did."""
        if not self._on:
            return
        names, self._names = self._names, []
        with self._messages.harmless("ending the training"):
            wanted = bool(names)
            if trainer.world_size > 1:
                wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
            if wanted:
                trainer.should_stop = True
                self._messages.warn(_words(names, trainer.current_epoch))


def _newly_confirmed(verdict: ClassVerdict) -> bool:
    return verdict.changed_from is not None and verdict.level.value == _STOPPING


def _words(names: list[str], epoch: int) -> str:
    who = ", ".join(f"`{name}`" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"camdebug asks Lightning to end the training after epoch {epoch} (action='stop'): "
        f"the background is confirmed to matter for {who or 'a class on another rank'}. To train on all the same, "
        "resume from the last checkpoint with action='warn'."
    )
