"""What may be said about a class."""

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

    @property
    def is_alert(self) -> bool:
        """People are told when a class enters or leaves this level."""
        return self in (Level.WATCH, Level.SUSPECT)


@dataclass(frozen=True)
class ClassVerdict:
    """The level of one class after a look, with the sentence that says why.

    ``background_evidence`` (logits, chance 0), ``p_value`` and ``budget`` (the share of the error rate that this look
    may spend) are ``None`` when the class was not tested. ``since_epoch`` is the epoch at which the present level
    began; ``peak`` is the largest background evidence so far, at ``peak_epoch``.
    """

    class_idx: int
    name: str
    level: Level
    reason: str
    since_epoch: int
    background_evidence: float | None = None
    p_value: float | None = None
    budget: float | None = None
    peak: float | None = None
    peak_epoch: int | None = None
    worst_probes: tuple[int, ...] = ()
    changed_from: Level | None = None
