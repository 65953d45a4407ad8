"""One look at a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import MethodChoice
from camdebug.cam.model.precision import Precision
from camdebug.cam.model.subject import ModelUse, Subject
from camdebug.cam.options import PLAIN, MapOptions
from camdebug.cam.peers import ALONE, Peers
from camdebug.cam.shortage import one_kind_of_shortage
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import LayerChoice, find_target_layers
from camdebug.measures.leads import wrong_reasons
from camdebug.measures.localisation import localisation_scores
from camdebug.measures.split import right_against_wrong
from camdebug.measures.summary import class_scores
from camdebug.observe.backgrounds import Backgrounds, Findings
from camdebug.observe.checks import are_probabilities, check_class_count, check_recipe, check_use
from camdebug.observe.memory import ObserverMemory
from camdebug.observe.places import find_places
from camdebug.observe.prospects import Prospects
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord, Heatmaps, PlaceLock, SteadinessReport
from camdebug.steadiness.check import Steadiness
from camdebug.verdict.case import Look
from camdebug.verdict.judge import Judge
from camdebug.verdict.learned import learned_classes
from camdebug.verdict.run import run_verdict
from camdebug.wording import shown_name

_Found = TypeVar("_Found")

_ANY_CLASSIFIER = ModelUse()

_FULL_CHECKS = (1, 6, 18, 41, 83)
"""Planned looks at which pictures are also shifted, relit and made noisy, which takes four passes; so the last one."""


class Observer(Prospects, ObserverMemory):
    """Looks at a model through a probe set and remembers its verdicts.

    Args:
        probes: the probe set.
        method: CAM method of the maps that are drawn and measured.
        target_layer: dotted name or module, or several, whose maps are fused; by default the last spatial stage.
        options: what is done to the maps; they must be 0 or more.
        use: how the model is run and its output read.
        contrast: also measure background evidence and swaps (two more forwards a probe, eight at planned looks);
            without it only heat at a fixed place can raise a class, to *watch*.
        chunk_size: pictures in one forward; halved for good when memory runs out.
        alpha: share of clean runs that may raise an alarm.
        seed: of donors and permutations.
        once: there will be one look, which decides and may spend all of ``alpha``.

    Attributes:
        probes, asked_method, target_layer, use, contrast, alpha, seed: as given.
        recipe: method and options.
        method: what both are called.
        layers: that are explained; known from ``prepare`` on. Background evidence is that of HiResCAM at the first one,
            whatever the method, and also where the method reads no layer.
        chunk_size: pictures in one forward; smaller than ``asked_chunk_size`` once memory has run out.
        gives_probabilities: the model's scores look like probabilities, not logits; known from ``prepare`` on.
    """

    def __init__(
        self,
        probes: ProbeSet,
        *,
        method: MethodChoice = "hirescam",
        target_layer: LayerChoice = None,
        options: MapOptions = PLAIN,
        use: ModelUse = _ANY_CLASSIFIER,
        contrast: bool = True,
        chunk_size: int = 32,
        alpha: float = 0.05,
        seed: int = 0,
        once: bool = False,
    ) -> None:
        self.recipe = check_recipe(method, options)
        self.method = self.recipe.name
        self.asked_method = method
        self.contrast = contrast
        self.lost: str | None = None
        self.use = check_use(use)
        self.probes = probes
        self.layers: tuple[TargetLayer, ...] = ()
        self._names = [shown_name(name) for name in probes.class_names]
        self.gives_probabilities = False
        self.target_layer = target_layer
        self.asked_chunk_size = self.chunk_size = chunk_size
        self.seed = seed
        self.alpha = alpha
        self._new_judge = partial(Judge, probes.class_names, alpha=alpha, once=once)
        self._judge = self._new_judge()
        self._map_grid: tuple[int, ...] | None = None
        self._on_grid: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._steadiness = Steadiness(probes, seed=seed)
        self._backgrounds = Backgrounds(probes, seed=seed) if contrast and probes.annotated else None

    @property
    def layer(self) -> TargetLayer | None:
        """The first of the layers, where background evidence is measured; known from ``prepare`` on."""
        return self.layers[0] if self.layers else None

    def prepare(self, model: nn.Module, precision: Precision) -> TargetLayer:
        """Find the target layer and check that model and probes fit together. Call inside ``borrowed(model)``.

        Raises:
            TypeError, ValueError: naming what does not fit.
        """
        images, self._map_grid = self.probes.images, None
        subject = self.use.on(model, precision)
        self.layers = find_target_layers(subject, images, self.target_layer)
        scores = subject.forward(subject.converted(images[:1]), slice(0, 1)).matrix
        self.gives_probabilities = are_probabilities(scores)
        check_class_count(len(self.probes.class_names), scores.shape[1])
        return self.layers[0]

    def rehearse(self, model: nn.Module, precision: Precision) -> None:
        """Make the map of one picture, so that a method that cannot do it fails now and not at every look.

        Call it after ``prepare``, inside ``borrowed(model)``.

        Raises:
            TypeError, ValueError: naming the method, when it does not fit the model or gives no map.
            Exception: whatever else the model or a method of the user's raises.
        """
        subject = self.use.on(model, precision)
        lens = Lens(subject, self._layers_in(subject), 1)
        (maps,) = self.recipe.maps(lens, self.probes.images[:1], [self.probes.labels[:1]])
        self._map_grid = maps.grid

    def remember_initial(self, model: nn.Module, precision: Precision, *, peers: Peers = ALONE) -> None:
        """Keep the maps of the initial weights, to compare later ones with. Call inside ``borrowed(model)``."""
        if not self._steadiness.remembers_initial:

            def doing() -> list[Heatmaps]:
                return self.recipe.maps(self._lens(model, precision, peers), self.probes.images, [self.probes.labels])

            (maps,) = self._within_memory(doing, peers)
            self._steadiness.remember(maps)

    def look(
        self,
        model: nn.Module,
        precision: Precision,
        *,
        epoch: int,
        looks_left: int | None,
        peers: Peers = ALONE,
    ) -> EpochRecord:
        """Look once. Call inside ``borrowed(model)``. A look that fails leaves no trace in what is remembered.

        Args:
            model: gives class scores ``(N, K)``.
            precision: how pictures enter the model.
            epoch: of the training.
            looks_left: planned looks, this one included; ``None`` when unknown.
            peers: the processes that look together and share every pass; each finds the same record.
        """
        return self._within_memory(
            lambda: self._look(self._lens(model, precision, peers), epoch=epoch, looks_left=looks_left), peers
        )

    def _within_memory(self, doing: Callable[[], _Found], peers: Peers) -> _Found:
        while True:
            try:
                with self._undone_by_failure(), peers.attempt(), one_kind_of_shortage():
                    return doing()
            except torch.OutOfMemoryError:
                if self.chunk_size == 1:
                    raise
            # Outside the handler, where nothing holds the failed pass's tensors any more.
            self.chunk_size //= 2
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()

    def _look(self, lens: Lens, *, epoch: int, looks_left: int | None) -> EpochRecord:
        started = time.perf_counter()
        labels = self.probes.labels
        by_label, by_prediction = self.recipe.maps(lens, self.probes.images, [labels, None])
        self._map_grid = by_label.grid
        cover, readable = self._boxes_on(by_label.grid)
        scores = localisation_scores(by_label.maps, cover, labels, readable=readable)
        classes = class_scores(scores, labels, by_label.correct, self._names)
        learned = learned_classes(labels, by_label.prediction)
        look = self._judge.begin(classes, learned, epoch=epoch, looks_left=looks_left)
        found = self._swapped(lens, look)
        places = self._places_in(lens, by_label, found.look)
        steadiness = self._steady(lens, by_label, found.look)
        verdicts = self._judge.judge(found.look, classes, found.contrasts, found.swaps, places)
        return EpochRecord(
            epoch=epoch,
            label_maps=by_label,
            predicted_maps=by_prediction,
            scores=scores,
            classes=classes,
            contrasts=found.contrasts,
            swaps=found.swaps,
            places=places,
            verdicts=verdicts,
            verdict=run_verdict(verdicts),
            right_against_wrong=right_against_wrong(scores, labels, by_label.correct, self._names),
            wrong_reasons=wrong_reasons(scores, by_label.correct, found.swaps) if found.swaps else None,
            steadiness=steadiness,
            seconds=time.perf_counter() - started,
        )

    def _steady(self, lens: Lens, label_maps: Heatmaps, look: Look) -> SteadinessReport:
        return self._steadiness.check(
            lens,
            self.recipe,
            label_maps,
            epoch=look.epoch,
            boxes=self._boxes_on(label_maps.grid) if self.probes.annotated else None,
            full=look.decides and (look.looks_left == 1 or look.measured in _FULL_CHECKS),
        )

    def _places_in(self, lens: Lens, label_maps: Heatmaps, look: Look) -> tuple[PlaceLock, ...]:
        if not look.decides:
            return ()
        cover, _ = self._boxes_on(label_maps.grid)
        return find_places(lens, self.recipe, self.probes, label_maps, cover, seed=self.seed)

    def _swapped(self, lens: Lens, look: Look) -> Findings:
        if self._backgrounds is None:
            return Findings(look)
        return self._backgrounds.measure(lens, self._boxes_on(lens.layer.grid)[0], judge=self._judge, look=look)

    def _lens(self, model: nn.Module, precision: Precision, peers: Peers) -> Lens:
        subject = self.use.on(model, precision)
        return Lens(subject, self._layers_in(subject), self.chunk_size, peers)

    def _layers_in(self, subject: Subject) -> tuple[TargetLayer, ...]:
        """The layers that were found, unless one has been replaced since, by pruning or quantization for example."""
        parts = set(subject.model.modules())
        if not self.layers or any(layer.module not in parts for layer in self.layers):
            self.prepare(subject.model, subject.precision)
        return self.layers

    def _boxes_on(self, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Coverage and readable cells of every probe, computed once for the maps' grid and once for the layer's."""
        if grid not in self._on_grid:
            self._on_grid = dict([*self._on_grid.items()][-1:])
            self._on_grid[grid] = self.probes.coverage(grid), self.probes.readable(grid)
        return self._on_grid[grid]
