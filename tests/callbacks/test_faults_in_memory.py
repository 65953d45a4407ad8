"""Memory that runs out, by all its names: chunks are halved and the look goes on. With one picture a look is lost."""

import gc
import weakref

import pytest
import torch
from faulty import CHUNK, disturbed, lost, undisturbed, watch
from small_training import Module, same_state

from camdebug.cam.shortage import is_out_of_memory, one_kind_of_shortage

CUDA_TEXT = "CUDA error: out of memory"
CPU_TEXT = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)
HALVED = r"^camdebug ran out of memory with 5 pictures in a forward; it goes on with 2\. Pass chunk_size=2 to begin"

SHORTAGES = {
    "an accelerator's": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "a driver's, by its text": RuntimeError(CUDA_TEXT),
    "the CPU allocator's, by its text": RuntimeError(CPU_TEXT),
    "numpy's and Python's": MemoryError(),
    "cuBLAS's, by its text": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
}


class Greedy(Module):
    """Three to seven pictures are too many: neither the training nor validation has so few."""

    error = None

    def forward(self, x):
        if 2 < len(x) < 8:
            raise self.error
        return self.net(x)


def greedy(error):
    return type("Greedy", (Greedy,), {"error": error})


@pytest.mark.parametrize("fault", SHORTAGES)
def test_memory_that_runs_out_in_the_forward(fault):
    watching = watch()
    disturbed(greedy(SHORTAGES[fault]), watching, said=[HALVED], without=undisturbed())
    assert watching.last_record.epoch == 1
    assert watching._observer.chunk_size == 2


def test_memory_that_runs_out_in_the_gradient():
    class GreedyGradient(Module):
        def forward(self, x):
            scores = self.net(x)
            if scores.requires_grad and len(x) == CHUNK:
                scores.register_hook(self.fail)
            return scores

        def fail(self, gradient):
            raise torch.OutOfMemoryError("no five")

    watching = watch()
    disturbed(GreedyGradient, watching, said=[HALVED])
    assert watching.last_record.epoch == 1


def test_memory_that_runs_out_while_the_initial_maps_are_remembered():
    class GreedyAtTheStart(Module):
        def forward(self, x):
            if len(x) == CHUNK and not self.global_step:
                raise MemoryError
            return self.net(x)

    watching = watch()
    disturbed(GreedyAtTheStart, watching, said=[HALVED])
    assert watching.last_record.steadiness.initial is not None


def test_memory_that_runs_out_when_the_layer_is_searched_switches_the_monitor_off():
    class NotOne(Module):
        def forward(self, x):
            if len(x) == 1:
                raise torch.OutOfMemoryError("not one")
            return self.net(x)

    disturbed(NotOne, said=[r"^camdebug is off in this run: .* model \(OutOfMemoryError: not one\)"])


def test_memory_that_runs_out_with_one_picture_loses_the_look_and_the_size_stays():
    class Insatiable(Module):
        def forward(self, x):
            if self.current_epoch == 0 and self.global_step and len(x) < 8:
                raise MemoryError("not even one")
            return self.net(x)

    watching = watch()
    halved = HALVED.replace("goes on with 2", "goes on with 1").replace("chunk_size=2", "chunk_size=1")
    disturbed(Insatiable, watching, said=[lost("OutOfMemoryError: not even one"), halved])
    assert watching.last_record.epoch == 1


def test_an_error_that_is_no_shortage_halves_nothing():
    watching = watch()
    outcome = run_with(watching, ValueError("out of memory"))
    assert "lost its look at epoch 0: ValueError: out of memory" in outcome.said[0]
    assert watching._observer.chunk_size == CHUNK


def run_with(watching, error):
    return disturbed(greedy(error), watching, said=["lost its look", "in sum"], without=undisturbed())


def test_without_the_common_name_the_look_is_lost(monkeypatch):
    """The negative control: an allocator's plain error is one like any other."""
    from contextlib import nullcontext

    from camdebug.observe import observer

    monkeypatch.setattr(observer, "one_kind_of_shortage", nullcontext)
    watching = watch()
    run_with(watching, RuntimeError(CPU_TEXT))
    assert watching.last_record is None


def test_the_maps_in_smaller_chunks_are_those_of_a_monitor_that_began_with_them():
    halved, small = watch(), watch(chunk_size=2)
    disturbed(greedy(MemoryError()), halved, said=[HALVED], without=undisturbed())
    disturbed(Module, small)
    assert same_state(halved.state_dict()["observer"], small.state_dict()["observer"])


def test_the_failed_pass_is_free_before_the_next_begins():
    """Without waiting for the collector of cycles, which knows nothing of memory that runs short."""
    kept = []

    class Hungry(Module):
        def forward(self, x):
            if len(x) == CHUNK:
                big = torch.zeros(100)
                kept.append(weakref.ref(big))
                raise MemoryError("no five", big)
            if len(x) == 2 and len(kept) == 1:
                kept.append(kept[0]() is None)
            return self.net(x)

    gc.disable()
    try:
        disturbed(Hungry, said=[HALVED])
    finally:
        gc.enable()
    assert kept[1] is True


@pytest.mark.parametrize("fault", SHORTAGES)
def test_every_shortage_gets_one_name_and_keeps_its_words_and_marks(fault):
    error = type(SHORTAGES[fault])(*SHORTAGES[fault].args)
    error.known = True
    with pytest.raises(torch.OutOfMemoryError) as caught, one_kind_of_shortage():
        raise error
    assert caught.value.known is True
    assert str(error) in str(caught.value)


def test_errors_that_only_speak_of_memory_are_none():
    class PeerError(RuntimeError):
        pass

    class SilentError(RuntimeError):
        def __str__(self):
            raise ValueError

    for error in (PeerError(CUDA_TEXT), KeyError("out of memory"), RuntimeError("no memory of it"), SilentError()):
        assert not is_out_of_memory(error)
