"""Does a gradient reach the target layer, and are the maps such that they say something?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camdebug.cam.explain import Recipe
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import needs_gradient
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.passes import Chunk, NoGradientError, ScoreFn, captured
from camdebug.doctor.advice import LayerAdvice
from camdebug.doctor.facts import HeatFacts
from camdebug.doctor.findings import Findings
from camdebug.doctor.pictures import Pictures
from camdebug.measures.localisation import has_evidence
from camdebug.numerals import number

_FLAT = 1e-6
_MANY = 0.5
_TINY = 1e-3
"""Activations that are all below may give maps below what counts as rounding, and grow with training."""
_CANCELS = 1e-3
"""So small a share is left of a cell's evidence when its channels are added up, if they cancel but for rounding."""
_TRIED = 4
"""Pictures whose gradient is taken at tokens beside the cells, too."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """At the layer, each ``(n,)``: shares of cells and channels with a gradient, largest activation, any gradient.

    ``left``: of the evidence in the cells when channels are added up, the largest over the largest before.
    """

    cells: Tensor
    channels: Tensor
    largest: Tensor
    reached: Tensor
    left: Tensor
    finite: Tensor
    has_path: bool


def check_heat(
    lens: Lens, recipe: Recipe, pictures: Pictures, findings: Findings, advice: LayerAdvice
) -> tuple[HeatFacts, Tensor]:
    """Take gradients and maps. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        recipe: how maps are made.
        pictures: of which they are made.
        findings: where what is found goes.
        advice: names another layer.

    Returns:
        What was found, and the maps ``(n, *grid)`` float32 on the CPU.
    """
    seen = _gradients(lens, pictures, recipe)
    (heatmaps,) = recipe.maps(lens, pictures.images, [pictures.labels])
    maps = heatmaps.maps
    finite = seen.finite & maps.flatten(1).isfinite().all(1)
    evident = has_evidence(maps)
    flat = evident & _is_constant(maps)
    facts = HeatFacts(
        method=recipe.name,
        pictures=len(maps),
        cells=float(seen.cells.mean()),
        channels=float(seen.channels.mean()),
        without_evidence=int((~evident & finite).sum()),
        constant=int(flat.sum()),
        not_finite=int((~finite).sum()),
    )
    if facts.not_finite or not bool(seen.largest.any()):
        _judge_activation(facts, findings, lens.layer.name)
    elif not bool(seen.reached.any()):
        _judge_reach(facts, findings, lens, pictures, advice, has_path=seen.has_path)
    else:
        highest = float(maps.nan_to_num(0.0, 0.0, 0.0).max())
        cancels = float(seen.left.nan_to_num(0.0).max()) < _CANCELS and float(seen.largest.max()) > _TINY
        _judge_maps(facts, findings, lens.layer.name, advice, highest=highest, cancels=cancels)
    if facts.constant == facts.pictures:
        findings.problem(
            f"every map is the same in all its cells, so it tells no place: what {lens.layer.name} gives, or what "
            "comes after it, is blind to position. Choose an earlier target_layer or the method hirescam."
        )
    return facts, maps


def _score_of(pictures: Pictures) -> ScoreFn:
    """Of the label's class, or of the predicted one without labels."""

    def score(scores: ClassScores, rows: slice) -> Tensor:
        labels = pictures.labels
        if labels is not None:
            return scores.of(labels[rows].to(scores.device, copy=True))
        return scores.of(scores.matrix.argmax(1))

    return score


def _gradients(lens: Lens, pictures: Pictures, recipe: Recipe) -> _Seen:
    def take(chunk: Chunk) -> tuple[Tensor, ...]:
        activation = chunk.view.activation
        gradient = chunk.view.gradients[0] if chunk.view.gradients else torch.zeros_like(activation)
        some, evidence = gradient != 0, activation * gradient
        finite = activation.flatten(1).isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        found = (
            some.any(1).flatten(1).double().mean(1),
            some.flatten(2).any(2).double().mean(1),
            activation.flatten(1).abs().amax(1),
            some.flatten(1).any(1),
            evidence.sum(1).flatten(1).abs().amax(1) / evidence.abs().sum(1).flatten(1).amax(1),
            finite,
        )
        return tuple(part.cpu() for part in found)

    has_path = True
    try:
        found = lens.over(pictures.images, [_score_of(pictures)], take)
    except NoGradientError:
        if needs_gradient(recipe.method):
            raise
        has_path, found = False, lens.over(pictures.images, [], take, graph=False)
    cells, channels, largest, reached, left, finite = found
    return _Seen(cells, channels, largest, reached, left, finite, has_path)


