"""The verdict for the run."""

from __future__ import annotations

from collections.abc import Sequence

from camdebug.records import ClassVerdict, RunVerdict
from camdebug.verdict.words import headline


def run_verdict(verdicts: Sequence[ClassVerdict]) -> RunVerdict:
    """The highest level of any class, and which ones stand at it."""
    level = max((v.level for v in verdicts), key=lambda found: found.rank)
    first = [v.first_epoch for v in verdicts if v.first_epoch is not None]
    return RunVerdict(
        level=level,
        reason=headline(verdicts),
        classes=tuple(v.class_idx for v in verdicts if v.level is level),
        first_epoch=min(first, default=None),
    )
