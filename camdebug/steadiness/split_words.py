"""What is said about right and wrong predictions, with chance levels."""

from __future__ import annotations

from camdebug.numerals import count_of, percent, plain
from camdebug.records.split import GroupScores, RightAgainstWrong, Split, WrongReasons

_LISTED = 10
_CLASSES = 3
_LEAST, _HOTTER = 5, 0.10
"""A class is named with so many valid probes on either side, and so much more outside lift (chance 1) where wrong."""


def lead_line(leads: WrongReasons) -> str:
    """The probes that are right for the wrong reason, how many chance gives, and what the list leaves out."""
    if leads.tested == 0:
        return "Right for the wrong reason: not tested, as no right prediction with a readable map was swapped."
    line = (
        f"Right for the wrong reason: {count_of(leads.count, 'probe')} ({leads.expected_by_chance} expected by chance) "
        f"of {count_of(leads.tested, 'right prediction')}"
    )
    if leads.count:
        named = [f"#{i}" for i in leads.probes[:_LISTED]]
        more = f" and {leads.count - len(named)} more" if leads.count > len(named) else ""
        line += (
            f": {', '.join(named)}{more}. Heat is denser outside the box than inside, and the probability falls by "
            f"{plain(leads.least_fall)} or more on backgrounds of other classes"
        )
    line += "."
    if leads.heat_on_object:
        line += (
            f" {leads.heat_on_object} more ({leads.heat_on_object_by_chance} expected by chance) fall as far with "
            "their heat on the object."
        )
    return line


def split_line(split: RightAgainstWrong) -> str:
    """Heat outside the boxes where the model is right and where it is wrong, and the classes that differ most.

    Empty when no probe can be read.
    """
    sides = [(split.overall.right, "where right"), (split.overall.wrong, "where wrong")]
    told = [f"{_group(group)} {where}" for group, where in sides if group.probes]
    if not any(group.valid for group, _ in sides):
        return ""
    differing = sorted((s for s in split.classes if _gap(s) >= _HOTTER), key=_gap, reverse=True)[:_CLASSES]
    named = "; ".join(_class(s) for s in differing)
    hotter = f" Wrong predictions are hotter outside in {named}." if named else ""
    return f"Heat outside the boxes: {', '.join(told)}.{hotter}"


def _group(group: GroupScores) -> str:
    if group.outside_mass is None or group.chance_outside_mass is None:
        return f"not measurable ({count_of(group.probes, 'probe')})"
    return (
        f"{percent(group.outside_mass)} (uniform {percent(group.chance_outside_mass)}; "
        f"{count_of(group.valid, 'probe')})"
    )


def _class(split: Split) -> str:
    return f"`{split.name}`, {_group(split.wrong)} against {_group(split.right)}"


def _gap(split: Split) -> float:
    """By how much the outside lift is higher where the model is wrong; 0 where one side has too few probes."""
    right, wrong = split.right, split.wrong
    if right.outside_lift is None or wrong.outside_lift is None or min(right.valid, wrong.valid) < _LEAST:
        return 0.0
    return wrong.outside_lift - right.outside_lift
