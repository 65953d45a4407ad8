"""What is remembered of a class from look to look."""

from __future__ import annotations

from dataclasses import dataclass

from camdebug.records import Extent, Level


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