def _reaches_beside(lens: Lens, pictures: Pictures) -> bool:
    """Whether there is a gradient anywhere in the layer's output, of which the cells are a part."""
    few = pictures.first(_TRIED)
    rows, subject = slice(0, len(few.images)), lens.subject
    converted = subject.converted(few.images)
    with subject.precision.context(), captured(lens.layers) as seen, torch.enable_grad():
        total = _score_of(few)(subject.forward(converted, rows), rows).sum()
    (gradient,) = torch.autograd.grad(total, seen[lens.layer.name][0], allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())


def _all_zeros(model: nn.Module) -> str | None:
    """The last weight, of two axes or more, that is all zeros."""
    weights = [(name, p) for name, p in model.named_parameters() if p.ndim > 1 and p.numel()]
    return next((name for name, p in reversed(weights) if not bool(p.detach().any())), None)


def _is_constant(maps: Tensor) -> Tensor:
    """``(n,)`` bool: every cell is the same but for rounding."""
    flat = maps.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    high, low = flat.amax(1), flat.amin(1)
    return high - low <= _FLAT * high.abs()


def _judge_activation(facts: HeatFacts, findings: Findings, layer: str) -> None:
    if facts.not_finite:
        findings.problem(
            f"{facts.not_finite} of {facts.pictures} maps are not finite: numbers overflow in {layer} or above it. "
            "Check the weights, or run in float32 or bfloat16 instead of float16."
        )
        return
    empty = ", so every map is empty" if facts.without_evidence == facts.pictures else ""
    findings.problem(
        f"{layer} is dead: its output is 0 for every picture{empty}. Check its weights and its normalisation, or "
        "choose an earlier target_layer."
    )


def _judge_reach(
    facts: HeatFacts, findings: Findings, lens: Lens, pictures: Pictures, advice: LayerAdvice, *, has_path: bool
) -> None:
    """No gradient reaches a cell. Methods that take none may have maps all the same."""
    layer, empty = lens.layer.name, facts.without_evidence == facts.pictures
    lost = "background evidence, which takes gradients there,"
    if not has_path:
        findings.note(
            f"No gradient leads from {layer} to the scores. {facts.method} takes none, but {lost} cannot be measured."
        )
        return
    follows = "every map is empty" if empty else f"{lost} will be 0"
    if _reaches_beside(lens, pictures):
        findings.problem(
            f"the scores depend on no cell of {layer}, only on what its output holds beside them, such as a class "
            f"token, so {follows}. {advice.another()}"
        )
    elif (zeros := _all_zeros(lens.subject.model)) is not None:
        findings.note(
            f"The head starts at zero ({zeros} is all zeros), so before the first step "
            f"{'maps are empty' if empty else f'{lost} is 0'}."
        )
    else:
        findings.problem(
            f"the gradient at {layer} is 0 everywhere, so {follows}: the scores do not depend on it at these weights "
            f"(saturated activations, for example). {advice.another()}"
        )


def _judge_maps(
    facts: HeatFacts, findings: Findings, layer: str, advice: LayerAdvice, *, highest: float, cancels: bool
) -> None:
    if facts.without_evidence == facts.pictures and cancels:
        findings.problem(
            f"all {facts.pictures} maps are empty at {layer}: what its channels say of the classes cancels in every "
            f"cell, as it does where a normalisation is all that reads it. {advice.another()}"
        )
    elif facts.without_evidence == facts.pictures:
        findings.note(
            f"Every map is empty: {_why_empty(highest, layer)}. Before training that can be; if it stays so, choose "
            "another method or target_layer."
        )
    elif facts.without_evidence > _MANY * facts.pictures:
        findings.note(
            f"{facts.without_evidence} of {facts.pictures} maps are empty (nothing speaks for the class). Before "
            "training that is common; such probes are counted as without evidence."
        )


def _why_empty(highest: float, layer: str) -> str:
    if highest > 0:
        return f"nowhere is there more than {number(highest)}, which counts as rounding"
    return f"nothing in {layer} speaks for the class that is explained"
