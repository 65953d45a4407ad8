"""Put each object on the background of another probe, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camdebug.background.fill import fill_from_surround
from camdebug.probe.probe_set import ProbeSet

_FILL_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Patch:
    """A filled rectangle of one picture: rows ``top`` to ``bottom``, columns ``left`` to ``right``, ``(C, h, w)``."""

    top: int
    bottom: int
    left: int
    right: int
    pixels: Tensor


class Compositor:
    """Objects of a probe set on each other's backgrounds.

    The object is what the probe's own boxes touch. A donor lends its picture with every annotated object filled from
    its surround; only the filled rectangles are kept in memory. Filling happens once, when first needed.
    """

    def __init__(self, probes: ProbeSet) -> None:
        self._probes = probes
        self._masks = probes.object_masks()
        self._patches: list[Patch | None] | None = None

    def compose(self, recipients: Tensor, donors: Tensor) -> Tensor:
        """``(n, C, H, W)``: the object of each recipient on the background of its donor (``(n,)`` int64 indices)."""
        if self._patches is None:
            self._patches = _fill_all(self._probes)
        backgrounds = self._probes.images[donors].clone()
        for picture, donor in zip(backgrounds, donors.tolist(), strict=True):
            patch = self._patches[donor]
            if patch is not None:
                picture[:, patch.top : patch.bottom, patch.left : patch.right] = patch.pixels
        return torch.where(self._masks[recipients][:, None], self._probes.images[recipients], backgrounds)


def _fill_all(probes: ProbeSet) -> list[Patch | None]:
    masks = probes.annotated_masks()
    patches: list[Patch | None] = []
    for start in range(0, len(probes), _FILL_CHUNK):
        rows = slice(start, start + _FILL_CHUNK)
        filled = fill_from_surround(probes.images[rows], masks[rows])
        patches.extend(_patch(picture, mask) for picture, mask in zip(filled, masks[rows], strict=True))
    return patches


def _patch(picture: Tensor, mask: Tensor) -> Patch | None:
    """The smallest rectangle around the mask, cut from the filled picture."""
    if not bool(mask.any()):
        return None
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    return Patch(top, bottom, left, right, picture[:, top:bottom, left:right].clone())
