"""A look with a method that is not ours, and all that it must leave alone."""

import random
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.modules import module as torch_modules

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers

SIGNED = MapOptions(sign="signed")


def looked(model, images, class_idx, *methods, layer=None, chunk_size=8, use=None, precision=None, inputs=()):
    """Signed maps by name of the method, in one look. ``layer`` is a name, or target layers."""
    with borrowed(model):
        subject = (use or ModelUse()).on(model, precision, *inputs)
        layers = layer if isinstance(layer, tuple) else find_target_layers(subject, images, layer)
        found = explain(Lens(subject, layers, chunk_size), images, [torch.as_tensor(class_idx)], methods, SIGNED)[0]
    return {name: heat.maps for name, heat in found.items()}


def look(model, images, class_idx, method, **options):
    return looked(model, images, class_idx, method, **options)[method.name]


def facts(model):
    """Everything that foreign code could change, comparable to the last bit and by identity."""
    every = dict(model.named_modules())
    return {
        "modules": {name: id(module) for name, module in every.items()},
        "flags": {name: module.training for name, module in every.items()},
        "parameters": {name: _of_parameter(p) for name, p in model.named_parameters()},
        "buffers": {name: (id(b), _bits(b), b.requires_grad) for name, b in model.named_buffers()},
        "hooks": {name: _hooks(vars(module)) for name, module in every.items()},
        "global hooks": _hooks(vars(torch_modules)),
        "generators": _generators(),
        "switches": _switches(),
    }


def _of_parameter(parameter):
    hooks = parameter._backward_hooks, parameter._post_accumulate_grad_hooks
    grad = parameter.grad
    of_grad = None if grad is None else (id(grad), _bits(grad))
    return id(parameter), _bits(parameter), parameter.requires_grad, of_grad, [dict(h) for h in hooks if h]


def _bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _hooks(names):
    return {key: dict(value) for key, value in names.items() if key.endswith("_hooks") and isinstance(value, dict)}


def _generators():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def _switches():
    return (
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        *(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        *(torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
    )


@contextmanager
def nothing_global_stays():
    """For negative controls: what is not of the model goes back, however it was changed."""
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    dtype, threads, grad, benchmark = (
        *(torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
        torch.backends.cudnn.benchmark,
    )
    registries = [v for k, v in vars(torch_modules).items() if k.startswith("_global_") and isinstance(v, dict)]
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        random.setstate(generators[0]), np.random.set_state(generators[1]), torch.set_rng_state(generators[2])
        torch.set_default_dtype(dtype), torch.set_num_threads(threads), torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(False), torch.set_autocast_enabled("cpu", False)
        torch.backends.cudnn.benchmark = benchmark
        for registry, held in zip(registries, before, strict=True):
            registry.clear(), registry.update(held)
