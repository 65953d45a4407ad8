"""Heat that stays at one place over pictures: tags, logos, text and frames that nobody annotated.

Every picture is looked at once more after it was rolled round by at least a quarter of its height and width. What the
model itself prefers (padding, the weights of a flatten layer) stays in place and cancels; heat that is tied to a place
of the picture moves away. A place is locked when it holds clearly more heat than in the rolled picture for more than
half of a class's probes. That it does so for no more than half is the null hypothesis, so the p-value is the tail of a
binomial, times the number of places tried; it needs no random numbers and no model of how heat is spread.

Only places towards the rim are tried: the middle is where objects are, and beside a box where heat spills over from
the object: places in the middle were locked at p <= .05 in 18 % of the classes of clean nets, places at the rim in
3 %. On grids so coarse that the rim takes more than a sixth of a side, objects stand in it: without boxes it was locked
at p <= .05 in 11 % (5x5) to 35 % (4x4) of the classes. Objects that always touch the rim cannot be told from a tag
without boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import LEAST_PROBES
from camdebug.records.heatmaps import MIN_PEAK
from camdebug.records.place import PlaceLock

MARGIN = 0.12
"""Heat is clearly more when its share is by so many standard deviations larger: of the share of one grain of heat that
falls anywhere, the square root of a(1 - a) for a place of area a. At 0, clean nets are locked in a third of the
classes, because rolled pictures are not quite like pictures: their seams and cut objects draw heat."""

FREE = 0.25
"""Share of a place that must be free of objects for a probe to be read there."""

_COARSEST = 6
_COARSEST_WITH_BOXES = 3

_CONVINCING = 0.01


@dataclass(frozen=True, eq=False)
class Place:
    """A place on a grid: ``name`` in words, ``box`` in fractions of the picture, ``cells`` ``(h, w)`` bool."""

    name: str
    box: tuple[float, float, float, float]
    cells: Tensor


@dataclass(frozen=True, eq=False)
class RolledPictures:
    """Pictures, each rolled round by its own number of cells; what leaves on one side comes back on the other.

    They are made when a slice of them is asked for, so that they take no memory together.

    Attributes:
        images: ``(N, C, H, W)``.
        shifts: ``(N, 2)`` int64, cells down and to the right, from ``draw_shifts``.
        grid: height and width of the maps in cells.

    >>> pictures = RolledPictures(torch.arange(4.).reshape(1, 1, 2, 2), torch.tensor([[0, 1]]), (2, 2))
    >>> pictures[:1]
    tensor([[[[1., 0.],
              [3., 2.]]]])
    """

    images: Tensor
    shifts: Tensor
    grid: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice, /) -> Tensor:
        down, right = (size / cells for size, cells in zip(self.images.shape[2:], self.grid, strict=True))
        moves = [(round(y * down), round(x * right)) for y, x in self.shifts[rows].tolist()]
        return torch.stack([p.roll(move, (1, 2)) for p, move in zip(self.images[rows], moves, strict=True)])


def draw_shifts(count: int, grid: tuple[int, ...], *, seed: int) -> Tensor:
    """How far to roll each picture: between a quarter and three quarters of the grid, down and to the right.

    A shift is as likely as its opposite, so a picture and its rolled copy can be exchanged where content has no place.

    Args:
        count: number of pictures, N.
        grid: height and width of the maps in cells, 2 or more each.
        seed: of a generator of its own.

    Returns:
        ``(N, 2)`` int64, in cells.

    Raises:
        ValueError: when the grid has fewer than 2 cells in a direction.
    """
    if min(grid) < 2:
        raise ValueError(f"grid: expected 2 cells or more in each direction, got {grid}")
    rng = np.random.default_rng([seed, count])
    drawn = [rng.integers(-(-n // 4), n - -(-n // 4), size=count, endpoint=True) for n in grid]
    return torch.from_numpy(np.stack(drawn, axis=1).astype(np.int64))


def coarsest_grid(*, annotated: bool) -> int:
    """Cells that a grid needs in each direction: fewer where boxes are known."""
    return _COARSEST_WITH_BOXES if annotated else _COARSEST


def place_locks(
    maps: Tensor, rolled_maps: Tensor, labels: Tensor, *, cover: Tensor | None = None
) -> tuple[PlaceLock, ...]:
    """The most locked place of every class with at least 20 probes that can be read.

    Args:
        maps: ``(N, h, w)`` >= 0, raw, for the label of each probe.
        rolled_maps: ``(N, h, w)``, those of ``RolledPictures``, for the same labels.
        labels: ``(N,)`` class of each probe.
        cover: ``(N, h, w)`` in [0, 1], the share of each cell that objects cover. Cells count as far as they are free
            of it, grown by a sixth of the picture, because heat spills over. The rolled object is not taken away: it
            can only raise the chance level. ``None`` when nothing is annotated.

    Returns:
        One record a class, in the order of the class indices; none on grids that are too coarse, see
        :func:`coarsest_grid`. Classes are tested alone: divide the error rate by their number.

    Raises:
        ValueError: when the shapes do not agree, or the values are not as described.
    """
    _check(maps, rolled_maps, labels, cover)
    if min(maps.shape[1:]) < coarsest_grid(annotated=cover is not None):
        return ()
    places = rim_places((maps.shape[1], maps.shape[2]))
    usable = _has_heat(maps) & _has_heat(rolled_maps)
    free = torch.ones_like(maps, dtype=torch.float64) if cover is None else 1 - _grown(cover.double())
    found = []
    for k in torch.unique(labels).tolist():
        rows = (labels == k) & usable
        if int(rows.sum()) >= LEAST_PROBES:
            excluded = int((labels == k).sum() - rows.sum())
            found.append(_lock(k, excluded, _shares(maps[rows]), _shares(rolled_maps[rows]), free[rows], places))
    return tuple(found)


@lru_cache(maxsize=8)
def rim_places(grid: tuple[int, ...]) -> tuple[Place, ...]:
    """The places that are tried: corners of two sizes, edges whole and by thirds, and the border all round.

    Corners measure a sixth and a third of the sides, edges and border are a sixth deep; all at least one cell. Places
    that are the same cells on a coarse grid are tried once.
    """
    height, width = grid
    found: dict[tuple[int, int, int, int], str] = {}
    for part in (6, 3):
        h, w = _cells(height, part), _cells(width, part)
        for side_y, top in (("top", 0), ("bottom", height - h)):
            for side_x, left in (("left", 0), ("right", width - w)):
                found.setdefault((left, top, left + w, top + h), f"the {side_y} {side_x} corner")
    h, w = _cells(height, 6), _cells(width, 6)
    for start, end in [(0, 6), *((sixth, sixth + 2) for sixth in range(5))]:
        left, right = _stretch(width, start, end)
        found.setdefault((left, 0, right, h), "the top edge")
        found.setdefault((left, height - h, right, height), "the bottom edge")
        top, bottom = _stretch(height, start, end)
        found.setdefault((0, top, w, bottom), "the left edge")
        found.setdefault((width - w, top, width, bottom), "the right edge")
    border = torch.ones(grid, dtype=torch.bool)
    border[h : height - h, w : width - w] = False
    rectangles = tuple(_rectangle(name, corners, grid) for corners, name in found.items())
    return (*rectangles, Place("the border", (0.0, 0.0, 1.0, 1.0), border))


def _cells(size: int, part: int) -> int:
    return max(1, size // part)


def _stretch(size: int, start: int, end: int) -> tuple[int, int]:
    """First cell and the one after the last, from sixths of the side."""
    first = round(size * start / 6)
    return first, max(first + 1, round(size * end / 6))


def _rectangle(name: str, corners: tuple[int, int, int, int], grid: tuple[int, ...]) -> Place:
    left, top, right, bottom = corners
    cells = torch.zeros(grid, dtype=torch.bool)
    cells[top:bottom, left:right] = True
    return Place(name, (left / grid[1], top / grid[0], right / grid[1], bottom / grid[0]), cells)


def _lock(
    class_idx: int, excluded: int, heat: Tensor, rolled: Tensor, free: Tensor, places: tuple[Place, ...]
) -> PlaceLock:
    """From shares of heat ``(n, h, w)`` of one class's probes and the free share of each cell."""
    area = _in_places(free, places) / free[0].numel()
    share, chance = _in_places(heat * free, places), _in_places(rolled * free, places)
    whole = torch.stack([place.cells for place in places]).double().mean((1, 2))
    read = area >= FREE * whole
    excess = share - chance
    locked = read & (excess > MARGIN * (area * (1 - area)).sqrt())
    p_values = [
        min(1.0, len(places) * upper_tail(k, n))
        for k, n in zip(locked.sum(0).tolist(), read.sum(0).tolist(), strict=True)
    ]
    best = _clearest(p_values, _mean(excess, read) / (whole * (1 - whole)).sqrt())
    return PlaceLock(
        class_idx=class_idx,
        probes=len(heat),
        excluded=excluded,
        p_value=min(p_values),
        place=places[best].name,
        box=places[best].box,
        read=int(read[:, best].sum()),
        locked=int(locked[:, best].sum()),
        share=float(_mean(share, read)[best]),
        chance_share=float(_mean(chance, read)[best]),
        excess_map=((heat - rolled) * free).mean(0).float(),
    )


