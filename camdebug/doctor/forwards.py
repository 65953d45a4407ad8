"""Does a forward give the same twice, and does a picture's score depend on its neighbours?"""

from __future__ import annotations

import torch
from torch import Tensor

from camdebug.cam.model.subject import Subject
from camdebug.doctor.findings import Findings
from camdebug.numerals import number, percent

_ALONE = 4
_ROUNDING = 0.01
_ROUNDING_OF_16_BITS = 0.05
"""Shares of the spread of the scores; rounding stays below."""


def check_forwards(subject: Subject, images: Tensor, findings: Findings, *, dtype: str | None) -> None:
    """Compare two forwards of a chunk, then pictures alone with the same among others. Call inside ``borrowed(model)``.

    Args:
        subject: who is examined.
        images: ``(n, C, *size)``, one chunk.
        findings: where what is found goes.
        dtype: of the target layer's output, if there is a layer.
    """
    rounding = _ROUNDING_OF_16_BITS if dtype in ("float16", "bfloat16") else _ROUNDING
    first, second = (_scores(subject, images) for _ in range(2))
    if first is None or second is None:
        findings.note("The output does not tell how many classes there are, so forwards were not compared.")
        return
    if not bool(first.isfinite().all()):
        findings.problem(
            "the model's scores are not finite for these pictures. Check its weights and how pictures are normalised."
        )
        return
    unlike = _apart(first, second)
    if unlike > rounding:
        findings.problem(
            f"the forward draws random numbers in evaluation mode: scores of the same pictures differ by up to "
            f"{percent(unlike)} of their spread from one forward to the next, and so do maps. Look for F.dropout "
            "without training=self.training, or for sampling in forward."
        )
        return
    if not torch.equal(first, second):
        findings.note(
            f"Two forwards of the same pictures differ a little (by {number(unlike)} of the spread of the scores), so "
            "looks are not repeatable to the bit."
        )
    _check_neighbours(subject, images, first, findings, rounding=rounding)


def _check_neighbours(
    subject: Subject, images: Tensor, together: Tensor, findings: Findings, *, rounding: float
) -> None:
    if len(images) < 2:
        return
    few = images[:_ALONE]
    alone = [_scores(subject, few[i : i + 1]) for i in range(len(few))]
    found = torch.cat([scores for scores in alone if scores is not None])
    apart = _apart(together[: len(few)], found, spread=_spread(together))
    if apart > rounding:
        findings.problem(
            f"a picture's scores depend on its neighbours in the batch: alone they differ by up to {percent(apart)} of "
            "their spread, and so do maps. Look for BatchNorm without running statistics (track_running_stats=False), "
            "or for means over the batch in forward."
        )


def _scores(subject: Subject, images: Tensor) -> Tensor | None:
    """``(n, K)`` float64 on the CPU."""
    return subject.forward(subject.converted(images), slice(0, len(images))).kept().table


def _spread(scores: Tensor) -> float:
    return float(scores.max() - scores.min())


def _apart(one: Tensor, other: Tensor, *, spread: float | None = None) -> float:
    """The largest difference, as a share of the spread of the scores."""
    spread = _spread(one) if spread is None else spread
    return float((one - other).abs().max()) / (spread or 1.0)
