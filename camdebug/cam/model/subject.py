"""``Subject``: a model, how pictures enter it, and how its output is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from camdebug.cam.model.calling import Called, calling, is_too_few_arguments
from camdebug.cam.model.outputs import ClassScores, Outputs
from camdebug.cam.model.precision import ModelPrecision, Precision
from camdebug.cam.model.reading import OutputReader, OutputScoreFn, Task

ForwardFn = Callable[..., Any]
"""``(model, images, *inputs) -> output``."""

ANY_OUTPUT = OutputReader()
"""Reads whatever can be read by itself."""

Rows = slice | Tensor
"""Which pictures of a set: a slice, or ``(n,)`` int64 with repetitions."""


@dataclass(frozen=True)
class ModelUse:
    """How any model of a kind is run and read; what a user says of it.

    Attributes:
        outputs: reads its output.
        forward_fn: runs it, where ``model(images)`` is not the way.
    """

    outputs: Outputs = ANY_OUTPUT
    forward_fn: ForwardFn | None = None

    def on(self, model: nn.Module, precision: Precision | None = None, *inputs: Tensor) -> Subject:
        """One model, with pictures in its own number format unless told otherwise."""
        return Subject(model, precision or ModelPrecision(model), self.outputs, self.forward_fn, inputs)


def model_use(
    *,
    forward_fn: ForwardFn | None = None,
    score_fn: OutputScoreFn | None = None,
    task: Task | None = None,
    num_classes: int | None = None,
) -> ModelUse:
    """What a user says of a model, checked.

    Raises:
        TypeError, ValueError: naming the argument that is wrong.
    """
    if forward_fn is not None and not callable(forward_fn):
        raise TypeError(f"forward_fn: expected a function (model, images) -> output, got {type(forward_fn).__name__}")
    own = callable(score_fn) and getattr(score_fn, "of_rows", None) is None  # ours name their arguments themselves
    asked = Called("score_fn:", score_fn) if own and score_fn is not None else score_fn
    return ModelUse(OutputReader(task=task, score_fn=asked, num_classes=num_classes), forward_fn)


@dataclass(frozen=True, eq=False)
class Subject:
    """Who is explained. Use it inside ``borrowed(model)``.

    Attributes:
        model: whose layers are looked at.
        precision: how pictures enter the model.
        outputs: reads its output.
        forward_fn: runs it, where ``model(images, *inputs)`` is not the way.
        inputs: what the model takes beside pictures, each ``(N, ...)``, one row for each picture of the set.
    """

    model: nn.Module
    precision: Precision
    outputs: Outputs = ANY_OUTPUT
    forward_fn: ForwardFn | None = None
    inputs: tuple[Tensor, ...] = ()

    def converted(self, pictures: Tensor) -> Tensor:
        """A copy on the model's device, in its number format: models write to their input."""
        with self.precision.context():
            return self.precision.convert(pictures.clone())

    def forward(self, pictures: Tensor, rows: Rows) -> ClassScores:
        """Scores of pictures that are ``converted`` already, in the grad mode that is on.

        Args:
            pictures: ``(n, C, *size)``.
            rows: which pictures of the set they are, for what else the model takes.

        Raises:
            TypeError, ValueError: when the output cannot be read as scores, the model takes more than pictures, or
                ``forward_fn`` or ``score_fn`` cannot be called.
            RuntimeError: when one of these raised an error.
        """
        with self.precision.context():
            inputs = [self._entering(tensor[rows].clone(), pictures) for tensor in self.inputs]
            return self.reader_of(rows)(self._run(pictures, inputs))

    def reader_of(self, rows: Rows) -> Outputs:
        """What reads the output for some of the pictures of the set."""
        return self.outputs.of_rows(rows) if isinstance(self.outputs, OutputReader) else self.outputs

    def of_rows(self, rows: Tensor) -> Subject:
        """The same model for a set that is made of these pictures, ``(n,)`` int64 with repetitions."""
        return replace(self, outputs=self.reader_of(rows), inputs=tuple(tensor[rows] for tensor in self.inputs))

    def _run(self, pictures: Tensor, inputs: list[Tensor]) -> Any:  # noqa: ANN401
        if self.forward_fn is not None:
            with calling("forward_fn:"):
                return self.forward_fn(self.model, pictures, *inputs)
        try:
            return self.model(pictures, *inputs)
        except TypeError as error:
            if not is_too_few_arguments(error, self.model.forward):
                raise
            more = "more than pictures" if not inputs else f"more than pictures and {len(inputs)} other inputs"
            raise TypeError(f"model: its forward takes {more} ({error}); pass inputs=[...] or forward_fn=") from error

    def _entering(self, tensor: Tensor, beside: Tensor) -> Tensor:
        """Numbers take the model's format, indices keep theirs."""
        return self.precision.convert(tensor) if tensor.is_floating_point() else tensor.to(beside.device)
