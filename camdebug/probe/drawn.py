"""What was drawn from a dataset, on its way to a probe set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from camdebug.probe.checks import LEAST_PROBES
from camdebug.probe.content import Offered
from camdebug.probe.lenders import lendable
from camdebug.probe.reading import Sample
from camdebug.probe.sentences import few_donors, few_probes, small_per_class
from camdebug.records import Exclusion
from camdebug.wording import shown_name


@dataclass
class Drawn:
    """What was drawn, and what is to be said about the drawing."""

    class_names: tuple[str, ...] | None
    samples: list[Sample] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    source_ids: list[str] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: int = 0
    without_boxes: int = 0
    rounded: bool = False

    def name(self, class_idx: int) -> str:
        """Of a class."""
        return str(class_idx) if self.class_names is None else self.class_names[class_idx]

    def add(self, index: int, sample: Sample, source_id: str) -> None:
        """Take a sample in."""
        self.samples.append(sample)
        self.indices.append(index)
        self.source_ids.append(source_id)

    def offered(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> Offered:
        """The arguments of a ``ProbeSet``."""
        kind, samples = self.samples[0].kind, self.samples
        masks = [(s.mask, s.ignore_mask) for s in samples if s.mask is not None and s.ignore_mask is not None]
        return Offered(
            [s.image for s in samples],
            [s.label for s in samples],
            [s.boxes for s in samples] if kind == "boxes" else None,
            torch.stack([own for own, _ in masks]) if kind == "masks" else None,
            class_names=self.class_names,
            ignore=[s.ignore for s in samples] if kind == "boxes" else None,
            ignore_masks=torch.stack([other for _, other in masks]) if kind == "masks" else None,
            mean=mean,
            std=std,
            source_ids=self.source_ids,
            left_out=self.exclusions,
        )


def note_counts(found: Drawn, per_class: int) -> None:
    """Say which classes will not be judged, and which have too few donors in the others."""
    if per_class < LEAST_PROBES:
        found.notes.append(small_per_class(per_class))
        return
    labels = [s.label for s in found.samples]
    counts = Counter(labels)
    if found.samples[0].kind is None or max(counts.values()) < LEAST_PROBES:
        return
    few = [f"{_shown(found, k)}: {n}" for k, n in sorted(counts.items()) if n < LEAST_PROBES]
    lenders = lendable(labels, found.indices)
    lone = [_shown(found, k) for k, n in lenders.items() if counts[k] >= LEAST_PROBES > n]
    if few:
        found.notes.append(few_probes(few, len(found.class_names or counts)))
    if lone:
        found.notes.append(few_donors([f"`{name}`" for name in lone]))


def _shown(found: Drawn, class_idx: int) -> str:
    return shown_name(found.name(class_idx))
