"""Search for the target layer: the last spatial stage that everything that leads to the scores crosses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

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
from camdebug.cam.target.layout import Layout
from camdebug.cam.target.paths import Graph, beside_each_other, gradient_at, graph_of, is_felt, is_read_through, paths
from camdebug.cam.target.tracing import Output, clean_name, traced

LayerChoice = str | nn.Module | Sequence[str | nn.Module] | None
"""Dotted names, modules, several of them (their maps are fused), or ``None``: to be found."""


def find_target_layers(
    subject: Subject, images: Tensor, target_layer: LayerChoice = None, *, gradient: bool = True
) -> tuple[TargetLayer, ...]:
    """The layers to explain, of which there is one unless several are asked for. See :func:`find_target_layer`."""
    if target_layer is None or isinstance(target_layer, (str, nn.Module)):
        return (find_target_layer(subject, images, target_layer, gradient=gradient),)
    if not isinstance(target_layer, (list, tuple)) or not target_layer:
        raise TypeError(
            f"target_layer: expected a dotted name or a module of the model, or a list of them, got "
            f"{type(target_layer).__name__}"
        )
    search = _Search(subject, images[:1], gradient)
    layers = [search.asked(layer) for layer in target_layer]
    return tuple({layer.name: layer for layer in layers}.values())


def find_target_layer(
    subject: Subject, images: Tensor, target_layer: str | nn.Module | None = None, *, gradient: bool = True
) -> TargetLayer:
    """The layer to explain: the last spatial stage that every gradient path from the pictures to the scores crosses.

    A layer that paths lead around, such as one branch of a block, would explain a part of the scores only. Of a
    transformer it is the last layer whose patch tokens reach the scores: behind it, a head that reads a class token
    looks at no other; if a normalisation is all that reads these tokens, it is that one. Call inside
    ``borrowed(model)``.

    Args:
        subject: the model.
        images: ``(n, C, *size)``: one picture is enough.
        target_layer: the one that is wanted, by its dotted name or itself; its paths are not looked at.
        gradient: whether gradients will be taken at the layer. If not, none is asked for: the last spatial stage is
            taken, also where the scores have no gradient.

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
        layer = asked_for(self._subject.model, target_layer, self._plain, self._reader)
        if self._gradient:
            gradient_at(self._subject, layer, self._picture)
        return layer

    def found(self) -> TargetLayer:
        return self._crossed_by_all() if self._gradient else self._last()

    def spatial(self) -> Iterator[TargetLayer]:
        """All whose cells can be told, the last ones first."""
        for output in in_order(self._plain, self._reader):
            layout = self._reader.layout(output)
            if layout is not None:
                yield TargetLayer(output.module, output.name, layout, why(output, layout))

    def _last(self) -> TargetLayer:
        """Without gradients. Tokens of the picture that no score feels are passed over, unless none is felt."""
        last = None
        for layer in self.spatial():
            if layer.layout.kind != "tokens" or is_felt(self._subject, layer, self._picture):
                return layer
            last = last or layer
        if last is None:
            raise self._nothing_seen(self._plain)
        return last

    def _crossed_by_all(self) -> TargetLayer:
        """Most layers are told apart on the graph of one forward; those that remain are tried as they will be used."""
        graph = graph_of(self._subject, self._picture)
        spatial, branches, refused = False, list[Output](), set[Any]()
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
            around = self._tried(layer)
            if around is False:
                return self._behind_its_norm(layer, output, graph)
            branches += [output] if around else []
            refused |= {output.node} - {None}
        raise self._none_qualifies(graph, branches, spatial)

    def _behind_its_norm(self, layer: TargetLayer, output: Output, graph: Graph) -> TargetLayer:
        """The layer, or the normalisation that follows, where that is all through which its cells are seen."""
        following = graph.outputs[graph.outputs.index(output) + 1 :]
        norm = next((o for o in following if o.shape == output.shape and o.node is not output.node), None)
        if layer.layout.kind != "tokens" or norm is None or norm.calls > 1:
            return layer
        normal = TargetLayer(norm.module, norm.name, layer.layout, layer.reason)
        return normal if is_read_through(self._subject, layer, normal, self._picture) else layer

    def _tried(self, layer: TargetLayer) -> bool | None:
        """Whether paths lead around it; ``None`` when its cells do not reach the scores."""
        try:
            around, reaches = paths(self._subject, layer, self._picture)
        except NoGradientError:
            return None
        return around if reaches else None

    def _none_qualifies(self, graph: Graph, branches: Sequence[Output], spatial: bool) -> TargetLayerError:
        if branches:
            names = [repr(output.name) for output in branches[:3]]
            return TargetLayerError(
                "target_layer: no single layer with a spatial output carries all that leads to the scores; pass the "
                f"one to explain, such as {' or '.join(names)}{_together(branches, graph)}"
            )
        if spatial:
            return TargetLayerError(
                "target_layer: no layer with a spatial output has a gradient path to the scores; pass another"
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


@dataclass(frozen=True)
class _Known:
    """A target layer by name, and what it was found for. It holds no module, so it keeps no model alive."""

    pictures: torch.Size
    modules: tuple[tuple[str, int], ...]
    gradient: bool
    layer: tuple[str, Layout, str]


# A search costs forwards of one picture, so its answer is kept until a module is added, replaced or removed.
_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def remembered_target_layers(
    subject: Subject, images: Tensor, target_layer: LayerChoice, *, gradient: bool = True
) -> tuple[TargetLayer, ...]:
    """:func:`find_target_layers`, which looks once at a model and pictures of one size."""
    model = subject.model
    if target_layer is not None:
        return find_target_layers(subject, images, target_layer, gradient=gradient)
    named = {clean_name(name): module for name, module in model.named_modules()}
    modules = tuple((name, id(module)) for name, module in named.items())
    asked = (images.shape[1:], modules, gradient)
    known = _known.get(model)
    if known is not None and (known.pictures, known.modules, known.gradient) == asked:
        return (TargetLayer(named[known.layer[0]], *known.layer),)
    layer = find_target_layer(subject, images, gradient=gradient)
    _known[model] = _Known(*asked, (layer.name, layer.layout, layer.reason))
    return (layer,)
