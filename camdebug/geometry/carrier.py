"""What every kind of transform becomes: one call that moves a picture and its annotations together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Carried:
    """A picture as the model receives it, and its annotations in its pixels.

    Attributes:
        image: ``(C, H, W)`` floating.
        boxes: ``(k, 4)`` float64 xyxy, as many as were given and in their order; one of which nothing is left in the
            picture has no area.
        masks: ``(m, H, W)`` bool, as many as were given and in their order.
    """

    image: Tensor
    boxes: Tensor
    masks: Tensor


class NotCarried(ValueError):  # noqa: N818 - said as it is
    """Boxes or masks do not sit where the picture shows the objects: of no picture can they be believed."""


class Carrier(Protocol):
    """Of one transform."""

    @property
    def text(self) -> str:
        """Of the transform, for people and records."""
        ...

    @property
    def random(self) -> bool:
        """Whether it is known to be random, by what it is made of."""
        ...

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Of its normalisation, one value a channel, for pictures in [0, 1]; ``None`` when none can be read."""
        ...

    @property
    def std(self) -> tuple[float, ...] | None:
        """Likewise."""
        ...

    def carry(self, picture: Image, boxes: Tensor, masks: Tensor, *, seed: int) -> Carried:
        """Transform all of them alike; what is random is drawn under generators seeded for this call alone.

        Args:
            picture: RGB or grey.
            boxes: ``(k, 4)`` float64 xyxy in its pixels.
            masks: ``(m, H, W)`` bool.
            seed: of random transforms.

        Raises:
            NotCarried: the transform moves pictures otherwise than their annotations.
            TypeError, ValueError: the transform is not of the kind that can be followed.
        """
        ...
