"""When to look: all processes decide together."""

from __future__ import annotations

from camdebug.callbacks import trainer_facts as facts
from camdebug.cam.peers import Peers

_NEVER = -1


class Schedule:
    """At most one look an epoch, every so many epochs, and always at the first and the last.

    Args:
        every_n_epochs: of looks.

    Attributes:
        every_n_epochs: of looks, as asked for until somebody makes it more.
        last_epoch: of the last look, -1 before any.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self._asked_for = every_n_epochs
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self.every_n_epochs = self._asked_for
        self.last_epoch = _NEVER

    @property
    def begun(self) -> bool:
        """There was a look."""
        return self.last_epoch != _NEVER

    def is_due(self, trainer: facts.Trainer) -> bool:
        """Whether this epoch is to be looked at and has not been yet. After a look at a later one it has gone back."""
        since = trainer.current_epoch - self.last_epoch
        if since == 0:
            return False
        return bool(not self.begun or since < 0 or since >= self.every_n_epochs or facts.is_last_epoch(trainer))

    def agree(self, peers: Peers, *, due: bool) -> bool:
        """Look when any process finds it due: whoever looked alone would wait for the others for ever."""
        return any(peers.exchange(due))

    def same_start(self, peers: Peers) -> bool:
        """Whether all processes go on from the same epoch, as they do unless one could not read the checkpoint."""
        return len(set(peers.exchange(self.last_epoch))) == 1
