"""Of what a model holds some is left alone: what works beside it, what is not its own, and what is too much."""

import functools
import threading
import tracemalloc
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from camdebug.cam.lending import belongings, borrow, keepers
from camdebug.cam.lending.belongings import reachable
from camdebug.cam.lending.borrow import borrowed


class Holder(nn.Module):
    """A module with the attributes that are given."""

    def __init__(self, **held):
        super().__init__()
        vars(self).update(held)


class Empty:
    pass


class EmptySlots:
    __slots__ = ("calls",)


@pytest.mark.parametrize(
    "make",
    [SimpleNamespace, Empty, EmptySlots, functools.partial(functools.partial, print)],
    ids=["namespace", "object", "slots", "partial"],
)
def test_an_object_that_was_empty_is_empty_again(make):
    model = Holder(direct=make(), listed=[make()])
    with borrowed(model) as changed:
        model.direct.calls = model.listed[0].calls = 1
    assert changed == ["direct", "listed"]
    assert not hasattr(model.direct, "calls")
    assert not hasattr(model.listed[0], "calls")


class Feeder(threading.Thread):
    """A thread of the user's own."""


class Prefetcher:
    """Keeps what another thread makes ready."""

    def __init__(self, worker):
        self.worker, self.ready, self.count = worker, deque(), 0

    def fill(self):
        self.ready.append(1)
        self.count += 1


def pool():
    made = ThreadPoolExecutor(1)
    made.shutdown()
    return made


@pytest.mark.parametrize("worker", [pool, Feeder], ids=["pool", "own thread"])
def test_what_another_thread_makes_ready_meanwhile_is_kept(worker):
    model = Holder(source=Prefetcher(worker()), sources=[Prefetcher(worker())])
    other = threading.Thread(target=lambda: (model.source.fill(), model.sources[0].fill()))
    with borrowed(model) as changed:
        other.start()
        other.join()
    assert changed == []
    assert [(list(s.ready), s.count) for s in (model.source, *model.sources)] == [([1], 1)] * 2


@pytest.mark.parametrize("worker", [pool, Feeder], ids=["pool", "own thread"])
def test_containers_on_a_module_that_has_a_thread_keep_what_was_put_in_and_that_is_told(worker):
    part = Holder(ready=deque(), inner=[{"calls": 0}], count=0, worker=worker())
    model, told = nn.Sequential(part, Holder(calls=[0])), []
    with borrowed(model, on_left_out=lambda *what: told.append(what)) as changed:
        part.ready.append(1)
        part.inner[0]["calls"] = part.count = 1
        model[1].calls[0] = 1
    assert changed == ["0.count", "1.calls", "0.inner"]
    assert list(part.ready) == [1]
    assert (part.inner, part.count, model[1].calls) == ([{"calls": 0}], 0, [0])
    assert told == [("0.ready", borrow.BESIDE_A_WORKER), ("0.inner", borrow.BESIDE_A_WORKER)]


def test_a_lock_on_a_module_is_no_thread():
    model = Holder(lock=threading.Lock(), calls=[0])
    with borrowed(model):
        model.calls[0] = 1
    assert model.calls == [0]


class Guarded(AbstractContextManager):
    def __init__(self):
        self.entered = 0

    def __exit__(self, *error):
        pass


@functools.total_ordering
class Ordered(Guarded):
    __slots__ = ()

    def __lt__(self, other):
        return False


@pytest.mark.parametrize("make", [Guarded, Ordered])
def test_an_own_class_with_a_mixin_of_the_standard_library_is_the_models_own(make):
    model = Holder(guarded=make())
    with borrowed(model) as changed:
        model.guarded.entered += 1
    assert changed == ["guarded"]
    assert model.guarded.entered == 0


class Base:
    __slots__ = ("value",)


class Again(Base):
    __slots__ = ("value",)


def test_a_slot_that_a_subclass_declares_again_is_the_one_that_is_put_back():
    model = Holder(again=Again())
    model.again.value = 1
    with borrowed(model) as changed:
        model.again.value = 2
    assert changed == ["again"]
    assert model.again.value == 1


