"""What can be found with these probes, said before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping

from camdebug.background.sign_flip import smallest_attainable_p
from camdebug.numerals import number
from camdebug.verdict.confirm import MIN_GAP
from camdebug.verdict.judge import Judge
from camdebug.verdict.power import SPREAD, pairs_needed, smallest_gap


def out_of_reach(pairs: Mapping[int, int], judge: Judge, *, looks_left: int | None) -> str | None:
    """Why no alert can ever be raised although classes are tested; ``None`` when one can.

    Args:
        pairs: of donors of each class that can be tested.
        judge: whose error budget is spent.
        looks_left: planned looks from now on; ``None`` when unknown.
    """
    if not pairs:
        return None
    most = max(pairs.values())
    share = judge.screen_threshold(tests=len(pairs), looks_left=looks_left)
    best = smallest_attainable_p(most)
    if best <= share:
        return None
    if share == 0:
        return (
            "the looks that were planned before have spent the whole error budget of this run. Verdicts are kept, "
            "but no new alert can be raised; for one in the epochs to come, raise alpha."
        )
    return (
        f"no alert is possible: each test may spend {share:.1e} of the error budget, and {most} probes of a class "
        f"cannot give a p-value below {best:.1e}. Add probes, look less often, or raise alpha."
    )


def smallest_effect(pairs: Mapping[int, int], judge: Judge, *, looks_left: int | None) -> str:
    """The smallest fall in probability that these probes are likely to confirm, and what a smaller one takes."""
    share = judge.confirm_threshold(tests=len(pairs), looks_left=looks_left)
    if not pairs or share == 0:
        return ""
    fewest, most = min(pairs.values()), max(pairs.values())
    gaps = [number(max(MIN_GAP, smallest_gap(n, share))) for n in dict.fromkeys((most, fewest))]
    needed = pairs_needed(MIN_GAP, share)
    more = f" For falls of {number(MIN_GAP)}, the least that counts, take {needed} probes a class." * (needed > fewest)
    return (
        f"With {' to '.join(str(n) for n in dict.fromkeys((fewest, most)))} pairs of backgrounds a class, a fall in "
        f"probability of {' to '.join(gaps)} is confirmed in four looks of five (if it varies by {SPREAD} from pair to "
        f"pair).{more}"
    )
