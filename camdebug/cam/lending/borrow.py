"""Borrow a model for a look and hand it back exactly as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from camdebug.cam.lending.belongings import CONTAINERS, is_worker, keeper_of, reachable
from camdebug.cam.lending.keepers import Container, Gradient, Keeper, restore_dict, same_bits
from camdebug.rng import preserved_rng

LeftOut = Callable[[str, str], None]
"""Is told the name of an attribute, and why not all that it holds is put back."""

TOO_MUCH = (
    "there is too much in it to keep all at each look; keep such data outside the module, for example in the dataset"
)
BESIDE_A_WORKER = (
    "a thread or process on the same module may be filling it; if so, all is well, otherwise keep the two in different "
    "objects"
)


@contextmanager
def borrowed(
    model: nn.Module, *, copied: Collection[str] | None = (), on_left_out: LeftOut | None = None
) -> Iterator[list[str]]:
    """Evaluation mode, no graph, eager execution; on exit everything is back, whatever happened inside.

    Kept: the random number generators, global ones and those among the attributes; ``training`` of every submodule
    (set as an attribute: ``eval()`` and ``train()`` may be overridden), buffers and plain attributes of every
    submodule, and what these hold, however deep: lists, dicts, sets, deques, tensors, arrays, objects of the model's
    own with ``__dict__`` or ``__slots__``, and modules that are hidden in them; the grad mode and the cache of
    autocast. Meanwhile ``.grad`` of parameters, and of other leaves, is ``None``; on exit it is the very object that it
    was, without a copy, so what a ``backward()`` within the block adds up is thrown away. Hooks on parameters do run
    in such a ``backward()``.

    Not kept: what is no part of the model (attributes of classes, globals, closures, files), iterators, objects of
    libraries (also those of the user's own subclasses of a library's classes, but for mixins such as ``Generic`` or
    ``AbstractContextManager``), and objects that hold a lock, a thread, a pool, a queue or a file, with all that is
    reached through them alone. A list, dict, set or deque of a module that also holds a thread, a process or a pool
    keeps what was put in. Of what is nested, ``MOST_VALUES`` values and ``MOST_BYTES`` bytes are kept, the nearest
    first.

    Args:
        model: what is borrowed.
        copied: names of parameters that are copied and put back, ``None`` for all. Some networks rescale their weights
            within ``forward``. A parameter whose ``data`` is replaced is put back without a copy; one that is written
            in place needs it.
        on_left_out: is told, before the block, which attributes hold more than is kept, and why.

    Yields:
        A list that holds, after the block, the names of buffers, attributes and parameters that the model's forward
        had changed.

    Raises:
        TypeError, ValueError: when the model cannot be handed back untouched: it is no module, TorchScript, or lazy.
    """
    _check_model(model)
    changed: list[str] = []
    with preserved_rng(), torch.inference_mode(False), torch.no_grad(), _eager(), _uncached():
        states = [_ModuleState.of(name, module, copied) for name, module in model.named_modules()]
        held = _held_by(states, copied, on_left_out or _ignored)
        gradients = _gradients_of([*states, *(keeper for keeper in held if isinstance(keeper, _ModuleState))])
        try:
            for gradient in gradients:
                gradient.put_aside()
            for state in states:
                state.module.training = False
            yield changed
        finally:
            changed.extend(_restore_all(states, [*held, *gradients]))


def _restore_all(states: Sequence[_ModuleState], held: Sequence[Keeper]) -> list[str]:
    """Restore every module, the training flags first. What fails stops nothing; the first failure is raised last."""
    for state in states:
        if "training" in state.attributes:  # a compiled module has none of its own
            vars(state.module)["training"] = state.attributes["training"]
    return _every([keeper.restore for keeper in (*states, *held)])


def _gradients_of(states: Sequence[_ModuleState]) -> list[Gradient]:
    """Of all leaves that are attributes, buffers or parameters."""
    tensors = (t for state in states for t in (*state.parameters, *(content.tensor for content in state.contents)))
    return [Gradient.of(t) for t in {id(t): t for t in tensors}.values() if t.is_leaf and not t.is_inference()]


def _ignored(name: str, why: str) -> None:
    pass


def _held_by(states: Sequence[_ModuleState], copied: Collection[str] | None, on_left_out: LeftOut) -> list[Keeper]:
    """What the attributes of modules hold, however deep; modules that are hidden there keep the mode they are in."""
    held: list[Keeper] = []
    seen, known = set[int](), {id(state.module) for state in states}
    while states:
        held += states if seen else []
        seen |= {id(thing) for state in states for thing in (state.module, *(c.tensor for c in state.contents))}
        roots = [(state.full(k), v) for state in states for k, v in state.attributes.items() if k not in _INTERNAL]
        beside = _beside_workers(states)
        hidden: list[tuple[str, nn.Module]] = []
        for name, value in reachable(roots, seen, lambda name: on_left_out(name, TOO_MUCH)):
            if isinstance(value, nn.Module):
                hidden += [(f"{name}.{k}".rstrip("."), module) for k, module in value.named_modules()]
            elif isinstance(value, Tensor):
                held += [_Content.of(name, value)] if _has_content(value) else []
            elif id(value) in beside:
                on_left_out(name, BESIDE_A_WORKER)
            elif (keeper := keeper_of(name, value)) is not None:
                held.append(keeper)
        new = {id(module): (name, module) for name, module in hidden if id(module) not in known}
        known |= new.keys()
        states = [_ModuleState.of(name, module, copied) for name, module in new.values()]
    return held


def _beside_workers(states: Sequence[_ModuleState]) -> set[int]:
    """``id`` of containers that a thread of the same module may be filling: what it put in must not be thrown away."""
    workers = set(filter(is_worker, {type(v) for state in states for v in state.attributes.values()}))
    at_work = (
        [s.attributes for s in states if any(type(v) in workers for v in s.attributes.values())] if workers else []
    )
    return {id(v) for own in at_work for k, v in own.items() if isinstance(v, CONTAINERS) and k not in _INTERNAL}


def _every(steps: Iterable[Callable[[], list[str]]]) -> list[str]:
    """Take every step, whichever fails, and join what they return; then raise an interrupt, or the first failure.

    A step that is interrupted is taken again, for it may have been anywhere; taking it twice does no harm.
    """
    found: list[str] = []
    failures: list[BaseException] = []
    for step in steps:
        try:
            found += step()
        except Exception as error:
            failures.append(error)
        except BaseException as interrupt:
            failures.insert(0, interrupt)
            found += step()
    try:
        if failures:
            raise failures[0]
    finally:
        failures.clear()  # an exception that a frame of its own traceback holds would stay, and so would its tensors
    return list(dict.fromkeys(found))


def _eager() -> AbstractContextManager[Any]:
    """Hooks inside a warmed compiled module never fire, so run it eagerly; nothing to do if dynamo was never loaded."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def _uncached() -> Iterator[None]:
    """Under an autocast around the whole training, casts that a look had cached would stand in for later weights."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


# What ``nn.Module`` itself keeps: parts, hooks and flags.
_INTERNAL = frozenset(vars(nn.Module()))


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
    contents: list[_Content]
    parts: list[Container]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for _, parameter, _ in self.data]

    @classmethod
    def of(cls, name: str, module: nn.Module, copied: Collection[str] | None) -> _ModuleState:
        attributes, buffers = dict(vars(module)), dict(module._buffers)
        parameters = {k: p for k, p in module._parameters.items() if p is not None and _has_content(p)}
        kept = {k: p for k, p in parameters.items() if copied is None or f"{name}.{k}".lstrip(".") in copied}
        parts = [
            (k, attributes[k]) for k in _INTERNAL if k != "_buffers" and isinstance(attributes.get(k), (dict, set))
        ]
        return cls(
            name,
            module,
            attributes,
            buffers,
            [(k, p, p.data) for k, p in parameters.items()],
            [_Content.of(k, t) for k, t in {**attributes, **buffers, **kept}.items() if _has_content(t)],
            [Container.of(k, v) for k, v in parts],
        )

    def full(self, key: str) -> str:
        """A name of this module's with the module's own before it."""
        return f"{self.name}.{key}".lstrip(".")

    def restore(self) -> list[str]:
        """Names of what had changed. Everything is tried, whichever part fails."""
        changed = _every(
            [
                partial(restore_dict, vars(self.module), self.attributes, quiet=("training",)),
                partial(restore_dict, self.module._buffers, self.buffers),
                *(partial(_restore_data, *entry) for entry in self.data),
                *(content.restore for content in self.contents),
                *(part.restore for part in self.parts),
            ]
        )
        return [self.full(key) for key in changed]


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
        if same_bits(self.tensor, self.copy):
            return []
        if self.tensor.shape == self.copy.shape and self.tensor.layout is torch.strided:
            self.tensor.detach().copy_(self.copy)
        else:
            self.tensor.data = self.copy
        return [self.key]


def _restore_data(key: str, parameter: nn.Parameter, data: Tensor) -> list[str]:
    if parameter.data_ptr() == data.data_ptr() and parameter.shape == data.shape:
        return []
    parameter.data = data
    return [key]


def _has_content(value: object) -> bool:
    return isinstance(value, Tensor) and not (value.is_meta or is_lazy(value))
