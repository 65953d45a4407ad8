"""Functions of the user's: what they raise is told under the name of the argument that they were passed as."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from camdebug.cam.shortage import is_out_of_memory
from camdebug.wording import told


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Call a function of the user's within.

    A shortage of memory, for which fewer pictures may help, and an error that names an argument already go on as they
    are, and so do interrupts.

    Args:
        name: what it was passed as, to begin the error with, such as ``"forward_fn:"``.

    Raises:
        TypeError: when the function cannot be called with what it gets.
        RuntimeError: for any other error. Either has the function's own as its cause.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or _is_named(error, name.partition(":")[0]):
            raise
        uncalled = isinstance(error, TypeError) and _raised_in(error.__traceback__) == _PACKAGE
        kind = TypeError if uncalled else RuntimeError
        # With the user's own lines as the innermost, for those are what a report points to.
        raise kind(f"{name} raised {told(error)}").with_traceback(error.__traceback__) from error


@dataclass(frozen=True)
class Called:
    """A function of the user's whose errors are told under a name."""

    name: str
    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401
        """What the function returns."""
        with calling(self.name):
            return self.function(*args)


def is_too_few_arguments(error: TypeError, forward: object) -> bool:
    """Whether a forward itself, and nothing within it, was called with too few arguments."""
    return str(error).startswith(f"{getattr(forward, '__qualname__', '')}() missing ")


def _is_named(error: Exception, argument: str) -> bool:
    """Of a class of ours, or it begins with the name of this argument, or was raised by us and begins with any."""
    if type(error).__module__.partition(".")[0] == _PACKAGE:
        return True
    named = re.match(r"([a-z_]+): ", told(error).partition(": ")[2])
    if named is None or not isinstance(error, (TypeError, ValueError)):
        return False
    return named[1] == argument or _raised_in(error.__traceback__) == _PACKAGE


_PACKAGE = __name__.partition(".")[0]


def _raised_in(traceback: TracebackType | None) -> str:
    """The package of the innermost frame."""
    found = ""
    while traceback is not None:
        found, traceback = str(traceback.tb_frame.f_globals.get("__name__", "")), traceback.tb_next
    return found.partition(".")[0]
