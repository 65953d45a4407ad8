"""Negative controls of the identity matrix: without one guard, and that one alone, a training goes another way."""

import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from identity_cases import CASES
from identity_run import changed_bits, train, with_monitor, without
from small_training import Net, monitor, probes
from torch import nn

from camdebug import MapOptions, compute_cams, rng
from camdebug.callbacks import looker, rank_zero_buffers, trainer_facts
from camdebug.cam import passes
from camdebug.cam.lending import belongings, borrow, keepers
from camdebug.cam.target.layers import TargetLayerError

GUARDS = {
    "generators of the process": "test_without_the_generators_guard_the_bits_differ",
    "each of the three generators": "test_without_restoring_one_generator_that_one_differs",
    "training flags as attributes": "test_with_eval_and_train_in_place_of_flags_the_bits_differ",
    "content of buffers": "test_without_restoring_what_tensors_contained_the_bits_differ",
    "attributes and replaced buffers": "test_without_restoring_attributes_the_bits_differ",
    "content of lists, dicts, sets and deques": "test_without_restoring_what_is_held_the_bits_differ",
    "numpy arrays": "test_without_restoring_what_is_held_the_bits_differ",
    "objects of the model's own": "test_without_restoring_what_is_held_the_bits_differ",
    "generators of the model's own": "test_without_restoring_what_is_held_the_bits_differ",
    "parts of modules": "test_without_restoring_what_is_held_the_bits_differ",
    "what is nested": "test_with_one_level_alone_the_bits_differ",
    "hidden modules": "test_without_hidden_modules_the_bits_differ",
    "copied parameters": "test_without_a_copy_of_the_weights_that_a_forward_writes_to_the_bits_differ",
    "replaced data of parameters": "test_without_restoring_the_data_of_parameters_the_bits_differ",
    "buffers that entered a graph": "test_without_taking_buffers_out_of_our_graph_the_training_fails",
    "inference mode left": "test_without_leaving_inference_mode_there_are_no_maps",
    "eager execution": "test_without_eager_execution_looks_at_a_compiled_model_are_lost",
    "cache of autocast": "test_with_casts_cached_by_a_look_the_bits_differ",
    "logging off": "test_without_switching_logging_off_the_users_metrics_differ",
    "gradients of the activation alone": "test_with_backward_in_place_of_the_activations_gradient_the_bits_differ",
    "hooks removed": "test_without_removing_hooks_they_stay_behind",
    "copies of the pictures": "test_without_copies_of_the_pictures_the_probes_change",
    "rank zero's buffers given back": "test_without_giving_back_buffers_a_process_keeps_those_of_rank_zero",
    "lazy modules refused": "test_if_lazy_modules_were_not_refused_a_look_would_leave_them_half_made",
}


def test_every_guard_has_its_negative_control():
    assert all(callable(globals().get(test)) for test in GUARDS.values())


def nothing(*args, **kwargs):
    return []


def test_without_the_generators_guard_the_bits_differ(monkeypatch):
    monkeypatch.setattr(borrow, "preserved_rng", nullcontext)
    assert {"torch", "python", "numpy", "weights.net.head.weight"} <= set(changed_bits("Monte Carlo dropout"))


@pytest.mark.parametrize("generator", ["python", "numpy", "torch"])
def test_without_restoring_one_generator_that_one_differs(monkeypatch, generator):
    if generator == "python":
        kept = SimpleNamespace(getstate=random.getstate, setstate=nothing, seed=random.seed)
        monkeypatch.setattr(rng, "random", kept)
    elif generator == "numpy":
        kept = SimpleNamespace(get_state=np.random.get_state, set_state=nothing, seed=np.random.seed)
        monkeypatch.setattr(rng, "np", SimpleNamespace(random=kept))
    else:
        monkeypatch.setattr(torch, "set_rng_state", nothing)
    changed = set(changed_bits("Monte Carlo dropout"))
    assert {generator, "weights.net.head.weight"} <= changed
    assert not {"python", "numpy", "torch"} - {generator} & changed


