"""``MonitorLooks``: what a monitor does when a look is due."""

from __future__ import annotations

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.looker import Looker, peers_of
from camdebug.callbacks.messages import Messenger
from camdebug.callbacks.metric_log import MetricLog
from camdebug.callbacks.overhead import Overhead
from camdebug.callbacks.record_keeper import RecordKeeper, manifest_of
from camdebug.callbacks.reporter import Reporter
from camdebug.callbacks.schedule import Schedule
from camdebug.callbacks.stopper import Stopper
from camdebug.cam.target.layers import TargetLayer
from camdebug.observe import Observer
from camdebug.records import EpochRecord
from camdebug.wording import told


class MonitorLooks:
    """Agree on a look, take it, report it, and become rarer when looks take too long."""

    name: str
    last_record: EpochRecord | None
    _off: bool
    _own_arguments: tuple[str, ...]
    _messages: Messenger
    _observer: Observer
    _looker: Looker
    _schedule: Schedule
    _overhead: Overhead
    _metrics: MetricLog
    _reporter: Reporter
    _keeper: RecordKeeper
    _stopper: Stopper

    def _keep_record(self, trainer: facts.Trainer) -> None:
        layer = self._observer.layer
        if layer is None:
            return
        manifest = manifest_of(
            self._keeper.run_id,
            self._observer,
            layer,
            name=self.name,
            weights=facts.weights_seen(trainer, self),
            every_n_epochs=self._schedule.every_n_epochs,
            ranks=trainer.world_size,
        )
        self._keeper.open(trainer, manifest, last_epoch=self._schedule.last_epoch)

    def _agreed(self, trainer: facts.Trainer, *, due: bool) -> bool:
        with self._messages.harmless("planning a look"):
            return not self._off and self._schedule.agree(peers_of(trainer), due=due)
        return False

    def _slow_down(self, trainer: facts.Trainer) -> None:
        with self._messages.harmless("measuring its overhead"):
            epoch, cadence = trainer.current_epoch, self._schedule.every_n_epochs
            longer = self._overhead.longer_cadence(peers_of(trainer), epoch=epoch, cadence=cadence)
            if longer is not None:
                self._schedule.every_n_epochs = longer
                self._messages.warn(self._overhead.words(longer))

    def _find_layer(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> TargetLayer | None:
        """The layer, or ``None`` when the model cannot be explained. Raises for wrong arguments alone."""
        try:
            return self._looker.find_layer(trainer, pl_module)
        except Exception as error:
            if any(_blames(error, argument) for argument in self._own_arguments):
                raise
            self._messages.off(f"it cannot explain this model ({told(error)})")
            return None

    def _look(self, trainer: facts.Trainer, pl_module: facts.LightningModule, *, in_train_hook: bool) -> None:
        self._schedule.last_epoch = trainer.current_epoch
        self._messages.looks += 1
        with self._messages.harmless("measuring its overhead"), self._overhead.measured(peers_of(trainer)):
            record = self._see(trainer, pl_module)
            if record is not None:
                with self._messages.harmless("reporting a look"):
                    step = facts.logger_step(trainer, in_train_hook=in_train_hook)
                    self._keeper.write(record, step=step)
                    self._reporter.publish(record, step=step)
        self._metrics.took(self._overhead.last)

    def _see(self, trainer: facts.Trainer, pl_module: facts.LightningModule) -> EpochRecord | None:
        """What the look found; ``None`` when it was lost."""
        try:
            record, changed = self._looker.look(trainer, pl_module, every_n_epochs=self._schedule.every_n_epochs)
            self._metrics.take(record, self._reporter.slugs)
        except Exception as error:
            self._messages.lost_look(trainer.current_epoch, error)
            return None
        self.last_record = record
        self._stopper.note(record)
        self._messages.forward_changes(changed)
        self._messages.smaller_chunks(self._observer.asked_chunk_size, self._observer.chunk_size)
        return record


def _blames(error: Exception, argument: str) -> bool:
    """Also for what a function of the user's has raised, which is told as a ``RuntimeError``."""
    named = isinstance(error, (TypeError, ValueError, RuntimeError))
    return named and told(error).partition(": ")[2].startswith(argument)
