"""The user's own albumentations pipeline: it moves boxes and masks by itself."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from camdebug.geometry.carrier import Carried, NotCarried
from camdebug.geometry.described import described
from camdebug.geometry.moves import within
from camdebug.geometry.outcome import carrying, picture_of, put_back
from camdebug.geometry.watch import Watch
from camdebug.rng import seeded_rng

if TYPE_CHECKING:
    from PIL.Image import Image

# Whatever else there is draws something, or may.
_FIXED = {
    "Resize", "LongestMaxSize", "SmallestMaxSize", "CenterCrop", "Crop", "Pad", "PadIfNeeded", "HorizontalFlip",
    "VerticalFlip", "Transpose", "Normalize", "ToFloat", "FromFloat", "ToTensorV2", "ToGray", "ToRGB", "InvertImg",
    "NoOp", "Lambda",
}  # fmt: skip
# Of cv2, which is theirs to need: BORDER_REFLECT, BORDER_WRAP and BORDER_REFLECT_101; INTER_NEAREST and its _EXACT.
_MIRRORED = {2, 3, 4}
_NEAREST, _NEAREST_EXACT = 0, 6
_CONTAINERS = {"Compose", "Sequential", "ReplayCompose"}
# Those that scale masks by the nearest pixel, which cv2 takes to be the first one of each cell.
_RESIZING = {
    "Resize", "LongestMaxSize", "SmallestMaxSize", "RandomScale", "RandomResizedCrop", "RandomSizedCrop",
    "RandomSizedBBoxSafeCrop",
}  # fmt: skip
_MEND = "A.Normalize() or A.ToFloat(max_value=255), and A.ToTensorV2() at the end make one"


@dataclass(frozen=True, eq=False)
class AlbumentationsCarrier:
    """Carries by one call of a copy of the pipeline that has our own terms for boxes.

    albumentations keeps boxes as float32 shares of the picture: they are exact to about 1e-4 pixels of 1000.
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
        if hasattr(self.pipeline, "set_random_seed"):
            self.pipeline.set_random_seed(seed)
        visible = within(boxes.double(), (picture.height, picture.width))
        rows = [row for row, (x1, y1, x2, y2) in enumerate(visible.tolist()) if x1 < x2 and y1 < y2]
        given: dict[str, Any] = {"image": np.array(picture), "bboxes": visible[rows].numpy(), "rows": rows}
        if len(masks):
            given["masks"] = list(masks.numpy().astype(np.uint8))
        with carrying("transform"), seeded_rng(seed):
            found = self.pipeline(**given)
        image = _picture(found["image"])
        size = (image.shape[1], image.shape[2])
        kept = torch.as_tensor(np.asarray(found["bboxes"], dtype=np.float64)).reshape(-1, 4)
        back = [int(row) for row in found["rows"]]
        if len(set(back)) < len(back):
            raise NotCarried(
                "transform: an object is seen several times in the picture that came out, by a mirrored border or "
                "shuffled tiles; leave that step out, or pad with border_mode=cv2.BORDER_CONSTANT"
            )
        moved = put_back(back, within(kept, size), len(boxes))
        return Carried(image, moved, _masks(found.get("masks", []), size))


def is_albumentations(transform: Any) -> bool:  # noqa: ANN401
    """Whether it is one of theirs, or derived from one; does not import them."""
    return any(cls.__module__.partition(".")[0] == "albumentations" for cls in type(transform).__mro__)


def albumentations_carrier(transform: Any) -> AlbumentationsCarrier:  # noqa: ANN401
    """Of an albumentations ``Compose``, or of one transform. The argument is copied and never changed."""
    import albumentations as theirs

    steps = deepcopy(transform)
    for step in _leaves(steps):
        _prepare(step)
    whole = type(transform).__name__ in _CONTAINERS - {"Sequential"}
    pipeline = theirs.Compose(
        # The last one does nothing: without any that takes boxes they would be refused.
        [*(steps.transforms if whole else [steps]), theirs.NoOp(p=1.0)],
        bbox_params=theirs.BboxParams(format="pascal_voc", label_fields=["rows"], min_area=0, min_visibility=0),
        p=transform.p if whole else 1.0,
    )
    opaque = [step for step in _leaves(pipeline) if not _is_theirs(step)]
    mean, std = _normalisation(pipeline)
    random = _is_random(pipeline)
    watch = Watch("transform", " or ".join(type(step).__name__ for step in opaque), random=random)
    return AlbumentationsCarrier(pipeline, described(transform), random, mean, std, watch)


