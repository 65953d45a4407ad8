"""``compute_cams``: maps of a batch of pictures, all methods from one pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn

from camdebug.cam.explain import Choice, Ranked, explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import (
    Method,
    MethodChoice,
    check_methods,
    check_options,
    needs_gradient,
    needs_layer,
)
from camdebug.cam.model.reading import OutputScoreFn, Task
from camdebug.cam.model.subject import ForwardFn, Subject, model_use
from camdebug.cam.options import PLAIN, MapOptions
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import LayerChoice, remembered_target_layers
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
    options: MapOptions = PLAIN,
    inputs: Sequence[Tensor] = (),
    forward_fn: ForwardFn | None = None,
    score_fn: OutputScoreFn | None = None,
    task: Task | None = None,
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
    options: MapOptions = PLAIN,
    inputs: Sequence[Tensor] = (),
    forward_fn: ForwardFn | None = None,
    score_fn: OutputScoreFn | None = None,
    task: Task | None = None,
    chunk_size: int = 32,
) -> Heatmaps: ...


def compute_cams(
    model: nn.Module,
    images: Tensor,
    class_idx: ClassIdx = None,
    *,
    method: MethodChoice | Sequence[MethodChoice] = "hirescam",
    target_layer: LayerChoice = None,
    options: MapOptions = PLAIN,
    inputs: Sequence[Tensor] = (),
    forward_fn: ForwardFn | None = None,
    score_fn: OutputScoreFn | None = None,
    task: Task | None = None,
    chunk_size: int = 32,
) -> Heatmaps | dict[str, Heatmaps]:
    """Explain one class of each picture. The model is handed back bit for bit as it was.

    Args:
        model: gives scores of classes from pictures.
        images: ``(N, C, H, W)``, as the model receives them, ``(N, C, D, H, W)`` for volumes and videos,
            ``(N, C, T)`` for sequences; moved and cast to the model's device and dtype.
        class_idx: the class to explain: one for all, ``(N,)`` one for each, or ``None`` for the predicted ones.
        method: a name, a function ``(model, images, class_idx) -> (N, h, w)``, ``"gradcam:ClassName"`` for a class of
            the grad-cam package, or a sequence of these. All gradient methods are answered from one pass.
        target_layer: dotted name or module, or a list of them, whose maps are fused; by default the last spatial stage.
        options: what is done to the maps.
        inputs: what the model takes beside pictures, each ``(N, ...)``.
        forward_fn: ``(model, images, *inputs) -> output``, where ``model(images, *inputs)`` is not the way to run it.
        score_fn: ``(output, class_idx (n,)) -> (n,)``, the score to explain, for outputs that are not read by
            themselves.
        task: ``"multiclass"`` or ``"multilabel"``; by default what the output looks like.
        chunk_size: pictures in one forward; memory grows with it, not with ``N``.

    Returns:
        ``Heatmaps`` with ``(N, h, w)`` float32 maps, on the layer's own grid for methods that look at a layer and on
        the picture's for others, raw; for a sequence of methods a dict from name to ``Heatmaps``.

    Raises:
        TypeError, ValueError: when an argument or the model's output is not as described; the message names it.

    Warns:
        UserWarning: when every map of a method is empty.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 2, bias=False))
    >>> _ = nn.init.ones_(net[0].weight), nn.init.ones_(net[2].weight)
    >>> compute_cams(net, torch.tensor([[[[1., 0.], [0., 2.]]]]), 0).maps
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    methods = check_methods(method)
    wanted = _check_class_idx(class_idx, len(_check_pictures(images)))
    (found,) = _explained(
        model,
        images,
        [wanted],
        methods,
        target_layer=target_layer,
        options=options,
        inputs=inputs,
        forward_fn=forward_fn,
        score_fn=score_fn,
        task=task,
        chunk_size=chunk_size,
    )
    return found if isinstance(method, (list, tuple)) else found[methods[0].name]


def compute_top_cams(
    model: nn.Module,
    images: Tensor,
    k: int = 3,
    *,
    method: MethodChoice = "hirescam",
    target_layer: LayerChoice = None,
    options: MapOptions = PLAIN,
    inputs: Sequence[Tensor] = (),
    forward_fn: ForwardFn | None = None,
    task: Task | None = None,
    chunk_size: int = 32,
) -> list[Heatmaps]:
    """Explain the ``k`` classes with the highest scores of each picture, from one pass.

    Args:
        model: gives scores of classes from pictures.
        images: ``(N, C, H, W)`` and so on, as of :func:`compute_cams`.
        k: how many classes.
        method: a name or a function.
        target_layer: dotted name or module, or a list of them; by default the last spatial stage.
        options: what is done to the maps.
        inputs: what the model takes beside pictures.
        forward_fn: runs the model.
        task: ``"multiclass"`` or ``"multilabel"``.
        chunk_size: pictures in one forward.

    Returns:
        ``k`` ``Heatmaps``, those of the predicted classes first.

    Raises:
        TypeError, ValueError: when an argument or the model's output is not as described; the message names it.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 2, bias=False))
    >>> first, second = compute_top_cams(net, torch.rand(5, 1, 2, 2), k=2, options=MapOptions(sign="signed"))
    >>> bool((first.class_score >= second.class_score).all())
    True
    """
    (one,) = check_methods([method])
    _check_whole("k", k)
    found = _explained(
        model,
        images,
        [Ranked(place) for place in range(k)],
        (one,),
        target_layer=target_layer,
        options=options,
        inputs=inputs,
        forward_fn=forward_fn,
        score_fn=None,
        task=task,
        chunk_size=chunk_size,
    )
    return [by_method[one.name] for by_method in found]


