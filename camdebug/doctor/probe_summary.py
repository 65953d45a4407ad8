"""What a probe set can show before any model is there: class by class, and what is missing."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camdebug.doctor.boxes import class_boxes
from camdebug.doctor.facts import ClassBoxes
from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.observe import Observer
from camdebug.probe.checks import LEAST_PROBES
from camdebug.probe.cues import cues_of
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.suspicion import suspicions
from camdebug.records import ClassDraw, Exclusion
from camdebug.store.plain import to_plain
from camdebug.wording import visible

SCHEMA = 1
_CROPS = re.compile(r"\d+ crops? of ")
RECOMMENDED = 40
"""Probes of a class. 20 is the least."""


@dataclass(frozen=True)
class Spread:
    """Shares of the picture, in [0, 1]."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Reason:
    """Why something was left out, and how often."""

    reason: str
    count: int


@dataclass(frozen=True)
class ClassSummary:
    """The probes of one class.

    Attributes:
        name: of the class.
        probes: so many.
        pictures: different ones among them.
        usable: probes whose objects cover 2 to 70 % of the picture.
        too_small: probes whose objects cover less.
        too_large: probes whose objects cover more.
        area: shares of the picture that the objects cover, as the model receives it; ``None`` without any.
        area_before: the same before the transform; ``None`` where that is not known.
        draw: how they were found; ``None`` where that is not known.
        judged: the class can be *suspect* and *confirmed*.
        smallest_gap: fall in probability that is likely to be confirmed; ``None`` where none is.
        missing: usable probes that it lacks for that.
        missing_donors: usable pictures of other classes that it lacks for that; one that shows this class as well
            lends it no background.
        missing_recommended: usable probes up to the 40 that are recommended.
        places: heat at a fixed place can be tested, where the maps are fine enough.
    """

    name: str
    probes: int
    pictures: int
    usable: int
    too_small: int
    too_large: int
    area: Spread | None
    area_before: Spread | None
    draw: ClassDraw | None
    judged: bool
    smallest_gap: float | None
    missing: int
    missing_donors: int
    missing_recommended: int
    places: bool


