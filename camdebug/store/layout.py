"""Names in the folder. They are made of numbers alone, never of anybody's text."""

from __future__ import annotations

import re

_EPOCH = re.compile(r"[0-9]{6,12}")
_NUMBERED = re.compile(r"([0-9]{4,12})\.json")


def epoch_name(epoch: int) -> str:
    """Name of an epoch's folder.

    Raises:
        ValueError: for a number that no epoch has.

    >>> epoch_name(3)
    '000003'
    """
    name = f"{int(epoch):06d}"
    if epoch_in(name) is None:
        raise ValueError(f"epoch: expected 0 or more, got {epoch}")
    return name


def epoch_in(name: str) -> int | None:
    """The epoch that a folder is named after, ``None`` for any other name.

    >>> epoch_in("000003"), epoch_in("0000003"), epoch_in("../x")
    (3, None, None)
    """
    if _EPOCH.fullmatch(name) is None or name != f"{int(name):06d}":
        return None
    return int(name)


def numbered_name(number: int) -> str:
    """Name of a numbered file.

    >>> numbered_name(2)
    '0002.json'
    """
    return f"{number:04d}.json"


def number_in(name: str) -> int | None:
    """The number that a file is named after, ``None`` for any other name."""
    found = _NUMBERED.fullmatch(name)
    return int(found[1]) if found is not None and name == numbered_name(int(found[1])) else None
