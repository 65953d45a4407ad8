"""What people are told of a look: pictures and texts in dashboards, alerts as warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from camdebug import __version__
from camdebug.callbacks.messages import Messenger, ShortcutWarning
from camdebug.cam.layers import TargetLayer
from camdebug.dashboard import Dashboard, cue_map_tag
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord
from camdebug.render.choice import choose_logged
from camdebug.rng import preserved_rng
from camdebug.sinks import sinks_for, unique_slugs
from camdebug.verdict.alerts import Alert, alerts_of
from camdebug.verdict.words import run_report


class Reporter:
    """Reports looks on rank zero. Nothing here raises: what fails is reported once, and the rest goes on.

    Args:
        probes: the probe set.
        log_probes: so many probes are drawn.
        name: first part of dashboard tags.
        messages: says what went wrong.

    Attributes:
        logged: indices of the probes that are drawn.
        slugs: for each class the part of metric names and tags that stands for it.
    """

    def __init__(self, probes: ProbeSet, *, log_probes: int, name: str, messages: Messenger) -> None:
        self.logged = choose_logged(probes, limit=log_probes)
        self.slugs = dict(enumerate(unique_slugs(probes.class_names)))
        self._probes, self._name, self._messages = probes, name, messages
        self._dashboard: Dashboard | None = None
        self._state: dict[str, Any] | None = None
        self._step = 0

    def open(self, loggers: Iterable[Any], *, method: str, layer: TargetLayer, weights: str) -> None:
        """Open dashboards on these loggers, going on with the film strips of a loaded state.

        Args:
            loggers: of the Trainer.
            method: CAM method.
            layer: that is explained.
            weights: which ones looks see, ``"current"`` or ``"averaged"``.
        """
        self._state, self._dashboard = self.state_dict(), None
        if not self._messages.active:
            return
        with self._messages.harmless("opening the dashboards"), preserved_rng():
            sinks = sinks_for(loggers, prefix=self._name)
            self._dashboard = Dashboard(self._probes, self.logged, sinks, prefix=self._name)
        self._restore()
        if self._dashboard is not None:
            with self._messages.harmless("logging facts"), preserved_rng():
                self._dashboard.facts(self._facts(method, layer, weights))
            self._tell_problems()

    def publish(self, record: EpochRecord, *, step: int) -> None:
        """Log a look and raise its alerts."""
        if not self._messages.active:
            return
        self._step = step
        if self._dashboard is not None:
            with self._messages.harmless("logging a look"), preserved_rng():
                text = run_report(record.verdicts, record.classes, epoch=record.epoch)
                self._dashboard.publish(record, step=step, verdict_text=text)
        with self._messages.harmless("alerting"), preserved_rng():
            slugs = tuple(self.slugs.values())
            for alert in alerts_of(record, lambda contrast: cue_map_tag(contrast, self._name, slugs)):
                self._alert(alert, step)
        self._tell_problems()

    def finish(self) -> None:
        """Bring the film strips up to date, at the step of the last look."""
        if self._dashboard is not None:
            with self._messages.harmless("logging the last film strips"), preserved_rng():
                self._dashboard.finish(step=self._step)
            self._tell_problems()

    def forget(self) -> None:
        """A new run begins."""
        self._dashboard = self._state = None

    def state_dict(self) -> dict[str, Any] | None:
        """What film strips need after a resume; ``None`` when there is nothing yet."""
        if self._dashboard is not None:
            with self._messages.harmless("saving film strips"):
                return self._dashboard.state_dict()
        return self._state

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on with these film strips, now or when the dashboards open."""
        self._state = state
        self._restore()

    def _facts(self, method: str, layer: TargetLayer, weights: str) -> dict[str, str | int | float]:
        return {
            "version": __version__,
            "method": method,
            "target_layer": layer.name,
            "target_layer_reason": layer.reason,
            "weights": weights,
            "probes": len(self._probes),
            "probe_fingerprint": self._probes.fingerprint,
        }

    def _restore(self) -> None:
        if self._dashboard is not None and self._state is not None:
            with self._messages.harmless("going on with the film strips of the checkpoint"):
                self._dashboard.load_state_dict(self._state)

    def _alert(self, alert: Alert, step: int) -> None:
        self._messages.warn(alert.text, ShortcutWarning)
        if self._dashboard is not None:
            with self._messages.harmless("alerting in the dashboards"):
                self._dashboard.alert(alert.title, alert.text, step=step)

    def _tell_problems(self) -> None:
        for problem in self._dashboard.problems if self._dashboard is not None else ():
            self._messages.warn_once(f"camdebug: {problem}.")

    def __getstate__(self) -> dict[str, Any]:
        """Without open loggers."""
        return {**vars(self), "_dashboard": None, "_state": self.state_dict()}
