"""What a class's probes have in common beside the class: a folder, a size, a kind of file that no other class has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from camdebug.numerals import count_of
from camdebug.probe.checks import LEAST_PROBES, name_a_few
from camdebug.probe.lenders import lendable
from camdebug.probe.sentences import few_donors, few_probes, pixels_of, small_per_class
from camdebug.records import ClassDraw, Origin
from camdebug.wording import shown_name

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

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
    sizes = [pixels_of(origin.image_size) for origin in origins]
    kinds = [PurePosixPath(origin.file).suffix.lower() for origin in origins]
    shown = [shown_name(every[0]) for every in names]
    return [
        *_told(folders, labels, shown, lambda v: f"come from the folder {v or '.'}", "does", "folder's look"),
        *_told(sizes, labels, shown, lambda v: f"were {v}", "was", "traces of that size"),
        *_told(kinds, labels, shown, lambda v: f"are {v or 'no'} files", "is", "traces of that kind of file"),
    ]


def cues_of(probes: ProbeSet) -> list[str]:
    """The same of a set, as far as it knows its files.

    What annotations called the classes is not kept. In pictures without annotations the first folder is the class.
    """
    if probes.provenance is None:
        return []
    origins, labels = probes.provenance.origins, probes.labels.tolist()
    called = [[name] for name in probes.class_names]
    if not probes.annotated:
        for origin, label in zip(origins, labels, strict=True):
            called[label] += PurePosixPath(origin.folder).parts[:1]
    return shared_cues(origins, labels, called)


def too_few(
    classes: Sequence[ClassDraw], labels: Sequence[int], pictures: Sequence[int], *, per_class: int
) -> list[str]:
    """What the verdict will lack: probes of a class, or backgrounds of other classes.

    Args:
        classes: how each was filled.
        labels: class of each probe.
        pictures: of each probe, equal where probes show the same.
        per_class: at most so many were drawn.
    """
    if per_class < LEAST_PROBES:
        return [small_per_class(per_class)]
    lent = lendable(labels, pictures)
    counts = [labels.count(k) for k in range(len(classes))]
    few = [
        f"{shown_name(c.name)}: {count} of {count_of(c.offered, 'picture')}"
        for c, count in zip(classes, counts, strict=True)
        if 0 < count < LEAST_PROBES
    ]
    lone = [
        f"`{shown_name(c.name)}`"
        for k, (c, count) in enumerate(zip(classes, counts, strict=True))
        if count >= LEAST_PROBES > lent.get(k, 0)
    ]
    return [few_probes(few, len(classes))] * bool(few) + [few_donors(lone)] * bool(lone)


def _told(
    values: Sequence[str],
    labels: Sequence[int],
    shown: Sequence[str],
    clause: Callable[[str], str],
    verb: str,
    trace: str,
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
    return [f"{name_a_few(found)}, and none of another class {verb}: the {trace} may pass for the class"]


def _folder(origin: Origin, names: Sequence[str]) -> str:
    own = {name.casefold() for name in names}
    return "/".join(part for part in PurePosixPath(origin.folder).parts if part.casefold() not in own)
