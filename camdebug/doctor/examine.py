"""``examine``: one dry run of what looks will do with a model and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from camdebug.cam.explain import Recipe
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.one_pass import OnePass
from camdebug.cam.methods.registry import MethodChoice, needs_gradient
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.precision import Precision
from camdebug.cam.model.subject import ModelUse, Subject
from camdebug.cam.options import PLAIN, MapOptions
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.search import LayerChoice, find_target_layers
from camdebug.doctor.advice import LayerAdvice, with_cells
from camdebug.doctor.boxes import check_probes
from camdebug.doctor.cost import measure_cost
from camdebug.doctor.facts import (
    CostFacts,
    FollowFacts,
    HeatFacts,
    LayerFacts,
    LookPlan,
    ModelFacts,
    OutputFacts,
    ProbeFacts,
)
from camdebug.doctor.failing import forward_failed, no_logging
from camdebug.doctor.findings import Findings
from camdebug.doctor.following import check_following
from camdebug.doctor.forwards import check_forwards
from camdebug.doctor.heat import check_heat
from camdebug.doctor.model import NotingOutputs, layer_facts, model_facts, other_layers, output_facts
from camdebug.doctor.picture import draw_examination
from camdebug.doctor.pictures import Pictures, pictures_of
from camdebug.doctor.report import DoctorReport
from camdebug.observe import Observer
from camdebug.observe.checks import check_recipe

if TYPE_CHECKING:
    from PIL.Image import Image

_ANY_CLASSIFIER = ModelUse()
_OF_DEAR_METHODS = 4
"""Pictures whose maps are made by a method that takes many forwards."""
_COMPARED = 8
"""Pictures in the forwards that are compared with one another."""


def examine(
    model: nn.Module,
    probes_or_batch: object,
    *,
    method: MethodChoice = "hirescam",
    target_layer: LayerChoice = None,
    options: MapOptions = PLAIN,
    use: ModelUse = _ANY_CLASSIFIER,
    precision: Precision | None = None,
    chunk_size: int = 32,
    contrast: bool = True,
    epochs: int | None = None,
    every_n_epochs: int = 1,
    alpha: float = 0.05,
    seed: int = 0,
) -> DoctorReport:
    """Try everything that looks will do, and say what will be refused or cannot be trusted. Nothing is trained.

    The model comes back as it was, bit for bit. What it raises becomes a problem of the report; the rest is examined
    as far as it goes.

    Args:
        model: that is to be trained.
        probes_or_batch: a ``ProbeSet``; or a tensor ``(N, C, H, W)``, or a batch of a ``DataLoader`` that begins with
            one: then there is nothing to say about boxes.
        method: of the maps.
        target_layer: dotted name or module, or several; by default the last spatial stage.
        options: what is done to the maps.
        use: how the model is run and its output read.
        precision: how pictures enter the model; by default in the format and on the device of its parameters.
        chunk_size: pictures in one forward.
        contrast: looks also measure background evidence and swaps.
        epochs: of the training; ``None`` when unknown.
        every_n_epochs: there is a look at each so many epochs, and at the last one.
        alpha: share of clean runs that may raise an alarm.
        seed: of donors and permutations.

    Raises:
        TypeError, ValueError: when an argument other than the model is not as described, or ``model`` is no module.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> report = examine(net, torch.rand(4, 3, 8, 8))
    >>> report.layers[0].name, report.layers[0].grid, report.output.classes, report.following.hits
    ('0', (8, 8), 2, 16)
    """
    recipe = check_recipe(method, options)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    counts = {"chunk_size": chunk_size, "epochs": 1 if epochs is None else epochs, "every_n_epochs": every_n_epochs}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: expected a whole number above 0, got {value!r}")
    pictures = pictures_of(probes_or_batch)
    observer = None
    if pictures.probes is not None:
        observer = Observer(
            pictures.probes,
            method=method,
            target_layer=target_layer,
            options=options,
            use=use,
            contrast=contrast,
            chunk_size=chunk_size,
            alpha=alpha,
            seed=seed,
        )
    looks = None if epochs is None else planned_looks(epochs, every_n_epochs)
    plan = LookPlan(looks, contrast, alpha, seed)
    return _Examination(model, pictures, recipe, target_layer, use, precision, chunk_size, plan, observer).report()


def planned_looks(epochs: int, every_n_epochs: int) -> int:
    """Looks of a training from its first epoch on, the last epoch's included.

    >>> planned_looks(20, 5), planned_looks(21, 5), planned_looks(1, 5)
    (5, 5, 1)
    """
    return 1 + ceil((epochs - 1) / every_n_epochs)


@dataclass(eq=False)
class _Examination:
    """What is examined, and what has been found so far."""

    model: nn.Module
    pictures: Pictures
    recipe: Recipe
    target_layer: LayerChoice
    use: ModelUse
    precision: Precision | None
    chunk_size: int
    plan: LookPlan
    observer: Observer | None
    findings: Findings = field(default_factory=Findings)
    converted: Tensor | None = None
    output: OutputFacts | None = None
    layers: tuple[TargetLayer, ...] = ()
    layer_facts: tuple[LayerFacts, ...] = ()
    others: tuple[TargetLayer, ...] = ()
    heat: HeatFacts | None = None
    maps: Tensor | None = None
    following: FollowFacts | None = None
    cost: CostFacts | None = None

    def report(self) -> DoctorReport:
        """Examine all of it."""
        self._check_pictures()
        with self.findings.attempt("looks cannot borrow the model", "Without that there are no looks."):
            with no_logging(self.model), borrowed(self.model, copied=None, on_left_out=self._note_left_out) as changed:
                self._examine_model()
            if changed:
                self.findings.note(
                    f"The model's forward changes {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}. Each "
                    "look puts it back."
                )
        probes = self._probe_facts()
        picture = self._picture()
        findings = self.findings
        return DoctorReport(
            problems=tuple(findings.problems),
            notes=tuple(findings.notes),
            model=self._model_facts(),
            output=self.output,
            layers=self.layer_facts,
            other_layers=tuple(with_cells(layer) for layer in self.others),
            heat=self.heat,
            following=self.following,
            cost=self.cost,
            probes=probes,
            picture=picture,
        )

    def _check_pictures(self) -> None:
        images = self.pictures.images
        if not images.is_floating_point():
            self.findings.problem(
                f"pictures are {images.dtype}; a probe set takes floating ones as the model receives them. Scale and "
                "normalise them first."
            )
        elif not bool(images.isfinite().all()):
            self.findings.problem("some pictures are not finite. Check the dataset and its transforms.")

    def _note_left_out(self, name: str, why: str) -> None:
        self.findings.note(f"Looks do not put back all that a forward changes in the model's {name}: {why}.")

    def _examine_model(self) -> None:
        """Inside ``borrowed(model)``: from one forward to maps and their cost, as far as it goes."""
        reading = NotingOutputs(self.use.outputs)
        subject = replace(self.use, outputs=reading).on(self.model, self.precision)
        scores = self._first_scores(subject, reading)
        if scores is None:
            return
        self.output = output_facts(reading.raw, scores)
        self._judge_output(self.output)
        images = self.pictures.images
        with self.findings.attempt("there is no target layer", "Pass target_layer= with the name of a layer."):
            self.layers = self._target_layers(subject)
            self.layer_facts = layer_facts(subject, self.layers, images)
        with self.findings.attempt("other layers could not be listed", "Pass target_layer= if you need another."):
            self.others = other_layers(subject, images, self.layers)
        with self.findings.attempt("model and probes do not fit together", "Looks will be refused."):
            self._fit_probes(subject)
        if self.layer_facts and images.is_floating_point():  # brighter corners of others would overflow
            self._examine_layer(subject)
        with self.findings.attempt("forwards of a chunk fail", "Looks will fail in the same way."):
            dtype = self.layer_facts[0].dtype if self.layer_facts else None
            check_forwards(subject, images[: min(self.chunk_size, _COMPARED)], self.findings, dtype=dtype)

    def _first_scores(self, subject: Subject, reading: NotingOutputs) -> ClassScores | None:
        """The scores of one picture, or ``None`` and a problem."""
        images = self.pictures.images
        with self.findings.attempt("pictures cannot be brought to the model", "Check its device and number format."):
            self.converted = subject.converted(images[:1])
        if self.converted is None:
            return None
        try:
            return subject.forward(self.converted.clone(), slice(0, 1))
        except Exception as error:
            self.findings.failure(error, *forward_failed(error, reading.raw, tuple(images.shape[1:])))
        return None

    def _judge_output(self, output: OutputFacts) -> None:
        if output.probabilities:
            self.findings.problem(
                "the model's scores look like probabilities (0 or more, rows sum to 1), but are taken for logits. "
                "Evidence and swaps come out too small. Return logits from forward, leave softmax to the loss."
            )

    def _fit_probes(self, subject: Subject) -> None:
        if self.observer is not None and self.layers:
            self.observer.prepare(self.model, subject.precision)

    def _examine_layer(self, subject: Subject) -> None:
        lens = Lens(subject, self.layers, self.chunk_size)
        known = self._within_the_outputs()
        dear = not isinstance(self.recipe.method, OnePass)
        explained = known.first(_OF_DEAR_METHODS) if dear else known
        attempt, images = self.findings.attempt, known.images
        if not len(images):
            return
        advice = LayerAdvice(subject, images, self.target_layer, self.layers, self.others)
        cost_failed = self._measure_cost(lens, explained)
        with attempt(
            f"maps of {self.recipe.name} cannot be made",
            "Looks will fail in the same way; choose another method or target_layer.",
        ):
            self.heat, self.maps = check_heat(lens, self.recipe, explained, self.findings, advice)
        if cost_failed is not None:  # which is told of the maps already if they fail, too
            self.findings.failure(
                cost_failed, "the cost of a look could not be measured", "Looks will fail in the same way."
            )
        with attempt("whether maps follow the picture could not be checked", "Choose another target_layer."):
            self.following = check_following(lens, images, self.findings, advice)

    def _measure_cost(self, lens: Lens, explained: Pictures) -> Exception | None:
        """It comes before anything else that takes memory; what it raises is told later."""
        try:
            self.cost = measure_cost(
                lens, self.recipe, explained.images, explained.labels, self.pictures.probes, self.plan
            )
        except Exception as error:
            return error.with_traceback(None)
        return None

    def _target_layers(self, subject: Subject) -> tuple[TargetLayer, ...]:
        """Looks at probes take gradients whatever the method is; maps of a batch do where the method does."""
        images = self.pictures.images
        try:
            return find_target_layers(subject, images, self.target_layer)
        except TargetLayerError:
            if self.pictures.probes is not None or needs_gradient(self.recipe.method):
                raise
        return find_target_layers(subject, images, self.target_layer, gradient=False)

    def _within_the_outputs(self) -> Pictures:
        """Those whose class the model knows."""
        labels, classes = self.pictures.labels, self.output.classes if self.output else None
        if classes is None:
            return self.pictures if labels is not None else replace(self.pictures, labels=self._first_class())
        return self.pictures if labels is None else self.pictures.only(labels < classes)

    def _first_class(self) -> Tensor:
        """``(n,)`` int64: what is explained where nobody says which class, neither labels nor the output."""
        return torch.zeros(len(self.pictures.images), dtype=torch.int64)

    def _probe_facts(self) -> ProbeFacts | None:
        probes, observer = self.pictures.probes, self.observer
        if probes is None or observer is None:
            return None
        grid = self.layers[0].grid if self.layers else None
        return check_probes(probes, observer, grid, self.findings, self.plan, others=self.others)

    def _model_facts(self) -> ModelFacts:
        return model_facts(self.model, self.converted)

    def _picture(self) -> Image | None:
        """Only pictures of height and width can be drawn."""
        images, maps = self.pictures.images, self.maps
        if images.ndim != 4:
            return None
        with torch.inference_mode(False), self.findings.attempt("the picture could not be drawn", "Looks go on."):
            if maps is None or maps.ndim != 3:
                return draw_examination(self.pictures, None)
            return draw_examination(
                self._within_the_outputs(), maps, method=self.recipe.name, layer=", ".join(x.name for x in self.layers)
            )
        return None
