"""Pictures through any function, annotations through steps that were said; or both through the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from camdebug.geometry.carrier import Carried, NotCarried
from camdebug.geometry.described import described, kind_of
from camdebug.geometry.moves import Move, Size, within
from camdebug.geometry.outcome import carrying, picture_of
from camdebug.geometry.steps import Normalize, Step
from camdebug.geometry.watch import Watch
from camdebug.rng import seeded_rng

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class StepsCarrier:
    """Moves annotations by steps, in float64 and exactly.

    Attributes:
        argument: that brought ``image_transform``, for messages.
        image_transform: makes the model's input; ``None`` when the steps themselves do.
        steps: what it does to places.
        watch: looks whether they fit each other.
        said: what the steps are, for messages.
        mend: for steps that were not given by the user.
    """

    argument: str
    image_transform: Callable[[Any], Any] | None
    steps: tuple[Step, ...]
    text: str
    random: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    watch: Watch
    said: str = "the steps"
    mend: str = ""

    def carry(self, picture: Image, boxes: Tensor, masks: Tensor, *, seed: int) -> Carried:
        """See :meth:`camdebug.geometry.carrier.Carrier.carry`."""
        self.watch.look(self._carried, picture, seed)
        return self._carried(picture, boxes, masks, seed)

    def _carried(self, picture: Image, boxes: Tensor, masks: Tensor, seed: int) -> Carried:
        before = (picture.height, picture.width)
        boxes, moved = within(boxes.double(), before), picture
        size = before
        for move in _all_moves(self.steps, before):
            boxes, masks = move.boxes(boxes, size), move.masks(masks)
            moved = move.picture(moved) if self.image_transform is None else moved
            size = move.size_after(size)
        with seeded_rng(seed):
            image = self._pixels(moved)
        if tuple(image.shape[1:]) != size:
            raise NotCarried(
                f"{self.watch.argument}: expected the size of the picture that {self.argument} gives, {image.shape[1]}x"
                f"{image.shape[2]} for one of {before[0]}x{before[1]}, but {self.said} give {size[0]}x{size[1]}"
                + (f"; {self.mend}" if self.mend else "")
            )
        return Carried(image, boxes, masks)

    def _pixels(self, picture: Image) -> Tensor:
        if self.image_transform is not None:
            with carrying(self.argument):
                found = self.image_transform(picture)
            return picture_of(found, name=self.argument)
        image = _in_unit_range(picture)
        if self.mean is None or self.std is None:
            return image
        if len(self.mean) not in (1, len(image)):
            raise ValueError(f"geometry: expected Normalize with {len(image)} channels, got {len(self.mean)}")
        return (image - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def steps_carrier(
    image_transform: Callable[[Any], Any] | None, geometry: Sequence[Any], *, random: bool = False
) -> StepsCarrier:
    """Of ``image_transform=`` and ``geometry=[...]``, or of the latter alone.

    Raises:
        TypeError, ValueError: when the geometry is not one of steps.
    """
    steps = _checked(geometry)
    last = steps[-1] if steps else None
    mean, std = (tuple(last.mean), tuple(last.std)) if isinstance(last, Normalize) else (None, None)
    said = "\n".join(map(repr, steps)) or "no step: the size stays"
    text = said if image_transform is None else f"{described(image_transform)}\nwith boxes by\n{said}"
    opaque = "" if image_transform is None else kind_of(image_transform)
    watch = Watch("geometry", opaque)
    make = partial(StepsCarrier, "image_transform", image_transform, steps, text, random)
    return make(mean, std, watch)


def _checked(geometry: Any) -> tuple[Step, ...]:  # noqa: ANN401
    if not isinstance(geometry, (list, tuple)):
        raise TypeError(f"geometry: expected a list of steps such as Resize(256), got {geometry!r:.80}")
    for step in geometry:
        if isinstance(step, type) or not isinstance(step, Step):
            raise TypeError(
                f"geometry: expected steps of camdebug.geometry (Resize, CenterCrop, Letterbox, Pad, HorizontalFlip, "
                f"VerticalFlip, Normalize), got {step!r:.80}"
            )
    if any(isinstance(step, Normalize) for step in geometry[:-1]):
        raise ValueError("geometry: expected one Normalize at most, as the last step")
    return tuple(geometry)


def _all_moves(steps: Sequence[Step], size: Size) -> list[Move]:
    found: list[Move] = []
    for step in steps:
        for move in step.moves(size):
            found.append(move)
            size = move.size_after(size)
    return found


def _in_unit_range(picture: Image) -> Tensor:
    """``(C, H, W)`` float32, in [0, 1] for pictures of bytes; pictures of floats stay as they are."""
    values = np.array(picture)
    if values.dtype not in (np.uint8, np.float32):
        raise ValueError(f"picture: expected RGB or grey with 8 bits, got the mode {picture.mode!r}")
    pixels = torch.from_numpy(values.reshape(*values.shape[:2], -1)).movedim(2, 0).contiguous()
    return pixels.float() / 255 if values.dtype == np.uint8 else pixels
