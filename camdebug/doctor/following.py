"""Do the cells of the grid lie where their part of the picture does?

One corner of a picture, half of each side, is made brighter, and the cells that change are looked at. A wrong layout, a
transposed grid and a layer that has lost all sense of place are found by it. What counts is a cell's change over its
mean for all corners: in a deep network that is untrained, cells at the rim change less than others, whatever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import comb

import torch
from torch import Tensor

from camdebug.cam.lens import Lens
from camdebug.cam.passes import Chunk
from camdebug.doctor.advice import LayerAdvice
from camdebug.doctor.facts import FollowFacts
from camdebug.doctor.findings import Findings
from camdebug.wording import shown_name

_PICTURES = 4
_ENOUGH = 0.75
_LEVEL = 0.01
"""So seldom may chance reach as many hits for them to be above it. The pictures of a corner mostly agree, so the level
is one at which two corners of four, all of whose pictures hit, are still chance."""
_TELLING = 4
"""Cells along each axis; on fewer, each of a deep network sees most of the picture, and a miss proves nothing."""
_STILL = 1e-6
"""Share of the largest change of any cell; a cell that changes less is taken to stay as it is."""
_BRIGHTER = 2.0
"""By so many standard deviations of the pictures."""

Corner = tuple[int, ...]
"""0 for the first half of an axis, 1 for the second."""


def check_following(lens: Lens, images: Tensor, findings: Findings, advice: LayerAdvice) -> FollowFacts | None:
    """Change corners of a few pictures and see which cells change. Call inside ``borrowed(model)``.

    Args:
        lens: what is looked through.
        images: ``(n, C, *size)``.
        findings: where what is found goes.
        advice: names another layer.

    Returns:
        What was found; ``None`` where the grid has one cell along an axis, or nothing changed at all.
    """
    grid = lens.layer.grid
    if min(grid) < 2 or len(grid) != images.ndim - 2:
        findings.note(f"A grid of {_by(grid)} cells cannot be checked for whether maps follow the picture.")
        return None
    images = images[:_PICTURES]
    corners = list(product((0, 1), repeat=len(grid)))
    before = _activation(lens, images).double()
    changes = torch.stack(
        [(_activation(lens, brightened(images, corner)).double() - before).abs() for corner in corners]
    )
    shares = torch.stack([corner_share(grid, corner) for corner in corners])
    facts = _facts(corners, most_changed(changes.nan_to_num(0.0, 0.0, 0.0).sum(2), shares))
    if facts.trials == 0:
        findings.problem(
            f"{shown_name(lens.layer.name)} does not respond to the picture: its output stays the same when a corner "
            f"is made brighter. {advice.another()}"
        )
        return None
    _judge(facts, findings, lens.layer.name, grid, advice.another)
    return facts


def brightened(images: Tensor, corner: Corner) -> Tensor:
    """Pictures ``(n, C, *size)`` with one corner brighter, half of each side; all else is as it was.

    >>> brightened(torch.zeros(1, 1, 2, 2), (0, 1))
    tensor([[[[0., 1.],
              [0., 0.]]]])
    """
    deviation = float(images.double().std(correction=0))
    changed = images.clone()
    halves = [
        slice(0, size // 2) if half == 0 else slice(size // 2, None)
        for size, half in zip(images.shape[2:], corner, strict=True)
    ]
    part = (slice(None), slice(None), *halves)
    changed[part] += _BRIGHTER * deviation if deviation > 0 else 1.0
    return changed


def corner_share(grid: Sequence[int], corner: Corner) -> Tensor:
    """Share of each cell ``(*grid)`` that lies in a corner, half of each side; float64.

    >>> corner_share((1, 3), (0, 0))
    tensor([[0.5000, 0.2500, 0.0000]], dtype=torch.float64)
    """
    share = torch.ones((), dtype=torch.float64)
    for cells, half in zip(grid, corner, strict=True):
        first = (cells / 2 - torch.arange(cells, dtype=torch.float64)).clamp(0, 1)
        share = share[..., None] * (first if half == 0 else 1 - first)
    return share


def _activation(lens: Lens, images: Tensor) -> Tensor:
    def take(chunk: Chunk) -> tuple[Tensor]:
        return (chunk.view.activation.cpu(),)

    (found,) = lens.over(images, [], take, graph=False)
    return found


def most_changed(changes: Tensor, shares: Tensor) -> list[list[int | None]]:
    """For each corner made brighter, and each picture, the corner whose cells change most; ``None`` where none does.

    Args:
        changes: of each cell ``(corners, n, *grid)`` for each corner made brighter, 0 or more.
        shares: of each cell in each corner ``(corners, *grid)``.
    """
    cells = tuple(range(2, changes.ndim))
    usual = changes.mean(0)
    moved = usual > _STILL * usual.amax(tuple(range(1, usual.ndim)), keepdim=True)
    relative = torch.where(moved, changes / usual, 0.0)
    means = torch.stack([(relative * share).sum(cells) / share.sum() for share in shares], 2)
    return [[int(row.argmax()) if float(row.max()) > 0 else None for row in corner] for corner in means]


def _facts(corners: list[Corner], found: list[list[int | None]]) -> FollowFacts:
    trials = [
        (corner, corners[most]) for corner, row in zip(corners, found, strict=True) for most in row if most is not None
    ]
    return FollowFacts(
        trials=len(trials),
        hits=sum(changed == seen for changed, seen in trials),
        chance=1 / len(corners),
        exchanged=sum(changed[::-1] == seen for changed, seen in trials) if len(corners) == 4 else None,
    )


def _judge(facts: FollowFacts, findings: Findings, layer: str, grid: Sequence[int], another: Callable[[], str]) -> None:
    if facts.hits >= _ENOUGH * facts.trials:
        return
    layer = shown_name(layer)
    found = f"{facts.hits} of {facts.trials} trials"
    if min(grid) < _TELLING:
        findings.note(
            f"On {_by(grid)} cells of {layer} a brighter corner changes its own cells most in {found} only: each cell "
            "sees most of the picture, so maps tell little of places."
        )
        return
    exchanged = facts.exchanged is not None and facts.exchanged >= _ENOUGH * facts.trials
    if not exchanged and by_chance(facts.hits, facts.trials, facts.chance) <= _LEVEL:
        findings.note(
            f"Maps of {layer} follow the picture loosely: a brighter corner changes its own cells most in {found} "
            f"(chance {facts.chance * facts.trials:.0f}). Each cell sees much of the picture, so maps tell less of "
            "places than their cells are small."
        )
        return
    if not exchanged:
        why = f"A cell of it does not stand for the part of the picture at its place. {another()}"
    else:
        why = (
            f"With rows and columns exchanged it is {facts.exchanged} of {facts.trials}: the output is laid out "
            "columns first. Choose a layer before that, or write the cells row by row."
        )
    findings.problem(
        f"maps of {layer} do not follow the picture: when one corner is made brighter, the cells there change most in "
        f"{found} (chance {facts.chance * facts.trials:.0f}). {why}"
    )


def by_chance(hits: int, trials: int, chance: float) -> float:
    """How often so many hits or more come about by chance, of a binomial.

    >>> by_chance(2, 2, 0.25), by_chance(0, 2, 0.25)
    (0.0625, 1.0)
    """
    return sum(comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1))


def _by(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))
