"""Rows of composites by class of the object, summed up by pair of donors or by object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from camdebug.background.pairing import Pairing


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a pairing.

    Attributes:
        classes: of the objects.
        rows: ``(m,)`` int64, which rows.
        donors: ``(m,)`` int64, a number for the pair of donors of each, without holes.
        panel: ``(m,)`` int64, 0 or 1: to which of two disjoint panels that pair belongs.
        recipients: ``(m,)`` int64, probe index of each object.
        counts: pairs of donors of each class.
    """

    classes: tuple[int, ...]
    rows: Tensor
    donors: Tensor
    panel: Tensor
    recipients: Tensor
    counts: tuple[int, ...]

    def pair_means(self, values: Tensor) -> Tensor:
        """``(pairs, ...)``: mean of ``(M, ...)`` values over the objects before each pair of donors."""
        return _means(values[self.rows], self.donors)

    def recipient_means(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Probe indices ``(n,)`` and the mean ``(n, ...)`` of ``(M, ...)`` values over the rows of each."""
        probes, number = torch.unique(self.recipients, return_inverse=True)
        return probes, _means(values[self.rows], number)

    def of_panel(self, panel: int) -> Rows:
        """The rows of one panel."""
        kept = self.panel == panel
        _, donors = torch.unique(self.donors[kept], return_inverse=True)
        return replace(
            self, rows=self.rows[kept], donors=donors, panel=self.panel[kept], recipients=self.recipients[kept]
        )


class Groups(NamedTuple):
    """Rows of each class; and of both together, when only two classes take part at all."""

    single: list[Rows]
    pair: Rows | None


def by_class(pairing: Pairing, labels: Tensor, *, usable: Tensor) -> Groups:
    """Group the usable rows.

    Args:
        pairing: M rows.
        labels: ``(N,)`` class of every probe.
        usable: ``(M,)`` bool; a row without a finite answer on both backgrounds is left out.
    """
    row_class = labels[pairing.recipients]
    single = [_rows(k, (row_class == k) & usable, pairing) for k in torch.unique(row_class).tolist()]
    taking_part = torch.unique(labels[torch.cat([pairing.recipients, pairing.other])])
    if len(single) != 2 or len(taking_part) != 2:
        return Groups(single, None)
    first, second = single
    pair = Rows(
        classes=first.classes + second.classes,
        rows=torch.cat([first.rows, second.rows]),
        donors=torch.cat([first.donors, second.donors + first.counts[0]]),
        panel=torch.cat([first.panel, second.panel]),
        recipients=torch.cat([first.recipients, second.recipients]),
        counts=first.counts + second.counts,
    )
    return Groups(single, pair)


def pair_p_value(p_values: Sequence[float]) -> float:
    """P-value of a pair of classes from those of its two.

    Each background stands behind objects of both classes, so rows of one class are not independent of the other's:
    the classes are tested apart and two tests are paid for, rather than rows pooled.
    """
    return min(1.0, len(p_values) * min(p_values))


def spread(values: Tensor) -> tuple[float, float]:
    """Mean of ``(n,)`` values and its standard error; NaN where there are too few."""
    count = len(values)
    return (
        float(values.mean()) if count else float("nan"),
        float(values.std()) / count**0.5 if count > 1 else float("nan"),
    )


def _rows(class_idx: int, mask: Tensor, pairing: Pairing) -> Rows:
    numbers, donors = torch.unique(pairing.donors[mask], return_inverse=True)
    rows = torch.nonzero(mask).flatten()
    return Rows((class_idx,), rows, donors, pairing.donors[mask] % 2, pairing.recipients[mask], (len(numbers),))


def _means(values: Tensor, number: Tensor) -> Tensor:
    """Mean of ``(m, ...)`` values by ``(m,)`` group number."""
    groups = int(number.max()) + 1 if len(number) else 0
    sums = torch.zeros(groups, *values.shape[1:], dtype=values.dtype).index_add_(0, number, values)
    return sums / torch.bincount(number, minlength=groups).reshape(-1, *[1] * (values.ndim - 1))
