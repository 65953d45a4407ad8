"""Which entry of a model's output holds the class scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from typing import TypeGuard

from torch import Tensor

Detections = Mapping[str, Tensor]
"""What a detector found in one picture: ``boxes`` ``(M, 4)``, ``labels`` and ``scores`` ``(M,)``, maybe more."""

_NAMES = ("logits", "out", "scores", "prediction", "predictions", "logits_per_image")
_SHOWN = 8
_PASS = "pass score_fn=, a function of the output and class_idx (n,) that gives scores (n,)"


class UnreadableOutputError(TypeError):
    """Nothing in the output can be taken for class scores, or too much. The message says what came."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What was found.

    Attributes:
        value: scores ``(N, K)``, ``(N,)``, ``(N, K, H, W)`` or ``(N, K, D, H, W)``, or the detections in N pictures.
        by_place: it was taken because it stands first, though others stand behind it.
    """

    value: Tensor | tuple[Detections, ...]
    by_place: bool = False


def scores_in(output: object) -> Entry:
    """The entry of an output that holds class scores, by the rules of :class:`camdebug.cam.model.reading.OutputReader`.

    Raises:
        UnreadableOutputError: when there is none, or when several could be it.
    """
    found = _search(output)
    if found is None:
        raise UnreadableOutputError(
            "model: expected class scores (N, K) with K >= 2 from its forward, or (N, 1), (N,), maps of scores "
            f"(N, K, H, W) or detections, got {described(output)}; {_PASS}"
        )
    return found


def described(output: object) -> str:
    """An output in few words: types, names and shapes.

    >>> import torch
    >>> described({"loss": 0.5, "parts": (torch.ones(2, 3), torch.ones(2, dtype=torch.int64))})
    'dict(loss: float, parts: tuple(shape (2, 3), shape (2,) int64))'
    """
    if isinstance(output, Tensor):
        kind = "" if output.is_floating_point() else f" {str(output.dtype).removeprefix('torch.')}"
        return f"shape {tuple(output.shape)}{kind}"
    named = _named(output)
    if named is not None:
        parts = [f"{name}: {described(value)}" for name, value in islice(named.items(), _SHOWN + 1)]
    elif isinstance(output, (tuple, list)):
        parts = [described(value) for value in output[: _SHOWN + 1]]
    else:
        return type(output).__name__
    return f"{type(output).__name__}({', '.join(parts[:_SHOWN] + ['...'] * (len(parts) > _SHOWN))})"


def tensors_in(output: object) -> Iterator[Tensor]:
    """All tensors of an output, in order, from whatever they are nested in."""
    if isinstance(output, Tensor):
        yield output
        return
    named = _named(output)
    for value in output if named is None and isinstance(output, (tuple, list)) else (named or {}).values():
        yield from tensors_in(value)


def are_detections(output: object) -> TypeGuard[Sequence[Detections]]:
    """Whether it is what a detector found in each of some pictures."""
    return isinstance(output, (tuple, list)) and bool(output) and all(_are_of_a_picture(found) for found in output)


def _are_of_a_picture(output: object) -> TypeGuard[Detections]:
    if not isinstance(output, Mapping):
        return False
    boxes, labels, scores = (output.get(name) for name in ("boxes", "labels", "scores"))
    return (
        isinstance(boxes, Tensor)
        and isinstance(labels, Tensor)
        and isinstance(scores, Tensor)
        and scores.is_floating_point()
        and scores.ndim == 1
        and labels.shape == scores.shape
        and boxes.shape == (*scores.shape, 4)
    )


def _search(output: object) -> Entry | None:
    if isinstance(output, Tensor):
        fits = output.is_floating_point() and output.ndim in (1, 2, 4, 5) and 0 not in output.shape
        return Entry(output) if fits else None
    if _are_of_a_picture(output):
        return Entry((output,))
    if are_detections(output):
        return Entry(tuple(output))
    named = _named(output) or {}
    if "boxes" in named and "scores" in named:
        return None  # the scores are of boxes, not of pictures
    told = next((named[name] for name in _NAMES if not _says_nothing(named.get(name))), None)
    if told is not None:
        return _search(told)
    return _first(output) if isinstance(output, (tuple, list)) else _only(named)


def _first(entries: Sequence[object]) -> Entry | None:
    speaking = [entry for entry in entries if not _says_nothing(entry)]
    one_for_each_picture = isinstance(entries, list) and len(speaking) > 1 and isinstance(speaking[0], Mapping)
    found = None if one_for_each_picture or not speaking else _search(speaking[0])
    return None if found is None else replace(found, by_place=found.by_place or len(speaking) > 1)


def _only(named: Mapping[str, object]) -> Entry | None:
    found = {name: entry for name, value in named.items() if (entry := _search(value)) is not None}
    if len(found) > 1:
        which = ", ".join(f"{name}: {described(named[name])}" for name in found)
        raise UnreadableOutputError(
            f"model: expected one entry with class scores from its forward, got {len(found)} that could be it: "
            f"{which}; {_PASS}"
        )
    return next(iter(found.values()), None)


def _named(output: object) -> dict[str, object] | None:
    """The entries of a dict, a named tuple or a dataclass."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return None


def _says_nothing(entry: object) -> bool:
    """Nothing, a single number such as a loss, or an empty container."""
    if isinstance(entry, Tensor):
        return entry.ndim == 0
    return entry is None or isinstance(entry, (int, float)) or (isinstance(entry, (Mapping, tuple, list)) and not entry)
