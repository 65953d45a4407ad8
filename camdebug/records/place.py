"""Heat that stays at one place of the picture, whatever is in it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class PlaceLock:
    """The place towards the rim where a class's heat stays most, measured against the same pictures rolled away.

    Attributes:
        class_idx: the class.
        probes: number of its probes that took part.
        excluded: number of its probes left out: a map of theirs, or of their rolled picture, is zero or not finite.
        p_value: against "at no place is there clearly more heat than in the rolled picture for more than half of the
            probes"; paid for every place that was tried.
        place: in words, such as ``"the bottom right corner"``.
        box: its left, top, right and bottom as fractions of the picture; the whole picture for the border.
        read: number of probes whose object leaves enough of the place free to be read.
        locked: number of those with clearly more heat there than in their rolled picture.
        share: mean share of the heat at the place over the probes read, in [0, 1]; outside objects where these are
            known.
        chance_share: the same in the rolled pictures: the chance level of ``share``.
        excess_map: ``(h, w)`` float32, mean share of heat in each cell minus that in the rolled pictures.
    """

    class_idx: int
    probes: int
    excluded: int
    p_value: float
    place: str
    box: tuple[float, float, float, float]
    read: int
    locked: int
    share: float
    chance_share: float
    excess_map: Tensor
