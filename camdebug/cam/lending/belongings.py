"""What the plain attributes of a model hold, however deep: found, with a keeper for all that can be put back."""

from __future__ import annotations

import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camdebug.cam.lending.keepers import GENERATORS, Array, Container, Generator, Keeper, Members, attributes_of

MOST_VALUES = 10_000
"""So many containers, tensors and objects are entered, the nearest first; what holds numbers and texts, or tuples of
them, counts as one."""

MOST_BYTES = 2**30
"""Of tensors and arrays in containers and objects so much is copied, the nearest first."""

_ATOMS: frozenset[type] = frozenset(
    [
        *(type(None), bool, int, float, complex, str, bytes, range, slice, type),
        *(torch.dtype, torch.device, torch.Size),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType),
        *(weakref.ProxyType, weakref.CallableProxyType),  # they pass for what they point to
    ]
)
CONTAINERS = (list, dict, set, deque)
# Whatever library made them, these are entered or kept.
_KEPT = (Tensor, nn.Module, np.ndarray, tuple, frozenset, *CONTAINERS, *GENERATORS)

# What these make is state of a library, not of the model: Trainers, datasets, optimizers, loggers, tables, ourselves.
_LIBRARIES = {
    *("camdebug", "lightning", "lightning_fabric", "matplotlib", "numpy", "omegaconf", "pandas", "pytorch_lightning"),
    *("tensorboard", "torch", "torchvision", "wandb"),
}
_PLAIN = {
    *("abc", "argparse", "builtins", "collections", "contextlib", "dataclasses", "enum", "functools", "numbers"),
    *("types", "typing"),
}
_FOREIGN = (sys.stdlib_module_names | _LIBRARIES) - _PLAIN
# An object that holds one of these works beside the training, and time cannot be turned back for it.
_AT_WORK = {
    *("_asyncio", "_io", "_queue", "_socket", "_thread", "asyncio", "concurrent", "io", "multiprocessing", "queue"),
    *("socket", "subprocess", "threading"),
}
_WORKERS = {
    *(("concurrent.futures._base", "Executor"), ("multiprocessing.process", "BaseProcess"), ("threading", "Thread")),
}
_TUPLES_DEEP = 3  # so many in one another are looked through for anything but numbers and texts


def reachable(
    roots: Iterable[tuple[str, object]], seen: set[int], on_left_out: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Any]]:
    """All that may change in place, the nearest first, each once, under the name of the root that leads to it.

    Tensors and modules are found but not entered, and parameters passed over. What belongs to a library, and what
    works in threads of its own, is left alone.

    Args:
        roots: names and values to start from.
        seen: ``id`` of what is to be passed over; whatever is found is added.
        on_left_out: is told the names of roots that hold more than ``MOST_VALUES`` or ``MOST_BYTES`` have room for.
    """
    search = _Search(seen, on_left_out or (lambda name: None), MOST_VALUES, MOST_BYTES)
    tangible = ((name, value) for name, value in roots if type(value) not in _ATOMS)
    waiting = deque(found for name, value in tangible for found in search.take(name, [value]))
    while waiting:
        name, value = waiting.popleft()
        yield name, value
        waiting.extend(search.take(name, _inside(value)))


def keeper_of(name: str, value: object) -> Keeper | None:
    """Remember what a value from :func:`reachable` holds, if it is of a kind that can be put back."""
    if isinstance(value, GENERATORS):
        return Generator.of(name, value)
    if isinstance(value, CONTAINERS):
        return Container.of(name, value)
    if isinstance(value, np.ndarray):
        return Array(name, value, value.copy()) if _is_copied(value) else None
    members = _members(value)
    return None if members is None else Members(name, value, members)


def is_worker(kind: type[Any]) -> bool:
    """Whether it is the type of a thread, a process, or what hands out work to them."""
    return any((c.__module__, c.__qualname__) in _WORKERS for c in kind.__mro__)


@dataclass
class _Search:
    """What was seen, and the room that is left."""

    seen: set[int]
    on_left_out: Callable[[str], None]
    values: int
    bytes: int

    def take(self, name: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
        """Those that may change in place and are new, as long as there is room."""
        for value in _changeable(values):
            if id(value) in self.seen or isinstance(value, nn.Parameter):
                continue
            if not self.values:
                self.on_left_out(name)
                return
            if (size := _bytes_of(value)) > self.bytes:
                self.on_left_out(name)
                continue
            self.seen.add(id(value))
            self.values -= 1
            self.bytes -= size
            yield name, value


def _changeable(values: Iterable[Any]) -> Iterable[Any]:
    """Those that are not plain. All kinds are told first and at once, for there may be a million numbers."""
    kinds = _kinds(values, _TUPLES_DEEP)
    leaves = set(filter(_is_leaf, kinds))
    return () if leaves == kinds else (v for v in values if not _is_plain(v, leaves, _TUPLES_DEEP))


def _kinds(values: Iterable[Any], deep: int) -> set[type]:
    """Types of values, and in place of tuples the types of what these hold."""
    kinds = set(map(type, values))
    if tuple in kinds and deep:
        tuples = values if kinds == {tuple} else (v for v in values if type(v) is tuple)
        return (kinds - {tuple}) | _kinds(list(chain.from_iterable(tuples)), deep - 1)
    return kinds


def _is_plain(value: Any, leaves: set[type], deep: int) -> bool:  # noqa: ANN401
    """Whether there is nothing to put back: it is of these types, or a tuple of such."""
    if type(value) is tuple:
        return deep > 0 and all(_is_plain(v, leaves, deep - 1) for v in value)
    return type(value) in leaves


def _is_leaf(kind: type[Any]) -> bool:
    """Numbers, texts, classes, and what belongs to a library: nothing in it is ever put back."""
    return kind in _ATOMS or issubclass(kind, type) or (not issubclass(kind, _KEPT) and _is_foreign(kind))


def _bytes_of(value: object) -> int:
    if isinstance(value, Tensor):
        return 0 if value.is_meta else value.numel() * value.element_size()
    return value.nbytes if isinstance(value, np.ndarray) and _is_copied(value) else 0


def _is_copied(array: Any) -> bool:  # noqa: ANN401
    return array.flags.writeable and not isinstance(array, np.memmap)


def _inside(value: Any) -> Iterable[Any]:  # noqa: ANN401
    if isinstance(value, (Tensor, nn.Module, np.ndarray, *GENERATORS)):
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return value
    return (_members(value) or {}).values()


def _members(thing: object) -> dict[str, Any] | None:
    """Attributes of a small object; ``None`` for one that is not the model's own, or at work."""
    if isinstance(thing, type) or _is_foreign(type(thing)):
        return None
    found = attributes_of(thing)
    return None if any(_is_of(type(v), _AT_WORK) for v in found.values()) else found


def _is_foreign(kind: type[Any]) -> bool:
    return kind.__module__ == "builtins" or _is_of(kind, _FOREIGN)


def _is_of(kind: type[Any], packages: set[str] | frozenset[str]) -> bool:
    """Whether a class, or one that it comes from, is of one of these packages."""
    return any(c.__module__.partition(".")[0] in packages for c in kind.__mro__)
