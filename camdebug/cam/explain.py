"""Maps for several choices of class and several methods from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camdebug.cam.augmented import OTHER_COPIES, Augmentation, Augmented
from camdebug.cam.fusing import fused
from camdebug.cam.lens import Lens
from camdebug.cam.methods.one_pass import OnePass
from camdebug.cam.methods.registry import Method, needs_gradient
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.options import PLAIN, MapOptions
from camdebug.cam.passes import Chunk, LayerView, Pictures, ScoreFn
from camdebug.records import Heatmaps

_AT_A_TIME = 8


@dataclass(frozen=True)
class Ranked:
    """The class with the highest score (place 0), the second highest (1) and so on, of each picture."""

    place: int = 0


Choice = Tensor | Ranked | None
"""Which class of each picture: ``(N,)`` int64, one of a rank, or ``None`` for the predicted one."""


def explain(
    lens: Lens,
    images: Pictures,
    class_idx: Sequence[Choice],
    methods: Sequence[Method],
    options: MapOptions = PLAIN,
) -> list[dict[str, Heatmaps]]:
    """Maps for several choices of class from one pass. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        images: ``(N, C, *size)``, or what makes slices of it.
        class_idx: the choices.
        methods: from :func:`camdebug.cam.methods.registry.check_methods`.
        options: what is done to the maps. With ``aug_smooth`` scores and predictions are those of the plain pictures,
            and there are six passes, or three: where a ``score_fn``, other inputs or the order of a sequence know left
            from right, no copy is mirrored.

    Returns:
        For each choice a dict from the method's name to ``Heatmaps``.
    """
    found = _one_pass(lens, images, class_idx, methods, options)
    if not options.aug_smooth:
        return found
    settled = [next(iter(by_method.values())).class_idx for by_method in found]
    totals = [{name: heat.maps for name, heat in by_method.items()} for by_method in found]
    copies = _copies(lens, images)
    for copy in copies:
        for total, by_method in zip(
            totals, _one_pass(lens, Augmented(images, copy), settled, methods, options), strict=True
        ):
            total.update({name: total[name] + copy.undone(heat.maps) for name, heat in by_method.items()})
    count = 1 + len(copies)
    return [
        {name: replace(heat, maps=total[name] / count) for name, heat in by_method.items()}
        for total, by_method in zip(totals, found, strict=True)
    ]


@dataclass(frozen=True)
class Recipe:
    """One method and what is done to its maps: how all maps of a run are made, so that they can be compared."""

    method: Method
    options: MapOptions = PLAIN

    @property
    def name(self) -> str:
        """The method's, with the options that are not the usual ones."""
        changed = [
            name if value is True else str(value)
            for name, value in vars(self.options).items()
            if value != vars(PLAIN)[name]
        ]
        return f"{self.method.name} ({', '.join(changed)})" if changed else self.method.name

    def maps(self, lens: Lens, images: Pictures, class_idx: Sequence[Choice]) -> list[Heatmaps]:
        """For each choice of class, as :func:`explain` has it. Call inside ``borrowed(model)``."""
        found = explain(lens, images, class_idx, [self.method], self.options)
        return [replace(maps[self.method.name], method=self.name) for maps in found]


def _copies(lens: Lens, images: Pictures) -> tuple[Augmentation, ...]:
    """Mirrored ones only where nothing but the picture knows left from right: neither a region nor another input."""
    subject = lens.subject
    sided = subject.inputs or getattr(subject.outputs, "score_fn", None) is not None or images[:1].ndim == 3
    return tuple(copy for copy in OTHER_COPIES if not (copy.mirrored and sided))


def _one_pass(
    lens: Lens, images: Pictures, class_idx: Sequence[Choice], methods: Sequence[Method], options: MapOptions
) -> list[dict[str, Heatmaps]]:
    wanted = [(choice, method) for choice in range(len(class_idx)) for method in methods]

    def take(chunk: Chunk) -> tuple[Tensor, ...]:
        table = chunk.scores.table
        known = torch.empty(len(chunk.pictures), 0) if table is None else table.float()
        idx = [_indices(chunk.scores, choice, chunk.rows) for choice in class_idx]
        maps = [_maps(chunk, choice, idx[choice], method, options).cpu() for choice, method in wanted]
        return (known, *idx, *(score.float().cpu() for score in chunk.explained), *maps)

    scores = [_class_score(choice) for choice in class_idx]
    table, *rest = lens.over(images, scores, take, graph=any(map(needs_gradient, methods)))
    idx, values, maps = rest[: len(scores)], rest[len(scores) : 2 * len(scores)], rest[2 * len(scores) :]
    heatmaps: list[dict[str, Heatmaps]] = [{} for _ in class_idx]
    layer = ", ".join(layer.name for layer in lens.layers)
    for (choice, method), own in zip(wanted, maps, strict=True):
        heatmaps[choice][method.name] = _heatmaps(own, idx[choice], values[choice], table, method.name, layer)
    return heatmaps


def _maps(chunk: Chunk, choice: int, class_idx: Tensor, method: Method, options: MapOptions) -> Tensor:
    if isinstance(method, OnePass):
        every = [_of_view(method, view, choice, options) for view in chunk.views]
    else:
        layers = range(len(chunk.views)) if method.layered else (0,)
        every = [method(chunk, i, class_idx.to(chunk.pictures.device)) for i in layers]
    return fused([options.finished(signed) for signed in every], options.fuse)


def _of_view(method: OnePass, view: LayerView, choice: int, options: MapOptions) -> Tensor:
    """A few pictures at a time: what a method needs in between is as large as the activation, several times over."""
    activation = view.activation
    gradient = view.gradients[choice] if method.uses_gradient else activation
    parts = [slice(start, start + _AT_A_TIME) for start in range(0, len(activation), _AT_A_TIME)]
    smooth = options.eigen_smooth
    return torch.cat([method.signed_map(activation[part], gradient[part], eigen_smooth=smooth) for part in parts])


def _class_score(choice: Choice) -> ScoreFn:
    def score(scores: ClassScores, rows: slice) -> Tensor:
        return scores.of(_indices(scores, choice, rows))

    return score


def _indices(scores: ClassScores, choice: Choice, rows: slice) -> Tensor:
    """``(n,)`` int64 on the device of the scores: the classes that are wanted."""
    if isinstance(choice, Tensor):
        return choice[rows].to(scores.device, copy=True)
    place = 0 if choice is None else choice.place
    if scores.table is None:
        raise ValueError(
            "class_idx: the model's output does not tell which class it predicts; pass the class to explain"
        )
    if place >= scores.table.shape[1]:
        raise ValueError(f"k: expected at most the model's {scores.table.shape[1]} classes, got {place + 1}")
    return scores.table.argmax(1) if place == 0 else scores.table.argsort(dim=1, descending=True, stable=True)[:, place]


def _heatmaps(maps: Tensor, idx: Tensor, score: Tensor, table: Tensor, method: str, layer: str) -> Heatmaps:
    if not table.shape[1]:
        return Heatmaps(maps, idx, score, None, None, method, layer)
    predicted = table.argmax(1)
    best = table.gather(1, predicted[:, None])[:, 0]
    return Heatmaps(maps, idx, score, predicted, best, method, layer)