def _explained(
    model: nn.Module,
    images: Tensor,
    choices: Sequence[Choice],
    methods: tuple[Method, ...],
    *,
    target_layer: LayerChoice,
    options: MapOptions,
    inputs: Sequence[Tensor],
    forward_fn: ForwardFn | None,
    score_fn: OutputScoreFn | None,
    task: Task | None,
    chunk_size: int,
) -> list[dict[str, Heatmaps]]:
    pictures = _check_pictures(images)
    if not isinstance(options, MapOptions):
        raise TypeError(f"options: expected camdebug.MapOptions, got {type(options).__name__}")
    check_options(methods, options)
    _check_whole("chunk_size", chunk_size)
    use = model_use(forward_fn=forward_fn, score_fn=score_fn, task=task)
    own = getattr(score_fn, "of_pictures", None)
    if own not in (None, len(pictures)):
        raise ValueError(f"score_fn: has a region or a box for each of {own} pictures, got {len(pictures)} images")
    with borrowed(model):
        subject = use.on(model, None, *_check_inputs(inputs, len(pictures)))
        _check_sequences(subject, pictures)
        layers: tuple[TargetLayer, ...] = ()
        if target_layer is not None or any(map(needs_layer, methods)):
            gradient = any(map(needs_gradient, methods))
            layers = remembered_target_layers(subject, pictures, target_layer, gradient=gradient)
        found = explain(Lens(subject, layers, chunk_size), pictures, choices, methods, options)
    for name, heat in ((name, heat) for by_method in found for name, heat in by_method.items()):
        if bool(heat.empty.all()):
            warnings.warn(_nothing_seen(name, heat, options), stacklevel=3)
    return found


def _nothing_seen(method: str, heat: Heatmaps, options: MapOptions) -> str:
    where = f" at {heat.layer}" if heat.layer else ""
    against = " MapOptions(sign='signed') shows what speaks against it." if options.sign == "positive" else ""
    return (
        f"camdebug: every map of {method}{where} is empty: nothing there speaks for the class.{against} If the head "
        "starts at zero, train first; otherwise try another target_layer."
    )


def _check_pictures(images: object) -> Tensor:
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected a tensor (N, C, H, W), got {type(images).__name__}")
    if not 3 <= images.ndim <= 5 or 0 in images.shape:
        raise ValueError(
            "images: expected a shape (N, C, H, W), or (N, C, D, H, W), or (N, C, T), with no zero, got "
            f"{tuple(images.shape)}"
        )
    return images.detach()


def _check_sequences(subject: Subject, pictures: Tensor) -> None:
    """A single picture ``(C, H, W)`` looks like sequences; the model can tell."""
    if pictures.ndim > 3:
        return
    kinds = {type(module) for module in subject.model.modules()}
    try:
        if nn.Conv2d in kinds and nn.Conv1d not in kinds:
            raise TypeError("the model has layers for pictures, and none for sequences")
        subject.forward(subject.converted(pictures[:1]), slice(0, 1))
    except Exception as error:
        raise ValueError(
            f"images: expected a shape (N, C, H, W), got {tuple(pictures.shape)}, read as sequences (N, C, T), "
            "and the model does not take them; for one picture pass images[None]"
        ) from error


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a whole number above 0, got {value!r}")


def _check_inputs(inputs: object, count: int) -> list[Tensor]:
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"inputs: expected a list of tensors, got {type(inputs).__name__}")
    for tensor in inputs:
        if not isinstance(tensor, Tensor) or tensor.ndim == 0 or len(tensor) != count:
            came = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"inputs: expected tensors with one row for each of {count} images, got {came}")
    with torch.inference_mode(False):
        return [tensor.detach().clone() if tensor.is_inference() else tensor.detach() for tensor in inputs]


def _check_class_idx(class_idx: ClassIdx, count: int) -> Tensor | None:
    if class_idx is None:
        return None
    try:
        idx = torch.as_tensor(class_idx)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"class_idx: expected class indices (integers), got {class_idx!r}") from None
    if idx.numel() == 0:
        raise ValueError(f"class_idx: expected one class, or one for each of {count} images, got none")
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
