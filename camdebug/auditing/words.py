"""The report of an audit: verdict, how sure, the numbers beside their chance levels, and what it does not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camdebug.auditing.report import AuditReport, BackgroundLook, Worst
from camdebug.measures.summary import over_classes
from camdebug.numerals import count_of, number, percent
from camdebug.probe.checks import name_a_few
from camdebug.records import ClassScores, ClassVerdict, Split
from camdebug.verdict.words import LIMITS

_REASONS = 6
_NAMED = 3
_HEADINGS = (
    "class",
    "verdict",
    "pictures",
    "readable",
    "right (by chance)",
    "heat outside (uniform)",
    "D (chance 0)",
    "where right",
    "where wrong",
    "fall when swapped (chance 0)",
)
_CHANCE = (
    "In brackets is what chance gives. Right: the share of all predictions that name the class, which is what dealing "
    "them out at random would get right. Heat: what lies outside when it is spread evenly."
)
_ONE_LOOK = (
    "An audit is one look: it can say watch and confirmed; suspect takes two. Heat outside the boxes describes, and "
    "its level differs between nets, grids and box sizes: it says where, not whether that is wrong. Only the swap of "
    "backgrounds says what predictions depend on, for the pictures that were drawn for it."
)


def report_words(report: AuditReport, *, where: str, evidence: str | None) -> str:
    """The report as plain text; see the order in which it speaks at the top of this module.

    Args:
        report: the numbers.
        where: the maps are made, to be said after the method's name.
        evidence: a clause that says where background evidence is measured, when the maps do not tell.
    """
    paragraphs = [
        _head(report.look),
        _table(report, where, evidence),
        _why(report.look),
        _worst(report),
        _left_out(report.left_out, report.size),
        LIMITS.replace("*", "").replace("tell you.", f"tell you. {_ONE_LOOK}", 1),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _head(look: BackgroundLook | None) -> str:
    if look is None:
        return (
            "camdebug audit: where heat lies. No background was swapped (per_class=0), so nothing is said about "
            "whether predictions depend on backgrounds."
        )
    sure = (
        f"How sure: one look at {count_of(sum(look.probes), 'probe')} with swapped backgrounds. The share of clean "
        f"models that get any alert, over all classes, is meant to be at most {percent(look.alpha)}."
    )
    return "\n".join([f"camdebug audit: {look.verdict.reason}", " ".join([sure, *look.notes])])


def _table(report: AuditReport, where: str, evidence: str | None) -> str:
    verdicts = report.look.classes if report.look is not None else (None,) * len(report.classes)
    rows = [
        _row(*entry)
        for entry in zip(report.classes, report.chance_recalls, verdicts, report.split.classes, strict=True)
    ]
    rows.append(_mean_row(report))
    tested = report.look is not None
    kept = [i for i, heading in enumerate(_HEADINGS) if tested or heading not in ("verdict", _HEADINGS[-1])]
    cells = [[row[i] for i in kept] for row in (_HEADINGS, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    measured = (
        f"Heat of {len(report.pictures)} of {count_of(report.size, 'picture')}: {report.method} of the label {where}"
        f"{f'; {evidence}' if evidence and tested else ''}."
    )
    return "\n".join([measured, *(f"  {line}" for line in lines), _CHANCE])


def _row(scores: ClassScores, chance: float, verdict: ClassVerdict | None, split: Split) -> tuple[str, ...]:
    gap = None if verdict is None else verdict.swap_gap.present
    return (
        scores.name,
        "" if verdict is None else _level(verdict),
        str(scores.probes),
        str(scores.valid),
        _beside(scores.recall, chance),
        _beside(scores.outside_mass, scores.chance_outside_mass),
        _number(scores.log_density_ratio),
        _beside(split.right.outside_mass, split.right.chance_outside_mass),
        _beside(split.wrong.outside_mass, split.wrong.chance_outside_mass),
        _number(gap),
    )


def _mean_row(report: AuditReport) -> tuple[str, ...]:
    """Each class counts alike in what is a mean of classes, each picture in what is split by right and wrong."""
    classes, overall = report.classes, report.split.overall
    chances = [chance for c, chance in zip(classes, report.chance_recalls, strict=True) if c.recall is not None]
    return (
        "all classes",
        "",
        str(sum(c.probes for c in classes)),
        str(sum(c.valid for c in classes)),
        _beside(over_classes(classes, "recall"), sum(chances) / max(len(chances), 1)),
        _beside(over_classes(classes, "outside_mass"), over_classes(classes, "chance_outside_mass")),
        _number(over_classes(classes, "log_density_ratio")),
        _beside(overall.right.outside_mass, overall.right.chance_outside_mass),
        _beside(overall.wrong.outside_mass, overall.wrong.chance_outside_mass),
        "",
    )


def _beside(share: float | None, chance: float | None) -> str:
    return "-" if share is None or chance is None else f"{percent(share)} ({percent(chance)})"


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)


def _level(verdict: ClassVerdict) -> str:
    return verdict.level.value + (f", {verdict.severity.value}" if verdict.severity else "")


def _why(look: BackgroundLook | None) -> str:
    if look is None:
        return ""
    order = sorted(range(len(look.classes)), key=lambda k: -look.classes[k].level.rank)
    lines = []
    for verdict, ids in ((look.classes[k], look.worst[k]) for k in order):
        level, lean = _level(verdict), ""
        if verdict.level.is_alert:
            level = level.replace(verdict.level.value, verdict.level.value.upper())
            lean = f" Pictures that depend most on it: {', '.join(ids)}." if ids else ""
        lines.append(f"  `{verdict.name}`: {level}. {verdict.reason}{lean}")
    return "\n".join(["Why:", *lines])


def _worst(report: AuditReport) -> str:
    lines = [
        f"  `{scores.name}`: " + ", ".join(map(_one_of_the_worst, worst[:_NAMED]))
        for scores, worst in zip(report.classes, report.worst, strict=True)
        if worst
    ]
    return "\n".join(["Pictures with the densest heat outside their boxes (D; uniform = 0):", *lines]) if lines else ""


def _one_of_the_worst(worst: Worst) -> str:
    return f"{worst.source_id} ({number(worst.log_density_ratio)}{'' if worst.correct else ', predicted wrong'})"


def _left_out(left_out: Mapping[str, Sequence[str]], size: int) -> str:
    if not left_out:
        return ""
    reasons = sorted(left_out.items(), key=lambda item: -len(item[1]))
    told = [f"{len(ids)} x {reason} ({name_a_few(ids)})" for reason, ids in reasons[:_REASONS]]
    more = sum(len(ids) for _, ids in reasons[_REASONS:])
    if more:
        told.append(f"{more} for other reasons")
    return f"Left out: {sum(map(len, left_out.values()))} of {count_of(size, 'picture')}: {'; '.join(told)}."
