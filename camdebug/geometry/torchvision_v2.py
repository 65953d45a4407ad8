"""The user's own torchvision.transforms.v2: it moves boxes and masks by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from camdebug.geometry import v2_parts
from camdebug.geometry.carrier import Carried, NotCarried
from camdebug.geometry.described import described
from camdebug.geometry.moves import within
from camdebug.geometry.outcome import carrying, picture_of, put_back
from camdebug.geometry.watch import Watch
from camdebug.rng import seeded_rng

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class V2Carrier:
    """Carries by one call of the pipeline with the picture and its annotations.

    Boxes go through it in float64, clipped to the picture at each step as torchvision does; a rotated one becomes the
    box around it. Steps that only drop, convert or cast boxes are left out, for nothing of them is seen in the picture.
    """

    pipeline: Any
    text: str
    random: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    watch: Watch

    def carry(self, picture: Image, boxes: Tensor, masks: Tensor, *, seed: int) -> Carried:
        """See :meth:`camdebug.geometry.carrier.Carrier.carry`."""
        self.watch.look(self._carried, picture, seed)
        return self._carried(picture, boxes, masks, seed)

    def _carried(self, picture: Image, boxes: Tensor, masks: Tensor, seed: int) -> Carried:
        size = (picture.height, picture.width)
        visible = within(boxes.to(torch.float64), size)
        target = {
            "boxes": tv_tensors.BoundingBoxes(visible, format="XYXY", canvas_size=size),
            "masks": tv_tensors.Mask(masks),
            "labels": torch.arange(len(boxes)),
        }
        with carrying("transform"), seeded_rng(seed):
            output = self.pipeline((picture, target))
        if not (isinstance(output, (tuple, list)) and len(output) == 2 and isinstance(output[1], dict)):
            raise NotCarried(
                "transform: did not carry the boxes along: expected the picture and its target to come out, got "
                f"{type(output).__name__}; use image_transform= and geometry=[...] instead"
            )
        image = picture_of(output[0], name="transform")
        size = (image.shape[1], image.shape[2])
        return Carried(image, *_annotations(output[1], size, len(boxes), len(masks), self.watch.opaque))


def v2_carrier(transform: Any) -> V2Carrier:  # noqa: ANN401
    """Of a v2 transform, or of a Compose or ``nn.Sequential`` of them.

    Raises:
        TypeError: when a part of it cannot be followed; the message names the part.
    """
    pipeline = v2_parts.followable(transform)
    opaque = [v2_parts.name_of(leaf) for leaf in v2_parts.leaves(transform) if v2_parts.is_opaque(leaf)]
    mean, std = v2_parts.normalisation(transform)
    random = v2_parts.is_random(transform)
    watch = Watch("transform", " or ".join(opaque), random=random)
    return V2Carrier(pipeline, described(transform), random, mean, std, watch)


def _annotations(
    target: dict[str, Any], size: tuple[int, int], count: int, masks: int, opaque: str
) -> tuple[Tensor, Tensor]:
    found, pixels, rows = _found(target, size, opaque)
    if len(rows) != len(found) and len(found) != count:
        raise ValueError(f"transform: dropped {count - len(found)} of {count} boxes without their labels")
    kept = rows if len(rows) == len(found) else list(range(count))
    if len(pixels) not in (masks, len(kept)):
        raise ValueError(f"transform: expected {masks} masks to come out, got {len(pixels)}")
    moved = put_back(kept, within(found, size), count)
    return moved, pixels if len(pixels) == masks else put_back(kept, pixels, masks)


def _found(target: dict[str, Any], size: tuple[int, int], opaque: str) -> tuple[Tensor, Tensor, list[int]]:
    boxes, masks = target.get("boxes"), target.get("masks")
    if not isinstance(boxes, tv_tensors.BoundingBoxes) or not isinstance(masks, Tensor):
        raise NotCarried(
            f"transform: did not carry the boxes along: they came out as {type(boxes).__name__}, and the masks as "
            f"{type(masks).__name__}; {_mend_of(opaque)}use image_transform= and geometry=[...] instead"
        )
    _check_size("boxes", boxes.canvas_size, size)
    if len(masks):
        _check_size("masks", masks.shape[-2:], size)
    xyxy = functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    pixels = masks.as_subclass(Tensor).reshape(-1, *size) != 0
    rows = [int(row) for row in target["labels"].tolist()]
    return xyxy.as_subclass(Tensor).double().reshape(-1, 4), pixels, rows


def _mend_of(opaque: str) -> str:
    if not opaque:
        return ""
    return (
        f"{opaque} gets them too: if it is for the picture alone, say `_transformed_types = (PIL.Image.Image, "
        "tv_tensors.Image)` in its class, or "
    )


def _check_size(what: str, found: Any, size: tuple[int, int]) -> None:  # noqa: ANN401
    if tuple(found) != size:
        raise NotCarried(
            f"transform: did not carry the {what} along: they are for a picture of {found[0]}x{found[1]}, but the "
            f"picture that came out is {size[0]}x{size[1]}; a step of it moves pictures alone. Write that step as a "
            "transforms.v2.Transform, or use image_transform= and geometry=[...] instead"
        )
