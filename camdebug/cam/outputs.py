"""What a model gives, read as scores of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Link = Literal["softmax", "sigmoid"]
"""How scores become probabilities: over all classes together, or each class for itself."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of n pictures for K classes, still in the graph of the forward, float32.

    Attributes:
        table: ``(n, K)`` raw scores (logits); ``None`` when the number of classes cannot be known.
        link: ``"softmax"`` where one class excludes the others, ``"sigmoid"`` where each stands for itself.
        pick: ``(n,) class indices -> (n,)``, the score to explain, where that is not the entry of the table.
    """

    table: Tensor | None
    link: Link = "softmax"
    pick: Callable[[Tensor], Tensor] | None = None

    @property
    def matrix(self) -> Tensor:
        """``(n, K)``.

        Raises:
            ValueError: when the number of classes is not known.
        """
        if self.table is None:
            raise ValueError("score_fn: the model's output does not tell how many classes there are")
        return self.table

    @property
    def predicted(self) -> Tensor | None:
        """``(n,)`` int64, the class with the highest score; ``None`` when that cannot be known."""
        return None if self.table is None else self.table.argmax(1)

    @property
    def device(self) -> torch.device | None:
        """Where the scores are; ``None`` when that cannot be known."""
        return None if self.table is None else self.table.device

    def of(self, class_idx: Tensor) -> Tensor:
        """``(n,)``: the score of one class of each picture, from ``(n,)`` int64.

        Raises:
            ValueError: when there is no such class.
        """
        if self.table is not None and int(class_idx.max()) >= self.table.shape[1]:
            raise ValueError(
                f"class_idx: expected 0 to {self.table.shape[1] - 1} for the model's {self.table.shape[1]} scores, "
                f"got {int(class_idx.max())}"
            )
        return self.matrix.gather(1, class_idx[:, None])[:, 0] if self.pick is None else self.pick(class_idx)

    def margin(self, class_idx: Tensor, others: Tensor) -> Tensor:
        """``(n,)``: by how much the class leads another one, or, where each stands for itself, its own score."""
        mine = self.of(class_idx)
        return mine - self.of(others) if self.link == "softmax" else mine

    def probability(self, class_idx: Tensor) -> Tensor:
        """``(n,)`` in [0, 1]: of one class of each picture."""
        shares = self.matrix.softmax(1) if self.link == "softmax" else self.matrix.sigmoid()
        return shares.gather(1, class_idx[:, None])[:, 0]

    def kept(self) -> ClassScores:
        """Without the graph, on the CPU, float64, for what is asked later; ``pick`` does not outlive the forward."""
        return replace(self, table=None if self.table is None else self.table.detach().cpu().double(), pick=None)


class Outputs(Protocol):
    """Reads a model's output."""

    def __call__(self, output: Any) -> ClassScores:  # noqa: ANN401
        """Scores of the pictures that were passed.

        Raises:
            TypeError, ValueError: when the output cannot be read; the message says what to pass.
        """
        ...


def class_scores(output: object) -> ClassScores:
    """The model's output as ``(N, K)`` class scores, or a clear error."""
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
        came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"model: expected class scores (N, K) with K >= 2 from its forward, got {came}")
    return ClassScores(output.float())
