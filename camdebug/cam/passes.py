"""One pass over pictures: a forward without a graph below the target layer, gradients above it.

The forward runs without gradients up to the target layer. There a hook switches them on and hands the rest of the
network a copy of the activation that requires a gradient. So nothing below the layer is kept or differentiated: the
pass costs about one inference forward, works on frozen backbones, and leaves every ``.grad`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import Subject
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.layout import tensor_in, with_tensor

ScoreFn = Callable[[ClassScores, slice], Tensor]
"""``(scores of n pictures, rows of the picture set) -> (n,)``: the score to explain for each picture of a chunk."""

GradMode = Callable[[], AbstractContextManager[Any]]


class Pictures(Protocol):
    """What a pass reads: a tensor ``(N, C, *size)``, or anything that makes a slice of one when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class LayerView:
    """What a pass saw at one layer: ``activation`` and each of ``gradients`` ``(n, C, *grid)`` float32, no graph."""

    layer: TargetLayer
    activation: Tensor
    gradients: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a pass found for some of the pictures.

    Attributes:
        rows: which pictures of the set.
        pictures: ``(n, C, *size)`` as the model gets them.
        subject: the model.
        scores: of the pictures, without a graph.
        explained: one ``(n,)`` for each score that was asked for.
        views: of each target layer.
    """

    rows: slice
    pictures: Tensor
    subject: Subject
    scores: ClassScores
    explained: tuple[Tensor, ...]
    views: tuple[LayerView, ...]

    @property
    def view(self) -> LayerView:
        """Of the first target layer, which is the only one in most cases."""
        return self.views[0]


def in_chunks(count: int, chunk_size: int) -> list[slice]:
    """All rows of so many pictures, in order, ``chunk_size`` at a time.

    >>> in_chunks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]


def run_pass(
    subject: Subject,
    layers: Sequence[TargetLayer],
    images: Pictures,
    scores: Sequence[ScoreFn],
    *,
    rows: Iterable[slice],
    graph: bool = True,
) -> Iterator[Chunk]:
    """Go over ``rows`` of ``images``, a forward each, and take the gradient of every score at every target layer.

    Call inside ``borrowed(model)``. Memory does not grow with the number of pictures: each chunk is released as the
    next is asked for. Without ``graph``, there are no gradients.
    """
    # A layer inside a no_grad block of the model's own (a frozen backbone) loses its graph where the block ends,
    # unless gradients were on from the start; so that is the second way, kept once it was needed.
    ways: list[GradMode] = [torch.no_grad, torch.enable_grad]
    for part in rows:
        yield look_at(subject, layers, images[part], part, scores, ways, graph=graph)


def look_at(
    subject: Subject,
    layers: Sequence[TargetLayer],
    pictures: Tensor,
    rows: slice,
    scores: Sequence[ScoreFn],
    ways: list[GradMode],
    *,
    graph: bool = True,
) -> Chunk:
    """One forward of these pictures. ``ways`` is shortened when the first of them cannot be gone."""
    converted = subject.converted(pictures)
    with subject.precision.context():
        # A copy: the model may write to its input, and an inference tensor cannot enter a graph.
        found = _forward(subject, layers, converted.clone(), rows, scores, ways[0], graph=graph)
        if found.is_lost and len(ways) > 1:
            again = _forward(subject, layers, converted.clone(), rows, scores, ways[1], graph=graph)
            ways[:] = ways[1:] if again.reached > found.reached else ways[:1]
            found = again if again.reached > found.reached else found
        if any(all(gradient is None for gradient in of_score) for of_score in found.gradients):
            raise _no_path(layers)
    seen, read, explained = found.activations, found.scores, found.explained
    views = [
        LayerView(
            layer,
            layer.layout.cells(activation.detach().float()),
            tuple(layer.layout.cells(_or_zeros(of[i], activation).float()) for of in found.gradients),
        )
        for i, (layer, activation) in enumerate(zip(layers, seen, strict=True))
    ]
    return Chunk(rows, converted, subject, read.kept(), tuple(s.detach() for s in explained), tuple(views))


