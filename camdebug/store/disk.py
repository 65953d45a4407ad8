"""The few ways in which the store touches a disk: whole or not at all, and never through a link."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows
    fcntl = None  # type: ignore[assignment]

DRAFT = ".draft"
"""How names of what is being written end. Whoever reads ignores them."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe in place of a file would be waited for
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


MOST_BYTES = 1 << 26
"""Of a file: nothing larger is written or read. The least that holds looks at tens of thousands of probes."""


def write_folder(path: Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> None:
    """Make a folder with these files: it appears whole, and is on the disk when this returns.

    Args:
        path: of the folder.
        files: names and bytes; when they are made one by one, no more than one is in memory.

    Raises:
        OSError: nothing of that name is there then, except when only the last wait for the disk failed.
    """
    draft = _draft_of(path)
    try:
        os.mkdir(draft)
        for name, data in files.items() if isinstance(files, Mapping) else files:
            _write_new(draft / name, data)
        _sync_folder(draft)
        os.rename(draft, path)
    except BaseException:
        discard(draft)
        raise
    _sync_folder(path.parent)


def write_file(path: Path, data: bytes, *, replace: bool = True, limited: bool = True) -> None:
    """Write a file whole, in place of an earlier one.

    Args:
        path: of the file.
        data: what it shall hold.
        replace: whether an earlier one gives way.
        limited: more than ``MOST_BYTES`` is refused; off for what :func:`read_file` will never read.

    Raises:
        FileExistsError: there is an earlier one, and ``replace`` is off.
        OSError: an earlier one is still there then.
    """
    draft = _draft_of(path)
    try:
        _write_new(draft, data, limited)
        if replace:
            os.replace(draft, path)
        else:
            _place(draft, path)
    except BaseException:
        discard(draft)
        raise
    _sync_folder(path.parent)


def _place(draft: Path, path: Path) -> None:
    """A link, unlike a renaming, takes nobody's place."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(draft, path)
    else:
        discard(draft)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{DRAFT}")


def _write_new(path: Path, data: bytes, limited: bool = True) -> None:
    if limited and len(data) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"would be larger than {MOST_BYTES} bytes", str(path))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # some network file systems only sync files
            raise
    finally:
        os.close(handle)


def discard(draft: Path) -> None:
    """Remove a draft as far as possible. A link goes, what it points to stays."""
    with suppress(OSError):
        if not is_folder(draft):
            os.unlink(draft)
            return
        for name in os.listdir(draft):
            os.unlink(draft / name)
        os.rmdir(draft)


def make_folder(path: Path) -> bool:
    """Make a folder unless it is there; whether it was made now.

    Raises:
        OSError: when it cannot be made, or something else, such as a link, is there.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        if is_folder(path):
            return False
        raise
    return True


def move(path: Path, into: Path) -> None:
    """Move a file or folder into a folder, under its name."""
    os.rename(path, into / path.name)
    _sync_folder(into)
    _sync_folder(path.parent)


def is_folder(path: Path) -> bool:
    """There is a folder, itself and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def names_in(folder: Path) -> list[str]:
    """Sorted names of what is there; none where there is no folder."""
    return sorted(os.listdir(folder)) if is_folder(folder) else []


def read_file(path: Path) -> bytes:
    """All bytes of a plain file.

    Raises:
        OSError: when there is none, or it is a link, a pipe, or too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _NO_FOLLOW | _BINARY | _NEVER_WAIT)
    except ValueError:  # a null byte
        raise OSError(errno.EINVAL, "is no possible path", str(path)) from None
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "is not a plain file", str(path))
        if state.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES} bytes", str(path))
        return file.read(state.st_size)


# A lock belongs to an open file. The kernel takes it back when the process ends, however it ends, as long as no worker
# that it forked holds the file open as well: so forked processes close it.
_held: dict[tuple[int, int], int] = {}


def lock(path: Path) -> bool:
    """Lock a file for this process until it ends or unlocks it. ``False`` where the file system has no locks.

    Raises:
        BlockingIOError: when another process holds it.
        OSError: when the file cannot be opened.
    """
    if fcntl is None or _identity(path) in _held:
        return fcntl is not None
    handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError) or error.errno == errno.EACCES:
            raise BlockingIOError(error.errno, "is in use by another process", str(path)) from None
        return False
    _held[_identity(path) or (0, handle)] = handle
    return True


def unlock(path: Path) -> None:
    """Give the lock back, if this process holds it."""
    handle = _held.pop(_identity(path) or (0, 0), None)
    if handle is not None:
        os.close(handle)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _leave_locks_to_parent() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.popitem()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)
