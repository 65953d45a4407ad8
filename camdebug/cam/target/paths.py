"""Which layers the way from the picture to the scores crosses, and which cells the scores feel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from camdebug.cam.model.entries import UnreadableOutputError, scores_in, tensors_in
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import Subject
from camdebug.cam.passes import REENTRANT, NoGradientError, captured, gradients_of
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.layout import tensor_in, with_tensor
from camdebug.cam.target.tracing import Output, awake, behind, leads_back, traced
from camdebug.rng import preserved_rng

# Rounding, in bfloat16 too, against what is there.
_NEXT_TO = 0.01

# What a graph calls the steps behind which a map of scores is still the same one.
_SAME_SCORES = (
    *("Upsample", "Clone", "Alias", "ToCopy", "Slice", "ConstantPadNd"),
    *("View", "UnsafeView", "Permute", "Transpose", "Softmax", "LogSoftmax", "Sigmoid"),
)


@dataclass(frozen=True, eq=False)
class Graph:
    """What one forward has shown, with the graph of gradients or without. ``maps``: of scores, if there are any."""

    outputs: list[Output]
    entry: Tensor
    score: Tensor
    maps: Tensor | None = None

    @cached_property
    def nodes(self) -> set[Any]:
        """All that the score hangs on."""
        return behind(self.score)

    @cached_property
    def is_whole(self) -> bool:
        """Whether it leads back to the picture; a block without gradients inside of the model cuts it."""
        return leads_back(self.score, self.entry)

    @cached_property
    def nodes_of_maps(self) -> set[Any]:
        """Those that give the maps of scores, and those that only enlarge or lay out anew what these are made from."""
        node, found = None if self.maps is None else self.maps.grad_fn, set[Any]()
        while node is not None:
            found.add(node)
            before = [n for n, _ in node.next_functions if n is not None]
            node = before[0] if len(before) == 1 and node.name().startswith(_SAME_SCORES) else None
        return found

    def leads_around(self, *outputs: Output) -> bool:
        """Whether a path from the picture to the scores surely crosses none of the outputs."""
        return self.is_whole and leads_back(self.score, self.entry, around=frozenset(o.node for o in outputs))


def graph_of(subject: Subject, picture: Tensor) -> Graph:
    """One forward of one picture, with a graph from the picture to the score of the first class."""
    given: list[Any] = []

    def reading(output: Any) -> ClassScores:  # noqa: ANN401
        given.append(output)
        return subject.reader_of(slice(0, 1))(output)

    with traced(subject.model) as outputs, subject.precision.context(), torch.enable_grad():
        entry = _entry(subject, picture)
        score = _score(replace(subject, outputs=reading), entry)
    return Graph(outputs, entry, score, _maps_in(given[-1], picture.ndim))


def _maps_in(output: object, axes: int) -> Tensor | None:
    """Maps of scores ``(1, K, *size)``, if the model gives some."""
    try:
        value = scores_in(output).value
    except UnreadableOutputError:  # a score_fn reads what nobody else can
        return None
    return value if isinstance(value, Tensor) and value.ndim == axes else None


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


def paths(subject: Subject, layer: TargetLayer, picture: Tensor) -> tuple[bool, int]:
    """Whether the picture reaches the scores on a path that does not cross the layer, and how many cells do.

    Behind the last attention a class token alone is read: the gradient of the patches is exactly zero there. A sequence
    of which the last step is read has one cell with a gradient. Cells of pictures all count, for there only dead or
    pooled units have gradients of zero.
    """
    entry, score, gradient = gradient_at(subject, layer, picture)
    if layer.layout.kind == "tokens" and not gradient.any():
        with awake(subject.model):
            gradient = gradient_at(subject, layer, picture)[2]
    cells = layer.layout.cells(gradient).flatten(2).any(1)
    all_count = layer.layout.kind != "tokens" and (len(layer.grid) > 1 or not gradient.any())
    return leads_back(score, entry), cells.shape[1] if all_count else int(cells.sum())


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
            raise _no_path(layer, score)
        (gradient,) = gradients_of(score, kept, [layer], keep=True)
    if gradient is None:
        raise _no_path(layer, score)
    return entry, score, gradient


def is_any_reached(subject: Subject, layers: Sequence[TargetLayer], picture: Tensor) -> bool:
    """Whether a gradient path leads from any of the layers to the scores, in one forward for all."""
    with subject.precision.context(), torch.enable_grad(), captured(layers):
        return _score(subject, _entry(subject, picture)).requires_grad


def _no_path(layer: TargetLayer, score: Tensor) -> NoGradientError:
    why = why_no_gradient(behind(score))
    return NoGradientError(f"target_layer: no gradient path leads from {layer.name!r} to the scores{why}")


def why_no_gradient(nodes: Iterable[Any]) -> str:
    """What stands between layers and scores on this graph, as the end of a sentence; nothing where it is not known."""
    reentrant = any("CheckpointFunction" in node.name() for node in nodes if node is not None)
    return f"; {REENTRANT}" if reentrant else ""


def check_gradient(subject: Subject, layer: TargetLayer, picture: Tensor) -> None:
    """Make sure that gradients can be taken at a layer that is asked for, and that they are all of its part.

    Raises:
        TargetLayerError: when none reaches it, or when the model also reads its output by another way than from what it
            returns: a part of the gradient would be missing without a sign.
    """
    entering: set[Any] = set()
    made: list[tuple[Any, int]] = []

    def before(_module: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        entering.update(tensor.grad_fn for tensor in tensors_in([*args, *kwargs.values()]))

    def after(_module: object, _inputs: object, output: object) -> None:
        found = tensor_in(output)
        if found is not None and found.grad_fn not in entering:
            made.append((found.grad_fn, found.output_nr))

    hooks = [
        layer.module.register_forward_pre_hook(before, with_kwargs=True),
        layer.module.register_forward_hook(after),
    ]
    try:
        score = gradient_at(subject, layer, picture)[1]
    finally:
        for hook in hooks:
            hook.remove()
    edges = (edge for node in behind(score) for edge in getattr(node, "next_functions", ()))
    if any(edge[0] is not None and edge in made for edge in edges):
        raise TargetLayerError(
            f"target_layer: the model reads the output of {layer.name!r} not only as what the layer returns (first), "
            "but also from where it is stored or from what comes with it, so a part of its gradient would be missing; "
            "pass a layer inside or behind it"
        )


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


def plain_score(subject: Subject, picture: Tensor) -> Tensor:
    """The score of the first class, without a graph."""
    with preserved_rng(), torch.no_grad():
        return _score(subject, subject.converted(picture))


def is_felt(subject: Subject, layer: TargetLayer, picture: Tensor, plain: Tensor) -> bool:
    """Whether the ``plain_score`` changes when the layer's cells are wiped out. No gradients, and one forward."""

    def wiped(_module: object, _inputs: object, output: object) -> object:
        found = tensor_in(output)
        if found is None:
            return output
        cells = torch.zeros_like(layer.layout.cells(found))
        return with_tensor(output, layer.layout.with_cells(found, cells))

    handle = layer.module.register_forward_hook(wiped)
    try:
        return not torch.equal(plain, plain_score(subject, picture))
    finally:
        handle.remove()
