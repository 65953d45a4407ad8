"""Scores of pictures from maps of scores: one for each class and pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camdebug.cam.model.entries import described, scores_in


def two_columns(single: Tensor) -> Tensor:
    """``(N, 1, *size)`` -> ``(N, 2, *size)``: of one output z, class 0 is -z and class 1 is z."""
    return torch.cat([-single, single], 1)


def won_scores(maps: Tensor, *, each_for_itself: bool) -> Tensor:
    """``(N, K, *size)`` scores of pixels -> ``(N, K)``: the mean score of a class over the pixels that it wins.

    It wins those where no class scores higher or, with ``each_for_itself``, where its own score is above 0. The mean is
    over all pixels when it wins none, so that what speaks against it can be seen too. A mean, not the sum over a mask
    that grad-cam's ``SemanticSegmentationTarget`` is (after Vinogradova et al. 2020, Seg-Grad-CAM, arXiv 2002.11434):
    sums of regions of different sizes cannot be compared. Which pixels are won is not differentiated.
    """
    won = maps.detach() > 0 if each_for_itself else _winners(maps.detach())
    return _mean_over(maps, won | ~won.flatten(2).any(2).reshape(*won.shape[:2], *[1] * (won.ndim - 2)))


def region_score(output: Any, class_idx: Tensor, mask: Tensor) -> Tensor:  # noqa: ANN401
    """``(n,)``: the mean score of one class of each picture over a region of it.

    For regions that differ by picture: let ``forward_fn`` put them beside the scores, and ``score_fn`` take them there,
    ``lambda output, class_idx: region_score(output["out"], class_idx, output["mask"])``.

    Args:
        output: of the model, with maps of scores ``(n, K, *size)`` in it.
        class_idx: ``(n,)`` int64.
        mask: ``(n, *size)`` or ``(1, *size)``; the region is where it is not 0. No region may be empty.

    Raises:
        TypeError: when the output has no map of scores.
        ValueError: when the mask does not fit the map.
    """
    maps = _maps_in(output)
    if mask.shape[1:] != maps.shape[2:]:
        raise ValueError(
            f"mask: expected the size of the model's maps of scores, {tuple(maps.shape[2:])}, got "
            f"{tuple(mask.shape[1:])}"
        )
    if len(mask) not in (1, len(maps)):
        raise ValueError(
            f"mask: expected one for all pictures, or one for each of the {len(maps)} pictures of this forward, got "
            f"{len(mask)}"
        )
    of_class = maps[torch.arange(len(maps), device=maps.device), class_idx]
    region = (mask.to(maps.device) != 0).expand_as(of_class)
    return _mean_over(of_class[:, None], region[:, None])[:, 0]


@dataclass(frozen=True, eq=False)
class RegionScore:
    """A ``score_fn``: the mean score of the class over a region.

    Args:
        mask: ``(H, W)`` or ``(1, H, W)`` for all pictures, or ``(N, H, W)``, one for each (``compute_cams`` alone takes
            that); as large as the model's map of scores. The region is where it is not 0.

    Raises:
        TypeError, ValueError: when the mask is no such tensor, or a region is empty.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Tensor):
            raise TypeError(f"mask: expected a tensor (H, W), got {type(self.mask).__name__}")
        if self.mask.ndim not in (2, 3):
            raise ValueError(f"mask: expected a shape (H, W) or (N, H, W), got {tuple(self.mask.shape)}")
        region = (self.mask if self.mask.ndim == 3 else self.mask[None]) != 0
        if not region.flatten(1).any(1).all():
            raise ValueError("mask: expected a region with at least one pixel, got an empty one")
        object.__setattr__(self, "mask", region)

    @property
    def of_pictures(self) -> int | None:
        """For how many pictures there are masks; ``None`` when there is one for all."""
        return None if len(self.mask) == 1 else len(self.mask)

    def of_rows(self, rows: slice | Tensor) -> RegionScore:
        """For some of the pictures only."""
        return self if self.of_pictures is None else RegionScore(self.mask[rows])

    def __call__(self, output: Any, class_idx: Tensor) -> Tensor:  # noqa: ANN401
        """``(n,)`` scores from a model's output and ``(n,)`` int64; see :func:`region_score`."""
        return region_score(output, class_idx, self.mask)


def _maps_in(output: object) -> Tensor:
    found = scores_in(output).value
    if not isinstance(found, Tensor) or found.ndim < 4:
        raise TypeError(f"score_fn: a region needs maps of scores (N, K, H, W) from the model, got {described(output)}")
    maps = found.float()
    return two_columns(maps) if maps.shape[1] == 1 else maps


def _winners(maps: Tensor) -> Tensor:
    classes = torch.arange(maps.shape[1], device=maps.device).reshape(-1, *[1] * (maps.ndim - 2))
    return maps.argmax(1, keepdim=True) == classes


def _mean_over(maps: Tensor, where: Tensor) -> Tensor:
    """``(N, K, *size)`` and bool of the same shape -> ``(N, K)``."""
    pixels = tuple(range(2, maps.ndim))
    return torch.where(where, maps, 0.0).sum(pixels) / where.sum(pixels)
