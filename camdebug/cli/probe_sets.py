"""What ``camdebug probes`` does once its options are read."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camdebug.cli.words import WrongInputError, in_options, say, wrong_input
from camdebug.doctor.loading import LoadingError, called, named
from camdebug.doctor.probe_summary import ProbeSummary
from camdebug.doctor.probe_words import what_is_missing
from camdebug.numerals import count_of
from camdebug.probe.checks import name_a_few
from camdebug.probe.leaks import Leaks
from camdebug.probe.probe_set import ProbeSet
from camdebug.probe.saved import checked_folder
from camdebug.probe.saving import check_place
from camdebug.probe.sentences import alike, classes_of
from camdebug.sources import Source
from camdebug.store import disk
from camdebug.wording import shown_name, visible

PREVIEW, SUMMARY = "preview.png", "summary.txt"

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MISSING = re.compile(r"\bmissing (?:file|picture)\b")
_MOST_PAIRS = 10


def build(options: argparse.Namespace) -> int:
    """Build a set, save it, and write beside it what it looks like and what it can show."""
    with wrong_input():
        folder = checked_folder(options.output)
        check_place(folder, overwrite=options.overwrite)
        if options.drop_leaks and options.train is None:
            raise WrongInputError("--drop-leaks: expected --train, which says what is trained on")
        training = None if options.train is None else _training(options.train)
        probes = _without_duplicates(_built(options), options)
        leaks = None if training is None else probes.leaks_into(training)
        if leaks and options.drop_leaks:
            probes = _without(probes, leaks.found, "trained on")
            leaks = probes.leaks_into(training)
        probes.save(folder, overwrite=options.overwrite)
        probes.preview(folder / PREVIEW)
        summary = probes.summary()
        text = in_options("\n\n".join([str(summary), *_extra(probes, leaks)]))
        disk.write_file(folder / SUMMARY, text.encode("utf-8", "backslashreplace") + b"\n")
    say(text)
    say(f"\nSaved in {visible(str(options.output))}, with {PREVIEW} and {SUMMARY}.")
    return _attention(summary, leaks)


def preview(options: argparse.Namespace) -> int:
    """Draw a saved set."""
    file = options.folder / PREVIEW if options.output is None else options.output
    with wrong_input("--output"):
        ProbeSet.load(options.folder).preview(file, per_class=options.per_class)
    say(f"{visible(str(file))} written")
    return 0


def summary(options: argparse.Namespace) -> int:
    """Tell what a saved set can show."""
    with wrong_input():
        probes = ProbeSet.load(options.folder)
        leaks = None if options.train is None else probes.leaks_into(_training(options.train))
        found = probes.summary(epochs=options.epochs)
        extra = _extra(probes, leaks)
    if options.json:
        say(json.dumps({**found.to_dict(), "leaks": _as_json(leaks)}, indent=1, allow_nan=False))
        return int(bool(attention_in(found, leaks)))
    say(in_options("\n\n".join([str(found), *extra])))
    return _attention(found, leaks)


def _built(options: argparse.Namespace) -> ProbeSet:
    transform = _transform(options)
    try:
        probes = _drawn(options, transform)
    except ValueError as error:
        raise ValueError(f"{error}{_elsewhere(options, str(error))}") from error
    reasons = [found.reason for found in probes.exclusions if found.reason.startswith("missing ")]
    if where := _elsewhere(options, " ".join(reasons)):
        _note(f"{count_of(len(reasons), 'picture')} missing{where}")
    if padded := _padded(probes, options):
        _note(f"--crop is larger than {padded} after --resize; black is put around them. Take a smaller --crop")
    return probes


def _note(text: str) -> None:
    """One of those that the command gives in a line each."""
    warnings.warn(text, UserWarning, stacklevel=2)


def _elsewhere(options: argparse.Namespace, text: str) -> str:
    """What to do where pictures are missing."""
    known = options.images is not None or "images" in dict(options.option)
    return "" if known or not _MISSING.search(text) else "; pass --images DIR if the pictures lie elsewhere"


def _padded(probes: ProbeSet, options: argparse.Namespace) -> str:
    """How many pictures a crop reaches beyond, or nothing."""
    if options.crop is None or probes.provenance is None:
        return ""
    height, width = (options.crop,) * 2 if isinstance(options.crop, int) else options.crop
    sizes = [_resized(origin.image_size, options.resize) for origin in probes.provenance.origins]
    count = sum(size[0] < height or size[1] < width for size in sizes)
    return f"{count} of {count_of(len(probes), 'picture')}" if count else ""


def _resized(size: tuple[int, int], resize: int | tuple[int, int] | None) -> tuple[int, int]:
    if not isinstance(resize, int):
        return resize or size
    return round(size[0] * resize / min(size)), round(size[1] * resize / min(size))


def _without_duplicates(probes: ProbeSet, options: argparse.Namespace) -> ProbeSet:
    if not options.drop_duplicates:
        return probes
    later = {j for _, j, _ in probes.near_duplicates()}
    return _without(probes, [probes.source_ids[j] for j in sorted(later)], "nearly the same picture as another probe")


def _without(probes: ProbeSet, ids: Sequence[str], reason: str) -> ProbeSet:
    """The rest, said aloud."""
    if not ids:
        return probes
    named = name_a_few([shown_name(found) for found in ids])
    _note(f"left {count_of(len(ids), 'probe')} out: {reason} ({named}); no others were drawn in their place")
    return probes.without(ids, reason=reason)


def _drawn(options: argparse.Namespace, transform: Mapping[str, Any]) -> ProbeSet:
    return ProbeSet.from_source(
        _cut(_source(options), options),
        **transform,
        class_names=_classes(options),
        label_map=_map(options.map) or None,
        others="ignore" if options.ignore_others else "error",
        per_class=options.per_class,
        seed=options.seed,
        min_area=options.min_area,
        max_area=options.max_area,
        exif=options.exif,
    )


def _source(options: argparse.Namespace) -> Source:
    from camdebug.sources.find import find_source

    given = {"images": options.images and options.images.absolute(), "split": options.split, **dict(options.option)}
    chosen = {"format": options.format, **{key: value for key, value in given.items() if value is not None}}
    return find_source(options.source, **chosen)


def _cut(source: Source, options: argparse.Namespace) -> Source:
    """Objects one by one, where they are asked for."""
    from camdebug.sources import ObjectCrops

    given = {name: getattr(options, name) for name in ("context", "side", "most")}
    chosen = {name: value for name, value in given.items() if value is not None}
    if not options.object_crops:
        if chosen:
            raise WrongInputError(f"--{next(iter(chosen))}: expected --object-crops, which it belongs to")
        return source
    if {"context", "side"} <= set(chosen):
        raise WrongInputError("--context, --side: expected one of them, got both")
    return ObjectCrops(source, **chosen)


def _transform(options: argparse.Namespace) -> dict[str, Any]:
    """The user's own, or steps that are named on the command line."""
    from camdebug.geometry.steps import CenterCrop, Letterbox, Normalize, Resize, Step

    moves = {"--resize": options.resize, "--crop": options.crop, "--letterbox": options.letterbox}
    used = [name for name, value in moves.items() if value is not None]
    if options.transform is not None and used:
        raise WrongInputError(f"--transform: expected it alone or {', '.join(moves)}, got both")
    if options.letterbox is not None and len(used) > 1:
        raise WrongInputError("--letterbox: expected it alone, or --resize and --crop, got both")
    if (options.mean is None) != (options.std is None):
        raise WrongInputError("--mean, --std: expected both or neither")
    if options.transform is not None:
        return {"transform": _made("--transform", options.transform), "mean": options.mean, "std": options.std}
    steps = zip((Resize, CenterCrop, Letterbox), moves.values(), strict=True)
    geometry: list[Step] = [step(size) for step, size in steps if size is not None]
    return {"geometry": geometry + ([Normalize(options.mean, options.std)] if options.mean is not None else [])}


