"""What can be found with these probes, said before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camdebug.background.sign_flip import smallest_attainable_p
from camdebug.measures.place import coarsest_grid, rim_places
from camdebug.numerals import number
from camdebug.probe.checks import LEAST_PROBES
from camdebug.verdict.judge import Judge
from camdebug.verdict.power import SPREAD, pairs_needed, smallest_gap

_NEARLY_ENOUGH = 1.1
"""More probes than so many times those that are there are worth a word."""
_WORTH_FINDING = 0.15
_NOTHING = 1e-12
"""What is left of a spent budget is no more than rounding."""


def out_of_reach(pairs: Mapping[int, int], judge: Judge, *, looks_left: int | None) -> str | None:
    """Why backgrounds can never raise an alert although classes are tested; ``None`` when they can.

    Args:
        pairs: of donors of each class that can be tested.
        judge: whose error budget is spent.
        looks_left: planned looks from now on; ``None`` when unknown.
    """
    if not pairs:
        return None
    most = max(pairs.values())
    share = max(
        judge.screen_threshold(tests=len(pairs), looks_left=looks_left),
        judge.confirm_threshold(tests=len(pairs), looks_left=looks_left),
    )
    best = smallest_attainable_p(most)
    if best <= share:
        return None
    if share < _NOTHING:
        return (
            "the looks that were planned before have spent the whole error budget of this run. Verdicts are kept, "
            "but no new alert on backgrounds can be raised; for one in the epochs to come, raise alpha."
        )
    return (
        f"no alert on backgrounds is possible: each test may spend {share:.1e} of the error budget, and {most} probes "
        f"of a class cannot give a p-value below {best:.1e}. Add probes, look less often, or raise alpha."
    )


def places_out_of_reach(grid: tuple[int, ...], counts: Sequence[int], share: float, *, annotated: bool) -> str | None:
    """Why heat at a fixed place can never raise an alert; ``None`` when it can.

    Args:
        grid: height and width of the maps in cells.
        counts: probes of each class.
        share: of the error budget, for one class at one look.
        annotated: the probes have boxes.
    """
    needed, most = coarsest_grid(annotated=annotated), max(counts, default=0)
    if min(grid) < needed:
        boxes = "" if annotated else ", or boxes for the probes"
        return (
            f"heat at a fixed place cannot be tested: the maps have {grid[0]}x{grid[1]} cells, that takes "
            f"{needed}x{needed}{'' if annotated else ' without boxes'}. Choose an earlier target_layer{boxes}."
        )
    if most < LEAST_PROBES:
        return (
            f"heat at a fixed place cannot be tested: that takes {LEAST_PROBES} probes of a class, the most are {most}."
        )
    best = len(rim_places(grid)) * 0.5**most
    if best <= share:
        return None
    if share < _NOTHING:
        return (
            "the looks that were planned before have spent the error budget for heat at a fixed place: no new alert on "
            "it can be raised. For one in the epochs to come, raise alpha."
        )
    return (
        f"no alert on heat at a fixed place is possible: each test may spend {share:.1e} of the error budget, and "
        f"{most} probes of a class cannot give a p-value below {best:.1e}. Add probes, look less often, or raise alpha."
    )


def smallest_gaps(pairs: Mapping[int, int], judge: Judge, *, looks_left: int | None) -> dict[int, float]:
    """The smallest fall in probability of each class that is likely to be confirmed; only where there is one."""
    share = judge.confirm_threshold(tests=len(pairs), looks_left=looks_left)
    if not pairs or share < _NOTHING:
        return {}
    gaps = {count: smallest_gap(count, share) for count in sorted(set(pairs.values()))}
    return {class_idx: gaps[count] for class_idx, count in pairs.items() if gaps[count] <= 1}


def smallest_effect(pairs: Mapping[int, int], judge: Judge, *, looks_left: int | None) -> str:
    """The smallest fall in probability that these probes are likely to confirm, and what a smaller one takes."""
    share = judge.confirm_threshold(tests=len(pairs), looks_left=looks_left)
    if not pairs or share < _NOTHING:
        return ""
    fewest, most = min(pairs.values()), max(pairs.values())
    counts = dict.fromkeys((fewest, most))
    gaps = {n: smallest_gap(n, share) for n in counts}
    if gaps[most] > 1:
        return f"With {most} pairs of backgrounds a class no fall in probability can be confirmed; take more probes."
    least, largest = number(gaps[most]), number(gaps[fewest])
    found = least if least == largest else f"{least} to {largest}"
    found = f"{least} (with {fewest} pairs none)" if gaps[fewest] > 1 else found
    needed = pairs_needed(_WORTH_FINDING, share) if gaps[fewest] > _WORTH_FINDING else None
    worth = needed is not None and needed > _NEARLY_ENOUGH * fewest
    more = f" To find one of {number(_WORTH_FINDING)}, take {needed} probes of every class." if worth else ""
    return (
        f"With {' to '.join(str(n) for n in counts)} pairs of backgrounds a class, a fall in probability of {found} is "
        f"confirmed at four looks of five (if it varies by {SPREAD} from pair to pair).{more}"
    )
