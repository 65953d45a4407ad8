"""CAM methods that one pass answers: from the target layer's activation and gradient to a map.

Every function takes ``activation`` and ``gradient``, both ``(N, C, *grid)`` float32, and returns ``(N, C, *grid)``
float32: what each channel adds to the map. The map is their sum over channels or, for the eigen methods, their first
principal component; then ReLU'd. The gradient is that of one score a picture with respect to the activation. The grid
has any rank: 1 for a signal, 2 for a picture, 3 for a volume or a film.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from camdebug.cam.methods.projection import (
    component_towards_magnitude,
    component_towards_peak,
    component_towards_sum,
    kernel_component,
)

Channels = Callable[[Tensor, Tensor], Tensor]
Gather = Callable[[Tensor], Tensor]
"""``(N, C, *grid) -> (N, *grid)``."""


def summed(added: Tensor) -> Tensor:
    """``(N, *grid)``: what all channels of ``(N, C, *grid)`` add."""
    return added.sum(1)


@dataclass(frozen=True)
class OnePass:
    """A method that needs an activation and, mostly, a gradient.

    Attributes:
        name: of the method.
        channels: what each channel adds to the map.
        uses_gradient: whether ``channels`` looks at the gradient; if not, the activation is given in its place.
        gather: makes one map of what channels add.
    """

    name: str
    channels: Channels
    uses_gradient: bool = True
    gather: Gather = summed

    def signed_map(self, activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
        """``(N, *grid)`` float32, before any ReLU.

        Args:
            activation: ``(N, C, *grid)`` float32.
            gradient: of one score a picture, like the activation.
            eigen_smooth: the first principal component of what channels add, instead of their sum. A method that
                takes a component anyway stays as it is.
        """
        smooth = eigen_smooth and self.gather is summed
        return (component_towards_sum if smooth else self.gather)(self.channels(activation, gradient))


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


def gradcam_elementwise(activation: Tensor, gradient: Tensor) -> Tensor:
    """Gradient times activation where that is positive, cell by cell (Pillai & Pirsiavash 2021, AAAI 35)."""
    return (gradient * activation).relu()


def seg_eigencam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Activation times absolute gradient (Chung & Ying 2025, Seg-Eigen-CAM, Applied Sciences 15:7562)."""
    return activation * gradient.abs()


def plain_activation(activation: Tensor, _gradient: Tensor) -> Tensor:
    """The activation alone: for any class the same."""
    return activation


def fem(activation: Tensor, _gradient: Tensor) -> Tensor:
    """Cells above mean + 2 sigma of their channel, weighted by that mean (Fuad et al. 2020, IPTA, FEM).

    For any class the same. Of 5 cells or fewer, none can be that far above the mean.
    """
    cells = _cells(activation)
    mean = activation.mean(cells, keepdim=True)
    above = activation - mean
    sigma = above.square().mean(cells, keepdim=True).sqrt()
    return mean * (above > 2 * sigma)


def _cells(tensor: Tensor) -> tuple[int, ...]:
    """The axes of the grid."""
    return tuple(range(2, tensor.ndim))


_ALL = (
    OnePass("gradcam", gradcam),
    OnePass("gradcam++", gradcam_plus_plus),
    OnePass("hirescam", hirescam),
    OnePass("xgradcam", xgradcam),
    OnePass("layercam", layercam),
    OnePass("gradcam-elementwise", gradcam_elementwise),
    # Like EigenCAM, of the evidence for a class.
    OnePass("eigengradcam", hirescam, gather=component_towards_sum),
    OnePass("seg-eigencam", seg_eigencam, gather=component_towards_peak),
    # Muhammad & Yeasin 2020, arXiv 2008.00299; with the cells centred, as is usual.
    OnePass("eigencam", plain_activation, uses_gradient=False, gather=component_towards_magnitude),
    # Karmani et al. 2024, arXiv 2410.00267.
    OnePass("kpca-cam", plain_activation, uses_gradient=False, gather=kernel_component),
    OnePass("fem", fem, uses_gradient=False),
)

ONE_PASS: dict[str, OnePass] = {method.name: method for method in _ALL}
