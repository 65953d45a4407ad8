"""Where heat lies: of each probe, and of each class."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor


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
