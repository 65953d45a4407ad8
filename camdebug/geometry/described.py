"""A transform in words that are the same in every process."""

from __future__ import annotations

import re
from typing import Any

_FUNCTION = re.compile(
    r"<(?:bound method|function|built-in function|built-in method) ([\w.<>]+?)(?: of .+?)?(?: at 0x\w+)?>"
)
_OBJECT = re.compile(r"<(?:[\w<>]+\.)*(\w+) object at 0x\w+>")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def described(transform: Any) -> str:  # noqa: ANN401 - anything has a repr
    """The transform's own description, without what differs from one process to the next.

    >>> described(lambda picture: picture)
    '<lambda>'
    """
    if getattr(transform, "__qualname__", None) and not isinstance(transform, type):
        return _short(transform.__qualname__)
    found = _FUNCTION.sub(lambda match: _short(match[1]), _OBJECT.sub(r"\1()", _text(transform)))
    lines = (line.rstrip() for line in _ADDRESS.sub("", found).splitlines())
    return "\n".join(line for line in lines if line)


def _text(transform: Any) -> str:  # noqa: ANN401
    try:
        return repr(transform)
    except ValueError:  # albumentations' Lambda without a name has no repr, nor has what holds one
        steps = getattr(transform, "transforms", None)
        inner = "" if steps is None else ", ".join(_text(step) for step in steps)
        return f"{type(transform).__qualname__}({inner})"


def kind_of(transform: Any) -> str:  # noqa: ANN401
    """What to call it in a message: a function by its name, an object by its class."""
    name = getattr(transform, "__qualname__", None)
    if name is None or isinstance(transform, type):
        return type(transform).__qualname__
    return f"the function {_short(name)}"


def _short(qualified: str) -> str:
    return qualified.rpartition("<locals>.")[2]
