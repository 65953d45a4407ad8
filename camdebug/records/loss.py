"""What a run lost of camdebug's work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """Something that was lost, for one reason.

    Attributes:
        what: the clause that says what was lost, such as ``"lost looks"``.
        why: the reason in a line.
        epochs: one entry for each time; ``None`` before the first epoch.
    """

    what: str
    why: str
    epochs: tuple[int | None, ...] = ()
