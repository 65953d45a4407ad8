"""``Steadiness``: compare the maps of a look with what they should and should not resemble. Knows no trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from camdebug.cam.explain import Recipe
from camdebug.cam.lens import Lens
from camdebug.measures.similarity import jensen_shannon, similarity, spearman, summarise
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import Heatmaps
from camdebug.records.steadiness import Similarity, SteadinessReport
from camdebug.steadiness.alignment import met_halfway
from camdebug.steadiness.cells import on_few_cells
from camdebug.steadiness.chance import against_other_probes, object_following
from camdebug.steadiness.memory import Memory, Remembered, compact, read_memory
from camdebug.steadiness.perturbed import Change, Perturbed, directions, noisy, relit, shifted

SHIFT_SHARE = 0.04
"""Of the shorter side, at least two pixels: one pixel is the jitter floor."""

GAIN, OFFSET = 0.10, 0.10
"""Contrast by a tenth, brightness by a tenth of the picture's standard deviation."""

NOISE_SHARE = 0.10
"""Of the picture's standard deviation."""

BEFORE_TRAINING = -1


class Steadiness:
    """Compares each look's maps with earlier ones, with those of slightly changed pictures, and with chance.

    Maps of more than 28 cells a side are compared, and remembered, as means over 28 of them.

    Args:
        probes: the probe set.
        seed: of directions, lighting and noise, the same at every look; no global generator is touched.
    """

    def __init__(self, probes: ProbeSet, *, seed: int = 0) -> None:
        self._probes = probes
        self._seed = seed
        self._memory = Memory()

    @property
    def remembers_initial(self) -> bool:
        """The maps of the initial weights are known, from this run or from the one that it goes on with."""
        return self._memory.initial is not None

    def remember(self, initial: Heatmaps) -> None:
        """Keep the maps of the initial weights: call it before the first training step, and not on a resumed run.

        Args:
            initial: one map a probe, of its label.
        """
        self._check_maps(initial)
        self._memory = replace(self._memory, initial=_remembered(initial, BEFORE_TRAINING))

    def check(
        self,
        lens: Lens,
        recipe: Recipe,
        label_maps: Heatmaps,
        *,
        epoch: int,
        boxes: tuple[Tensor, Tensor] | None = None,
        full: bool = False,
    ) -> SteadinessReport:
        """Compare the maps of a look. Call inside ``borrowed(model)``, once a look.

        Without ``full`` no pass is made. What is remembered changes only when nothing was raised, so a check that ran
        out of memory may be made again with smaller chunks.

        Args:
            lens: what is looked through.
            recipe: how the maps are made.
            label_maps: of this look, one map a probe, of its label.
            epoch: of the look.
            boxes: ``(N, h, w)`` coverage and readable cells on the grid of the maps, ``None`` without boxes.
            full: also measure the jitter floor and the stability, in four passes.

        Raises:
            ValueError: when the maps are not of the probes.
        """
        self._check_maps(label_maps)
        now = _remembered(label_maps, epoch)
        report = replace(self._free_parts(now, boxes), jitter=self._memory.jitter)
        report = replace(report, jitter_epoch=self._memory.jitter_epoch)
        if full:
            report = self._with_passes(report, lens, recipe, on_few_cells(label_maps.maps))
        self._memory = replace(self._memory, previous=now, jitter=report.jitter, jitter_epoch=report.jitter_epoch)
        return report

    def _free_parts(self, now: Remembered, boxes: tuple[Tensor, Tensor] | None) -> SteadinessReport:
        labels, maps = self._probes.labels, now.maps
        report = SteadinessReport(now.epoch, other_probes=against_other_probes(maps, maps, labels))
        if boxes is not None and self._probes.annotated:
            cover, readable = map(on_few_cells, boxes)
            report = replace(report, following=object_following(maps, cover, labels, readable=readable))
        previous, initial = self._memory.previous, self._memory.initial
        if previous is not None and previous.comparable(maps, now.kind):
            drift, by_class = self._drift(maps, previous.maps)
            report = replace(report, drift=drift, drift_by_class=by_class, since_epoch=previous.epoch)
        if initial is not None and initial.comparable(maps, now.kind):
            report = replace(
                report,
                initial=similarity(maps, initial.maps),
                initial_chance=against_other_probes(maps, initial.maps, labels),
            )
        return report

    def _drift(self, now: Tensor, before: Tensor) -> tuple[Similarity, tuple[Similarity, ...]]:
        divergence, correlation = jensen_shannon(now, before), spearman(now, before)
        members = [self._probes.labels == k for k in range(len(self._probes.class_names))]
        by_class = tuple(summarise(divergence[own], correlation[own]) for own in members)
        return summarise(divergence, correlation), by_class

    def _with_passes(self, report: SteadinessReport, lens: Lens, recipe: Recipe, maps: Tensor) -> SteadinessReport:
        size = self._probes.image_size
        one_pixel = directions(len(self._probes), seed=self._seed)
        steps = one_pixel * max(2, round(SHIFT_SHARE * min(size)))

        def under(change: Change) -> Tensor:
            # It reads slices only, as of any ``Pictures``.
            (found,) = recipe.maps(lens, Perturbed(self._probes.images, change), [self._probes.labels])
            return on_few_cells(found.maps)

        return replace(
            report,
            jitter=similarity(maps, under(shifted(one_pixel))),
            jitter_epoch=report.epoch,
            shift=similarity(*met_halfway(maps, under(shifted(steps)), steps, size)),
            lighting=similarity(maps, under(relit(gain=GAIN, offset=OFFSET, seed=self._seed))),
            noise=similarity(maps, under(noisy(share=NOISE_SHARE, seed=self._seed))),
        )

    def _check_maps(self, found: Heatmaps) -> None:
        if not torch.equal(found.class_idx, self._probes.labels):
            raise ValueError(
                f"maps: expected one for the label of each of the {len(self._probes)} probes, got {len(found)} maps of "
                "other classes or of other pictures"
            )

    def forget(self) -> None:
        """A new run begins."""
        self._memory = Memory()

    def state_dict(self) -> dict[str, Any]:
        """Primitives and tensors only; the maps in float16."""
        return self._memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on where another run stopped; with ``None`` or ``{}``, from a checkpoint that has none, with nothing.

        Raises:
            ValueError: when the state is damaged or of other probes.
        """
        self._memory = read_memory(state, len(self._probes))


def _remembered(found: Heatmaps, epoch: int) -> Remembered:
    return Remembered(compact(on_few_cells(found.maps)), f"{found.method} at {found.layer}", epoch)
