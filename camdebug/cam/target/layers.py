"""Layers that can be explained: those whose output is a grid of cells, or a row of tokens that are the cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import nn

from camdebug.cam.target.layout import Layout
from camdebug.cam.target.tokens import Sequences, token_axis
from camdebug.cam.target.tracing import CHANNELS_FIRST, Output, clean_name

_HAND_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

MAX_ANISOTROPY = math.log(2)
"""A grid whose cells are more than twice as high as wide, or the reverse, is not taken unasked."""


# Readings of one output that differ less are not told apart by the shape of their cells.
_CLOSE = 0.5


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
class Reader:
    """Reads outputs as cells.

    Attributes:
        size: of the picture, one to three axes: ``(H, W)``, mostly.
        sequences: measures which tokens are cells; called when it matters for the first time.
    """

    size: tuple[int, ...]
    sequences: Callable[[], Sequences]
    _measured: list[Sequences] = field(default_factory=list, init=False)

    def is_tokens(self, output: Output) -> bool:
        """Whether it may be a row of tokens: what is worked on after the patches of a picture were embedded."""
        axis = token_axis(output.shape)
        return axis is not None and output.shape[axis] > 2

    def layout(self, output: Output, *, most_anisotropy: float = MAX_ANISOTROPY) -> Layout | None:
        """Where the cells are in an output of one picture; ``None`` when it has none."""
        if len(output.shape) == len(self.size) + 2 and output.shape[0] == 1 and not self._is_tokens_in_time(output):
            return self._grid_layout(output, most_anisotropy)
        return self._token_layout(output) if self.is_tokens(output) else None

    def _grid_layout(self, output: Output, most_anisotropy: float) -> Layout | None:
        """Cells are about as high as wide; channels are not like that. Where both readings can be, it is measured."""
        found = {last: layout for last in (False, True) if (layout := _read(output, last))}
        apart = {last: _anisotropy(layout, self.size) for last, layout in found.items()}
        if len(found) == 2 and max(apart.values()) < math.inf:
            # Blocks of convolutions are not measured: they have the shape, and the square cells, of a convolution.
            plain = output.like_conv and apart[True] - apart[False] > _CLOSE
            last = None if plain else self._measure().is_channels_last(output.name, output.shape)
            apart = apart if last is None else {last: apart[last]}
        if not apart:
            return self._thin(output) if most_anisotropy == math.inf else None
        best = min(apart, key=lambda last: apart[last])
        return found[best] if apart[best] <= most_anisotropy else None

    def _thin(self, output: Output) -> Layout | None:
        """A grid of one row or column, which is taken when it is asked for."""
        layout = Layout("NCHW", output.shape[2:])
        is_grid = output.like_conv and not output.pooled and math.prod(layout.grid) > 1
        return layout if is_grid and _anisotropy(layout, self.size) < math.inf else None

    def _is_tokens_in_time(self, output: Output) -> bool:
        """Of a sequence's output: ``(N, t, C)``, not ``(N, C, t)``, which only a change of the input can tell."""
        if len(self.size) > 1 or isinstance(output.module, CHANNELS_FIRST):
            return False
        return bool(self._measure().is_channels_last(output.name, output.shape))

    def _token_layout(self, output: Output) -> Layout | None:
        axis = token_axis(output.shape)
        assert axis is not None
        tokens = self._measure().grids.get(output.shape[axis])
        return None if tokens is None else Layout("tokens", tokens.grid, tokens.first, 1 if axis == 0 else 0)

    def is_out_of_order(self, output: Output) -> bool:
        """Whether its tokens follow places of the picture, but not row by row."""
        axis = token_axis(output.shape) if self.is_tokens(output) else None
        return axis is not None and output.shape[axis] in self._measure().out_of_order

    def _measure(self) -> Sequences:
        if not self._measured:
            self._measured.append(self.sequences())
        return self._measured[0]


def in_order(outputs: Sequence[Output], reader: Reader) -> list[Output]:
    """Outputs that may be a stage, the last ones first.

    A vision transformer works on tokens after its patch embedding, whose map says nothing. A convolutional network
    with a transformer as its head does most of its work before, on grids of cells: they are looked at first.
    """
    once = [o for o in reversed(outputs) if o.calls == 1 and not o.pooled]
    at_work = [o for o in outputs if not isinstance(o.module, _HAND_ON)]
    tokens = sum(reader.is_tokens(o) for o in at_work)
    if len(reader.size) > 1 and tokens <= sum(len(o.shape) == len(reader.size) + 2 for o in at_work):
        return sorted(once, key=reader.is_tokens)
    return once


