"""The switches of torch and numpy that change numbers, or where tensors are made: as they were, after code not ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils import deterministic

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]
"""How to read it, and how to set it."""


def _of(name: str, holder: Any, *keys: str) -> dict[str, Switch]:  # noqa: ANN401
    """Attributes, those that this version of torch has."""
    return {f"{name}.{k}": (partial(getattr, holder, k), partial(setattr, holder, k)) for k in keys if _has(holder, k)}


def _has(holder: Any, key: str) -> bool:  # noqa: ANN401
    try:
        getattr(holder, key)
    except RuntimeError:  # one of two ways to set the same thing, and the other one was taken: it is there
        return True
    except AttributeError:
        return False
    return True


def _precisions() -> dict[str, Switch]:
    """Of products of float32, in the newer way, that of all first, for the others follow it."""
    backends = torch.backends
    holders = {"all": backends, "cudnn": backends.cudnn, "cuda.matmul": backends.cuda.matmul}
    parts = [("cudnn", "conv"), ("cudnn", "rnn"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")]
    holders |= {f"{library}.{part}": getattr(getattr(backends, library), part, None) for library, part in parts}
    found = [_of(name, holder, "fp32_precision") for name, holder in holders.items()]
    return {key: switch for some in found for key, switch in some.items()}


def _default_device() -> torch.device | None:
    """``None`` where none was set: then torch makes tensors without a detour."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _flushes_denormal() -> bool:
    """Torch cannot tell, but all arithmetic of this thread obeys it."""
    return sys.float_info.min / 2 == 0.0


def _set_numpy_errors(actions: dict[str, Any]) -> None:
    np.seterr(**actions)


_cuda = torch.backends.cuda

SWITCHES: dict[str, Switch] = {
    "default device": (_default_device, torch.set_default_device),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "denormal numbers": (_flushes_denormal, torch.set_flush_denormal),
    "anomaly detection": (_anomaly, lambda mode: torch.set_anomaly_enabled(*mode)),
    "numpy errors": (np.geterr, _set_numpy_errors),
    "deterministic algorithms": (_deterministic, lambda m: torch.use_deterministic_algorithms(m[0], warn_only=m[1])),
    **_of("deterministic", deterministic, "fill_uninitialized_memory"),
    **_of("cudnn", torch.backends.cudnn, "enabled", "benchmark", "deterministic", "allow_tf32"),
    **_of("mkldnn", torch.backends.mkldnn, "enabled", "deterministic"),
    "float32 matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    **_of(
        *("cuda.matmul", _cuda.matmul, "allow_tf32", "allow_fp16_accumulation"),
        *("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction"),
    ),
    **_precisions(),
    "flash attention": (_cuda.flash_sdp_enabled, _cuda.enable_flash_sdp),
    "efficient attention": (_cuda.mem_efficient_sdp_enabled, _cuda.enable_mem_efficient_sdp),
    "math attention": (_cuda.math_sdp_enabled, _cuda.enable_math_sdp),
    "cudnn attention": (_cuda.cudnn_sdp_enabled, _cuda.enable_cudnn_sdp),
    "half sums in attention": (_cuda.fp16_bf16_reduction_math_sdp_allowed, _cuda.allow_fp16_bf16_reduction_math_sdp),
    **{
        f"autocast {kind}": (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in ("cpu", "cuda")
    },
    **{
        f"autocast dtype {kind}": (partial(torch.get_autocast_dtype, kind), partial(torch.set_autocast_dtype, kind))
        for kind in ("cpu", "cuda")
    },
}
"""By name, in the order in which they are put back: the older ways to set a precision before the newer."""

_UNREADABLE = object()


@contextmanager
def switches_kept() -> Iterator[None]:
    """Put every switch back that was set within the block."""
    before = {name: _read(read) for name, (read, _) in SWITCHES.items()}
    try:
        yield
    finally:
        for name, (read, switch) in SWITCHES.items():
            if before[name] is not _UNREADABLE and _read(read) != before[name]:
                switch(before[name])


def _read(read: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Torch refuses to tell of a precision in the older way once the newer was used; then the newer one is kept."""
    try:
        return read()
    except RuntimeError:
        return _UNREADABLE
