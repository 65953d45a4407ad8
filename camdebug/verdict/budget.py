"""The error rate of a whole run, spent look by look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ErrorBudget:
    """At most ``alpha`` of clean runs may alarm, over all classes and all looks (Bonferroni; looks may depend).

    Each look may spend an equal part of what is left over the looks that are still planned. Without a plan, or beyond
    it, look ``t`` gets ``1 / (t (t + 1))`` of ``alpha`` (these parts sum to 1), so the rate holds however long it goes.
    """

    alpha: float
    spent: float = 0.0
    looks_done: int = 0

    def per_test(self, *, tests: int, looks_left: int | None) -> float:
        """The p-value below which one of ``tests`` tests of this look counts."""
        left = max(0.0, self.alpha - self.spent)
        parts = looks_left if looks_left is not None and looks_left > 0 else self.looks_done + 2
        return left / (parts * max(1, tests))

    def spend(self, *, tests: int, per_test: float) -> None:
        """Book a look."""
        self.spent += tests * per_test
        self.looks_done += 1