def why(output: Output, layout: Layout) -> str:
    """Why the search has taken this output, for people."""
    if layout.kind != "tokens":
        return f"last spatial stage, {layout}"
    before = layout.first
    after = output.shape[0 if layout.batch_axis else 1] - before - math.prod(layout.grid)
    others = [f"{side} {n} other{'s' * (n > 1)}" for side, n in (("after", before), ("before", after)) if n]
    cells = "x".join(map(str, layout.grid))
    return f"last layer whose patch tokens reach the scores, {cells} tokens {' and '.join(others)}".rstrip()


def shape_words(rank: int) -> str:
    """The shape of a spatial output for pictures of so many axes."""
    return f"(N, C, {', '.join('dhw'[3 - rank :] if rank > 1 else 't')})"


def _read(output: Output, channels_last: bool) -> Layout | None:
    """The output read as a grid of cells, with channels last or first, if it can be one.

    The first of three axes, depth or time, is cut as finely as the network likes.
    """
    if channels_last and isinstance(output.module, CHANNELS_FIRST):
        return None
    layout = Layout("NHWC", output.shape[1:-1]) if channels_last else Layout("NCHW", output.shape[2:])
    return layout if min(layout.grid[-2:]) > 1 else None


def _anisotropy(layout: Layout, size: tuple[int, ...]) -> float:
    """How far a cell is from square: the absolute logarithm of its height over its width, in pixels.

    Infinite for more cells than pixels: that side counts channels.
    """
    if 0 in layout.grid or any(cells > pixels for cells, pixels in zip(layout.grid, size, strict=True)):
        return math.inf
    if len(size) == 1:
        return 0.0
    (h, w), (height, width) = layout.grid[-2:], size[-2:]
    return abs(math.log(height * w / (width * h)))


def asked_for(
    model: nn.Module,
    target_layer: str | nn.Module,
    outputs: Sequence[Output],
    reader: Reader,
    given_by: Callable[[nn.Module], str | None],
) -> TargetLayer:
    """The layer of that name, or that module; ``given_by`` tells what one gives that gives no tensor.

    Raises:
        TargetLayerError: when there is none, it does not run once, or its output has no cells.
    """
    name, module = _named(model, target_layer)
    found = next((o for o in outputs if o.module is module), None)
    if found is None:
        raise _no_tensor(name, given_by(module))
    if found.calls > 1:
        raise TargetLayerError(
            f"target_layer: {name!r} runs {found.calls} times in a forward, so its maps would be mixed up; "
            "choose a layer that runs once, for example the block around it"
        )
    layout = reader.layout(found, most_anisotropy=math.inf)
    if reader.is_out_of_order(found):
        raise out_of_order(found)
    if layout is None:
        raise TargetLayerError(
            f"target_layer: expected an output {shape_words(len(reader.size))} with more than one cell, or tokens "
            f"(N, L, C) of the picture's patches, got {found.shape} from {name!r}"
        )
    return TargetLayer(found.module, found.name, layout, "as asked for")


def _no_tensor(name: str, given: str | None) -> TargetLayerError:
    if given is None:
        return TargetLayerError(f"target_layer: {name!r} does not run in the model's forward")
    return TargetLayerError(
        f"target_layer: expected a layer that gives a tensor, or several with a tensor first, got {given} from "
        f"{name!r}; pass a layer inside or behind it"
    )


def out_of_order(output: Output) -> TargetLayerError:
    """What to say of tokens that cannot be drawn."""
    return TargetLayerError(
        f"target_layer: the tokens of {output.name!r}, {output.shape}, follow places of the picture, but not row by "
        "row, so they cannot be drawn as a map; pass target_layer= with another layer"
    )


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


def names_of(outputs: Sequence[Output]) -> str:
    """The last outputs, for messages."""
    return ", ".join(f"{o.name} {o.shape}" for o in outputs[-5:]) or "none"
