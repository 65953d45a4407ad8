"""Search for the target layer: the last spatial stage that everything that leads to the scores crosses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camdebug.cam.layers import TargetLayer, TargetLayerError, candidates, clean_name
from camdebug.cam.layout import Layout
from camdebug.cam.passes import NoGradientError, captured
from camdebug.cam.subject import Subject

LayerChoice = str | nn.Module | Sequence[str | nn.Module] | None
"""Dotted names, modules, several of them (their maps are fused), or ``None``: to be found."""


def find_target_layers(subject: Subject, images: Tensor, target_layer: LayerChoice = None) -> tuple[TargetLayer, ...]:
    """The layers to explain, of which there is one unless several are asked for. See :func:`find_target_layer`."""
    if target_layer is None or isinstance(target_layer, (str, nn.Module)):
        return (find_target_layer(subject, images, target_layer),)
    if not isinstance(target_layer, (list, tuple)) or not target_layer:
        raise TypeError(
            f"target_layer: expected a dotted name or a module of the model, or a list of them, got "
            f"{type(target_layer).__name__}"
        )
    layers = [find_target_layer(subject, images, layer) for layer in target_layer]
    return tuple({layer.name: layer for layer in layers}.values())


def find_target_layer(subject: Subject, images: Tensor, target_layer: str | nn.Module | None = None) -> TargetLayer:
    """The layer to explain: the last spatial stage that every gradient path from the pictures to the scores crosses.

    A layer that paths lead around, such as one branch of a block, would explain a part of the scores only. Call inside
    ``borrowed(model)``. ``images`` ``(n, C, *size)``: one picture is enough.

    Raises:
        TargetLayerError: when no layer qualifies; the message says what to pass.
    """

    def forward(pictures: Tensor) -> None:
        subject.forward(subject.converted(pictures), slice(0, 1))

    first = images[:1]
    branches = []
    for layer in candidates(subject.model, first, forward, target_layer):
        try:
            around = _paths_lead_around(subject, layer, first)
        except NoGradientError:
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


def _paths_lead_around(subject: Subject, layer: TargetLayer, picture: Tensor) -> bool:
    """Whether the picture reaches the scores on a path that does not cross the layer."""
    with subject.precision.context(), torch.enable_grad():
        entry = subject.converted(picture).detach()
        entry.requires_grad_(entry.is_floating_point())
        with captured([layer]) as seen:
            scores = subject.forward(entry.clone(), slice(0, 1))
        score = scores.of(torch.zeros(1, dtype=torch.int64, device=scores.device)).sum()
        kept = seen.get(layer.name, [])
        if len(kept) != 1 or not score.requires_grad:
            raise _no_path(layer)
        if torch.autograd.grad(score, kept[0], retain_graph=True, allow_unused=True)[0] is None:
            raise _no_path(layer)
    return _leads_back_to(entry, score)


def _no_path(layer: TargetLayer) -> NoGradientError:
    return NoGradientError(f"target_layer: no gradient path leads from {layer.name!r} to the scores")


def _leads_back_to(entry: Tensor, score: Tensor) -> bool:
    """Walk the graph instead of differentiating it: nothing below the layer needs to be differentiable twice."""
    found, waiting = {score.grad_fn}, [score.grad_fn]
    while waiting:
        node = waiting.pop()
        if getattr(node, "variable", None) is entry:
            return True
        following = {n for n, _ in getattr(node, "next_functions", ()) if n is not None} - found
        found |= following
        waiting.extend(following)
    return False


@dataclass(frozen=True)
class _Known:
    """A target layer by name, and what it was found for. It holds no module, so it keeps no model alive."""

    pictures: torch.Size
    modules: tuple[tuple[str, int], ...]
    layer: tuple[str, Layout, str]


# A search costs forwards of one picture, so its answer is kept until a module is added, replaced or removed.
_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def remembered_target_layers(
    subject: Subject, images: Tensor, target_layer: LayerChoice, *, gradient: bool = True
) -> tuple[TargetLayer, ...]:
    """:func:`find_target_layers`, which looks once at a model and pictures of one size."""
    model = subject.model
    if target_layer is not None:
        return find_target_layers(subject, images, target_layer)
    named = {clean_name(name): module for name, module in model.named_modules()}
    modules = tuple((name, id(module)) for name, module in named.items())
    known = _known.get(model)
    if known is not None and (known.pictures, known.modules) == (images.shape[1:], modules):
        return (TargetLayer(named[known.layer[0]], *known.layer),)
    layer = find_target_layer(subject, images)
    _known[model] = _Known(images.shape[1:], modules, (layer.name, layer.layout, layer.reason))
    return (layer,)
