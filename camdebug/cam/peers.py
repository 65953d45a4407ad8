"""Processes that look at the same model together, each at its share of the pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeVar

_Piece = TypeVar("_Piece")


class Peers(Protocol):
    """What a pass knows of the other processes."""

    @property
    def rank(self) -> int:
        """This one's number, from 0."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def exchange(self, mine: _Piece) -> list[_Piece]:
        """Everybody's piece, in the order of ranks. All ranks come here, and raise together if one has failed."""
        ...

    def attempt(self) -> AbstractContextManager[None]:
        """All ranks enter it together. If one fails inside, all of them raise, and none waits for another."""
        ...


class _Alone:
    rank, count = 0, 1

    def exchange(self, mine: _Piece) -> list[_Piece]:
        return [mine]

    def attempt(self) -> AbstractContextManager[None]:
        return nullcontext()


ALONE: Final[Peers] = _Alone()
"""One process."""
