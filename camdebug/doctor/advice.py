"""Which other layer to take, where the one that was examined will not do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from camdebug.cam.model.subject import Subject
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import LayerChoice, find_target_layers


@dataclass(frozen=True, eq=False)
class LayerAdvice:
    """Names another layer. Call it inside ``borrowed(model)``.

    Attributes:
        subject: who is examined.
        images: ``(n, C, *size)``.
        asked: the target layer that was asked for, if any.
        chosen: the layers that are examined.
        others: layers on other grids, the last ones first.
    """

    subject: Subject
    images: Tensor
    asked: LayerChoice
    chosen: tuple[TargetLayer, ...]
    others: tuple[TargetLayer, ...]

    def another(self) -> str:
        """A sentence: the layer that is found unasked where another was asked for, or else one on another grid."""
        names = {layer.name for layer in self.chosen}
        unasked = [layer for layer in self._unasked() if layer.name not in names]
        if unasked:
            return f"Choose another target_layer, such as {unasked[0].name}, the one that is found unasked."
        return f"Choose another target_layer{such_as(self.others, lambda _: True)}."

    def _unasked(self) -> tuple[TargetLayer, ...]:
        if self.asked is None:
            return ()
        try:
            return find_target_layers(self.subject, self.images, None)
        except (TypeError, ValueError):  # none is found by itself: then there is none to name
            return ()


def such_as(others: Sequence[TargetLayer], would_do: Callable[[tuple[int, ...]], bool]) -> str:
    """``, such as`` and the first of the layers whose grid would do; nothing where none would."""
    found = next((layer for layer in others if would_do(layer.grid)), None)
    return "" if found is None else f", such as {with_cells(found)}"


def with_cells(layer: TargetLayer) -> str:
    """Name and grid, such as ``layer3 14x14``."""
    return f"{layer.name} {'x'.join(map(str, layer.grid))}"
