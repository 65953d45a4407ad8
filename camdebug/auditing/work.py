"""What happens to each batch, and at the end. Knows processes and precision, no Trainer."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camdebug.auditing.batches import Batch, Pictures, usable
from camdebug.auditing.rows import Rows
from camdebug.callbacks.opening import GIVES_PROBABILITIES
from camdebug.cam.explain import Recipe
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lending.logging_off import logging_off
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import MethodChoice
from camdebug.cam.model.precision import Precision
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.peers import ALONE, Peers
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import LayerChoice, find_target_layers
from camdebug.measures.localisation import localisation_scores
from camdebug.observe import Observer
from camdebug.probe.boxes import coverage, mask_coverage
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.reading import Sample, Skip
from camdebug.records import EpochRecord

NOT_REACHED = "not reached: the Trainer's limit_predict_batches or fast_dev_run ended before"


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked of an audit.

    Attributes:
        pictures: the dataset.
        class_names: ``None`` when nobody has told them.
        probes: for the look; ``None`` to draw them from the dataset.
        order: in which pictures are drawn.
        per_class: so many of each class; 0 for no look.
        method: of the maps, as asked for.
        recipe: the same, checked.
        target_layer: dotted name or module; ``None`` for the last spatial stage.
        use: how the model is run and its output read.
        batch_size: pictures in a forward.
        alpha: of the look.
        seed: of the look.
    """

    pictures: Pictures
    class_names: tuple[str, ...] | None
    probes: ProbeSet | None
    order: list[int]
    per_class: int
    method: MethodChoice
    recipe: Recipe
    target_layer: LayerChoice
    use: ModelUse
    batch_size: int
    alpha: float
    seed: int


@dataclass(frozen=True, eq=False)
class Found:
    """What every process has in the end; the same in all of them. ``grid`` and ``size`` are of maps and pictures."""

    rows: Rows
    layers: tuple[TargetLayer, ...]
    grid: tuple[int, ...]
    size: tuple[int, ...]
    class_names: tuple[str, ...]
    probes: ProbeSet | None
    record: EpochRecord | None
    notes: tuple[str, ...]