def _clearest(p_values: list[float], excess: Tensor) -> int:
    """Of the places that convince, or else are the most likely, the one with the largest excess for its size."""
    limit = max(_CONVINCING, min(p_values))
    candidates = [i for i, p in enumerate(p_values) if p <= limit]
    return max(candidates, key=lambda i: float(excess[i].nan_to_num(-torch.inf)))


def upper_tail(successes: int, trials: int) -> float:
    """Chance of so many successes or more in so many fair trials.

    >>> upper_tail(3, 3), upper_tail(2, 3)
    (0.125, 0.5)
    """
    return sum(comb(trials, k) for k in range(successes, trials + 1)) / (1 << trials)


def _in_places(values: Tensor, places: tuple[Place, ...]) -> Tensor:
    """``(n, places)``: sums of ``(n, h, w)`` over the cells of each place."""
    return values.flatten(1) @ torch.stack([place.cells for place in places]).flatten(1).double().T


def _mean(values: Tensor, read: Tensor) -> Tensor:
    """Column means of ``(n, places)`` over the probes that are read; NaN where there are none."""
    return torch.where(read, values, 0.0).sum(0) / read.sum(0)


def _has_heat(maps: Tensor) -> Tensor:
    return maps.isfinite().all(2).all(1) & (maps.nan_to_num(0.0).amax((1, 2)) >= MIN_PEAK)


