"""What the plain attributes of a model hold, however deep: found, and put back as it was."""

from __future__ import annotations

import operator
import random
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

MOST_VALUES = 10_000
"""So many containers, tensors and objects are entered, the nearest first; numbers and texts do not count."""

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
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_CONTAINERS = (list, dict, set, deque)

# What these make is state of a library, not of the model: Trainers, datasets, optimizers, loggers, tables, ourselves.
_LIBRARIES = {
    *("camdebug", "lightning", "lightning_fabric", "matplotlib", "numpy", "omegaconf", "pandas", "pytorch_lightning"),
    *("tensorboard", "torch", "torchvision", "wandb"),
}
_PLAIN = {"abc", "argparse", "builtins", "collections", "enum", "types", "typing"}
_FOREIGN = (sys.stdlib_module_names | _LIBRARIES) - _PLAIN
# An object that holds one of these works beside the training, and time cannot be turned back for it.
_AT_WORK = frozenset(["_io", "_queue", "_socket", "_thread", "io", "multiprocessing", "queue", "socket", "threading"])


class Keeper(Protocol):
    """Remembers what something held."""

    def restore(self) -> list[str]:
        """Put it back. Returns the name if there was anything to put back."""
        ...


def reachable(roots: Iterable[tuple[str, object]], seen: set[int]) -> Iterator[tuple[str, Any]]:
    """All that may change in place, the nearest first, each once, under the name of the root that leads to it.

    Tensors and modules are found but not entered, and parameters passed over. What belongs to a library, and what
    works in threads of its own, is left alone.

    Args:
        roots: names and values to start from.
        seen: ``id`` of what is to be passed over; whatever is found is added.
    """
    waiting, room = deque((name, value) for name, value in roots if type(value) not in _ATOMS), MOST_BYTES
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        name, value = waiting.popleft()
        if id(value) in seen or isinstance(value, nn.Parameter):
            continue
        if (size := _bytes_of(value)) > room:
            continue
        seen.add(id(value))
        room -= size
        yield name, value
        waiting.extend((name, inner) for inner in _inside(value) if type(inner) not in _ATOMS)


def keeper_of(name: str, value: object) -> Keeper | None:
    """Remember what a value from :func:`reachable` holds, if it is of a kind that can be put back."""
    if isinstance(value, _GENERATORS):
        return _Generator(name, value, _state_of(value))
    if isinstance(value, _CONTAINERS):
        return Container.of(name, value)
    if isinstance(value, np.ndarray):
        small = value.flags.writeable and not isinstance(value, np.memmap)
        return _Array(name, value, value.copy()) if small else None
    members = _members(value)
    return _Members(name, value, members) if members else None


def _bytes_of(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _inside(value: Any) -> Iterable[Any]:  # noqa: ANN401
    if isinstance(value, (Tensor, nn.Module, np.ndarray, *_GENERATORS)):
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return value
    return _members(value).values()


def _members(thing: object) -> dict[str, Any]:
    """Attributes of a small object; none of one that is not the model's own."""
    kind = type(thing)
    if isinstance(thing, type) or _is_foreign(kind):
        return {}
    found = dict(getattr(thing, "__dict__", ()))
    found |= {name: slot.__get__(thing) for name, slot in _slots(kind).items() if _is_set(slot, thing)}
    at_work = any(type(v).__module__.partition(".")[0] in _AT_WORK for v in found.values())
    return {} if at_work else found


def _is_foreign(kind: type[Any]) -> bool:
    return kind.__module__ == "builtins" or any(c.__module__.partition(".")[0] in _FOREIGN for c in kind.__mro__)


def _slots(kind: type[Any]) -> dict[str, types.MemberDescriptorType]:
    declared = [c for c in kind.__mro__ if "__slots__" in vars(c)]
    return {k: v for c in declared for k, v in vars(c).items() if isinstance(v, types.MemberDescriptorType)}


def _is_set(slot: types.MemberDescriptorType, thing: object) -> bool:
    try:
        slot.__get__(thing)
    except AttributeError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Container:
    """What a list, dict, set or deque held."""

    name: str
    container: Any
    copy: Any

    @classmethod
    def of(cls, name: str, container: Any) -> Container:  # noqa: ANN401
        """Remember what it holds."""
        return cls(name, container, dict(container) if isinstance(container, dict) else list(container))

    def restore(self) -> list[str]:
        """Put it back, in the same order."""
        held, now = self.copy, self.container
        if not held and not now:
            return []
        there, here = _flat(held), _flat(now)
        if len(there) == len(here) and all(map(operator.is_, there, here)):
            return []
        same = len(there) == len(here) and all(a is b or same_scalar(a, b) for a, b in zip(there, here, strict=True))
        now.clear()
        if isinstance(now, (dict, set)):
            now.update(held)
        else:
            now.extend(held)
        return [] if same else [self.name]


@dataclass(frozen=True, eq=False)
class _Members:
    """What the attributes of a small object were."""

    name: str
    thing: Any
    members: dict[str, Any]

    def restore(self) -> list[str]:
        slots = _slots(type(self.thing))
        before = {key: value for key, value in self.members.items() if key not in slots}
        changed = restore_dict(getattr(self.thing, "__dict__", {}), before)
        now = {key: slot.__get__(self.thing) for key, slot in slots.items() if _is_set(slot, self.thing)}
        for key in (k for k in slots if now.get(k, _UNSET) is not self.members.get(k, _UNSET)):
            changed.append(key)
            if key in self.members:
                slots[key].__set__(self.thing, self.members[key])
            else:
                slots[key].__delete__(self.thing)
        return [self.name] if changed else []


_UNSET = object()


@dataclass(frozen=True, eq=False)
class _Array:
    """What a numpy array contained."""

    name: str
    array: Any
    copy: Any

    def restore(self) -> list[str]:
        if self.array.tobytes() == self.copy.tobytes():
            return []
        self.array[...] = self.copy
        return [self.name]


@dataclass(frozen=True, eq=False)
class _Generator:
    """A random number generator of the model's own."""

    name: str
    generator: Any
    state: Any

    def restore(self) -> list[str]:
        if _same_state(_state_of(self.generator), self.state):
            return []
        if isinstance(self.generator, (torch.Generator, np.random.RandomState)):
            self.generator.set_state(self.state)
        elif isinstance(self.generator, random.Random):
            self.generator.setstate(self.state)
        else:
            self.generator.bit_generator.state = self.state
        return [self.name]


def _state_of(generator: Any) -> Any:  # noqa: ANN401
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.getstate() if isinstance(generator, random.Random) else deepcopy(generator.bit_generator.state)


def _same_state(a: Any, b: Any) -> bool:  # noqa: ANN401
    if isinstance(a, dict):
        return all(_same_state(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def _flat(container: Any) -> list[Any]:  # noqa: ANN401
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def restore_dict(present: dict[str, Any], before: dict[str, Any], quiet: tuple[str, ...] = ()) -> list[str]:
    """Put every entry back to the very object it was. Returns the keys that had changed, but for the quiet ones."""
    changed = [k for k in present if k not in before]
    for key in changed:
        del present[key]
    for key, value in before.items():
        if key not in present or present[key] is not value:
            if key not in present or not same_scalar(present[key], value):
                changed.append(key)
            present[key] = value
    return [key for key in changed if key not in quiet]


def same_scalar(a: object, b: object) -> bool:
    """Equal numbers or texts, though maybe two objects."""
    return type(a) is type(b) and isinstance(a, (bool, int, float, str, type(None))) and a == b
