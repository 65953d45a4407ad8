"""Borrow a model for a look and hand it back exactly as it was."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from camdebug.rng import preserved_rng


@contextmanager
def borrowed(model: nn.Module, *, copied: Collection[str] | None = ()) -> Iterator[list[str]]:
    """Evaluation mode, no graph, eager execution; on exit everything is back, whatever happened inside.

    Kept: the random number generators, global ones and those among the attributes; ``training`` of every submodule
    (set as an attribute: ``eval()`` and ``train()`` may be overridden), buffers and plain attributes of every
    submodule, what lists, dicts and sets among the attributes hold, and the grad mode. ``.grad`` is never touched,
    because gradients are taken with respect to an activation only.

    Args:
        model: what is borrowed.
        copied: names of parameters that are copied and put back, ``None`` for all. Some networks rescale their weights
            within ``forward``. A parameter whose ``data`` is replaced is put back without a copy; one that is written
            in place needs it.

    Yields:
        A list that holds, after the block, the names of buffers, attributes and parameters that the model's forward
        had changed.

    Raises:
        TypeError, ValueError: when the model cannot be handed back untouched: it is no module, TorchScript, or lazy.
    """
    _check_model(model)
    changed: list[str] = []
    with preserved_rng(), torch.inference_mode(False), torch.no_grad(), _eager():
        states = [_ModuleState.of(name, module, copied) for name, module in model.named_modules()]
        try:
            for state in states:
                state.module.training = False
            yield changed
        finally:
            changed.extend(_restore_all(states))


def _restore_all(states: Sequence[_ModuleState]) -> list[str]:
    """Restore every module, the training flags first. What fails stops nothing; the first failure is raised last."""
    for state in states:
        if "training" in state.attributes:  # a compiled module has none of its own
            vars(state.module)["training"] = state.attributes["training"]
    return _every([state.restore for state in states])


def _every(steps: Iterable[Callable[[], list[str]]]) -> list[str]:
    """Take every step, whichever fails, and join what they return; then raise the first failure, if any."""
    found: list[str] = []
    failures: list[Exception] = []
    for step in steps:
        try:
            found += step()
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return list(dict.fromkeys(found))


def _eager() -> AbstractContextManager[Any]:
    """Hooks inside a warmed compiled module never fire, so run it eagerly; nothing to do if dynamo was never loaded."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"model: {name or 'it'} is TorchScript, which takes no hooks; pass the module it came from")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            # A first forward would draw the weights that training must draw itself.
            raise ValueError(f"model: {name} is not initialised yet (a lazy module); run one forward first")


@dataclass(frozen=True)
class _ModuleState:
    """What a forward can change in one module: its attributes and buffers, and what those hold."""

    name: str
    module: nn.Module
    attributes: dict[str, Any]
    buffers: dict[str, Tensor | None]
    data: list[tuple[str, nn.Parameter, Tensor]]
    contents: list[_Content | _Container | _Generator]

    @classmethod
    def of(cls, name: str, module: nn.Module, copied: Collection[str] | None) -> _ModuleState:
        attributes, buffers = dict(vars(module)), dict(module._buffers)
        parameters = {k: p for k, p in module._parameters.items() if p is not None and _has_content(p)}
        kept = {k: p for k, p in parameters.items() if copied is None or f"{name}.{k}".lstrip(".") in copied}
        held = [(k, v) for k, v in attributes.items() if isinstance(v, (list, dict, set, deque)) and k != "_buffers"]
        return cls(
            name,
            module,
            attributes,
            buffers,
            [(k, p, p.data) for k, p in parameters.items()],
            [
                *(_Content.of(k, t) for k, t in {**attributes, **buffers, **kept}.items() if _has_content(t)),
                *(_Container.of(k, v) for k, v in held),
                *(_Generator.of(k, v) for k, v in attributes.items() if isinstance(v, _GENERATORS)),
            ],
        )

    def restore(self) -> list[str]:
        """Names of what had changed. Everything is tried, whichever part fails."""
        changed = _every(
            [
                partial(_restore_dict, vars(self.module), self.attributes, quiet=("training",)),
                partial(_restore_dict, self.module._buffers, self.buffers),
                *(partial(_restore_data, *entry) for entry in self.data),
                *(content.restore for content in self.contents),
            ]
        )
        return [f"{self.name}.{key}".lstrip(".") for key in changed]


