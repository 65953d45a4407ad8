"""Draw probes from a torchvision-style dataset, in a seeded order, until every class is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import check_not_normalised, check_order, check_within, clean_boxes, unfit
from camdebug.probe.classes import check_annotated_names, model_classes, plan_classes
from camdebug.probe.dataset_labels import annotated, categories, declared_classes, leaves, stuff
from camdebug.probe.drawn import Drawn, note_counts
from camdebug.probe.hints import Hints, hints_of, names_left_out
from camdebug.probe.places import Places
from camdebug.probe.reading import NoBoxes, Reader, Sample, Skip, Unreadable
from camdebug.probe.torchvision_sets import OwnVoc, adapted
from camdebug.records import Exclusion
from camdebug.sources.entry import Kind

# A dataset that fails so often from the start is broken; single unreadable files among good ones are left out.
_PATIENCE = 20
_READ_AGAIN = 4

_NO_CLASS = "no object of a known class"
_ROUNDED = (
    "ProbeSet: the dataset gives BoundingBoxes of whole numbers, which a transform that resizes cuts to whole pixels; "
    "make them float before it"
)


class _WrongHint(Exception):  # noqa: N818 - never seen outside
    """A picture is of another class than the dataset said before it was read."""


def draw(
    dataset: Any,  # noqa: ANN401
    *,
    per_class: int,
    seed: int,
    annotation: Kind | None,
    class_names: Sequence[str] | None,
    class_to_idx: Mapping[str, int] | None,
    label_map: Mapping[int, int] | None,
    label: Callable[[Any], int | None] | None,
) -> Drawn:
    """See ``ProbeSet.from_dataset``."""
    reader = reader_of(
        dataset,
        seed=seed,
        annotation=annotation,
        class_names=class_names,
        class_to_idx=class_to_idx,
        label_map=label_map,
        label=label,
    )
    _check_number("per_class", per_class, 1)
    order, known = drawing_order(reader), annotated(reader.dataset)
    if any(isinstance(leaf, OwnVoc) for leaf in leaves(reader.dataset)):
        check_annotated_names(reader.plan.names or (), {name for labels in known or () for _, name in labels or ()})
    hints = hints_of(reader, known)
    try:
        found = _fill(reader, per_class, order if hints is None else hints.order(order), hints)
    except _WrongHint:
        found = _fill(reader, per_class, order, None)
    note_counts(found, per_class)
    left_out = names_left_out(reader.plan, known)
    found.notes += [left_out] if left_out else []
    if found.rounded:
        found.notes.append(_ROUNDED)
    if _is_random(reader, found):
        found.notes.append(
            f"ProbeSet: the dataset's transform is random. Each probe was drawn once with seed {seed} and stays as it "
            "is; a validation transform is the better choice"
        )
    return found


def reader_of(
    dataset: Any,  # noqa: ANN401
    *,
    seed: int,
    class_names: Sequence[str] | None,
    label_map: Mapping[int, int] | None,
    label: Callable[[Any], int | None] | None,
    annotation: Kind | None = None,
    class_to_idx: Mapping[str, int] | None = None,
) -> Reader:
    """What reads samples of a dataset; arguments as of ``ProbeSet.from_dataset``, checked."""
    _check_dataset(dataset)
    _check_number("seed", seed, 0)
    if annotation is not None and annotation not in get_args(Kind):
        raise ValueError(f'annotation: expected "boxes", "masks" or None, got {annotation!r:.80}')
    if label is not None and not callable(label):
        raise TypeError(f"label: expected a callable that takes a target and gives a class index, got {label!r:.80}")
    names = model_classes(class_names, class_to_idx)
    dataset = adapted(dataset, names if names and label_map is None else (), annotation)
    known = categories(dataset, strict=label_map is None)
    # With label= a class of the dataset may be any class of the model.
    plan = plan_classes(names, label_map, known, declared_classes(dataset) if label is None else None, label is None)
    return Reader(dataset, seed, plan, label, annotation, stuff(dataset))


def drawing_order(reader: Reader) -> list[int]:
    """Indices of the dataset in the seeded order in which probes are looked for."""
    order: list[int] = np.random.default_rng(reader.seed).permutation(len(reader.dataset)).tolist()
    return order


def _check_dataset(dataset: Any) -> None:  # noqa: ANN401
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not map_style or isinstance(dataset, (torch.utils.data.IterableDataset, str)):
        hint = "; pass the dataset itself, not its DataLoader" if hasattr(dataset, "batch_sampler") else ""
        raise TypeError(
            f"dataset: expected a map-style dataset (with __len__ and __getitem__), got {type(dataset).__name__}{hint}"
        )
    if len(dataset) == 0:
        raise ValueError("dataset: expected at least one picture, got an empty dataset")


def _check_number(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def _fill(reader: Reader, per_class: int, order: Sequence[int], hints: Hints | None) -> Drawn:
    """Read pictures until every class is full; with hints only those that would be taken."""
    found, places = Drawn(reader.plan.names), Places(per_class)
    kept: dict[int, tuple[Sample, ...]] = {}
    first: tuple[int, Sample] | None = None
    boxes: list[Tensor] = []
    unread: list[str] = []
    for index in order:
        if reader.wanted is not None and not any(map(places.has_room, reader.wanted)):
            break
        told = hints.classes[index] if hints is not None else None
        if told is not None and not places.is_open(told):
            unread += [str(index)] if not told else []
            continue
        samples = _try(reader, index, found, kept, len(order))
        if not samples:
            continue
        if hints is not None and not hints.agree(index, samples):
            raise _WrongHint
        first = first or (index, samples[0])
        found.rounded |= samples[0].rounded
        _check_alike(first, (index, samples[0]))
        boxes += [sample.boxes for sample in samples]
        if places.is_open([s.label for s in samples]):
            fit = tuple(s for s in samples if _fits(s, _name(index, s, found, only=len(samples) == 1), found))
            if places.take(index, [s.label for s in fit]):
                kept[index] = fit
    if first is not None and first[1].kind == "boxes":
        size = (first[1].image.shape[1], first[1].image.shape[2])
        check_order("dataset: boxes", boxes)
        check_not_normalised("dataset: boxes", boxes, size)
        check_within("dataset: boxes", boxes, size)
    _settle(found, kept, places)
    if hints is not None and hints.of_objects:
        found.exclusions += [Exclusion(source_id, _NO_CLASS) for source_id in unread]
    if not found.samples:
        reasons = Counter(e.reason for e in found.exclusions).most_common()
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        next_step = ". Without boxes pass ProbeSet(images, labels)" if found.without_boxes == len(order) else ""
        raise ValueError(f"dataset: none of its {len(order)} pictures can be a probe: {listed}{next_step}")
    return found


def _settle(found: Drawn, kept: Mapping[int, tuple[Sample, ...]], places: Places) -> None:
    """Each picture for its one class, then again for those that are short of pictures otherwise."""
    for index, samples in kept.items():
        (sample,) = (s for s in samples if s.label == places.taken[index])
        found.add(index, sample, str(index))
    for index, samples in kept.items():
        for sample in samples:
            if sample.label != places.taken[index] and places.take_again(sample.label):
                found.add(index, sample, _name(index, sample, found, only=False))


def _name(index: int, sample: Sample, found: Drawn, *, only: bool) -> str:
    return str(index) if only else f"{index}:{found.name(sample.label)}"


def _try(reader: Reader, index: int, found: Drawn, kept: Mapping[int, object], offered: int) -> tuple[Sample, ...]:
    """Read a picture, or note why it cannot serve."""
    try:
        return reader.samples(index)
    except Skip as skip:
        found.exclusions.append(Exclusion(str(index), str(skip)))
        found.failures += isinstance(skip, Unreadable)
        found.without_boxes += isinstance(skip, NoBoxes)
        offers = len(kept) + len(found.exclusions)
        if found.failures == offers == min(_PATIENCE, offered):
            raise ValueError(
                f"dataset: none of the first {offers} pictures could be read; dataset[{index}] raised "
                f"{skip.__cause__!r}"
            ) from skip.__cause__
    return ()


def _fits(sample: Sample, source_id: str, found: Drawn) -> bool:
    """Whether a sample can be a probe. It is asked here too, so that another one can take the place."""
    usable, faults = clean_boxes(sample.boxes, (sample.image.shape[1], sample.image.shape[2]))
    reason = unfit(sample.image, usable, faults, annotated=sample.kind == "boxes")
    if reason is None and sample.mask is not None and not bool(sample.mask.any()):
        reason = "mask of no area"
    if reason:
        found.exclusions.append(Exclusion(source_id, reason))
    return reason is None


def _check_alike(first: tuple[int, Sample], other: tuple[int, Sample]) -> None:
    expected, got = first[1].image, other[1].image
    if (got.shape, got.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"dataset: expected pictures of one size and type, but dataset[{first[0]}] is {tuple(expected.shape)} "
            f"{expected.dtype} and dataset[{other[0]}] is {tuple(got.shape)} {got.dtype}; add a Resize or a crop to "
            "its transforms.v2"
        )
    kinds = [sample.kind or "a class alone" for _, sample in (first, other)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"dataset: expected one kind of annotation throughout, but dataset[{first[0]}] has {kinds[0]} and "
            f"dataset[{other[0]}] has {kinds[1]}; levels of boxes and masks differ and are never pooled"
        )


def _is_random(reader: Reader, found: Drawn) -> bool:
    """Whether a few probes look different under other seeds."""
    pictures = {index: sample.image for index, sample in zip(found.indices, found.samples, strict=True)}
    for index, image in list(pictures.items())[:_READ_AGAIN]:
        try:
            again = reader.load(index, seed=reader.seed + 1)[0]
        except Exception:  # a transform that fails under some seeds only
            return True
        if again.shape != image.shape or not torch.equal(again.as_subclass(Tensor).cpu(), image):
            return True
    return False
