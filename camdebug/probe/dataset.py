"""Draw probes from a torchvision-style detection dataset, in a seeded order, until every class is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import (
    LEAST_PROBES,
    check_names,
    check_not_normalised,
    check_order,
    check_within,
    clean_boxes,
    unfit,
)
from camdebug.probe.classes import plan_classes
from camdebug.probe.reading import NoBoxes, Reader, Sample, Skip, Unreadable
from camdebug.probe.torchvision_sets import adapted, categories, declared_classes
from camdebug.records import Exclusion

# A dataset that fails so often from the start is broken; single unreadable files among good ones are left out.
_PATIENCE = 20
_READ_AGAIN = 4


@dataclass
class Drawn:
    """What was drawn; the arguments of a ``ProbeSet``, and what is to be said about the drawing."""

    class_names: tuple[str, ...] | None
    images: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    ignore: list[Tensor] = field(default_factory=list)
    source_ids: list[str] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: int = 0
    without_boxes: int = 0

    def add(self, index: int, sample: Sample) -> None:
        """Take a sample in."""
        self.images.append(sample.image)
        self.labels.append(sample.label)
        self.boxes.append(sample.boxes)
        self.ignore.append(sample.ignore)
        self.source_ids.append(str(index))


def draw(
    dataset: Any,  # noqa: ANN401
    *,
    per_class: int,
    seed: int,
    class_names: Sequence[str] | None,
    label_map: Mapping[int, int] | None,
    label: Callable[[Any], int | None] | None,
) -> Drawn:
    """See ``ProbeSet.from_dataset``."""
    reader = reader_of(dataset, seed=seed, class_names=class_names, label_map=label_map, label=label)
    _check_number("per_class", per_class, 1)
    found = _fill(reader, per_class, drawing_order(reader))
    if per_class < LEAST_PROBES:
        found.notes.append(
            f"ProbeSet: per_class is {per_class}, and fewer than {LEAST_PROBES} probes of a class cannot be judged; 40 "
            "are recommended"
        )
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
) -> Reader:
    """What reads samples of a dataset; arguments as of ``ProbeSet.from_dataset``, checked."""
    _check_dataset(dataset)
    _check_number("seed", seed, 0)
    if label is not None and not callable(label):
        raise TypeError(f"label: expected a callable that takes a target and gives a class index, got {label!r:.80}")
    names = check_names("class_names", class_names) if class_names is not None else None
    dataset = adapted(dataset, names if names and label_map is None else ())
    plan = plan_classes(names, label_map, categories(dataset), declared_classes(dataset))
    return Reader(dataset, seed, plan, label)


def drawing_order(reader: Reader) -> list[int]:
    """Indices of the dataset in the seeded order in which probes are looked for."""
    order: list[int] = np.random.default_rng(reader.seed).permutation(len(reader.dataset)).tolist()
    return order


def _check_dataset(dataset: Any) -> None:  # noqa: ANN401
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not map_style or isinstance(dataset, torch.utils.data.IterableDataset):
        hint = "; pass the dataset itself, not its DataLoader" if hasattr(dataset, "batch_sampler") else ""
        raise TypeError(
            f"dataset: expected a map-style dataset (with __len__ and __getitem__), got {type(dataset).__name__}{hint}"
        )
    if len(dataset) == 0:
        raise ValueError("dataset: expected at least one picture, got an empty dataset")


def _check_number(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def _fill(reader: Reader, per_class: int, order: list[int]) -> Drawn:
    found = Drawn(reader.plan.names)
    counts: Counter[int] = Counter()
    first: tuple[int, Sample] | None = None
    boxes: list[Tensor] = []
    for index in order:
        if reader.wanted is not None and all(counts[k] >= per_class for k in reader.wanted):
            break
        sample = _try(reader, index, found, len(order))
        if sample is None:
            continue
        first = first or (index, sample)
        _check_alike(first, (index, sample))
        boxes.append(sample.boxes)
        if counts[sample.label] < per_class and _fits(sample, index, found):
            counts[sample.label] += 1
            found.add(index, sample)
    if first is not None:
        size = (first[1].image.shape[1], first[1].image.shape[2])
        check_order("dataset: boxes", boxes)
        check_not_normalised("dataset: boxes", boxes, size)
        check_within("dataset: boxes", boxes, size)
    if not found.images:
        reasons = Counter(e.reason for e in found.exclusions).most_common()
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        next_step = ". Without boxes pass ProbeSet(images, labels)" if found.without_boxes == len(order) else ""
        raise ValueError(f"dataset: none of its {len(order)} pictures can be a probe: {listed}{next_step}")
    return found


def _try(reader: Reader, index: int, found: Drawn, offered: int) -> Sample | None:
    """Read a sample, or note why there is none."""
    try:
        return reader.read(index)
    except Skip as skip:
        found.exclusions.append(Exclusion(str(index), str(skip)))
        found.failures += isinstance(skip, Unreadable)
        found.without_boxes += isinstance(skip, NoBoxes)
        offers = len(found.images) + len(found.exclusions)
        if found.failures == offers == min(_PATIENCE, offered):
            raise ValueError(
                f"dataset: none of the first {offers} pictures could be read; dataset[{index}] raised "
                f"{skip.__cause__!r}"
            ) from skip.__cause__
    return None


def _fits(sample: Sample, index: int, found: Drawn) -> bool:
    """Whether a sample can be a probe. It is asked here too, so that another one can take the place."""
    usable, faults = clean_boxes(sample.boxes, (sample.image.shape[1], sample.image.shape[2]))
    reason = unfit(sample.image, usable, faults, annotated=True)
    if reason:
        found.exclusions.append(Exclusion(str(index), reason))
    return reason is None


def _check_alike(first: tuple[int, Sample], other: tuple[int, Sample]) -> None:
    expected, got = first[1].image, other[1].image
    if (got.shape, got.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"dataset: expected pictures of one size and type, but dataset[{first[0]}] is {tuple(expected.shape)} "
            f"{expected.dtype} and dataset[{other[0]}] is {tuple(got.shape)} {got.dtype}; add a Resize or a crop to "
            "its transforms.v2"
        )


def _is_random(reader: Reader, found: Drawn) -> bool:
    """Whether a few probes look different under other seeds."""
    for image, source_id in list(zip(found.images, found.source_ids, strict=True))[:_READ_AGAIN]:
        try:
            again = reader.load(int(source_id), seed=reader.seed + 1)[0]
        except Exception:  # a transform that fails under some seeds only
            return True
        if again.shape != image.shape or not torch.equal(again.as_subclass(Tensor).cpu(), image):
            return True
    return False
