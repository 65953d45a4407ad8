"""Things that a forward may change in place, each with a memory of what it held."""

from __future__ import annotations

import operator
import random
import types
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


class Keeper(Protocol):
    """Remembers what something held."""

    def restore(self) -> list[str]:
        """Put it back. Returns the name if there was anything to put back."""
        ...


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
        if len(held) == len(now) and all(map(operator.is_, _flat(held), _flat(now))):
            return []
        same = len(held) == len(now) and all(
            a is b or same_scalar(a, b) for a, b in zip(_flat(held), _flat(now), strict=True)
        )
        now.clear()
        if isinstance(now, (dict, set)):
            now.update(held)
        else:
            now.extend(held)
        return [] if same else [self.name]


@dataclass(frozen=True, eq=False)
class Members:
    """What the attributes of a small object were."""

    name: str
    thing: Any
    members: dict[str, Any]

    def restore(self) -> list[str]:
        """Put them back; those that are new go."""
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
class Array:
    """What a numpy array contained."""

    name: str
    array: Any
    copy: Any

    def restore(self) -> list[str]:
        """Put it back, to the last bit."""
        if _same_bytes(self.array, self.copy):
            return []
        self.array[...] = self.copy
        return [self.name]


@dataclass(frozen=True, eq=False)
class Gradient:
    """What waits in ``.grad`` of a leaf tensor for an optimizer: the object itself, as it may be a view of a bucket."""

    tensor: Tensor
    grad: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> Gradient:
        """Remember it."""
        return cls(tensor, tensor.grad)

    def put_aside(self) -> None:
        """Let nothing be added to it. Not one of another shape or format: torch would not take it back."""
        found = self.grad
        if found is not None and _like(found) == _like(self.tensor):
            self.tensor.grad = None

    def restore(self) -> list[str]:
        """Put it back, and throw away what came meanwhile. The tensor itself has not changed, so no name is told."""
        if self.tensor.grad is not self.grad:
            self.tensor.grad = self.grad
        return []


def _like(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.device


def _same_bytes(a: Any, b: Any) -> bool:  # noqa: ANN401
    """Without a copy of either, if it can be. Of objects the addresses are compared."""
    if a.dtype.kind == "T":
        return bool(np.array_equal(a, b))
    if a.dtype.names and a.shape == b.shape:  # there may be room between fields, which is not copied
        return all(_same_bytes(a[name], b[name]) for name in a.dtype.names)
    if a.dtype.hasobject or a.shape != b.shape:
        return bool(a.tobytes() == b.tobytes())
    one, other = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    return all(np.array_equal(one[i : i + _STEP], other[i : i + _STEP]) for i in range(0, one.size, _STEP))


_STEP = 2**18  # bytes


@dataclass(frozen=True, eq=False)
class Generator:
    """A random number generator of the model's own."""

    name: str
    generator: Any
    state: Any

    @classmethod
    def of(cls, name: str, generator: Any) -> Generator:  # noqa: ANN401
        """Remember where it is."""
        return cls(name, generator, _state_of(generator))

    def restore(self) -> list[str]:
        """Turn it back."""
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


def _flat(container: Any) -> Iterable[Any]:  # noqa: ANN401
    return chain(container, container.values()) if isinstance(container, dict) else container


def attributes_of(thing: object) -> dict[str, Any]:
    """What is set on an object, in its ``__dict__`` and its slots."""
    slots = _slots(type(thing)).items()
    return dict(getattr(thing, "__dict__", ())) | {k: slot.__get__(thing) for k, slot in slots if _is_set(slot, thing)}


def _slots(kind: type[Any]) -> dict[str, types.MemberDescriptorType]:
    """By name. A slot that a subclass declares again hides that of its base."""
    declared = [c for c in reversed(kind.__mro__) if "__slots__" in vars(c)]
    return {k: v for c in declared for k, v in vars(c).items() if isinstance(v, types.MemberDescriptorType)}


def _is_set(slot: types.MemberDescriptorType, thing: object) -> bool:
    try:
        slot.__get__(thing)
    except AttributeError:
        return False
    return True


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


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the last bit: a NaN equals itself, and 0 is not -0."""
    if a.shape != b.shape:
        return False
    if a.layout is not torch.strided:
        return same_bits(a.to_dense(), b.to_dense())
    if type(a) is not Tensor or a.is_complex() or a.is_quantized:
        return torch.equal(a, b)
    whole = _WHOLE[a.element_size()]
    return torch.equal(a.contiguous().reshape(-1).view(whole), b.contiguous().reshape(-1).view(whole))


_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By size: whole numbers of other formats are not needed, for complex numbers are compared as they are."""
