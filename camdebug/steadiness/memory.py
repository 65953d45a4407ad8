"""The maps that later looks are compared with: of the initial weights, and of the look before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from camdebug.measures.localisation import has_evidence
from camdebug.records.steadiness import Similarity

_VERSION = 1


def compact(maps: Tensor) -> Tensor:
    """``(N, h, w)`` float16 with a peak of 1: half the memory, and no value too large or too small for it.

    Only a map's shape is ever compared. A map without evidence is 0 everywhere.

    >>> compact(torch.tensor([[[3e-6, 1.5e-6]], [[float("nan"), 1.]]]))
    tensor([[[1.0000, 0.5000]],
    <BLANKLINE>
            [[0.0000, 0.0000]]], dtype=torch.float16)
    """
    told = has_evidence(maps)[:, None, None]
    heat = torch.where(told, maps.double(), 0.0)
    return (heat / torch.where(told, heat.amax((1, 2), keepdim=True), 1.0)).half()


@dataclass(frozen=True, eq=False)
class Remembered:
    """Maps of one look.

    Attributes:
        maps: ``(N, h, w)`` float16 with a peak of 1.
        kind: method and layer; maps of another kind are not compared.
        epoch: of the look; -1 before training.
    """

    maps: Tensor
    kind: str
    epoch: int

    def comparable(self, maps: Tensor, kind: str) -> bool:
        """Whether present maps are of the same kind, on the same grid."""
        return self.kind == kind and self.maps.shape == maps.shape


@dataclass(frozen=True, eq=False)
class Memory:
    """What a run remembers; ``jitter`` and ``jitter_epoch`` are the floor and when it was measured."""

    initial: Remembered | None = None
    previous: Remembered | None = None
    jitter: Similarity | None = None
    jitter_epoch: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Primitives and tensors only."""
        return {
            "version": _VERSION,
            "initial": None if self.initial is None else dict(vars(self.initial)),
            "previous": None if self.previous is None else dict(vars(self.previous)),
            "jitter": None if self.jitter is None else asdict(self.jitter),
            "jitter_epoch": self.jitter_epoch,
        }


def read_memory(state: Mapping[str, Any] | None, probes: int) -> Memory:
    """The memory that :meth:`Memory.state_dict` gave; an empty one where a checkpoint has none.

    Args:
        state: from the checkpoint.
        probes: number of probes that its maps must be of.

    Raises:
        ValueError: when it is not ours or is damaged.
    """
    if state is None or state == {}:
        return Memory()
    try:
        if state["version"] != _VERSION:
            raise ValueError(f"version {state['version']!r}, expected {_VERSION}")
        return Memory(
            initial=_maps(state["initial"], probes),
            previous=_maps(state["previous"], probes),
            jitter=_similarity(state["jitter"]),
            jitter_epoch=_epoch(state["jitter_epoch"], absent=state["jitter"] is None),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"steadiness: the checkpoint's maps cannot be read ({error})") from error


def _maps(state: Any, probes: int) -> Remembered | None:  # noqa: ANN401
    if state is None:
        return None
    found = Remembered(**state)
    maps = found.maps
    if not isinstance(maps, Tensor) or maps.dtype is not torch.float16 or maps.ndim != 3 or 0 in maps.shape[1:]:
        raise TypeError("expected maps (N, h, w) in float16")
    if len(maps) != probes:
        raise ValueError(f"maps of {len(maps)} probes, expected {probes}")
    if not bool(((maps >= 0) & (maps <= 1)).all()):
        raise ValueError("expected maps between 0 and 1")
    if not isinstance(found.kind, str):
        raise TypeError(f"expected the kind of the maps as text, got {found.kind!r}")
    _epoch(found.epoch, absent=False)
    return Remembered(maps.detach().cpu(), found.kind, found.epoch)


def _similarity(state: Any) -> Similarity | None:  # noqa: ANN401
    if state is None:
        return None
    found = Similarity(**state)
    for value in (found.jensen_shannon, found.spearman):
        if value is not None and not (isinstance(value, float) and -1 <= value <= 1):
            raise ValueError(f"expected a similarity between -1 and 1, got {value!r}")
    for count in (found.count, found.left_out):
        if type(count) is not int or count < 0:
            raise ValueError(f"expected a count, got {count!r}")
    return found


def _epoch(value: Any, *, absent: bool) -> int | None:  # noqa: ANN401
    if value is None and absent:
        return None
    if type(value) is not int or value < -1:
        raise ValueError(f"expected an epoch, got {value!r}")
    return value
