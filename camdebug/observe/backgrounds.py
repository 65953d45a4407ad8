"""Contrast and swap of one look, from the same passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camdebug.background.contrast import contrasts
from camdebug.background.evidence import Evidence, gather_evidence
from camdebug.background.pairing import Pairing, pair
from camdebug.background.swap import swaps
from camdebug.cam.lens import Lens
from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.probe.checks import LEAST_PROBES
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import BackgroundContrast, BackgroundSwap
from camdebug.verdict.case import Look
from camdebug.verdict.judge import Judge

OBJECTS_BEFORE_DONORS = 4
"""At a planned look so many objects stand before each pair of donors; at the others one does."""

_FIXED_DRAW = 0
_SMALLEST_P = 1e-6
_RESOLVED_OTHERWISE = 0.001
_PLACES = (16, 16)


@dataclass(frozen=True, eq=False)
class Findings:
    """What swapped backgrounds showed at a look; nothing where no class can be tested. ``look`` says who decides."""

    look: Look
    contrasts: tuple[BackgroundContrast, ...] = ()
    swaps: tuple[BackgroundSwap, ...] = ()


class Backgrounds:
    """Which backgrounds are swapped at which look, and what comes of it.

    Args:
        probes: the probe set.
        seed: of donors and sign flips.
    """

    def __init__(self, probes: ProbeSet, *, seed: int) -> None:
        self._probes, self._seed = probes, seed
        self._chosen: Pairing | None = None
        area = probes.coverage((1, 1))[:, 0, 0]
        self._usable = (area >= MIN_AREA) & (area <= MAX_AREA)
        self._free = (probes.readable(_PLACES) - probes.coverage(_PLACES)).clamp(min=0)

    @property
    def pairs(self) -> dict[int, int]:
        """Pairs of donors of each class that can be tested."""
        panels = self.panels()
        rows = self._probes.labels[panels.recipients]
        return {k: len(torch.unique(panels.donors[rows == k])) for k in torch.unique(rows).tolist()}

    def panels(self) -> Pairing:
        """The donors that decide: chosen once, each pair behind several objects."""
        if self._chosen is None:
            self._chosen = self._draw(_FIXED_DRAW, OBJECTS_BEFORE_DONORS)
        return self._chosen

    def pairs_of(self, epoch: int) -> Pairing:
        """The screen's donors: drawn afresh for each epoch, each pair behind one object."""
        return self._draw(1 + epoch, 1)

    def measure(self, lens: Lens, cover: Tensor, *, judge: Judge, look: Look) -> Findings:
        """Contrast and swap from one pass; a second one, with the panels, where the screen calls for a decision.

        Call inside ``borrowed(model)``. ``cover`` is ``(N, h, w)``, the share of each cell that the object covers.
        """
        pairing = self.panels() if look.decides else self.pairs_of(look.epoch)
        if not len(pairing):
            return Findings(look)

        evidence = gather_evidence(lens, self._probes, pairing, cover)
        screened = self._contrasts(evidence, pairing, judge, look)
        called = judge.call(look, screened)
        if called is not look:
            pairing = self.panels()
            evidence = gather_evidence(lens, self._probes, pairing, cover)
        return Findings(called, screened, self._swaps(evidence, pairing, judge, called))

    def _draw(self, draw: int, recipients: int) -> Pairing:
        return pair(
            self._probes.labels,
            self._usable,
            seed=self._seed,
            draw=draw,
            free=self._free,
            recipients=recipients,
            least=LEAST_PROBES,
            pictures=self._probes.pictures,
        )

    def _contrasts(
        self, evidence: Evidence, pairing: Pairing, judge: Judge, look: Look
    ) -> tuple[BackgroundContrast, ...]:
        share = judge.screen_threshold(tests=self._tests(pairing), looks_left=look.looks_left)
        labels, smallest = self._probes.labels, max(share, _SMALLEST_P)
        return contrasts(evidence.outside, pairing, labels, smallest_p=smallest, seed=self._seed)

    def _swaps(self, evidence: Evidence, pairing: Pairing, judge: Judge, look: Look) -> tuple[BackgroundSwap, ...]:
        share = judge.confirm_threshold(tests=self._tests(pairing), looks_left=look.looks_left, measured=look.measured)
        labels, smallest = self._probes.labels, max(share, _SMALLEST_P) if look.decides else _RESOLVED_OTHERWISE
        return swaps(evidence, pairing, labels, smallest_p=smallest, seed=self._seed, decides=look.decides)

    def _tests(self, pairing: Pairing) -> int:
        """One a class. A pair's one p-value is already doubled, so there, too, each class has half the budget."""
        return len(torch.unique(self._probes.labels[pairing.recipients]))