def _shares(maps: Tensor) -> Tensor:
    heat = maps.double()
    return heat / heat.sum((1, 2), keepdim=True)


def _grown(cover: Tensor) -> Tensor:
    """Every cell as covered as the most covered one within a sixth of the picture, at least one cell, around it."""
    height, width = (_cells(size, 6) for size in cover.shape[1:])
    kernel, padding = (2 * height + 1, 2 * width + 1), (height, width)
    return torch.nn.functional.max_pool2d(cover[:, None], kernel, stride=1, padding=padding)[:, 0]


def _check(maps: Tensor, rolled_maps: Tensor, labels: Tensor, cover: Tensor | None) -> None:
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"maps: expected (N, h, w) with cells, got {tuple(maps.shape)}")
    expected = {"rolled_maps": maps.shape, "labels": (len(maps),), "cover": maps.shape}
    given = {"rolled_maps": rolled_maps, "labels": labels, "cover": cover}
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != expected[name]:
            raise ValueError(f"{name}: expected shape {tuple(expected[name])}, got {tuple(tensor.shape)}")
    for name, heat in {"maps": maps, "rolled_maps": rolled_maps}.items():
        if bool((heat < 0).any()):
            raise ValueError(f"{name}: expected ReLU'd maps, 0 or more, got {float(heat.nan_to_num(0.0).min()):.3g}")
    if cover is not None and not bool(((cover >= 0) & (cover <= 1 + 1e-6)).all()):
        raise ValueError("cover: expected shares in [0, 1]")
