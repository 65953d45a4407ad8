"""What the modules of a model give in one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from camdebug.cam.target.layout import tensor_in

# Their output is laid out for the head, not for looking: VGG's 7x7 pool repeats cells of a smaller stage.
_NOT_A_STAGE = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)

# Their output is channels first, whatever its numbers look like.
CHANNELS_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
)

Seen = Callable[[str, nn.Module, Tensor], None]
"""Is told the name that the model has for a module, the module, and what it gave."""


@dataclass(frozen=True, eq=False)
class Output:
    """The output of one module during the traced forward.

    ``calls``: how often the module ran. ``pooled``: it is what an adaptive pool gave, maybe handed on by the block that
    ends with the pool. ``node``: what made it in the graph of gradients, if there is a graph. ``like_conv``: a
    convolution or the like, whose channels are first, gave the same shape.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    calls: int
    pooled: bool
    node: Any
    like_conv: bool = False


def clean_name(name: str) -> str:
    """A module's dotted name without what ``torch.compile`` adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@contextmanager
def watched(model: nn.Module, seen: Seen) -> Iterator[None]:
    """Tell ``seen`` of every tensor that a module inside the model gives while the block runs."""

    def telling(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def tell(module: nn.Module, _inputs: object, output: object) -> None:
            found = tensor_in(output)
            if found is not None:
                seen(name, module, found)

        return tell

    handles: list[RemovableHandle] = []
    try:
        for name, module in model.named_modules():
            if clean_name(name):
                handles.append(module.register_forward_hook(telling(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def traced(model: nn.Module) -> Iterator[list[Output]]:
    """A list that holds, after the block, the outputs of all modules in the order in which they finished."""
    finished: dict[str, Output] = {}
    outputs: list[Output] = []
    pooled: list[Tensor] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        if isinstance(module, _NOT_A_STAGE):
            pooled.append(output)
        calls = finished.pop(name).calls + 1 if name in finished else 1
        is_pooled = any(output is p for p in pooled)
        finished[name] = Output(clean_name(name), module, tuple(output.shape), calls, is_pooled, output.grad_fn)

    with watched(model, note):
        yield outputs
    of_convs = {o.shape for o in finished.values() if isinstance(o.module, CHANNELS_FIRST)}
    outputs.extend(replace(output, like_conv=output.shape in of_convs) for output in finished.values())


def leads_back(score: Tensor, entry: Tensor, *, around: frozenset[Any] = frozenset()) -> bool:
    """Whether the graph leads from a score back to the entry without crossing the nodes ``around``.

    Walking the graph instead of differentiating it: nothing on the way needs to be differentiable twice.
    """
    return any(getattr(node, "variable", None) is entry for node in behind(score, around=around))


def behind(score: Tensor, *, around: frozenset[Any] = frozenset()) -> set[Any]:
    """All nodes of the graph that the score hangs on, but for those reached through ``around`` alone."""
    found, waiting = {score.grad_fn} - around, [score.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in around:
            continue
        following = {n for n, _ in getattr(node, "next_functions", ()) if n is not None} - found - around
        found |= following
        waiting.extend(following)
    return found


@contextmanager
def awake(model: nn.Module) -> Iterator[None]:
    """Small random numbers in the place of parameters that are exactly zero, while the block runs.

    Heads are often initialised with zeros: until the first step nothing reaches the scores, whatever the layer.
    """
    drawn: dict[int, nn.Parameter] = {}
    slept: list[tuple[dict[str, Any], str, nn.Parameter]] = []
    numbers = torch.Generator().manual_seed(0)
    try:
        for module in model.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is None or type(parameter.data) is not Tensor or not parameter.is_floating_point():
                    continue
                if id(parameter) not in drawn and not parameter.detach().any():
                    values = torch.randn(parameter.shape, generator=numbers) / 8
                    drawn[id(parameter)] = nn.Parameter(values.to(parameter.device, parameter.dtype))
                if id(parameter) in drawn:
                    slept.append((module._parameters, name, parameter))
                    module._parameters[name] = drawn[id(parameter)]
        yield
    finally:
        for parameters, name, parameter in slept:
            parameters[name] = parameter
