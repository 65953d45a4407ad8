"""Smooth Grad-CAM++: Grad-CAM++ whose gradients are averaged over noisy copies of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camdebug.cam.methods.whole_network import widened
from camdebug.cam.passes import Chunk, GradMode, in_chunks, look_at

# As in Grad-CAM++, which this is without noise.
_EPSILON = 1e-6


@dataclass(frozen=True)
class SmoothGradCamPlusPlus:
    """Grad-CAM++ with first, second and third powers of the gradient averaged over noisy copies (Omeiza et al. 2019).

    With ``D1, D2, D3`` these means and ``A`` the activation of the picture itself, the weight of a channel is the sum
    over cells of ``relu(D1) * D2 / (2 * D2 + sum(A) * D3)``. The paper (arXiv 1908.01224) prints ``D1`` above the
    fraction's line; with ``D2`` it is Grad-CAM++ where there is no noise, from which it is derived.

    The noise has a generator of its own, which starts anew for each picture from ``seed`` and the picture's row, so the
    same row gets the same noise at every look, whatever the chunks and whichever process looks.

    Attributes:
        samples: noisy copies of each picture.
        std: standard deviation of the Gaussian noise, as a share of the picture's own range (its highest value less
            its lowest); 0.1 to 0.2 is usual (Smilkov et al. 2017, arXiv 1706.03825).
        seed: of the noise.
    """

    samples: int = 4
    std: float = 0.15
    seed: int = 0
    name: str = field(default="smooth-gradcam++", init=False)
    layered: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: expected a whole number, {least} or more, got {value!r}")
        if not isinstance(self.std, (int, float)) or not 0 <= self.std < math.inf:
            raise ValueError(f"std: expected a share of the picture's range, 0 or more, got {self.std!r}")

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        No forward has more pictures than the chunk.
        """
        count = len(chunk.pictures)
        ways: list[GradMode] = [torch.no_grad, torch.enable_grad]
        parts = in_chunks(count, max(1, count // self.samples))
        means = [self._mean_powers(chunk, layer_index, class_idx, part, ways) for part in parts]
        first, second, third = (torch.cat(power) for power in zip(*means, strict=True))
        activation = chunk.views[layer_index].activation
        cells = tuple(range(2, activation.ndim))
        denominator = 2 * second + activation.sum(cells, keepdim=True) * third + _EPSILON
        alpha = torch.where(second != 0, second / denominator, 0.0)
        return (activation * (first.relu() * alpha).sum(cells, keepdim=True)).sum(1)

    def _mean_powers(
        self, chunk: Chunk, layer_index: int, class_idx: Tensor, part: slice, ways: list[GradMode]
    ) -> list[Tensor]:
        """Of some of the pictures: the gradient, its square and its cube, each ``(n, C, *grid)``, mean over copies."""
        noise = self._noise(chunk, part)
        sums = [torch.zeros_like(chunk.views[layer_index].activation[part]) for _ in range(3)]
        for copies in in_chunks(self.samples, len(chunk.pictures) // noise.shape[1]):
            gradient = _gradient(chunk, layer_index, class_idx, part, noise[copies], ways)
            for power, total in enumerate(sums, 1):
                total += gradient.pow(power).sum(0)
        return [total / self.samples for total in sums]

    def _noise(self, chunk: Chunk, part: slice) -> Tensor:
        """``(samples, n, C, *size)``, drawn on the CPU, where all machines draw the same."""
        pictures = widened(chunk.pictures[part])
        axes = tuple(range(1, pictures.ndim))
        spread = pictures.amax(axes, keepdim=True) - pictures.amin(axes, keepdim=True)
        rows = range(chunk.rows.start + part.start, chunk.rows.start + part.stop)
        drawn = torch.stack([self._drawn(row, pictures.shape[1:]) for row in rows], 1)
        return drawn.to(pictures.device) * (spread * self.std)

    def _drawn(self, row: int, shape: torch.Size) -> Tensor:
        # The CPU's generator looks at 32 bits of a seed only.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + row) % 2**32)
        return torch.randn(self.samples, *shape, generator=generator)


def _gradient(
    chunk: Chunk, layer_index: int, class_idx: Tensor, part: slice, noise: Tensor, ways: list[GradMode]
) -> Tensor:
    """``(copies, n, C, *grid)`` float32, of noisy copies of some of the pictures, all in one forward."""
    copies = len(noise)

    def repeated(tensor: Tensor) -> Tensor:
        return tensor.repeat(copies, *[1] * (tensor.ndim - 1))

    wanted = repeated(class_idx[part])
    subject = chunk.subject.of_rows(repeated(torch.arange(chunk.rows.start, chunk.rows.stop)[part]))
    noisy = (chunk.pictures[part] + noise).flatten(0, 1)
    layer = chunk.views[layer_index].layer
    seen = look_at(subject, [layer], noisy, slice(0, len(noisy)), [lambda scores, _: scores.of(wanted)], ways)
    gradient = seen.view.gradients[0]
    return gradient.reshape(copies, -1, *gradient.shape[1:])
