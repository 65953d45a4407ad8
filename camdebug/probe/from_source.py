"""A probe set from annotations as people have them: names settled, pictures chosen by size, carried, and told about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from camdebug.geometry.carrier import Carrier
from camdebug.numerals import count_of
from camdebug.probe.content import Content, Offered, check
from camdebug.probe.cues import shared_cues, too_few
from camdebug.probe.drawing import Drawing, Limits, Row
from camdebug.probe.naming import Naming, settle_names
from camdebug.probe.placing import Placer
from camdebug.probe.plausibility import check_annotated_boxes, check_inside
from camdebug.probe.selection import candidates
from camdebug.probe.sentences import counted_as, summarise
from camdebug.probe.suspicion import doubts_as_annotated
from camdebug.records import Exclusion, Origin, Provenance
from camdebug.rng import preserved_rng
from camdebug.sources import Annotations, Source
from camdebug.sources.pictures import Exif

_MISSING = ("missing file", "link to a missing file")


@dataclass(frozen=True, eq=False)
class Built:
    """Content of a set, and what is to be said about it."""

    content: Content
    notes: tuple[str, ...]


def build(
    source: object,
    carrier: Carrier,
    *,
    limits: Limits,
    class_names: Sequence[str] | None = None,
    class_to_idx: Mapping[str, int] | None = None,
    label_map: Mapping[str, str] | None = None,
    others: str = "error",
    exif: Exif = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Built:
    """See ``ProbeSet.from_source``."""
    _check_limits(limits)
    if exif not in get_args(Exif):
        raise ValueError(f"exif: expected 'auto', 'apply' or 'ignore', got {exif!r:.80}")
    annotations = read(source)
    naming = settle_names(
        annotations, class_names=class_names, class_to_idx=class_to_idx, label_map=label_map, others=others
    )
    check_annotated_boxes(annotations)
    placer = Placer(carrier, annotations.kind, naming, limits.seed, exif, random=carrier.random)
    drawing = Drawing(placer, limits, naming.names)
    with preserved_rng():  # pictures may come from calls that others wrote
        drawing.fill(candidates(annotations.entries, naming))
    tried = (entry for entry in annotations.entries if entry.source_id in placer.sizes)
    check_inside(tried, annotations.source, placer.sizes)
    mean, std = (carrier.mean, carrier.std) if mean is None and std is None else (mean, std)
    doubts = tuple(doubt.sentence for doubt in doubts_as_annotated(placer.tried))
    content = _content(drawing, annotations, doubts, mean, std)
    return Built(content, tuple(_notes(content, drawing, naming)))


def read(source: object) -> Annotations:
    """Annotations of a source, of annotations, or of a path."""
    if isinstance(source, (str, Path)):
        from camdebug.sources.find import find_source

        source = find_source(source)
    found = source.read() if isinstance(source, Source) else source
    if not isinstance(found, Annotations):
        raise TypeError(
            "source: expected a source of camdebug.sources (one of your own needs read()), its annotations, or a path, "
            f"got {type(source).__name__}"
        )
    if not found.entries:
        excluded = f": {summarise(found.exclusions, len(found.exclusions))}" if found.exclusions else ""
        raise ValueError(f"source: expected annotated pictures, {found.source} has none{excluded}")
    return found


def _check_limits(limits: Limits) -> None:
    for name, value, least in (("per_class", limits.per_class, 1), ("seed", limits.seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r:.80}")
    areas: tuple[Any, ...] = (limits.min_area, limits.max_area)
    known = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in areas)
    if not known or not 0 <= areas[0] < areas[1] <= 1:
        raise ValueError(
            f"min_area, max_area: expected shares of the picture, 0 <= min_area < max_area <= 1, got {areas[0]!r:.40} "
            f"and {areas[1]!r:.40}"
        )


def _content(
    drawing: Drawing,
    annotations: Annotations,
    doubts: tuple[str, ...],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Content:
    rows, left_out = drawing.rows, (*annotations.exclusions, *drawing.exclusions)
    if not rows:
        raise ValueError(_nothing(annotations, left_out, doubts, drawing.names))
    _check_alike(rows)
    channels = rows[0].placed.image.shape[0]
    content = check(
        Offered(
            [row.placed.image for row in rows],
            [row.candidate.class_idx for row in rows],
            [row.placed.boxes for row in rows] if annotations.kind == "boxes" else None,
            _stacked([row.placed.mask for row in rows]),
            drawing.names,
            [row.placed.ignore for row in rows],
            _stacked([row.placed.ignore_mask for row in rows]),
            mean=_for_channels(mean, channels),
            std=_for_channels(std, channels),
            source_ids=[row.source_id for row in rows],
            left_out=left_out,
            provenance=_provenance(drawing, annotations, doubts),
        )
    )
    return replace(content, dropped_boxes=(*drawing.dropped, *content.dropped_boxes))


def _nothing(
    annotations: Annotations, left_out: Sequence[Exclusion], doubts: Sequence[str], names: Sequence[str]
) -> str:
    """Why there is no probe, and where that is known what to do."""
    doubt = "".join(f"{sentence}. " for sentence in doubts[:1])
    found = f"source: no picture of {annotations.source} can be a probe. {doubt}{_reasons(left_out, names)}"
    folders = {str(entry.picture.parent) for entry in annotations.entries if isinstance(entry.picture, Path)}
    if not folders or any(exclusion.reason not in _MISSING for exclusion in left_out):
        return found
    looked = f"{min(folders)!r}" if len(folders) == 1 else f"{len(folders)} folders, such as {min(folders)!r}"
    return f"{found}. They were looked for in {looked}; say with images= of the source in which folder they are"


def _reasons(left_out: Sequence[Exclusion], names: Sequence[str]) -> str:
    what = counted_as([exclusion.source_id for exclusion in left_out], names)
    return summarise(left_out, len(left_out), what) if left_out else "None was offered"


def _stacked(masks: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    found = [mask for mask in masks if mask is not None]
    return torch.stack(found) if found else None


def _for_channels(values: Sequence[float] | None, channels: int) -> Sequence[float] | None:
    """One value stands for all channels, as in transforms."""
    return [*values] * channels if values is not None and len(values) == 1 else values


def _check_alike(rows: Sequence[Row]) -> None:
    first = rows[0]
    for row in rows:
        expected, got = first.placed.image, row.placed.image
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"transform: expected pictures of one size and type, but {first.source_id} becomes "
                f"{tuple(expected.shape)} {expected.dtype} and {row.source_id} {tuple(got.shape)} {got.dtype}; end "
                "with a Resize to (height, width) or a crop"
            )


def _provenance(drawing: Drawing, annotations: Annotations, doubts: tuple[str, ...]) -> Provenance:
    placer, rows = drawing.placer, drawing.rows
    return Provenance(
        source=annotations.source,
        transform=placer.carrier.text,
        seed=drawing.limits.seed,
        random=placer.random,
        versions={name: version(name) for name in ("camdebug", "torch", "torchvision", "pillow", "numpy")},
        origins=tuple(
            Origin(row.candidate.entry.file, row.placed.size, row.placed.before, row.placed.digest) for row in rows
        ),
        thumbnails=torch.stack([row.placed.thumbnail for row in rows]),
        classes=drawing.of_classes(),
        doubts=doubts,
    )


def _notes(content: Content, drawing: Drawing, naming: Naming) -> list[str]:
    """All that should be known of the set, beside what was left out."""
    provenance, labels = content.provenance, content.labels.tolist()
    origins, classes = (provenance.origins, provenance.classes) if provenance is not None else ((), ())
    called = [[name, *(a for a, k in naming.index.items() if k == number)] for number, name in enumerate(naming.names)]
    numbers = {digest: n for n, digest in enumerate(dict.fromkeys(origin.digest for origin in origins))}
    shown = [numbers[origin.digest] for origin in origins]
    notes = too_few(classes, labels, shown, per_class=drawing.limits.per_class)
    if drawing.placer.random:
        notes.append(
            f"ProbeSet: the transform is random. Each probe was drawn once with seed {drawing.limits.seed} and stays "
            "as it is; a validation transform is the better choice"
        )
    return [*notes, *shared_cues(origins, labels, called)]


def duplicate_note(pairs: Sequence[tuple[int, int, float]], source_ids: Sequence[str]) -> list[str]:
    """A sentence about probes that show nearly the same."""
    if not pairs:
        return []
    i, j, similarity = max(pairs, key=lambda pair: pair[2])
    return [
        f"{count_of(len(pairs), 'pair')} of probes show nearly the same picture (such as {source_ids[i]} and "
        f"{source_ids[j]}, similarity {similarity:.3f}; near_duplicates() names all) and count as if they were not"
    ]
