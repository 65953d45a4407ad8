"""The processes of a distributed training that share a look. Knows ``torch.distributed``, no Lightning."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from camdebug.wording import told

_Piece = TypeVar("_Piece")


class PeerError(RuntimeError):
    """Another process has failed in this look, so this one gives it up as well."""


@dataclass(frozen=True)
class _Sent(Generic[_Piece]):
    """What each process gives to an exchange: its piece, or why it has none; ``last``: it leaves the attempt."""

    piece: _Piece | None
    last: bool = False
    failed: str | None = None
    out_of_memory: bool = False


class Ranks:
    """All processes of the default group of ``torch.distributed``.

    Every exchange is one collective of the same kind, whatever it is for. A process that fails makes exactly one more,
    which meets the next one of the others, whichever that is. So all learn of it at once, none makes another, and no
    process is left waiting.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return torch.distributed.get_rank()

    @property
    def count(self) -> int:
        """How many processes there are."""
        return torch.distributed.get_world_size()

    def exchange(self, mine: _Piece) -> list[_Piece]:
        """Everybody's piece, in the order of ranks. What may fail before it belongs inside :meth:`attempt`.

        Raises:
            PeerError: another process has failed.
            torch.OutOfMemoryError: others have run out of memory, and nothing worse has happened.
        """
        return self._exchange(_Sent(mine))

    def _exchange(self, mine: _Sent[_Piece]) -> list[_Piece]:
        try:
            sent = _gather(mine, self.count)
            failure = _failure_in(sent)
            if failure is not None:
                raise failure
        except Exception as error:
            _mark(error)
            raise
        return [s.piece for s in sent]  # type: ignore[misc]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """All processes enter it together. If one fails inside, every one of them raises, before or as it leaves.

        Raises:
            PeerError: another process has failed.
            torch.OutOfMemoryError: all that have failed ran out of memory.
        """
        try:
            yield
        except Exception as error:
            if not _is_marked(error):  # else the others know
                self._tell(error)
            raise
        self._exchange(_Sent(None, last=True))

    def _tell(self, error: Exception) -> None:
        """Let the others know. Running out of memory is overruled by whatever else has failed elsewhere."""
        _mark(error)
        short = isinstance(error, torch.OutOfMemoryError)
        failure = None
        if short:  # even a message takes memory, and the failed pass still holds what it had
            traceback.clear_frames(error.__traceback__)
        mine: _Sent[object] = _Sent(None, failed=f"rank {self.rank}: {told(error)}", out_of_memory=short)
        with suppress(Exception):  # whoever cannot be told has failed as well
            failure = _failure_in(_gather(mine, self.count))
        if short and isinstance(failure, PeerError):
            _mark(failure)
            raise failure from error


def _gather(mine: _Sent[_Piece], count: int) -> list[_Sent[_Piece]]:
    everybodys = [mine] * count
    torch.distributed.all_gather_object(everybodys, mine)
    return everybodys


def _failure_in(sent: Sequence[_Sent[_Piece]]) -> Exception | None:
    """The same for every process: what all of them raise that have not failed themselves."""
    failed = [s for s in sent if s.failed is not None]
    worse = [s for s in failed if not s.out_of_memory]
    if worse:
        return PeerError(worse[0].failed)
    if failed:
        return torch.OutOfMemoryError(failed[0].failed)
    # Whoever left alone would be waited for while it trains on.
    return PeerError("the processes have gone different ways") if len({s.last for s in sent}) > 1 else None


# The mark is on the exception itself: whoever held the exception to compare it would hold its frames' tensors as well.
_MARK = "_camdebug_all_ranks_know"


def _mark(error: Exception) -> None:
    setattr(error, _MARK, True)


def _is_marked(error: Exception) -> bool:
    return getattr(error, _MARK, False)
