"""What is said about steadiness: a few Markdown lines, every number with its floor or chance level."""

from __future__ import annotations

from collections.abc import Sequence

from camdebug.numerals import count_of, percent, plain
from camdebug.records.split import RightAgainstWrong, WrongReasons
from camdebug.records.steadiness import ObjectFollowing, Similarity, SteadinessReport
from camdebug.steadiness.split_words import lead_line, split_line

_STANDS_OUT, _LEAST = 2.0, 5
"""A class is named when its maps changed by so many times the mean, and so many of them could be compared."""


def information(
    report: SteadinessReport | None,
    split: RightAgainstWrong | None,
    leads: WrongReasons | None,
    class_names: Sequence[str],
) -> str:
    """Everything there is to tell beside the verdicts, one Markdown list item a line; empty when there is nothing.

    Args:
        report: of the steadiness check.
        split: right against wrong predictions.
        leads: probes that are right for the wrong reason.
        class_names: one name a class.
    """
    lines = ["" if leads is None else lead_line(leads), "" if split is None else split_line(split)]
    lines += [] if report is None else steadiness_lines(report, class_names)
    return "\n".join(f"- {line}" for line in lines if line)


def steadiness_lines(report: SteadinessReport, class_names: Sequence[str]) -> list[str]:
    """One sentence or two for each thing that was measured, the sanity of the maps first."""
    found = (_following(report.following), _initial(report), _drift(report, class_names), _stability(report))
    return [line for line in found if line]


def _following(following: ObjectFollowing | None) -> str:
    if following is None:
        return ""
    if not following.follows:
        head = "Heat does not follow the object (maps fit other pictures' boxes as well)"
    elif following.own <= following.uniform:
        head = "Heat hardly follows the object"
    else:
        head = "Heat follows the object"
    return (
        f"{head}: {percent(following.own)} of a map's heat lies on its probe's object; of other probes' maps "
        f"{percent(following.others)}, of a uniform one {percent(following.uniform)} "
        f"(z = {plain(following.z)}, chance 0; {count_of(following.count, 'probe')})."
    )


def _initial(report: SteadinessReport) -> str:
    initial, chance = report.initial, report.initial_chance
    if initial is None or initial.jensen_shannon is None:
        return ""
    line = f"Maps differ from those before training by {_distance(initial)}"
    if chance is not None and chance.jensen_shannon is not None:
        line += f"; from those of other probes before training by {_distance(chance)}"
    line += "."
    floor = None if report.jitter is None else report.jitter.jensen_shannon
    if floor is not None and initial.jensen_shannon <= floor:
        line += " That is no more than a shift of one pixel does: they say little about what was learned."
    return line + _left_out(initial)


def _drift(report: SteadinessReport, class_names: Sequence[str]) -> str:
    drift = report.drift
    if drift is None or drift.jensen_shannon is None:
        return ""
    line = f"Maps changed by {_distance(drift)} since epoch {report.since_epoch}{_floor(report)}"
    changed = [
        (own.jensen_shannon, name)
        for own, name in zip(report.drift_by_class, class_names, strict=False)
        if own.jensen_shannon is not None and own.count >= _LEAST
    ]
    most, name = max(changed, default=(0.0, ""))
    if most >= _STANDS_OUT * drift.jensen_shannon > 0:
        line += f", most in `{name}` (JS {plain(most)})"
    return f"{line}.{_left_out(drift)}"


def _floor(report: SteadinessReport) -> str:
    floor = None if report.jitter is None else report.jitter.jensen_shannon
    if floor is None:
        return ""
    verb, when = (
        ("changes", "") if report.jitter_epoch == report.epoch else ("changed", f", epoch {report.jitter_epoch}")
    )
    return f" (a shift of one pixel {verb} them by {plain(floor)}{when})"


def _stability(report: SteadinessReport) -> str:
    kinds = (("a small shift", report.shift), ("other lighting", report.lighting), ("noise", report.noise))
    told = [
        f"{kind} JS {plain(found.jensen_shannon)}"
        for kind, found in kinds
        if found is not None and found.jensen_shannon is not None
    ]
    if not told:
        return ""
    beside = [
        f"{what} {plain(found.jensen_shannon)}"
        for what, found in (("one pixel", report.jitter), ("maps of different probes of a class", report.other_probes))
        if found is not None and found.jensen_shannon is not None
    ]
    return f"A probe's map changes under {', '.join(told)}" + (f" ({'; '.join(beside)})." if beside else ".")


def _distance(found: Similarity) -> str:
    assert found.jensen_shannon is not None
    ranks = "" if found.spearman is None else f" (Spearman {plain(found.spearman)})"
    return f"JS {plain(found.jensen_shannon)}{ranks}"


def _left_out(found: Similarity) -> str:
    return f" {count_of(found.left_out, 'probe')} left out: no heat." if found.left_out else ""
