"""Steps of torchvision.transforms.v2 that move boxes and masks less exactly than pictures, mended for those two."""

from __future__ import annotations

from copy import copy
from math import cos, radians, sin
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from camdebug.geometry.moves import Scale, Size, within
from camdebug.geometry.steps import CenterCrop


def exactly(step: Any) -> Any:  # noqa: ANN401
    """The step itself, or a copy that draws and moves pictures as it does, and boxes and masks exactly."""
    if type(step) not in _EXACT or (type(step) is v2.RandomRotation and (not step.expand or step.center is not None)):
        return step
    step = copy(step)
    step.__class__ = _EXACT[type(step)]
    return step


class _CenterCrop(v2.CenterCrop):  # type: ignore[misc]  # torchvision is not typed
    """Boxes by the padding that torchvision gives a small picture; its own are off by a pixel for some odd sizes."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        if not isinstance(inpt, tv_tensors.BoundingBoxes):
            return super().transform(inpt, params)
        window = CenterCrop(self.size).window(inpt.canvas_size)
        return functional.crop(inpt, window.top, window.left, window.height, window.width)


class _Pad(v2.Pad):  # type: ignore[misc]
    """Boxes and masks are of the object alone, whatever the border is filled with."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        if not isinstance(inpt, (tv_tensors.BoundingBoxes, tv_tensors.Mask)):
            return super().transform(inpt, params)
        return functional.pad(inpt, padding=self.padding)


class _Scaled:
    """Boxes by float64 ratios, where torchvision's are float32; masks by the pixel in the middle, not the first one."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        if isinstance(inpt, tv_tensors.Mask):
            size = self._moved(tv_tensors.Mask(inpt[:1]), params).shape[-2:]
            return tv_tensors.Mask(Scale(*size).masks(inpt.as_subclass(Tensor)))
        moved = self._moved(inpt, params)
        if not isinstance(inpt, tv_tensors.BoundingBoxes):
            return moved
        boxes = Scale(*moved.canvas_size).boxes(inpt.as_subclass(Tensor), inpt.canvas_size)
        return tv_tensors.wrap(boxes, like=moved)

    def _moved(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        return super().transform(inpt, params)  # type: ignore[misc]


class _Resize(_Scaled, v2.Resize):  # type: ignore[misc]
    pass


class _RandomResize(_Scaled, v2.RandomResize):  # type: ignore[misc]
    pass


class _RandomShortestSize(_Scaled, v2.RandomShortestSize):  # type: ignore[misc]
    pass


class _ScaleJitter(_Scaled, v2.ScaleJitter):  # type: ignore[misc]
    pass


class _RandomResizedCrop(v2.RandomResizedCrop):  # type: ignore[misc]
    """Cropped as torchvision does, then scaled as :class:`_Scaled`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        if not isinstance(inpt, (tv_tensors.BoundingBoxes, tv_tensors.Mask)):
            return super().transform(inpt, params)
        return _Resize(self.size).transform(functional.crop(inpt, **params), {})


class _RandomRotation(v2.RandomRotation):  # type: ignore[misc]
    """Turned about the middle into a picture of the size that Pillow gives, where torchvision reckons another one."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        params = super().make_params(flat_inputs)
        picture = next(part for part in flat_inputs if isinstance(part, (Image.Image, Tensor)))
        before = tuple(functional.get_size(picture))
        blank = Image.new("1", before[::-1]) if isinstance(picture, Image.Image) else torch.zeros(1, *before)
        return {**params, "size": tuple(functional.get_size(self._turned(blank, params)))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            boxes = _turned(inpt.as_subclass(Tensor), params["angle"], inpt.canvas_size, params["size"])
            return tv_tensors.BoundingBoxes(within(boxes, params["size"]), format="XYXY", canvas_size=params["size"])
        if isinstance(inpt, tv_tensors.Mask):
            turned = functional.center_crop(self._turned(inpt, params), list(params["size"]))
            return tv_tensors.Mask(turned)
        return self._turned(inpt, params)

    def _turned(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        return super().transform(inpt, {"angle": params["angle"]})


def _turned(boxes: Tensor, angle: float, before: Size, after: Size) -> Tensor:
    """``(k, 4)`` xyxy around boxes that are turned against the clock by ``angle`` degrees about the middle."""
    x, y = boxes[:, [0, 2, 2, 0]] - before[1] / 2, boxes[:, [1, 1, 3, 3]] - before[0] / 2
    along, across = cos(radians(angle)), sin(radians(angle))
    turned_x, turned_y = along * x + across * y + after[1] / 2, along * y - across * x + after[0] / 2
    return torch.stack([turned_x.amin(1), turned_y.amin(1), turned_x.amax(1), turned_y.amax(1)], 1)


_EXACT: dict[type, type] = {
    v2.CenterCrop: _CenterCrop,
    v2.Pad: _Pad,
    v2.Resize: _Resize,
    v2.RandomResize: _RandomResize,
    v2.RandomShortestSize: _RandomShortestSize,
    v2.ScaleJitter: _ScaleJitter,
    v2.RandomResizedCrop: _RandomResizedCrop,
    v2.RandomRotation: _RandomRotation,
}
