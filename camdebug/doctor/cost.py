"""Time and memory of one chunk, and what a look will come to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from camdebug.cam.explain import Recipe
from camdebug.cam.lens import Lens
from camdebug.doctor.facts import CostFacts, LookCost, LookPlan
from camdebug.measures.place import coarsest_grid
from camdebug.observe.backgrounds import Backgrounds
from camdebug.probe.probe_set import ProbeSet

_REPEATS = 3
_LONG = 0.5
_STEADINESS = 4
"""Passes of a planned look that also checks maps under small changes."""


def measure_cost(
    lens: Lens, recipe: Recipe, images: Tensor, labels: Tensor | None, probes: ProbeSet | None, plan: LookPlan
) -> CostFacts:
    """Time a plain forward and the pass of the maps on one chunk. Call inside ``borrowed(model)``.

    On CUDA the device's peak statistics are reset.

    Args:
        lens: what is looked through.
        recipe: how maps are made.
        images: ``(n, C, *size)``; the first chunk of them is used.
        labels: ``(n,)`` classes to explain, ``None`` for those predicted.
        probes: of the looks, if there will be any.
        plan: of the looks.
    """
    part = images[: lens.chunk_size]
    wanted = None if labels is None else labels[: lens.chunk_size]
    subject = lens.subject
    device = subject.converted(part[:1]).device

    def forward() -> None:
        with torch.no_grad():
            subject.forward(subject.converted(part), slice(0, len(part)))

    def maps() -> None:
        recipe.maps(lens, part, [wanted])

    # Memory first: on the CPU a peak can only be seen to grow.
    activation = _activation_bytes(lens, part[:1])
    memory, what = _peak_of(maps, device, activation * len(part))
    plain, mapped = _seconds(forward, device), _seconds(maps, device)
    look = None if probes is None else look_cost(probes, lens.layer.grid, plan, plain / len(part), mapped / len(part))
    return CostFacts(len(part), plain, mapped, memory, what, activation, look)


def look_cost(probes: ProbeSet, grid: tuple[int, ...], plan: LookPlan, forward: float, mapped: float) -> LookCost:
    """Count the passes of a look: maps, composites, and at a planned one rolled and otherwise changed copies.

    Args:
        probes: of the looks.
        grid: cells along each axis.
        plan: of the looks.
        forward: seconds of one picture's forward.
        mapped: seconds of one picture's map.
    """
    backgrounds = Backgrounds(probes, seed=plan.seed) if plan.contrast and probes.annotated else None
    composites = 0 if backgrounds is None else 2 * len(backgrounds.pairs_of(0))
    planned = 0 if backgrounds is None else 2 * len(backgrounds.panels())
    places = len(grid) == 2 and min(grid) >= coarsest_grid(annotated=probes.annotated)
    passes = 1 + places + _STEADINESS
    count, ratio = len(probes), mapped / forward
    return LookCost(
        forwards=ratio + composites / count,
        planned_forwards=passes * ratio + planned / count,
        seconds=count * mapped + composites * forward,
        planned_seconds=count * passes * mapped + planned * forward,
    )


def _seconds(doing: Callable[[], None], device: torch.device) -> float:
    """Median of a few, after one that warms up; of a long one there is one more."""
    repeats = 1 if _once(doing, device) > _LONG else _REPEATS
    return sorted(_once(doing, device) for _ in range(repeats))[repeats // 2]


def _once(doing: Callable[[], None], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    doing()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _activation_bytes(lens: Lens, image: Tensor) -> int:
    (numbers,) = lens.over(image, [], lambda chunk: (torch.tensor([chunk.view.activation[0].numel()]),), graph=False)
    return 4 * int(numbers)


def _peak_of(doing: Callable[[], None], device: torch.device, activation: int) -> tuple[int, str]:
    """Bytes that a pass takes at its peak, and what they are."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        doing()
        return torch.cuda.max_memory_allocated(device) - before, f"peak on {device}, beside what was allocated before"
    peak = _process_peak()
    doing()
    grown = _process_peak() - peak
    return (grown, "growth of the process's peak") if grown > 0 else (2 * activation, "activation and its gradient")


def _process_peak() -> int:
    """Most bytes that this process has had resident; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
