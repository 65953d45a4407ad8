"""Frozen values that cross from one layer to the next. They hold results and know how nothing was made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Class activation maps of a batch of pictures: raw, ReLU'd, on the target layer's own grid, never normalised.

    Attributes:
        maps: ``(N, h, w)`` float32 on the CPU, >= 0, in the units of the method (HiResCAM: score per cell).
        class_idx: ``(N,)`` int64, the class that each map explains.
        class_score: ``(N,)`` float32, the model's raw score (logit) of that class.
        predicted_class: ``(N,)`` int64, the class with the highest score.
        predicted_score: ``(N,)`` float32, its raw score (logit).
        method: name of the CAM method.
        layer: dotted name of the target layer.
    """

    maps: Tensor
    class_idx: Tensor
    class_score: Tensor
    predicted_class: Tensor
    predicted_score: Tensor
    method: str
    layer: str

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps, in cells."""
        return self.maps.shape[1], self.maps.shape[2]

    @property
    def correct(self) -> Tensor:
        """``(N,)`` bool: the predicted class is the explained one."""
        return self.predicted_class == self.class_idx


class Validity(Enum):
    """Why a probe's heat can or cannot be read against its box."""

    OK = "ok"
    NO_BOX = "no box"
    NO_EVIDENCE = "no evidence: the map is zero everywhere"
    NOT_FINITE = "the map is not finite"
    BOX_TOO_SMALL = "the box covers less than 2 % of the picture"
    BOX_TOO_LARGE = "the box covers more than 70 % of the picture"


@dataclass(frozen=True, eq=False)
class LocalisationScores:
    """Where the heat of each probe lies. All tensors are ``(N,)`` float64; NaN wherever ``validity`` is not OK.

    ``area_fraction`` alone is always given (NaN without a box): it is the chance level of ``inside_mass``.
    ``log_density_ratio`` has chance level 0 and ``calibrated_log_density_ratio`` subtracts its mean over the maps
    of the other probes of the class, read on this probe's box.
    """

    area_fraction: Tensor
    inside_mass: Tensor
    outside_mass: Tensor
    outside_lift: Tensor
    log_density_ratio: Tensor
    calibrated_log_density_ratio: Tensor
    validity: tuple[Validity, ...]

    @property
    def valid(self) -> Tensor:
        """``(N,)`` bool: the probe may be read."""
        return torch.tensor([v is Validity.OK for v in self.validity], dtype=torch.bool)


@dataclass(frozen=True)
class ClassScores:
    """Means over the valid probes of one class. ``None`` where no probe is valid: nothing is imputed.

    ``recall`` is over all probes of the class, valid or not; ``None`` without any.
    """

    class_idx: int
    name: str
    probes: int
    valid: int
    recall: float | None
    outside_mass: float | None = None
    chance_outside_mass: float | None = None
    outside_lift: float | None = None
    log_density_ratio: float | None = None
    calibrated_log_density_ratio: float | None = None


@dataclass(frozen=True, eq=False)
class BackgroundContrast:
    """Evidence that a class owes to backgrounds of its own kind, in logits; chance level 0.

    Attributes:
        classes: the class, or both classes of a pair when only two can be tested.
        counts: number of probes of each of them that took part.
        value: mean over probes of (evidence outside the box on a same-class background minus other-class).
        standard_error: of that mean.
        p_value: one-sided randomisation p-value against "the background's class does not matter".
        probes: index of each probe that took part.
        differences: ``(n,)`` float64, the difference of each.
        cue_map: ``(h, w)`` float32, mean difference of the signed evidence outside the boxes: where the cue sits.
    """

    classes: tuple[int, ...]
    counts: tuple[int, ...]
    value: float
    standard_error: float
    p_value: float
    probes: Tensor
    differences: Tensor
    cue_map: Tensor

    @property
    def is_pair(self) -> bool:
        """It speaks for two classes together: a cue on one of two opens a gap in both."""
        return len(self.classes) > 1

    @property
    def worst(self) -> list[int]:
        """Probes with the largest difference first, at most three, positive ones only."""
        order = torch.argsort(self.differences, descending=True)[:3]
        return [int(self.probes[i]) for i in order if self.differences[i] > 0]


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


@dataclass(frozen=True, eq=False)
class EpochRecord:
    """Everything one look at the model found.

    ``label_maps`` explain each probe's label, ``predicted_maps`` the predicted class (the same map where the
    prediction is right).
    """

    epoch: int
    label_maps: Heatmaps
    predicted_maps: Heatmaps
    scores: LocalisationScores
    classes: tuple[ClassScores, ...]
    contrasts: tuple[BackgroundContrast, ...]
    verdicts: tuple[ClassVerdict, ...]
    seconds: float = 0.0

    def contrast_of(self, class_idx: int) -> BackgroundContrast | None:
        """The contrast that speaks for a class: its own, or the pair's."""
        return next((c for c in self.contrasts if class_idx in c.classes), None)
