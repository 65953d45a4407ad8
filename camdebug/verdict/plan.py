"""When the swap is decided upon: few planned looks, early ones close together, so that each may spend more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camdebug.records.state import as_count

_FIRST = (0, 1, 2, 3, 5, 8, 12, 17, 23, 30, 40, 52, 66, 82, 100)
_THEN_EVERY = 25
CALLS = 3
"""So many unplanned looks a run may be called for by the screen."""

PATIENCE = 8
"""So many looks after a first class is learned the plan starts, whichever classes still are not."""


def is_planned(measured: int) -> bool:
    """Whether the look that is ``measured`` looks after the one at which the plan started is planned.

    >>> [n for n in range(60) if is_planned(n)]
    [0, 1, 2, 3, 5, 8, 12, 17, 23, 30, 40, 52]
    """
    return measured in _FIRST or (measured > _FIRST[-1] and (measured - _FIRST[-1]) % _THEN_EVERY == 0)


def decides(measured: int, *, looks_left: int | None) -> bool:
    """Whether this look, number ``measured`` of the plan, is planned: on schedule, or the last of the run."""
    return measured > 0 and (is_planned(measured - 1) or looks_left == 1)


def next_in(measured: int, *, looks_left: int | None) -> int | None:
    """In how many looks after this one, number ``measured`` of the plan, the next planned one comes; ``None``: in none.

    >>> next_in(1, looks_left=None), next_in(5, looks_left=None), next_in(5, looks_left=2), next_in(5, looks_left=1)
    (1, 1, 1, None)
    >>> next_in(7, looks_left=None), next_in(7, looks_left=2)
    (2, 1)
    """
    if not measured or looks_left == 1:
        return None
    following = next(n for n in range(1, _THEN_EVERY + 1) if is_planned(measured - 1 + n))
    return following if looks_left is None else min(following, looks_left - 1)


@dataclass
class LookPlan:
    """Counts looks from the first one at which all classes are learned, or ``PATIENCE`` after one is. Primitives only.

    Attributes:
        measured: looks since then, that one included; 0 before.
        calls: unplanned looks that are still left.
        waited: looks with a class learned, before the plan has started.
    """

    measured: int = 0
    calls: int = CALLS
    waited: int = 0

    @classmethod
    def of_one_look(cls) -> LookPlan:
        """There will be one look and it decides: nothing is waited for, nothing of the budget is kept for later."""
        return cls(calls=0, waited=PATIENCE)

    def count(self, *, everything_learned: bool) -> int:
        """``measured`` with the look that begins. Once the plan has started it goes on, whatever is unlearned later."""
        return self.measured + 1 if self.measured or everything_learned or self.waited >= PATIENCE else 0

    def left(self, measured: int, *, looks_left: int | None) -> int | None:
        """Looks that may still decide, this one and calls included; ``None`` when the end is unknown."""
        if looks_left is None:
            return None
        first = max(measured, 1) - 1
        last = first + looks_left - 1
        return sum(is_planned(n) or n == last for n in range(first, last + 1)) + self.calls

    def book(self, measured: int, *, called: bool, something_learned: bool) -> None:
        """A look is over."""
        self.measured, self.calls = measured, self.calls - called
        self.waited += something_learned and not measured

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on with ``asdict`` of another plan.

        Raises:
            ValueError: when it is not one.
        """
        measured, calls, waited = (as_count(state.get(name)) for name in ("measured", "calls", "waited"))
        if calls > CALLS:
            raise ValueError(f"verdicts: expected {CALLS} calls at most, got {calls}")
        self.measured, self.calls, self.waited = measured, calls, waited
