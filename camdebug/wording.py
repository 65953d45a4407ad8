"""Words that are safe to show: names and errors that others wrote, in what a terminal or a dashboard may print."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_LONGEST_ERROR = 300
_LONGEST_NAME = 120
_JOINERS = "\u200c\u200d"
"""Without them some scripts and emoji fall apart; they hide nothing."""


@dataclass(frozen=True)
class Failure:
    """Something that was given up so that the training can go on. Only words: an exception would keep its tensors.

    Attributes:
        source: what failed; people hear of the first failure of each at once.
        what: the clause that says what happened, such as ``TensorBoard did not take pictures``.
        why: the cause in a line.
        follows: what comes of it, the sentence that ends the first report.
    """

    source: str
    what: str
    why: str
    follows: str = "Training goes on"

    def __str__(self) -> str:
        return f"{self.what} ({self.why}). {self.follows}"


def told(error: BaseException) -> str:
    r"""An exception in a line, even one that cannot be printed.

    >>> told(ValueError("wrong\nand more")), told(KeyError())
    ('ValueError: wrong', 'KeyError')
    """
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # whose own text cannot be made: its type is still told
        lines = []
    first = _cut(visible(lines[0][: 2 * _LONGEST_ERROR]), _LONGEST_ERROR) if lines else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def visible(text: str) -> str:
    r"""Without what moves a cursor, turns the direction of writing, or cannot be encoded; white space becomes spaces.

    >>> visible("a\n\tb\x1b[2Jc\u202ed")
    'a  b[2Jcd'
    """
    spaced = ("\ufffd" if "\ud800" <= c <= "\udfff" else " " if c.isspace() else c for c in text)
    return "".join(c for c in spaced if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf"))


def shown_name(name: str) -> str:
    """A class name as texts show it, mostly between backticks: one line that cannot end them, and not too long.

    >>> shown_name("grey wolf"), shown_name("a`b"), shown_name("")
    ('grey wolf', "a'b", '(no name)')
    """
    return _cut(" ".join(visible(name[: 4 * _LONGEST_NAME]).replace("`", "'").split()), _LONGEST_NAME) or "(no name)"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
