"""Search for the target layer: the last spatial stage that everything that leads to the scores crosses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from camdebug.cam.model.subject import Subject
from camdebug.cam.passes import NoGradientError
from camdebug.cam.target import tokens
from camdebug.cam.target.layers import (
    Reader,
    TargetLayer,
    TargetLayerError,
    asked_for,
    in_order,
    names_of,
    out_of_order,
    shape_words,
    why,
)
from camdebug.cam.target.paths import (
    Graph,
    beside_each_other,
    check_gradient,
    graph_of,
    is_any_reached,
    is_felt,
    is_read_through,
    paths,
    plain_score,
    why_no_gradient,
)
from camdebug.cam.target.remembering import Question, recalled, remember
from camdebug.cam.target.tracing import Output, traced

LayerChoice = str | nn.Module | Sequence[str | nn.Module] | None
"""Dotted names, modules, several of them (their maps are fused), or ``None``: to be found."""


def find_target_layers(
    subject: Subject, images: Tensor, target_layer: LayerChoice = None, *, gradient: bool = True
) -> tuple[TargetLayer, ...]:
    """The layers to explain, of which there is one unless several are asked for. See :func:`find_target_layer`."""
    if target_layer is None or isinstance(target_layer, (str, nn.Module)):
        return (find_target_layer(subject, images, target_layer, gradient=gradient),)
    if not isinstance(target_layer, (list, tuple)) or not target_layer:
        came = "an empty list" if isinstance(target_layer, (list, tuple)) else type(target_layer).__name__
        raise TypeError(f"target_layer: expected a dotted name or a module of the model, or a list of them, got {came}")
    search = _Search(subject, images[:1], gradient)
    layers = [search.asked(layer) for layer in target_layer]
    return tuple({layer.name: layer for layer in layers}.values())


def find_target_layer(
    subject: Subject, images: Tensor, target_layer: str | nn.Module | None = None, *, gradient: bool = True
) -> TargetLayer:
    """The layer to explain: the last spatial stage that every gradient path from the pictures to the scores crosses.

    A layer that paths lead around, such as one branch of a block, would explain a part of the scores only. Of a
    transformer it is the last layer whose patch tokens reach the scores: behind it, a head that reads a class token
    looks at no other; if a normalisation is all that reads these tokens, it is that one. Of a network that gives maps
    of scores it is one before these maps, whose channels are the classes. Call inside ``borrowed(model)``.

    Args:
        subject: the model.
        images: ``(n, C, *size)``: one picture is enough.
        target_layer: the one that is wanted, by its dotted name or itself; its paths are not looked at.
        gradient: whether gradients will be taken at the layer. If not, the search is the same, but where no gradient
            leads to the scores the last spatial stage is taken that they feel.

    Raises:
        TargetLayerError: when no layer qualifies; the message says what to pass.
    """
    search = _Search(subject, images[:1], gradient)
    return search.found() if target_layer is None else search.asked(target_layer)


def spatial_layers(subject: Subject, images: Tensor) -> list[TargetLayer]:
    """Every layer whose cells can be told, the last ones first. Call inside ``borrowed(model)``."""
    return list(_Search(subject, images[:1], gradient=False).spatial())


class _Search:
    def __init__(self, subject: Subject, picture: Tensor, gradient: bool) -> None:
        self._subject, self._picture, self._gradient = subject, picture, gradient
        self._reader = Reader(tuple(picture.shape[2:]), lambda: tokens.measure(subject, picture))

    @cached_property
    def _plain(self) -> list[Output]:
        with traced(self._subject.model) as outputs, torch.no_grad():
            self._subject.forward(self._subject.converted(self._picture), slice(0, 1))
        return outputs

    def asked(self, target_layer: str | nn.Module) -> TargetLayer:
        layer = asked_for(self._subject.model, target_layer, self._plain, self._reader, self._given_by)
        if self._gradient:
            check_gradient(self._subject, layer, self._picture)
        return layer

    def _given_by(self, module: nn.Module) -> str | None:
        """What a module gives that gives no tensor, in a word; ``None`` when it does not run."""
        given: list[str] = []
        handle = module.register_forward_hook(lambda _module, _inputs, output: given.append(type(output).__name__))
        try:
            plain_score(self._subject, self._picture)
        finally:
            handle.remove()
        return given[-1] if given else None

    def found(self) -> TargetLayer:
        """The same layer for every method; without gradients only where none can be had."""
        try:
            return self._crossed_by_all()
        except (NoGradientError, RuntimeError):
            # A model may run and yet not be differentiable; what else is wrong with it shows without gradients too.
            if self._gradient:
                raise
        return self._last()

    def spatial(self) -> Iterator[TargetLayer]:
        """All whose cells can be told, the last ones first."""
        for output in in_order(self._plain, self._reader):
            layout = self._reader.layout(output)
            if layout is not None:
                yield TargetLayer(output.module, output.name, layout, why(output, layout))

    def _last(self) -> TargetLayer:
        """Without gradients. Layers whose cells no score feels are passed over, unless none is felt."""
        plain, last = plain_score(self._subject, self._picture), None
        for layer in self.spatial():
            if is_felt(self._subject, layer, self._picture, plain):
                return layer
            last = last or layer
        if last is None:
            raise self._nothing_seen(self._plain)
        return last

    def _crossed_by_all(self) -> TargetLayer:
        """Most layers are told apart on the graph of one forward; those that remain are tried as they will be used."""
        graph = graph_of(self._subject, self._picture)
        if self._has_no_gradient(graph):
            raise self._none_qualifies(graph, [], spatial=True)
        spatial, branches, refused = False, list[Output](), set[Any]()
        second_best: list[TargetLayer] = []
        for output in in_order(graph.outputs, self._reader):
            layout, unordered = self._reader.layout(output), self._reader.is_out_of_order(output)
            spatial |= layout is not None
            if output.node in refused or (layout is None and not unordered):
                continue
            if output.node is not None and graph.leads_around(output):
                branches += [output] if output.node in graph.nodes and layout else []
                continue
            if layout is None:
                raise out_of_order(output)
            layer = TargetLayer(output.module, output.name, layout, why(output, layout) + _together(branches, graph))
            around, cells = self._tried(layer)
            if cells and not around:
                if cells > 1 and output.node not in graph.nodes_of_maps:
                    return self._behind_its_norm(layer, output, graph)
                second_best.append(layer)
            branches += [output] if cells and around else []
            refused |= {output.node} - {None}
        if second_best:
            return second_best[0]
        raise self._none_qualifies(graph, branches, spatial)

    def _has_no_gradient(self, graph: Graph) -> bool:
        """Whether no layer with cells has one, which would take long to see by trying one after the other."""
        layers = [] if graph.score.requires_grad else list(self.spatial())
        return bool(layers) and not is_any_reached(self._subject, layers, self._picture)

    def _behind_its_norm(self, layer: TargetLayer, output: Output, graph: Graph) -> TargetLayer:
        """The layer, or the normalisation that follows, where that is all through which its cells are seen."""
        following = graph.outputs[graph.outputs.index(output) + 1 :]
        norm = next((o for o in following if o.shape == output.shape and o.node is not output.node), None)
        if layer.layout.kind != "tokens" or norm is None or norm.calls > 1:
            return layer
        normal = TargetLayer(norm.module, norm.name, layer.layout, layer.reason)
        return normal if is_read_through(self._subject, layer, normal, self._picture) else layer

    def _tried(self, layer: TargetLayer) -> tuple[bool, int]:
        """Whether paths lead around it, and how many of its cells reach the scores."""
        try:
            return paths(self._subject, layer, self._picture)
        except NoGradientError:
            return False, 0

    def _none_qualifies(self, graph: Graph, branches: Sequence[Output], spatial: bool) -> TargetLayerError:
        if branches:
            names = [repr(output.name) for output in branches[:3]]
            return TargetLayerError(
                "target_layer: no single layer with a spatial output carries all that leads to the scores; pass the "
                f"one to explain, such as {' or '.join(names)}{_together(branches, graph)}"
            )
        if spatial:
            return NoGradientError(
                "target_layer: no layer with a spatial output has a gradient path to the scores; pass another"
                f"{why_no_gradient(graph.nodes)}"
            )
        return self._nothing_seen(graph.outputs)

    def _nothing_seen(self, outputs: Sequence[Output]) -> TargetLayerError:
        return TargetLayerError(
            f"target_layer: found no layer with a spatial output {shape_words(self._picture.ndim - 2)} that runs once "
            f"in a forward; pass target_layer=. Layers seen: {names_of(outputs)}"
        )


def _together(branches: Sequence[Output], graph: Graph) -> str:
    """What to say of layers beside each other that come later than all that may be taken alone."""
    beside = ", ".join(repr(output.name) for output in beside_each_other(branches, graph))
    return f"; only together do later ones carry all: target_layer=[{beside}]" if beside else ""


def remembered_target_layers(
    subject: Subject, images: Tensor, target_layer: LayerChoice, *, gradient: bool = True
) -> tuple[TargetLayer, ...]:
    """:func:`find_target_layers`, which costs forwards, and so looks once at a model that is used in the same way.

    It looks again when a module of the model is added, replaced or removed, and for pictures of another size, other
    functions, another task or other inputs. What a function or the model reads beside them is not seen.
    """
    try:
        question = Question.of(subject, images, target_layer, gradient=gradient)
    except TypeError:  # a function that no weak reference can hold: it might keep the model alive
        return find_target_layers(subject, images, target_layer, gradient=gradient)
    known = recalled(subject.model, question)
    if known is None:
        known = find_target_layers(subject, images, target_layer, gradient=gradient)
        remember(subject.model, question, known)
    return known
