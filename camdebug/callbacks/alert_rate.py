"""How many alerts people get: neither a flapping class nor a bad look may flood them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from camdebug.records import Level
from camdebug.records.state import as_count
from camdebug.verdict.alerts import Alert

MOST_NAMED = 5
"""So many alerts a look are sent one by one; what is left goes into one more."""

REPEATS = 3
"""So many alerts each class gets for changes that do not take it higher than ever before."""

_LAST_REPEAT = " From now on this class alerts only when it gets worse than ever; the verdict panel shows every change."
_NAMES = 50


@dataclass
class _Told:
    """What people were told of one class (primitives only: it travels in the user's checkpoint)."""

    highest: str = Level.NO_EVIDENCE.value
    repeats: int = 0


class AlertRate:
    """Chooses the alerts that are sent.

    * A level that is higher than all that a class was alerted for before always alerts.
    * Of other changes, clearing or coming back, each class alerts for three in the whole run. The third says so.
    * Of more than six alerts in a look the five of the highest levels are sent, and one that counts and names the rest.

    Args:
        name: first part of titles and tags.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self._told: dict[int, _Told] = {}

    def limited(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Those of a look's alerts that are sent, the highest level first. They count as sent from here on."""
        chosen = [alert for alert in map(self._admitted, alerts) if alert is not None]
        chosen.sort(key=lambda alert: -alert.level.rank)
        if len(chosen) <= MOST_NAMED + 1:  # a summary of one alert would save none
            return chosen
        return [*chosen[:MOST_NAMED], _summary(chosen[MOST_NAMED:], self._name)]

    def state_dict(self) -> dict[str, Any]:
        """Primitives only."""
        return {"told": {k: asdict(told) for k, told in self._told.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when the state cannot be read; nothing has changed then.
        """
        try:
            told = {int(k): _Told(Level(v["highest"]).value, as_count(v["repeats"])) for k, v in state["told"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"alerts: what the checkpoint says of them cannot be read ({error!r})") from error
        self._told = told

    def _admitted(self, alert: Alert) -> Alert | None:
        """The alert as it is sent, or ``None``. The two classes of a pair count as one: they change together."""
        told = [self._told.setdefault(k, _Told()) for k in alert.classes]
        if any(alert.level.rank > Level(one.highest).rank for one in told):
            for one in told:
                one.highest = max(Level(one.highest), alert.level, key=lambda level: level.rank).value
            return alert
        repeats = max(one.repeats for one in told) + 1
        for one in told:
            one.repeats = repeats
        if repeats > REPEATS:
            return None
        return replace(alert, text=alert.text + _LAST_REPEAT) if repeats == REPEATS else alert


def _summary(alerts: Sequence[Alert], name: str) -> Alert:
    """One alert for many."""
    each = [f"`{who}` {alert.level.value}" for alert in alerts for who in alert.class_names]
    more = f" and {len(each) - _NAMES} more" if len(each) > _NAMES else ""
    found = f"{len(each)} more classes changed"
    return Alert(
        title=f"{name}: {found}"[:63],
        text=f"{name} · epoch {alerts[0].epoch} · {found}: {', '.join(each[:_NAMES])}{more}. See {name}/verdict.",
        level=max((alert.level for alert in alerts), key=lambda level: level.rank),
        classes=tuple(k for alert in alerts for k in alert.classes),
        class_names=tuple(who for alert in alerts for who in alert.class_names),
        epoch=alerts[0].epoch,
        step=alerts[0].step,
    )
