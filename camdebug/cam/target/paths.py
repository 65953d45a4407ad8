"""Which layers the way from the picture to the scores crosses, and which cells the scores feel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from camdebug.cam.model.subject import Subject
from camdebug.cam.passes import NoGradientError, captured
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import tensor_in, with_tensor
from camdebug.cam.target.tracing import Output, awake, behind, leads_back, traced
from camdebug.rng import preserved_rng

# Rounding, in bfloat16 too, against what is there.
_NEXT_TO = 0.01


@dataclass(frozen=True, eq=False)
class Graph:
    """What one forward has shown, with the graph of gradients or without."""

    outputs: list[Output]
    entry: Tensor
    score: Tensor

    @cached_property
    def nodes(self) -> set[Any]:
        """All that the score hangs on."""
        return behind(self.score)

    @cached_property
    def is_whole(self) -> bool:
        """Whether it leads back to the picture; a block without gradients inside of the model cuts it."""
        return leads_back(self.score, self.entry)

    def leads_around(self, *outputs: Output) -> bool:
        """Whether a path from the picture to the scores surely crosses none of the outputs."""
        return self.is_whole and leads_back(self.score, self.entry, around=frozenset(o.node for o in outputs))


def graph_of(subject: Subject, picture: Tensor) -> Graph:
    """One forward of one picture, with a graph from the picture to the score of the first class."""
    with traced(subject.model) as outputs, subject.precision.context(), torch.enable_grad():
        entry = _entry(subject, picture)
        score = _score(subject, entry)
    return Graph(outputs, entry, score)


def _entry(subject: Subject, picture: Tensor) -> Tensor:
    entry = subject.converted(picture).detach()
    return entry.requires_grad_(entry.is_floating_point())


def _score(subject: Subject, entry: Tensor) -> Tensor:
    scores = subject.forward(entry.clone(), slice(0, 1))
    return scores.of(torch.zeros(1, dtype=torch.int64, device=scores.device)).sum()


def beside_each_other(branches: Sequence[Output], graph: Graph) -> list[Output]:
    """The last layers, parts of one container, that only together carry all, such as those of a feature pyramid."""
    groups: dict[str, list[Output]] = {}
    for output in branches:
        parent, _, own = output.name.rpartition(".")
        if own.isdecimal():
            groups.setdefault(parent, []).append(output)
    found = (group for group in groups.values() if len(group) > 1 and not graph.leads_around(*group))
    return sorted(next(found, []), key=lambda output: int(output.name.rpartition(".")[2]))


def paths(subject: Subject, layer: TargetLayer, picture: Tensor) -> tuple[bool, bool]:
    """Whether the picture reaches the scores on a path that does not cross the layer, and whether its cells do.

    Behind the last attention a class token alone is read: the gradient of the patches is exactly zero there.
    """
    entry, score, gradient = gradient_at(subject, layer, picture)
    if layer.layout.kind == "tokens" and not gradient.any():
        with awake(subject.model):
            gradient = gradient_at(subject, layer, picture)[2]
    reaches = layer.layout.kind != "tokens" or bool(layer.layout.cells(gradient).any())
    return leads_back(score, entry), reaches


def gradient_at(subject: Subject, layer: TargetLayer, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The picture as it entered, the score of the first class, and its gradient at the layer.

    Raises:
        NoGradientError: when no gradient path leads there.
    """
    with subject.precision.context(), torch.enable_grad():
        entry = _entry(subject, picture)
        with captured([layer]) as seen:
            score = _score(subject, entry)
        kept = seen.get(layer.name, [])
        if len(kept) != 1 or not score.requires_grad:
            raise _no_path(layer)
        gradient = torch.autograd.grad(score, kept[0], retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        raise _no_path(layer)
    return entry, score, gradient


def _no_path(layer: TargetLayer) -> NoGradientError:
    return NoGradientError(f"target_layer: no gradient path leads from {layer.name!r} to the scores")


def is_read_through(subject: Subject, layer: TargetLayer, norm: TargetLayer, picture: Tensor) -> bool:
    """Whether the scores see a layer's cells through a normalisation alone, which takes only their direction.

    Then gradient times activation is zero in each cell, whatever the picture (Euler's theorem for functions that
    scaling does not change), while behind the normalisation the same cells have their say.
    """
    with awake(subject.model), subject.precision.context(), torch.enable_grad():
        with captured([layer, norm]) as seen:
            score = _score(subject, _entry(subject, picture))
        before, after = seen[layer.name][0], seen[norm.name][0]
        behind_it = torch.autograd.grad(score, after, retain_graph=True, allow_unused=True)[0]
        if behind_it is None or not after.requires_grad or after.grad_fn is None:
            return False
        through = torch.autograd.grad(after, before, behind_it, retain_graph=True, allow_unused=True)[0]
        whole = torch.autograd.grad(score, before, allow_unused=True)[0]
    if through is None or whole is None:
        return False
    activation, part, gradient = (layer.layout.cells(t.detach().float()) for t in (before, through, whole))
    product = (activation * gradient).sum(1).abs().max()
    size = (activation.norm(dim=1) * gradient.norm(dim=1)).max()
    return bool(product < _NEXT_TO * size) and bool((part - gradient).norm() < _NEXT_TO * gradient.norm())


def is_felt(subject: Subject, layer: TargetLayer, picture: Tensor) -> bool:
    """Whether the scores change when the layer's cells are wiped out. It takes no gradients, and two forwards."""

    def wiped(_module: object, _inputs: object, output: object) -> object:
        found = tensor_in(output)
        if found is None:
            return output
        cells = torch.zeros_like(layer.layout.cells(found))
        return with_tensor(output, layer.layout.with_cells(found, cells))

    def score() -> Tensor:
        with torch.no_grad():
            return _score(subject, subject.converted(picture))

    with preserved_rng():
        plain = score()
    handle = layer.module.register_forward_hook(wiped)
    try:
        with preserved_rng():
            return not torch.equal(plain, score())
    finally:
        handle.remove()
