"""Values read back from a checkpoint: anything may stand there, so each is checked before it is believed."""

from __future__ import annotations

import math
import re

_MOST = 2**53
"""Up to here every whole number is also a float, so no arithmetic on it can overflow."""


def as_count(value: object, *, least: int = 0) -> int:
    """A whole number.

    Raises:
        ValueError: when it is none, or below ``least``, or beyond all reason.
    """
    if type(value) is not int or not least <= value <= _MOST:
        raise ValueError(f"state: expected a whole number, {least} or more, got {value!r:.40}")
    return value


def as_number(value: object) -> float:
    """A finite number.

    Raises:
        ValueError: when it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _MOST:  # type: ignore[arg-type]
        raise ValueError(f"state: expected a finite number, got {value!r:.40}")
    return float(value)  # type: ignore[arg-type]


def as_run_id(value: object) -> str | None:
    """The id of a run, 32 digits of base 16; ``None`` in states that are older than ids.

    Raises:
        ValueError: when it is anything else.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise ValueError(f"state: expected the id of a run, got {value!r:.40}")
    return value


def as_flag(value: object) -> bool:
    """True or false.

    Raises:
        ValueError: when it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"state: expected true or false, got {value!r:.40}")  # noqa: TRY004 - a damaged file
    return value
