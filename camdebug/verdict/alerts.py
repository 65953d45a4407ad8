"""Alerts: one for every change of state that people should know of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from camdebug.records import ClassVerdict, EpochRecord, Level
from camdebug.verdict import words


@dataclass(frozen=True)
class Alert:
    """``title`` fits a notification's heading, ``text`` says everything; ``level`` is the new level."""

    title: str
    text: str
    level: Level


def alerts_of(record: EpochRecord, tags: dict[int, str]) -> list[Alert]:
    """Alerts of a look: a class that enters or leaves *watch* or *suspect*; one for both classes of a pair.

    Args:
        record: the look.
        tags: for each class the last part of its dashboard tags; ``-1`` for the pair.
    """
    found, told = [], set[int]()
    for verdict in record.verdicts:
        before = verdict.changed_from
        if before is None or not (verdict.level.is_alert or before.is_alert):
            continue
        contrast = record.contrast_of(verdict.class_idx)
        subject = contrast.class_idx if contrast is not None else verdict.class_idx
        if subject in told:
            continue
        told.add(subject)
        named = _named_as_pair(verdict, record) if subject == -1 else verdict
        scores = next(c for c in record.classes if c.class_idx == verdict.class_idx)
        text = words.alert(named, scores, epoch=record.epoch, tags=tags[subject])
        found.append(Alert(f"camdebug: {named.name} {named.level.value}"[:63], text, verdict.level))
    return found


def _named_as_pair(verdict: ClassVerdict, record: EpochRecord) -> ClassVerdict:
    """With two classes a cue on either opens the gap in both, so which one carries it cannot be told."""
    name = " or ".join(v.name for v in record.verdicts if v.level is verdict.level)
    return replace(verdict, name=name, reason=f"{verdict.reason} With two classes the cue may sit on either.")
