"""A row of numbers for each picture: all that is kept of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camdebug.measures.mass import density_ratio_of_mass
from camdebug.records import Heatmaps, LocalisationScores, Validity

_COLUMNS = 6
_VALIDITIES = tuple(Validity)


@dataclass
class Rows:
    """Index, label, prediction, validity, area and inside mass of each picture; and who was left out, and why."""

    numbers: array[float] = field(default_factory=lambda: array("d"))
    left_out: dict[int, str] = field(default_factory=dict)

    def add(self, indices: list[int], maps: Heatmaps, scores: LocalisationScores) -> None:
        """Take in a batch."""
        validity = torch.tensor([_VALIDITIES.index(v) for v in scores.validity])
        columns = (torch.tensor(indices), maps.class_idx, maps.prediction, validity)
        measured = (scores.area_fraction, scores.inside_mass)
        table = torch.stack([c.double() for c in (*columns, *measured)], 1)
        self.numbers.extend(table.flatten().tolist())

    @classmethod
    def joined(cls, parts: Iterable[Rows]) -> Rows:
        """Those of all processes, in the order of the dataset, each picture once."""
        parts = list(parts)
        rows = torch.cat([part._table() for part in parts])
        indices, inverse = torch.unique(rows[:, 0], return_inverse=True)
        table = torch.empty(len(indices), _COLUMNS, dtype=torch.float64)
        table[inverse] = rows  # a picture that two processes have met has the same row twice
        left_out = {index: reason for part in parts for index, reason in part.left_out.items()}
        return cls(array("d", table.flatten().tolist()), dict(sorted(left_out.items())))

    def _table(self) -> Tensor:
        if not self.numbers:
            return torch.empty(0, _COLUMNS, dtype=torch.float64)
        return torch.frombuffer(self.numbers, dtype=torch.float64).reshape(-1, _COLUMNS).clone()

    def unpacked(self) -> tuple[list[int], Tensor, Tensor, LocalisationScores]:
        """Indices, labels ``(N,)`` int64, predictions ``(N,)`` int64, and scores."""
        index, label, predicted, validity, area, inside = self._table().unbind(1)
        scores = LocalisationScores(
            area_fraction=area,
            inside_mass=inside,
            outside_mass=1 - inside,
            outside_lift=(1 - inside) / (1 - area),
            log_density_ratio=density_ratio_of_mass(inside, area),
            calibrated_log_density_ratio=torch.full_like(inside, torch.nan),
            validity=tuple(_VALIDITIES[int(v)] for v in validity.tolist()),
        )
        return index.long().tolist(), label.long(), predicted.long(), scores
