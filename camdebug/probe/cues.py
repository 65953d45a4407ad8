"""What a class's probes have in common beside the class: a folder, a size, a kind of file that no other class has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from camdebug.numerals import count_of
from camdebug.probe.checks import LEAST_PROBES, name_a_few
from camdebug.records import ClassDraw, Origin
from camdebug.wording import shown_name

_LEAST_SHARED = 5
"""Probes of a class; fewer share something by chance."""


def shared_cues(origins: Sequence[Origin], labels: Sequence[int], names: Sequence[Sequence[str]]) -> list[str]:
    """A sentence for each thing that tells a class from all others.

    Args:
        origins: of the probes.
        labels: class index of each.
        names: for each class its name, and what annotations call it. A folder of that name is how pictures are
            sorted, and no cue.
    """
    folders = [_folder(origin, names[label]) for origin, label in zip(origins, labels, strict=True)]
    sizes = [f"{origin.image_size[0]}x{origin.image_size[1]}" for origin in origins]
    kinds = [PurePosixPath(origin.file).suffix.lower() for origin in origins]
    shown = [shown_name(every[0]) for every in names]
    return [
        *_told(folders, labels, shown, lambda v: f"come from the folder {v or '.'}", "folder's look"),
        *_told(sizes, labels, shown, lambda v: f"were {v} pixels (height x width)", "traces of that size"),
        *_told(kinds, labels, shown, lambda v: f"are {v or 'no'} files", "traces of that kind of file"),
    ]


def too_few(classes: Sequence[ClassDraw], counts: Sequence[int], *, per_class: int) -> list[str]:
    """What the verdict will lack: probes of a class, or backgrounds of other classes.

    Args:
        classes: how each was filled.
        counts: probes of each.
        per_class: at most so many were drawn.
    """
    if per_class < LEAST_PROBES:
        return [
            f"ProbeSet: per_class is {per_class}, and fewer than {LEAST_PROBES} probes of a class cannot be judged; 40 "
            "are recommended"
        ]
    few = [
        f"{shown_name(c.name)}: {count} of {count_of(c.offered, 'picture')}"
        for c, count in zip(classes, counts, strict=True)
        if 0 < count < LEAST_PROBES
    ]
    lone = [
        f"`{shown_name(c.name)}`"
        for c, count in zip(classes, counts, strict=True)
        if count >= LEAST_PROBES > sum(counts) - count
    ]
    notes = []
    if few:
        notes.append(
            f"ProbeSet has fewer than {LEAST_PROBES} probes of {len(few)} of {len(classes)} classes "
            f"({name_a_few(few)}): they cannot be judged"
        )
    if lone:
        notes.append(
            f"backgrounds of {name_a_few(lone)} cannot be tested: the other classes together have fewer than "
            f"{LEAST_PROBES} probes to lend theirs"
        )
    return notes


def _told(
    values: Sequence[str], labels: Sequence[int], shown: Sequence[str], clause: Callable[[str], str], trace: str
) -> list[str]:
    by_class: dict[int, list[str]] = {}
    for value, label in zip(values, labels, strict=True):
        by_class.setdefault(label, []).append(value)
    found = []
    for label, own in sorted(by_class.items()):
        elsewhere = {value for other, theirs in by_class.items() if other != label for value in theirs}
        if len(own) >= _LEAST_SHARED and len(set(own)) == 1 and elsewhere and own[0] not in elsewhere:
            found.append(f"all {len(own)} probes of `{shown[label]}` {clause(own[0])}")
    if not found:
        return []
    return [f"{name_a_few(found)}, those of other classes do not: the {trace} may pass for the class"]


def _folder(origin: Origin, names: Sequence[str]) -> str:
    own = {name.casefold() for name in names}
    return "/".join(part for part in PurePosixPath(origin.folder).parts if part.casefold() not in own)
