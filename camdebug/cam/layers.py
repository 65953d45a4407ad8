"""Find the target layer: the last spatial stage on the path to the scores, by one traced forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from camdebug.cam.layout import Layout

# Their output is laid out for the head, not for looking: VGG's 7x7 pool repeats cells of a smaller stage.
_NOT_A_STAGE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)

# Their output is channels first, whatever its numbers look like.
_CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)

MAX_ANISOTROPY = math.log(2)
"""A grid whose cells are more than twice as high as wide, or the reverse, is not taken unasked."""


class TargetLayerError(ValueError):
    """The target layer cannot be found or used. The message says what to pass instead."""


@dataclass(frozen=True, eq=False)
class TargetLayer:
    """A layer whose activation is explained.

    ``layout``: where the cells are in its output. ``reason``: why it was chosen, for people.
    """

    module: nn.Module
    name: str
    layout: Layout
    reason: str

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along each axis of the picture: height and width, mostly."""
        return self.layout.grid


@dataclass(frozen=True, eq=False)
class _Output:
    """The output of one module during the traced forward, in the order in which modules finished.

    ``pooled``: it is what an adaptive pool gave, maybe handed on by the block that ends with the pool.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    calls: int
    pooled: bool


def clean_name(name: str) -> str:
    """A module's dotted name without what ``torch.compile`` adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def candidates(
    model: nn.Module, images: Tensor, forward: Callable[[Tensor], Any], target_layer: str | nn.Module | None
) -> list[TargetLayer]:
    """Layers that could be explained, best first, from one forward of ``images`` (a few suffice).

    Raises:
        TargetLayerError: when there is none, when ``target_layer`` names none, or when it has no spatial output.
    """
    with _traced(model) as outputs:
        forward(images)
    size = (images.shape[-2], images.shape[-1])
    if target_layer is not None:
        return [_asked_for(model, target_layer, outputs, len(images), size)]
    once = [o for o in reversed(outputs) if o.calls == 1 and not o.pooled]
    stages = [stage for o in once if (stage := _stage(o, len(images), size, most_anisotropy=MAX_ANISOTROPY))]
    if not stages:
        raise TargetLayerError(
            "target_layer: found no layer with a spatial output (N, C, h, w) that runs once in a forward; pass "
            f"target_layer=. Layers seen: {_names(outputs)}"
        )
    _refuse_tokens(stages[0], outputs, len(images))
    return stages


@contextmanager
def _traced(model: nn.Module) -> Iterator[list[_Output]]:
    """Record the tensor outputs of all modules inside the model while the block runs."""
    finished: dict[str, _Output] = {}
    outputs: list[_Output] = []
    pooled: list[Tensor] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            if isinstance(output, Tensor):
                if isinstance(module, _NOT_A_STAGE):
                    pooled.append(output)
                calls = finished.pop(name).calls + 1 if name in finished else 1
                is_pooled = any(output is p for p in pooled)
                finished[name] = _Output(name, module, tuple(output.shape), calls, is_pooled)

        return note

    handles: list[RemovableHandle] = []
    try:
        for name, module in model.named_modules():
            if clean_name(name):
                handles.append(module.register_forward_hook(watch(name)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
        outputs.extend(finished.values())


def _stage(output: _Output, batch: int, image_size: tuple[int, int], *, most_anisotropy: float) -> TargetLayer | None:
    """The output read as a grid of cells, if it is one. Cells are about as high as wide; channels are not like that."""
    if len(output.shape) != 4 or output.shape[0] != batch:
        return None
    (_, a, b, c), readings = output.shape, []
    for channels_last, grid in ((False, (b, c)), (True, (a, b))):
        anisotropy = _anisotropy(grid, image_size)
        if channels_last and isinstance(output.module, _CHANNELS_FIRST):
            continue
        if min(grid) > 1 and anisotropy <= most_anisotropy:
            # Strides round, so torch's own layout may be a cell off where the picture is not square.
            doubt = 1 / min(grid) if channels_last and image_size[0] != image_size[1] else 0.0
            readings.append((anisotropy + doubt, channels_last, grid))
    if not readings:
        return None
    _, channels_last, grid = min(readings)
    layout = Layout("NHWC" if channels_last else "NCHW", grid)
    return TargetLayer(output.module, clean_name(output.name), layout, f"last spatial stage, {layout}")


def _anisotropy(grid: tuple[int, int], image_size: tuple[int, int]) -> float:
    """How far a cell is from square: the absolute logarithm of its height over its width, in pixels.

    Infinite for more cells than pixels: that side counts channels.
    """
    (h, w), (height, width) = grid, image_size
    return math.inf if h > height or w > width or 0 in grid else abs(math.log(height * w / (width * h)))


def _asked_for(
    model: nn.Module,
    target_layer: str | nn.Module,
    outputs: list[_Output],
    batch: int,
    image_size: tuple[int, int],
) -> TargetLayer:
    name, module = _named(model, target_layer)
    found = next((o for o in outputs if o.module is module), None)
    if found is None:
        raise TargetLayerError(f"target_layer: {name!r} does not run, or gives no tensor, in the model's forward")
    if found.calls > 1:
        raise TargetLayerError(
            f"target_layer: {name!r} runs {found.calls} times in a forward, so its maps would be mixed up; "
            "choose a layer that runs once, for example the block around it"
        )
    stage = _stage(found, batch, image_size, most_anisotropy=math.inf)
    if stage is None:
        raise TargetLayerError(
            f"target_layer: expected an output (N, C, h, w) with more than one cell, got {found.shape} from {name!r}"
        )
    return TargetLayer(stage.module, stage.name, stage.layout, "as asked for")


def _named(model: nn.Module, target_layer: str | nn.Module) -> tuple[str, nn.Module]:
    every = [(clean_name(name), module) for name, module in model.named_modules(remove_duplicate=False)]
    by_name = {name: module for name, module in every if name}
    if isinstance(target_layer, nn.Module):
        for name, module in by_name.items():
            if module is target_layer:
                return name, module
        raise TargetLayerError(f"target_layer: this {type(target_layer).__name__} is not a part of the model")
    if not isinstance(target_layer, str):
        raise TypeError(
            f"target_layer: expected a dotted name or a module of the model, got {type(target_layer).__name__}"
        )
    name = clean_name(target_layer)
    if name in by_name:
        return name, by_name[name]
    near = get_close_matches(name, by_name, n=3) or list(by_name)[-3:]
    hint = f"did you mean {' or '.join(near)}?" if near else "it has none"
    raise TargetLayerError(f"target_layer: the model has no layer {target_layer!r}; {hint}")


def _refuse_tokens(best: TargetLayer, outputs: list[_Output], batch: int) -> None:
    """A vision transformer works on tokens after its patch embedding; a map of the embedding says nothing.

    A convolutional network with a transformer as its head does most of its work before, on grids of cells.
    """
    at = next(i for i, o in enumerate(outputs) if o.module is best.module)
    tokens = [o for o in outputs[at + 1 :] if len(o.shape) == 3 and batch in o.shape[:2] and max(o.shape[:2]) > 2]
    if len(tokens) > sum(len(o.shape) == 4 for o in outputs[: at + 1]):
        raise TargetLayerError(
            f"target_layer: after {best.name!r} the model works on token sequences (such as "
            f"{clean_name(tokens[-1].name)!r}, {tokens[-1].shape}), which are not supported yet; pass target_layer= "
            "with a layer of output (N, C, h, w) if the model has one that matters"
        )


def _names(outputs: list[_Output]) -> str:
    return ", ".join(f"{clean_name(o.name)} {o.shape}" for o in outputs[-5:]) or "none"
