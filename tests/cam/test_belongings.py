"""What attributes hold, however deep, goes back as it was; what is not the model's own is left alone."""

import random
import threading
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, deque
from types import SimpleNamespace
from typing import ClassVar
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from torch import nn

from camdebug.cam.lending import belongings
from camdebug.cam.lending.belongings import keeper_of, reachable
from camdebug.cam.lending.borrow import borrowed
from camdebug.probe.probe_set import ProbeSet


class Holder(nn.Module):
    """A module with one attribute, ``held``."""

    def __init__(self, held):
        super().__init__()
        self.held = held


class Helper:
    def __init__(self, **members):
        vars(self).update(members)


class Slotted:
    __slots__ = ("late", "value")

    def __init__(self):
        self.value = 1


def found_from(value):
    return [v for _, v in reachable([("held", value)], set())]


def test_what_is_nested_is_put_back_in_order_and_named_by_the_attribute_that_holds_it():
    inner, order = [1, {"a": 2}], OrderedDict(x=1, y=2)
    model = Holder({"list": inner, "tuple": (Counter(a=1), deque([1, 2], maxlen=2)), "order": order})
    with borrowed(model) as changed:
        inner[1]["a"] = 3
        inner.append(4)
        model.held["tuple"][0]["b"] += 1
        model.held["tuple"][1].append(3)
        order.move_to_end("x")
        model.held["new"] = 5
    assert changed == ["held"]
    assert model.held == {"list": [1, {"a": 2}], "tuple": (Counter(a=1), deque([1, 2])), "order": order}
    assert model.held["list"] is inner
    assert list(order) == ["x", "y"]
    assert model.held["tuple"][1].maxlen == 2


def test_an_equal_number_in_another_object_is_no_change():
    model = Holder({"rate": 1.5})
    with borrowed(model) as changed:
        model.held["rate"] = float("1.5")
    assert changed == []


def test_objects_of_the_models_own_go_back_with_all_that_they_hold():
    mean = torch.zeros(2)
    model = Holder(SimpleNamespace(helper=Helper(mean=mean, sizes=np.zeros(2), calls=0), slotted=Slotted()))
    with borrowed(model) as changed:
        helper = model.held.helper
        helper.mean.add_(1)
        helper.sizes += 1
        helper.calls, helper.late = 1, 2
        model.held.slotted.value, model.held.slotted.late = 2, 3
        model.held.helper = None
    assert changed == ["held"]
    assert vars(model.held.helper) == {"mean": mean, "sizes": helper.sizes, "calls": 0}
    assert mean.tolist() == helper.sizes.tolist() == [0, 0]
    assert model.held.slotted.value == 1
    assert not hasattr(model.held.slotted, "late")


def test_a_slot_that_was_emptied_is_filled_again():
    model = Holder(Slotted())
    with borrowed(model) as changed:
        del model.held.value
    assert changed == ["held"]
    assert model.held.value == 1


def test_generators_of_every_kind_go_back_wherever_they_are():
    def numbers(held):
        return [
            held["mersenne"].random(),
            held["older"].rand(),
            held["python"][0].random(),
            torch.rand((), generator=held["torch"].source).item(),
        ]

    def generators():
        source = SimpleNamespace(source=torch.Generator().manual_seed(1))
        mersenne = np.random.Generator(np.random.MT19937(1))
        return {
            "mersenne": mersenne,
            "older": np.random.RandomState(1),
            "python": [random.Random(1)],
            "torch": source,
        }

    model = Holder(generators())
    with borrowed(model) as changed:
        first = numbers(model.held)
    assert changed == ["held"]
    assert numbers(model.held) == first == numbers(generators())
    with borrowed(model) as changed:
        pass
    assert changed == []


def test_circles_and_shared_things_are_met_once():
    circle = [1]
    circle.append({"again": circle})
    helper = Helper(circle=circle)
    helper.myself = helper
    assert [type(v) for v in found_from([helper, helper, circle])] == [list, Helper, list, dict]


class Abstract(ABC):
    shared: ClassVar = [1]

    @abstractmethod
    def answer(self): ...


class Pictures(torch.utils.data.Dataset):
    def __init__(self):
        self.cache = {}


