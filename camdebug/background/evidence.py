"""What a model makes of the composites: the evidence that enters outside the object, and its predictions.

Evidence is HiResCAM of the margin, signed and summed over the cells outside the object: how much of the decision
enters through the background. The margin is that of the object's class over the class of the other donor, since these
are the two between which the backgrounds can tip it; the margin over all other classes tells planted from clean runs
less well (``tests/benchmarks/detection/variants.py``). The predictions come from the same pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from camdebug.background.composites import Composites
from camdebug.background.pairing import Pairing
from camdebug.cam.lens import Lens
from camdebug.cam.methods.one_pass import signed_hirescam
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.passes import Chunk
from camdebug.probe.probe_set import ProbeSet


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of M rows, each on the same-class background ``[:, 0]`` and on the other-class one ``[:, 1]``.

    Attributes:
        outside: ``(M, 2, h, w)`` float64, signed evidence outside the object in each cell, logits.
        margins: ``(M, 2)`` float64, margin of the object's class over the other donor's, logits; where each class
            stands for itself (several in one picture, a single output), the logit of the object's class.
        probabilities: ``(M, 2)`` float64, probability of the object's class.
    """

    outside: Tensor
    margins: Tensor
    probabilities: Tensor


def gather_evidence(lens: Lens, probes: ProbeSet, pairing: Pairing, cover: Tensor) -> Evidence:
    """Pass the composites of a pairing through the model. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        probes: the probe set.
        pairing: M rows of recipient, same-class and other-class donor.
        cover: ``(N, h, w)``, share of each cell that the object covers.
    """
    own, other = (probes.labels[probe].repeat_interleave(2) for probe in (pairing.recipients, pairing.other))
    outside = 1 - cover[pairing.recipients].repeat_interleave(2, dim=0)

    def decision(scores: ClassScores, rows: slice) -> Tensor:
        return scores.margin(own[rows].to(scores.device), other[rows].to(scores.device))

    def take(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        evidence = signed_hirescam(chunk.view.activation, chunk.view.gradients[0]).cpu().double()
        mine, others = own[chunk.rows], other[chunk.rows]
        return evidence * outside[chunk.rows], chunk.scores.margin(mine, others), chunk.scores.probability(mine)

    pictures = Composites(probes, pairing, device=lens.subject.precision.convert(probes.images[:1]).device)
    cells, margins, probabilities = lens.over(pictures, [decision], take)
    rows = (len(pairing), 2)
    return Evidence(cells.reshape(*rows, *cover.shape[1:]), margins.reshape(rows), probabilities.reshape(rows))
