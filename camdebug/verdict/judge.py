"""The rules put together: from a look's numbers to the level of every class, with a memory over looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from camdebug.probe.checks import LEAST_PROBES
from camdebug.records import BackgroundContrast, BackgroundSwap, ClassScores, ClassVerdict, PlaceLock
from camdebug.records.state import as_count, as_number
from camdebug.verdict.budget import ErrorBudget
from camdebug.verdict.case import Case, Look
from camdebug.verdict.memory import Memory, read_memory
from camdebug.verdict.plan import LookPlan, decides

CONFIRM_SHARE, PLACE_SHARE = 0.2, 0.2
"""Parts of the error budget for confirmation and for heat at a fixed place; the contrast has the rest."""

_VERSION = 3


class Judge:
    """Gives every class a level after each look.

    * *not measurable*: fewer than 20 usable probes, or too few donors in other classes.
    * *not learned yet*: recall at chance, or Youden's J not surely above 0.
    * *watch* and *suspect*: see :func:`camdebug.verdict.screen.screen`.
    * *watch* also where heat is locked at a place (``camdebug.measures.place``), which needs no boxes.
    * *confirmed*: see :func:`camdebug.verdict.confirm.confirm`.
    * *no evidence*: none of these.

    ``alpha`` holds for all alerts together. The part for swaps covers the planned looks; a look that the screen calls
    for follows an alert of the screen, so it can turn a false alert into a false *confirmed*, not add one.

    Args:
        class_names: one name a class.
        alpha: share of clean runs that may raise any alert for any class in any look: three fifths of it are spent on
            the contrast at every look, one fifth each on the swap and on places at the planned looks.
        once: there will be one look. It decides, whether or not every class is learned, and may spend all of ``alpha``.
            *suspect*, which takes two looks, is never said.
    """

    def __init__(self, class_names: Sequence[str], *, alpha: float = 0.05, once: bool = False) -> None:
        self._names = tuple(class_names)
        self._screening = ErrorBudget(alpha * (1 - CONFIRM_SHARE - PLACE_SHARE))
        self._confirming = ErrorBudget(alpha * CONFIRM_SHARE)
        self._placing = ErrorBudget(alpha * PLACE_SHARE)
        self._once = once
        self._plan = LookPlan.of_one_look() if once else LookPlan()
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
        unlearned = tuple(c.name for c in classes if c.probes >= LEAST_PROBES and not learned.get(c.class_idx))
        measured = self._plan.count(everything_learned=not unlearned)
        decision = decides(measured, looks_left=looks_left)
        return Look(epoch, looks_left, learned, unlearned, measured, decision, once=self._once)

    def call(self, look: Look, contrasts: Sequence[BackgroundContrast]) -> Look:
        """The same look; it decides if the screen has found what is not confirmed, and a call is left."""
        threshold = self.screen_threshold(tests=len(contrasts), looks_left=look.looks_left)
        open_question = any(
            c.p_value <= threshold and not all(self._memory[k].confirmed for k in c.classes) for c in contrasts
        )
        may_call = look.plan_started and not look.decides and self._plan.calls > 0
        return replace(look, decides=True, called=True) if may_call and open_question else look

    def screen_threshold(self, *, tests: int, looks_left: int | None) -> float:
        """The p-value at which a contrast of the coming look counts."""
        return self._screening.per_test(tests=tests, looks_left=looks_left)

    def confirm_threshold(self, *, tests: int, looks_left: int | None, measured: int = 1) -> float:
        """The p-value at which a swap of a planned look counts, the ``measured``-th of the plan."""
        left = self._plan.left(measured, looks_left=looks_left)
        return self._confirming.per_test(tests=tests, looks_left=left)

    def place_threshold(self, *, tests: int, looks_left: int | None, measured: int = 1) -> float:
        """The p-value at which heat at a place counts at a planned look, the ``measured``-th of the plan."""
        return self._placing.per_test(tests=tests, looks_left=self._plan.left(measured, looks_left=looks_left))

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
        placing = self.place_threshold(tests=len(places), looks_left=look.looks_left, measured=look.measured)
        self._screening.spend(tests=len(contrasts), per_test=screening)
        if look.decides:
            self._confirming.spend(tests=len(swaps), per_test=confirming)
            self._placing.spend(tests=len(places), per_test=placing)
        self._plan.book(look.measured, called=look.called, something_learned=any(look.learned.values()))
        contrast_of = {k: c for c in contrasts for k in c.classes}
        swap_of = {k: s for s in swaps for k in s.classes}
        place_of = {p.class_idx: p for p in places}
        verdicts = []
        for scores, memory in zip(classes, self._memory, strict=True):
            contrast, swap = contrast_of.get(scores.class_idx), swap_of.get(scores.class_idx)
            place = place_of.get(scores.class_idx)
            verdicts.append(
                Case(
                    memory, scores, contrast, swap, place, look, screening, confirming, placing, self._plan.waited
                ).verdict()
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
            memory = [read_memory(m) for m in state["memory"]]
            if len(memory) != len(self._names):
                raise ValueError("verdicts: the checkpoint's do not fit the classes")
            screening, confirming, placing = (
                replace(budget, spent=max(0.0, as_number(state[name][0])), looks_done=as_count(state[name][1]))
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