@pytest.mark.parametrize(
    "foreign",
    [Pictures(), torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1), threading.Event(), Abstract, iter([1])],
    ids=lambda foreign: type(foreign).__name__,
)
def test_what_belongs_to_a_library_and_classes_are_not_entered(foreign):
    assert found_from([foreign, Helper(foreign=foreign)]) == [[foreign, ANY], ANY]
    assert keeper_of("held", foreign) is None


def test_our_own_things_are_left_alone_wherever_they_are_kept():
    probes = ProbeSet(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    model = Holder([probes])
    with borrowed(model) as changed:
        vars(probes)["cached"] = 1
    assert changed == []
    assert vars(probes)["cached"] == 1


def test_an_object_that_works_in_a_thread_is_left_alone():
    working = Helper(lock=threading.Lock(), sent=[1])
    model = Holder([working])
    with borrowed(model) as changed:
        working.sent.append(2)
    assert changed == []
    assert working.sent == [1, 2]


def test_arrays_that_cannot_be_written_to_are_left_alone(tmp_path):
    fixed = np.zeros(2)
    fixed.flags.writeable = False
    on_disk = np.memmap(tmp_path / "a", np.float32, "w+", shape=(2,))
    assert keeper_of("held", fixed) is None
    assert keeper_of("held", on_disk) is None


def test_arrays_of_objects_and_without_dimensions_are_put_back():
    model = Holder([np.array([None, "a"]), np.array(1.0)])
    with borrowed(model) as changed:
        model.held[0][0] = 3
        model.held[1][...] = 2
    assert changed == ["held"]
    assert model.held[0].tolist() == [None, "a"]
    assert float(model.held[1]) == 1


def test_so_many_values_are_looked_at_the_nearest_first(monkeypatch):
    monkeypatch.setattr(belongings, "MOST_VALUES", 4)
    deep, near = [[["far"]]], ["near"]
    assert found_from([deep, near]) == [[deep, near], deep, near, [["far"]]]


def test_of_tensors_and_arrays_so_many_bytes_are_found(monkeypatch):
    monkeypatch.setattr(belongings, "MOST_BYTES", 16)
    small, large, array = torch.zeros(2), torch.zeros(5), np.zeros(1)
    assert [id(v) for v in found_from((small, large, array))][1:] == [id(small), id(array)]


def test_parameters_in_a_list_are_not_copied():
    assert found_from([nn.Parameter(torch.ones(1))])[1:] == []


class Hidden(nn.Module):
    """Keeps modules where ``named_modules`` does not see them, one of which knows its parent."""

    def __init__(self):
        super().__init__()
        self.teachers = [nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), Holder([self])]

    def forward(self, x):
        self.teachers[1].held.append(1)
        return self.teachers[0](x)


def test_hidden_modules_go_back_and_keep_their_mode_inside():
    model = Hidden()
    norm, linear = model.teachers[0]
    with borrowed(model) as changed:
        assert norm.training
        assert not model.training
        model(torch.rand(4, 2))
    assert set(changed) == {"teachers.0.running_mean", "teachers.0.running_var", "teachers.0.num_batches_tracked"} | {
        "teachers.held"
    }
    assert norm.running_mean.tolist() == [0, 0]
    assert int(norm.num_batches_tracked) == 0
    assert model.teachers[1].held == [model]
    before = linear.weight.detach().clone()
    with borrowed(model, copied=None) as changed:
        linear.weight.data.mul_(2)
    assert changed == ["teachers.1.weight"]
    assert torch.equal(linear.weight, before)


def test_a_buffer_that_is_registered_inside_is_taken_out_with_all_that_tells_of_it():
    model = nn.Module()
    with borrowed(model):
        model.register_buffer("late", torch.zeros(1), persistent=False)
    assert vars(model).keys() == vars(nn.Module()).keys()
    assert (model._buffers, model._non_persistent_buffers_set) == ({}, set())


def test_a_cast_that_is_cached_inside_is_not_used_afterwards():
    model, x = nn.Linear(2, 2, bias=False), torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with borrowed(model):
            assert not torch.is_autocast_cache_enabled()
            model(x)
        assert torch.is_autocast_cache_enabled()
        nn.init.zeros_(model.weight)
        assert model(x).tolist() == [[0, 0]]
