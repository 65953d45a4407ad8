"""How a layer's output holds the cells of its grid."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["NCHW", "NHWC", "tokens"]


@dataclass(frozen=True)
class Layout:
    """Where the cells are in a layer's output.

    ``kind``: ``"NCHW"`` for ``(N, C, *grid)``, ``"NHWC"`` for ``(N, *grid, C)``, ``"tokens"`` for ``(N, L, C)``, whose
    cells are ``L`` tokens in a row, row by row of the grid. ``grid``: cells along each axis of the picture, one to
    three of them. ``first``: index of the token that is the first cell; class and register tokens stand before it or
    after the last cell. ``batch_axis``: 1 for tokens ``(L, N, C)``.
    """

    kind: Kind
    grid: tuple[int, ...]
    first: int = 0
    batch_axis: Literal[0, 1] = 0

    def cells(self, output: Tensor) -> Tensor:
        """The output's cells ``(N, C, *grid)``, a view where that can be.

        >>> Layout("tokens", (1, 2), first=1).cells(torch.tensor([[[9.0], [1.0], [2.0]]]))
        tensor([[[[1., 2.]]]])
        """
        if self.kind == "NCHW":
            return output
        if self.kind == "NHWC":
            return output.movedim(-1, 1)
        output = output.movedim(self.batch_axis, 0)
        cells = output[:, self._tokens].transpose(1, 2)
        return cells.reshape(*cells.shape[:2], *self.grid)

    def with_cells(self, output: Tensor, cells: Tensor) -> Tensor:
        """A copy of the output with other cells ``(N, C, *grid)``; all other tokens stay.

        >>> Layout("tokens", (1, 2), first=1).with_cells(torch.zeros(1, 3, 1), torch.ones(1, 1, 1, 2))
        tensor([[[0.],
                 [1.],
                 [1.]]])
        """
        if self.kind == "NCHW":
            return cells.clone()
        if self.kind == "NHWC":
            return cells.movedim(1, -1).clone()
        changed = output.movedim(self.batch_axis, 0).clone()
        changed[:, self._tokens] = cells.flatten(2).transpose(1, 2)
        return changed.movedim(0, self.batch_axis)

    @property
    def _tokens(self) -> slice:
        return slice(self.first, self.first + prod(self.grid))

    def __str__(self) -> str:
        """As people read it: the layout and the number of cells."""
        return f"{self.kind}, {'x'.join(map(str, self.grid))} cells"


def tensor_in(output: object) -> Tensor | None:
    """The tensor of a layer's output: itself, or the first entry of a tuple or list (attention layers return more)."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, torch.Tensor) else None


def with_tensor(output: object, tensor: Tensor) -> object:
    """A layer's output with another tensor in the place that ``tensor_in`` reads."""
    if isinstance(output, tuple):
        rest = (tensor, *output[1:])
        return type(output)(*rest) if hasattr(output, "_fields") else rest
    return [tensor, *output[1:]] if isinstance(output, list) else tensor