def test_with_eval_and_train_in_place_of_flags_the_bits_differ(monkeypatch):
    class Careless:
        def __init__(self, model, **options):
            self.model = model

        def __enter__(self):
            self.model.eval()
            return []

        def __exit__(self, *error):
            self.model.train()

    monkeypatch.setattr(looker, "borrowed", Careless)
    assert "buffer.net.norm1.running_mean" in changed_bits("no validation loader")


@pytest.mark.parametrize("name", ["buffer counts in forward", "moving codebook in a dict"])
def test_without_restoring_what_tensors_contained_the_bits_differ(monkeypatch, name):
    monkeypatch.setattr(borrow._Content, "restore", nothing)
    assert "weights.net.head.weight" in changed_bits(name)


@pytest.mark.parametrize("name", ["attribute counts in forward", "buffer replaced in forward"])
def test_without_restoring_attributes_the_bits_differ(monkeypatch, name):
    monkeypatch.setattr(borrow, "restore_dict", nothing)
    assert "weights.net.head.weight" in changed_bits(name)


@pytest.mark.parametrize(
    ("keeper", "name"),
    [
        (keepers.Container, "nested dict counts in forward"),
        (keepers.Container, "queue of features"),
        (keepers.Container, "parts added in forward"),
        (keepers.Array, "numpy array counts in forward"),
        (keepers.Members, "dataclass and slots count in forward"),
        (keepers.Members, "empty object filled in forward"),
        (keepers.Generator, "own generators"),
    ],
)
def test_without_restoring_what_is_held_the_bits_differ(monkeypatch, keeper, name):
    monkeypatch.setattr(keeper, "restore", nothing)
    assert "weights.net.head.weight" in changed_bits(name)


@pytest.mark.parametrize("name", ["nested dict counts in forward", "moving codebook in a dict"])
def test_with_one_level_alone_the_bits_differ(monkeypatch, name):
    monkeypatch.setattr(belongings, "_inside", nothing)
    assert "weights.net.head.weight" in changed_bits(name)


@pytest.mark.parametrize("name", ["teacher hidden in a list", "metrics updated in forward"])
def test_without_hidden_modules_the_bits_differ(monkeypatch, name):
    def without_modules(*search):
        return (found for found in belongings.reachable(*search) if not isinstance(found[1], nn.Module))

    monkeypatch.setattr(borrow, "reachable", without_modules)
    assert "weights.net.head.weight" in changed_bits(name)


def test_without_a_copy_of_the_weights_that_a_forward_writes_to_the_bits_differ(monkeypatch):
    monkeypatch.setattr(looker, "borrowed", lambda model, **options: borrow.borrowed(model))
    assert "weights.net.head.weight" in changed_bits("weights rescaled in forward")


def test_without_restoring_the_data_of_parameters_the_bits_differ(monkeypatch):
    monkeypatch.setattr(looker, "borrowed", lambda model, **options: borrow.borrowed(model))
    assert changed_bits("weights replaced in forward") == []  # though nothing is copied
    monkeypatch.setattr(borrow, "_restore_data", nothing)
    assert "weights.net.conv2.weight" in changed_bits("weights replaced in forward")


def test_without_taking_buffers_out_of_our_graph_the_training_fails(monkeypatch):
    taken = borrow._Content.of

    def of(key, tensor):
        content = taken(key, tensor)
        object.__setattr__(content, "in_graph", True)
        return content

    monkeypatch.setattr(borrow._Content, "of", of)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        with_monitor("buffer updated from the graph")


def test_without_leaving_inference_mode_there_are_no_maps(monkeypatch):
    """Trainings never are in it, but audits are: ``predict`` runs there, and switching gradients on is not enough."""
    net, pictures = Net(), torch.rand(2, 3, 16, 16)
    signed = MapOptions(sign="signed")
    expected = compute_cams(net, pictures, 0, options=signed).maps
    assert expected.abs().max() > 1e-3
    with torch.inference_mode():
        assert torch.equal(compute_cams(net, pictures, 0, options=signed).maps, expected)
        monkeypatch.setattr(borrow.torch, "inference_mode", lambda mode=True: nullcontext())
        with pytest.raises(TargetLayerError, match="no gradient path"):
            compute_cams(net, pictures, 0)


