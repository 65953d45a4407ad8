"""Which runs there are. The design is fixed by this file: no draw depends on a result.

* *clean*: nothing outside the box depends on the class. Every kind of cue (at random, rho = 0) x box x net x grid.
* *planted*: kinds x strengths x nets x grids in full; the box follows from the four, so that any two are balanced.
* *one_class*: a tag on one class only, 20 probes a class, rho .95 and 1, x box x net x grid.
* *silent*: what cannot be seen and must answer "no evidence". A cue inside the box; a cue that the probes lack.

The number of classes and of probes is dealt out evenly over each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Final, Literal

import numpy as np

from tests.benchmarks.detection.cues import BACKGROUND_KINDS, INK, KINDS, ONE_CLASS_TAG
from tests.benchmarks.detection.nets import GRIDS, NETS
from tests.benchmarks.detection.runs import RunConfig
from tests.benchmarks.detection.worlds import BOX_SIDES

Mode = Literal["small", "full"]

CLEAN, PLANTED, ONE_CLASS, SILENT = "clean", "planted", "one_class", "silent"
STRENGTHS: Final = (0.6, 0.8, 0.95, 1.0)

_SIDES: Final = tuple(BOX_SIDES)
_CLASSES: Final = (5, 2, 5, 10, 5)
_CLEAN_EPOCHS: Final = 40
_EPOCHS: Final = 20
_SMALL_EPOCHS: Final = 10
_SMALL_RUNS: Final = {CLEAN: 9, PLANTED: 9, ONE_CLASS: 4, SILENT: 3}


def study(mode: Mode) -> list[RunConfig]:
    """All runs, in an order in which any beginning is a balanced smaller study: the parts take turns."""
    parts = [_dealt(part) for part in (_clean(), _planted(), _one_class(), _silent())]
    if mode == "small":
        parts = [_small(part) for part in parts]
    placed = [((i + 0.5) / len(part), config) for part in parts for i, config in enumerate(part)]
    return [config for _, config in sorted(placed, key=lambda pair: pair[0])]


def _clean() -> list[RunConfig]:
    every = product(KINDS, _SIDES, NETS, GRIDS)
    return [_config(CLEAN, kind, 0.0, side, net, grid) for kind, side, net, grid in every]


def _planted() -> list[RunConfig]:
    every = product(enumerate(BACKGROUND_KINDS), enumerate(STRENGTHS), enumerate(NETS), enumerate(GRIDS))
    return [
        _config(PLANTED, kind, strength, _SIDES[(i + j + n + g) % len(_SIDES)], net, grid)
        for (i, kind), (j, strength), (n, net), (g, grid) in every
    ]


def _one_class() -> list[RunConfig]:
    every = product(STRENGTHS[2:], _SIDES, NETS, GRIDS)
    return [_config(ONE_CLASS, ONE_CLASS_TAG, strength, side, net, grid) for strength, side, net, grid in every]


def _silent() -> list[RunConfig]:
    inside = [
        _config(SILENT, INK, strength, side, net, GRIDS[(i + j + n) % len(GRIDS)])
        for (i, side), (j, strength), (n, net) in product(enumerate(_SIDES), enumerate(STRENGTHS[2:]), enumerate(NETS))
    ]
    absent = [
        replace(
            _config(SILENT, kind, STRENGTHS[2 + (i + n) % 2], _SIDES[(i + n) % 4], net, GRIDS[(i + 2 * n) % 3]),
            cue_in_probes=False,
        )
        for (i, kind), (n, net) in product(enumerate(BACKGROUND_KINDS), enumerate(NETS))
    ]
    return inside + absent


def _config(part: str, kind: str, strength: float, side: int, net: str, grid: int) -> RunConfig:
    """Before classes, probes and seeds are dealt out."""
    epochs = _CLEAN_EPOCHS if part == CLEAN else _EPOCHS
    return RunConfig(part, kind, strength, side, 0, net, grid, epochs, 0, 0)


def _dealt(part: Sequence[RunConfig]) -> list[RunConfig]:
    """Numbers of classes and probes in turn, along the design; a seed of its own for each run; then shuffled."""
    first_seed = {CLEAN: 0, PLANTED: 1000, ONE_CLASS: 2000, SILENT: 3000}[part[0].part]
    found = []
    for place, config in enumerate(part):
        classes = _CLASSES[place % len(_CLASSES)]
        few = config.part == ONE_CLASS or classes == 10 or place // len(_CLASSES) % 2 == 0
        found.append(replace(config, classes=classes, per_class=20 if few else 40, seed=first_seed + place))
    return [found[i] for i in np.random.default_rng(first_seed).permutation(len(found))]


def _small(part: Sequence[RunConfig]) -> list[RunConfig]:
    """A few short runs, of strong cues where there are cues."""
    strong = [c for c in part if c.part == CLEAN or c.strength >= STRENGTHS[2]]
    return [replace(c, epochs=_SMALL_EPOCHS) for c in strong[: _SMALL_RUNS[part[0].part]]]
