"""``DoctorReport``: what an examination found."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camdebug.doctor.facts import CostFacts, FollowFacts, HeatFacts, LayerFacts, ModelFacts, OutputFacts, ProbeFacts
from camdebug.store.plain import to_plain

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class DoctorReport:
    """What looks at a model will do, and what they will refuse. ``print`` it, or ``save`` it.

    What could not be found out is ``None``, or empty, and a problem says why.

    Attributes:
        problems: what will be refused or cannot be trusted, each with what to do next.
        notes: what is worth knowing.
        model: what it is made of.
        output: what it gives.
        layers: the target layers.
        other_layers: layers on other grids that could be explained, each with its grid.
        heat: gradients and maps.
        following: whether maps follow the picture.
        cost: time and memory.
        probes: what can be measured with them; ``None`` for a batch.
        picture: boxes and maps over some of the pictures.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    model: ModelFacts
    output: OutputFacts | None = None
    layers: tuple[LayerFacts, ...] = ()
    other_layers: tuple[str, ...] = ()
    heat: HeatFacts | None = None
    following: FollowFacts | None = None
    cost: CostFacts | None = None
    probes: ProbeFacts | None = None
    picture: Image | None = None

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return not self.problems

    def __str__(self) -> str:
        """For people: problems first."""
        from camdebug.doctor.words import report_words

        return report_words(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the picture, as JSON has it."""
        found = {f.name: to_plain(getattr(self, f.name)) for f in fields(self) if f.name != "picture"}
        return {"schema": SCHEMA, "ok": self.ok, **found}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``as_dict()`` as JSON; a file at that place is overwritten."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
