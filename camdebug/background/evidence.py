"""What a model makes of the composites: the evidence that enters outside the object, and its predictions.

Evidence is HiResCAM of the margin, signed and summed over the cells outside the object: how much of the decision
enters through the background. The margin is that of the object's class over the class of the other donor, since these
are the two between which the backgrounds can tip it; the margin over all other classes tells planted from clean runs
less well (``tests/benchmarks/detection/variants.py``). The predictions come from the same pass.
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
        margins: ``(M, 2)`` float64, margin of the object's class over the other donor's, logits.
        probabilities: ``(M, 2)`` float64, softmax probability of the object's class.
    """

    outside: Tensor
    margins: Tensor
    probabilities: Tensor


def margin(logits: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """``(N,)``: logit of the label minus logit of another class, from ``(N, K)``.

    >>> margin(torch.tensor([[1.0, 4.0, 2.5]]), torch.tensor([1]), torch.tensor([2]))
    tensor([1.5000])
    """
    return (logits.gather(1, labels[:, None]) - logits.gather(1, others[:, None]))[:, 0]


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
    own, other = (probes.labels[probe].repeat_interleave(2) for probe in (pairing.recipients, pairing.other))
    outside = 1 - cover[pairing.recipients].repeat_interleave(2, dim=0)

    def decision(logits: Tensor, rows: slice) -> Tensor:
        return margin(logits, own[rows].to(logits.device), other[rows].to(logits.device))

    cells, margins, probabilities = [], [], []
    pictures = Composites(probes, pairing, device=precision.convert(probes.images[:1]).device)
    for chunk in run_pass(model, layer, pictures, [decision], precision, chunk_size=chunk_size):
        evidence = signed_hirescam(chunk.activation, chunk.gradients[0]).cpu().double()
        logits = chunk.logits.cpu().double()
        cells.append(evidence * outside[chunk.rows])
        margins.append(decision(logits, chunk.rows))
        probabilities.append(logits.softmax(1).gather(1, own[chunk.rows][:, None])[:, 0])
    return Evidence(
        torch.cat(cells).reshape(len(pairing), 2, *cover.shape[1:]),
        torch.cat(margins).reshape(len(pairing), 2),
        torch.cat(probabilities).reshape(len(pairing), 2),
    )
