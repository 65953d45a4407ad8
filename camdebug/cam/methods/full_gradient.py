"""FullGrad: what the pictures and every bias of the network add to a score (Srinivas & Fleuret 2019, 1905.00780).

A network of convolutions, linear layers, ReLUs and BatchNorm in evaluation mode is linear around a picture, so its
score is input-gradient times input plus, for every layer, bias-gradient times bias. That sum is exact only there: other
nonlinearities and normalisations (GELU, LayerNorm, attention) have biases of their own that are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from camdebug.cam.methods.whole_network import Calls, enlarged, on_gradient, traced, widened
from camdebug.cam.passes import Chunk

Visit = Callable[[Tensor, bool], None]
"""Is given a part of the score: what each entry adds to it, and whether its channels stand before a grid of cells."""

# In shares of the largest entry: what looks like a pattern below it is the rounding of float32.
_ROUNDING = 1e-6

_CONVOLUTIONS = {
    F.conv1d: 1,
    F.conv2d: 2,
    F.conv3d: 3,
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 2,
    F.conv_transpose3d: 3,
}


@dataclass(frozen=True)
class FullGrad:
    """Sum over input and biases of ``psi``: absolute value, min-max scaling, bilinear enlargement.

    The map has the pictures' own size and no unit: every channel's largest entry counts as 1, so magnitudes cannot be
    compared between models. Only convolutions and BatchNorm have a place in the picture; biases of linear layers are
    part of the score but not of the map, so of networks without convolutions (ViT, Swin) the map tells little.

    Attributes:
        scaling: ``"channel"`` scales each channel for itself, as the formula of the paper says. ``"layer"`` scales all
            channels of a layer together, as the code of its authors does.
    """

    scaling: Literal["channel", "layer"] = "channel"
    name: str = field(default="fullgrad", init=False)
    layered: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.scaling not in get_args(Literal["channel", "layer"]):
            raise ValueError(f"scaling: expected 'channel' or 'layer', got {self.scaling!r}")

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """``(n, *size)`` float32, >= 0, of the chunk's pictures for one class of each, ``(n,)`` int64.

        Raises:
            ValueError: when no gradient reaches the pictures.
        """
        count, size = len(chunk.pictures), tuple(chunk.pictures.shape[2:])
        found = torch.zeros(count, *size, device=chunk.pictures.device)

        def add(part: Tensor, has_grid: bool) -> None:
            if has_grid and len(part) == count and part.ndim == chunk.pictures.ndim:
                # Enlarging is linear, so the sum over channels comes first, at their own small size.
                found.add_(enlarged(_scaled(part, self.scaling).sum(1), size))

        full_gradient(chunk, class_idx, add)
        return found


def full_gradient(chunk: Chunk, class_idx: Tensor, visit: Visit) -> None:
    """Show all parts of the scores, one at a time, so that they need not be kept: the last layer first, input last.

    Every call of a layer is a part, also of a layer that runs several times. Parts are float32 or float64, shaped as
    the layer's output. For each picture their entries add up to its score.

    Raises:
        ValueError: when no gradient reaches the pictures.
    """
    forward = traced("fullgrad", chunk, class_idx, _BiasGradients(visit))
    gradient = forward.gradient()
    visit(widened(gradient) * widened(forward.entry.detach()), True)


class _BiasGradients(Calls):
    """While entered, calls that add a bias are noted; their parts are shown when gradients are taken later."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self._visit = visit

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> object:  # noqa: ANN401
        output = func(*args, **kwargs)
        with torch.no_grad():  # a graph of our own would be counted by a checkpoint around the layer
            bias = _added(func, args, kwargs)
        if bias is not None and output.requires_grad:
            axes_after = 0 if func is F.linear else _CONVOLUTIONS.get(func, output.ndim - 2)
            self._note(output, bias.detach().reshape(-1, *[1] * axes_after), func is not F.linear)
        return output

    def _note(self, output: Tensor, bias: Tensor, has_grid: bool) -> None:
        def show(gradient: Tensor) -> None:
            self._visit(widened(gradient.detach()) * widened(bias), has_grid)

        on_gradient(output, show)


def _added(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What a call adds to each channel."""
    if func in _CONVOLUTIONS or func is F.linear:
        found: Tensor | None = args[2] if len(args) > 2 else kwargs.get("bias")
        return found
    return _bias_of_batch_norm(*args, **kwargs) if func is F.batch_norm else None


def _bias_of_batch_norm(
    _input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    """``bias - weight * mean / sqrt(var + eps)``; statistics of the batch itself are no constants, so no bias."""
    if training or running_mean is None or running_var is None:
        return bias
    shift = -widened(running_mean) * (widened(running_var) + eps).rsqrt()
    shift = shift if weight is None else shift * widened(weight)
    return shift if bias is None else shift + widened(bias)


def _scaled(part: Tensor, scaling: str) -> Tensor:
    """Absolute values from 0 to 1, float32; a channel without a pattern is 0."""
    sizes = part.abs()
    axes = tuple(range(2 if scaling == "channel" else 1, part.ndim))
    low, top = sizes.amin(axes, keepdim=True), sizes.amax(axes, keepdim=True)
    spread = top - low
    return torch.where(spread <= _ROUNDING * top, 0.0, (sizes - low) / spread).float()
