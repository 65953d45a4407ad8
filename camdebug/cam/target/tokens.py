"""Where the cells of the picture are in an output: measured, by changing the picture here and there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from camdebug.cam.model.subject import Subject
from camdebug.cam.target.tracing import clean_name, watched
from camdebug.rng import preserved_rng

# Early outputs are the most local; a few of each shape are enough, and keep little memory.
_OF_EACH_SHAPE = 8
_LOCAL = 0.5
_LEAST_SHIFT = 0.05
_MOST_OBLONG = 2

# Off the middle, so that an order other than row by row cannot hit both by chance.
_INSIDE = ((0.29, 0.67, 0.41), (0.71, 0.37, 0.59))


Move = tuple[Tensor, ...]
"""For each axis of an output ``(P, cells along it)``: where it changes, squared, with each of P changes."""


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of a sequence that are cells, row by row: how many stand before them, and the grid."""

    first: int
    grid: tuple[int, ...]

    def cell(self, token: int) -> tuple[int, ...] | None:
        """Where on the grid a token is; ``None`` for those that are no cells.

        >>> TokenGrid(1, (2, 3)).cell(5)
        (1, 1)
        """
        rest, found = token - self.first, []
        if not 0 <= rest < math.prod(self.grid):
            return None
        for cells in reversed(self.grid):
            rest, at = divmod(rest, cells)
            found.append(at)
        return tuple(reversed(found))


@dataclass(frozen=True)
class Sequences:
    """What was measured.

    Attributes:
        grids: from the number of tokens to which of them are cells.
        out_of_order: numbers of tokens that follow places of the picture, but not row by row.
        channels_last: of outputs with as many axes as pictures have, by the module's name and by shape: whether changes
            move along the axes of ``(1, *grid, C)`` rather than those of ``(1, C, *grid)``. Left out where they move
            along neither.
    """

    grids: Mapping[int, TokenGrid]
    out_of_order: frozenset[int]
    channels_last: Mapping[str | tuple[int, ...], bool]

    def is_channels_last(self, name: str, shape: tuple[int, ...]) -> bool | None:
        """Of a module's output, or else of those of its shape; ``None`` where it is not known."""
        return self.channels_last.get(name, self.channels_last.get(shape))


def token_axis(shape: Sequence[int]) -> int | None:
    """The axis of the tokens in an output of one picture, ``(1, L, C)`` or ``(L, 1, C)``; ``None`` if it has none."""
    if len(shape) != 3 or 0 in shape:
        return None
    if shape[0] == 1 and shape[1] > 1:
        return 1
    return 0 if shape[1] == 1 and shape[0] > 1 else None


def measure(subject: Subject, picture: Tensor) -> Sequences:
    """Find the cells among tokens. Call inside ``borrowed(model)``.

    The picture is changed near one place after the other, and the tokens that change most tell the order. It costs five
    forwards of one picture, and one more for each of its axes.

    Args:
        subject: the model.
        picture: ``(1, C, *size)``.
    """
    rank, size = picture.ndim - 2, tuple(picture.shape[2:])
    places = _places(rank)
    shapes, moves = _moves(subject, picture, places)
    by_shape: dict[tuple[int, ...], list[Move]] = defaultdict(list)
    for name, move in moves.items():
        by_shape[shapes[name]].append(move)
    found: dict[str | tuple[int, ...], bool | None] = {k: _channels_last([move], rank) for k, move in moves.items()}
    found.update({shape: _channels_last(own, rank) for shape, own in by_shape.items()})
    lasts = {key: last for key, last in found.items() if last is not None}
    by_length: dict[int, list[Tensor]] = defaultdict(list)
    for name, move in moves.items():
        axis = token_axis(shapes[name])
        if axis is not None and (rank > 1 or lasts.get(name, axis == 0)):
            by_length[shapes[name][axis]].append(move[axis])
    return Sequences(*_grids(by_length, places, size), lasts)


