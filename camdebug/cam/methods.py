"""CAM methods that one pass answers: from the target layer's activation and gradient to a map.

Every function takes ``activation`` and ``gradient``, both ``(N, C, *grid)`` float32, and returns ``(N, C, *grid)``
float32: what each channel adds to the map. The map is their sum over channels, ReLU'd. The gradient is that of one
score a picture with respect to the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Channels = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class OnePass:
    """A method that needs an activation and, mostly, a gradient.

    Attributes:
        name: of the method.
        channels: what each channel adds to the map.
        uses_gradient: whether ``channels`` looks at the gradient; if not, the activation is given in its place.
    """

    name: str
    channels: Channels
    uses_gradient: bool = True

    def signed_map(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """``(N, *grid)`` float32, before any ReLU."""
        return self.channels(activation, gradient).sum(1)


def signed_hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """HiResCAM before its ReLU: the evidence of each cell, in units of the score, ``(N, *grid)``.

    For a head that is linear after the target layer the cells sum to the score less its bias
    (Draelos & Carin 2020, arXiv 2011.08891).
    """
    return hirescam(activation, gradient).sum(1)


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Gradient times activation (Draelos & Carin 2020, arXiv 2011.08891)."""
    return activation * gradient


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017, arXiv 1610.02391)."""
    return activation * gradient.mean(_cells(gradient), keepdim=True)


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by positive gradients with second-order coefficients (Chattopadhay et al. 2018, 1710.11063).

    The 1e-6 in the denominator is the field's convention. It makes the map depend on the scale of the gradient where
    gradients are below about 1e-3, so its magnitudes cannot be compared over training; its shape can.
    """
    squared, cells = gradient.square(), _cells(gradient)
    denominator = 2 * squared + activation.sum(cells, keepdim=True) * squared * gradient + 1e-6
    alpha = torch.where(gradient != 0, squared / denominator, 0.0)
    return activation * (gradient.relu() * alpha).sum(cells, keepdim=True)


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their activation-normalised gradient (Fu et al. 2020, arXiv 2008.02312)."""
    cells = _cells(activation)
    total = activation.sum(cells, keepdim=True)
    return activation * (gradient * activation / (total + 1e-7)).sum(cells, keepdim=True)


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Positive gradient times activation, cell by cell (Jiang et al. 2021, LayerCAM, IEEE TIP 30)."""
    return gradient.relu() * activation


def _cells(tensor: Tensor) -> tuple[int, ...]:
    """The axes of the grid."""
    return tuple(range(2, tensor.ndim))


_ALL = (
    OnePass("gradcam", gradcam),
    OnePass("gradcam++", gradcam_plus_plus),
    OnePass("hirescam", hirescam),
    OnePass("xgradcam", xgradcam),
    OnePass("layercam", layercam),
)

ONE_PASS: dict[str, OnePass] = {method.name: method for method in _ALL}
