"""Which way to a probe set is the right one for what was passed to another."""

from __future__ import annotations

from pathlib import Path

from camdebug.sources import Annotations, Source

_TAKEN = {
    "from_dataset": "a map-style dataset (with __len__ and __getitem__)",
    "from_source": "a source of camdebug.sources (one of your own needs read()), its annotations, or a path",
}


def right_way(given: object) -> str | None:
    """The method of ``ProbeSet`` that takes such a thing, or ``None`` when there is none.

    >>> right_way("smears"), right_way([(1, 2)]), right_way(3)
    ('from_source', 'from_dataset', None)
    """
    if isinstance(given, (str, Path, Annotations)):
        return "from_source"
    if callable(getattr(given, "val_dataloader", None)) and callable(getattr(given, "setup", None)):
        return "from_datamodule"
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return "from_dataset"
    return "from_source" if isinstance(given, Source) else None


def check_way(argument: str, given: object, own: str) -> None:
    """Raise a ``TypeError`` that names the right way, where another one is."""
    way = right_way(given)
    if way is not None and way != own and not isinstance(given, type):
        raise TypeError(
            f"{argument}: expected {_TAKEN[own]}, got {type(given).__name__}; ProbeSet.{way}(...) takes that"
        )
