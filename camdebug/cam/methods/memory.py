"""What modules before a target layer gave, kept to answer in their place."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import Subject
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.layout import tensor_in

Way = Literal["one", "each", "none"]
Answers = dict[nn.Module, deque[Any]]
"""For each module what its calls will return, in order."""


class Unfit(Exception):  # noqa: N818 (it reports no mistake: the module merely runs again)
    """An output that cannot be kept, or a call that nothing was kept for."""


@dataclass(frozen=True, eq=False)
class Memory:
    """Outputs of modules for n pictures.

    Attributes:
        outputs: of each module, one for each call.
        count: n.
        widest: elements for each picture of the largest tensor that was seen, the picture among them.
        widest_after: the same of what came when the target layer had finished.
        coarsest: the number format of the largest rounding that was seen.
    """

    outputs: Mapping[nn.Module, tuple[Any, ...]]
    count: int
    widest: int
    widest_after: int
    coarsest: torch.dtype

    def answers(self, which: Tensor, *, one: bool) -> Answers:
        """For rows that belong to these pictures, ``(m,)``; with ``one``, a single row of the first of them."""
        take = partial(self._rows, which=which[:1] if one else which)
        return {module: deque(_each(kept, take) for kept in calls) for module, calls in self.outputs.items()}

    def _rows(self, tensor: Tensor, which: Tensor) -> Tensor:
        return rows_of(tensor, which, _batch_axis(tensor, self.count))


def rows_of(tensor: Tensor, which: Tensor, axis: int) -> Tensor:
    """A copy of rows of a tensor, ``(m,)`` indices along ``axis``; of a single row one copy is seen ``m`` times."""
    if bool((which == which[0]).all()):
        row = tensor.narrow(axis, int(which[0]), 1).clone()
        return row.expand([len(which) if i == axis else size for i, size in enumerate(row.shape)])
    return tensor.index_select(axis, which.to(tensor.device))


@contextmanager
def answering(answers: Answers) -> Iterator[None]:
    """While the block runs, these modules do not compute: they return what they are told. Their hooks run as ever."""

    def answer(waiting: deque[Any]) -> Callable[..., Any]:
        def forward(*_args: object, **_kwargs: object) -> Any:  # noqa: ANN401
            if not waiting:
                raise Unfit("a module is called more often than before")
            return waiting.popleft()

        return forward

    with _forwards({module: answer(waiting) for module, waiting in answers.items()}):
        yield


def recorded(subject: Subject, layer: TargetLayer, pictures: Tensor, rows: slice) -> tuple[Memory, Tensor, ClassScores]:
    """One forward: memory of what finishes before the layer, the layer's own raw output, and the scores.

    Raises:
        TargetLayerError: when the layer does not run exactly once.
    """
    recording = _Recording(len(pictures))
    modules = list(subject.model.modules())
    ancestors = {module for module in modules if any(part is layer.module for part in module.modules())}
    wrapped = {
        module: recording.around(module, module.forward)
        for module in modules
        if module is layer.module or module not in ancestors
    }
    handle = layer.module.register_forward_hook(recording.finish)
    try:
        with _forwards(wrapped):
            scores = subject.forward(pictures.clone(), rows)
    finally:
        handle.remove()
    if len(recording.target) != 1:
        raise TargetLayerError(
            f"target_layer: {layer.name!r} ran {len(recording.target)} times in a forward, expected once"
        )
    return recording.memory(pictures[0].numel()), recording.target[0], scores


class _Recording:
    """Notes what the outermost modules return until the target layer has finished."""

    def __init__(self, count: int) -> None:
        self.target: list[Tensor] = []
        self._count = count
        self._outputs: dict[nn.Module, list[Any]] = {}
        self._unfit: set[nn.Module] = set()
        self._running: list[nn.Module] = []
        self._widest = self._widest_after = 1
        self._coarsest = torch.float64

    def around(self, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A module's forward that is noted."""

        def noted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            inside = bool(self._running)
            self._running.append(module)
            try:
                output = forward(*args, **kwargs)
            finally:
                self._running.pop()
            self._note(module, output, inside=inside)
            return output

        return noted

    def _note(self, module: nn.Module, output: object, *, inside: bool) -> None:
        if (found := tensor_in(output)) is not None:
            self._measure(found)
        if inside or self.target:
            self._unfit.add(module)  # an answer could be given at the wrong place
            return
        try:
            kept = _each(output, partial(_kept, count=self._count))
        except Unfit:
            self._unfit.add(module)
        else:
            self._outputs.setdefault(module, []).append(kept)

    def finish(self, _module: object, _inputs: object, output: object) -> None:
        """The target layer's hook; the model's own have run before."""
        found = tensor_in(output)
        if found is None:
            raise TargetLayerError("target_layer: it gives no tensor in this forward")
        self.target.append(found.detach().clone())
        self._measure(found)

    def _measure(self, tensor: Tensor) -> None:
        size = -(-tensor.numel() // self._count)
        self._widest = max(self._widest, size)
        if self.target:
            self._widest_after = max(self._widest_after, size)
        if tensor.is_floating_point():
            self._coarsest = max(self._coarsest, tensor.dtype, key=lambda dtype: torch.finfo(dtype).eps)

    def memory(self, picture: int) -> Memory:
        """Of those modules whose every call can be answered."""
        outputs = {module: tuple(calls) for module, calls in self._outputs.items() if module not in self._unfit}
        return Memory(outputs, self._count, max(self._widest, picture), self._widest_after, self._coarsest)


def _kept(tensor: Tensor, count: int) -> Tensor:
    """A copy, for what follows may write to it."""
    _batch_axis(tensor, count)
    return tensor.detach().clone()


def _batch_axis(tensor: Tensor, count: int) -> int:
    """Where the pictures are: the first axis if it is as long, otherwise the only one that is."""
    axes = [axis for axis, size in enumerate(tensor.shape) if size == count]
    if not axes or (axes[0] != 0 and len(axes) > 1):
        raise Unfit(f"no axis of {tuple(tensor.shape)} is that of {count} pictures")
    return axes[0]


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
    """A copy of nested tuples, lists and dicts with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        items = [_each(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    if isinstance(value, dict):  # also the named outputs of libraries, which are made from more than their items
        changed = copy.copy(value)
        for key, item in value.items():
            changed[key] = _each(item, change)
        return changed
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise Unfit(f"an output holds a {type(value).__name__}")


@contextmanager
def _forwards(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Give modules another ``forward`` of their own while the block runs; one that they had of their own comes back."""
    own = {module: vars(module)["forward"] for module in forwards if "forward" in vars(module)}
    try:
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module in forwards:
            vars(module).pop("forward", None)
            vars(module).update({"forward": own[module]} if module in own else {})