def _classes(options: argparse.Namespace) -> Sequence[str] | None:
    if options.classes_file is None:
        found: list[str] | None = options.classes
        return found
    try:
        lines = options.classes_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise WrongInputError(f"--classes-file: cannot read {options.classes_file} ({why})") from error
    return [line.strip() for line in lines if line.strip()]


def _map(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for annotated, name in pairs:
        if found.setdefault(annotated, name) != name:
            raise WrongInputError(f"--map: expected one class for {annotated!r}, got {found[annotated]!r} and {name!r}")
    return found


def _training(text: str) -> Any:  # noqa: ANN401 - a path, or a dataset
    if Path(text).exists():
        return Path(text)
    if _DOTTED.fullmatch(text):
        return _made("--train", text)
    raise WrongInputError(f"--train: expected annotations or package.module:name, and there is nothing at {text}")


def _made(argument: str, target: str) -> Any:  # noqa: ANN401 - whatever the user has made
    """What ``package.module:name`` is, or returns where it is a function or a class."""
    try:
        found = named(target)
        return called(target, found) if inspect.isroutine(found) or inspect.isclass(found) else found
    except LoadingError as error:
        raise WrongInputError(f"{argument}: {error}") from error


def _extra(probes: ProbeSet, leaks: Leaks | None) -> list[str]:
    """What the summary only counts: which probes are nearly the same, and which are trained on."""
    pairs = sorted(probes.near_duplicates(), key=lambda found: -found[2])
    ids = [shown_name(source_id) for source_id in probes.source_ids]
    lines = [f"  {ids[i]} and {ids[j]} ({similarity:.3f})" for i, j, similarity in pairs[:_MOST_PAIRS]]
    more = [f"  and {len(pairs) - _MOST_PAIRS} more"] if len(pairs) > _MOST_PAIRS else []
    found = ["\n".join(["Nearly the same picture, with the correlation of small grey copies:", *lines, *more])]
    return (found if pairs else []) + ([] if leaks is None else [visible(str(leaks))])


def _attention(summary: ProbeSummary, leaks: Leaks | None) -> int:
    reasons = attention_in(summary, leaks)
    if reasons:
        say(f"Needs attention: {'; '.join(reasons)}.")
    return int(bool(reasons))


def attention_in(summary: ProbeSummary, leaks: Leaks | None) -> list[str]:
    """What should be seen to before a training, in words."""
    few = sum(not c.judged for c in summary.classes)
    found = []
    if few:
        why = f"missing: {what_is_missing(summary)}" if what_is_missing(summary) else summary.outlook
        found.append(f"{few} of {classes_of(len(summary.classes))} cannot be judged ({why})")
    if summary.suspicions:
        found.append("boxes seem to be wrong")
    if summary.near_duplicates:
        found.append(alike(summary.near_duplicates))
    if summary.cues:
        found.append("files may pass for a class, by folder, size or kind")
    if leaks:
        found.append("probes are trained on")
    return found


def _as_json(leaks: Leaks | None) -> dict[str, Any] | None:
    if leaks is None:
        return None
    return {key: getattr(leaks, key) for key in ("exact", "near", "possible", "compared", "unread")}
