"""The first principal component over the cells of a grid, with a sign that means something.

Each cell is a point whose coordinates are its channels. The points are centred and projected on the direction in which
they vary most; the projection is the map. No full decomposition of the cells is made: the smaller of the two Gram
matrices (cells by cells, or channels by channels) has the same component, and where both are large, Krylov
iteration finds it. All of it is float64.

A component has no sign of its own: it and its mirror image explain the points equally well. Here it points to where
there is more: to the side on which it correlates positively with a reference map. Where it does not correlate at all,
the cell that stands out most is positive, the first of them if several do equally.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MOST_DENSE = 256
"""Up to this side, decomposing a matrix is faster than iterating."""

_MOST_KERNEL_CELLS = 4096
_ALIKE = 1e-6
_TOLERANCE = 1e-10
_STEPS, _RESTARTS = 24, 30

Apply = Callable[[Tensor], Tensor]
"""``(side, k) -> (side, k)`` float64: a symmetric matrix times columns."""


def component_towards_sum(added: Tensor) -> Tensor:
    """First component, positive where the channels' sum is above its mean: what eigen smoothing puts for the sum.

    Args:
        added: ``(N, C, *grid)`` floating point, what each channel adds to a map; the grid has any rank.

    Returns:
        ``(N, *grid)`` float32, in the units of ``added``, mean 0 over the cells. All 0 where cells do not differ, NaN
        for a picture with anything that is not finite.
    """
    return first_component(added, added.sum(1))


def component_towards_magnitude(activation: Tensor) -> Tensor:
    """First component, positive where the absolute activation is large. Shapes as :func:`component_towards_sum`."""
    return first_component(activation, activation.abs().sum(1))


def component_towards_peak(added: Tensor) -> Tensor:
    """First component whose largest cell in absolute value is positive. Shapes as :func:`component_towards_sum`."""
    return first_component(added, torch.zeros_like(added[:, 0]))


def first_component(added: Tensor, towards: Tensor) -> Tensor:
    """Projection of centred cells on the direction in which they vary most.

    Args:
        added: ``(N, C, *grid)`` floating point.
        towards: ``(N, *grid)``, the map with which the projection shall not correlate negatively.

    Returns:
        ``(N, *grid)`` float32, as :func:`component_towards_sum` has it.
    """
    points, finite = _centred(added)
    found = _projected(points) if min(points.shape[1:]) <= _MOST_DENSE else _each(points, _iterated)
    return _finished(found, finite, towards)


def kernel_component(activation: Tensor) -> Tensor:
    """First kernel principal component of the cells, positive where the absolute activation is large.

    The kernel of two centred cells x and y is tanh(x.y / s + 1), s being the mean square length of the picture's
    cells. So the map does not depend on the units of the activation. At unit variance s is the number of channels.

    Args:
        activation: ``(N, C, *grid)`` floating point.

    Returns:
        ``(N, *grid)`` float32 without unit; otherwise as :func:`component_towards_sum` has it.

    Raises:
        ValueError: for more than 4096 cells, each of which would be compared with every other.
    """
    points, finite = _centred(activation)
    if points.shape[1] > _MOST_KERNEL_CELLS:
        raise ValueError(
            f"method: 'kpca-cam' compares each cell with every other; expected up to {_MOST_KERNEL_CELLS} cells, got "
            f"{points.shape[1]}; choose a deeper target_layer, or 'eigencam'"
        )
    plain = _exact(activation).flatten(2).nan_to_num(0.0, 0.0, 0.0).square().sum(1).mean(1)
    square = points.square().sum(2).mean(1)
    varied = square > 1e-12 * plain  # less is rounding
    scale = torch.where(varied, square, 1.0)[:, None, None]
    kernel = (points @ points.mT / scale + 1).tanh() * varied[:, None, None]
    across = kernel.mean(1, keepdim=True)
    kernel = kernel - across - across.mT + across.mean(2, keepdim=True)
    return _finished(_scaled_top(kernel), finite, activation.abs().sum(1))


def _exact(tensor: Tensor) -> Tensor:
    """Float64; on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _centred(added: Tensor) -> tuple[Tensor, Tensor]:
    """Points ``(N, cells, C)`` float64 about their mean, and which pictures ``(N,)`` are finite; others are set 0."""
    points = _exact(added).flatten(2).mT
    finite = points.isfinite().flatten(1).all(1)
    points = torch.where(finite[:, None, None], points, 0.0)
    return points - points.mean(1, keepdim=True), finite


