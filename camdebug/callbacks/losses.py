"""What a training lost of camdebug's work, and why: counted on the way, summed up once at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from camdebug.records import Loss

LOOKS = "lost looks"

_MOST_REASONS = 20
_NAMED_REASONS = 3
_NAMED_EPOCHS = 10


class Losses:
    """All losses of a run. Holds words and numbers, no exception."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Loss] = {}
        self._untold: dict[str, None] = {}

    def add(self, what: str, why: str, *, epoch: int | None, reported: bool) -> None:
        """Count one loss, and whether people heard of it at once."""
        reasons = [known for of, known in self._found if of == what]
        if why not in reasons and len(reasons) >= _MOST_REASONS:
            why = "other reasons"
        before = self._found.get((what, why), Loss(what, why, ()))
        self._found[what, why] = replace(before, epochs=(*before.epochs, epoch))
        if not reported:
            self._untold[what] = None

    def of(self, what: str) -> list[Loss]:
        """The losses of one kind, the first reason first."""
        return [loss for loss in self._found.values() if loss.what == what]

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._found.values())

    def heard(self) -> None:
        """People have heard the sum."""
        self._untold.clear()

    def in_sum(self, *, looks: int) -> str:
        """All kinds of loss that there was more of than was reported at once; empty without any.

        Args:
            looks: so many were tried.
        """
        return "; ".join(_clause(what, self.of(what), looks) for what in self._untold)


def _clause(what: str, losses: Sequence[Loss], looks: int) -> str:
    times = sum(len(loss.epochs) for loss in losses)
    reasons = [f"{_epochs(loss.epochs)}: {loss.why}" for loss in losses[:_NAMED_REASONS]]
    if len(losses) > _NAMED_REASONS:
        reasons.append(f"and {len(losses) - _NAMED_REASONS} more reasons")
    count = f"lost {times} of {looks} looks" if what == LOOKS else what if times == 1 else f"{what} {times} times"
    return f"{count} ({'; '.join(reasons)})"


def _epochs(epochs: Sequence[int | None]) -> str:
    """``epochs 0 to 3, 7``: runs of numbers, at most ten of them.

    >>> _epochs([0, 1, 2, 2, 7]), _epochs([4]), _epochs([None])
    ('epochs 0 to 2, 7', 'epoch 4', 'at the start')
    """
    numbers = sorted({epoch for epoch in epochs if epoch is not None})
    if not numbers:
        return "at the start"
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    told = [str(a) if a == b else f"{a} to {b}" for a, b in runs[:_NAMED_EPOCHS]]
    more = ", ..." if len(runs) > _NAMED_EPOCHS else ""
    return f"epoch{'s' if len(numbers) > 1 else ''} {', '.join(told)}{more}"
