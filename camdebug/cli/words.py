"""What the command says: in lines that any terminal takes, with options as the shell has them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from camdebug.wording import visible

_OPTIONS = {
    "class_names": "--classes",
    "label_map": "--map",
    "per_class": "--per-class",
    "min_area": "--min-area",
    "max_area": "--max-area",
    "train_dataset": "--train",
    "others='ignore'": "--ignore-others",
    'others="ignore"': "--ignore-others",
    "overwrite=True": "--overwrite",
}
_NAMED = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(name)}\b=?" if name[-1].isalpha() else re.escape(name) for name in _OPTIONS)
)


class WrongInputError(Exception):
    """The command cannot do it. The message is what is said."""


def in_options(text: str) -> str:
    """Arguments as the command has them.

    >>> in_options("class_names: expected one; draw fewer (per_class=) or pass overwrite=True")
    '--classes: expected one; draw fewer (--per-class) or pass --overwrite'
    """
    return _NAMED.sub(lambda found: _OPTIONS[found[0]] if found[0] in _OPTIONS else _OPTIONS[found[0][:-1]], text)


def line_of(text: str) -> str:
    """A text in one line."""
    return visible(" ".join(text.split()))


def say(text: str, stream: TextIO | None = None) -> None:
    """Print in what the stream can encode."""
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


@contextmanager
def wrong_input() -> Iterator[None]:
    """Whatever a wrong input raises becomes :class:`WrongInputError`."""
    try:
        yield
    except ImportError as error:
        raise WrongInputError(str(error)) from error
    except (TypeError, ValueError, OSError) as error:
        raise WrongInputError(in_options(str(error)) or type(error).__name__) from error
