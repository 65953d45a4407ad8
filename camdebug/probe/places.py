"""Which class each picture stands for, so that as many classes as possible are full with each picture used once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

_Moved = tuple[int, int]
"""A class that gives a picture away, and that picture."""


class Places:
    """So many places for each class, taken by pictures that may each stand for one of several classes.

    A picture for which there is room only once others have stood aside is let in (augmenting paths, Kuhn 1955), so at
    any time no other choice among the pictures met so far would have filled more places.

    Args:
        per_class: places of a class.

    A picture of cats alone comes after one of a cat and a dog, which becomes a picture of dogs:

    >>> places = Places(1)
    >>> places.take(0, [0, 1]), places.take(1, [0]), places.taken
    (True, True, {0: 1, 1: 0})
    """

    def __init__(self, per_class: int) -> None:
        self._per_class = per_class
        self._choices: dict[int, tuple[int, ...]] = {}
        self._members: defaultdict[int, set[int]] = defaultdict(set)
        self._closed: set[int] = set()
        self.counts: Counter[int] = Counter()
        self.taken: dict[int, int] = {}

    def has_room(self, class_idx: int) -> bool:
        """Whether the class is short of pictures."""
        return self.counts[class_idx] < self._per_class

    def is_open(self, classes: Iterable[int]) -> bool:
        """Whether a picture of these classes would be taken."""
        return self._way(classes) is not None

    def take(self, picture: int, classes: Iterable[int]) -> bool:
        """Give the picture a place of one of its classes, the emptiest that can be had; false when there is none."""
        way = self._way(classes)
        if way is None:
            return False
        end, moved = way
        self.counts[end] += 1
        while end in moved:
            start, other = moved[end]
            self._put(other, end)
            self._members[start].discard(other)
            end = start
        self._choices[picture] = tuple(classes)
        self._put(picture, end)
        return True

    def take_again(self, class_idx: int) -> bool:
        """Take a place of a class for a picture that has one of another class already; false when it is full."""
        room = self.has_room(class_idx)
        self.counts[class_idx] += room
        return room

    def _put(self, picture: int, class_idx: int) -> None:
        self._members[class_idx].add(picture)
        self.taken[picture] = class_idx

    def _way(self, classes: Iterable[int]) -> tuple[int, dict[int, _Moved]] | None:
        """A class with room, and who stands aside on the way there, by the class that each moves to."""
        queue = sorted(set(classes) - self._closed, key=lambda k: (self.counts[k], k))
        seen, moved = self._closed | set(queue), dict[int, _Moved]()
        for class_idx in queue:  # grows as it is gone through
            if self.has_room(class_idx):
                return class_idx, moved
            for member in sorted(self._members[class_idx]):
                for other in self._choices[member]:
                    if other not in seen:
                        seen.add(other)
                        moved[other] = class_idx, member
                        queue.append(other)
        self._closed |= seen  # full, and so is whatever their pictures could move to: no way leads out any more
        return None
