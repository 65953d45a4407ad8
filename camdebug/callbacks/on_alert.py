"""The user's own callable for alerts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from camdebug.verdict.alerts import Alert
from camdebug.wording import told


class OnAlert:
    """Calls the user's callable, if there is one.

    A lambda or a local function cannot be pickled, so it cannot follow the monitor into processes that are spawned
    (``ddp_spawn``). It then stays behind, rather than making the training impossible. ``copy.deepcopy`` keeps it.

    Args:
        call: the callable, or ``None``.
        lost: why there is none, when there was one.
    """

    def __init__(self, call: Callable[[Alert], object] | None, *, lost: str | None = None) -> None:
        self._call = call
        self.lost = lost

    def __call__(self, alert: Alert) -> None:
        """Hand the alert on.

        Raises:
            Exception: whatever the callable raises.
        """
        if self._call is not None:
            self._call(alert)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnAlert:
        """The same: a callable may hold locks, files, or the training itself."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self._call)
        except Exception as error:
            return _without, (told(error),)
        return OnAlert, (self._call,)


def _without(why: str) -> OnAlert:
    return OnAlert(None, lost=why)
