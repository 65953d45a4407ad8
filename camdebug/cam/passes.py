"""One pass over pictures: a forward without a graph below the target layer, gradients above it.

The forward runs without gradients up to the target layer. There a hook switches them on and hands the rest of the
network a copy of the activation that requires a gradient. So nothing below the layer is kept or differentiated: the
pass costs about one inference forward, works on frozen backbones, and leaves every ``.grad`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from camdebug.cam.layers import TargetLayer, TargetLayerError, candidates
from camdebug.cam.precision import Precision

ScoreFn = Callable[[Tensor, slice], Tensor]
"""``(logits (n, K), rows of the picture set) -> (n,)``: the score to explain for each picture of a chunk."""

_GradMode = Callable[[], AbstractContextManager[Any]]


class Pictures(Protocol):
    """What a pass reads: a tensor ``(N, C, H, W)``, or anything that makes a slice of one when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a pass found for some of the pictures.

    ``logits`` ``(n, K)``, ``activation`` and each of ``gradients`` ``(n, C, h, w)``: all float32, no graph.
    """

    rows: slice
    logits: Tensor
    activation: Tensor
    gradients: tuple[Tensor, ...]


def in_chunks(count: int, chunk_size: int) -> list[slice]:
    """All rows of so many pictures, in order, ``chunk_size`` at a time.

    >>> in_chunks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]


def as_scores(output: object) -> Tensor:
    """The model's output as ``(N, K)`` class scores, or a clear error."""
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
        came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"model: expected class scores (N, K) with K >= 2 from its forward, got {came}")
    return output


def find_target_layer(
    model: nn.Module, images: Tensor, precision: Precision, target_layer: str | nn.Module | None = None
) -> TargetLayer:
    """The layer to explain: the last spatial stage that every gradient path from the pictures to the scores crosses.

    A layer that paths lead around, such as one branch of a block, would explain a part of the scores only. Call inside
    ``borrowed(model)``. ``images`` ``(n, C, H, W)``: one picture is enough.

    Raises:
        TargetLayerError: when no layer qualifies; the message says what to pass.
    """

    def forward(pictures: Tensor) -> None:
        with precision.context():
            model(precision.convert(pictures.clone()))

    first = images[:1]
    branches = []
    for layer in candidates(model, first, forward, target_layer):
        try:
            around = _paths_lead_around(model, layer, first, precision)
        except _NoGradientError:
            if target_layer is not None:
                raise
            continue
        if target_layer is not None or not around:
            return layer
        branches.append(repr(layer.name))
    if branches:
        raise TargetLayerError(
            "target_layer: no single layer with a spatial output carries all that leads to the scores; pass the one to "
            f"explain, such as {' or '.join(branches[:3])}"
        )
    raise TargetLayerError(
        "target_layer: no layer with a spatial output has a gradient path to the scores; pass another"
    )


def _paths_lead_around(model: nn.Module, layer: TargetLayer, picture: Tensor, precision: Precision) -> bool:
    """Whether the picture reaches the scores on a path that does not cross the layer."""
    with precision.context(), torch.enable_grad():
        entry = precision.convert(picture.clone()).detach()
        entry.requires_grad_(entry.is_floating_point())
        found = _forward(model, layer, entry.clone(), torch.enable_grad)
        if found is None:
            raise _no_path(layer)
        _gradient(found[1][:, 0].sum(), found[0], layer, keep=True)
    return _leads_back_to(entry, found[1])


def _leads_back_to(entry: Tensor, scores: Tensor) -> bool:
    """Walk the graph instead of differentiating it: nothing below the layer needs to be differentiable twice."""
    found, waiting = {scores.grad_fn}, [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if getattr(node, "variable", None) is entry:
            return True
        following = {n for n, _ in getattr(node, "next_functions", ()) if n is not None} - found
        found |= following
        waiting.extend(following)
    return False


def run_pass(
    model: nn.Module,
    layer: TargetLayer,
    images: Pictures,
    scores: Sequence[ScoreFn],
    precision: Precision,
    *,
    rows: Iterable[slice],
) -> Iterator[Chunk]:
    """Go over ``rows`` of ``images``, a forward each, and take the gradient of every score at the target layer.

    Call inside ``borrowed(model)``. Memory does not grow with the number of pictures: each chunk is released as the
    next is asked for.
    """
    # A layer inside a no_grad block of the model's own (a frozen backbone) loses its graph where the block ends,
    # unless gradients were on from the start; so that is the second way, kept once it was needed.
    ways: list[_GradMode] = [torch.no_grad, torch.enable_grad]
    for part in rows:
        yield _explain(model, layer, images[part], part, scores, precision, ways)


def _explain(
    model: nn.Module,
    layer: TargetLayer,
    pictures: Tensor,
    rows: slice,
    scores: Sequence[ScoreFn],
    precision: Precision,
    ways: list[_GradMode],
) -> Chunk:
    with precision.context():
        # A copy: the model may write to its input, and an inference tensor cannot enter a graph.
        while (found := _forward(model, layer, precision.convert(pictures.clone()), ways[0])) is None:
            if len(ways) == 1:
                raise _no_path(layer)
            ways.pop(0)
        activation, logits = found
        with torch.enable_grad():
            explained = [score(logits.float(), rows).sum() for score in scores]
        gradients = [_gradient(s, activation, layer, keep=s is not explained[-1]) for s in explained]
    order = (0, 3, 1, 2) if layer.channels_last else (0, 1, 2, 3)
    return Chunk(
        rows,
        logits.detach().float(),
        activation.detach().float().permute(order),
        tuple(g.float().permute(order) for g in gradients),
    )


def _forward(model: nn.Module, layer: TargetLayer, pictures: Tensor, below: _GradMode) -> tuple[Tensor, Tensor] | None:
    """Activation and logits; ``None`` when the graph from one to the other did not last."""
    with _captured(layer.module) as seen, below():
        logits = as_scores(model(pictures))
    if len(seen) != 1:
        raise TargetLayerError(f"target_layer: {layer.name!r} ran {len(seen)} times in a forward, expected once")
    return (seen[0], logits) if logits.requires_grad else None


class _NoGradientError(TargetLayerError):
    pass


def _no_path(layer: TargetLayer) -> _NoGradientError:
    return _NoGradientError(f"target_layer: no gradient path leads from {layer.name!r} to the scores")


@contextmanager
def _captured(module: nn.Module) -> Iterator[list[Tensor]]:
    """The lean hook: collect the module's output as a leaf that requires a gradient, and let the rest build on it."""
    seen: list[Tensor] = []

    def split(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:  # noqa: ANN401
        torch.set_grad_enabled(True)
        leaf: Tensor = output.detach().requires_grad_(True)
        seen.append(leaf)
        return leaf.clone()  # the next layer may work in place

    handle = module.register_forward_hook(split)
    try:
        yield seen
    finally:
        handle.remove()


def _gradient(score: Tensor, activation: Tensor, layer: TargetLayer, *, keep: bool) -> Tensor:
    gradient = None
    if score.requires_grad:
        (gradient,) = torch.autograd.grad(score, activation, retain_graph=keep, allow_unused=True)
    if gradient is None:
        raise _no_path(layer)
    return gradient
