"""What is remembered of a class from look to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from camdebug.records import Extent, Level
from camdebug.records.state import as_count, as_flag, as_number


@dataclass
class Memory:
    """Primitives only: it travels in the user's checkpoint.

    Attributes:
        level: value of the present ``Level``.
        since_epoch: at which it began.
        first_epoch: of the first alert.
        screened: value of the level that the contrast alone gives.
        streak: looks running with a contrast above chance.
        quiet: looks running with one far below the threshold.
        confirmed: whether the swap has confirmed it, and it is not cleared.
        quiet_swaps: looks running with a swap gap far below the least one that counts.
        place: the sentence on the place where its heat is locked, ``None`` when it is not.
        evidence_peak: largest background evidence so far.
        evidence_peak_epoch: its epoch.
        gap_peak: largest swap gap so far at a planned look; the others are too noisy for a maximum.
        gap_peak_epoch: its epoch.
        decided_gap: swap gap at the last planned look.
    """

    level: str = Level.NOT_LEARNED.value
    since_epoch: int = 0
    first_epoch: int | None = None
    screened: str = Level.NOT_LEARNED.value
    streak: int = 0
    quiet: int = 0
    confirmed: bool = False
    quiet_swaps: int = 0
    place: str | None = None
    evidence_peak: float | None = None
    evidence_peak_epoch: int | None = None
    gap_peak: float | None = None
    gap_peak_epoch: int | None = None
    decided_gap: float | None = None

    def enter(self, level: Level, *, epoch: int) -> None:
        """The level after a look."""
        if level.value != self.level:
            self.level, self.since_epoch = level.value, epoch
        if level.is_alert and self.first_epoch is None:
            self.first_epoch = epoch

    def evidence(self, value: float | None, *, epoch: int) -> Extent:
        """Remember the background evidence of a look, ``None`` without any."""
        extent = Extent(None, self.evidence_peak, self.evidence_peak_epoch).after(value, epoch=epoch)
        self.evidence_peak, self.evidence_peak_epoch = extent.peak, extent.peak_epoch
        return extent

    def gap(self, value: float | None, *, epoch: int, decides: bool) -> Extent:
        """Remember the swap gap of a look, ``None`` without any."""
        seen = Extent(value, self.gap_peak, self.gap_peak_epoch)
        if value is None or not decides:
            return seen
        extent = seen.after(value, epoch=epoch)
        self.gap_peak, self.gap_peak_epoch, self.decided_gap = extent.peak, extent.peak_epoch, value
        return extent


def read_memory(state: Mapping[str, Any]) -> Memory:
    """The memory whose ``asdict`` this is.

    Raises:
        TypeError, ValueError: when it is none.
    """
    unknown = set(state) - set(_READ)
    if unknown:
        raise ValueError(f"verdicts: expected the memory of a class, got {sorted(map(str, unknown))[:5]}")
    return Memory(**{name: _READ[name](value) for name, value in state.items()})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"state: expected text, got {value!r:.40}")  # noqa: TRY004 - a damaged file
    return value


def _level(value: object) -> str:
    return Level(value).value


def _maybe(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "level": _level,
    "since_epoch": as_count,
    "first_epoch": _maybe(as_count),
    "screened": _level,
    "streak": as_count,
    "quiet": as_count,
    "confirmed": as_flag,
    "quiet_swaps": as_count,
    "place": _maybe(_text),
    "evidence_peak": _maybe(as_number),
    "evidence_peak_epoch": _maybe(as_count),
    "gap_peak": _maybe(as_number),
    "gap_peak_epoch": _maybe(as_count),
    "decided_gap": _maybe(as_number),
}
"""How each field is read: a wrong type would fail at every later look."""
