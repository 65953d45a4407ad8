"""A probe set in words: a table of its classes, what is missing, and what to do next."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.numerals import count_of, number, percent
from camdebug.probe.checks import LEAST_PROBES, name_a_few
from camdebug.probe.sentences import alike, boxes_of, classes_of, pixels_of
from camdebug.wording import visible

if TYPE_CHECKING:
    from camdebug.doctor.probe_summary import ClassSummary, ProbeSummary, Reason, Spread

_MOST_CLASSES = 50
_LONGEST_NAME = 28
_WIDTH = 110
_INDENT = 10
_DOUBLED = 2
_MANY = 5
_FEW_EMPTY = 5
"""So many classes without a probe have rows of their own; more are one line."""


@dataclass(frozen=True)
class Known:
    """Of a set, beside its classes.

    Attributes:
        annotated: there are boxes or masks.
        doubts: about boxes.
        duplicates: pairs of probes that are nearly the same picture.
        cues: things that only the files of one class have.
        crops: the pictures are cut out around objects, by ``camdebug.sources.ObjectCrops``.
    """

    annotated: bool
    doubts: int = 0
    duplicates: int = 0
    cues: int = 0
    crops: bool = False


def summary_words(found: ProbeSummary) -> str:
    """All of it, without a line break at the end."""
    lines = [_opening(found)]
    if found.source is not None:
        lines += wrap(f"{found.source}, through {found.transform}", _WIDTH)
    shown, empty = _folded(found.classes)
    lines += ["", *_table(shown[:_MOST_CLASSES])]
    if len(shown) > _MOST_CLASSES:
        more = classes_of(len(shown) - _MOST_CLASSES).replace(" ", " more ")
        lines.append(f"and {more} (to_dict() has all)")
    if empty:
        names = [f"`{_short(c.name)}`" for c in empty]
        lines += wrap(f"no probe of {classes_of(len(empty))}: {name_a_few(names)}", _WIDTH)
    lines += ["(finds: the smallest fall in probability that is likely to be confirmed)"] * _finds(found.classes)
    lines += _draws([*shown, *(c for c in empty if c.draw is not None and c.draw.tried)][:_MOST_CLASSES])
    lines.append("")
    for head, text in _facts(found):
        lines += _paragraph(head, text)
    for turn, step in enumerate(found.next, 1):
        lines += _paragraph("next" if turn == 1 else "", f"{turn}. {step}")
    return "\n".join(lines)


def _folded(classes: Sequence[ClassSummary]) -> tuple[list[ClassSummary], list[ClassSummary]]:
    """Classes with rows of their own, and those without a probe where they are many."""
    empty = [c for c in classes if not c.probes]
    if len(empty) <= _FEW_EMPTY or len(empty) == len(classes):
        return list(classes), []
    return [c for c in classes if c.probes], empty


def _finds(classes: Sequence[ClassSummary]) -> bool:
    return any(c.smallest_gap is not None for c in classes)


def _paragraph(head: str, text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=f"{head:<{_INDENT}}", subsequent_indent=" " * _INDENT)


def _opening(found: ProbeSummary) -> str:
    classes = classes_of(len(found.classes))
    judged = sum(c.judged for c in found.classes)
    annotation = "nothing annotated" if found.annotation == "none" else found.annotation
    return (
        f"camdebug probes: {judged} of {classes} can be judged; {count_of(found.probes, 'probe')} of "
        f"{count_of(found.pictures, 'picture')}, {pixels_of(found.image_size)}, {annotation}."
    )


def _table(classes: Sequence[ClassSummary]) -> list[str]:
    """Columns for what every set has, and for what is known only of those drawn from files."""
    small, large = f"< {percent(MIN_AREA)}", f"> {percent(MAX_AREA)}"
    columns = [
        ("class", [_short(c.name) for c in classes]),
        ("probes", [str(c.probes) for c in classes]),
        ("pictures", [str(c.pictures) for c in classes]),
        ("usable", [str(c.usable) for c in classes]),
        (small, [str(c.too_small) for c in classes]),
        (large, [str(c.too_large) for c in classes]),
        ("finds", ["-" if c.smallest_gap is None else number(c.smallest_gap) for c in classes]),
        ("area, %: least / median / most", [_areas(c.area) for c in classes]),
    ]
    return _aligned([[head, *cells] for head, cells in columns])


def _draws(classes: Sequence[ClassSummary]) -> list[str]:
    """How classes were filled, and what the transform did; nothing for a set that was not drawn from files."""
    known = [(c, c.draw) for c in classes if c.draw is not None]
    if not known:
        return []
    columns = [
        ("class", [_short(c.name) for c, _ in known]),
        ("tried", [f"{d.tried} of {d.offered}" for _, d in known]),
        (f"< {percent(MIN_AREA)}", [f"{d.too_small_before} -> {d.too_small_after}" for _, d in known]),
        (f"> {percent(MAX_AREA)}", [f"{d.too_large_before} -> {d.too_large_after}" for _, d in known]),
        ("nothing left", [str(d.gone) for _, d in known]),
        ("area before, %: least / median / most", [_areas(c.area_before) for c, _ in known]),
    ]
    heading = "Objects of the pictures that were tried, before -> after the transform:"
    return ["", heading, *_aligned([[head, *cells] for head, cells in columns])]


def _aligned(columns: Iterable[Sequence[str]]) -> list[str]:
    """The first column to the left, all others to the right."""
    padded = []
    for place, column in enumerate(columns):
        width = max(map(_columns, column))
        spaces = [" " * (width - _columns(cell)) for cell in column]
        padded.append([cell + s if place == 0 else s + cell for cell, s in zip(column, spaces, strict=True)])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _columns(text: str) -> int:
    """Width in a terminal."""
    return sum(
        0 if unicodedata.combining(c) or c == "\u200d" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _areas(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return " / ".join(number(100 * value) for value in (spread.least, spread.median, spread.most))


def _facts(found: ProbeSummary) -> Iterator[tuple[str, str]]:
    yield from (("doubt" if turn == 0 else "", f"{text}.") for turn, text in enumerate(found.suspicions))
    if found.left_out:
        yield "left out", f"{count_of(sum(r.count for r in found.left_out), 'picture')}: {_listed(found.left_out)}"
    if found.dropped_boxes:
        count = boxes_of(sum(r.count for r in found.dropped_boxes))
        yield "dropped", f"{count} of pictures that were kept: {_listed(found.dropped_boxes)}{_ignored(found)}"
    if found.near_duplicates:
        yield "alike", alike(found.near_duplicates)
    yield from (("cue" if turn == 0 else "", f"{text[:1].upper()}{text[1:]}.") for turn, text in enumerate(found.cues))
    yield "missing", what_is_missing(found) or "nothing: every class can become suspect and confirmed"
    places = [f"`{_short(c.name)}`" for c in found.classes if c.places]
    yield (
        "places",
        f"heat at a fixed place can be tested in {len(places)} of {len(found.classes)} classes, where maps have cells "
        "enough",
    )
    looks = "Looks are not planned yet" if found.epochs is None else f"Planned: {count_of(found.epochs, 'look')}"
    yield "power", f"{looks}. {found.outlook}".rstrip()


def _listed(reasons: Sequence[Reason]) -> str:
    return "; ".join(f"{r.count} x {visible(r.reason)}" for r in reasons)


def _ignored(found: ProbeSummary) -> str:
    if not any(reason.reason.startswith("ignored ") for reason in found.dropped_boxes):
        return ""
    return " (ignored: of other objects in the picture, which count neither as object nor as background)"


def what_is_missing(found: ProbeSummary) -> str:
    """For suspect and confirmed, which ask for the same; nothing where nothing is."""
    if found.annotation == "none":
        few = [f"`{_short(c.name)}` {LEAST_PROBES - c.probes}" for c in found.classes if c.probes < LEAST_PROBES]
        places = f"; probes, of which heat at a fixed place takes {LEAST_PROBES} a class: {name_a_few(few)}"
        return f"boxes or masks, for suspect and confirmed{places if few else ''}"
    few = [f"`{_short(c.name)}` {c.missing}" for c in found.classes if c.missing]
    lone = [f"`{_short(c.name)}` {c.missing_donors}" for c in found.classes if not c.missing and c.missing_donors]
    parts = []
    if few:
        parts.append(f"usable probes, of which suspect and confirmed take {LEAST_PROBES} a class: {name_a_few(few)}")
    if lone:
        parts.append(
            f"usable pictures of other classes that do not show it, to lend {LEAST_PROBES} backgrounds: "
            f"{name_a_few(lone)}"
        )
    return "; ".join(parts)


def next_steps(classes: Sequence[ClassSummary], known: Known) -> Iterator[str]:
    """What to do, the most important first."""
    if known.doubts:
        yield 'Look at the boxes, with probes.preview("probes.png"), before anything else.'
    if known.cues:
        yield "Take pictures of all classes from the same folders, in the same sizes and kinds of file."
    if known.doubts:  # sizes and counts of wrong boxes say nothing
        return
    if not known.annotated:
        yield "Annotate the objects, if backgrounds shall be tested."
        return
    yield from _about_sizes(classes, crops=known.crops)
    few = [f"{c.missing} of `{_short(c.name)}`" for c in classes if c.missing]
    if few:
        yield _ended(f"Add probes with objects of 2 to 70 % of the picture, at least {name_a_few(few)}")
    if len(classes) == 1:
        yield "Add another class: backgrounds of other classes are needed."
    elif any(not c.missing and c.missing_donors for c in classes):
        yield (
            "Add pictures of other classes alone, which lend their backgrounds; or cut objects out, with "
            "camdebug.sources.ObjectCrops."
        )
    fewer = [
        f"{c.missing_recommended} of `{_short(c.name)}`" for c in classes if not c.missing and c.missing_recommended
    ]
    if fewer:
        yield _ended(f"For smaller effects add up to the recommended 40 a class: {name_a_few(fewer)}")
    if known.duplicates:
        yield (
            "Leave one of each pair out, with probes.without(j for _, j, _ in probes.near_duplicates()): they count "
            "as if they were different."
        )
    yield 'Look once at probes.preview("probes.png"), and keep the set with probes.save(folder).'


def _ended(text: str) -> str:
    return text if text.endswith("...") else f"{text}."


def _about_sizes(classes: Sequence[ClassSummary], *, crops: bool) -> Iterator[str]:
    """Where objects leave the range that can be judged, by the transform or by themselves."""
    for kind, tendency, mend, mend_of_crops in (
        (
            "too_large",
            "too large",
            "Resize whole pictures, in place of a crop; or, for ObjectCrops, take a larger side= or context=.",
            "Take a larger side= or context= of ObjectCrops.",
        ),
        (
            "too_small",
            "too small",
            "Let the model see larger pictures, or crops around the objects (camdebug.sources.ObjectCrops).",
            "Take a smaller side= or context= of ObjectCrops.",
        ),
    ):
        told = [
            f"`{_short(c.name)}` {before} of {c.draw.tried} before the transform, {after} after"
            for c in classes
            if c.draw is not None
            for before, after in [(getattr(c.draw, f"{kind}_before"), getattr(c.draw, f"{kind}_after"))]
            if after >= _MANY and (after >= _DOUBLED * before or after >= c.draw.tried / 2)
        ]
        if told:
            yield f"Objects are {tendency} ({name_a_few(told)}). {mend_of_crops if crops else mend}"
