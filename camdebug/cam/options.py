"""What is done to a method's maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

Sign = Literal["positive", "signed", "absolute"]
Fuse = Literal["mean", "max"]


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """What is done to a method's maps.

    Attributes:
        sign: ``"positive"``: ReLU'd, evidence for the class. ``"signed"``: also evidence against it, below 0.
            ``"absolute"``: how much either way.
        fuse: how the maps of several target layers become one: each divided by its peak, then their ``"mean"`` or
            ``"max"`` on the finest grid.
        aug_smooth: mean over six copies of each picture: mirrored or not, times .9, 1 and 1.1. Six passes; three,
            without the mirrored ones, for sequences and where a ``score_fn`` or other inputs know left from right.
        eigen_smooth: the first principal component of what the channels add, instead of their sum. For methods that
            weigh channels; others do not know it and say so.

    Raises:
        TypeError, ValueError: naming the option that is wrong.
    """

    sign: Sign = "positive"
    fuse: Fuse = "mean"
    aug_smooth: bool = False
    eigen_smooth: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("sign", get_args(Sign)), ("fuse", get_args(Fuse))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}: expected one of {', '.join(map(repr, choices))}, got {getattr(self, name)!r}"
                )
        for name in ("aug_smooth", "eigen_smooth"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: expected True or False, got {getattr(self, name)!r}")

    def finished(self, signed: Tensor) -> Tensor:
        """A map with the sign that was asked for."""
        if self.sign == "signed":
            return signed
        return signed.relu() if self.sign == "positive" else signed.abs()


PLAIN = MapOptions()
"""The method's own map, ReLU'd."""
