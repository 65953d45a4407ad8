"""``Lens``: what a look goes through. Layers of a model, and who shares the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from camdebug.cam.model.subject import Subject
from camdebug.cam.passes import Chunk, Pictures, ScoreFn, in_chunks, run_pass
from camdebug.cam.peers import ALONE, Peers
from camdebug.cam.target.layers import TargetLayer

Take = Callable[[Chunk], tuple[Tensor, ...]]
"""What is kept of a chunk: tensors on the CPU, one row for each picture."""


@dataclass(frozen=True, eq=False)
class Lens:
    """Use it inside ``borrowed(model)``.

    Args:
        subject: who is looked at.
        layers: the target layers, parts of the model; the first is where evidence is measured.
        chunk_size: pictures in one forward.
        peers: the processes that share every pass.
    """

    subject: Subject
    layers: tuple[TargetLayer, ...]
    chunk_size: int
    peers: Peers = ALONE

    @property
    def layer(self) -> TargetLayer:
        """The first target layer."""
        return self.layers[0]

    def over(
        self, images: Pictures, scores: Sequence[ScoreFn], take: Take, *, graph: bool = True
    ) -> tuple[Tensor, ...]:
        """Pass over all pictures and keep what ``take`` does, all rows in order, the same in every process.

        Chunks are dealt out to the processes whole, so each picture stands in the same chunk, beside the same
        neighbours, as in a single process, and what is kept is equal to the last bit.

        Args:
            images: ``(N, C, *size)``, or what makes slices of it; N > 0.
            scores: to take the gradients of.
            take: what is kept of a chunk.
            graph: whether gradients are wanted.
        """
        rows = in_chunks(len(images), self.chunk_size)
        mine = rows[self.peers.rank :: self.peers.count]
        # The same number of forwards everywhere, or a model that communicates in its own would wait for ever.
        spare = ceil(len(rows) / self.peers.count) - len(mine)
        chunks = run_pass(self.subject, self.layers, images, scores, rows=mine + rows[-1:] * spare, graph=graph)
        taken = [take(chunk) for chunk in chunks][: len(mine)]
        passes, dealt = zip(*self.peers.exchange(((len(images), len(scores)), taken)), strict=True)
        if len(set(passes)) > 1:  # rounding on unlike machines may tip a decision
            raise RuntimeError("the processes do not make the same pass")
        in_order = [dealt[i % self.peers.count][i // self.peers.count] for i in range(len(rows))]
        return tuple(torch.cat(parts) for parts in zip(*in_order, strict=True))
