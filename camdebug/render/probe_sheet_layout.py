"""Where probes stand on a sheet: grouped by class, small classes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from camdebug.probe.probe_set import ProbeSet
from camdebug.render.choice import share_out
from camdebug.render.ink import MARGIN, line_height
from camdebug.render.overlay import display_size
from camdebug.render.probe_sheet_words import TEXT, shared_folder

SHOWN = 64
"""So many probes are drawn unasked."""
MOST_PIXELS = 80_000_000
"""Of a sheet. Pillow warns of pictures above 89 million, and some viewers refuse them."""

HEAD = 15
GAP = 10
ABOVE = 6
_USUAL_WIDTH = 1600
_NARROWEST_TILE, _NARROWEST = 200, 640

Order = Literal["area", "index"]


@dataclass(frozen=True, eq=False)
class Group:
    """Probes of one class that are drawn, in this order."""

    class_idx: int
    rows: list[int]
    probes: int


@dataclass(frozen=True, eq=False)
class Shelf:
    """Groups in a row, each with the column that it begins in; only one alone has several rows of pictures."""

    groups: list[tuple[Group, int]]
    height: int


@dataclass(frozen=True, eq=False)
class Layout:
    """In pixels; ``tile`` is height and width of a picture, ``cell`` of a picture with its caption and the gap.

    ``folder`` is what names are shown without.
    """

    columns: int
    tile: tuple[int, int]
    cell: tuple[int, int]
    folder: str

    @property
    def width(self) -> int:
        """Of the sheet."""
        return max(_NARROWEST, 2 * MARGIN + self.columns * self.cell[1] - GAP)

    def span(self, group: Group) -> int:
        """Columns that a group takes."""
        return min(len(group.rows), self.columns)

    def shelves(self, groups: Sequence[Group]) -> list[Shelf]:
        """Groups side by side, as many in a row as find room."""
        found: list[Shelf] = []
        used = self.columns
        for group in groups:
            if used + self.span(group) > self.columns:
                found.append(Shelf([], head_height() + -(-len(group.rows) // self.columns) * self.cell[0]))
                used = 0
            found[-1].groups.append((group, used))
            used += self.span(group)
        return found

    def height(self, groups: Sequence[Group]) -> int:
        """Of all groups together."""
        return sum(shelf.height for shelf in self.shelves(groups))


def lay_out(probes: ProbeSet, columns: int | None) -> Layout:
    """Of a set, with so many pictures in a row, or as many as fit on the usual width."""
    tile = display_size(*probes.image_size)
    cell = (tile[0] + 2 * line_height(TEXT) + GAP + ABOVE, max(tile[1], _NARROWEST_TILE) + GAP)
    if columns is None:
        columns = max(1, min(len(probes), (_USUAL_WIDTH - 2 * MARGIN + GAP) // cell[1]))
    return Layout(columns, tile, cell, shared_folder(probes))


def choose(probes: ProbeSet, area: list[float], per_class: object, sort: Order, layout: Layout) -> list[Group]:
    """Of each class so many that the sheet does not grow too large."""
    members = [(probes.labels == k).nonzero().flatten().tolist() for k in range(len(probes.class_names))]
    wanted = [min(len(m), per_class) if isinstance(per_class, int) else len(m) for m in members]
    limit = min(sum(wanted), SHOWN) if per_class is None else sum(wanted)
    while True:
        taken = share_out(wanted, limit) if sum(wanted) > limit else wanted
        groups = [_group(k, *of_class, area, sort) for k, of_class in enumerate(zip(members, taken, strict=True))]
        groups = [group for group in groups if group.rows]
        pixels = layout.width * layout.height(groups)
        if pixels <= MOST_PIXELS or limit == 1:
            return groups
        limit = max(1, min(limit - 1, limit * MOST_PIXELS // pixels))


def _group(class_idx: int, rows: list[int], quota: int, area: list[float], sort: Order) -> Group:
    by_area = sorted(rows, key=lambda i: (area[i], i))
    picked = [by_area[i] for i in _evenly(len(by_area), quota)]
    return Group(class_idx, sorted(picked) if sort == "index" else picked, len(rows))


def _evenly(count: int, quota: int) -> list[int]:
    """``quota`` of ``count``, the first and the last among them; one alone is the middle one."""
    if quota == 1:
        return [count // 2]
    return [round(i * (count - 1) / (quota - 1)) for i in range(quota)]


def head_height() -> int:
    """Of the name of a class, in pixels."""
    return line_height(HEAD) + 2 * MARGIN + ABOVE
