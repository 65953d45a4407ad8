"""What stands in the way and what is worth knowing, collected while the examination goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from camdebug.cam.shortage import is_out_of_memory
from camdebug.wording import told, visible

_SAID = ("pass ", "choose ", "did you mean ", "; use ")
"""What tells what to do; a text that has it needs no other advice."""


class Findings:
    """Sentences in the order in which they were found, each once.

    Attributes:
        problems: what will be refused, or cannot be trusted, and what to do next.
        notes: what is worth knowing.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._errors: set[str] = set()

    def problem(self, text: str) -> None:
        """Something stands in the way."""
        if (text := visible(text)) not in self.problems:
            self.problems.append(text)

    def note(self, text: str) -> None:
        """Something is worth knowing."""
        if (text := visible(text)) not in self.notes:
            self.notes.append(text)

    @contextmanager
    def attempt(self, failed: str, advice: str) -> Iterator[None]:
        """Whatever is raised inside becomes a problem, told once however often it is met.

        Args:
            failed: the clause that says what failed.
            advice: the sentence that says what to do next.
        """
        try:
            yield
        except Exception as error:
            self.failure(error, failed, advice)

    def failure(self, error: Exception, failed: str, advice: str) -> None:
        """What was raised is a problem; arguments as of ``attempt``."""
        if is_out_of_memory(error):
            advice = "Pass a smaller chunk_size; looks halve theirs by themselves."
        if (why := told(error)) not in self._errors:
            self._errors.add(why)
            if (own := _named_argument(error, why)) is not None:
                why, advice = own, "" if any(said in own for said in _SAID) else advice
            self.problem(f"{failed}: {why if why.endswith(('.', '?')) else why + '.'} {advice}".rstrip())


def _named_argument(error: Exception, why: str) -> str | None:
    """The text of an error of our own, which begins with an argument's name; without it where the clause says so."""
    if not isinstance(error, (TypeError, ValueError)):
        return None
    text = why.removeprefix(f"{type(error).__name__}: ")
    if re.match(r"[a-z_]+: ", text) is None:
        return None
    return text.removeprefix("target_layer: ").removeprefix("model: ")
