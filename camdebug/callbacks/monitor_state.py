"""What a monitor remembers, and what of it travels in the user's checkpoints."""

from __future__ import annotations

from typing import Any

from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.looker import Looker, peers_of
from camdebug.callbacks.messages import Messenger
from camdebug.callbacks.metric_log import MetricLog
from camdebug.callbacks.record_keeper import RecordKeeper
from camdebug.callbacks.reporter import Reporter
from camdebug.callbacks.schedule import Schedule
from camdebug.callbacks.stopper import Stopper
from camdebug.observe import Observer
from camdebug.observe.other_probes import other_probes
from camdebug.records import EpochRecord
from camdebug.records.state import as_count, as_run_id
from camdebug.wording import told

OTHER_PROBES = ("refuse", "restart")

_VERSION = 1
_MEND = (
    "looks at different probes cannot be compared. Pass the same probes (ProbeSet.save keeps them), or "
    'CAMMonitor(..., other_probes="restart") to begin a new series'
)


class MonitorState:
    """The memory of a monitor: forgotten when a run begins, saved in checkpoints, loaded from them.

    What is saved are primitives and tensors only, or the user's checkpoint could not be loaded with
    ``weights_only=True``.
    """

    name: str
    last_record: EpochRecord | None
    _fitting: bool
    _other_probes: str
    _refusal: str | None
    _messages: Messenger
    _observer: Observer
    _looker: Looker
    _schedule: Schedule
    _metrics: MetricLog
    _reporter: Reporter
    _keeper: RecordKeeper
    _stopper: Stopper

    def _forget(self) -> None:
        """A new run begins."""
        self.last_record = None
        self._opening = ""
        self._refusal = None
        self._schedule.forget()
        self._messages.forget()
        self._observer.forget()
        self._looker.forget()
        self._metrics.forget()
        self._reporter.forget()
        self._keeper.forget()
        self._stopper.forget()

    def state_dict(self) -> dict[str, Any]:
        """Verdicts, film frames and last metrics."""
        with self._messages.harmless("saving its state"):
            return {
                "version": _VERSION,
                "last_epoch": self._schedule.last_epoch,
                "metrics": dict(self._metrics.values),
                "observer": self._observer.state_dict(),
                "dashboard": self._reporter.state_dict(),
                "alerts": self._reporter.rate.state_dict(),
                "run_id": self._keeper.run_id,
            }
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stopped; one that cannot be used is reported and left aside.

        One of other probes is refused before the first step, by all processes together, unless a new series is asked
        for.

        Only in a fit: Lightning loads callbacks for ``validate`` and ``test`` as well, which is no reason to go back.
        """
        if not self._fitting:
            return
        try:
            if state_dict["version"] != _VERSION:
                raise ValueError(f"version: expected {_VERSION}, got {state_dict['version']!r}")
            other = other_probes(state_dict["observer"], self._observer.probes)
            if other is not None:
                self._begin_anew(other)
                return
            last_epoch = as_count(state_dict["last_epoch"], least=-1)
            run_id = as_run_id(state_dict.get("run_id"))
            self._metrics.restore(state_dict["metrics"])
            self._observer.load_state_dict(state_dict["observer"])
        except Exception as error:
            self._forget()
            self._messages.warn_once(f"camdebug starts afresh, its state in the checkpoint is unusable: {told(error)}.")
            return
        self._schedule.last_epoch = last_epoch
        self._keeper.run_id = run_id or self._keeper.run_id
        self._reporter.load_state_dict(state_dict.get("dashboard"), state_dict.get("alerts"))

    def _begin_anew(self, other: str) -> None:
        self._forget()
        if self._other_probes == "restart":
            self._messages.warn_once(f"camdebug begins a new series: {other}.")
        else:
            self._refusal = f"probes: {other}; {_MEND}"

    def _refuse_other_probes(self, trainer: facts.Trainer) -> None:
        """End the fit when the state is of other probes in any process: whoever went on alone would wait for it.

        Called wherever a checkpoint may have been loaded just before, which is not the same place in all strategies.

        Raises:
            ValueError: it is.
        """
        why, self._refusal = self._refusal, None
        with self._messages.harmless("starting"):
            why = next(filter(None, peers_of(trainer).exchange(why)), None)
        if why is not None:
            raise ValueError(why)

    def __getstate__(self) -> dict[str, Any]:
        """Without what Lightning hangs on callbacks."""
        return {k: v for k, v in vars(self).items() if k not in ("log", "log_dict")}
