"""Copies that stand in for a model's parameters while code that is not ours runs the model.

Such code may call ``backward()``, step an optimizer, switch ``requires_grad`` or leave hooks behind. What it does to
parameters it does to copies, which are thrown away. So no ``.grad`` of the training is added to, and no hook on a real
parameter fires: under DDP such a hook begins an all-reduce for which the other processes do not wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from camdebug.cam.lending.belongings import reachable
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lending.keepers import Container, Gradient, same_bits
from camdebug.cam.lending.switches import switches_kept
from camdebug.rng import seeded_rng


@contextmanager
def harmless(model: nn.Module, *, name: str, seed: int, requires_grad: bool = True) -> Iterator[None]:
    """Let foreign code do what it likes to a model, with gradients on; on exit everything is back, whatever happened.

    All that ``borrowed`` keeps is kept, parts that are replaced and hooks that are left behind included, and beyond
    that: parameters, to the last bit, with ``.grad``, ``requires_grad`` and hooks; torch's global module hooks; and
    the switches of torch and numpy that change numbers (:data:`camdebug.cam.lending.switches.SWITCHES`).

    What the code holds apart from the model, such as the training's optimizer or a list of parameters that was made
    before, leads to the real parameters. What it writes to them is put back too, and told. Gradients are set aside, so
    only tensors that it took from ``.grad`` before the look are out of reach, and what an optimizer notes for itself.

    It costs two copies of all parameters on their device, one to work on and one to compare with, and some time in
    each call: 0.2 s for a ResNet-50 on a CPU.

    Args:
        model: what the code gets. It may be borrowed already.
        name: of the method, for the error.
        seed: of the global random number generators, so that noise is the same in every look and process.
        requires_grad: whether parameters have gradients, frozen ones too; without, the pictures still may.

    Raises:
        RuntimeError: after the block, when a real parameter had been written to.
    """
    whole_numbers = [key for key, p in model.named_parameters() if not _is_differentiable(p)]
    with borrowed(model, copied=whole_numbers), seeded_rng(seed), switches_kept(), _global_hooks_kept():
        with stand_ins(model, requires_grad=requires_grad) as written, torch.enable_grad():
            yield
        if written:
            raise RuntimeError(
                f"method: {name} wrote to the training's own parameters ({', '.join(written[:3])}); they have been put "
                "back, but it would do so at each look: let it work on the model it is given, and keep no optimizer "
                "and no parameters in it"
            )


@contextmanager
def stand_ins(model: nn.Module, *, requires_grad: bool = True) -> Iterator[list[str]]:
    """Put copies in the place of parameters. Use it inside ``borrowed(model)``, which puts all attributes back.

    Tied parameters share one copy. Parameters are found wherever modules keep them: by name, under another name, and
    in lists, tuples and dicts among the attributes, also of modules that are hidden there. Meanwhile no gradient
    reaches the real ones, even if something still leads to one, and what is written to them is put back.

    Args:
        model: whose parameters they are.
        requires_grad: of the copies.

    Yields:
        A list that holds, after the block, the names of parameters that had been written to.
    """
    modules = _all_modules(model)
    named = {id(t): (k, t) for m in modules for k, t in (*m._parameters.items(), *m._buffers.items()) if t is not None}
    full = {id(parameter): name for name, parameter in model.named_parameters()}
    originals = [Original.of(full.get(i, key), tensor) for i, (key, tensor) in named.items() if tensor.is_leaf]
    copies = {i: _copy_of(t, requires_grad) for i, (_, t) in named.items() if isinstance(t, nn.Parameter)}
    written: list[str] = []
    try:
        for original in originals:
            original.shield()
        for module in modules:
            _replace(vars(module), copies)
        yield written
    finally:
        written += _restore(originals)


@dataclass(frozen=True, eq=False)
class Original:
    """A leaf tensor of the training's: whether it learns, the gradient that waits for its optimizer, what is in it.

    ``data`` is its memory under a count of changes of its own: what is put back there does not count as one. ``copy``
    is ``None`` where ``borrowed`` keeps a copy: of buffers and whole numbers.
    """

    name: str
    tensor: Tensor
    requires_grad: bool
    gradient: Gradient
    data: Tensor
    copy: Tensor | None

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Original:
        """Remember it."""
        copied = isinstance(tensor, nn.Parameter) and _is_differentiable(tensor) and not tensor.is_meta
        copy = tensor.detach().clone() if copied else None
        return cls(name, tensor, tensor.requires_grad, Gradient.of(tensor), tensor.data, copy)

    def shield(self) -> None:
        """Keep gradients from reaching it."""
        if self.requires_grad and not self.tensor.is_inference():
            self.tensor.requires_grad_(False)

    def restore(self) -> list[str]:
        """Put its numbers back, and let it learn again, from the gradient that it had. The name, if it was written."""
        if self.tensor.requires_grad is not self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        swapped = self.tensor.data_ptr() != self.data.data_ptr()
        if swapped:
            self.tensor.data = self.data
        self.gradient.restore()
        if self.copy is None or (same_bits(self.data, self.copy) and not swapped):
            return []
        with torch.inference_mode(self.data.is_inference()):
            self.data.copy_(self.copy)
        return [self.name]


def _restore(originals: Sequence[Original]) -> list[str]:
    """An interrupt may have come anywhere; doing it twice does no harm."""
    try:
        return [name for original in originals for name in original.restore()]
    except BaseException:
        for original in originals:
            original.restore()
        raise


def _is_differentiable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _copy_of(parameter: nn.Parameter, requires_grad: bool) -> nn.Parameter:
    """Whole numbers cannot require a gradient, and stay themselves."""
    if not _is_differentiable(parameter):
        return parameter
    copy = nn.Parameter(parameter.detach().clone(), requires_grad)
    vars(copy).update(vars(parameter))  # libraries leave notes on parameters
    return copy


def _replace(attributes: dict[str, Any], copies: Mapping[int, nn.Parameter]) -> None:
    """New containers instead of changes in the old ones: ``nn.Module`` too keeps its parameters in a dict."""
    for key, value in list(attributes.items()):
        if isinstance(value, nn.Parameter):
            attributes[key] = copies.get(id(value), value)
        elif isinstance(value, dict) and _holds_parameters(value.values()):
            attributes[key] = type(value)((k, copies.get(id(v), v)) for k, v in value.items())
        elif type(value) in (list, tuple) and _holds_parameters(value):
            attributes[key] = type(value)(copies.get(id(v), v) for v in value)


def _holds_parameters(values: Any) -> bool:  # noqa: ANN401
    return any(issubclass(kind, nn.Parameter) for kind in set(map(type, values)))


def _all_modules(model: nn.Module) -> list[nn.Module]:
    """Those of the model, and those that are hidden in lists and objects among the attributes."""
    found: dict[nn.Module, None] = {}
    new, seen = list(model.modules()), set[int]()
    while new:
        found.update(dict.fromkeys(new))
        seen |= {id(module) for module in new}
        roots = [(key, value) for module in new for key, value in vars(module).items() if key not in _INTERNAL]
        hidden = [v for _, v in reachable(roots, seen) if isinstance(v, nn.Module)]
        new = [module for value in hidden for module in value.modules() if module not in found]
    return list(found)


# What ``nn.Module`` itself keeps: parts, hooks and flags.
_INTERNAL = frozenset(vars(nn.Module()))


@contextmanager
def _global_hooks_kept() -> Iterator[None]:
    """Those of ``register_module_forward_hook`` and the like, which run for all modules there are."""
    registries = {k: v for k, v in vars(torch_modules).items() if k.startswith("_global_") and isinstance(v, dict)}
    keepers = [Container.of(key, registry) for key, registry in registries.items()]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.restore()
