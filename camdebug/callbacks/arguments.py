"""Checks of what people pass to ``CAMMonitor``: a wrong value is refused where it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from camdebug.probe.doors import right_way
from camdebug.probe.probe_set import ProbeSet


def check_probes(probes: object) -> ProbeSet:
    """The probe set, or a ``TypeError`` that says how to build one."""
    if not isinstance(probes, ProbeSet):
        way = right_way(probes)
        ways = "ProbeSet.from_dataset(dataset) or ProbeSet(images, labels, boxes)"
        if way == "from_source":
            ways = "ProbeSet.from_source(...), or load a saved one with ProbeSet.load(folder)"
        elif way == "from_datamodule":
            ways = "ProbeSet.from_datamodule(datamodule)"
        raise TypeError(f"probes: expected a camdebug.ProbeSet, got {type(probes).__name__}; build one with {ways}")
    return probes


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse all but whole numbers from ``least`` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number, {least} or more, got {value!r}")


def check_share(name: str, value: object) -> None:
    """Refuse all but numbers between 0 and 1."""
    if not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"{name}: expected a share between 0 and 1, got {value!r}")


def check_positive(name: str, value: object) -> None:
    """Refuse all but finite numbers above 0 and ``None``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name}: expected a number above 0, or None, got {value!r}")


def check_name(name: str, value: object) -> None:
    """Refuse what not every logger takes as the first part of a metric's name."""
    if not isinstance(value, str) or not value or not all(c.isascii() and (c.isalnum() or c in "_-.") for c in value):
        raise ValueError(f"{name}: expected ASCII letters, digits, '_', '-' or '.', got {value!r}")


def check_folder(name: str, value: object) -> None:
    """Refuse all but ``True``, ``False`` and paths."""
    if not isinstance(value, (bool, str, Path)) or value == "":
        raise TypeError(f"{name}: expected True, False or the path of a folder, got {value!r}")


def check_own_name(name: str, taken: Sequence[str]) -> None:
    """Refuse a name that two monitors of a Trainer have: their metrics and their states would mix."""
    count = taken.count(name)
    if count > 1:
        raise ValueError(
            f"name: {count} monitors in this Trainer are called {name!r}; give each a name of its own, as in "
            'CAMMonitor(probes, name="second")'
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse all but these strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_callable(name: str, value: object, *, takes: str) -> None:
    """Refuse all but callables and ``None``."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a callable that takes {takes}, or None, got {type(value).__name__}")
