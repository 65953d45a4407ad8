"""What options may hold. A wrong one ends the command with a line that names it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; how it is right is in ``--help``."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


_ALWAYS_LISTS = ("columns", "ignore")
_LISTS = (*_ALWAYS_LISTS, "box", "size")

Commands: TypeAlias = "argparse._SubParsersAction[OneLineParser]"


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more, got {text!r}")
        return value

    return read


def names(text: str) -> list[str]:
    """Names with commas between them.

    >>> names("cat, grey wolf")
    ['cat', 'grey wolf']
    """
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them.

    >>> numbers("0.5,1")
    (0.5, 1.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}") from None


def pixels(text: str) -> int | tuple[int, int]:
    """A size in pixels, or height and width.

    >>> pixels("224"), pixels("240x320")
    (224, (240, 320))
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and 0 < int(side) <= 1 << 16 for side in sides):
        raise argparse.ArgumentTypeError(
            f"expected pixels, as in 224, or height and width, as in 240x320, got {text!r}"
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def pair(text: str) -> tuple[str, str]:
    """Two texts with ``=`` between them.

    >>> pair("kitten=cat")
    ('kitten', 'cat')
    """
    first, sign, second = (part.strip() for part in text.partition("="))
    if not (first and sign and second):
        raise argparse.ArgumentTypeError(f"expected two names with = between them, got {text!r}")
    return first, second


def option(text: str) -> tuple[str, Any]:
    """A name and a value, which is read as JSON where it is some; keys that are numbers are meant as such.

    Lists may be written with commas alone, and the values of masks with the name of each after a colon.

    >>> option("one_based=true"), option("label=kind"), option('values={"1": "cat"}')
    (('one_based', True), ('label', 'kind'), ('values', {1: 'cat'}))
    >>> option("box=left,top,right,bottom"), option("values=1:circle,2:square"), option("ignore=255")
    (('box', ['left', 'top', 'right', 'bottom']), ('values', {1: 'circle', 2: 'square'}), ('ignore', [255]))
    """
    key, value = pair(text)
    found = _as_json(value)
    if key == "values" and isinstance(found, str):
        return key, _with_numbers([_named_value(part) for part in value.split(",")])
    if key in _LISTS and isinstance(found, str) and "," in found:
        return key, [_as_json(part.strip()) for part in value.split(",")]
    return key, [found] if key in _ALWAYS_LISTS and not isinstance(found, list) else found


def _as_json(text: str) -> Any:  # noqa: ANN401 - whatever is written there
    try:
        return json.loads(text, object_pairs_hook=_with_numbers)
    except (ValueError, RecursionError):
        return text


def _named_value(text: str) -> tuple[str, Any]:
    value, colon, name = (part.strip() for part in text.partition(":"))
    if not (value and colon and name):
        raise argparse.ArgumentTypeError(
            f"expected values of masks with the name of each, as in values=1:circle,2:square, got {text!r}"
        )
    return value, name


def _with_numbers(pairs: list[tuple[str, Any]]) -> dict[str | int, Any]:
    return {int(key) if key.isascii() and key.isdigit() else key: value for key, value in pairs}
