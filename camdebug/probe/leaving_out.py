"""Probes that are taken out of a set by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from camdebug.probe.checks import name_a_few
from camdebug.probe.content import Content
from camdebug.records import Exclusion
from camdebug.sources.columns import near

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet


def content_without(probes: ProbeSet, left_out: Iterable[int | str] | int | str, *, reason: str) -> Content:
    """See ``ProbeSet.without``."""
    if not isinstance(reason, str) or not reason.strip():
        raise TypeError(f"reason: expected some words, got {reason!r:.80}")
    out = _rows(probes, left_out)
    kept = [row for row in range(len(probes)) if row not in out]
    if not kept:
        raise ValueError(f"probes: expected some to stay, got all {len(probes)} to be left out")
    held = Content(**{part.name: getattr(probes, part.name) for part in fields(Content)})
    rows = torch.tensor(kept, dtype=torch.int64)
    return replace(
        held,
        images=held.images[rows],
        labels=held.labels[rows],
        boxes=tuple(held.boxes[row] for row in kept),
        masks=None if held.masks is None else held.masks[rows],
        ignore=tuple(held.ignore[row] for row in kept),
        ignore_masks=None if held.ignore_masks is None else held.ignore_masks[rows],
        source_ids=tuple(held.source_ids[row] for row in kept),
        exclusions=(*held.exclusions, *(Exclusion(held.source_ids[row], reason) for row in sorted(out))),
        provenance=None if held.provenance is None else held.provenance.of(kept),
    )


def _rows(probes: ProbeSet, left_out: Iterable[int | str] | int | str) -> set[int]:
    """Of indices and ids; an id stands for all probes that have it."""
    if isinstance(left_out, (int, str)):
        left_out = [left_out]
    if not isinstance(left_out, Iterable):
        raise TypeError(f"probes: expected indices or source ids, got {left_out!r:.80}")
    by_id: dict[str, list[int]] = {}
    for row, source_id in enumerate(probes.source_ids):
        by_id.setdefault(source_id, []).append(row)
    found: set[int] = set()
    for which in left_out:
        found.update(_matching(which, by_id, len(probes)))
    return found


def _matching(which: object, by_id: dict[str, list[int]], count: int) -> list[int]:
    if isinstance(which, str):
        if which not in by_id:
            known = list(by_id)
            raise ValueError(
                f"probes: expected source ids of the set ({name_a_few(known)}), got {which!r:.80}"
                + near([which], known)
            )
        return by_id[which]
    if isinstance(which, bool) or not isinstance(which, (int, np.integer)):
        raise TypeError(f"probes: expected indices or source ids, got {which!r:.80}")
    if not 0 <= which < count:
        raise ValueError(f"probes: expected indices of 0 to {count - 1}, got {which}")
    return [int(which)]
