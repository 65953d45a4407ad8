"""``compute_cams``: maps of a batch of pictures, all methods from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camdebug.cam.borrow import borrowed
from camdebug.cam.layers import TargetLayer, clean_name
from camdebug.cam.lens import Lens
from camdebug.cam.methods import METHODS, check_methods
from camdebug.cam.passes import Chunk, Pictures, ScoreFn, find_target_layer
from camdebug.cam.precision import ModelPrecision, Precision
from camdebug.records import Heatmaps

ClassIdx = int | Sequence[int] | Tensor | None

_AT_A_TIME = 8


@overload
def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: list[str] | tuple[str, ...],
    target_layer: str | nn.Module | None = None,
    chunk_size: int = 32,
) -> dict[str, Heatmaps]: ...


@overload
def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: str = "hirescam",
    target_layer: str | nn.Module | None = None,
    chunk_size: int = 32,
) -> Heatmaps: ...


def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: str | Sequence[str] = "hirescam",
    target_layer: str | nn.Module | None = None,
    chunk_size: int = 32,
) -> Heatmaps | dict[str, Heatmaps]:
    """Explain one class of each picture. The model is handed back bit for bit as it was.

    Args:
        model: gives class scores ``(N, K)`` from pictures.
        images: ``(N, C, H, W)``, as the model receives them; moved and cast to the model's device and dtype.
        class_idx: the class to explain: one for all, ``(N,)`` one for each, or ``None`` for the predicted ones.
        method: ``"hirescam"``, ``"gradcam"``, ``"gradcam++"``, ``"xgradcam"``, ``"layercam"``, or a sequence of them,
            all answered from one pass.
        target_layer: dotted name or module; by default the last spatial stage.
        chunk_size: pictures in one forward; memory grows with it, not with ``N``.

    Returns:
        ``Heatmaps`` with ``(N, h, w)`` float32 maps on the layer's own grid, raw and ReLU'd; for a sequence of methods
        a dict from name to ``Heatmaps``.

    Raises:
        TypeError, ValueError: when an argument or the model's output is not as described; the message names it.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 2, bias=False))
    >>> _ = nn.init.ones_(net[0].weight), nn.init.ones_(net[2].weight)
    >>> compute_cams(net, torch.tensor([[[[1., 0.], [0., 2.]]]]), 0).maps
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    names = check_methods(method)
    pictures = _check_pictures(images)
    if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
        raise ValueError(f"chunk_size: expected a whole number above 0, got {chunk_size!r}")
    wanted = _check_class_idx(class_idx, len(pictures))
    with borrowed(model):
        precision = ModelPrecision(model)
        layer = _layer_of(model, pictures, precision, target_layer)
        found = explain(Lens(model, layer, precision, chunk_size), pictures, [wanted], names)[0]
    return found[names[0]] if isinstance(method, str) else found


def explain(
    lens: Lens, images: Pictures, class_idx: Sequence[Tensor | None], methods: Sequence[str]
) -> list[dict[str, Heatmaps]]:
    """Maps for several choices of class from one pass. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        images: ``(N, C, H, W)``, or what makes slices of it.
        class_idx: for each choice ``(N,)`` int64, or ``None`` for the predicted class.
        methods: names from ``METHODS``.

    Returns:
        For each choice a dict from method to ``Heatmaps``.
    """
    wanted_maps = [(choice, name) for choice in range(len(class_idx)) for name in methods]

    def take(chunk: Chunk) -> tuple[Tensor, ...]:
        maps = [_maps(name, chunk.activation, chunk.gradients[choice]) for choice, name in wanted_maps]
        return (chunk.logits.cpu(), *maps)

    logits, *every = lens.over(images, [_class_score(wanted) for wanted in class_idx], take)
    found: list[dict[str, Heatmaps]] = [{} for _ in class_idx]
    for (choice, name), maps in zip(wanted_maps, every, strict=True):
        found[choice][name] = _heatmaps(maps, logits, class_idx[choice], name, lens.layer.name)
    return found


def _maps(method: str, activation: Tensor, gradient: Tensor) -> Tensor:
    """A few pictures at a time: what a method needs in between is as large as the activation, several times over."""
    parts = [slice(start, start + _AT_A_TIME) for start in range(0, len(activation), _AT_A_TIME)]
    return torch.cat([METHODS[method](activation[part], gradient[part]).cpu() for part in parts])


def _class_score(wanted: Tensor | None) -> ScoreFn:
    def score(logits: Tensor, rows: slice) -> Tensor:
        idx = logits.argmax(1) if wanted is None else wanted[rows].to(logits.device, copy=True)
        if int(idx.max()) >= logits.shape[1]:
            raise ValueError(
                f"class_idx: expected 0 to {logits.shape[1] - 1} for the model's {logits.shape[1]} scores, "
                f"got {int(idx.max())}"
            )
        return logits.gather(1, idx[:, None])[:, 0]

    return score


def _heatmaps(maps: Tensor, logits: Tensor, wanted: Tensor | None, method: str, layer: str) -> Heatmaps:
    predicted = logits.argmax(1)
    idx = predicted if wanted is None else wanted
    score, best = (logits.gather(1, i[:, None])[:, 0] for i in (idx, predicted))
    return Heatmaps(maps, idx, score, predicted, best, method, layer)


def _check_pictures(images: object) -> Tensor:
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected a tensor (N, C, H, W), got {type(images).__name__}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images: expected a shape (N, C, H, W) with no zero, got {tuple(images.shape)}")
    return images.detach()


def _check_class_idx(class_idx: ClassIdx, count: int) -> Tensor | None:
    if class_idx is None:
        return None
    try:
        idx = torch.as_tensor(class_idx)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"class_idx: expected class indices (integers), got {class_idx!r}") from None
    if idx.is_floating_point() or idx.is_complex() or idx.dtype is torch.bool:
        raise TypeError(f"class_idx: expected class indices (integers), got {idx.dtype}")
    if idx.ndim == 0:
        idx = idx.expand(count)
    if idx.shape != (count,):
        raise ValueError(
            f"class_idx: expected one class, or one for each of {count} images, got shape {tuple(idx.shape)}"
        )
    if int(idx.min()) < 0:
        raise ValueError(f"class_idx: expected 0 or more, got {int(idx.min())}")
    with torch.inference_mode(False):
        return idx.detach().to("cpu", torch.int64).clone()  # an inference tensor cannot enter a graph


@dataclass(frozen=True)
class _Known:
    """A target layer by name, and what it was found for. It holds no module, so it keeps no model alive."""

    pictures: torch.Size
    modules: tuple[tuple[str, int], ...]
    layer: tuple[str, bool, tuple[int, int], str]


# A search costs forwards of one picture, so its answer is kept until a module is added, replaced or removed.
_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def _layer_of(
    model: nn.Module, images: Tensor, precision: Precision, target_layer: str | nn.Module | None
) -> TargetLayer:
    if target_layer is not None:
        return find_target_layer(model, images, precision, target_layer)
    named = {clean_name(name): module for name, module in model.named_modules()}
    modules = tuple((name, id(module)) for name, module in named.items())
    known = _known.get(model)
    if known is not None and (known.pictures, known.modules) == (images.shape[1:], modules):
        return TargetLayer(named[known.layer[0]], *known.layer)
    layer = find_target_layer(model, images, precision)
    _known[model] = _Known(images.shape[1:], modules, (layer.name, layer.channels_last, layer.grid, layer.reason))
    return layer
