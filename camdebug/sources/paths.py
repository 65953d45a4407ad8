"""What readers of annotations do with files: find them, read them whole, and never be led elsewhere by them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from camdebug.records import Exclusion
from camdebug.sources.entry import Unusable

_ENDINGS = ("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "tif", "tiff", "webp", "gif", "ppm", "pgm", "pbm", "pnm")
PICTURE_ENDINGS = frozenset(f".{name}" for name in (*_ENDINGS, "jp2", "j2k", "avif", "heic", "mpo"))
"""Of file names that are taken for pictures where a folder is searched, in lower case."""

_MOST_BYTES = 2**24


def check_file(path: Path) -> None:
    """Raise :class:`Unusable` unless ``path`` is a file with content. Pipes and devices are never waited for."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise Unusable(_why_not(error, path)) from error
    if stat.S_ISDIR(found.st_mode):
        raise Unusable("a folder in place of the file")
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("neither file nor folder (a pipe, socket or device)")
    if found.st_size == 0:
        raise Unusable("empty file")
    if not os.access(path, os.R_OK):
        raise Unusable("no permission to read the file")


def _why_not(error: OSError | ValueError, path: Path) -> str:
    if isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return "impossible file name"
    if error.errno == errno.ELOOP:
        return "link that leads back to itself"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to read the file"
    return "link to a missing file" if path.is_symlink() else "missing file"


def small_file(path: Path, *, most_bytes: int | None = _MOST_BYTES) -> bytes:
    """Content of an annotation file.

    Raises:
        Unusable: it cannot be read, or is larger than ``most_bytes``.
    """
    check_file(path)
    try:
        if most_bytes is not None and path.stat().st_size > most_bytes:
            raise Unusable(f"annotation file of more than {most_bytes // 2**20} MB")
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"could not be read ({type(error).__name__})") from error


def given_file(name: str, path: str | Path, *, most_bytes: int | None = _MOST_BYTES) -> bytes:
    """Content of the file that an argument names.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read; the message names the argument.
    """
    try:
        return small_file(Path(path), most_bytes=most_bytes)
    except Unusable as reason:
        kind = FileNotFoundError if "missing" in str(reason) else ValueError
        raise kind(f"{name}: {path}: {reason}") from reason


def given_folder(name: str, path: str | Path) -> Path:
    """The folder that an argument names.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none; the message names the argument.
    """
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise NotADirectoryError(f"{name}: expected a folder, got the file {path}")
    raise FileNotFoundError(f"{name}: expected a folder, and there is none at {path}")


def text_of(value: object, what: str) -> str:
    """A name that an annotation gives, without the blanks around it.

    Raises:
        Unusable: it is empty, no text, or half a character of UTF-16, which no file of ours could hold.
    """
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"no {what}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unusable(f"{what} that is not Unicode") from error
    return value.strip()


def left_out(source_id: object, reason: object) -> Exclusion:
    """What could not be read, under an id that any file can hold."""
    return Exclusion(str(source_id).encode(errors="backslashreplace").decode(), str(reason))


def inside(name: object) -> str:
    """A path that an annotation gives, relative to its folder and with ``/``.

    Links in the folder are the user's own and are followed later; what a file says leads nowhere else.

    Raises:
        Unusable: it is no path, or leads out of the folder.
    """
    found = text_of(name, "file name")
    path = PurePosixPath(found.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(found).drive:
        raise Unusable("file name that leads out of the folder")
    if "\0" in found or path == PurePosixPath("."):
        raise Unusable("impossible file name")
    return path.as_posix()


def files_under(folder: Path, endings: frozenset[str]) -> list[str]:
    """Paths relative to ``folder``, with ``/``, sorted; links to folders are not entered, so that none leads back."""
    return sorted(_files(folder, endings))


def _files(folder: Path, endings: frozenset[str]) -> Iterator[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(where).relative_to(folder)
        for name in names:
            if os.path.splitext(name)[1].lower() in endings and not name.startswith("."):
                yield (relative / name).as_posix()


def optional(module: str, reads: str) -> Any:  # noqa: ANN401
    """A package that is needed for some annotations only.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = {"yaml": "pyyaml"}.get(module, module.partition(".")[0])
        raise ImportError(f'{reads} needs the package {package}; pip install "camdebug[probes]" brings it') from error
