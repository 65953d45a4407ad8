"""What a model gives, read as scores of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Link = Literal["softmax", "sigmoid", "identity"]
"""How scores become probabilities: over all classes together, each class for itself, or they are some already."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of n pictures for K classes, still in the graph of the forward, float32.

    Attributes:
        table: ``(n, K)`` raw scores (logits); ``None`` when the number of classes cannot be known.
        link: ``"softmax"`` where one class excludes the others, ``"sigmoid"`` where each stands for itself,
            ``"identity"`` likewise, for scores that are probabilities.
        pick: ``(n,) class indices -> (n,)``, the score to explain, where that is not the entry of the table.
        device: where the scores are, the table's if there is one; ``None`` when that cannot be known.
    """

    table: Tensor | None
    link: Link = "softmax"
    pick: Callable[[Tensor], Tensor] | None = None
    device: torch.device | None = None

    def __post_init__(self) -> None:
        if self.table is not None:
            object.__setattr__(self, "device", self.table.device)

    @property
    def matrix(self) -> Tensor:
        """``(n, K)``.

        Raises:
            ValueError: when the number of classes is not known.
        """
        if self.table is None:
            raise ValueError("num_classes: the model's output does not tell how many classes there are; pass it")
        return self.table

    @property
    def predicted(self) -> Tensor | None:
        """``(n,)`` int64, the class with the highest score; ``None`` when that cannot be known."""
        return None if self.table is None else self.table.argmax(1)

    def of(self, class_idx: Tensor) -> Tensor:
        """``(n,)``: the score of one class of each picture, from ``(n,)`` int64.

        Raises:
            ValueError: when there is no such class, or not one row of scores for each picture.
        """
        if self.table is not None:
            self._check(class_idx, *self.table.shape)
        return self.matrix.gather(1, class_idx[:, None])[:, 0] if self.pick is None else self.pick(class_idx)

    def margin(self, class_idx: Tensor, others: Tensor) -> Tensor:
        """``(n,)``: by how much the class leads another one, or, where each stands for itself, its own score."""
        mine = self.of(class_idx)
        return mine - self.of(others) if self.link == "softmax" else mine

    def probability(self, class_idx: Tensor) -> Tensor:
        """``(n,)`` in [0, 1]: of one class of each picture."""
        return self._shares.gather(1, class_idx[:, None])[:, 0]

    def kept(self) -> ClassScores:
        """Without the graph, on the CPU, float64, for what is asked later; ``pick`` does not outlive the forward."""
        table = None if self.table is None else self.table.detach().cpu().double()
        return replace(self, table=table, pick=None, device=None)

    @property
    def _shares(self) -> Tensor:
        if self.link == "softmax":
            return self.matrix.softmax(1)
        return self.matrix.sigmoid() if self.link == "sigmoid" else self.matrix

    @staticmethod
    def _check(class_idx: Tensor, rows: int, classes: int) -> None:
        if len(class_idx) != rows:
            raise ValueError(
                f"model: expected a row of scores for each of {len(class_idx)} pictures from its forward, got {rows}"
            )
        least, most = torch.stack(class_idx.aminmax()).tolist()
        if least < 0 or most >= classes:
            raise ValueError(
                f"class_idx: expected 0 to {classes - 1} for the model's {classes} scores, got "
                f"{least if least < 0 else most}"
            )


class Outputs(Protocol):
    """Reads a model's output."""

    def __call__(self, output: Any) -> ClassScores:  # noqa: ANN401
        """Scores of the pictures that were passed.

        Raises:
            TypeError, ValueError: when the output cannot be read; the message says what to pass.
        """
        ...
