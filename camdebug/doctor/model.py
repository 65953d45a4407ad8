"""What the model is made of, what it gives, and which of its layers is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camdebug.cam.model.outputs import ClassScores, Outputs
from camdebug.cam.model.subject import Subject
from camdebug.cam.passes import captured
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.search import spatial_layers
from camdebug.doctor.facts import LayerFacts, ModelFacts, OutputFacts

_OTHERS = 4
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_DROPOUT = nn.modules.dropout._DropoutNd


@dataclass
class NotingOutputs:
    """Reads outputs as ``outputs`` does, and notes what the last one was; ``raw`` stays empty until there is one."""

    outputs: Outputs
    raw: str = ""

    def __call__(self, output: Any) -> ClassScores:  # noqa: ANN401
        """Scores of the pictures that were passed."""
        self.raw = described(output)
        return self.outputs(output)


def described(output: object) -> str:
    """An output in a few words.

    >>> described(torch.zeros(1, 3)), described({"logits": 1}), described((1, 2))
    ('a tensor (1, 3)', 'a dict of logits', 'a tuple of 2')
    """
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    if isinstance(output, dict):
        return f"a {type(output).__name__} of {', '.join(map(str, list(output)[:5]))}"
    many = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
    return f"a {type(output).__name__}{many}"


def model_facts(model: nn.Module, converted: Tensor | None) -> ModelFacts:
    """What the model is made of; ``converted`` are pictures as they enter, if any could."""
    # A lazy parameter has no number of elements yet.
    parameters = [p for p in model.parameters() if not nn.parameter.is_lazy(p)]
    modules = list(model.modules())
    return ModelFacts(
        parameters=sum(p.numel() for p in parameters),
        frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        dtypes=tuple(sorted({short(p.dtype) for p in parameters})),
        batch_norms=sum(isinstance(m, _BATCH_NORM) for m in modules),
        dropouts=sum(isinstance(m, _DROPOUT) for m in modules),
        pictures=None
        if converted is None
        else f"{tuple(converted.shape[1:])} {short(converted.dtype)} on {converted.device}",
    )


def short(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def output_facts(raw: str, scores: ClassScores) -> OutputFacts:
    """What the scores of one picture tell."""
    table = scores.table
    return OutputFacts(
        raw=raw,
        classes=None if table is None else table.shape[1],
        link=scores.link,
        probabilities=table is not None and _are_probabilities(table, scores),
    )


def _are_probabilities(table: Tensor, scores: ClassScores) -> bool:
    """Rows of 0 or more that sum to 1, to the precision of bfloat16; of single classes it cannot be told."""
    sums_to_one = (table.sum(1) - 1).abs() < 1e-2
    return scores.link == "softmax" and bool((table >= 0).all()) and bool(sums_to_one.all())


def layer_facts(subject: Subject, layers: tuple[TargetLayer, ...], images: Tensor) -> tuple[LayerFacts, ...]:
    """What each target layer gives for one picture. Call inside ``borrowed(model)``."""
    with captured(layers, graph=False) as seen:
        subject.forward(subject.converted(images[:1]), slice(0, 1))
    return tuple(_layer_facts(layer, seen[layer.name][0]) for layer in layers)


def _layer_facts(layer: TargetLayer, output: Tensor) -> LayerFacts:
    shape = layer.layout.cells(output).shape[1:]
    return LayerFacts(layer.name, layer.reason, layer.layout.kind, tuple(shape), short(output.dtype), layer.grid)


def other_layers(subject: Subject, images: Tensor, chosen: tuple[TargetLayer, ...]) -> tuple[TargetLayer, ...]:
    """The last layer on each other grid, the last ones first: a few; none where none could be chosen unasked.

    Call inside ``borrowed(model)``.
    """
    grids = {layer.grid for layer in chosen}
    found: dict[tuple[int, ...], TargetLayer] = {}
    for layer in spatial_layers(subject, images):
        if layer.grid not in grids:
            found.setdefault(layer.grid, layer)
    return tuple(found.values())[:_OTHERS]
