"""The classic CAM: the weights of the linear layer that reads the target layer's mean over its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camdebug.cam.passes import Chunk, LayerView

_ROUNDING = 1e-3
"""What TF32 rounds away, as a share of the largest value. It is more in 16 bits."""


@dataclass(frozen=True, eq=False)
class _Read:
    """What a linear layer read in a forward, ``(n, C)``, its ``weight`` ``(K, C)``, and what they give, ``(n, K)``.

    Float32; ``rounding`` is what may be lost in the number formats that the layer worked in.
    """

    entered: Tensor
    weight: Tensor
    gives: Tensor
    rounding: float


@dataclass(frozen=True)
class ClassicCam:
    """Channels weighted as a linear layer behind global average pooling does (Zhou et al. 2016, arXiv 1512.04150).

    The linear layer is found by measuring: in one more forward, its input equals the mean of the activation over the
    cells, and its weights give the scores. The layer's bias is no part of the map. The map's mean over its cells is the
    score less the bias; HiResCAM's map, whose sum is that, is smaller by the number of cells.
    """

    name: str = "cam"
    layered: bool = True

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        Call inside ``borrowed(model)`` with gradients off.

        Raises:
            ValueError: when no linear layer gives the scores from the mean of the target layer.
        """
        view = chunk.views[layer_index]
        weight = _head(chunk, view)
        return torch.einsum("nc,nc...->n...", weight[class_idx.to(weight.device)], view.activation)


def _head(chunk: Chunk, view: LayerView) -> Tensor:
    """``(K, C)`` float32: the weights that give the scores from the layer's mean."""
    mean = view.activation.flatten(2).mean(2)
    with _linear_layers(chunk.subject.model, mean.shape) as reads:
        scores = chunk.subject.forward(chunk.pictures.clone(), chunk.rows)
    if scores.table is not None and scores.pick is None:
        for read in reads:
            if _same(read.entered, mean, read.rounding) and _same(read.gives, scores.table, read.rounding):
                return read.weight
    raise ValueError(
        f"method: 'cam' needs a linear layer (nn.Linear) that gives the scores from the mean of {view.layer.name!r} "
        "over its cells, and this model has none; use 'hirescam' or 'gradcam', which have the same shape wherever "
        "'cam' exists"
    )


@contextmanager
def _linear_layers(model: nn.Module, shape: torch.Size) -> Iterator[list[_Read]]:
    """What linear layers do with inputs of this shape while the block runs.

    Weights are taken in the forward: a sharded model has them only then.
    """
    reads: list[_Read] = []
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hooks.callback(module.register_forward_hook(_note(reads, shape)).remove)
        yield reads


def _note(reads: list[_Read], shape: torch.Size) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not inputs or inputs[0].shape != shape or not isinstance(module, nn.Linear):
            return
        # By the weights, not by the output: an adapter in a linear layer changes what it gives.
        entered, weight = inputs[0].detach().float().clone(), module.weight.detach().float().clone()
        bias = 0.0 if module.bias is None else module.bias.detach().float()
        rounding = max(_ROUNDING, *(2 * torch.finfo(tensor.dtype).eps for tensor in (inputs[0], output)))
        reads.append(_Read(entered, weight, entered @ weight.T + bias, rounding))

    return note


def _same(found: Tensor, expected: Tensor, rounding: float) -> bool:
    """Equal up to rounding; what is not finite, in a training that diverged, must be alike."""
    if found.shape != expected.shape:
        return False
    expected = expected.to(found)
    near = (found - expected).abs() <= rounding * expected.nan_to_num(0.0, 0.0, 0.0).abs().max()
    return bool((near | (found == expected) | (found.isnan() & expected.isnan())).all())
