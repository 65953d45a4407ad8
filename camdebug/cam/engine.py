"""``compute_cams``: maps of a batch of pictures, all methods from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn

from camdebug.cam.borrow import borrowed
from camdebug.cam.explain import explain
from camdebug.cam.lens import Lens
from camdebug.cam.registry import MethodChoice, check_methods
from camdebug.cam.search import LayerChoice, remembered_target_layers
from camdebug.cam.subject import ModelUse
from camdebug.records import Heatmaps

ClassIdx = int | Sequence[int] | Tensor | None


@overload
def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: list[MethodChoice] | tuple[MethodChoice, ...],
    target_layer: LayerChoice = None,
    chunk_size: int = 32,
) -> dict[str, Heatmaps]: ...


@overload
def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: MethodChoice = "hirescam",
    target_layer: LayerChoice = None,
    chunk_size: int = 32,
) -> Heatmaps: ...


def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: MethodChoice | Sequence[MethodChoice] = "hirescam",
    target_layer: LayerChoice = None,
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
    methods = check_methods(method)
    pictures = _check_pictures(images)
    if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
        raise ValueError(f"chunk_size: expected a whole number above 0, got {chunk_size!r}")
    wanted = _check_class_idx(class_idx, len(pictures))
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = remembered_target_layers(subject, pictures, target_layer)
        found = explain(Lens(subject, layers, chunk_size), pictures, [wanted], methods)[0]
    return found if isinstance(method, (list, tuple)) else found[methods[0].name]


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
