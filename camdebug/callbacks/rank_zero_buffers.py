"""Buffers of all processes are those of rank zero for the time of a look.

Running statistics are local to a process: DDP hands rank zero's to the others at the next forward of the wrapper, but
a look comes before that. Maps of one probe set must be of one model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor, nn

from camdebug.cam.peers import Peers


@contextmanager
def rank_zero_buffers(model: nn.Module, peers: Peers) -> Iterator[None]:
    """Lend every process rank zero's buffers, and give each its own back. They travel only if they differ.

    Call it in all processes, inside ``peers.attempt()``.

    Args:
        model: the same in all processes but for its buffers.
        peers: the processes.
    """
    own = dict(model.named_buffers())
    if peers.count == 1 or len(set(peers.exchange(_digest(own)))) == 1:
        yield
        return
    theirs = peers.exchange({name: b.detach().cpu() for name, b in own.items()} if peers.rank == 0 else None)[0]
    kept = {name: buffer.detach().clone() for name, buffer in own.items()}
    try:
        _fill(own, theirs or {})
        yield
    finally:
        _fill(own, kept)


def _fill(buffers: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, buffer in buffers.items():
        buffer.detach().copy_(values[name])


def _digest(buffers: dict[str, Tensor]) -> str:
    found = blake2b()
    for name, buffer in buffers.items():
        content = buffer.detach().cpu().contiguous().reshape(-1)
        found.update(f"{name} {buffer.dtype} {tuple(buffer.shape)}".encode())
        found.update(content.view(torch.uint8).numpy().data)
    return found.hexdigest()
