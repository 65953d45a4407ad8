"""What was left out, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exclusion:
    """A picture that was left out, or a box that was dropped, with the reason."""

    source_id: str
    reason: str
