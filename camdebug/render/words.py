"""What is said under a picture: short, with the chance level, two significant digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from camdebug.measures.localisation import has_evidence
from camdebug.records import EpochRecord, Validity
from camdebug.render.colour import FULL_SCALE
from camdebug.render.ink import shorten
from camdebug.wording import shown_name

SCALE_NOTE = f"heat = density relative to uniform (1), always on the scale 0 to {FULL_SCALE:g}"

_PROBLEMS = {
    Validity.OK: "",
    Validity.NO_BOX: "no box",
    Validity.NO_EVIDENCE: "no heat",
    Validity.NOT_FINITE: "no heat: map not finite",
    Validity.BOX_TOO_SMALL: "box too small to judge",
    Validity.BOX_TOO_LARGE: "box too large to judge",
}


@dataclass(frozen=True)
class Reading:
    """What one look found about one probe.

    Attributes:
        index: of the probe in its set.
        label: name of the probe's class.
        predicted: name of the predicted class.
        correct: the two are the same class.
        outside: share of the heat outside the boxes, in [0, 1]; ``None`` where it means nothing.
        chance: share of the picture outside the boxes: what a uniform map would give; ``None`` without a box.
        log_density_ratio: D, chance level 0; ``None`` where it means nothing.
        problem: why there are no numbers, empty when there are.
    """

    index: int
    label: str
    predicted: str
    correct: bool
    outside: float | None = None
    chance: float | None = None
    log_density_ratio: float | None = None
    problem: str = ""

    def headline(self, name_limit: int = 10_000) -> str:
        """``#12 kangaroo -> dog (wrong)``, each name of at most ``name_limit`` characters."""
        label = shorten(self.label, name_limit)
        if self.correct:
            return f"#{self.index} {label} (right)"
        return f"#{self.index} {label} -> {shorten(self.predicted, name_limit)} (wrong)"

    @property
    def numbers(self) -> str:
        """``outside .62 (chance .84)  D -1.2 (chance 0)``, or why there are none."""
        chance = "" if self.chance is None else f" (chance {two_digits(self.chance)})"
        if self.problem or self.outside is None:
            return self.problem or "not measured"
        ratio = "" if self.log_density_ratio is None else f"  D {two_digits(self.log_density_ratio)} (chance 0)"
        return f"outside {two_digits(self.outside)}{chance}{ratio}"


def read(record: EpochRecord, index: int, names: Sequence[str]) -> Reading:
    """What ``record`` says about the probe ``index``; ``names`` are those of the classes."""
    maps, scores = record.label_maps, record.scores
    label, predicted = int(maps.class_idx[index]), int(maps.prediction[index])
    area = _finite(scores.area_fraction, index)
    validity = scores.validity[index]
    problem = _PROBLEMS[validity]
    if not bool(has_evidence(maps.maps[index : index + 1])):
        problem = _PROBLEMS[Validity.NOT_FINITE if validity is Validity.NOT_FINITE else Validity.NO_EVIDENCE]
    return Reading(
        index=index,
        label=class_name(names, label),
        predicted=class_name(names, predicted),
        correct=label == predicted,
        outside=_finite(scores.outside_mass, index),
        chance=None if area is None else 1 - area,
        log_density_ratio=_finite(scores.log_density_ratio, index),
        problem=problem,
    )


def of_prediction(reading: Reading) -> Reading:
    """The reading under a map of the predicted class: the measures belong to the label's map, so they are left out."""
    return replace(reading, outside=None, chance=None, log_density_ratio=None, problem=f"heat for {reading.predicted}")


def class_name(names: Sequence[str], class_idx: int) -> str:
    """Name of a class, or its number when the model has more classes than names."""
    return shown_name(names[class_idx]) if 0 <= class_idx < len(names) else f"class {class_idx}"


def two_digits(value: float, *, sign: bool = False) -> str:
    """Two significant digits without a leading zero; ``~0`` for what would print as zeros only.

    >>> [two_digits(v) for v in (0.617, -1.23, 0.0, 2e-5, 0.999, 123.4, float("nan"))]
    ['.62', '-1.2', '0', '~0', '1.0', '120', 'not finite']
    """
    if not math.isfinite(value):
        return "not finite"
    if abs(value) < 5e-4:
        return "0" if value == 0 else "~0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.1e}"))))
    text = f"{round(value, 1 - magnitude):{'+' if sign else ''}.{max(0, 1 - magnitude)}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and magnitude < 0 else text


def _finite(values: Tensor, index: int) -> float | None:
    value = float(values[index])
    return value if math.isfinite(value) else None
