"""Which metrics the looks of a run can give, and why they cannot give the others."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from camdebug.callbacks.metrics import COUNTED, MEASURES
from camdebug.probe.probe_set import ProbeSet
from camdebug.sinks import unique_slugs

_TESTS = ("background_evidence", "swap_gap", "reliance")
_NEEDS_BOXES = "it needs boxes; give the probe set some"
_TEST_TAKES = "that takes 20 probes of a class with boxes of 2 to 70 % of the picture, and as many in the other classes"


class KnownMetrics:
    """The names of all metrics of a monitor.

    Args:
        name: first part of every metric name.
        probes: the probe set.
        contrast: backgrounds are swapped.
        tested: names of the classes whose background can be tested.
    """

    def __init__(self, name: str, probes: ProbeSet, *, contrast: bool, tested: Collection[str]) -> None:
        self._name = name
        backgrounds = _why_no_backgrounds(probes, contrast)
        boxes = None if probes.annotated else _NEEDS_BOXES
        nowhere = backgrounds or (None if tested else f"no class has a background to test; {_TEST_TAKES}")
        self._why: dict[str, str | None] = {
            **{f"{name}/{m}": boxes for m in MEASURES},
            **{f"{name}/{m}": nowhere for m in (*_TESTS, "worst_swap_gap", "worst_reliance")},
            **{f"{name}/{level.value}_classes": None for level in COUNTED},
            f"{name}/seconds": None,
        }
        slugs = unique_slugs(probes.class_names)
        for class_name, slug, count in zip(probes.class_names, slugs, probes.counts, strict=True):
            none = None if count else f"`{class_name}` has no probe; add some"
            untested = None if class_name in tested else f"`{class_name}` has no background to test; {_TEST_TAKES}"
            prefix = f"{name}/class/{slug}"
            self._why |= {f"{prefix}/{m}": none or boxes for m in MEASURES}
            self._why |= {f"{prefix}/{m}": none or backgrounds or untested for m in _TESTS}
            self._why[f"{prefix}/recall"] = none

    def __contains__(self, metric: str) -> bool:
        return metric in self._why

    def why_never(self, metric: str) -> str | None:
        """Why a known metric can have no value in this run, and what to do; ``None`` when it can."""
        return self._why[metric]

    def closest(self, metric: str) -> str | None:
        """The known name that an unknown one is most like; ``None`` when none is."""
        return next(iter(get_close_matches(metric, list(self._why), n=1, cutoff=0.7)), None)


def _why_no_backgrounds(probes: ProbeSet, contrast: bool) -> str | None:
    if not contrast:
        return "it needs swapped backgrounds; pass contrast=True"
    return None if probes.annotated else _NEEDS_BOXES
