"""Where and in which number format the model wants its pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from torch import Tensor, nn


class Precision(Protocol):
    """How pictures enter the model: Lightning's precision plugin in training, the model's own format elsewhere."""

    def convert(self, images: Tensor) -> Tensor:
        """Move pictures to the model's device and number format."""
        ...

    def context(self) -> AbstractContextManager[Any]:
        """The context that a forward needs (autocast, default dtype)."""
        ...


class ModelPrecision:
    """Pictures take the device and dtype of the model's parameters; autocast, if on, goes on from there."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        floating = [t for t in tensors if t.is_floating_point()]
        self._device = tensors[0].device if tensors else None
        self._dtype = floating[0].dtype if floating else None

    def convert(self, images: Tensor) -> Tensor:
        """Move pictures to the model's device and number format."""
        return images.to(self._device, self._dtype)

    def context(self) -> AbstractContextManager[Any]:
        """Nothing beyond what the caller has set."""
        return nullcontext()
