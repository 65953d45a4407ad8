"""Contrast of background evidence: what a class owes to backgrounds of its own kind, in logits.

The contrast is the evidence that enters outside the object on a same-class background minus on an other-class
background, for the same object. Grid, head, boxes and seams are alike in both and cancel; what stays depends on whose
background it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camdebug.background.grouping import Rows, by_class, pair_p_value, spread
from camdebug.background.pairing import Pairing
from camdebug.background.sign_flip import sign_flip_p_value
from camdebug.records import BackgroundContrast


def contrasts(
    outside: Tensor, pairing: Pairing, labels: Tensor, *, smallest_p: float, seed: int
) -> tuple[BackgroundContrast, ...]:
    """Contrast and p-value of every class in the pairing; of the pair when only two classes take part in it.

    Args:
        outside: ``(M, 2, h, w)``, see :class:`camdebug.background.evidence.Evidence`.
        pairing: its rows.
        labels: ``(N,)`` class of every probe.
        smallest_p: the p-value that must be resolvable; sets the number of sign flips.
        seed: of the sign flips.
    """
    cells = outside[:, 0] - outside[:, 1]
    sums = cells.sum(tuple(range(1, cells.ndim)))
    groups = by_class(pairing, labels, usable=sums.isfinite())
    p_values = [sign_flip_p_value(g.pair_means(sums), smallest_p=smallest_p, seed=seed) for g in groups.single]
    if groups.pair is not None:
        return (_contrast(groups.pair, cells, sums, pair_p_value(p_values)),)
    return tuple(_contrast(g, cells, sums, p) for g, p in zip(groups.single, p_values, strict=True))


def _contrast(rows: Rows, cells: Tensor, sums: Tensor, p_value: float) -> BackgroundContrast:
    value, standard_error = spread(rows.pair_means(sums))
    probes, differences = rows.recipient_means(sums)
    taken = rows.pair_means(cells)
    return BackgroundContrast(
        classes=rows.classes,
        counts=rows.counts,
        value=value,
        standard_error=standard_error,
        p_value=p_value,
        probes=probes,
        differences=differences,
        cue_map=taken.mean(0).float() if len(taken) else torch.zeros(cells.shape[1:]),
    )