@dataclass(frozen=True, eq=False)
class _Found:
    """Of one forward: activations of the layers, all scores, those asked for, and their gradients at each layer."""

    activations: list[Tensor]
    scores: ClassScores
    explained: list[Tensor]
    gradients: list[Sequence[Tensor | None]]

    @property
    def reached(self) -> int:
        """How many gradients there are."""
        return sum(gradient is not None for of_score in self.gradients for gradient in of_score)

    @property
    def is_lost(self) -> bool:
        """Whether a layer is not reached. It may have no part in the scores, or its graph did not last."""
        return self.reached < len(self.gradients) * len(self.activations)


def _forward(
    subject: Subject,
    layers: Sequence[TargetLayer],
    pictures: Tensor,
    rows: slice,
    scores: Sequence[ScoreFn],
    below: GradMode,
    *,
    graph: bool,
) -> _Found:
    with captured(layers, graph=graph) as seen, below() if graph else torch.no_grad():
        read = subject.forward(pictures, rows)
    if read.table is not None and len(read.table) != len(pictures):
        raise ValueError(
            f"model: expected a row of scores for each of {len(pictures)} pictures from its forward, got "
            f"{len(read.table)}"
        )
    for layer in layers:
        runs = len(seen.get(layer.name, ()))
        if runs != 1:
            raise TargetLayerError(f"target_layer: {layer.name!r} ran {runs} times in a forward, expected once")
    activations = [seen[layer.name][0] for layer in layers]
    with torch.set_grad_enabled(graph):
        explained = [score(read, rows) for score in scores]
    last = len(explained) - 1
    gradients = [_gradients(score, activations, layers, keep=i < last) for i, score in enumerate(explained) if graph]
    return _Found(activations, read, explained, gradients)


REENTRANT = (
    "a part of the model is checkpointed with use_reentrant=True, which allows only the gradients of training; "
    "expected use_reentrant=False, or a layer behind that part"
)
"""Why no gradient is had at a layer in or below such a part."""


class NoGradientError(TargetLayerError):
    """No gradient reaches the layer."""


def _no_path(layers: Sequence[TargetLayer]) -> NoGradientError:
    names = ", ".join(repr(layer.name) for layer in layers)
    return NoGradientError(f"target_layer: no gradient path leads from {names} to the scores")


@contextmanager
def captured(layers: Sequence[TargetLayer], *, graph: bool = True) -> Iterator[dict[str, list[Tensor]]]:
    """The lean hook: collect each layer's output as a tensor that gradients can be taken of; the rest builds on it.

    The first layer's is a leaf, so nothing below it is differentiated.
    """
    seen: dict[str, list[Tensor]] = {}
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.module.register_forward_hook(_split(layer.name, seen, graph)).remove)
        yield seen


def _split(name: str, seen: dict[str, list[Tensor]], graph: bool) -> Callable[..., object]:
    def split(_module: object, _inputs: object, output: object) -> object:
        found = tensor_in(output)
        if found is None:
            raise TargetLayerError(f"target_layer: {name!r} gives no tensor in this forward")
        # Copies: the model may hold the output by another name and overwrite it, and the next layer may work in place.
        if not graph:
            seen.setdefault(name, []).append(found.detach().clone())
            return output
        torch.set_grad_enabled(True)
        behind_another = bool(seen) and found.requires_grad
        kept = found.clone() if behind_another else found.detach().clone().requires_grad_(True)
        seen.setdefault(name, []).append(kept)
        return with_tensor(output, kept.clone())

    return split


def _gradients(
    score: Tensor, activations: Sequence[Tensor], layers: Sequence[TargetLayer], *, keep: bool
) -> Sequence[Tensor | None]:
    """Of ``(n,)`` scores, one for each layer; ``None`` where no path leads."""
    if not score.requires_grad:
        return [None] * len(activations)
    return gradients_of(score, activations, layers, keep=keep)


def gradients_of(
    score: Tensor, activations: Sequence[Tensor], layers: Sequence[TargetLayer], *, keep: bool
) -> Sequence[Tensor | None]:
    """Of each of the scores at the activation of each layer; ``None`` where no path leads.

    Raises:
        NoGradientError: when a part of the model is checkpointed in a way that allows no such gradient.
    """
    ones = torch.ones_like(score)
    try:
        return torch.autograd.grad(score, list(activations), ones, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise NoGradientError(f"{_no_path(layers)}; {REENTRANT}") from error


def _or_zeros(gradient: Tensor | None, activation: Tensor) -> Tensor:
    """Some layers of several may have no part in a score."""
    return torch.zeros_like(activation) if gradient is None else gradient
