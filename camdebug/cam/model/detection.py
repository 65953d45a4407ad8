"""Scores of pictures from what a detector found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from camdebug.cam.model.entries import Detections, described, scores_in


def best_scores(detections: Sequence[Detections], class_idx: Tensor) -> Tensor:
    """``(n,)``: in each of n pictures, the highest score of a detection of one class, ``(n,)`` int64; 0 without one.

    The 0 hangs on the graph: its gradient is 0, no evidence.
    """
    return torch.stack([_best(found, idx[None])[0] for found, idx in zip(detections, class_idx, strict=True)])


def best_table(detections: Sequence[Detections], num_classes: int) -> Tensor:
    """``(n, K)``: :func:`best_scores` of every class.

    Raises:
        ValueError: when a label is not one of the classes.
    """
    for labels in (found["labels"] for found in detections):
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"num_classes: expected more than any label, which is an index below it, got {num_classes} and labels "
                f"from {int(labels.min())} to {int(labels.max())}; torchvision's detectors count the background as 0"
            )
    classes = torch.arange(num_classes, device=detections[0]["scores"].device)
    return torch.stack([_best(found, classes) for found in detections])


def matched_box_score(
    output: Any,  # noqa: ANN401
    class_idx: Tensor,
    boxes: Tensor,
    *,
    min_iou: float = 0.5,
) -> Tensor:
    """``(n,)``: the score of the detection that a given box matches best, among those of one class in each picture.

    0, on the graph, where no box of the class has an IoU of ``min_iou``. grad-cam's ``FasterRCNNBoxScoreTarget`` adds
    the IoU to the score, and so explains the box's edges too; here the score alone is explained. For boxes that differ
    by picture: let ``forward_fn`` put them beside the detections, and ``score_fn`` take them there,
    ``lambda output, class_idx: matched_box_score(output["found"], class_idx, output["boxes"])``.

    Args:
        output: of a detector.
        class_idx: ``(n,)`` int64.
        boxes: ``(n, 4)`` or ``(1, 4)``: left, top, right, bottom, in pixels of the pictures as the model gets them.
        min_iou: the smallest overlap that is a match.

    Raises:
        TypeError: when there are no detections in the output.
        ValueError: when there are neither one nor n boxes.
    """
    detections = _detections_in(output)
    if len(boxes) not in (1, len(detections)):
        raise ValueError(
            f"boxes: expected one for all pictures, or one for each of the {len(detections)} pictures of this forward, "
            f"got {len(boxes)}"
        )
    pairs = zip(detections, class_idx, boxes.expand(len(detections), 4), strict=True)
    return torch.stack([_matched(found, idx, box, min_iou) for found, idx, box in pairs])


@dataclass(frozen=True, eq=False)
class MatchedBoxScore:
    """A ``score_fn``: the score of the detection of the class that matches a box.

    Args:
        boxes: ``(4,)`` or ``(1, 4)`` for all pictures, or ``(N, 4)``, one for each (``compute_cams`` alone takes that):
            left, top, right, bottom, in pixels of the pictures as the model gets them.
        min_iou: the smallest overlap (intersection over union) that is a match, above 0 and up to 1.

    Raises:
        TypeError, ValueError: when an argument is not as described.
    """

    boxes: Tensor
    min_iou: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.boxes, Tensor):
            raise TypeError(f"boxes: expected a tensor (4,) or (N, 4), got {type(self.boxes).__name__}")
        boxes = self.boxes[None] if self.boxes.ndim == 1 else self.boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
            raise ValueError(f"boxes: expected a shape (4,) or (N, 4), got {tuple(self.boxes.shape)}")
        if not (boxes[:, 2:] > boxes[:, :2]).all():
            raise ValueError(f"boxes: expected left < right and top < bottom, got {boxes.tolist()}")
        if not 0 < self.min_iou <= 1:
            raise ValueError(f"min_iou: expected above 0 and up to 1, got {self.min_iou!r}")
        object.__setattr__(self, "boxes", boxes)

    @property
    def of_pictures(self) -> int | None:
        """For how many pictures there are boxes; ``None`` when there is one for all."""
        return None if len(self.boxes) == 1 else len(self.boxes)

    def of_rows(self, rows: slice | Tensor) -> MatchedBoxScore:
        """For some of the pictures only."""
        return self if self.of_pictures is None else MatchedBoxScore(self.boxes[rows], self.min_iou)

    def __call__(self, output: Any, class_idx: Tensor) -> Tensor:  # noqa: ANN401
        """``(n,)`` scores from a detector's output and ``(n,)`` int64; see :func:`matched_box_score`."""
        return matched_box_score(output, class_idx, self.boxes, min_iou=self.min_iou)


def _detections_in(output: object) -> tuple[Detections, ...]:
    found = scores_in(output).value
    if isinstance(found, Tensor):
        raise TypeError(
            "score_fn: a box needs detections from the model, a dict with boxes, labels and scores for each picture, "
            f"got {described(output)}"
        )
    return found


def _best(found: Detections, classes: Tensor) -> Tensor:
    """``(k,)`` int64 -> ``(k,)``: the highest score of each class; of equal ones the first."""
    scores = found["scores"].float()
    if not len(scores):
        return _zero(scores).expand(len(classes))
    of_class = found["labels"][:, None] == classes
    first = torch.where(of_class, scores.detach()[:, None], -torch.inf).argmax(0)
    return torch.where(of_class.any(0), scores[first], _zero(scores))


def _matched(found: Detections, idx: Tensor, box: Tensor, min_iou: float) -> Tensor:
    scores, boxes = found["scores"].float(), found["boxes"].detach().double()
    overlap = torch.where(found["labels"] == idx, _iou(box.to(boxes), boxes), 0.0)
    if not len(overlap) or float(overlap.max()) < min_iou:
        return _zero(scores)
    return scores[overlap.argmax()]


def _zero(scores: Tensor) -> Tensor:
    """On the graph of the scores, also when there are none, or none that is a number."""
    return scores[:0].sum()


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """``(4,)`` and ``(M, 4)`` -> ``(M,)``: intersection over union."""
    sides = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])).clamp(min=0)
    shared = sides.prod(1)
    return shared / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared)