def test_without_eager_execution_looks_at_a_compiled_model_are_lost(monkeypatch):
    monkeypatch.setattr(borrow, "_eager", nullcontext)
    said = with_monitor("part.compile(), warmed").said
    assert any("camdebug" in text for text in said)
    torch._dynamo.reset()


def test_with_casts_cached_by_a_look_the_bits_differ(monkeypatch):
    monkeypatch.setattr(borrow, "_uncached", nullcontext)
    assert "weights.net.conv2.weight" in changed_bits("autocast around the whole training")


def test_without_switching_logging_off_the_users_metrics_differ(monkeypatch):
    at_fit_start = iter([trainer_facts.logging_off])  # where Lightning refuses any log
    monkeypatch.setattr(trainer_facts, "logging_off", lambda module: next(at_fit_start, nullcontext)(module))
    assert changed_bits("logs in forward") == ["logged"]


def test_with_backward_in_place_of_the_activations_gradient_the_bits_differ(monkeypatch):
    def backward(score, activations, layers, *, keep):
        with torch.enable_grad():
            score.sum().backward(retain_graph=True)
        return [activation.grad for activation in activations]

    monkeypatch.setattr(passes, "_gradients", backward)
    assert changed_bits("accumulation, validation in the middle") == []  # those that wait are set aside
    monkeypatch.setattr(borrow, "_gradients_of", lambda states: [])
    assert "weights.net.head.weight" in changed_bits("accumulation, validation in the middle")


def test_without_removing_hooks_they_stay_behind(monkeypatch):
    monkeypatch.setattr(torch.utils.hooks.RemovableHandle, "remove", nothing)
    monkeypatch.setattr(keepers.Container, "restore", nothing)  # which would take them away as well
    assert with_monitor("no validation loader").hooks != without("no validation loader").hooks


def test_without_copies_of_the_pictures_the_probes_change():
    class Uncopied(torch.Tensor):
        def clone(self, **options):
            return self.as_subclass(torch.Tensor)

    fixed = probes()
    before = fixed.images.clone()
    fixed.images = fixed.images.as_subclass(Uncopied)
    train(CASES["writes to its input"], monitor(probes=fixed, contrast=False))
    assert not torch.equal(fixed.images.as_subclass(torch.Tensor), before)


class Second:
    """Rank one of two processes, of which rank zero has other buffers."""

    rank, count = 1, 2

    def __init__(self, buffers):
        self.buffers = buffers

    def exchange(self, mine):
        return [self.buffers, mine] if mine is None else ["other", mine]


@pytest.mark.parametrize("guarded", [True, False])
def test_without_giving_back_buffers_a_process_keeps_those_of_rank_zero(monkeypatch, guarded):
    first, second, x = Net().eval(), Net().eval(), torch.randn(2, 3, 16, 16)
    for name, buffer in first.named_buffers():
        buffer.add_(len(name))
    before = second(x)
    fill, calls = rank_zero_buffers._fill, []

    def once(buffers, values):
        calls.append(1)
        if len(calls) == 1 or guarded:
            fill(buffers, values)

    monkeypatch.setattr(rank_zero_buffers, "_fill", once)
    with rank_zero_buffers.rank_zero_buffers(second, Second(dict(first.named_buffers()))):
        assert not torch.equal(second(x), before)
    assert torch.equal(second(x), before) == guarded


def test_if_lazy_modules_were_not_refused_a_look_would_leave_them_half_made(monkeypatch):
    model, x = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2)), torch.ones(1, 3, 8, 8)
    monkeypatch.setattr(borrow, "_check_model", nothing)
    with borrow.borrowed(model):
        model(x)
    with pytest.raises(AttributeError, match="initialize_parameters"):
        model(x)
