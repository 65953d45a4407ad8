"""Methods that ask the model again with something taken away, and chance as their control. None needs a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from camdebug.cam.methods.tail import Tail, tail_of
from camdebug.cam.passes import Chunk, LayerView, in_chunks

MOST_PIXELS = 2**21
"""Of the masked pictures in one forward, channels counted: 13 pictures ``(3, 224, 224)``."""

ROWS_FOR_EACH = 8
"""A forward has at most so many rows for each picture of the chunk: chunks get smaller where memory runs out."""

# What a tail remembers is as large as all that a few pictures give before the target layer.
_AT_A_TIME = 8
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class AblationCAM:
    """Channels weighted by the fall of the class score when they are set to 0 (Desai & Ramaswamy, WACV 2020).

    The paper divides the fall by the score itself. It is not divided here: a negative score would turn the sign of the
    whole map, a score near 0 would make it as large as one likes, and for a positive score nothing but the scale of the
    map changes. So the weights are in units of the score.

    Scores are as fine as the model's number format: in bfloat16 a fall of less than 1/256 of the score is rounding.
    """

    name: str = "ablationcam"
    layered: bool = True

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32. See :class:`camdebug.cam.methods.registry.Worker`."""
        wanted = class_idx.to(chunk.pictures.device)
        weights = [
            _falls(chunk, chunk.views[layer_index], part, wanted[part])
            for part in in_chunks(len(chunk.pictures), _AT_A_TIME)
        ]
        return _weighted(chunk.views[layer_index].activation, torch.cat(weights))


@dataclass(frozen=True)
class ScoreCAM:
    """Channels weighted by the class score of the picture masked with them (Wang et al. 2020, arXiv 1910.01279).

    A mask is the channel, upsampled bilinearly to the picture with cells at the centres of their pixels and scaled to
    0 to 1; one that is constant lets nothing through. Weights are the softmax over channels of the scores. The score of
    a baseline picture, which the paper subtracts, is the same for all channels, so it cannot change them.

    It costs a forward of the whole model for each channel of each picture.

    Attributes:
        top_k: weigh only so many channels of each picture, those whose activation varies most over the cells (largest
            standard deviation); the others weigh 0, and softmax is over those that are left. ``None``: all.
        align_corners: upsample with the outer cells at the corners of the picture, as grad-cam does.
    """

    top_k: int | None = None
    align_corners: bool = False
    layered: bool = True

    def __post_init__(self) -> None:
        k = self.top_k
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise ValueError(f"top_k: expected a whole number above 0, or None, got {k!r}")

    @property
    def name(self) -> str:
        """Maps that are made in different ways have different names."""
        return "".join(
            ["scorecam", "" if self.top_k is None else f"-top{self.top_k}", "-corners" if self.align_corners else ""]
        )

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32. See :class:`camdebug.cam.methods.registry.Worker`.

        Raises:
            ValueError: when the layer's grid has not as many axes as the picture.
        """
        activation, size = chunk.views[layer_index].activation, chunk.pictures.shape[2:]
        if len(size) != activation.ndim - 2:
            raise ValueError(
                f"method: scorecam expected a target layer with {len(size)} axes of cells, as the pictures have, got "
                f"{tuple(activation.shape[2:])} cells"
            )
        wanted = class_idx.to(chunk.pictures.device)
        weights = torch.zeros(activation.shape[:2], device=activation.device)
        for i, cells in enumerate(activation):
            asked = _most_varied(cells, self.top_k)
            weights[i, asked] = self._masked_scores(chunk, i, cells[asked], wanted[i]).to(weights).softmax(0)
        return _weighted(activation, weights)

    def _masked_scores(self, chunk: Chunk, picture: int, cells: Tensor, wanted: Tensor) -> Tensor:
        """``(C,)`` scores of one picture masked with each of ``(C, *grid)``.

        A constant channel masks all of the picture, so one forward answers for all of them. What is constant is told
        from the cells: upsampling may round them apart.
        """
        flat = cells.flatten(1)
        constant = (flat == flat[:, :1]).all(1)
        asked = torch.cat([(~constant).nonzero()[:, 0], constant.nonzero()[:1, 0]])
        size = chunk.pictures[picture].numel()
        parts = [asked[some] for some in in_chunks(len(asked), _rows_at_most(chunk, MOST_PIXELS // size))]
        found = torch.cat(
            [_scores(chunk, picture, self._masks(chunk, cells[part], constant[part]), wanted) for part in parts]
        )
        scores = found[-1].expand(len(cells)).clone()
        scores[asked] = found
        return scores

    def _masks(self, chunk: Chunk, cells: Tensor, constant: Tensor) -> Tensor:
        """``(k, *grid)`` to ``(k, 1, *size)`` from 0 to 1; those that are constant to 0."""
        size = chunk.pictures.shape[2:]
        up = F.interpolate(cells[:, None], size, mode=_INTERPOLATION[len(size)], align_corners=self.align_corners)
        axes = tuple(range(1, up.ndim))
        low, high = up.amin(axes, keepdim=True), up.amax(axes, keepdim=True)
        masks = up.sub_(low).div_(torch.where(high > low, high - low, 1.0))
        masks[constant] = 0.0
        return masks


@dataclass(frozen=True)
class RandomCAM:
    """Channels weighted by chance, uniformly from -1 to 1: what a map looks like that knows nothing of the class.

    Attributes:
        seed: weights depend on it and on the picture's place in the set alone.
    """

    seed: int = 0
    name: str = "randomcam"
    layered: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ValueError(f"seed: expected a whole number from 0, got {self.seed!r}")

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32. See :class:`camdebug.cam.methods.registry.Worker`."""
        activation = chunk.views[layer_index].activation
        rows, channels = range(chunk.rows.start, chunk.rows.start + len(activation)), activation.shape[1]
        weights = np.stack([np.random.default_rng((self.seed, row)).uniform(-1, 1, channels) for row in rows])
        return _weighted(activation, torch.from_numpy(weights).to(activation))


