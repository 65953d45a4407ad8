"""Running out of memory has many names; here it gets one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_PLAIN: tuple[type[Exception], ...] = (RuntimeError, getattr(torch, "AcceleratorError", RuntimeError))
_SAID_WITH = (
    "out of memory",
    "can't allocate memory",  # torch's allocator for the CPU
    "not enough memory",  # the same on Windows
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether fewer pictures at a time may help.

    ``torch.OutOfMemoryError`` is of accelerators alone. The CPU's allocator and libraries of accelerators raise a plain
    ``RuntimeError``, known by its text; numpy and Python raise ``MemoryError``.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return type(error) in _PLAIN and any(words in _text(error).lower() for words in _SAID_WITH)


@contextmanager
def one_kind_of_shortage() -> Iterator[None]:
    """Raise ``torch.OutOfMemoryError`` for every way of running out of memory.

    Raises:
        torch.OutOfMemoryError: memory has run out.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # No local name for it: a traceback that holds its own frame would keep the failed pass's tensors.
        raise _shortage(error) from error


def _shortage(error: Exception) -> torch.OutOfMemoryError:
    found = torch.OutOfMemoryError(_text(error) or type(error).__name__)
    vars(found).update(vars(error))  # what other processes were told of it stays known
    return found


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an error that cannot be printed
        return ""
