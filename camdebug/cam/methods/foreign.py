"""Methods that are not ours: a callable of the user's, run so that the model and its training notice nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camdebug.cam.lending.stand_ins import harmless
from camdebug.cam.model.calling import calling
from camdebug.cam.passes import Chunk
from camdebug.wording import visible

CamFn = Callable[[nn.Module, Tensor, Tensor], Any]
"""``(model, images (n, C, *size), class_idx (n,) int64) -> (n, *grid)``: the user's own method."""


@dataclass(frozen=True)
class Foreign:
    """A callable as a method.

    It gets the model in evaluation mode with gradients on, a copy of the pictures as the model takes them, and the
    class to explain for each. It may call ``backward()``, step optimizers, change modes, modules, hooks and random
    number generators: copies stand in for the parameters, and all else is put back (:func:`harmless`). Its generators
    start from the same seed for the same pictures, so that what differs between looks is the model.

    Attributes:
        function: returns one map for each picture, ``(n, *grid)`` with any number of cells, a tensor or an array of
            real numbers; the sign is as it comes, evidence for the class above 0.
        name: of the method.
    """

    function: CamFn
    name: str

    @property
    def layered(self) -> bool:
        """It knows of no target layer."""
        return False

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """What the callable returns, ``(n, *grid)`` float32. ``layer_index`` is not read.

        Raises:
            TypeError, ValueError: when that is no map for each picture, or the callable takes other arguments.
            RuntimeError: when the callable raised an error, or wrote to the training's own parameters.
        """
        subject = chunk.subject
        with harmless(subject.model, name=self.name, seed=chunk.rows.start), subject.precision.context():
            with calling(f"method: {self.name}"):
                found = self.function(subject.model, chunk.pictures.clone(), class_idx.clone())
            return as_maps(found, chunk.pictures, self.name)


def foreign(function: CamFn) -> Foreign:
    """A callable as a method, under its own name.

    >>> def brightness(model, images, class_idx):
    ...     return images.sum(1)
    >>> foreign(brightness).name
    'brightness'
    """
    return Foreign(function, name_of(function))


def name_of(function: CamFn) -> str:
    """``__name__``, that of what a ``partial`` calls, the class of an object; for a lambda where it is written.

    So a lambda is ``"custom (file.py:12)"``, for maps of two different ones must not be compared when a training is
    resumed. Without characters that cannot be printed, and at most 60 long.
    """
    while isinstance(function, partial):
        function = function.func
    name = str(getattr(function, "__name__", type(function).__name__))
    code = getattr(function, "__code__", None)
    if name == "<lambda>" and code is not None:
        line = f":{code.co_firstlineno})"
        return f"custom ({visible(PurePath(code.co_filename).name)}"[: _LONGEST - len(line)] + line
    return "custom" if name == "<lambda>" else visible(name)[:_LONGEST].strip() or "custom"


_LONGEST = 60


def as_maps(found: object, pictures: Tensor, name: str) -> Tensor:
    """What a method returned, checked and copied: ``(n, *grid)`` float32 without a graph. NaN and Inf may be in it.

    Args:
        found: what it returned.
        pictures: ``(n, C, *size)``, what it was given.
        name: of the method.

    Raises:
        TypeError: when it is no tensor or array of real numbers.
        ValueError: when it is not one map for each picture.
    """
    axes = pictures.shape[2:]
    expected = f"({', '.join([str(len(pictures)), *_AXES[-len(axes) :]])})"
    text = f"method: expected maps {expected}, one for each picture, from {name}"
    if not isinstance(found, (Tensor, np.ndarray)):
        raise TypeError(f"{text}, a tensor or an array; got {type(found).__name__}")
    if isinstance(found, np.ndarray) and found.dtype.kind not in "biuf":
        raise TypeError(f"{text}; got an array of {found.dtype}")
    if isinstance(found, Tensor) and found.is_complex():
        raise TypeError(f"{text}; got a tensor of {found.dtype}")
    shape = tuple(found.shape)
    if len(shape) != 1 + len(axes) or shape[0] != len(pictures) or 0 in shape:
        raise ValueError(f"{text}; got shape {shape}{_hint(shape, tuple(pictures.shape))}")
    if isinstance(found, Tensor):
        return found.detach().to_dense().to(torch.float32, copy=True)
    return torch.from_numpy(found.astype(np.float32, order="C"))


def _hint(shape: tuple[int, ...], pictures: tuple[int, ...]) -> str:
    if len(shape) == len(pictures) and shape[:2] == (pictures[0], 1):
        return "; leave out the axis of channels with squeeze(1)"
    return "; sum it over channels" if shape == pictures else ""


_AXES = ("d", "h", "w")