def _projected(points: Tensor) -> Tensor:
    """``(N, cells)`` by the smaller Gram matrix."""
    _, cells, channels = points.shape
    if cells <= channels:
        return _scaled_top(points @ points.mT)
    direction = _eigh(points.mT @ points)[1][:, :, -1:]
    return (points @ direction)[:, :, 0]


def _scaled_top(gram: Tensor) -> Tensor:
    """``(N, cells)``: the top eigenvector of each ``(cells, cells)``, times the root of its eigenvalue."""
    if gram.shape[1] > _MOST_DENSE:
        return _each(gram, lambda one: _scaled(*_krylov(lambda x: one @ x, len(one), one.device)))
    values, vectors = _eigh(gram)
    return _scaled(values[:, -1:], vectors[:, :, -1])


def _eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """On the CPU, which is good at small matrices, wherever they are."""
    values, vectors = torch.linalg.eigh(matrices.cpu())
    return values.to(matrices.device), vectors.to(matrices.device)


def _scaled(value: Tensor, vector: Tensor) -> Tensor:
    return vector * value.clamp(min=0).sqrt()


def _each(tensors: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """One by one, so that a picture's iteration does not depend on its neighbours."""
    return torch.stack([work(tensor) for tensor in tensors])


def _iterated(points: Tensor) -> Tensor:
    """``(cells,)`` of one picture ``(cells, C)`` without any Gram matrix."""
    across = points.mT
    if len(points) <= len(across):
        return _scaled(*_krylov(lambda x: points @ (across @ x), len(points), points.device))
    _, direction = _krylov(lambda x: across @ (points @ x), len(across), points.device)
    return points @ direction


def _krylov(apply: Apply, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Largest eigenvalue ``()`` and its unit vector ``(side,)`` of a symmetric matrix, by restarted Krylov iteration.

    It ends when the residual is 1e-10 of the eigenvalue, or after 30 restarts. Then the first two eigenvalues
    are so close that the component is hardly defined.
    """
    # Of its own generator: the training's random numbers stay where they are.
    vector = torch.randn(side, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    for _ in range(_RESTARTS):
        basis = _krylov_basis(apply, vector)
        image = apply(basis)
        values, small = _eigh(basis.mT @ image)
        value, vector = values[-1], basis @ small[:, -1:]
        if (image @ small[:, -1:] - value * vector).norm() <= _TOLERANCE * value.abs():
            break
    return value, vector[:, 0]


def _krylov_basis(apply: Apply, vector: Tensor) -> Tensor:
    """``(side, steps)``: orthonormal columns that span the vector and its images; 0 where there are no more."""
    basis = torch.zeros(len(vector), _STEPS, dtype=vector.dtype, device=vector.device)
    basis[:, :1] = vector / vector.norm()
    for step in range(1, _STEPS):
        image = apply(basis[:, step - 1 : step])
        new = image
        for _ in range(2):  # once is not enough: rounding
            new = new - basis @ (basis.mT @ new)
        length = new.norm()
        if length <= 1e-13 * image.norm():
            break
        basis[:, step : step + 1] = new / length
    return basis


def _finished(projection: Tensor, finite: Tensor, towards: Tensor) -> Tensor:
    """``(N, *grid)`` float32 where ``towards`` is, with its sign; NaN for pictures that are not finite."""
    turned = _turned(projection, _exact(towards).flatten(1).nan_to_num(0.0, 0.0, 0.0))
    turned = torch.where(finite[:, None], turned, torch.nan)
    return turned.float().to(towards.device).reshape(towards.shape)


def _turned(projection: Tensor, towards: Tensor) -> Tensor:
    """``(N, cells)`` with the sign that the module describes."""
    reference = towards - towards.mean(1, keepdim=True)
    agreement = (projection * reference).sum(1)
    sure = agreement.abs() > _ALIKE * projection.norm(dim=1) * reference.norm(dim=1)
    height = projection.abs()
    standing_out = height >= (1 - _ALIKE) * height.amax(1, keepdim=True)
    first = (standing_out * torch.arange(height.shape[1], 0, -1, device=height.device)).argmax(1, keepdim=True)
    decisive = torch.where(sure, agreement, projection.gather(1, first)[:, 0])
    return projection * torch.where(decisive < 0, -1.0, 1.0)[:, None]
