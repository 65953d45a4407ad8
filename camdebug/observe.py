"""One look at a model: maps, measures, background contrast and verdicts. Knows no trainer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from camdebug.background.contrast import contrasts, outside_evidence, smallest_attainable_p
from camdebug.background.pairing import Pairing, pair
from camdebug.cam.engine import explain
from camdebug.cam.layers import TargetLayer
from camdebug.cam.methods import check_methods
from camdebug.cam.passes import find_target_layer
from camdebug.cam.precision import Precision
from camdebug.measures.localisation import MAX_AREA, MIN_AREA, localisation_scores
from camdebug.measures.summary import class_scores
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import BackgroundContrast, EpochRecord
from camdebug.verdict.judge import MIN_PROBES, Judge
from camdebug.verdict.learned import learned_classes


class Observer:
    """Looks at a model through a probe set and remembers its verdicts.

    Args:
        probes: the probe set.
        method: CAM method of the maps that are drawn and measured.
        target_layer: dotted name or module; by default the last spatial stage.
        contrast: also measure the contrast of background evidence (two more forwards a probe); without it no class
            can be more than measured.
        chunk_size: pictures in one forward; halved for good when memory runs out.
        alpha: share of clean runs that may raise an alarm.
        seed: of donors and permutations.
    """

    def __init__(
        self,
        probes: ProbeSet,
        *,
        method: str = "hirescam",
        target_layer: str | nn.Module | None = None,
        contrast: bool = True,
        chunk_size: int = 32,
        alpha: float = 0.05,
        seed: int = 0,
    ) -> None:
        (self.method,) = check_methods(method if isinstance(method, str) else [method])
        self.probes = probes
        self.layer: TargetLayer | None = None
        self._target_layer = target_layer
        self._chunk_size = chunk_size
        self._seed = seed
        self._alpha = alpha
        self._judge = Judge(probes.class_names, alpha=alpha)
        self._on_grid: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        area = probes.coverage((1, 1))[:, 0, 0]
        self._usable = (area >= MIN_AREA) & (area <= MAX_AREA)
        self._contrast = contrast and probes.annotated

    @property
    def testable_classes(self) -> list[str]:
        """Names of the classes with enough usable probes, and donors in other classes, to be judged."""
        if not self._contrast:
            return []
        tested = torch.unique(self.probes.labels[self._pairing(0).recipients]).tolist()
        return [self.probes.class_names[k] for k in tested]

    def out_of_reach(self, looks_left: int | None) -> str | None:
        """Why no alert can ever be raised although classes are tested; ``None`` when one can."""
        pairing = self._pairing(0)
        if not self.testable_classes:
            return None
        rows = torch.bincount(self.probes.labels[pairing.recipients])
        share = self._judge.threshold(tests=int((rows > 0).sum()), looks_left=looks_left)
        best = smallest_attainable_p(int(rows.max()))
        if best <= share:
            return None
        if share == 0:
            return (
                "the looks that were planned before have spent the whole error budget of this run. Verdicts are kept, "
                "but no new alert can be raised; for one in the epochs to come, raise alpha."
            )
        return (
            f"no alert is possible: each test may spend {share:.1e} of the error budget, and {int(rows.max())} probes "
            f"of a class cannot give a p-value below {best:.1e}. Add probes, look less often, or raise alpha."
        )

    def prepare(self, model: nn.Module, precision: Precision) -> TargetLayer:
        """Find the target layer and check that model and probes fit together. Call inside ``borrowed(model)``.

        Raises:
            TypeError, ValueError: naming what does not fit.
        """
        images = self.probes.images
        self.layer = find_target_layer(model, images, precision, self._target_layer)
        with precision.context():
            scores = model(precision.convert(images[:1].clone())).shape[1]
        if len(self.probes.class_names) > scores:
            raise ValueError(
                f"probes: have {len(self.probes.class_names)} classes, but the model gives {scores} scores; the labels "
                "must be the model's class indices"
            )
        return self.layer

    def look(self, model: nn.Module, precision: Precision, *, epoch: int, looks_left: int | None) -> EpochRecord:
        """Look once. Call inside ``borrowed(model)``.

        Args:
            model: gives class scores ``(N, K)``.
            precision: how pictures enter the model.
            epoch: of the training.
            looks_left: planned looks, this one included; ``None`` when unknown.
        """
        while True:
            try:
                return self._look(model, precision, epoch, looks_left)
            except torch.OutOfMemoryError:
                if self._chunk_size == 1:
                    raise
            # Outside the handler, where nothing holds the failed pass's tensors any more.
            self._chunk_size //= 2
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()

    def _look(self, model: nn.Module, precision: Precision, epoch: int, looks_left: int | None) -> EpochRecord:
        started = time.perf_counter()
        layer = self._layer_in(model, precision)
        labels = self.probes.labels
        by_label, by_prediction = (
            found[self.method]
            for found in explain(
                model,
                layer,
                self.probes.images,
                [labels, None],
                [self.method],
                precision,
                chunk_size=self._chunk_size,
            )
        )
        cover, readable = self._boxes_on(by_label.grid)
        scores = localisation_scores(by_label.maps, cover, labels, readable=readable)
        classes = class_scores(scores, labels, by_label.correct, self.probes.class_names)
        found_contrasts = self._contrasts(model, layer, precision, epoch, looks_left)
        verdicts = self._judge.judge(
            classes,
            found_contrasts,
            learned_classes(labels, by_label.predicted_class),
            epoch=epoch,
            looks_left=looks_left,
        )
        return EpochRecord(
            epoch=epoch,
            label_maps=by_label,
            predicted_maps=by_prediction,
            scores=scores,
            classes=classes,
            contrasts=found_contrasts,
            verdicts=verdicts,
            seconds=time.perf_counter() - started,
        )

    def _layer_in(self, model: nn.Module, precision: Precision) -> TargetLayer:
        """The layer that was found, unless it has been replaced since, by pruning or quantization for example."""
        if self.layer is None or all(module is not self.layer.module for module in model.modules()):
            return self.prepare(model, precision)
        return self.layer

    def _contrasts(
        self, model: nn.Module, layer: TargetLayer, precision: Precision, epoch: int, looks_left: int | None
    ) -> tuple[BackgroundContrast, ...]:
        if not self._contrast:
            return ()
        pairing = self._pairing(epoch)
        if len(pairing.recipients) == 0:
            return ()
        evidence = outside_evidence(
            model,
            layer,
            self.probes,
            pairing,
            self._boxes_on(layer.grid)[0],
            precision,
            chunk_size=self._chunk_size,
        )
        # One test a class. A pair's one p-value is already doubled, so there, too, each class has half the budget.
        tests = len(torch.unique(self.probes.labels[pairing.recipients]))
        threshold = self._judge.threshold(tests=tests, looks_left=looks_left)
        return contrasts(evidence, pairing, self.probes.labels, smallest_p=max(threshold, 1e-6), seed=self._seed)

    def _pairing(self, epoch: int) -> Pairing:
        return pair(self.probes.labels, self._usable, seed=self._seed, epoch=epoch, least=MIN_PROBES)

    def _boxes_on(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Coverage and readable cells of every probe, computed once for a grid."""
        if grid not in self._on_grid:
            self._on_grid = {grid: (self.probes.coverage(grid), self.probes.readable(grid))}
        return self._on_grid[grid]

    def forget(self) -> None:
        """A new run begins: no verdicts, and the layer is to be found again."""
        self.layer = None
        self._judge = Judge(self.probes.class_names, alpha=self._alpha)

    def state_dict(self) -> dict[str, Any]:
        """Primitives only."""
        return {"fingerprint": self.probes.fingerprint, "judge": self._judge.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when the state is not ours, or is of other probes.
        """
        if state.get("fingerprint") != self.probes.fingerprint:
            raise ValueError("probes: the checkpoint was made with another probe set")
        self._judge.load_state_dict(state.get("judge", {}))

    def __getstate__(self) -> dict[str, Any]:
        """Without the layer, which is a part of the model, and what can be computed again."""
        return {**vars(self), "layer": None, "_on_grid": {}}
