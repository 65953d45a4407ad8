"""What may be said about a class, and about the run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """What may be said about a class, mildest first. There is no level "clean": see the README's limits."""

    NOT_MEASURABLE = "not measurable"
    NOT_LEARNED = "not learned yet"
    NO_EVIDENCE = "no evidence"
    WATCH = "watch"
    SUSPECT = "suspect"
    CONFIRMED = "confirmed"

    @property
    def is_alert(self) -> bool:
        """People are told when a class enters or leaves this level."""
        return self in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED)

    @property
    def rank(self) -> int:
        """Place among the levels, 0 for the mildest."""
        return list(Level).index(self)


class Severity(Enum):
    """How much a confirmed class loses with its backgrounds: below .20, .20 to .40, above .40 of probability."""

    MODERATE = "moderate"
    STRONG = "strong"
    SEVERE = "severe"

    @staticmethod
    def of(gap: float) -> Severity:
        """Severity of a swap gap.

        >>> [Severity.of(gap).value for gap in (0.1, 0.2, 0.4)]
        ['moderate', 'strong', 'severe']
        """
        return Severity.SEVERE if gap >= 0.4 else Severity.STRONG if gap >= 0.2 else Severity.MODERATE


@dataclass(frozen=True)
class Extent:
    """A quantity of a class over the run: what it is at this look, and the most it has been.

    ``present`` and ``peak`` are ``None`` before the first measurement; ``present`` also at looks without one.
    """

    present: float | None = None
    peak: float | None = None
    peak_epoch: int | None = None

    def after(self, value: float | None, *, epoch: int) -> Extent:
        """With one more measurement, or with none at this look."""
        if value is None or (self.peak is not None and value <= self.peak):
            return Extent(value, self.peak, self.peak_epoch)
        return Extent(value, value, epoch)


@dataclass(frozen=True)
class ClassVerdict:
    """The level of one class after a look, with the sentence that says why.

    Attributes:
        class_idx: index of the class.
        name: of the class.
        level: after this look.
        reason: a sentence.
        since_epoch: at which the present level began.
        first_epoch: of the first alert (*watch* or more) for this class, ``None`` when there was none.
        severity: of a confirmed class.
        background_evidence: contrast of background evidence, logits, chance 0.
        swap_gap: fall in probability when the background is swapped, chance 0.
        p_value: of the contrast of background evidence, ``None`` when it was not tested.
        budget: share of the error rate that this test may spend, ``None`` when it was not tested.
        reliance: how strongly this look speaks for reliance on the background, to rank by; chance 0, ``None`` when it
            was not tested. See :func:`camdebug.verdict.score.reliance`.
        locked_place: its heat was locked at a place of the picture when that was last tested.
        place_only: the alert, or the one that was cleared now, rests on that place alone, not on backgrounds.
        worst_probes: indices of the probes that depend most on their background.
        changed_from: the level before, when it has changed at this look.
    """

    class_idx: int
    name: str
    level: Level
    reason: str
    since_epoch: int
    first_epoch: int | None = None
    severity: Severity | None = None
    background_evidence: Extent = Extent()
    swap_gap: Extent = Extent()
    p_value: float | None = None
    budget: float | None = None
    reliance: float | None = None
    locked_place: bool = False
    place_only: bool = False
    worst_probes: tuple[int, ...] = ()
    changed_from: Level | None = None


@dataclass(frozen=True)
class RunVerdict:
    """The verdict for the run: the highest level of any class, and the sentence that says so.

    ``classes`` are the indices of the classes at that level. ``first_epoch`` is the epoch of the run's first alert.
    """

    level: Level
    reason: str
    classes: tuple[int, ...]
    first_epoch: int | None = None
