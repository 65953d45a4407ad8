"""What a model makes of the composites: the evidence that enters outside the object, and its predictions.

Evidence is HiResCAM of the margin (the class's logit minus the log-sum-exp of the others), signed and summed over the
cells outside the object: how much of the decision enters through the background. The predictions come with it, from
the same pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camdebug.background.composites import Composites
from camdebug.background.pairing import Pairing
from camdebug.cam.layers import TargetLayer
from camdebug.cam.methods import signed_hirescam
from camdebug.cam.passes import run_pass
from camdebug.cam.precision import Precision
from camdebug.probe.probe_set import ProbeSet


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of M rows, each on the same-class background ``[:, 0]`` and on the other-class one ``[:, 1]``.

    Attributes:
        outside: ``(M, 2, h, w)`` float64, signed evidence outside the object in each cell, logits.
        margins: ``(M, 2)`` float64, margin of the object's class, logits.
        probabilities: ``(M, 2)`` float64, its softmax probability.
    """

    outside: Tensor
    margins: Tensor
    probabilities: Tensor


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``(N,)``: logit of the label minus log-sum-exp of the other logits, from ``(N, K)``."""
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf")).logsumexp(1)
    return own[:, 0] - others


def gather_evidence(
    model: nn.Module,
    layer: TargetLayer,
    probes: ProbeSet,
    pairing: Pairing,
    cover: Tensor,
    precision: Precision,
    *,
    chunk_size: int,
) -> Evidence:
    """Pass the composites of a pairing through the model. Call inside ``borrowed(model)``.

    Args:
        model: gives class scores.
        layer: the target layer.
        probes: the probe set.
        pairing: M rows of recipient, same-class and other-class donor.
        cover: ``(N, h, w)``, share of each cell that the object covers.
        precision: how pictures enter the model.
        chunk_size: pictures in one forward.
    """
    wanted = probes.labels[pairing.recipients].repeat_interleave(2)
    outside = 1 - cover[pairing.recipients].repeat_interleave(2, dim=0)
    cells, margins = [], []
    for chunk in run_pass(
        model,
        layer,
        Composites(probes, pairing),
        [lambda logits, rows: margin(logits, wanted[rows].to(logits.device))],
        precision,
        chunk_size=chunk_size,
    ):
        evidence = signed_hirescam(chunk.activation, chunk.gradients[0]).cpu().double()
        cells.append(evidence * outside[chunk.rows])
        margins.append(margin(chunk.logits.cpu().double(), wanted[chunk.rows]))
    by_row = torch.cat(margins).reshape(len(pairing), 2)
    # The probability of a class is the logistic function of its margin.
    return Evidence(torch.cat(cells).reshape(len(pairing), 2, *cover.shape[1:]), by_row, torch.sigmoid(by_row))
