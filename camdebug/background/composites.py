"""Put the background of another probe around an object, a batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from camdebug.background.pairing import Pairing
from camdebug.probe.probe_set import ProbeSet


class Composites:
    """Every row of a pairing as two pictures: rows ``2m`` (same-class background) and ``2m + 1`` (other-class).

    The two pictures of a row differ only where recipient, same-class donor and other-class donor are all background;
    everywhere else both show the recipient. So no object of a donor, and no trace of its shape or place, stands in one
    picture and not in the other, nothing is ever filled in, and the two can be exchanged if the backgrounds can.

    A slice of it is made when it is asked for, so memory does not grow with the number of probes.

    Args:
        probes: the probe set.
        pairing: M rows.
        device: where they are put together; by default where the probes are.
    """

    def __init__(self, probes: ProbeSet, pairing: Pairing, *, device: torch.device | None = None) -> None:
        self._device = device
        self._images = probes.images
        self._objects = probes.annotated_masks()
        self._pairing = pairing

    def __len__(self) -> int:
        return 2 * len(self._pairing.recipients)

    def __getitem__(self, rows: slice) -> Tensor:
        """``(n, C, H, W)``, the dtype of the probes, on the device."""
        numbers = torch.arange(len(self))[rows]
        row, other = numbers // 2, (numbers % 2).bool()
        recipient, same = self._pairing.recipients[row], self._pairing.same[row]
        different = self._pairing.other[row]
        fixed = self._objects[recipient] | self._objects[same] | self._objects[different]
        donor = torch.where(other, different, same)
        objects, backgrounds = self._images[recipient].to(self._device), self._images[donor].to(self._device)
        return torch.where(fixed[:, None].to(self._device), objects, backgrounds)
