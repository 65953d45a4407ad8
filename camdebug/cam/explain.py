"""Maps for several choices of class and several methods from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camdebug.cam.lens import Lens
from camdebug.cam.methods import OnePass
from camdebug.cam.outputs import ClassScores
from camdebug.cam.passes import Chunk, LayerView, Pictures, ScoreFn
from camdebug.cam.registry import MapOptions, Method, finished
from camdebug.records import Heatmaps

PLAIN = MapOptions()
_AT_A_TIME = 8


def explain(
    lens: Lens,
    images: Pictures,
    class_idx: Sequence[Tensor | None],
    methods: Sequence[Method],
    options: MapOptions = PLAIN,
) -> list[dict[str, Heatmaps]]:
    """Maps for several choices of class from one pass. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        images: ``(N, C, *size)``, or what makes slices of it.
        class_idx: for each choice ``(N,)`` int64, or ``None`` for the predicted class.
        methods: from :func:`camdebug.cam.registry.check_methods`.
        options: what is done to the maps.

    Returns:
        For each choice a dict from the method's name to ``Heatmaps``.
    """
    wanted = [(choice, method) for choice in range(len(class_idx)) for method in methods]
    graph = any(isinstance(method, OnePass) and method.uses_gradient for method in methods)

    def take(chunk: Chunk) -> tuple[Tensor, ...]:
        table = chunk.scores.table
        known = torch.empty(len(chunk.pictures), 0) if table is None else table.float()
        maps = [_maps(chunk, choice, class_idx[choice], method, options).cpu() for choice, method in wanted]
        return (known, *(score.float().cpu() for score in chunk.explained), *maps)

    found = lens.over(images, [_class_score(idx) for idx in class_idx], take, graph=graph)
    table, scores, maps = found[0], found[1 : 1 + len(class_idx)], found[1 + len(class_idx) :]
    heatmaps: list[dict[str, Heatmaps]] = [{} for _ in class_idx]
    layer = ", ".join(layer.name for layer in lens.layers)
    for (choice, method), own in zip(wanted, maps, strict=True):
        heatmaps[choice][method.name] = _heatmaps(own, scores[choice], table, class_idx[choice], method.name, layer)
    return heatmaps


@dataclass(frozen=True)
class Recipe:
    """One method and what is done to its maps: how all maps of a run are made, so that they can be compared."""

    method: Method
    options: MapOptions = PLAIN

    def maps(self, lens: Lens, images: Pictures, class_idx: Sequence[Tensor | None]) -> list[Heatmaps]:
        """For each choice of class, as :func:`explain` has it. Call inside ``borrowed(model)``."""
        found = explain(lens, images, class_idx, [self.method], self.options)
        return [maps[self.method.name] for maps in found]


def _maps(chunk: Chunk, choice: int, wanted: Tensor | None, method: Method, options: MapOptions) -> Tensor:
    if isinstance(method, OnePass):
        return finished(_of_view(method, chunk.view, choice), options.sign)
    return finished(method(chunk, 0, _indices(chunk.scores, wanted, chunk.rows)), options.sign)


def _of_view(method: OnePass, view: LayerView, choice: int) -> Tensor:
    """A few pictures at a time: what a method needs in between is as large as the activation, several times over."""
    activation = view.activation
    gradient = view.gradients[choice] if method.uses_gradient else activation
    parts = [slice(start, start + _AT_A_TIME) for start in range(0, len(activation), _AT_A_TIME)]
    return torch.cat([method.signed_map(activation[part], gradient[part]) for part in parts])


def _class_score(wanted: Tensor | None) -> ScoreFn:
    def score(scores: ClassScores, rows: slice) -> Tensor:
        return scores.of(_indices(scores, wanted, rows))

    return score


def _indices(scores: ClassScores, wanted: Tensor | None, rows: slice) -> Tensor:
    """``(n,)`` int64 on the device of the scores: the classes that are wanted, or those predicted."""
    if wanted is not None:
        return wanted[rows].to(scores.device, copy=True)
    if scores.predicted is None:
        raise ValueError(
            "class_idx: the model's output does not tell which class it predicts; pass the class to explain"
        )
    return scores.predicted


def _heatmaps(maps: Tensor, score: Tensor, table: Tensor, wanted: Tensor | None, method: str, layer: str) -> Heatmaps:
    if not table.shape[1]:
        assert wanted is not None  # _indices has refused it
        return Heatmaps(maps, wanted, score, None, None, method, layer)
    predicted = table.argmax(1)
    best = table.gather(1, predicted[:, None])[:, 0]
    return Heatmaps(maps, predicted if wanted is None else wanted, score, predicted, best, method, layer)
