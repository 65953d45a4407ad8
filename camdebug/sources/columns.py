"""What tables have in common: columns found by name, four numbers that become a box, faults in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Literal, get_args

from camdebug.records import Exclusion

Box = tuple[float, float, float, float]
BoxFormat = Literal["xyxy", "xywh", "cxcywh"]

_MOST_SHOWN = 30


def check_columns(wanted: Sequence[tuple[str, str]], there: Sequence[str], where: str) -> None:
    """Raise one error for all columns that are missing.

    Args:
        wanted: argument and column for each.
        there: columns of the table.
        where: the table, in words.

    >>> check_columns([("label", "clas")], ["filename", "class"], "the table")
    Traceback (most recent call last):
    ValueError: label: expected columns of the table ('filename', 'class'), got 'clas'; did you mean 'class'?
    """
    missing = [(argument, name) for argument, name in wanted if name not in there]
    if not missing:
        return
    unused = [name for name in there if name not in {column for _, column in wanted}]
    arguments = ", ".join(dict.fromkeys(argument for argument, _ in missing))
    raise ValueError(
        f"{arguments}: expected columns of {where} ({shown(there)}), got {shown(n for _, n in missing)}"
        + near((name for _, name in missing), unused)
    )


def near(names: Iterable[str], known: Sequence[str]) -> str:
    """The known names that are most like others, as the end of a message; empty when none is.

    >>> near(["Dgo", "x"], ["dog", "cat"])
    "; did you mean 'dog'?"
    """
    by_lower = {name.lower(): name for name in known}
    found = [by_lower[k] for name in names for k in get_close_matches(name.lower(), list(by_lower), n=2)]
    return f"; did you mean {shown(dict.fromkeys(found))}?" if found else ""


def shown(names: Iterable[str]) -> str:
    """Names in quotes, not too many of them; ``nothing`` for none."""
    listed = [f"{name!r:.80}" for name in names]
    return (", ".join(listed[:_MOST_SHOWN]) + (", ..." if len(listed) > _MOST_SHOWN else "")) or "nothing"


def check_format(box_format: str) -> None:
    """Raise for a format of boxes that there is not."""
    if box_format not in get_args(BoxFormat):
        raise ValueError(f"box_format: expected 'xyxy', 'xywh' or 'cxcywh', got {box_format!r:.80}")


def corners(numbers: Sequence[float], box_format: BoxFormat) -> Box:
    """First and second corner from four numbers.

    >>> corners([10, 20, 4, 8], "xywh"), corners([10, 20, 4, 8], "cxcywh")
    ((10, 20, 14, 28), (8.0, 16.0, 12.0, 24.0))
    """
    a, b, c, d = numbers
    if box_format == "xyxy":
        return a, b, c, d
    if box_format == "xywh":
        return a, b, a + c, b + d
    return a - c / 2, b - d / 2, a + c / 2, b + d / 2


def in_pixels(box: Box, size: tuple[int, int]) -> Box:
    """A box in shares of a picture of ``size`` (height, width) as one in pixels."""
    height, width = size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def check_scale(numbers: Sequence[Sequence[float]], *, normalised: bool) -> None:
    """Raise when all boxes together show that they are on the other scale.

    Args:
        numbers: four for each box, as annotated.
        normalised: whether they are said to be shares of the picture.
    """
    largest = [max(map(abs, box)) for box in numbers if all(map(isfinite, box))]
    if not normalised and 0.0 < max(largest, default=0.0) <= 1.0:
        raise ValueError(
            "normalised: all coordinates of the boxes lie in 0 to 1; pass normalised=True if they are shares of the "
            "picture's width and height"
        )
    beyond = sum(value > 2.0 for value in largest)
    if normalised and 2 * beyond > len(largest):
        raise ValueError(
            f"normalised: expected coordinates in 0 to 1, but {beyond} of {len(largest)} boxes have larger ones; leave "
            "normalised=True out if they are pixels"
        )


def counted(faults: Iterable[Exclusion]) -> str:
    """Faults by their reasons, the most frequent first, each with a few of those that have it.

    >>> counted([Exclusion("a", "empty file"), Exclusion("b", "missing file"), Exclusion("c", "missing file")])
    '2 x missing file (b, c); 1 x empty file (a)'
    """
    by_reason: dict[str, list[str]] = {}
    for fault in faults:
        by_reason.setdefault(fault.reason, []).append(fault.source_id)
    return "; ".join(f"{len(ids)} x {reason} ({_few(ids)})" for reason, ids in _by_count(by_reason))


def _by_count(by_reason: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return sorted(by_reason.items(), key=lambda item: -len(item[1]))


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
