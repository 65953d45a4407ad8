"""The pictures of an examination: a probe set's, or those of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camdebug.probe.checks import plain
from camdebug.probe.probe_set import ProbeSet

MOST = 64
"""So many pictures are looked at, the classes in turn."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is looked at.

    Attributes:
        images: ``(n, C, *size)``, at most ``MOST``.
        labels: ``(n,)`` int64, the class of each; ``None`` for a batch.
        rows: where they stand in the probe set or the batch.
        probes: where they come from; ``None`` for a batch.
    """

    images: Tensor
    labels: Tensor | None
    rows: tuple[int, ...]
    probes: ProbeSet | None

    def only(self, keep: Tensor) -> Pictures:
        """Some of them: ``keep`` is ``(n,)`` bool."""
        rows = tuple(row for row, kept in zip(self.rows, keep.tolist(), strict=True) if kept)
        return Pictures(self.images[keep], None if self.labels is None else self.labels[keep], rows, self.probes)

    def first(self, count: int) -> Pictures:
        """The first so many, of as many classes as there are."""
        return self.only(torch.arange(len(self.rows)) < count)


def pictures_of(given: object) -> Pictures:
    """Read a ``ProbeSet``, a tensor of pictures, or a batch of a ``DataLoader``: the first tensor or pictures in it.

    Raises:
        TypeError, ValueError: when there are no pictures in it.
    """
    if isinstance(given, ProbeSet):
        rows = _classes_in_turn(given.labels)[:MOST]
        return Pictures(given.images[rows], given.labels[rows], tuple(rows), given)
    images = _first_tensor(given)
    if images is None:
        raise TypeError(
            "probes_or_batch: expected a ProbeSet, a tensor (N, C, H, W) or a batch that begins with one, got "
            f"{type(given).__name__}"
        )
    if images.ndim < 3 or 0 in images.shape:
        raise ValueError(
            f"probes_or_batch: expected pictures (N, C, H, W) with no zero in their shape, got {tuple(images.shape)}"
        )
    images = plain(images)[:MOST]
    return Pictures(images, None, tuple(range(len(images))), None)


def _classes_in_turn(labels: Tensor) -> list[int]:
    """All rows: the first of every class, then the second, and so on."""
    seen: dict[int, int] = {}
    turns = []
    for row, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], label, row))
    return [row for _, _, row in sorted(turns)]


def _first_tensor(value: object) -> Tensor | None:
    """Depth first; pictures ``(C, H, W)`` in a row are stacked if they are of one size, else the first one is taken."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (tuple, list)) or not value:
        return None
    pictures = [v for v in value if isinstance(v, Tensor) and v.ndim == 3 and v.is_floating_point()]
    if len(pictures) == len(value):
        alike = {(p.shape, p.dtype) for p in pictures}
        return torch.stack(pictures) if len(alike) == 1 else pictures[0][None]
    return next((found for item in value if (found := _first_tensor(item)) is not None), None)