@dataclass(frozen=True)
class ProbeSummary:
    """What a probe set can show. ``print`` it.

    Attributes:
        probes: so many.
        pictures: different ones among them.
        image_size: height and width in pixels, as the model receives them.
        annotation: ``"boxes"``, ``"masks"`` or ``"none"``.
        source: where they come from; ``None`` where that is not known.
        transform: that carried them; ``None`` where that is not known.
        fingerprint: of the set.
        classes: in the order of the model's outputs.
        left_out: pictures, by reason.
        dropped_boxes: of pictures that were kept, by reason.
        near_duplicates: pairs of probes that show nearly the same picture.
        suspicions: what seems to be wrong with the boxes.
        cues: what only the files of one class have in common, and what may pass for it.
        epochs: planned looks; ``None`` when unknown.
        outlook: the smallest effect that is likely to be confirmed, in words.
        next: what to do, the most important first.
    """

    probes: int
    pictures: int
    image_size: tuple[int, int]
    annotation: str
    source: str | None
    transform: str | None
    fingerprint: str
    classes: tuple[ClassSummary, ...]
    left_out: tuple[Reason, ...]
    dropped_boxes: tuple[Reason, ...]
    near_duplicates: int
    suspicions: tuple[str, ...]
    cues: tuple[str, ...]
    epochs: int | None
    outlook: str
    next: tuple[str, ...]

    def __str__(self) -> str:
        """For people: a table, what is missing, what to do next."""
        from camdebug.doctor.probe_words import summary_words

        return summary_words(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return {"schema": SCHEMA, **plain}

    def to_json(self) -> str:
        """``to_dict()`` as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def summarise_probes(probes: ProbeSet, *, epochs: int | None = None) -> ProbeSummary:
    """See ``ProbeSet.summary``."""
    from camdebug.doctor.probe_words import Known, next_steps

    if epochs is not None and (not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1):
        raise ValueError(f"epochs: expected a whole number of at least 1, or None, got {epochs!r:.80}")
    observer = Observer(probes)
    classes, doubts = _classes(probes, observer, epochs), tuple(found.sentence for found in suspicions(probes))
    pairs, cues, source = len(probes.near_duplicates()), cues_of(probes), probes.provenance
    known = Known(
        annotated=probes.annotated,
        doubts=len(doubts),
        duplicates=pairs,
        cues=len(cues),
        crops=source is not None and bool(_CROPS.match(source.source)),
    )
    kept = [d for d in probes.dropped_boxes if d.source_id not in {e.source_id for e in probes.exclusions}]
    return ProbeSummary(
        probes=len(probes),
        pictures=len(set(_digests(probes))),
        image_size=probes.image_size,
        annotation="none" if not probes.annotated else "boxes" if probes.masks is None else "masks",
        source=None if source is None else visible(source.source),
        transform=None if source is None else " ".join(visible(source.transform).split()),
        fingerprint=probes.fingerprint,
        classes=classes,
        left_out=_reasons(probes.exclusions),
        dropped_boxes=_reasons(kept),
        near_duplicates=pairs,
        suspicions=doubts,
        cues=tuple(cues),
        epochs=epochs,
        outlook=observer.out_of_reach(epochs) or _effect(probes, observer, epochs),
        next=tuple(next_steps(classes, known)),
    )


def _effect(probes: ProbeSet, observer: Observer, epochs: int | None) -> str:
    if not probes.annotated:
        return "The probes have no boxes: maps are drawn, and only heat that stays at one place can be found."
    if not observer.testable_classes:
        return "No background can be tested: only whether heat stays at one place can be found."
    return observer.smallest_effect(epochs)


def _classes(probes: ProbeSet, observer: Observer, epochs: int | None) -> tuple[ClassSummary, ...]:
    digests, area = _digests(probes), probes.coverage((1, 1))[:, 0, 0]
    boxes, testable = class_boxes(probes, None), set(observer.testable_classes)
    gaps = observer.smallest_gaps(epochs)
    found = []
    for k, own in enumerate(boxes):
        rows = torch.nonzero(probes.labels == k).flatten().tolist()
        found.append(
            ClassSummary(
                name=own.name,
                probes=own.probes,
                pictures=len({digests[row] for row in rows}),
                usable=own.usable,
                too_small=own.too_small,
                too_large=own.too_large,
                area=_spread(area[rows]) if probes.annotated else None,
                area_before=_before(probes, rows),
                draw=_draw(probes, k),
                judged=probes.class_names[k] in testable,
                smallest_gap=gaps.get(probes.class_names[k]),
                missing=_lacking(own, LEAST_PROBES),
                missing_donors=max(0, LEAST_PROBES - _lenders(probes, area, k)),
                missing_recommended=_lacking(own, RECOMMENDED),
                places=own.probes >= LEAST_PROBES,
            )
        )
    return tuple(found)


def _lenders(probes: ProbeSet, area: Tensor, class_idx: int) -> int:
    """Pictures that can stand behind objects of a class as backgrounds of others."""
    usable = (area >= MIN_AREA) & (area <= MAX_AREA) if probes.annotated else torch.ones_like(area, dtype=torch.bool)
    own = probes.labels == class_idx
    return len(set(probes.pictures[~own & usable].tolist()) - set(probes.pictures[own].tolist()))


def _lacking(found: ClassBoxes, wanted: int) -> int:
    return max(0, wanted - found.usable)


def _draw(probes: ProbeSet, class_idx: int) -> ClassDraw | None:
    draws = () if probes.provenance is None else probes.provenance.classes
    return next((draw for draw in draws if draw.name == probes.class_names[class_idx]), None)


def _before(probes: ProbeSet, rows: Sequence[int]) -> Spread | None:
    if probes.provenance is None:
        return None
    areas = [probes.provenance.origins[row].area for row in rows]
    return _spread(torch.tensor([area for area in areas if area is not None], dtype=torch.float64))


def _spread(areas: Tensor) -> Spread | None:
    if not len(areas):
        return None
    least, median, most = areas.quantile(torch.tensor([0.0, 0.5, 1.0], dtype=areas.dtype)).tolist()
    return Spread(least, median, most)


def _digests(probes: ProbeSet) -> list[str]:
    """Of the picture of each probe: as it was read where that is known, else as the model receives it."""
    if probes.provenance is not None:
        return [origin.digest for origin in probes.provenance.origins]
    return [hashlib.sha256(i.contiguous().view(torch.uint8).numpy().data).hexdigest() for i in probes.images]


def _reasons(exclusions: Sequence[Exclusion]) -> tuple[Reason, ...]:
    return tuple(Reason(reason, count) for reason, count in Counter(e.reason for e in exclusions).most_common())