class Work:
    """Measures batches as they come, joins the rows of all processes, and looks once through probes.

    Args:
        model: gives class scores ``(N, K)``.
        plan: what is asked.
        first: a usable picture.
    """

    def __init__(self, model: nn.Module, plan: Plan, first: Sample) -> None:
        self._model, self._plan, self._like, self._first = model, plan, first, first.image
        self._together = ExitStack()
        self._peers: Peers = ALONE
        self._rows = Rows()
        self._fragile: tuple[str, ...] = ()
        self._grid: tuple[int, ...] | None = None
        self.found: Found | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Around everything: what fails in one process fails in all that have opened, and none waits for it."""
        with self._together:
            yield

    def open(self, precision: Precision, peers: Peers) -> None:
        """Find the layer. Call it in all processes, once they can talk."""
        self._together.enter_context(peers.attempt())
        self._peers, self._precision = peers, precision
        picture = self._first[None]
        with self._borrowed(copied=None) as changed:
            subject = self._plan.use.on(self._model, precision)
            self._layers = find_target_layers(subject, picture, self._plan.target_layer)
            self._classes = subject.forward(subject.converted(picture), slice(0, 1)).matrix.shape[1]
        self._fragile = tuple(changed)
        names = self._plan.class_names or tuple(str(k) for k in range(self._classes))
        if len(names) > self._classes:
            raise ValueError(
                f"class_names: there are {len(names)} classes, but the model gives {self._classes} scores; labels must "
                "be the model's class indices"
            )
        self._names = names

    def take(self, batch: Batch) -> None:
        """Measure a batch and keep a row of numbers for each picture."""
        self._rows.left_out.update(batch.left_out)
        known = [i for i, label in enumerate(batch.labels) if label < self._classes]
        for i in sorted(set(range(len(batch.labels))) - set(known)):
            reason = f"label {batch.labels[i]} is no class of the model, which gives {self._classes} scores"
            self._rows.left_out[batch.indices[i]] = reason
        if batch.images is not None and known:
            self._measure(batch, batch.images, known)

    def _measure(self, batch: Batch, images: Tensor, known: list[int]) -> None:
        with self._borrowed(copied=self._fragile):
            lens = Lens(self._plan.use.on(self._model, self._precision), self._layers, self._plan.batch_size)
            labels = torch.tensor([batch.labels[i] for i in known])
            (maps,) = self._plan.recipe.maps(lens, images[known], [labels])
            self._grid = self._grid or maps.grid
            cover, readable = _shares(batch, known, (images.shape[2], images.shape[3]), maps.grid)
            # Calibration needs others of the class, so it would depend on who is in the batch: each is one of its own.
            scores = localisation_scores(maps.maps, cover, torch.arange(len(known)), readable=readable)
            self._rows.add([batch.indices[i] for i in known], maps, scores)

    def close(self) -> None:
        """Join the rows of all processes and look once. Every process has the same in the end."""
        with self._borrowed(copied=self._fragile):
            rows = Rows.joined(self._peers.exchange(self._rows))
            grids = [grid for grid in self._peers.exchange(self._grid) if grid is not None]
            for index in set(range(len(self._plan.pictures))).difference(rows.unpacked()[0], rows.left_out):
                rows.left_out[index] = NOT_REACHED
            if not rows.numbers:
                raise ValueError("dataset: no picture was measured: " + "; ".join(sorted(set(rows.left_out.values()))))
            probes = self._probes(rows) if self._plan.per_class else None
            record, notes = self._look(probes) if probes is not None else (None, ())
        size = tuple(self._first.shape[1:])
        self.found = Found(rows, self._layers, grids[0], size, self._names, probes, record, notes)

    def _look(self, probes: ProbeSet) -> tuple[EpochRecord, tuple[str, ...]]:
        plan = self._plan
        observer = Observer(
            probes,
            method=plan.method,
            target_layer=plan.target_layer,
            use=plan.use,
            chunk_size=plan.batch_size,
            alpha=plan.alpha,
            seed=plan.seed,
            once=True,
        )
        observer.prepare(self._model, self._precision)
        # Before the look: afterwards its budget is spent.
        notes = (observer.out_of_reach(1) or observer.smallest_effect(1), GIVES_PROBABILITIES)
        record = observer.look(self._model, self._precision, epoch=0, looks_left=1, peers=self._peers)
        return record, tuple(note for note in notes[: 1 + observer.gives_probabilities] if note)

    def _probes(self, rows: Rows) -> ProbeSet:
        """Those given, or those that ``ProbeSet.from_dataset`` would draw, known by now without a search.

        A picture that cannot be read a second time is left out.
        """
        if self._plan.probes is not None:
            return self._plan.probes
        index, labels, _, _ = rows.unpacked()
        label_of, counts = dict(zip(index, labels.tolist(), strict=True)), Counter[int]()
        taken: list[int] = []
        for i in filter(label_of.__contains__, self._plan.order):
            if counts[label_of[i]] < self._plan.per_class:
                counts[label_of[i]] += 1
                taken.append(i)
        samples, lost = self._read_again(taken)
        rows.left_out |= lost
        taken = [i for i in taken if i not in lost]
        if not taken:
            raise ValueError(
                f"dataset: no picture could be read again as a probe: {'; '.join(sorted(set(lost.values())))}; "
                "per_class=0 asks for where the heat lies alone"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the report says which classes have none
            probes = ProbeSet(
                [samples[i].image for i in taken],
                [samples[i].label for i in taken],
                class_names=self._names,
                source_ids=[self._plan.pictures.source_id(i) for i in taken],
                **_annotations([samples[i] for i in taken]),
            )
        if len(set(self._peers.exchange(probes.fingerprint))) > 1:
            raise ValueError("dataset: gives other pictures in other processes; pass probes=ProbeSet(...)")
        return probes

    def _read_again(self, taken: list[int]) -> tuple[dict[int, Sample], dict[int, str]]:
        """Samples of these pictures, and why others are no probe: one that any process cannot read is nobody's."""
        samples: dict[int, Sample] = {}
        lost: dict[int, str] = {}
        for i in taken:
            try:
                samples[i] = usable(self._plan.pictures.read(i), self._like)
            except Skip as skip:
                lost[i] = f"measured, but left out of the probes when it was read again ({skip})"
        everybodys = self._peers.exchange(lost)
        return samples, {i: part[i] for part in reversed(everybodys) for i in part}

    @contextmanager
    def _borrowed(self, *, copied: tuple[str, ...] | None) -> Iterator[list[str]]:
        with borrowed(self._model, copied=copied) as changed, logging_off(self._model):
            yield changed


def _shares(batch: Batch, rows: list[int], size: tuple[int, int], grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """``(n, *grid)`` twice: share of each cell that the object covers, and that is no other object."""
    if batch.masks is not None:
        own, others = batch.masks[rows].unbind(1)
        return mask_coverage(own, grid), 1 - mask_coverage(others & ~own, grid)
    boxes = [_boxes(batch.boxes[i]) for i in rows]
    every = [torch.cat([mine, _boxes(batch.ignore[i])]) for mine, i in zip(boxes, rows, strict=True)]
    cover = coverage(boxes, size, grid)
    return cover, 1 - (coverage(every, size, grid) - cover)


def _annotations(samples: list[Sample]) -> dict[str, Any]:
    """The boxes or masks of a probe set."""
    masks = [(s.mask, s.ignore_mask) for s in samples if s.mask is not None and s.ignore_mask is not None]
    if not masks:
        return {"boxes": [s.boxes for s in samples], "ignore": [s.ignore for s in samples]}
    own, others = (torch.stack(part) for part in zip(*masks, strict=True))
    return {"masks": own, "ignore_masks": others}


def _boxes(values: Any) -> Tensor:  # noqa: ANN401
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 4)
