"""Guided backpropagation and Guided Grad-CAM, without a change to the network's modules.

Guided backprop shows edges that the network passes on. It hardly depends on the weights of upper layers (Adebayo et al.
2018, arXiv 1810.03292), so a sharp map is no evidence for what the class rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from camdebug.cam.methods.one_pass import gradcam
from camdebug.cam.methods.whole_network import Calls, Traced, enlarged, on_gradient, traced
from camdebug.cam.passes import Chunk, NoGradientError
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.layout import tensor_in, with_tensor

# torch.clamp(min=0) is not among them: bounds of boxes and losses are no activations.
_RELUS = frozenset(
    {
        F.relu,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        F.relu6,
        torch._C._nn.relu6,
        torch._C._nn.relu6_,
    }
)
_HARDTANHS = frozenset({F.hardtanh, torch._C._nn.hardtanh, torch._C._nn.hardtanh_})


@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient at the pictures, of which every ReLU on the way down lets only the positive part through.

    (Springenberg et al. 2015, arXiv 1412.6806.) The map is the sum over colour channels, in score per unit of the
    picture, signed. ReLU6 counts as a ReLU; other activations pass their ordinary gradient.
    """

    name: str = field(default="guided-backprop", init=False)
    layered: bool = field(default=False, init=False)

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *size)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        Raises:
            ValueError: when the network has no ReLU, or no gradient reaches the pictures.
        """
        return guided_gradient(chunk, class_idx).sum(1)


@dataclass(frozen=True)
class GuidedGradCam:
    """Guided backprop times the Grad-CAM of the target layer, ReLU'd and enlarged bilinearly.

    (Selvaraju et al. 2017, arXiv 1610.02391.) The map has the pictures' own size and is the sum over colour channels,
    signed.
    """

    name: str = field(default="guided-gradcam", init=False)
    layered: bool = field(default=True, init=False)

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *size)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        Raises:
            ValueError: when the network has no ReLU, or no gradient reaches the target layer or the pictures.
        """
        return guided_gradcam(chunk, chunk.views[layer_index].layer, class_idx).sum(1)


def guided_gradient(chunk: Chunk, class_idx: Tensor) -> Tensor:
    """``(n, C, *size)`` float32: guided backprop before the sum over colour channels."""
    guide = _GuidedReLUs()
    forward = traced("guided-backprop", chunk, class_idx, guide)
    return _guided(forward, guide)


def guided_gradcam(chunk: Chunk, layer: TargetLayer, class_idx: Tensor) -> Tensor:
    """``(n, C, *size)`` float32: Guided Grad-CAM before the sum over colour channels. One forward, two ways down."""
    guide, seen = _GuidedReLUs(), list[Tensor]()
    forward = traced("guided-gradcam", chunk, class_idx, _watching(guide, layer, seen))
    if len(seen) != 1:
        raise TargetLayerError(f"target_layer: {layer.name!r} ran {len(seen)} times in a forward, expected once")
    guide.on = False  # Grad-CAM's own gradient is the ordinary one
    gradient = forward.gradient_at(seen[0], keep=True)
    if gradient is None and seen[0].requires_grad:
        raise NoGradientError(f"target_layer: no gradient path leads from {layer.name!r} to the scores")
    guide.on = True
    guided = _guided(forward, guide)
    assert gradient is not None  # or nothing had reached the pictures
    cells = [layer.layout.cells(tensor.detach().float()) for tensor in (seen[0], gradient)]
    cam = gradcam(*cells).sum(1).relu()
    return guided * enlarged(cam, tuple(guided.shape[2:]))[:, None]


def _guided(forward: Traced, guide: _GuidedReLUs) -> Tensor:
    gradient = forward.gradient()
    if not guide.met:
        raise ValueError(
            f"method: {forward.method!r} needs ReLU, and this network calls none on the way from the pictures to the "
            "scores (GELU, SiLU and others have no guided gradient); pass another method"
        )
    return gradient.float()


class _GuidedReLUs(Calls):
    """While entered, every call of a ReLU, by a module or not, is told to pass positive gradients only.

    Attributes:
        on: whether gradients that are taken now are guided.
        met: how many ReLUs of the graph were told so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on, self.met = True, 0

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> object:  # noqa: ANN401
        if func in _RELUS or (func in _HARDTANHS and _starts_at_zero(*args, **kwargs)):
            return self._guide(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _guide(self, func: Callable[..., Any], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        # What is written into a view goes down through its base, on a path that no hook of the view is on.
        entering = input.clone() if input._is_view() else input
        output: Tensor = func(entering, *args, **kwargs)
        if output.requires_grad:
            self.met += 1
            on_gradient(output, self._positive)
        in_place = output is entering
        return input.copy_(output) if in_place and entering is not input else output

    def _positive(self, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0) if self.on else gradient


def _starts_at_zero(_input: Tensor, min_val: float = -1.0, *_rest: object, **_named: object) -> bool:
    """ReLU6 runs as a hardtanh from 0 to 6."""
    return min_val == 0


@contextmanager
def _watching(guide: _GuidedReLUs, layer: TargetLayer, seen: list[Tensor]) -> Iterator[None]:
    """Also collect the layer's outputs, as tensors of the graph that nothing behind overwrites."""

    def keep(_module: object, _inputs: object, output: object) -> object:
        found = tensor_in(output)
        if found is None:
            raise TargetLayerError(f"target_layer: {layer.name!r} gives no tensor in this forward")
        seen.append(found)
        return with_tensor(output, found.clone())

    with guide, ExitStack() as hooks:
        hooks.callback(layer.module.register_forward_hook(keep).remove)
        yield
