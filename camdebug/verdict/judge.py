"""The rules: from a look's numbers to the level of every class, with a memory over looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

from camdebug.records import BackgroundContrast, ClassScores, ClassVerdict, Level
from camdebug.verdict import words
from camdebug.verdict.budget import ErrorBudget

MIN_PROBES = 20
"""Fewer usable probes in a class: nothing is said about it."""

LOOKS_TO_SUSPECT = 2
LOOKS_TO_CLEAR = 3

_VERSION = 1


@dataclass
class _Memory:
    """What is remembered of one class (primitives only: it travels in the user's checkpoint)."""

    level: str = Level.NOT_LEARNED.value
    since_epoch: int = 0
    streak: int = 0
    quiet: int = 0
    peak: float | None = None
    peak_epoch: int | None = None


class Judge:
    """Gives every class a level after each look.

    * *not measurable*: fewer than 20 usable probes, or too few donors in other classes.
    * *not learned yet*: recall at chance, or Youden's J not surely above 0.
    * *watch*: the contrast of background evidence is above 0 at this look's share of the error budget.
    * *suspect*: that, two looks running, with all classes learned that have 20 probes or more.
    * *no evidence*: none of these. A raised level is cleared only after three looks running with a contrast below half
      of what would be needed to raise it.

    Args:
        class_names: one name a class.
        alpha: share of clean runs that may raise *watch* for any class in any look. *Suspect* needs two such looks.
    """

    def __init__(self, class_names: Sequence[str], *, alpha: float = 0.05) -> None:
        self._names = tuple(class_names)
        self._budget = ErrorBudget(alpha)
        self._memory = [_Memory() for _ in self._names]

    def threshold(self, *, tests: int, looks_left: int | None) -> float:
        """The p-value at which a test of the coming look counts."""
        return self._budget.per_test(tests=tests, looks_left=looks_left)

    def judge(
        self,
        classes: Sequence[ClassScores],
        contrasts: Sequence[BackgroundContrast],
        learned: Mapping[int, bool],
        *,
        epoch: int,
        looks_left: int | None,
    ) -> tuple[ClassVerdict, ...]:
        """Verdicts of one look, in the order of the classes.

        Args:
            classes: scores of every class.
            contrasts: one for each class that could be tested, or one for the pair.
            learned: for each class with probes, whether it has been learned.
            epoch: of the look.
            looks_left: planned looks, this one included; ``None`` when unknown.
        """
        threshold = self.threshold(tests=len(contrasts), looks_left=looks_left)
        self._budget.spend(tests=len(contrasts), per_test=threshold)
        look = _Look(
            epoch, threshold, learned, all(learned.get(c.class_idx) for c in classes if c.probes >= MIN_PROBES)
        )
        by_class = {k: c for c in contrasts for k in c.classes}
        verdicts = []
        for scores, memory in zip(classes, self._memory, strict=True):
            contrast, before = by_class.get(scores.class_idx), Level(memory.level)
            level, reason = _level(memory, scores, contrast, look)
            if level is not before:
                memory.level, memory.since_epoch = level.value, epoch
            verdicts.append(_verdict(memory, scores, contrast, reason, threshold, before))
        return tuple(verdicts)

    def state_dict(self) -> dict[str, Any]:
        """Primitives only."""
        return {
            "version": _VERSION,
            "spent": self._budget.spent,
            "looks_done": self._budget.looks_done,
            "names": list(self._names),
            "memory": [asdict(m) for m in self._memory],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when the state is not ours or is of other classes.
        """
        try:
            if state["version"] != _VERSION or list(state["names"]) != list(self._names):
                raise ValueError("verdicts: the checkpoint's are of another version or of other classes")
            memory = [_Memory(**m) for m in state["memory"]]
            spent, looks_done = float(state["spent"]), int(state["looks_done"])
            if len(memory) != len(self._names) or any(not Level(m.level) for m in memory):
                raise ValueError("verdicts: the checkpoint's do not fit the classes")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"verdicts: the checkpoint's cannot be read ({error!r})") from error
        self._memory = memory
        self._budget = replace(self._budget, spent=spent, looks_done=looks_done)


@dataclass(frozen=True)
class _Look:
    """What holds for all classes at one look."""

    epoch: int
    threshold: float
    learned: Mapping[int, bool]
    everything_learned: bool


def _level(memory: _Memory, scores: ClassScores, contrast: BackgroundContrast | None, look: _Look) -> tuple[Level, str]:
    """The level of a class and the sentence that says why. Updates its memory."""
    if contrast is None:
        return Level.NOT_MEASURABLE, words.not_tested(scores, MIN_PROBES)
    before, usable = Level(memory.level), _usable(contrast, scores)
    raised = before if before.is_alert else None
    if usable < MIN_PROBES or not look.learned.get(scores.class_idx, False):
        memory.streak = 0
        if usable < MIN_PROBES:
            return raised or Level.NOT_MEASURABLE, words.not_finite(scores, usable)
        return raised or Level.NOT_LEARNED, words.not_learned(scores, len(look.learned))
    if memory.peak is None or contrast.value > memory.peak:
        memory.peak, memory.peak_epoch = contrast.value, look.epoch
    reason = words.tested(contrast, look.threshold)
    if contrast.p_value <= look.threshold:
        memory.streak, memory.quiet = memory.streak + 1, 0
        if memory.streak >= LOOKS_TO_SUSPECT and look.everything_learned:
            return Level.SUSPECT, f"{reason} So it was in {memory.streak} looks running."
        return (before if before is Level.SUSPECT else Level.WATCH), reason
    memory.streak = 0
    memory.quiet = memory.quiet + 1 if _far_below(contrast, look.threshold) else 0
    if raised and memory.quiet < LOOKS_TO_CLEAR:
        return raised, f"{reason} It was raised before and is not cleared yet."
    return Level.NO_EVIDENCE, reason


def _usable(contrast: BackgroundContrast, scores: ClassScores) -> int:
    """Probes of the class that took part in the contrast."""
    return contrast.counts[contrast.classes.index(scores.class_idx)]


def _far_below(contrast: BackgroundContrast, threshold: float) -> bool:
    """The contrast is below half of what the threshold asks for, in standard errors."""
    if not contrast.standard_error > 0:
        return True
    return contrast.value / contrast.standard_error < NormalDist().inv_cdf(1 - min(threshold, 0.5)) / 2


def _verdict(
    memory: _Memory,
    scores: ClassScores,
    contrast: BackgroundContrast | None,
    reason: str,
    threshold: float,
    before: Level,
) -> ClassVerdict:
    level = Level(memory.level)
    verdict = ClassVerdict(
        class_idx=scores.class_idx,
        name=scores.name,
        level=level,
        reason=reason,
        since_epoch=memory.since_epoch,
        peak=memory.peak,
        peak_epoch=memory.peak_epoch,
        changed_from=before if before is not level else None,
    )
    if contrast is None or level is Level.NOT_MEASURABLE:
        return verdict
    return replace(
        verdict,
        background_evidence=contrast.value,
        p_value=contrast.p_value,
        budget=threshold,
        worst_probes=tuple(contrast.worst),
    )
