"""CAM methods: from the target layer's activation and gradient to a map.

Every function takes ``activation`` and ``gradient``, both ``(N, C, h, w)`` float32, and returns ``(N, h, w)`` float32.
The gradient is that of one score a picture with respect to the activation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CamMethod = Callable[[Tensor, Tensor], Tensor]


def signed_hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """HiResCAM before its ReLU: the evidence of each cell, in units of the score.

    For a head that is linear after the target layer the cells sum to the score less its bias
    (Draelos & Carin 2020, arXiv 2011.08891).
    """
    return (activation * gradient).sum(1)


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Gradient times activation, summed over channels (Draelos & Carin 2020, arXiv 2011.08891)."""
    return signed_hirescam(activation, gradient).relu()


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017, arXiv 1610.02391)."""
    return _weighted(activation, gradient.mean((2, 3)))


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by positive gradients with second-order coefficients (Chattopadhay et al. 2018, 1710.11063).

    The 1e-6 in the denominator is the field's convention. It makes the map depend on the scale of the gradient where
    gradients are below about 1e-3, so its magnitudes cannot be compared over training; its shape can.
    """
    squared = gradient.square()
    denominator = 2 * squared + activation.sum((2, 3), keepdim=True) * squared * gradient + 1e-6
    alpha = torch.where(gradient != 0, squared / denominator, 0.0)
    return _weighted(activation, (gradient.relu() * alpha).sum((2, 3)))


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their activation-normalised gradient (Fu et al. 2020, arXiv 2008.02312)."""
    total = activation.sum((2, 3))
    return _weighted(activation, (gradient * activation / (total + 1e-7)[:, :, None, None]).sum((2, 3)))


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Positive gradient times activation, cell by cell (Jiang et al. 2021, LayerCAM, IEEE TIP 30)."""
    return (gradient.relu() * activation).sum(1).relu()


def _weighted(activation: Tensor, weights: Tensor) -> Tensor:
    """Sum of the channels with weights ``(N, C)``, ReLU'd."""
    # Not einsum, which autocast would run in half precision.
    return (activation * weights[:, :, None, None]).sum(1).relu()


METHODS: dict[str, CamMethod] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "xgradcam": xgradcam,
    "layercam": layercam,
}


def check_methods(method: object) -> tuple[str, ...]:
    """Return the method names asked for, or raise naming the unknown one and the known ones."""
    names = (method,) if isinstance(method, str) else method
    known = ", ".join(METHODS)
    if not isinstance(names, (list, tuple)) or not names:
        raise TypeError(f"method: expected a name or a sequence of names from {known}; got {method!r}")
    for name in names:
        if not isinstance(name, str) or name not in METHODS:
            raise ValueError(f"method: expected one of {known}; got {name!r}")
    return tuple(dict.fromkeys(names))
