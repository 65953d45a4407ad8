"""What people are told of a look: pictures and texts in dashboards, alerts as warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from camdebug import __version__
from camdebug.callbacks.alert_rate import AlertRate
from camdebug.callbacks.messages import Messenger, ShortcutWarning
from camdebug.callbacks.on_alert import OnAlert
from camdebug.cam.target.layers import TargetLayer
from camdebug.dashboard import Dashboard, cue_map_tag, place_tag
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord
from camdebug.render.choice import choose_logged
from camdebug.rng import preserved_rng
from camdebug.sinks import sinks_for, unique_slugs
from camdebug.steadiness.words import information
from camdebug.verdict.alerts import Alert, alerts_of
from camdebug.verdict.words import run_report
from camdebug.wording import shown_name


class Reporter:
    """Reports looks on rank zero. Nothing here raises: what fails is reported once, and the rest goes on.

    Args:
        probes: the probe set.
        log_probes: so many probes are drawn.
        name: first part of dashboard tags and alert titles.
        messages: says what went wrong.
        on_alert: the user's callable for alerts.

    Attributes:
        logged: indices of the probes that are drawn.
        slugs: for each class the part of metric names and tags that stands for it.
        rate: limits the alerts.
    """

    def __init__(
        self,
        probes: ProbeSet,
        *,
        log_probes: int,
        name: str,
        messages: Messenger,
        on_alert: Callable[[Alert], object] | None = None,
    ) -> None:
        self.rate, self._on_alert = AlertRate(name), OnAlert(on_alert)
        self.logged = choose_logged(probes, limit=log_probes)
        self.slugs = dict(enumerate(unique_slugs(probes.class_names)))
        self._names = [shown_name(name) for name in probes.class_names]
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
        if self._on_alert.lost is not None:
            self._messages.warn_once(
                f"camdebug cannot call on_alert in this process: it could not be pickled ({self._on_alert.lost}). Pass "
                "a function from the top of a module. All other alerts are given."
            )
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
                self._dashboard.publish(record, step=step, verdict_text=self._verdict_text(record))
        with self._messages.harmless("alerting"), preserved_rng():
            cue, place = (
                partial(tag, prefix=self._name, slugs=tuple(self.slugs.values())) for tag in (cue_map_tag, place_tag)
            )
            for alert in self.rate.limited(alerts_of(record, cue, place, name=self._name, step=step)):
                self._alert(alert)
        self._tell_problems()

    def _verdict_text(self, record: EpochRecord) -> str:
        split, leads = record.right_against_wrong, record.wrong_reasons
        beside = information(record.steadiness, split, leads, self._names)
        return run_report(record.verdict, record.verdicts, record.classes, epoch=record.epoch, information=beside)

    def finish(self) -> None:
        """Bring the film strips up to date, at the step of the last look."""
        if self._dashboard is not None:
            with self._messages.harmless("logging the last film strips"), preserved_rng():
                self._dashboard.finish(step=self._step)
            self._tell_problems()

    def forget(self) -> None:
        """A new run begins."""
        self._dashboard = self._state = None
        self.rate.forget()

    def state_dict(self) -> dict[str, Any] | None:
        """What film strips need after a resume; ``None`` when there is nothing yet."""
        if self._dashboard is not None:
            with self._messages.harmless("saving film strips"):
                return self._dashboard.state_dict()
        return self._state

    def load_state_dict(self, state: dict[str, Any] | None, alerts: dict[str, Any] | None) -> None:
        """Go on with these film strips, now or when the dashboards open, and with these counts of alerts."""
        self._state = state
        self._restore()
        if alerts is not None:
            with self._messages.harmless("going on with the alerts of the checkpoint"):
                self.rate.load_state_dict(alerts)

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

    def _alert(self, alert: Alert) -> None:
        self._messages.warn(alert.text, ShortcutWarning)
        if self._dashboard is not None:
            with self._messages.harmless("alerting in the dashboards"):
                self._dashboard.alert(alert.title, alert.text, step=alert.step)
        with self._messages.harmless("calling on_alert"):
            self._on_alert(alert)

    def _tell_problems(self) -> None:
        if self._dashboard is not None:
            for failure in self._dashboard.problems:
                self._messages.given_up(failure)
            self._dashboard.problems.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Without open loggers."""
        return {**vars(self), "_dashboard": None, "_state": self.state_dict()}
