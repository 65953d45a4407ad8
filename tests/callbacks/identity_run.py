"""Run a configuration of the identity matrix and note everything that must be the same with and without a monitor."""

import os
import signal
import sys
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from identity_cases import CASES
from small_training import Memory, differences, everything_of, monitor, ours, probes, seed, trainer

PROBES = cache(probes)


@dataclass
class Run:
    """What a training left behind, and what camdebug said."""

    state: dict
    hooks: dict
    process: dict
    said: list
    metrics: set


def train(case, *watching):
    """Train from the same seed, with or without a monitor."""
    seed(1)
    torch._dynamo.reset()
    memory = Memory()
    options = {"max_epochs": 2, "log_every_n_steps": 1, "logger": memory, **case.trainer}
    with ours() as said, case.around():
        own = case.callbacks()
        in_order = [*watching, *own] if case.monitor == "first" else [*own, *watching]
        model = case.model()
        learner = case.learner(model)
        fitted = trainer(callbacks=in_order, **options)
        folder, more = os.getcwd(), case.before(fitted, model) or {}
        fitted.fit(learner, **case.data(), **more)
        process = process_state() | {"folder": os.getcwd() == folder}
    state = everything_of(model, fitted, memory)
    return Run(state, hooks_of(model), process, said, set(fitted.callback_metrics))


@cache
def without(name):
    """The training of a configuration without a monitor: made once, compared often."""
    return train(CASES[name])


def with_monitor(name, **options):
    """The training of a configuration under a monitor."""
    case = CASES[name]
    return train(case, monitor(probes=case.probes(PROBES()), chunk_size=32, **options))


def changed_bits(name):
    """Names of what differs with a monitor."""
    return differences(without(name).state, with_monitor(name).state)


def hooks_of(model):
    """Names of all functions that hang on modules, parameters and buffers, and on all modules of the process."""
    found = {}
    for name, module in model.named_modules():
        found |= {f"{name}.{k}": _names(v) for k, v in vars(module).items() if "_hooks" in k and v}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kinds = ("_backward_hooks", "_post_accumulate_grad_hooks")
        found |= {f"{name}.{k}": _names(getattr(tensor, k)) for k in kinds if getattr(tensor, k, None)}
    shared = vars(torch.nn.modules.module).items()
    return found | {k: _names(v) for k, v in shared if k.startswith("_global_") and isinstance(v, dict)}


def _names(hooks):
    return [getattr(h, "__qualname__", type(h).__name__) for h in hooks.values()]


def process_state():
    """What a look may switch for its own time alone."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return {
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "products": torch.get_float32_matmul_precision(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "warnings": list(warnings.filters),
        "stance": None if dynamo is None else dynamo._stance.stance,
        "interrupts": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ),
    }
