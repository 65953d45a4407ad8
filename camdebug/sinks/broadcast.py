"""Send the same thing to every sink; one that fails never keeps it from the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from camdebug.sinks.base import Picture, Sink
from camdebug.wording import Failure, told

_GO_ON = "Training and the other dashboards go on; further failures there are counted at the end"


class Broadcast:
    """All sinks as one.

    Args:
        sinks: in the order in which they are called.

    Attributes:
        problems: every failure of a sink; the caller reports and clears them.
    """

    name = "all sinks"

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self.problems: list[Failure] = []

    def __len__(self) -> int:
        return len(self._sinks)

    def pictures(self, pictures: Sequence[Picture], *, step: int) -> None:
        """Log pictures everywhere."""
        self._each("pictures", lambda sink: sink.pictures(pictures, step=step))

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """Log a text everywhere."""
        self._each("a text", lambda sink: sink.text(tag, markdown, step=step))

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Alert everywhere."""
        self._each("an alert", lambda sink: sink.alert(title, text, step=step))

    def facts(self, facts: Mapping[str, str | int | float]) -> None:
        """Record facts everywhere."""
        self._each("facts", lambda sink: sink.facts(facts))

    def _each(self, what: str, call: Callable[[Sink], None]) -> None:
        for sink in self._sinks:
            try:
                call(sink)
            except Exception as error:
                self.problems.append(Failure(sink.name, f"{sink.name} did not take {what}", told(error), _GO_ON))