def _rows_at_most(chunk: Chunk, wanted: int) -> int:
    """It depends on sizes alone, so that all processes make as many forwards."""
    return max(1, min(wanted, ROWS_FOR_EACH * len(chunk.pictures)))


def _weighted(activation: Tensor, weights: Tensor) -> Tensor:
    """``(n, C, *grid)`` and ``(n, C)`` to ``(n, *grid)``."""
    return torch.einsum("nc...,nc->n...", activation, weights)


def _falls(chunk: Chunk, view: LayerView, part: slice, wanted: Tensor) -> Tensor:
    """``(n, C)`` float32: by how much the score falls without each channel, for a part of the chunk's pictures."""
    rows = slice(chunk.rows.start + part.start, chunk.rows.start + part.stop)
    tail = tail_of(chunk.subject, view.layer, chunk.pictures[part], rows, wanted)
    falls = torch.zeros(view.activation[part].shape[:2], device=view.activation.device)
    for i, cells in enumerate(view.layer.layout.cells(tail.output)):
        # Without a channel of zeros nothing changes.
        live = cells.flatten(1).count_nonzero(1).nonzero()[:, 0]
        for some in in_chunks(len(live), max(1, _rows_at_most(chunk, tail.rows_at_a_time) - 1)):
            falls[i, live[some]] = _fall(tail, i, live[some], wanted[i]).to(falls)
    return falls


def _fall(tail: Tail, picture: int, channels: Tensor, wanted: Tensor) -> Tensor:
    """``(k,)``. The whole score comes from the same forward, so that kernels which round differently make no fall."""
    count, layout = len(channels) + 1, tail.layer.layout
    which = torch.full((count,), picture)
    raw = tail.unchanged(which)
    cells = layout.cells(raw)
    cells[torch.arange(1, count, device=cells.device), channels] = 0
    scores = tail(which, layout.with_cells(raw, cells)).of(wanted.expand(count))
    return scores[0] - scores[1:]


def _most_varied(cells: Tensor, top_k: int | None) -> Tensor:
    """Indices of channels of ``(C, *grid)``, ascending."""
    if top_k is None or top_k >= len(cells):
        return torch.arange(len(cells), device=cells.device)
    spread = cells.flatten(1).std(1, correction=0)
    return spread.argsort(descending=True, stable=True)[:top_k].sort().values


def _scores(chunk: Chunk, picture: int, masks: Tensor, wanted: Tensor) -> Tensor:
    masked = chunk.pictures[picture] * masks.to(chunk.pictures.dtype)
    rows = torch.full((len(masks),), chunk.rows.start + picture)
    return chunk.subject.forward(masked, rows).of(wanted.expand(len(masks)))
