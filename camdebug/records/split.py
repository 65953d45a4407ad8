"""Right predictions against wrong ones, and right ones that lean on the background."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupScores:
    """Means over the valid probes of a group. ``None`` where no probe is valid: nothing is imputed.

    Attributes:
        probes: number of probes in the group, valid or not.
        valid: number of them that the means are over.
        outside_mass: share of the heat outside the boxes; chance level ``chance_outside_mass``.
        chance_outside_mass: share of the picture outside the boxes, of the same probes.
        outside_lift: chance level 1.
        log_density_ratio: D, chance level 0.
        calibrated_log_density_ratio: D minus D of the class's other maps on the same box, chance level 0.
    """

    probes: int
    valid: int
    outside_mass: float | None = None
    chance_outside_mass: float | None = None
    outside_lift: float | None = None
    log_density_ratio: float | None = None
    calibrated_log_density_ratio: float | None = None


@dataclass(frozen=True)
class Split:
    """The probes of one class (``class_idx`` ``None``: of all classes) by what the model predicts for them."""

    class_idx: int | None
    name: str
    right: GroupScores
    wrong: GroupScores


@dataclass(frozen=True)
class RightAgainstWrong:
    """The split over all probes, and of every class.

    Wrong predictions gather in some classes, and classes differ in their boxes, so ``overall`` may differ between
    right and wrong where no class does. The map is always that of the label: on a wrong prediction, of a class that
    the model did not choose.
    """

    overall: Split
    classes: tuple[Split, ...]


@dataclass(frozen=True)
class WrongReasons:
    """Probes that are right for the wrong reason: a list of leads to look at, without error control.

    A probe is on it when it is predicted right, its heat is denser outside its box than inside, and its probability
    falls by at least ``least_fall`` when backgrounds of its own class give way to those of others.

    Attributes:
        probes: index of each, the largest fall first, cut off at a length that people read.
        falls: the fall of each, in probability.
        count: how many there are, those cut off included.
        expected_by_chance: how many probes meet the same conditions with the sign turned: their probability *rises* as
            far. If the background's class does not matter, rises and falls are equally likely.
        tested: probes that could have been on the list: right, with a readable map, and swapped.
        heat_on_object: probes that are right and fall as far while their heat is denser inside the box.
        heat_on_object_by_chance: those of them that rise as far.
        least_fall: what a probability must fall by.
    """

    probes: tuple[int, ...]
    falls: tuple[float, ...]
    count: int
    expected_by_chance: int
    tested: int
    heat_on_object: int
    heat_on_object_by_chance: int
    least_fall: float