def _moves(
    subject: Subject, picture: Tensor, places: Sequence[tuple[float, ...]]
) -> tuple[dict[str, tuple[int, ...]], dict[str, Move]]:
    """Shapes of outputs, and how they change. One changed picture's outputs are held at a time."""
    plain = _outputs(subject, picture)
    found: dict[str, list[Move]] = defaultdict(list)
    for place in places:
        for name, value in _outputs(subject, _changed(picture, place)).items():
            if name in plain and value.shape == plain[name].shape:
                energy = (value - plain[name]).square()
                axes = range(energy.ndim)
                found[name].append(tuple(energy.sum([a for a in axes if a != axis]) for axis in axes))
    whole = {name: own for name, own in found.items() if len(own) == len(places)}
    shapes = {name: tuple(plain[name].shape) for name in whole}
    return shapes, {name: tuple(torch.stack(axis) for axis in zip(*own, strict=True)) for name, own in whole.items()}


def _places(rank: int) -> list[tuple[float, ...]]:
    """The first cell, the last along each axis, the last of all, and two inside: fractions of each axis."""
    origin = (0.0,) * rank
    ends = [tuple(float(i == axis) for i in range(rank)) for axis in range(rank)]
    last = (1.0,) * rank
    return [origin, *ends, last, *(inside[:rank] for inside in _INSIDE)]


def _changed(picture: Tensor, place: Sequence[float]) -> Tensor:
    """A copy that fades towards the far end of the range of each channel near one place.

    The strength falls by the same factor from one cell to the next, so the cell at the place changes most, however
    large cells are.
    """
    weight = torch.ones((), dtype=torch.float32, device=picture.device)
    for axis, (side, at) in enumerate(zip(picture.shape[2:], place, strict=True)):
        pixels = torch.arange(side, device=picture.device)
        fall = (-(pixels - _pixel(at, side)).abs() / max(side / 64, 1)).exp()
        weight = weight[..., None] * fall if axis else fall
    values = picture.float()
    flat = values.flatten(2)
    low, high = flat.amin(2), flat.amax(2)
    here = flat[..., int(weight.argmax())]
    high = torch.where(high > low, high, low + 1)
    far = torch.where(here - low < high - here, high, low).reshape(*picture.shape[:2], *(1,) * len(place))
    return torch.lerp(values, far, weight).to(picture.dtype)


def _pixel(at: float, side: int) -> int:
    return round(at * (side - 1))


def _outputs(subject: Subject, picture: Tensor) -> dict[str, Tensor]:
    """Outputs that may be tokens or grids, by the module's name: the first ones of each shape."""
    found: dict[str, Tensor] = {}
    count: dict[tuple[int, ...], int] = defaultdict(int)

    def note(name: str, _module: nn.Module, output: Tensor) -> None:
        shape = tuple(output.shape)
        name = clean_name(name)
        may_be = token_axis(shape) is not None or len(shape) == picture.ndim
        if name not in found and may_be and count[shape] < _OF_EACH_SHAPE:
            count[shape] += 1
            found[name] = output.detach().float().clone()

    # The same draws in each forward, should the model draw any.
    with preserved_rng(), torch.no_grad(), watched(subject.model, note):
        subject.forward(subject.converted(picture), slice(0, 1))
    return found


def _channels_last(moves: Sequence[Move], rank: int) -> bool | None:
    """Of outputs of one shape: along which of the axes the change follows the place."""
    if len(moves[0]) != rank + 2 or moves[0][0].shape[1] != 1:
        return None
    last, first = (
        sum(_shift(move[1 + i + skipped], end=1 + i) for move in moves for i in range(rank)) / len(moves)
        for skipped in (0, 1)
    )
    return None if abs(last - first) < _LEAST_SHIFT else last > first


def _shift(energy: Tensor, *, end: int) -> float:
    """How far the centre of the change moves along an axis, from the first place to another, as a share of it."""
    weight = energy[[0, end]]
    places = torch.arange(energy.shape[1], device=energy.device)
    start, stop = (weight * places).sum(1) / weight.sum(1).clamp_min(1e-30)
    return float(stop - start) / energy.shape[1]


