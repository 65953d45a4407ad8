"""Maps of a batch of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MIN_PEAK = 1e-7
"""A map that nowhere reaches this is numerical noise: no evidence. In the units of the map, score per cell."""


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Class activation maps of a batch of pictures, raw: on the target layer's own grid, in the units of the method.

    ``h, w`` stand for the axes of the pictures: one for sequences, three for volumes and videos. Not raw are maps of
    several layers, each of which is divided by its peak first, and those of the grad-cam package, scaled to 0..1.
    Methods that look at no layer give maps of the picture's size.


    Attributes:
        maps: ``(N, h, w)`` float32 on the CPU (HiResCAM: score per cell); 0 or more unless ``sign="signed"`` was asked
            for.
        class_idx: ``(N,)`` int64, the class that each map explains.
        class_score: ``(N,)`` float32, the model's raw score (logit) of that class.
        predicted_class: ``(N,)`` int64, the class with the highest score; ``None`` when a ``score_fn`` explains an
            output that does not tell.
        predicted_score: ``(N,)`` float32, its raw score (logit); ``None`` likewise.
        method: name of the CAM method.
        layer: dotted name of the target layer.
    """

    maps: Tensor
    class_idx: Tensor
    class_score: Tensor
    predicted_class: Tensor | None
    predicted_score: Tensor | None
    method: str
    layer: str

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def empty(self) -> Tensor:
        """``(N,)`` bool: the map is nowhere more than numerical noise, so there is no evidence in it."""
        return self.maps.flatten(1).abs().amax(1) < MIN_PEAK

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along each axis of the maps: height and width, mostly."""
        return tuple(self.maps.shape[1:])

    @property
    def prediction(self) -> Tensor:
        """``(N,)`` int64, the predicted class.

        Raises:
            ValueError: when it is not known.
        """
        if self.predicted_class is None:
            raise ValueError("score_fn: the model's output does not tell which class it predicts")
        return self.predicted_class

    @property
    def correct(self) -> Tensor:
        """``(N,)`` bool: the predicted class is the explained one."""
        return self.prediction == self.class_idx
