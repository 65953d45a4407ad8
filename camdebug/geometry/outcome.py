"""What came out of a transform, checked: the picture, the boxes and masks, and what has to be put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from camdebug.geometry.described import kind_of

_MEND = "transforms.v2.ToImage() and transforms.v2.ToDtype(torch.float32, scale=True) as its last steps make them"


def picture_of(found: Any, *, name: str, mend: str = _MEND) -> Tensor:  # noqa: ANN401 - whatever a transform gives
    """Return the ``(C, H, W)`` floating picture, or raise with the mend."""
    if isinstance(found, (tuple, list)):
        raise TypeError(f"{name}: expected one picture (C, H, W), got {len(found)} values: crops and views are not one")
    if isinstance(found, Mapping) and "pixel_values" in found:
        raise TypeError(
            f"{name}: expected a floating tensor (C, H, W) to come out, got {kind_of(found)}; give a function that "
            'takes the picture out of it: lambda picture: processor(picture, return_tensors="pt")["pixel_values"][0]'
        )
    if not isinstance(found, Tensor):
        raise TypeError(f"{name}: expected a floating tensor (C, H, W) to come out, got {kind_of(found)}; {mend}")
    picture = found.detach().as_subclass(Tensor).cpu()
    if not picture.is_floating_point():
        raise TypeError(f"{name}: expected a floating picture to come out, got {picture.dtype}; {mend}")
    if picture.ndim != 3 or 0 in picture.shape:
        raise ValueError(f"{name}: expected one picture (C, H, W) to come out, got the shape {tuple(picture.shape)}")
    return picture


@contextmanager
def carrying(argument: str) -> Iterator[None]:
    """Say whose error it is, when a pipeline refuses its input."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: could not carry a picture with its boxes and masks: {error}") from error


def put_back(rows: list[int], kept: Tensor, count: int) -> Tensor:
    """``(count, ...)``: what was kept in its rows, zeros for those that the transform dropped."""
    found = torch.zeros((count, *kept.shape[1:]), dtype=kept.dtype)
    found[rows] = kept
    return found
