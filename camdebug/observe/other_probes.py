"""Whether a state in a checkpoint is of other probes, and what differs as far as the state can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from camdebug.numerals import count_of
from camdebug.probe.checks import name_a_few
from camdebug.probe.probe_set import ProbeSet
from camdebug.wording import shown_name

_FINGERPRINT = re.compile("[0-9a-f]{64}")
_SHOWN = 12


def other_probes(state: object, probes: ProbeSet) -> str | None:
    """What a state of an observer was made with, if that is another probe set; ``None`` when it is not.

    Args:
        state: of an observer, as it stands in a checkpoint: anything. One without a fingerprint is of no probe set.
        probes: of now.
    """
    if not isinstance(state, Mapping):
        return None
    theirs = state.get("fingerprint")
    if not isinstance(theirs, str) or not _FINGERPRINT.fullmatch(theirs) or theirs == probes.fingerprint:
        return None
    changed = " and ".join(_changes(state, probes)) or "pictures, labels or annotations differ"
    return (
        f"the checkpoint was made with another probe set ({theirs[:_SHOWN]}) than this one "
        f"({probes.fingerprint[:_SHOWN]}): {changed}"
    )


def _changes(state: Mapping[str, object], probes: ProbeSet) -> list[str]:
    found = []
    count, names = state.get("probes"), _names_in(state)
    if type(count) is int and count != len(probes):
        found.append(f"{count_of(count, 'probe')} then, {len(probes)} now")
    if names is not None and names != list(probes.class_names):
        found.append(_renamed(names, probes.class_names))
    return found


def _names_in(state: Mapping[str, object]) -> list[str] | None:
    judge = state.get("judge")
    names = judge.get("names") if isinstance(judge, Mapping) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _renamed(then: Sequence[str], now: Sequence[str]) -> str:
    gone, new = ([shown_name(name) for name in a if name not in b] for a, b in ((then, now), (now, then)))
    if not gone and not new:
        return "classes are in another order"
    parts = [f"{what} {name_a_few(names)}" for what, names in (("without", gone), ("with", new)) if names]
    return f"{count_of(len(then), 'class name')} then, {len(now)} now ({', '.join(parts)})"
