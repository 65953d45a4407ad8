"""The frames that film strips are drawn from: few, evenly thinned, and safe to keep in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camdebug.render.filmstrip import Frame

CAPACITY = 24


@dataclass(frozen=True, eq=False)
class Shot:
    """All filmed probes at one epoch.

    Attributes:
        epoch: its number.
        density: ``(L, h, w)`` float16, heat relative to uniform.
        outside: ``(L,)`` float32, share of the heat outside the boxes; NaN where it means nothing.
        chance: ``(L,)`` float32, share of the picture outside the boxes; NaN without a box.
        correct: ``(L,)`` bool, the model predicted the label.
    """

    epoch: int
    density: Tensor
    outside: Tensor
    chance: Tensor
    correct: Tensor


class Film:
    """At most ``CAPACITY`` epochs of a fixed number of probes: always the first and the last, evenly thinned between.

    Args:
        probes: how many probes are filmed.
    """

    def __init__(self, probes: int) -> None:
        self._probes = probes
        self._shots: list[Shot] = []

    def __len__(self) -> int:
        return len(self._shots)

    @property
    def epochs(self) -> list[int]:
        """Epochs that are kept, oldest first."""
        return [shot.epoch for shot in self._shots]

    def append(self, shot: Shot) -> None:
        """Add the newest epoch. It replaces any that is not older: an epoch may be run again after a resume."""
        stored = Shot(
            int(shot.epoch),
            shot.density.detach().cpu().half().clone(),
            shot.outside.detach().cpu().float().clone(),
            shot.chance.detach().cpu().float().clone(),
            shot.correct.detach().cpu().bool().clone(),
        )
        self._shots = [s for s in self._shots if s.epoch < stored.epoch] + [stored]
        if len(self._shots) > CAPACITY:
            del self._shots[self._most_crowded()]

    def frames(self, position: int) -> list[Frame]:
        """Frames of the probe at ``position``, oldest first."""
        return [
            Frame(s.epoch, s.density[position].float(), _known(s.outside[position]), bool(s.correct[position]))
            for s in self._shots
        ]

    def chance(self, position: int) -> float | None:
        """Share of the picture of the probe at ``position`` that lies outside its boxes."""
        return _known(self._shots[-1].chance[position]) if self._shots else None

    def state_dict(self) -> list[dict[str, Any]]:
        """Shots as dicts of ints and tensors, for ``torch.load(weights_only=True)``."""
        return [dict(vars(shot)) for shot in self._shots]

    def load_state_dict(self, state: object) -> None:
        """Replace the frames.

        Raises:
            ValueError: when ``state`` is none of ours, or of another number of probes; nothing has changed then.
        """
        if not isinstance(state, list):
            raise ValueError(f"film: expected a list of shots, got {type(state).__name__}")  # noqa: TRY004 - a damaged file
        shots = [_checked(entry, self._probes) for entry in state[-CAPACITY:]]
        epochs = [shot.epoch for shot in shots]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"film: expected epochs in rising order, got {epochs}")
        self._shots = shots

    def _most_crowded(self) -> int:
        """The inner shot whose removal leaves the smallest gap; of equal ones the oldest."""
        gaps = [b.epoch - a.epoch for a, b in zip(self._shots, self._shots[2:], strict=False)]
        return 1 + gaps.index(min(gaps))


def _known(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _checked(entry: object, probes: int) -> Shot:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("epoch"), int):
        raise ValueError("film: expected shots with an epoch")  # noqa: TRY004 - a damaged file
    expected = {"density": (3, torch.float16), "outside": (1, torch.float32)}
    expected |= {"chance": (1, torch.float32), "correct": (1, torch.bool)}
    for name, (axes, dtype) in expected.items():
        value = entry.get(name)
        if not isinstance(value, Tensor) or value.ndim != axes or value.dtype != dtype or len(value) != probes:
            raise ValueError(f"film: expected {name} of {probes} probes with {axes} axes and {dtype}")
        if 0 in value.shape and probes:
            raise ValueError(f"film: expected {name} without empty axes")
    return Shot(entry["epoch"], entry["density"], entry["outside"], entry["chance"], entry["correct"])
