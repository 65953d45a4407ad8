"""Maps of a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Class activation maps of a batch of pictures: raw, ReLU'd, on the target layer's own grid, never normalised.

    Attributes:
        maps: ``(N, h, w)`` float32 on the CPU, >= 0, in the units of the method (HiResCAM: score per cell).
        class_idx: ``(N,)`` int64, the class that each map explains.
        class_score: ``(N,)`` float32, the model's raw score (logit) of that class.
        predicted_class: ``(N,)`` int64, the class with the highest score.
        predicted_score: ``(N,)`` float32, its raw score (logit).
        method: name of the CAM method.
        layer: dotted name of the target layer.
    """

    maps: Tensor
    class_idx: Tensor
    class_score: Tensor
    predicted_class: Tensor
    predicted_score: Tensor
    method: str
    layer: str

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps, in cells."""
        return self.maps.shape[1], self.maps.shape[2]

    @property
    def correct(self) -> Tensor:
        """``(N,)`` bool: the predicted class is the explained one."""
        return self.predicted_class == self.class_idx