def _prepare(step: Any) -> None:  # noqa: ANN401
    """Refuse what shows an object several times; let masks go by the middle of pixels, and forget recording."""
    pads = step.p > 0 and getattr(step, "pad_if_needed", True)
    if pads and getattr(step, "border_mode", None) in _MIRRORED:
        raise ValueError(
            f"transform: expected a border that is of no object, but that of {type(step).__name__} mirrors or wraps "
            "the picture, so that an object is seen several times; pad with border_mode=cv2.BORDER_CONSTANT"
        )
    if type(step).__name__ in _RESIZING and step.mask_interpolation == _NEAREST:
        step.mask_interpolation = _NEAREST_EXACT
    if step.deterministic:  # as in a ReplayCompose, which gives each step a place to record to
        step.set_deterministic(False)


def _picture(found: Any) -> Tensor:  # noqa: ANN401
    if isinstance(found, np.ndarray):
        height_width_channels = found.reshape(*found.shape[:2], -1)
        found = torch.from_numpy(np.ascontiguousarray(height_width_channels)).movedim(2, 0).contiguous()
    return picture_of(found, name="transform", mend=_MEND)


def _masks(found: Any, size: tuple[int, int]) -> Tensor:  # noqa: ANN401
    if len(found) == 0:
        return torch.zeros((0, *size), dtype=torch.bool)
    masks = torch.stack([torch.as_tensor(np.asarray(mask)) for mask in found]) != 0
    if masks.shape[1:] != size:
        raise NotCarried(
            f"transform: did not carry the masks along: they are for a picture of {masks.shape[1]}x{masks.shape[2]}, "
            f"but the picture that came out is {size[0]}x{size[1]}"
        )
    return masks


def _held(step: Any) -> list[Any] | None:  # noqa: ANN401
    return list(step.transforms) if hasattr(step, "transforms") else None


def _leaves(step: Any) -> list[Any]:  # noqa: ANN401
    held = _held(step)
    return [step] if held is None else [leaf for part in held for leaf in _leaves(part)]


def _is_theirs(step: Any) -> bool:  # noqa: ANN401
    return type(step).__module__.partition(".")[0] == "albumentations" and type(step).__name__ != "Lambda"


def _is_random(step: Any) -> bool:  # noqa: ANN401
    held = _held(step)
    if step.p == 0:
        return False
    if held is None:
        return _draws(step)
    return step.p != 1 or type(step).__name__ not in _CONTAINERS or any(_is_random(part) for part in held)


def _draws(step: Any) -> bool:  # noqa: ANN401
    anywhere = str(getattr(step, "position", "")).rpartition(".")[2].lower() == "random"
    return step.p != 1 or type(step).__name__ not in _FIXED or anywhere


def _normalisation(pipeline: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:  # noqa: ANN401
    """For pictures in [0, 1], where one standard Normalize is sure, and nothing but ToFloat scales before it."""
    steps = _leaves(pipeline)
    names = [type(step).__name__ for step in steps]
    if names.count("Normalize") != 1 or _is_random(pipeline) or not all(map(_is_theirs, steps)):
        return None, None
    normalize = steps[names.index("Normalize")]
    if getattr(normalize, "normalization", "standard") != "standard":
        return None, None
    unit = normalize.max_pixel_value / (1 if "ToFloat" in names[: names.index("Normalize")] else 255)
    mean, std = (tuple(float(value) * unit for value in np.ravel(getattr(normalize, key))) for key in ("mean", "std"))
    return mean, std
