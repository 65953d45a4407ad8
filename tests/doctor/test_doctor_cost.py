"""What a look costs: the estimate counts the forwards that a look really makes."""

from types import SimpleNamespace

import pytest
import torch
from patients import Net, images, probes
from tiny_nets import forwards_of

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.doctor import cost, examine
from camdebug.doctor.cost import look_cost
from camdebug.doctor.facts import LookPlan
from camdebug.observe import Observer

CPU = torch.device("cpu")


def forwards_of_a_look(fixed, *, once):
    model = Net(classes=len(fixed.class_names))
    seen = forwards_of(model)
    observer = Observer(fixed, once=once)
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
        seen.clear()
        observer.look(model, ModelPrecision(model), epoch=0, looks_left=1 if once else 30)
    return sum(seen) / len(fixed)


@pytest.mark.parametrize(
    "fixed", [probes(), probes(counts=(25, 22)), probes(counts=(25, 4, 25)), probes(box=None)], ids=str
)
def test_the_estimate_counts_the_forwards_of_a_look(fixed):
    estimate = look_cost(fixed, (8, 8), LookPlan(30), forward=1.0, mapped=1.0)
    assert forwards_of_a_look(fixed, once=False) == pytest.approx(estimate.forwards)
    assert forwards_of_a_look(fixed, once=True) == pytest.approx(estimate.planned_forwards)
    assert estimate.seconds == pytest.approx(len(fixed) * estimate.forwards)
    assert estimate.planned_seconds == pytest.approx(len(fixed) * estimate.planned_forwards)


def test_maps_count_as_much_as_they_take_and_composites_as_forwards():
    fixed = probes()  # 75 probes: a map of each and two composites of each; planned six maps and eight composites
    found = look_cost(fixed, (8, 8), LookPlan(30), forward=0.5, mapped=1.5)
    assert (found.forwards, found.planned_forwards) == (3 + 2, 6 * 3 + 8)
    assert (found.seconds, found.planned_seconds) == (75 * (1.5 + 1), 75 * (9 + 4))
    assert look_cost(fixed, (2, 2), LookPlan(30), forward=0.5, mapped=1.5).planned_forwards == 5 * 3 + 8


def test_without_contrast_there_are_no_composites():
    found = look_cost(probes(), (8, 8), LookPlan(30, contrast=False), forward=0.5, mapped=1.5)
    assert (found.forwards, found.planned_forwards) == (3, 6 * 3)


def test_one_chunk_is_measured():
    found = examine(Net(), images(12), chunk_size=5).cost
    assert found.pictures == 5
    assert found.activation_bytes == 4 * 4 * 8 * 8  # four bytes, four channels, 8x8 cells
    assert found.forward_seconds > 0
    assert found.ratio == found.map_seconds / found.forward_seconds
    assert found.memory_bytes > 0
    assert found.look is None


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ([1000, 5000], (4000, "growth of the process's peak")),
        ([5000, 5000], (600, "activation and its gradient")),
    ],
)
def test_without_growth_of_the_process_the_activation_is_told(monkeypatch, peaks, expected):
    monkeypatch.setattr(cost, "_process_peak", lambda: peaks.pop(0))
    assert cost._peak_of(lambda: None, CPU, 300) == expected


def test_on_cuda_the_peak_is_that_of_the_device_beside_what_was_there(monkeypatch):
    calls = []
    cuda = SimpleNamespace(
        reset_peak_memory_stats=lambda device: calls.append("reset"),
        memory_allocated=lambda device: 100,
        max_memory_allocated=lambda device: 350,
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    found = cost._peak_of(lambda: calls.append("pass"), torch.device("cuda", 0), 1)
    assert found == (250, "peak on cuda:0, beside what was allocated before")
    assert calls == ["reset", "pass"]


@pytest.mark.parametrize(("taken", "expected"), [([9.0, 2.0, 7.0, 3.0], 2.0), ([0.1, 2.0, 7.0, 3.0], 3.0)])
def test_a_time_is_a_median_after_a_warm_up_and_a_long_one_is_taken_once(monkeypatch, taken, expected):
    monkeypatch.setattr(cost, "_once", lambda doing, device: taken.pop(0))
    assert cost._seconds(lambda: None, CPU) == expected