MANY = {
    "pairs": lambda i: (f"{i}.png", i),
    "nested tuples": lambda i: (f"{i}.png", ((1, 2, 3, i), None)),
    "numpy numbers": np.float64,
    "paths": lambda i: Path(f"{i}.png"),
    "things of a library": lambda i: threading.Event(),
}


@pytest.mark.parametrize("kind", MANY)
def test_numbers_texts_and_tuples_of_them_take_no_room(kind, monkeypatch):
    monkeypatch.setattr(belongings, "MOST_VALUES", 10)
    told = []
    model = Holder(samples=[MANY[kind](i) for i in range(50)], deep={"a": [[0]]})
    with borrowed(model, on_left_out=lambda *what: told.append(what)) as changed:
        model.deep["a"][0][0] = 1
    assert changed == ["deep"]
    assert model.deep == {"a": [[0]]}
    assert told == []


@pytest.mark.parametrize("inner", [[0], ([0],), (1, ((2, [0]), 3))], ids=["list", "tuple", "tuples"])
def test_among_many_plain_ones_what_may_change_is_found(inner):
    found = [v for _, v in reachable([("held", [(1, "a")] * 20 + [inner, 3])], set())]
    assert [0] in found


@pytest.mark.parametrize(
    ("limit", "most", "held"),
    [("MOST_VALUES", 10, [[i] for i in range(50)]), ("MOST_BYTES", 16, [torch.zeros(9)])],
    ids=["values", "bytes"],
)
def test_what_is_too_much_is_told_by_name(limit, most, held, monkeypatch):
    monkeypatch.setattr(belongings, limit, most)
    told = []
    with borrowed(Holder(fine=[1], samples=held), on_left_out=lambda *what: told.append(what)):
        assert told == [("samples", borrow.TOO_MUCH)]
    assert len(told) == 1


def test_of_too_much_no_more_is_asked_for_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(belongings, "MOST_VALUES", 10)
    asked = []

    def plain(value, leaves, deep):
        asked.append(value)
        return False

    monkeypatch.setattr(belongings, "_is_plain", plain)
    assert len(list(reachable([("held", [[i] for i in range(1000)])], set()))) == 10
    assert len(asked) <= 12


def test_arrays_on_disk_take_no_room(monkeypatch, tmp_path):
    monkeypatch.setattr(belongings, "MOST_BYTES", 16)
    on_disk, told = np.memmap(tmp_path / "a", np.float32, "w+", shape=(50,)), []
    with borrowed(Holder(held=[on_disk]), on_left_out=lambda *what: told.append(what)):
        pass
    assert told == []


def aligned():
    return np.zeros(5, np.dtype([("a", "u1"), ("b", "f8")], align=True))


ARRAYS = {
    "negative zero": (np.array([0.0, np.nan]), 0, -0.0),
    "another NaN": (np.array([np.nan]).view(np.uint64), 0, 0x7FF8000000000001),
    "every other one": (np.arange(8.0)[::2], 1, 7),
    "columns first": (np.asfortranarray(np.arange(6.0).reshape(2, 3)), (1, 2), 0),
    "no dimension": (np.array(1.0), (), 2),
    "a record": (aligned(), 2, (1, 2.0)),
    "objects": (np.array([None, "a"]), 0, 3),
    "a record with objects": (np.zeros(2, [("a", "O"), ("b", "i4")]), 0, ("x", 1)),
    "texts": (np.array(["ab", "c"]), 1, "d"),
    "dates": (np.array(["2026-01-01"], "M8[D]"), 0, np.datetime64("NaT")),
    "over one step": (np.zeros(2**16), 2**16 - 1, 1),
}


def bits(array):
    return [array[name].tobytes() for name in array.dtype.names] if array.dtype.names else array.tobytes()


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_every_kind_are_put_back_to_the_last_bit(kind):
    given, where, value = ARRAYS[kind]
    array = given.copy() if given.flags.c_contiguous else given
    before, model = bits(array), Holder(held=array)
    with borrowed(model) as changed:
        pass
    assert changed == []
    with borrowed(model) as changed:
        array[where] = value
        assert bits(array) != before
    assert changed == ["held"]
    assert bits(array) == before


def test_comparing_an_array_copies_nothing():
    array = np.zeros(2**20)
    kept = keepers.Array("held", array, array.copy())
    tracemalloc.start()
    assert kept.restore() == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < array.nbytes / 8
