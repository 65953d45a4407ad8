"""The rules put together: from a look's numbers to the level of every class, with a memory over looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from camdebug.records import BackgroundContrast, BackgroundSwap, ClassScores, ClassVerdict, Level, PlaceLock, Severity
from camdebug.verdict import words
from camdebug.verdict.budget import ErrorBudget
from camdebug.verdict.confirm import confirm
from camdebug.verdict.memory import Memory
from camdebug.verdict.plan import LookPlan, decides, next_in
from camdebug.verdict.screen import screen

MIN_PROBES = 20
"""Fewer usable probes in a class: nothing is said about it."""

CONFIRM_SHARE, PLACE_SHARE = 0.2, 0.2
"""Parts of the error budget for confirmation and for heat at a fixed place; the contrast has the rest."""

_PLACE_CLEARED = 0.05

_VERSION = 2


@dataclass(frozen=True)
class Look:
    """What holds for all classes at one look.

    Attributes:
        epoch: of the training.
        looks_left: planned looks of the screen, this one included; ``None`` when unknown.
        learned: for each class with probes, whether it has been learned.
        everything_learned: all classes that can be judged have been.
        measured: looks since all classes were first learned, this one included; 0 before.
        decides: the swap may confirm at this look.
        called: it decides out of turn, because the screen asked for it.
    """

    epoch: int
    looks_left: int | None
    learned: Mapping[int, bool]
    everything_learned: bool
    measured: int
    decides: bool
    called: bool = False


class Judge:
    """Gives every class a level after each look.

    * *not measurable*: fewer than 20 usable probes, or too few donors in other classes.
    * *not learned yet*: recall at chance, or Youden's J not surely above 0.
    * *watch* and *suspect*: see :func:`camdebug.verdict.screen.screen`.
    * *watch* also where heat is locked at a place (``camdebug.measures.place``), which needs no boxes.
    * *confirmed*: see :func:`camdebug.verdict.confirm.confirm`.
    * *no evidence*: none of these.

    Args:
        class_names: one name a class.
        alpha: share of clean runs that may raise any alert for any class in any look: three fifths of it are spent on
            the contrast at every look, one fifth each on the swap and on places at the planned looks.
    """

    def __init__(self, class_names: Sequence[str], *, alpha: float = 0.05) -> None:
        self._names = tuple(class_names)
        self._screening = ErrorBudget(alpha * (1 - CONFIRM_SHARE - PLACE_SHARE))
        self._confirming = ErrorBudget(alpha * CONFIRM_SHARE)
        self._placing = ErrorBudget(alpha * PLACE_SHARE)
        self._plan = LookPlan()
        self._memory = [Memory() for _ in self._names]

    def begin(
        self, classes: Sequence[ClassScores], learned: Mapping[int, bool], *, epoch: int, looks_left: int | None
    ) -> Look:
        """A look begins: is it one of the planned ones? Nothing is remembered of it before ``judge``.

        Args:
            classes: scores of every class.
            learned: for each class with probes, whether it has been learned.
            epoch: of the look.
            looks_left: planned looks, this one included; ``None`` when unknown.
        """
        everything = all(learned.get(c.class_idx) for c in classes if c.probes >= MIN_PROBES)
        measured = self._plan.count(everything_learned=everything)
        planned = everything and decides(measured, looks_left=looks_left)
        return Look(epoch, looks_left, learned, everything, measured, planned)

    def call(self, look: Look, contrasts: Sequence[BackgroundContrast]) -> Look:
        """The same look; it decides if the screen has found what is not confirmed, and a call is left."""
        threshold = self.screen_threshold(tests=len(contrasts), looks_left=look.looks_left)
        open_question = any(
            c.p_value <= threshold and not all(self._memory[k].confirmed for k in c.classes) for c in contrasts
        )
        may_call = look.everything_learned and not look.decides and self._plan.calls > 0
        return replace(look, decides=True, called=True) if may_call and open_question else look

    def screen_threshold(self, *, tests: int, looks_left: int | None) -> float:
        """The p-value at which a contrast of the coming look counts."""
        return self._screening.per_test(tests=tests, looks_left=looks_left)

    def confirm_threshold(self, *, tests: int, looks_left: int | None, measured: int = 1) -> float:
        """The p-value at which a swap of a planned look counts, the ``measured``-th of the plan."""
        left = self._plan.left(measured, looks_left=looks_left)
        return self._confirming.per_test(tests=tests, looks_left=left)

    def judge(
        self,
        look: Look,
        classes: Sequence[ClassScores],
        contrasts: Sequence[BackgroundContrast],
        swaps: Sequence[BackgroundSwap],
        places: Sequence[PlaceLock] = (),
    ) -> tuple[ClassVerdict, ...]:
        """Verdicts of one look, in the order of the classes.

        Args:
            look: from ``begin``, or from ``call``.
            classes: scores of every class.
            contrasts: one for each class that could be tested, or one for the pair.
            swaps: the same.
            places: of classes whose heat was tested for a fixed place, at looks that decide.
        """
        screening = self.screen_threshold(tests=len(contrasts), looks_left=look.looks_left)
        confirming = self.confirm_threshold(tests=len(swaps), looks_left=look.looks_left, measured=look.measured)
        left = self._plan.left(look.measured, looks_left=look.looks_left)
        placing = self._placing.per_test(tests=len(places), looks_left=left)
        self._screening.spend(tests=len(contrasts), per_test=screening)
        if look.decides:
            self._confirming.spend(tests=len(swaps), per_test=confirming)
            self._placing.spend(tests=len(places), per_test=placing)
        self._plan.book(look.measured, called=look.called)
        contrast_of = {k: c for c in contrasts for k in c.classes}
        swap_of = {k: s for s in swaps for k in s.classes}
        place_of = {p.class_idx: p for p in places}
        verdicts = []
        for scores, memory in zip(classes, self._memory, strict=True):
            contrast, swap = contrast_of.get(scores.class_idx), swap_of.get(scores.class_idx)
            place = place_of.get(scores.class_idx)
            verdicts.append(
                _Case(memory, scores, contrast, swap, place, look, screening, confirming, placing).verdict()
            )
        return tuple(verdicts)

    def state_dict(self) -> dict[str, Any]:
        """Primitives only."""
        return {
            "version": _VERSION,
            "screening": [self._screening.spent, self._screening.looks_done],
            "confirming": [self._confirming.spent, self._confirming.looks_done],
            "placing": [self._placing.spent, self._placing.looks_done],
            "plan": asdict(self._plan),
            "names": list(self._names),
            "memory": [asdict(m) for m in self._memory],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when the state is not ours or is of other classes; nothing has changed then.
        """
        try:
            if state["version"] != _VERSION or list(state["names"]) != list(self._names):
                raise ValueError("verdicts: the checkpoint's are of another version or of other classes")
            memory = [Memory(**m) for m in state["memory"]]
            if len(memory) != len(self._names) or any(not Level(m.level) or not Level(m.screened) for m in memory):
                raise ValueError("verdicts: the checkpoint's do not fit the classes")
            screening, confirming, placing = (
                replace(budget, spent=float(state[name][0]), looks_done=int(state[name][1]))
                for name, budget in (
                    ("screening", self._screening),
                    ("confirming", self._confirming),
                    ("placing", self._placing),
                )
            )
            plan = LookPlan()
            plan.load(state["plan"])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"verdicts: the checkpoint's cannot be read ({error!r})") from error
        self._memory, self._plan = memory, plan
        self._screening, self._confirming, self._placing = screening, confirming, placing


