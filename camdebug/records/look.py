"""Everything that one look found."""

from __future__ import annotations

from dataclasses import dataclass

from camdebug.records.background import BackgroundContrast, BackgroundSwap
from camdebug.records.heatmaps import Heatmaps
from camdebug.records.localisation import ClassScores, LocalisationScores
from camdebug.records.place import PlaceLock
from camdebug.records.split import RightAgainstWrong, WrongReasons
from camdebug.records.steadiness import SteadinessReport
from camdebug.records.verdict import ClassVerdict, RunVerdict


@dataclass(frozen=True, eq=False)
class EpochRecord:
    """Everything one look at the model found.

    ``label_maps`` explain each probe's label, ``predicted_maps`` the predicted class (the same map where the
    prediction is right). ``verdict`` is that of the run. ``right_against_wrong``, ``wrong_reasons`` and ``steadiness``
    are information and decide nothing.
    """

    epoch: int
    label_maps: Heatmaps
    predicted_maps: Heatmaps
    scores: LocalisationScores
    classes: tuple[ClassScores, ...]
    contrasts: tuple[BackgroundContrast, ...]
    swaps: tuple[BackgroundSwap, ...]
    verdicts: tuple[ClassVerdict, ...]
    verdict: RunVerdict
    places: tuple[PlaceLock, ...] = ()
    right_against_wrong: RightAgainstWrong | None = None
    wrong_reasons: WrongReasons | None = None
    steadiness: SteadinessReport | None = None
    seconds: float = 0.0

    def contrast_of(self, class_idx: int) -> BackgroundContrast | None:
        """The contrast that speaks for a class: its own, or the pair's."""
        return next((c for c in self.contrasts if class_idx in c.classes), None)

    def place_of(self, class_idx: int) -> PlaceLock | None:
        """The place that was tested for a class, at looks where places are."""
        return next((p for p in self.places if p.class_idx == class_idx), None)

    def swap_of(self, class_idx: int) -> BackgroundSwap | None:
        """The swap that speaks for a class: its own, or the pair's."""
        return next((s for s in self.swaps if class_idx in s.classes), None)
