"""The sentences that people read: verdict first, numbers with their chance level, then what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from camdebug.numerals import number, percent
from camdebug.records import (
    BackgroundContrast,
    BackgroundSwap,
    ClassScores,
    ClassVerdict,
    Extent,
    Level,
    PlaceLock,
    RunVerdict,
)

LIMITS = (
    "*What this does not tell you.* No alert is not clean: cues inside the boxes, cues that the probes lack and cues "
    "that all classes share cannot be seen. Heat is not proof: *suspect* means look, *confirmed* means that "
    "predictions depend on which class the background came from. Context can be legitimate: dependence is measured, "
    "not wrongness. Boxes bring their own background along, so the fall that is measured is a lower bound. The error "
    "rate holds for probes that are drawn like the pictures to come and unseen in training, and no longer once one "
    "tunes on the alarms."
)


KEPT = "It was raised before and is not cleared yet."

UNLOCKED = "Its heat no longer stays at one place."

_COLUMNS = (
    "class",
    "verdict",
    "since epoch",
    "fall when swapped (chance 0)",
    "background evidence (chance 0)",
    "heat outside (uniform)",
    "D (chance 0)",
)


def not_tested(scores: ClassScores, needed: int, *, once: bool) -> str:
    """Why the background of a class was not tested; an audit, which looks ``once``, has no ``contrast`` to set."""
    if scores.probes == 0:
        return "It has no probe. Add annotated pictures of it."
    if scores.probes < needed:
        return f"Its background was not tested: it has {scores.probes} probes, and that takes {needed}. Add some."
    also = "" if once else "; and contrast=True"
    return (
        f"Its background was not tested. That takes {needed} probes with boxes of 2 to 70 % of the picture, and as "
        f"many pictures of other classes that do not show it as well{also}."
    )


def not_finite(scores: ClassScores, usable: int) -> str:
    """Why a test says nothing at this look."""
    return (
        f"Its evidence is finite in only {usable} of {scores.probes} probes at this look: the model's scores or "
        "gradients overflow. Nothing is concluded from it."
    )


def not_learned(scores: ClassScores, classes: int) -> str:
    """Why a class is not judged yet; ``classes`` that have probes share the chance level."""
    recall = "unknown" if scores.recall is None else number(scores.recall)
    return (
        f"Recall {recall}, chance {number(1 / max(classes, 2))}: the model does not surely tell it from other classes "
        "yet (answering it for everything does not count), so there is nothing to judge."
    )


def tested(contrast: BackgroundContrast, budget: float) -> str:
    """What the contrast found, with its chance level."""
    stronger = "stronger" if contrast.value >= 0 else "weaker"
    return (
        f"Its evidence is {number(abs(contrast.value))} logits {stronger} on backgrounds of its own class than on "
        f"those of other classes (chance 0; {sum(contrast.counts)} pairs of backgrounds; "
        f"p = {number(contrast.p_value)} of a budget of {number(budget)})."
    )


def swapped(swap: BackgroundSwap, budget: float) -> str:
    """What the swap found, with its chance level; one that does not decide says no p-value."""
    lowers = "lowers" if swap.gap >= 0 else "raises"
    found = (
        f"Putting other classes' backgrounds behind the same objects {lowers} their probability by "
        f"{number(abs(swap.gap))} (same-class backgrounds as control, chance 0"
    )
    if not swap.decides:
        return f"{found}; this is no planned look, so it cannot confirm)."
    first, second = (number(gap) for gap in swap.panel_gaps)
    return (
        f"{found}; {first} and {second} on two disjoint panels of {sum(swap.counts)} pairs of backgrounds; "
        f"p = {number(swap.p_value)} of a budget of {number(budget)})."
    )


def confirmed_before(gap: float | None, *, epoch: int) -> str:
    """What a class stands confirmed on at a look that does not decide."""
    last = "" if gap is None else f", with a fall of {number(gap)} at the last planned look"
    return f"It is confirmed since epoch {epoch}{last}."


def waiting(names: Sequence[str], looks: int) -> str:
    """Why no swap decides yet, and when one will at the latest."""
    named = ", ".join(f"`{name}`" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"A background swap will test it once every class is learned ({named} not yet), or in {looks} looks whatever "
        "is learned by then."
    )


def undecided(looks: int) -> str:
    """When a swap will decide what the screen has raised."""
    return f"A background swap will test it {'at the next look' if looks == 1 else f'in {looks} looks'}."


def placed(place: PlaceLock, budget: float, *, epoch: int | None) -> str:
    """Heat that stays at one place, with its chance level; ``epoch`` is ``None`` where there is one look alone."""
    where = place.place[0].upper() + place.place[1:] if epoch is None else f"At epoch {epoch} {place.place}"
    kept = " It was found there before and is not cleared yet." if place.p_value > budget else ""
    return (
        f"{where} held more heat in {place.locked} of {place.read} pictures than when they are "
        f"rolled round: {percent(place.share)} (rolled {percent(place.chance_share)}; p = {number(place.p_value)} of a "
        f"budget of {number(budget)}). A tag, a logo, text or a frame may stand there; objects that always stand there "
        f"look the same.{kept}"
    )


def alert(
    verdict: ClassVerdict, scores: ClassScores, *, epoch: int, maps: Sequence[str], name: str = "camdebug"
) -> str:
    """The alert of one class whose level has changed.

    Args:
        verdict: the new verdict.
        scores: means of the class.
        epoch: of the look.
        maps: dashboard tags of the maps that show where its cue sits.
        name: of the monitor.
    """
    severity = f", {verdict.severity.value}" if verdict.severity else ""
    level = f"{verdict.level.value.upper()}{severity}"
    head = f"{name} · epoch {epoch} · class `{verdict.name}`: {level}. {verdict.reason}"
    if not verdict.level.is_alert:
        return f"{head} It was {verdict.changed_from.value if verdict.changed_from else 'unknown'} before."
    parts = [head]
    if scores.outside_mass is not None and scores.chance_outside_mass is not None:
        parts.append(
            f"Heat outside its boxes: {percent(scores.outside_mass)} (uniform = {percent(scores.chance_outside_mass)})."
        )
    if verdict.worst_probes:
        parts.append("Worst probes: " + ", ".join(f"#{i}" for i in verdict.worst_probes) + ".")
    parts.append(
        f"Next: look at {' and '.join(maps)} for where the cue sits, at the film strips for since when, and check "
        "whether these backgrounds come with this class alone."
    )
    return " ".join(parts)


def run_report(
    verdict: RunVerdict,
    verdicts: Sequence[ClassVerdict],
    classes: Sequence[ClassScores],
    *,
    epoch: int,
    information: str = "",
) -> str:
    """The verdict panel: Markdown, one line for every class, the alarming ones first, then the limits.

    ``information`` is a Markdown list of what else there is to know, alarms aside.
    """
    head = f"**Epoch {epoch}: {verdict.reason}**"
    by_idx = {c.class_idx: c for c in classes}
    order = sorted(verdicts, key=lambda v: (-v.level.rank, -(v.background_evidence.present or 0.0)))
    rows = [_row(v, by_idx[v.class_idx]) for v in order]
    why = [f"* `{v.name}` · {v.level.value}: {v.reason}" for v in order]
    return "\n".join(
        [
            head,
            "",
            _row_of(_COLUMNS),
            _row_of(["---"] * len(_COLUMNS)),
            *rows,
            "",
            "Why:",
            "",
            *why,
            "",
            *[information, ""] * bool(information),
            LIMITS,
        ]
    )


def headline(verdicts: Sequence[ClassVerdict]) -> str:
    """The run in a sentence."""
    alarming = [v for v in sorted(verdicts, key=lambda v: -v.level.rank) if v.level.is_alert]
    judged = sum(v.level is Level.NO_EVIDENCE for v in verdicts)
    if alarming:
        named = ", ".join(f"`{v.name}` ({v.level.value})" for v in alarming)
        if all(v.locked_place and v.level is Level.WATCH for v in alarming):
            return f"heat stays at one place of the picture for {named}."
        sure = alarming[0].level is Level.CONFIRMED
        return f"the background {'matters' if sure else 'seems to matter'} for {named}."
    if judged == len(verdicts):
        return "no evidence that a class leans on its background."
    if judged:
        return (
            f"no evidence that a class leans on its background, in the {judged} of {len(verdicts)} that can be judged."
        )
    if all(v.level is Level.NOT_MEASURABLE for v in verdicts):
        return "no class can be judged with these probes."
    return "nothing to judge yet."


def _row(verdict: ClassVerdict, scores: ClassScores) -> str:
    evidence, gap = verdict.background_evidence, verdict.swap_gap
    cells = [verdict.name, verdict.level.value + (f" ({verdict.severity.value})" if verdict.severity else "")]
    cells += [str(verdict.since_epoch), _extent(gap, ""), _extent(evidence, " logits")]
    outside, ratio = "-", "-"
    if scores.outside_mass is not None and scores.chance_outside_mass is not None:
        outside = f"{percent(scores.outside_mass)} ({percent(scores.chance_outside_mass)})"
    if scores.log_density_ratio is not None:
        ratio = number(scores.log_density_ratio)
    return _row_of([*cells, outside, ratio])


def _extent(extent: Extent, unit: str) -> str:
    """The present value, and the peak where that is another epoch's."""
    present = "-" if extent.present is None else f"{number(extent.present)}{unit}"
    if extent.peak is None or extent.peak == extent.present:
        return present
    return f"{present} (peak {number(extent.peak)} at epoch {extent.peak_epoch})"


def _row_of(cells: Sequence[str]) -> str:
    """A row of a Markdown table; a pipe within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
