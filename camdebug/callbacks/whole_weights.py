"""Weights that FSDP2 (``fully_shard``) has dealt out to the processes are whole again for the time of a look.

Its hooks gather weights within every forward, so a process that failed there would leave the others waiting in the
midst of it. Here all weights are gathered before the first forward, and for the time of the look those hooks only do
what they do to numbers. What FSDP2 itself remembers of the model is left alone.

A process that failed in the midst of this gathering would still meet the others in a collective of another kind, which
ends or hangs the job. What fails there on one process alone is memory. So each takes the memory for all weights first,
and none begins to gather before every one has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from camdebug.cam.peers import Peers

_Hook = Callable[..., Any]
_Put = tuple[MutableMapping[Any, Any], Any, Any]
"""A dict, a key of it, and what stands there."""

_OF_FSDP2 = "torch.distributed.fsdp"


@contextmanager
def whole_weights(model: nn.Module, peers: Peers) -> Iterator[None]:
    """Stand plain parameters in for sharded ones, and put the sharded ones back. Nothing to do for other models.

    Call it in all processes, inside ``peers.attempt()``. Every process holds all weights meanwhile.

    Args:
        model: as FSDP2 has left it: sharded, or here and there still whole after a forward.
        peers: the processes.

    Raises:
        RuntimeError: in all processes and before anything is gathered: one of them has no memory for all weights, or
            they have sharded different ones.
    """
    if not _units(model):
        yield
        return
    before: list[_Put] = []
    try:
        for entries, key, value in [*_stand_in_hooks(model), *_gathered(model, peers)]:
            before.append((entries, key, entries[key]))
            entries[key] = value
        yield
    finally:
        for entries, key, value in before:
            entries[key] = value


def why_not_whole(model: nn.Module) -> str | None:
    """What FSDP2 does not look after, so that processes would look at different models; for people, or ``None``."""
    units = _units(model)
    covered = {part for unit in units for part in unit.modules()}
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if module in covered or parameter is None:
                continue
            full_name = f"{name}.{key}".lstrip(".")
            if is_part(parameter):
                return f"{full_name} is shared out by other means than fully_shard"
            if parameter.requires_grad:
                return f"{full_name} is not covered by any fully_shard, so each process trains its own"
    return None


def is_part(value: object) -> bool:
    """A ``DTensor``, of which each process holds its part."""
    return hasattr(value, "full_tensor")


def _gathered(model: nn.Module, peers: Peers) -> list[_Put]:
    """One collective for each sharded parameter, after one that tells whether every process is ready for them."""
    policies = {part: policy for unit, policy in _units(model).items() for part in unit.modules()}  # the innermost
    named = [(name, m, key, p) for name, m in model.named_modules() for key, p in m._parameters.items() if is_part(p)]
    parts: dict[int, Any] = {id(p): p for _, _, _, p in named}  # tied weights stay tied
    dtypes = {id(p): _number_format(p, policies.get(m)) for _, m, _, p in reversed(named)}
    with torch.no_grad():
        whole = _room_for(parts, dtypes)
        if len({tuple(names) for names in peers.exchange([(name, key) for name, _, key, _ in named])}) != 1:
            raise RuntimeError("not every process has the same weights sharded")
        for number, part in parts.items():
            whole[number].copy_(part.full_tensor())
    return [(m._parameters, key, whole[id(p)]) for _, m, key, p in named]


def _room_for(parts: dict[int, Any], dtypes: dict[int, torch.dtype]) -> dict[int, nn.Parameter]:
    """Weights to be filled. What filling them takes in passing is taken as well, and given back to the allocator."""
    whole = {
        number: nn.Parameter(
            torch.empty(part.shape, dtype=dtypes[number], device=part.device), requires_grad=part.requires_grad
        )
        for number, part in parts.items()
    }
    for device in {part.device for part in parts.values()}:
        most = max(_bytes_in_passing(part) for part in parts.values() if part.device == device)
        torch.empty(most, dtype=torch.uint8, device=device)
    return whole


def _bytes_in_passing(part: Any) -> int:  # noqa: ANN401
    """What ``full_tensor`` needs: this process's rows, padded, and everybody's twice, as received and in order."""
    found = 0
    for placement, count in zip(part.placements, part.device_mesh.shape, strict=True):
        if placement.is_shard() and part.numel():
            rows = part.shape[placement.dim]
            own = -(-rows // count) * (part.numel() // rows)
            found += own * (1 + 2 * count)
    return found * int(part.element_size())


def _units(model: nn.Module) -> dict[nn.Module, Any]:
    """What ``fully_shard`` was called for, outer ones first, each with the ``MixedPrecisionPolicy`` it was given."""
    found: dict[nn.Module, Any] = {}
    for module in model.modules():
        hooks = [hook for hook in module._forward_pre_hooks.values() if _is_fsdp2(hook)]
        if hooks:
            found[module] = _policy(hooks[0])
    return found


def _stand_in_hooks(model: nn.Module) -> Iterator[_Put]:
    for module in model.modules():
        for hooks, stand_in in ((module._forward_pre_hooks, _casting_inputs), (module._forward_hooks, _casting_output)):
            for key, hook in hooks.items():
                if _is_fsdp2(hook):
                    yield hooks, key, stand_in(_policy(hook))


def _casting_inputs(policy: Any) -> _Hook:  # noqa: ANN401
    dtype = policy.param_dtype if policy.cast_forward_inputs else None

    def cast(_module: nn.Module, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        return tree_map_only(Tensor, lambda t: _cast(t, dtype), (args, kwargs))

    return cast


def _casting_output(policy: Any) -> _Hook:  # noqa: ANN401
    def cast(_module: nn.Module, _inputs: Any, output: Any) -> Any:  # noqa: ANN401
        return tree_map_only(Tensor, lambda t: _cast(t, policy.output_dtype), output)

    return cast


def _number_format(part: Tensor, policy: Any) -> torch.dtype:  # noqa: ANN401
    """In which FSDP2 computes with this weight."""
    dtype = None if policy is None else policy.param_dtype
    return dtype if dtype is not None and part.is_floating_point() else part.dtype


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def _is_fsdp2(hook: _Hook) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(_OF_FSDP2)


def _policy(hook: _Hook) -> Any:  # noqa: ANN401
    """The ``MixedPrecisionPolicy`` that the user gave to ``fully_shard``."""
    while not hasattr(hook, "__self__"):  # hooks of several modules in one unit are wrapped
        hook = hook.__wrapped__  # type: ignore[attr-defined]
    return hook.__self__._mp_policy
