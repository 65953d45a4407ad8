"""One look at the model of a Trainer: it is lent to the observer and put back as it was."""

from __future__ import annotations

from contextlib import ExitStack

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.rank_zero_buffers import rank_zero_buffers
from camdebug.callbacks.ranks import Ranks
from camdebug.callbacks.whole_weights import whole_weights
from camdebug.cam.lending.borrow import LeftOut, borrowed
from camdebug.cam.peers import ALONE, Peers
from camdebug.cam.target.layers import TargetLayer
from camdebug.observe import Observer
from camdebug.records import EpochRecord


def peers_of(trainer: facts.Trainer) -> Peers:
    """All processes of this training."""
    return Ranks() if trainer.world_size > 1 else ALONE


class Looker:
    """Lends the model to the observer. Whatever is raised here, the model is as it was, and all processes raise.

    Args:
        observer: looks at it.
        on_left_out: is told which attributes hold more than is put back, and why.
    """

    def __init__(self, observer: Observer, on_left_out: LeftOut | None = None) -> None:
        self._observer, self._on_left_out = observer, on_left_out
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self._fragile: tuple[str, ...] = ()

    def find_layer(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> TargetLayer:
        """Find the layer to explain, and make one map.

        Raises:
            TypeError, ValueError: naming the argument that does not fit the model.
            Exception: whatever the model raises when it cannot be explained.
        """
        peers = peers_of(trainer)
        with peers.attempt(), ExitStack() as stack:
            changed = self._borrow(stack, pl_module, peers, copied=None)
            precision = facts.TrainerPrecision(trainer, pl_module)
            layer = self._observer.prepare(pl_module, precision)
            self._observer.rehearse(pl_module, precision)
        self._fragile = tuple(changed)
        return layer

    def remember_initial(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> None:
        """Keep the maps of the initial weights.

        Raises:
            Exception: whatever the model or the Trainer raises.
        """
        peers = peers_of(trainer)
        with peers.attempt(), ExitStack() as stack:
            self._borrow(stack, pl_module, peers, copied=self._fragile)
            self._observer.remember_initial(pl_module, facts.TrainerPrecision(trainer, pl_module), peers=peers)

    def look(
        self, trainer: facts.Trainer, pl_module: facts.LightningModule, *, every_n_epochs: int
    ) -> tuple[EpochRecord, list[str]]:
        """What is seen, and the names of what the model's forward has changed (and the look has put back).

        Raises:
            Exception: whatever the model or the Trainer raises.
        """
        peers = peers_of(trainer)
        with peers.attempt(), ExitStack() as stack:
            changed = self._borrow(stack, pl_module, peers, copied=self._fragile)
            record = self._observer.look(
                pl_module,
                facts.TrainerPrecision(trainer, pl_module),
                epoch=trainer.current_epoch,
                # Processes with fewer batches may expect another number, but must plan alike.
                looks_left=peers.exchange(facts.looks_left(trainer, every_n_epochs))[0],
                peers=peers,
            )
        return record, changed

    def _borrow(
        self, stack: ExitStack, pl_module: facts.LightningModule, peers: Peers, *, copied: tuple[str, ...] | None
    ) -> list[str]:
        """At fit start all parameters are copied, to learn which ones the forward writes to; later only those are."""
        stack.enter_context(whole_weights(pl_module, peers))
        stack.enter_context(rank_zero_buffers(pl_module, peers))
        changed = stack.enter_context(borrowed(pl_module, copied=copied, on_left_out=self._on_left_out))
        stack.enter_context(facts.logging_off(pl_module))
        return changed
