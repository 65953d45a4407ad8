"""One class at one look: which level it gets, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from camdebug.probe.checks import LEAST_PROBES
from camdebug.records import BackgroundContrast, BackgroundSwap, ClassScores, ClassVerdict, Level, PlaceLock, Severity
from camdebug.verdict import words
from camdebug.verdict.confirm import confirm
from camdebug.verdict.memory import Memory
from camdebug.verdict.plan import PATIENCE, next_in
from camdebug.verdict.score import reliance
from camdebug.verdict.screen import screen

_PLACE_CLEARED = 0.05


@dataclass(frozen=True)
class Look:
    """What holds for all classes at one look.

    Attributes:
        epoch: of the training.
        looks_left: planned looks of the screen, this one included; ``None`` when unknown.
        learned: for each class with probes, whether it has been learned.
        unlearned: names of the classes that could be judged but have not been learned.
        measured: looks since the plan of swaps has started, this one included; 0 before.
        decides: the swap may confirm at this look.
        called: it decides out of turn, because the screen asked for it.
        once: there is no other look, so no sentence names its epoch.
    """

    epoch: int
    looks_left: int | None
    learned: Mapping[int, bool]
    unlearned: tuple[str, ...]
    measured: int
    decides: bool
    called: bool = False
    once: bool = False

    @property
    def plan_started(self) -> bool:
        """All classes have been learned, or were waited for long enough."""
        return self.measured > 0


@dataclass
class Case:
    """One class at one look.

    Attributes:
        memory: of the class, changed by :meth:`verdict`.
        scores: of the class.
        contrast: of the class or its pair; ``None`` when it was not tested.
        swap: the same.
        place: where its heat stays most, ``None`` when it was not tested.
        look: the look.
        screening: p-value at which the contrast counts.
        confirming: the same of the swap.
        placing: the same of the place.
        waited: looks for which the plan has waited for classes to be learned.
    """

    memory: Memory
    scores: ClassScores
    contrast: BackgroundContrast | None
    swap: BackgroundSwap | None
    place: PlaceLock | None
    look: Look
    screening: float
    confirming: float
    placing: float
    waited: int

    def verdict(self) -> ClassVerdict:
        """The verdict after this look."""
        before, on_place_before = Level(self.memory.level), self._rests_on_place(Level(self.memory.level))
        level, reason, measured = self._level()
        level, reason = self._with_place(level, reason)
        epoch, contrast, swap = self.look.epoch, *((self.contrast, self.swap) if measured else (None, None))
        self.memory.enter(level, epoch=epoch)
        evidence = self.memory.evidence(contrast.value if contrast else None, epoch=epoch)
        gap = self.memory.gap(swap.gap if swap else None, epoch=epoch, decides=self.look.decides)
        verdict = ClassVerdict(
            class_idx=self.scores.class_idx,
            name=self.scores.name,
            level=level,
            reason=reason,
            since_epoch=self.memory.since_epoch,
            first_epoch=self.memory.first_epoch,
            severity=Severity.of(self.memory.decided_gap or 0.0) if level is Level.CONFIRMED else None,
            background_evidence=evidence,
            swap_gap=gap,
            reliance=reliance(contrast, swap),
            locked_place=self.memory.place is not None,
            place_only=self._rests_on_place(level) if level.is_alert else on_place_before,
            changed_from=before if before is not level else None,
        )
        if contrast is None:
            return verdict
        worst = tuple(contrast.worst)
        return replace(verdict, p_value=contrast.p_value, budget=self.screening, worst_probes=worst)

    def _level(self) -> tuple[Level, str, bool]:
        """The level, the sentence that says why, and whether this look has measured anything."""
        if self.contrast is None:
            return Level.NOT_MEASURABLE, words.not_tested(self.scores, LEAST_PROBES, once=self.look.once), False
        before = Level(self.memory.level)
        raised = before if before.is_alert else None
        usable = self.contrast.counts[self.contrast.classes.index(self.scores.class_idx)]
        kept = f" {words.KEPT}" if raised else ""
        if usable < LEAST_PROBES:
            self.memory.streak = 0
            return raised or Level.NOT_MEASURABLE, words.not_finite(self.scores, usable) + kept, False
        if not self.look.learned.get(self.scores.class_idx, False):
            self.memory.streak = 0
            return raised or Level.NOT_LEARNED, words.not_learned(self.scores, len(self.look.learned)) + kept, True
        return (*self._judged(self.contrast, raised), True)

    def _judged(self, contrast: BackgroundContrast, raised: Level | None) -> tuple[Level, str]:
        level = screen(self.memory, contrast, threshold=self.screening, plan_started=self.look.plan_started)
        if confirm(self.memory, self.swap, threshold=self.confirming):
            level = Level.CONFIRMED
        sentences = [words.tested(contrast, self.screening)]
        if self.swap is not None:
            sentences.insert(level is not Level.CONFIRMED, words.swapped(self.swap, self.confirming))
        if level is Level.CONFIRMED and not self.look.decides:
            sentences.insert(0, words.confirmed_before(self.memory.decided_gap, epoch=self.memory.since_epoch))
        if level is Level.SUSPECT and self.memory.streak > 1:
            sentences.append(f"So it was in {self.memory.streak} looks running.")
        if level.is_alert and level is not Level.CONFIRMED:
            sentences += self._when_decided()
        if level is raised and not self._raised_now(level):
            sentences.append(words.KEPT)
        return level, " ".join(sentences)

    def _when_decided(self) -> list[str]:
        """When a swap decides what the screen has raised, if one does."""
        if not self.look.plan_started:
            return [words.waiting(self.look.unlearned, PATIENCE - self.waited + 1)]
        following = next_in(self.look.measured, looks_left=self.look.looks_left)
        return [] if following is None else [words.undecided(following)]

    def _with_place(self, level: Level, reason: str) -> tuple[Level, str]:
        """At least *watch* while heat is locked at a place; a planned look locks it and clears it."""
        learned = self.look.learned.get(self.scores.class_idx, False)
        if self.place is not None and self.look.decides and learned:
            kept = self.memory.place is not None and self.place.p_value <= _PLACE_CLEARED
            locked, before = self.place.p_value <= self.placing or kept, self.memory.place
            epoch = None if self.look.once else self.look.epoch
            self.memory.place = words.placed(self.place, self.placing, epoch=epoch) if locked else None
            reason += f" {words.UNLOCKED}" * (before is not None and not locked)
        if self.memory.place is None:
            return level, reason
        return (level if level.is_alert else Level.WATCH), f"{reason} {self.memory.place}"

    def _rests_on_place(self, level: Level) -> bool:
        """The level is an alert for heat at a fixed place alone."""
        memory = self.memory
        return level.is_alert and memory.place is not None and not (memory.confirmed or Level(memory.screened).is_alert)

    def _raised_now(self, level: Level) -> bool:
        """Whether this look alone would have raised the level."""
        return self.memory.quiet_swaps == 0 if level is Level.CONFIRMED else self.memory.streak > 0
