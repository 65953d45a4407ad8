"""Alerts: one for every change of state that people should know of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from camdebug.records import BackgroundContrast, ClassVerdict, EpochRecord, Level
from camdebug.verdict import words

_LONGEST_TITLE = 63


@dataclass(frozen=True)
class Alert:
    """A change of state that people should know of.

    Attributes:
        title: fits a notification's heading.
        text: says everything.
        level: the new level; one that is no ``is_alert`` clears an earlier alert.
        classes: index of the class; of both classes of a pair; of all that one summary speaks for.
        class_names: their names.
        epoch: of the look.
        step: at which loggers book the look.
    """

    title: str
    text: str
    level: Level
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    epoch: int
    step: int


def alerts_of(
    record: EpochRecord,
    cue_maps: Callable[[BackgroundContrast], str],
    place_maps: Callable[[int], str],
    *,
    name: str = "camdebug",
    step: int = 0,
) -> list[Alert]:
    """Alerts of a look: a class that enters or leaves *watch* or worse; one for both classes of a pair.

    Args:
        record: the look.
        cue_maps: the dashboard tag under which the cue map of a contrast is found.
        place_maps: the tag of the map of the place where the heat of a class is locked.
        name: of the monitor, first word of titles and texts.
        step: at which loggers book the look.
    """
    found, told = [], set[int]()
    for verdict in record.verdicts:
        before = verdict.changed_from
        contrast = None if verdict.place_only else record.contrast_of(verdict.class_idx)
        if before is None or not (verdict.level.is_alert or before.is_alert) or verdict.class_idx in told:
            continue
        alike = _alike(verdict, contrast, record)
        told |= {v.class_idx for v in alike}
        named = _named_as_pair(verdict, alike) if contrast is not None and contrast.is_pair else verdict
        scores = next(c for c in record.classes if c.class_idx == verdict.class_idx)
        tags = [place_maps(verdict.class_idx)] if verdict.locked_place else []
        tags += [cue_maps(contrast)] if contrast is not None else []
        found.append(
            Alert(
                title=_title(name, named),
                text=words.alert(named, scores, epoch=record.epoch, maps=tags, name=name),
                level=verdict.level,
                classes=tuple(v.class_idx for v in alike),
                class_names=tuple(v.name for v in alike),
                epoch=record.epoch,
                step=step,
            )
        )
    return found


def _title(name: str, verdict: ClassVerdict) -> str:
    """A long class name is cut, so that the level can still be read."""
    level = verdict.level.value
    room = max(8, _LONGEST_TITLE - len(f"{name}:  {level}"))
    who = verdict.name if len(verdict.name) <= room else verdict.name[: room - 3].rstrip() + "..."
    return f"{name}: {who} {level}"[:_LONGEST_TITLE]


def _alike(verdict: ClassVerdict, contrast: BackgroundContrast | None, record: EpochRecord) -> list[ClassVerdict]:
    """The classes that one alert is for."""
    classes = contrast.classes if contrast is not None else (verdict.class_idx,)
    same = [v for v in record.verdicts if v.class_idx in classes and v.level is verdict.level]
    return [v for v in same if v.place_only is verdict.place_only]


def _named_as_pair(verdict: ClassVerdict, alike: list[ClassVerdict]) -> ClassVerdict:
    """With two classes a cue on either opens the gap in both, so which one carries it cannot be told."""
    name = " or ".join(v.name for v in alike)
    return replace(verdict, name=name, reason=f"{verdict.reason} With two classes the cue may sit on either.")
