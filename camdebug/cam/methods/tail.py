"""The rest of a network behind its target layer, run again and again without what comes before.

One forward records what the outermost modules gave that finish before the target layer. Later forwards get these
answers from memory and another output of the target layer, so only what lies behind it is computed. Whether that is
right depends on the model (it may keep things in attributes, or read the number of its pictures where it likes), so
each memory is put to the test: with the recorded output of the target layer it must give the recorded scores. If it
does not, the whole model runs each time and a hook alone replaces the output: always right, only slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camdebug.cam.methods.memory import Memory, Way, answering, recorded, rows_of
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import Subject
from camdebug.cam.shortage import is_out_of_memory
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import with_tensor

MOST_ELEMENTS = 2**22
"""Of the largest tensor in one forward: 16 MiB of float32. More is not faster on a CPU."""

# Batches of another size may take other kernels, which round differently.
_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True, eq=False)
class Tail:
    """What follows a target layer. Make it with :func:`tail_of`, inside ``borrowed(model)``, with gradients off.

    Attributes:
        subject: the model.
        layer: whose output is replaced.
        pictures: ``(n, C, *size)``, converted.
        rows: which pictures of the set they are.
        output: what the layer gave for them, raw: batch axis and number format are the layer's own.
        memory: answers of modules before the layer.
        way: how answers are given: ``"one"`` row for all rows of the same picture, ``"each"`` row its own, or
            ``"none"``: all runs again.
    """

    subject: Subject
    layer: TargetLayer
    pictures: Tensor
    rows: slice
    output: Tensor
    memory: Memory
    way: Way

    def __call__(self, which: Tensor, output: Tensor) -> ClassScores:
        """Scores with other outputs of the target layer.

        Args:
            which: ``(m,)`` int64 on the CPU: the picture that each row belongs to, from 0.
            output: ``m`` raw outputs of the layer, with the batch axis where the layer has it; the model may write to
                it.

        Returns:
            Scores of ``m`` rows.
        """
        one = self.way == "one" and bool((which == which[0]).all())
        # Before the layer all rows of a picture are alike, so one will do; what follows broadcasts it.
        entering = which[:1] if one else which
        with answering(self.memory.answers(which, one=one)), _replaced(self.layer.module, output):
            return self.subject.forward(self.pictures[entering.to(self.pictures.device)], self.rows.start + entering)

    def unchanged(self, which: Tensor) -> Tensor:
        """What the layer gave for these pictures: ``m`` rows, raw, a copy that may be written to."""
        return rows_of(self.output, which, self.layer.layout.batch_axis).contiguous()

    @property
    def rows_at_a_time(self) -> int:
        """How many rows to put into one forward. It depends on shapes alone, not on what is found."""
        widest = self.memory.widest_after if self.way == "one" else self.memory.widest
        return max(1, MOST_ELEMENTS // widest)


def tail_of(subject: Subject, layer: TargetLayer, pictures: Tensor, rows: slice, class_idx: Tensor) -> Tail:
    """Record one forward and find the fastest way that gives its scores again.

    Args:
        subject: the model.
        layer: whose output will be replaced.
        pictures: ``(n, C, *size)``, converted.
        rows: which pictures of the set they are.
        class_idx: ``(n,)`` int64 on the device of the scores: the classes whose scores are asked for.

    Returns:
        A tail that has passed the test, or one that runs the whole model.

    Raises:
        TargetLayerError: when the layer does not run exactly once.
        torch.OutOfMemoryError: memory has run out.
    """
    memory, output, scores = recorded(subject, layer, pictures, rows)
    tail = Tail(subject, layer, pictures, rows, output, memory, "each")
    expected = _comparable(scores, class_idx)
    # Turned round, so that a row from the wrong place shows.
    if not _holds(tail, torch.arange(len(pictures)).flip(0), expected, class_idx):
        return _forgetful(tail)
    twice = torch.zeros(2, dtype=torch.int64)
    ways: tuple[Way, ...] = ("one", "each")
    for way in ways:
        if _holds(found := replace(tail, way=way), twice, expected, class_idx):
            return found
    return _forgetful(tail)


def _forgetful(tail: Tail) -> Tail:
    return replace(tail, way="none", memory=replace(tail.memory, outputs={}))


def _holds(tail: Tail, which: Tensor, expected: Tensor, class_idx: Tensor) -> bool:
    """Whether the memory gives the recorded scores again."""
    there = which.to(expected.device)
    try:
        found = _comparable(tail(which, tail.unchanged(which)), class_idx[there])
    except Exception as error:
        # Whatever the model cannot do with these answers; if it fails anyway, the whole model will say so again.
        if is_out_of_memory(error):
            raise
        return False
    wanted = expected[there]
    if found.shape != wanted.shape:
        return False
    largest = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
    bound = largest * _TOLERANCE.get(tail.memory.coarsest, 1e-4)
    return torch.allclose(found, wanted, rtol=0, atol=bound, equal_nan=True)


def _comparable(scores: ClassScores, class_idx: Tensor) -> Tensor:
    """``(n, K)``: all scores where they are known, otherwise those of the classes that are asked for."""
    return scores.of(class_idx)[:, None] if scores.table is None else scores.table


@contextmanager
def _replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """The module's output has this tensor in it. The hook is the last one, so the model's own run before it."""

    def replace_it(_module: object, _inputs: object, came: object) -> object:
        return with_tensor(came, output)

    handle = module.register_forward_hook(replace_it)
    try:
        yield
    finally:
        handle.remove()
