"""The scalars of looks: to Lightning in time for whoever waits for them, and to each logger as a row of their own."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.known_metrics import KnownMetrics
from camdebug.callbacks.messages import Messenger
from camdebug.callbacks.metrics import chance_level, metrics_of
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord
from camdebug.rng import preserved_rng
from camdebug.sinks import room_kept


class MetricLog:
    """Remembers the last value of every metric and logs it once an epoch. Nothing here raises but :meth:`take`.

    Args:
        name: first part of every metric name.
        chance_outside_mass: the share of heat outside the boxes if heat ignored them.
        messages: says what went wrong.
        known: all metrics that there are.

    Attributes:
        values: the last value of each metric.
    """

    def __init__(self, *, name: str, chance_outside_mass: float, messages: Messenger, known: KnownMetrics) -> None:
        self._name, self._chance, self._messages, self._known = name, chance_outside_mass, messages, known
        self.forget()

    @classmethod
    def of(
        cls, probes: ProbeSet, *, name: str, contrast: bool, tested: Collection[str], messages: Messenger
    ) -> MetricLog:
        """The log of a monitor of these probes; see :class:`KnownMetrics` for ``contrast`` and ``tested``."""
        uniform = float(1 - probes.coverage((1, 1)).mean())
        known = KnownMetrics(name, probes, contrast=contrast, tested=tested)
        return cls(name=name, chance_outside_mass=uniform, messages=messages, known=known)

    def forget(self) -> None:
        """A new run begins."""
        self.values: dict[str, float] = {}
        self._stand_ins: dict[str, float] = {}
        self._last_epoch = -1
        self._quiet = False

    def take(self, record: EpochRecord, slugs: Mapping[int, str]) -> None:
        """Take the scalars of a look; what it could not measure keeps its last value."""
        self.values |= metrics_of(record, name=self._name, slugs=slugs)

    def took(self, seconds: float) -> None:
        """A look held the training up for so long, drawing and logging included; the same in all processes."""
        self.values[f"{self._name}/seconds"] = seconds

    @property
    def measured(self) -> bool:
        """A look has given values, now or before a resume."""
        return any(key != f"{self._name}/seconds" for key in self.values)

    def restore(self, values: Mapping[Any, Any]) -> None:
        """Go on with the values of a checkpoint, as far as they are finite and ours.

        Raises:
            TypeError, ValueError: when they are no numbers.
        """
        found = {str(key): float(value) for key, value in values.items()}
        self.values = {key: value for key, value in found.items() if key in self._known and math.isfinite(value)}

    def log(
        self,
        trainer: facts.Trainer,
        pl_module: facts.LightningModule,
        *,
        looked: bool,
        closing: bool,
        in_train_hook: bool = False,
    ) -> None:
        """Log once an epoch, the last values again if need be, and whenever a monitor would find nothing.

        Args:
            trainer: that fits.
            pl_module: logs.
            looked: there are new values.
            closing: this is the last chance in this epoch.
            in_train_hook: the training epoch ends, not a validation.
        """
        with self._messages.harmless("logging metrics"):
            if getattr(trainer, "barebones", False):  # where Lightning warns at every log
                return
            awaited = self._awaited(trainer)
            unseen = any(n not in trainer.callback_metrics for n in awaited)
            if not (looked or unseen or (closing and self._last_epoch != trainer.current_epoch)):
                return
            self._last_epoch = trainer.current_epoch
            self._quieten(trainer)
            self._stand_in_for([name for name in awaited if name not in self.values])
            values = {**self._stand_ins, **self.values}
            # Of batch size 1, because Lightning refuses to guess one in some trainings.
            options = {"on_step": False, "on_epoch": True, "sync_dist": False, "batch_size": 1, "logger": False}
            for key, value in values.items():
                pl_module.log(key, value, prog_bar=False, **options)
            self._send(trainer, {**values, "epoch": trainer.current_epoch}, in_train_hook=in_train_hook)

    def _send(self, trainer: facts.Trainer, row: dict[str, float], *, in_train_hook: bool) -> None:
        """A row of our own to each logger: one that raises for what Lightning hands it ends the training.

        In all processes, as Lightning does: a logger may ask the others.
        """
        step = facts.logger_step(trainer, in_train_hook=in_train_hook)
        for logger in trainer.loggers:
            doing = f"logging metrics to {type(logger).__name__}"
            with self._messages.harmless(doing), preserved_rng(), room_kept(logger):
                # To the precision of torch's numbers: what monitors compare is what loggers show.
                logger.log_metrics(metrics={key: torch.tensor(value).item() for key, value in row.items()}, step=step)
                logger.save()

    def _awaited(self, trainer: facts.Trainer) -> list[str]:
        """Metrics of ours that a monitor waits for. A name that is none of ours is not stood in for but said."""
        ours = sorted(name for name in facts.monitored_names(trainer) if name.startswith(f"{self._name}/"))
        for name in ours:
            if name not in self._known and name not in trainer.callback_metrics:
                closest = self._known.closest(name)
                self._messages.warn_once(
                    f"camdebug has no metric {name}, but a monitor waits for it."
                    + (f" Did you mean {closest}?" if closest else "")
                    + " Unless you log it yourself, Lightning will miss it."
                )
        return [name for name in ours if name in self._known]

    def _quieten(self, trainer: facts.Trainer) -> None:
        """Lightning recommends ``sync_dist`` for every metric: ours are alike in all processes without it."""
        if trainer.world_size > 1 and not self._quiet:
            self._quiet = True
            warnings.filterwarnings("ignore", rf"It is recommended to use `self\.log\('{re.escape(self._name)}/")

    def _stand_in_for(self, lacking: list[str]) -> None:
        self._stand_ins = {key: chance_level(key, chance_outside_mass=self._chance) for key in lacking}
        reasons = {key: self._known.why_never(key) for key in lacking}
        for key, why in reasons.items():
            if why is not None:
                self._messages.warn_once(
                    f"camdebug: {key} will have no value in this run, although a monitor waits for it: {why}. It stays "
                    f"at its chance level {self._stand_ins[key]:.3g}, so that monitor cannot tell epochs apart."
                )
        waiting = {key: self._stand_ins[key] for key, why in reasons.items() if why is None}
        if waiting:
            self._messages.warn_once(
                f"camdebug has no value for {', '.join(waiting)} but a monitor waits for it; it gets the chance level "
                f"{list(waiting.values())} instead, so that the monitor does not end the training."
            )
