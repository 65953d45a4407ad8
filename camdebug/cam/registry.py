"""Methods by name, and what else may be passed as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from torch import Tensor, nn

from camdebug.cam.methods import ONE_PASS, OnePass
from camdebug.cam.passes import Chunk

CamFn = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""``(model, images (n, C, *size), class_idx (n,) int64) -> (n, *grid)``: the user's own method."""

MethodChoice = str | CamFn
Sign = Literal["positive", "signed", "absolute"]
Fuse = Literal["mean", "max"]


class Worker(Protocol):
    """A method that does more than one pass, or none: it gets a chunk and makes its own forwards."""

    @property
    def name(self) -> str:
        """Of the method."""
        ...

    @property
    def layered(self) -> bool:
        """Whether its map is on the target layer's grid, so that there is one for each target layer."""
        ...

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        Called inside ``borrowed(model)`` with gradients off. ``chunk.views[layer_index]`` is the target layer; a
        method that is not ``layered`` is called once, with 0.
        """
        ...


Method = OnePass | Worker

WORKERS: dict[str, Worker] = {}


@dataclass(frozen=True)
class MapOptions:
    """What is done to a method's maps.

    Attributes:
        sign: ``"positive"``: ReLU'd, evidence for the class. ``"signed"``: also evidence against it, below 0.
            ``"absolute"``: how much either way.
        fuse: how the maps of several layers become one.
        aug_smooth: mean over six copies of each picture: mirrored or not, times .9, 1 and 1.1.
        eigen_smooth: the first principal component of what channels add, instead of their sum.
    """

    sign: Sign = "positive"
    fuse: Fuse = "mean"
    aug_smooth: bool = False
    eigen_smooth: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("sign", get_args(Sign)), ("fuse", get_args(Fuse))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("aug_smooth", "eigen_smooth"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: expected True or False, got {getattr(self, name)!r}")


def finished(signed: Tensor, sign: Sign) -> Tensor:
    """A map with the sign that was asked for."""
    if sign == "signed":
        return signed
    return signed.relu() if sign == "positive" else signed.abs()


def check_methods(method: object) -> tuple[Method, ...]:
    """The methods asked for, or raise naming the unknown one and the known ones."""
    known = ", ".join([*ONE_PASS, *WORKERS])
    asked: Sequence[object] = [method] if isinstance(method, str) or callable(method) else method  # type: ignore[assignment]
    if not isinstance(asked, (list, tuple)) or not asked:
        raise TypeError(f"method: expected a name or a sequence of names from {known}; got {method!r}")
    found = [_method(one, known) for one in asked]
    return tuple({one.name: one for one in found}.values())


def _method(choice: object, known: str) -> Method:
    if isinstance(choice, str) and choice in ONE_PASS:
        return ONE_PASS[choice]
    if isinstance(choice, str) and choice in WORKERS:
        return WORKERS[choice]
    raise ValueError(f"method: expected one of {known}; got {choice!r}")
