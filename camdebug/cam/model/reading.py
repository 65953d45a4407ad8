"""``OutputReader``: whatever a model gives, read as scores of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from camdebug.cam.model.detection import best_scores, best_table
from camdebug.cam.model.entries import Entry, UnreadableOutputError, are_detections, described, scores_in, tensors_in
from camdebug.cam.model.outputs import ClassScores, Link
from camdebug.cam.model.segmentation import two_columns, won_scores

Task = Literal["multiclass", "multilabel"]

OutputScoreFn = Callable[[Any, Tensor], Tensor]
"""``(output of the model, class_idx (n,) int64) -> (n,)``: the score of one class of each picture, on the graph."""


@dataclass(frozen=True)
class OutputReader:
    r"""Reads a model's output.

    ===========================================  ========================================================  =========
    the model gives                              score of a class                                          link
    ===========================================  ========================================================  =========
    ``(N, K)``, K >= 2                           its entry                                                 softmax*
    ``(N, 1)`` or ``(N,)``: one logit, or the    class 1: the output, class 0: its negative                sigmoid
    value of a regression
    ``(N, K, H, W)``, also with a depth: maps    mean over the pixels that the class wins, over all when   softmax*
    of scores                                    it wins none (``segmentation.won_scores``)
    ``(N, 1, H, W)``                             likewise, from the two maps -z and z                      sigmoid
    a list with a dict of boxes, labels and      the highest score of a detection of the class, 0          identity
    scores for each picture                      without one
    a dict, named tuple or dataclass             what is named logits, out, scores, prediction(s) or       as above
                                                 logits_per_image, in this order, else the only entry
                                                 that can be read; several are refused
    a tuple or list                              its first entry; single numbers (a loss) and ``None``     as above
                                                 do not count
    ===========================================  ========================================================  =========

    \* sigmoid with ``task="multilabel"``; then a class wins the pixels where its score is above 0.

    Detectors do not tell how many classes they know: without ``num_classes`` there is no table and no prediction, but
    any class can be explained. Scores are logits: a model that ends with softmax or sigmoid is read all the same, but
    its probabilities come out flattened. Whatever the format, scores are float32 and on the graph.

    Args:
        task: ``"multiclass"``: one class excludes the others. ``"multilabel"``: several may be in a picture. ``None``:
            as in the table.
        score_fn: the score to explain, where none of the above is meant. Then the table is made by calling it once for
            each of ``num_classes``; without these it is read from the output by the rules above, and there is none
            where that cannot be done, or only because an entry stands first.
        num_classes: how many there are, for outputs that do not tell: those of detectors, and behind ``score_fn``.

    Raises:
        TypeError, ValueError: when an argument is not as described.
    """

    task: Task | None = None
    score_fn: OutputScoreFn | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.task not in (None, *get_args(Task)):
            raise ValueError(f"task: expected 'multiclass', 'multilabel' or None, got {self.task!r}")
        if self.score_fn is not None and not callable(self.score_fn):
            raise TypeError(
                "score_fn: expected a function of the output and class_idx (n,) that gives scores (n,), got "
                f"{type(self.score_fn).__name__}"
            )
        if self.num_classes is not None and (type(self.num_classes) is not int or self.num_classes < 1):
            raise ValueError(f"num_classes: expected a whole number above 0, got {self.num_classes!r}")

    def __call__(self, output: Any) -> ClassScores:  # noqa: ANN401
        """Scores of the pictures whose output this is.

        Raises:
            UnreadableOutputError: when the output cannot be read; the message says what came and what to pass.
            TypeError, ValueError: when ``score_fn`` gives no scores, or ``task`` contradicts it.
        """
        return self._read(scores_in(output)) if self.score_fn is None else self._asked(self.score_fn, output)

    @property
    def of_pictures(self) -> int | None:
        """For how many pictures ``score_fn`` has a region or a box each; ``None`` when it is the same for all."""
        found = getattr(self.score_fn, "of_pictures", None)
        return found if isinstance(found, int) else None

    def of_rows(self, rows: slice | Tensor) -> OutputReader:
        """For some of the pictures only."""
        if self.of_pictures is None:
            return self
        return replace(self, score_fn=self.score_fn.of_rows(rows))  # type: ignore[union-attr]

    def _read(self, entry: Entry) -> ClassScores:
        value, link = entry.value, self._link(entry)
        if not isinstance(value, Tensor):
            table = None if self.num_classes is None else best_table(value, self.num_classes)
            pick = partial(best_scores, value) if table is None else None
            return ClassScores(table, link, pick, value[0]["scores"].device)
        scores = value.float() if value.ndim > 1 else value.float()[:, None]
        scores = two_columns(scores) if scores.shape[1] == 1 else scores
        table = scores if scores.ndim == 2 else won_scores(scores, each_for_itself=link == "sigmoid")
        return ClassScores(table, link)

    def _link(self, entry: Entry) -> Link:
        value = entry.value
        if not isinstance(value, Tensor):
            if self.task == "multiclass":
                raise ValueError("task: a detector's classes do not exclude one another; leave 'multiclass' out")
            return "identity"
        single = value.ndim == 1 or value.shape[1] == 1
        if single and self.task == "multiclass":
            raise ValueError(
                f"task: 'multiclass' needs a score for each of two classes or more, got one output for each picture, "
                f"{described(value)}; leave task out"
            )
        return "sigmoid" if single or self.task == "multilabel" else "softmax"

    def _asked(self, score_fn: OutputScoreFn, output: object) -> ClassScores:
        pick = partial(_checked, score_fn, output)
        readable = self._readable(output)
        link: Link = "sigmoid" if self.task == "multilabel" else "softmax"
        if readable is not None and self.task is None:
            link = self._link(readable)
        if self.num_classes is not None:
            table: Tensor | None = _all_classes(pick, output, self.num_classes)
        else:
            table = None if readable is None else self._read(readable).table
        device = next((tensor.device for tensor in tensors_in(output)), None)
        return ClassScores(table, link, pick, device)

    @staticmethod
    def _readable(output: object) -> Entry | None:
        """What may be read beside a ``score_fn``: where the choice of an entry was free, the user's is not known."""
        try:
            entry = scores_in(output)
        except UnreadableOutputError:
            return None
        return None if entry.by_place else entry


def _checked(score_fn: OutputScoreFn, output: object, class_idx: Tensor) -> Tensor:
    """``(n,)`` float32 of the user's function."""
    score = score_fn(output, class_idx)
    if not isinstance(score, Tensor) or score.shape != class_idx.shape or not score.is_floating_point():
        raise TypeError(
            f"score_fn: expected scores of shape {tuple(class_idx.shape)}, one for each picture, got {described(score)}"
        )
    return score.float()


def _all_classes(pick: Callable[[Tensor], Tensor], output: object, num_classes: int) -> Tensor:
    """``(n, K)``."""
    sized = next((tensor for tensor in tensors_in(output) if tensor.ndim), None)
    if sized is None:
        raise ValueError(
            f"num_classes: cannot tell of how many pictures the model's output is, got {described(output)}; leave it "
            "out, or let the output hold a tensor (N, ...)"
        )
    count = len(output) if are_detections(output) else len(sized)
    classes = torch.arange(num_classes, device=sized.device)
    return torch.stack([pick(idx.expand(count)) for idx in classes], 1)