def _grids(
    by_length: Mapping[int, Sequence[Tensor]], places: Sequence[tuple[float, ...]], size: tuple[int, ...]
) -> tuple[dict[int, TokenGrid], frozenset[int]]:
    """Read changes ``(P, L)`` of each length: the exact readings first, for later stages blur what follows them."""
    ordered = {length: sorted(own, key=_locality, reverse=True) for length, own in by_length.items()}
    tops = {length: [_top(change) for change in own if _locality(change) > 0] for length, own in ordered.items()}
    grids: dict[int, TokenGrid] = {}
    for length, own in tops.items():
        found = (grid for top in own if (grid := _exact(top, length, len(size))) and _agrees(grid, top, places, size))
        if (grid := next(found, None)) is not None:
            grids[length] = grid
    others = {(g.first, length - g.first - math.prod(g.grid)) for length, g in grids.items()}
    for length, own in tops.items():
        if length not in grids:
            near = [g for top in own for g in _like(length, others, size) if _agrees(g, top, places, size)]
            if near:
                grids[length] = near[0]
    local = [n for n, own in ordered.items() if n not in grids and _follows(own[0][: len(size) + 2])]
    return grids, frozenset(local)


def _locality(change: Tensor) -> float:
    """The share of the change that its largest token has, where that is least."""
    total = change.sum(1)
    return 0.0 if bool((total == 0).any()) else float((change.amax(1) / total).min())


def _follows(change: Tensor) -> bool:
    """Whether each corner has a token of its own, which has most of the change there."""
    return _locality(change) > _LOCAL and len(set(_top(change))) >= min(len(change), 3)


def _top(change: Tensor) -> list[int]:
    return [int(i) for i in change.argmax(1)]


def _exact(top: Sequence[int], length: int, rank: int) -> TokenGrid | None:
    """Solve for the first cell and the cells along each axis, if the corners are those of a grid row by row.

    >>> _exact([1, 7, 3, 9], length=10, rank=2)
    TokenGrid(first=1, grid=(3, 3))
    >>> _exact([0, 1, 4, 5], length=6, rank=2)
    """
    first, ends, last = top[0], top[1 : 1 + rank], top[1 + rank]
    step, grid = 1, []
    for end in reversed(ends):
        if end < first or (end - first) % step:
            return None
        grid.append((end - first) // step + 1)
        step *= grid[-1]
    right = last == first + step - 1 < length
    return TokenGrid(first, tuple(reversed(grid))) if right else None


def _like(length: int, others: set[tuple[int, int]], size: tuple[int, ...]) -> Iterator[TokenGrid]:
    """Grids with as many other tokens as sequences of the model that were read, the squarest cells first."""
    for before, after in sorted(others):
        cells = length - before - after
        sides = [[n for n in range(1, min(cells, side) + 1) if cells % n == 0] for side in size]
        grids = [g for g in product(*sides) if math.prod(g) == cells and _oblong(g, size) <= _MOST_OBLONG]
        yield from (TokenGrid(before, g) for g in sorted(grids, key=lambda g: _oblong(g, size)))


def _oblong(grid: tuple[int, ...], size: tuple[int, ...]) -> float:
    """How many times longer than the other the longer side of a cell is, in the plane."""
    sides = [s / g for s, g in zip(size[-2:], grid[-2:], strict=True)]
    return max(sides) / min(sides)


def _agrees(grid: TokenGrid, top: Sequence[int], places: Sequence[tuple[float, ...]], size: tuple[int, ...]) -> bool:
    """Whether each change is where the grid says, at most a cell off; a plane of one row or column is none."""
    if math.prod(grid.grid) < 2 or min(grid.grid[-2:]) < 2 or any(n > s for n, s in zip(grid.grid, size, strict=True)):
        return False
    for token, place in zip(top, places, strict=True):
        cell = grid.cell(token)
        expected = [_pixel(at, s) * n // s for at, s, n in zip(place, size, grid.grid, strict=True)]
        if cell is None or max(abs(a - b) for a, b in zip(cell, expected, strict=True)) > 1:
            return False
    return True
