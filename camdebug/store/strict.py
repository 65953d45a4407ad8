"""JSON as the record holds it: ASCII, no NaN, one form for one value; and reading it without trust."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn


class RecordError(ValueError):
    """A record cannot be read. The message says in a sentence which part, and why."""


def to_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    r"""Canonical text: equal values give equal bytes.

    >>> to_json({"b": "caf\u00e9", "a": [1, None]})
    b'{"a":[1,null],"b":"caf\\u00e9"}'
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("ascii")


def from_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse what anybody may have written.

    Raises:
        RecordError: for anything but JSON of finite numbers and sane depth.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        raise RecordError(f"is no readable JSON ({type(error).__name__})") from None


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def seal(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """A value together with the digest of its canonical text."""
    return to_json({"content": value, "sha256": digest(to_json(value))}) + b"\n"


def unseal(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value in a seal.

    Raises:
        RecordError: when it is not what was sealed.
    """
    sealed = from_json(data)
    if not isinstance(sealed, dict) or sealed.keys() != {"content", "sha256"}:
        raise RecordError("is not in the form in which it was written")
    try:
        found = digest(to_json(sealed["content"]))
    except (ValueError, RecursionError):  # a number too large for a float
        found = None
    if found != sealed["sha256"]:
        raise RecordError("has changed since it was written")
    return sealed["content"]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
