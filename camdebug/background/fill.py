"""Fill an object out of a picture from its surround, so that the picture can lend its background."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fill_from_surround(images: Tensor, masks: Tensor) -> Tensor:
    """Replace masked pixels by a smooth continuation of the unmasked ones.

    Pull-push interpolation (Gortler et al. 1996): average the known pixels over ever coarser grids, then fill what is
    unknown from the next coarser grid. Unmasked pixels stay bit for bit. A picture that is masked all over becomes 0.

    Args:
        images: ``(N, C, H, W)`` floating.
        masks: ``(N, H, W)`` bool, the pixels to replace.

    Returns:
        ``(N, C, H, W)``, the dtype of ``images``.
    """
    known = (~masks[:, None]).to(torch.float32)
    smooth = _pull_push(images.float() * known, known)
    return torch.where(masks[:, None], smooth.to(images.dtype), images)


def _pull_push(total: Tensor, weight: Tensor) -> Tensor:
    """``total`` is value times weight; returns values everywhere."""
    height, width = total.shape[2:]
    if bool((weight > 0).all()) or (height == 1 and width == 1):
        return total / weight.clamp(min=1e-12)
    coarse_total = F.avg_pool2d(total, 2, ceil_mode=True, count_include_pad=False)
    coarse_weight = F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
    coarse = _pull_push(coarse_total, coarse_weight)
    push = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), push)
