"""Does a gradient reach the target layer, and are the maps such that they say something?"""

from __future__ import annotations

from torch import Tensor

from camdebug.cam.explain import Recipe
from camdebug.cam.lens import Lens
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.passes import Chunk
from camdebug.doctor.facts import HeatFacts
from camdebug.doctor.findings import Findings
from camdebug.doctor.pictures import Pictures
from camdebug.measures.localisation import has_evidence
from camdebug.numerals import number

_FLAT = 1e-6
_MANY = 0.5


def check_heat(lens: Lens, recipe: Recipe, pictures: Pictures, findings: Findings) -> tuple[HeatFacts, Tensor]:
    """Take gradients and maps. Call inside ``borrowed(model)``.

    Returns:
        What was found, and the maps ``(n, *grid)`` float32 on the CPU.
    """
    cells, channels, alive, reached, finite = _gradients(lens, pictures)
    (heatmaps,) = recipe.maps(lens, pictures.images, [pictures.labels])
    maps = heatmaps.maps
    finite &= maps.flatten(1).isfinite().all(1)
    evident = has_evidence(maps)
    flat = evident & _is_constant(maps)
    facts = HeatFacts(
        method=recipe.name,
        pictures=len(maps),
        cells=float(cells.mean()),
        channels=float(channels.mean()),
        without_evidence=int((~evident & finite).sum()),
        constant=int(flat.sum()),
        not_finite=int((~finite).sum()),
    )
    highest = float(maps.nan_to_num(0.0, 0.0, 0.0).max())
    alive_at_all, reached_at_all = bool(alive.any()), bool(reached.any())
    _judge(facts, findings, layer=lens.layer.name, alive=alive_at_all, reached=reached_at_all, highest=highest)
    return facts, maps


def _gradients(lens: Lens, pictures: Pictures) -> tuple[Tensor, ...]:
    """Each ``(n,)``: shares of cells and channels with a gradient, any activation, any gradient, all finite."""

    def score(scores: ClassScores, rows: slice) -> Tensor:
        labels = pictures.labels
        if labels is not None:
            return scores.of(labels[rows].to(scores.device, copy=True))
        return scores.of(scores.matrix.argmax(1))

    def take(chunk: Chunk) -> tuple[Tensor, ...]:
        activation, gradient = chunk.view.activation, chunk.view.gradients[0]
        some = gradient != 0
        finite = activation.flatten(1).isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        found = (
            some.any(1).flatten(1).double().mean(1),
            some.flatten(2).any(2).double().mean(1),
            (activation != 0).flatten(1).any(1),
            some.flatten(1).any(1),
            finite,
        )
        return tuple(part.cpu() for part in found)

    return lens.over(pictures.images, [score], take)


def _is_constant(maps: Tensor) -> Tensor:
    """``(n,)`` bool: every cell is the same but for rounding."""
    flat = maps.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    high, low = flat.amax(1), flat.amin(1)
    return high - low <= _FLAT * high.abs()


def _why_empty(highest: float, layer: str) -> str:
    if highest > 0:
        return f"nowhere is there more than {number(highest)}, which counts as rounding"
    return f"nothing in {layer} speaks for the class that is explained"


def _judge(facts: HeatFacts, findings: Findings, *, layer: str, alive: bool, reached: bool, highest: float) -> None:
    if facts.not_finite:
        findings.problem(
            f"{facts.not_finite} of {facts.pictures} maps are not finite: numbers overflow in {layer} or above it. "
            "Check the weights, or run in float32 or bfloat16 instead of float16."
        )
    elif not alive:
        findings.problem(
            f"{layer} is dead: its output is 0 for every picture, so every map is empty. Check its weights and its "
            "normalisation, or choose an earlier target_layer."
        )
    elif not reached:
        findings.problem(
            f"the gradient at {layer} is 0 everywhere, so every map is empty: the scores do not depend on it at these "
            "weights (a last layer of zeros, or saturated activations). Initialise the head, or choose another "
            "target_layer."
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
    if facts.constant == facts.pictures:
        findings.problem(
            f"every map is the same in all its cells, so it tells no place: what {layer} gives, or what comes after "
            "it, is blind to position. Choose an earlier target_layer or the method hirescam."
        )