@dataclass(frozen=True, eq=False)
class _Content:
    """What a tensor contained, and whether it was a part of a graph."""

    key: str
    tensor: Tensor
    copy: Tensor
    in_graph: bool

    @classmethod
    def of(cls, key: str, tensor: Tensor) -> _Content:
        return cls(key, tensor, tensor.detach().clone(), tensor.grad_fn is not None)

    def restore(self) -> list[str]:
        if self.tensor.grad_fn is not None and not self.in_graph:
            self.tensor.detach_()  # an update in place from an activation that required a gradient
        if _same_bits(self.tensor, self.copy):
            return []
        if self.tensor.shape == self.copy.shape and self.tensor.layout is torch.strided:
            self.tensor.detach().copy_(self.copy)
        else:
            self.tensor.data = self.copy
        return [self.key]


@dataclass(frozen=True, eq=False)
class _Container:
    """What a list, dict, set or deque held, one level deep."""

    key: str
    container: Any
    copy: Any

    @classmethod
    def of(cls, key: str, container: Any) -> _Container:  # noqa: ANN401
        return cls(key, container, dict(container) if isinstance(container, dict) else list(container))

    def restore(self) -> list[str]:
        held, now = self.copy, self.container
        pairs = zip(_flat(now), _flat(held), strict=False)
        if len(now) == len(held) and all(a is b for a, b in pairs):
            return []
        now.clear()
        if isinstance(now, (dict, set)):
            now.update(held)
        else:
            now.extend(held)
        return [self.key]


@dataclass(frozen=True, eq=False)
class _Generator:
    """A random number generator of the model's own."""

    key: str
    generator: Any
    state: Any

    @classmethod
    def of(cls, key: str, generator: Any) -> _Generator:  # noqa: ANN401
        return cls(key, generator, _state_of(generator))

    def restore(self) -> list[str]:
        now = _state_of(self.generator)
        if torch.equal(now, self.state) if isinstance(now, Tensor) else now == self.state:
            return []
        if isinstance(self.generator, torch.Generator):
            self.generator.set_state(self.state)
        elif isinstance(self.generator, random.Random):
            self.generator.setstate(self.state)
        else:
            self.generator.bit_generator.state = self.state
        return [self.key]


_GENERATORS = (torch.Generator, np.random.Generator, random.Random)


def _state_of(generator: Any) -> Any:  # noqa: ANN401
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else deepcopy(generator.bit_generator.state)


def _flat(container: Any) -> list[Any]:  # noqa: ANN401
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def _restore_data(key: str, parameter: nn.Parameter, data: Tensor) -> list[str]:
    if parameter.data_ptr() == data.data_ptr() and parameter.shape == data.shape:
        return []
    parameter.data = data
    return [key]


def _has_content(value: object) -> bool:
    return isinstance(value, Tensor) and not (value.is_meta or is_lazy(value))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the last bit: a NaN equals itself, and 0 is not -0."""
    if a.shape != b.shape:
        return False
    if a.layout is not torch.strided:
        return _same_bits(a.to_dense(), b.to_dense())
    if type(a) is not Tensor or a.is_complex() or a.is_quantized:
        return torch.equal(a, b)
    return torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))


def _restore_dict(present: dict[str, Any], before: dict[str, Any], quiet: tuple[str, ...] = ()) -> list[str]:
    """Put every entry back to the very object it was. Returns the keys that had changed, but for the quiet ones."""
    changed = [k for k in present if k not in before]
    for key in changed:
        del present[key]
    for key, value in before.items():
        if key not in present or present[key] is not value:
            if key not in present or not _same_scalar(present[key], value):
                changed.append(key)
            present[key] = value
    return [key for key in changed if key not in quiet]


def _same_scalar(a: object, b: object) -> bool:
    return type(a) is type(b) and isinstance(a, (bool, int, float, str, type(None))) and a == b
