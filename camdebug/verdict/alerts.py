"""Alerts: one for every change of state that people should know of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from camdebug.records import BackgroundContrast, ClassVerdict, EpochRecord, Level
from camdebug.verdict import words


@dataclass(frozen=True)
class Alert:
    """``title`` fits a notification's heading, ``text`` says everything; ``level`` is the new level."""

    title: str
    text: str
    level: Level


def alerts_of(record: EpochRecord, cue_maps: Callable[[BackgroundContrast], str]) -> list[Alert]:
    """Alerts of a look: a class that enters or leaves *watch* or *suspect*; one for both classes of a pair.

    Args:
        record: the look.
        cue_maps: the dashboard tag under which the cue map of a contrast is found.
    """
    found, told = [], set[int]()
    for verdict in record.verdicts:
        before, contrast = verdict.changed_from, record.contrast_of(verdict.class_idx)
        if before is None or not (verdict.level.is_alert or before.is_alert) or verdict.class_idx in told:
            continue
        told |= set(contrast.classes) if contrast is not None else {verdict.class_idx}
        named = _named_as_pair(verdict, contrast, record) if contrast is not None and contrast.is_pair else verdict
        scores = next(c for c in record.classes if c.class_idx == verdict.class_idx)
        tag = cue_maps(contrast) if contrast is not None else ""
        text = words.alert(named, scores, epoch=record.epoch, cue_map=tag)
        found.append(Alert(f"camdebug: {named.name} {named.level.value}"[:63], text, verdict.level))
    return found


def _named_as_pair(verdict: ClassVerdict, contrast: BackgroundContrast, record: EpochRecord) -> ClassVerdict:
    """With two classes a cue on either opens the gap in both, so which one carries it cannot be told."""
    alike = [v for v in record.verdicts if v.class_idx in contrast.classes and v.level is verdict.level]
    name = " or ".join(v.name for v in alike)
    return replace(verdict, name=name, reason=f"{verdict.reason} With two classes the cue may sit on either.")