@dataclass
class _Case:
    """One class at one look."""

    memory: Memory
    scores: ClassScores
    contrast: BackgroundContrast | None
    swap: BackgroundSwap | None
    place: PlaceLock | None
    look: Look
    screening: float
    confirming: float
    placing: float

    def verdict(self) -> ClassVerdict:
        before = Level(self.memory.level)
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
            locked_place=self.memory.place is not None,
            changed_from=before if before is not level else None,
        )
        if contrast is None:
            return verdict
        worst = tuple(contrast.worst)
        return replace(verdict, p_value=contrast.p_value, budget=self.screening, worst_probes=worst)

    def _level(self) -> tuple[Level, str, bool]:
        """The level, the sentence that says why, and whether this look has measured anything."""
        if self.contrast is None:
            return Level.NOT_MEASURABLE, words.not_tested(self.scores, MIN_PROBES), False
        before = Level(self.memory.level)
        raised = before if before.is_alert else None
        usable = self.contrast.counts[self.contrast.classes.index(self.scores.class_idx)]
        if usable < MIN_PROBES:
            self.memory.streak = 0
            return raised or Level.NOT_MEASURABLE, words.not_finite(self.scores, usable), False
        if not self.look.learned.get(self.scores.class_idx, False):
            self.memory.streak = 0
            return raised or Level.NOT_LEARNED, words.not_learned(self.scores, len(self.look.learned)), True
        return (*self._judged(self.contrast, raised), True)

    def _judged(self, contrast: BackgroundContrast, raised: Level | None) -> tuple[Level, str]:
        everything = self.look.everything_learned
        level = screen(self.memory, contrast, threshold=self.screening, everything_learned=everything)
        if confirm(self.memory, self.swap, threshold=self.confirming, everything_learned=everything):
            level = Level.CONFIRMED
        sentences = [words.tested(contrast, self.screening)]
        if self.swap is not None:
            sentences.insert(level is not Level.CONFIRMED, words.swapped(self.swap, self.confirming))
        if level is Level.SUSPECT and self.memory.streak > 1:
            sentences.append(f"So it was in {self.memory.streak} looks running.")
        if level.is_alert and level is not Level.CONFIRMED:
            following = next_in(self.look.measured, looks_left=self.look.looks_left)
            sentences += [] if following is None else [words.undecided(following)]
        if level is raised and not self._raised_now(level):
            sentences.append("It was raised before and is not cleared yet.")
        return level, " ".join(sentences)

    def _with_place(self, level: Level, reason: str) -> tuple[Level, str]:
        """At least *watch* while heat is locked at a place; a planned look locks it and clears it."""
        learned = self.look.learned.get(self.scores.class_idx, False)
        if self.place is not None and self.look.decides and learned:
            kept = self.memory.place is not None and self.place.p_value <= _PLACE_CLEARED
            locked = self.place.p_value <= self.placing or kept
            self.memory.place = words.placed(self.place, self.placing, epoch=self.look.epoch) if locked else None
        if self.memory.place is None:
            return level, reason
        return (level if level.is_alert else Level.WATCH), f"{reason} {self.memory.place}"

    def _raised_now(self, level: Level) -> bool:
        """Whether this look alone would have raised the level."""
        return self.memory.quiet_swaps == 0 if level is Level.CONFIRMED else self.memory.streak > 0
