"""Words to the user that can never hurt: warnings that do not raise, each said once."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from camdebug.callbacks.losses import LOOKS, Losses
from camdebug.records import Loss
from camdebug.wording import Failure, told, visible


class CamdebugWarning(UserWarning):
    """camdebug has something to say about itself; training goes on."""


class ShortcutWarning(CamdebugWarning):
    """A class seems to lean on its background."""


class Messenger:
    """Says things on rank zero. Of what is lost the first of a kind is told at once, and the sum at the end.

    With warnings turned into errors (``-W error``) a warning of ours would end the user's training; it is then printed
    to standard error instead.

    Attributes:
        epoch: that the training is in; ``None`` before the first.
        looks: so many were tried.
    """

    def __init__(self) -> None:
        self.active = True
        self.forget()

    def forget(self) -> None:
        """A new run begins: nothing has been said yet."""
        self.looks = 0
        self.epoch: int | None = None
        self._losses = Losses()
        self._said: set[str] = set()

    @contextmanager
    def harmless(self, doing: str) -> Iterator[None]:
        """An exception inside the block is reported once for each ``doing``, counted, and goes no further."""
        try:
            yield
        except Exception as error:
            self.given_up(Failure(doing, f"{doing} failed", told(error)))

    def given_up(self, failure: Failure) -> None:
        """Report the first failure of a source, and count them all."""
        reported = self._say_once(failure.source, f"camdebug: {failure}.")
        self._losses.add(failure.what, failure.why, epoch=self.epoch, reported=reported)

    def say(self, text: str) -> None:
        """Print a line."""
        if self.active:
            _print(visible(text), sys.stdout)

    def warn(self, text: str, category: type[CamdebugWarning] = CamdebugWarning) -> None:
        """Warn, whatever the warning filters are.

        Python shows a warning once for each text and place in a process, so a second training would be silent: without
        a registry it has no memory. Where in our code it comes from tells people nothing, so no line of it is shown.
        """
        if not self.active:
            return
        text = visible(text)
        try:
            warnings.warn_explicit(text, category, "camdebug", 0, module="camdebug", registry={})
        except Exception:  # the filters' own "error", or a host program's handler that fails
            _print(f"{category.__name__}: {text}", sys.stderr)

    def warn_once(self, text: str) -> None:
        """Warn unless the same was said before."""
        self._say_once(text, text)

    def off(self, why: str) -> None:
        """Say once that there will be no looks."""
        self.warn_once(f"camdebug is off in this run: {why}. Training goes on without it.")

    def lost_look(self, epoch: int, error: Exception) -> None:
        """Report the first lost look with its cause, and count the others."""
        reported = self._say_once(
            LOOKS,
            f"camdebug lost its look at epoch {epoch}: {told(error)}{_place(error)}. The model is as it was and "
            "training goes on; the next look is tried as planned, further losses are counted at the end.",
        )
        self._losses.add(LOOKS, told(error), epoch=epoch, reported=reported)

    def smaller_chunks(self, asked: int, now: int) -> None:
        """Say once that memory has run out, if fewer pictures than were asked for go into a forward."""
        if now < asked:
            self._say_once(
                "smaller chunks",
                f"camdebug ran out of memory with {asked} pictures in a forward; it goes on with {now}. Pass "
                f"chunk_size={now} to begin with that.",
            )

    def forward_changes(self, names: list[str]) -> None:
        """Say once that the model's forward changes its own state."""
        if names:
            self._say_once(
                "forward changes",
                f"camdebug: the model's forward changes {', '.join(names[:5])}"
                + (", ..." if len(names) > 5 else "")
                + ". Each look puts it back, so training is not affected.",
            )

    def left_out(self, name: str, why: str) -> None:
        """Say once for each reason that not all can be put back that a look may change."""
        self._say_once(why, f"camdebug: looks do not put back all that a forward changes in the model's {name}: {why}.")

    @property
    def losses(self) -> tuple[Loss, ...]:
        """All that the run has lost so far."""
        return tuple(self._losses)

    def closing_words(self) -> None:
        """Sum up what was lost and why, once a run, if there is more than was reported already."""
        in_sum = self._losses.in_sum(looks=self.looks)
        self._losses.heard()
        if in_sum:
            self.warn(f"camdebug, in sum: {in_sum}.")

    def _say_once(self, key: str, text: str) -> bool:
        """Whether it was said now, and not before."""
        if key in self._said:
            return False
        self._said.add(key)
        self.warn(text)
        return True


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _print(text: str, stream: object) -> None:
    """Print in what the stream can encode; a closed stream is no reason to end a training."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(Exception):
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)  # type: ignore[call-overload]
