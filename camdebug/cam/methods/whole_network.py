"""Differentiate the whole network, down to the pictures, and touch no parameter's ``.grad``.

It keeps the graph of the whole forward, so it costs the memory and the time of a training step's two passes; methods
of a target layer cost about a forward. It sees nothing below a part of the network that runs without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camdebug.cam.passes import Chunk

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False)
class Traced:
    """A forward with its graph.

    Attributes:
        method: who asks, for error messages.
        entry: ``(n, C, *size)``, the pictures, where the graph begins.
        score: ``(n,)``, where it ends.
    """

    method: str
    entry: Tensor
    score: Tensor

    def gradient(self) -> Tensor:
        """``(n, C, *size)`` in the model's number format: of each score with respect to its picture. Frees the graph.

        Raises:
            ValueError: when no gradient reaches the pictures.
        """
        found = self.gradient_at(self.entry, keep=False)
        if found is None:
            raise ValueError(
                f"method: {self.method!r} differentiates the whole network, and no gradient reaches the pictures: a "
                "part of the network runs without gradients or detaches them; pass a method that needs a target layer "
                "only, such as 'hirescam'"
            )
        return found

    def gradient_at(self, tensor: Tensor, *, keep: bool) -> Tensor | None:
        """Of each score with respect to a tensor of the graph; ``None`` when no path leads there.

        Raises:
            ValueError: when a part of the network is checkpointed in a way that allows no such gradient.
        """
        if not (self.score.requires_grad and tensor.requires_grad):
            return None
        ones = torch.ones_like(self.score)
        try:
            return torch.autograd.grad(self.score, tensor, ones, retain_graph=keep, allow_unused=True)[0]
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise ValueError(
                f"method: {self.method!r} differentiates the whole network, and a part of it is checkpointed with "
                "use_reentrant=True, which allows only the gradients of training; expected use_reentrant=False"
            ) from error


def traced(method: str, chunk: Chunk, class_idx: Tensor, watching: AbstractContextManager[object]) -> Traced:
    """Forward the chunk's pictures with a graph from them to the score of one class of each, ``(n,)`` int64.

    Call inside ``borrowed(model)``. ``watching`` is entered for the forward alone.
    """
    entry = chunk.pictures.detach()
    entry.requires_grad_(entry.is_floating_point())
    with chunk.subject.precision.context(), torch.enable_grad():
        with watching:
            scores = chunk.subject.forward(entry.clone(), chunk.rows)  # a copy: the model may write to its input
        return Traced(method, entry, scores.of(class_idx))


class Calls(TorchFunctionMode):
    """While entered, every call of a torch function or method passes through :meth:`call`.

    Calls, not modules: a module may run several times, a function has no module, and some modules end with more than
    their name says (timm's BatchNorm layers end with a ReLU).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """What torch asks of a mode."""
        return self.call(func, *args, **(kwargs or {}))

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> object:  # noqa: ANN401
        """Make the call; calls within it do not come here."""
        return func(*args, **kwargs)


def on_gradient(tensor: Tensor, do: Callable[[Tensor], Tensor | None]) -> None:
    """When gradients are taken, show the one of this value, and let what ``do`` returns, if anything, take its place.

    It stays with the value: what a layer behind writes over it comes later in the graph.
    """
    tensor.register_hook(do)  # type: ignore[no-untyped-call]


def widened(tensor: Tensor) -> Tensor:
    """At least float32: products and sums of half-precision numbers lose too much."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def enlarged(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """``(n, *grid)`` maps brought to the pictures' own size, linearly between the middles of cells.

    >>> enlarged(torch.tensor([[0.0, 4.0]]), (4,))
    tensor([[0., 1., 3., 4.]])
    """
    return F.interpolate(maps[:, None], size=size, mode=_LINEAR[len(size)], align_corners=False)[:, 0]
