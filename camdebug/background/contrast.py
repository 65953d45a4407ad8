"""Contrast of background evidence: what a class owes to backgrounds of its own kind, in logits.

Evidence is HiResCAM of the margin (the class's logit minus the log-sum-exp of the others), signed and summed over the
cells outside the object: how much of the decision enters through the background. The contrast is that evidence on a
same-class background minus on an other-class background, for the same object. Grid, head, boxes and seams are alike
in both and cancel; what stays depends on whose background it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camdebug.background.composites import Composites
from camdebug.background.pairing import Pairing
from camdebug.cam.layers import TargetLayer
from camdebug.cam.methods import signed_hirescam
from camdebug.cam.passes import run_pass
from camdebug.cam.precision import Precision
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import BackgroundContrast

_MOST_FLIPS = 400_000


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``(N,)``: logit of the label minus log-sum-exp of the other logits, from ``(N, K)``."""
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf")).logsumexp(1)
    return own[:, 0] - others


def outside_evidence(
    model: nn.Module,
    layer: TargetLayer,
    probes: ProbeSet,
    pairing: Pairing,
    cover: Tensor,
    precision: Precision,
    *,
    chunk_size: int,
) -> Tensor:
    """Signed evidence outside the object, cell by cell. Call inside ``borrowed(model)``.

    Args:
        model: gives class scores.
        layer: the target layer.
        probes: the probe set.
        pairing: M rows of recipient, same-class and other-class donor.
        cover: ``(N, h, w)``, share of each cell that the object covers.
        precision: how pictures enter the model.
        chunk_size: pictures in one forward.

    Returns:
        ``(M, 2, h, w)`` float64 in logits: on the same-class and on the other-class background.
    """
    wanted = probes.labels[pairing.recipients].repeat_interleave(2)
    outside = 1 - cover[pairing.recipients].repeat_interleave(2, dim=0)
    found = []
    for chunk in run_pass(
        model,
        layer,
        Composites(probes, pairing),
        [lambda logits, rows: margin(logits, wanted[rows].to(logits.device))],
        precision,
        chunk_size=chunk_size,
    ):
        evidence = signed_hirescam(chunk.activation, chunk.gradients[0]).cpu().double()
        found.append(evidence * outside[chunk.rows])
    return torch.cat(found).reshape(len(pairing.recipients), 2, *cover.shape[1:])


def contrasts(
    evidence: Tensor, pairing: Pairing, labels: Tensor, *, smallest_p: float, seed: int
) -> tuple[BackgroundContrast, ...]:
    """Contrast and p-value of every class in the pairing; of the pair when only two classes take part in it.

    Args:
        evidence: ``(M, 2, h, w)`` from ``outside_evidence``.
        pairing: its rows.
        labels: ``(N,)`` class of every probe.
        smallest_p: the p-value that must be resolvable; sets the number of sign flips.
        seed: of the sign flips.
    """
    cells = evidence[:, 0] - evidence[:, 1]
    row_class = labels[pairing.recipients]
    classes = torch.unique(row_class).tolist()
    taking_part = torch.unique(labels[torch.cat([pairing.recipients, pairing.other])])
    found = [
        _one((k,), cells[row_class == k], pairing.recipients[row_class == k], labels, smallest_p, seed) for k in classes
    ]
    if len(classes) != 2 or len(taking_part) != 2:
        return tuple(found)
    # Each background stands in the rows of both classes, so rows of one class are not independent of the other's:
    # test the classes apart and pay for two tests, rather than pool the rows.
    pooled = _one(tuple(classes), cells, pairing.recipients, labels, 1.0, seed)
    return (replace(pooled, p_value=min(1.0, 2 * min(c.p_value for c in found))),)


def _one(
    classes: tuple[int, ...], cells: Tensor, probes: Tensor, labels: Tensor, smallest_p: float, seed: int
) -> BackgroundContrast:
    differences = cells.sum((1, 2))
    finite = differences.isfinite()
    cells, differences, probes = cells[finite], differences[finite], probes[finite]
    count = len(differences)
    return BackgroundContrast(
        classes=classes,
        counts=tuple(int((labels[probes] == k).sum()) for k in classes),
        value=float(differences.mean()) if count else float("nan"),
        standard_error=float(differences.std()) / count**0.5 if count > 1 else float("nan"),
        p_value=sign_flip_p_value(differences, smallest_p=smallest_p, seed=seed) if count else 1.0,
        probes=probes,
        differences=differences,
        cue_map=cells.mean(0).float() if count else torch.zeros(cells.shape[1:]),
    )


def sign_flip_p_value(differences: Tensor, *, smallest_p: float, seed: int) -> float:
    """One-sided p-value of a mean above 0, by flipping signs at random.

    Valid when the two backgrounds of every row can be exchanged under the null hypothesis, which ``pairing`` arranges.
    Starts with 999 flips and stops there when the value is far from small (Besag & Clifford 1991 for the idea of
    stopping early); otherwise draws enough to resolve ``smallest_p`` ten times over, at most 400,000. Where not one of
    the flips reaches the observed mean, Hoeffding's bound of the exact value is taken if it is smaller still.

    Args:
        differences: ``(n,)``.
        smallest_p: the p-value that must be resolvable.
        seed: of the flips.

    Returns:
        ``(1 + flips with a mean as large) / (1 + flips)``, or that bound; never 0.
    """
    values = differences.double().numpy()
    rng = np.random.default_rng([seed, len(values)])
    observed, tolerance = values.sum(), 1e-12 * np.abs(values).sum()
    as_large, flips = 0, 0
    for wanted in (999, min(int(10 / smallest_p), _MOST_FLIPS)):
        while flips < wanted:
            block = min(wanted - flips, max(1, 2_000_000 // len(values)))
            signs = rng.integers(0, 2, size=(block, len(values)), dtype=np.int8) * 2 - 1
            as_large += int((signs @ values >= observed - tolerance).sum())
            flips += block
        if as_large > 20:
            break
    return (1 + as_large) / (1 + flips) if as_large else min(1 / (1 + flips), hoeffding_bound(values))


def smallest_attainable_p(rows: int) -> float:
    """The smallest p-value that ``sign_flip_p_value`` can give for so many rows, however strong the effect."""
    return float(max(0.5**rows, min(1 / (1 + _MOST_FLIPS), np.exp(-rows / 2))))


def hoeffding_bound(values: NDArray[np.float64]) -> float:
    """Upper bound of the exact sign-flip p-value of ``(n,)`` values (Hoeffding 1963), for what flips cannot resolve."""
    squares = float(values @ values)
    bound = np.exp(-(max(0.0, float(values.sum())) ** 2) / (2 * squares)) if squares > 0 else 1.0
    return float(max(bound, 0.5 ** len(values)))
