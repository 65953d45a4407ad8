"""What the command says: in lines that any terminal takes, with options as the shell has them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from camdebug.wording import told, visible

_RENAMED = (
    (r"^(?:source|root|annotation_file|data_yaml|file): ", "SOURCE: "),
    (r"^folder: ", ""),
    (r"^(format|images|split|mean|std|context|side|most): ", r"--\1: "),
    (r"label_map=\{'?([^:']+)'?: ([^}]+)\}", r'--map "\1=\2"'),
    (r",? or class_to_idx=\{[^}]*\}", ""),
    (r"class_names=\[\.\.\.\]", "--classes A,B,C"),
    (r"others=['\"]ignore['\"]", "--ignore-others"),
    (r"overwrite=True", "--overwrite"),
    (r"probes\.preview\(\"probes\.png\"\), and keep the set with probes\.save\(folder\)", "preview.png"),
    (r"probes\.preview\(\"probes\.png\"\)", "preview.png"),
    (r"probes\.without\(j for [^)]*\)\)", "build --drop-duplicates"),
    (r"probes\.without\(leaks\.found\)", "build --drop-leaks"),
    (r"near_duplicates\(\) names all", "the summary names more"),
    (r"to_dict\(\) has all", "summary --json has all"),
    (
        r"(?:pass it as )?image_transform=(?:that)? (?:and|with) geometry=\[\.\.\.\]"
        r"(?:, such as \[[^\]]*\](?: of camdebug\.geometry)?)?",
        "--resize and --crop, or --letterbox",
    ),
    (r"\b(side|context)=", r"--\1"),
    (r"\b(?:camdebug\.sources\.)?ObjectCrops\b", "--object-crops"),
    (r"\bformat=", "--format"),
    (r"\bclass_names\b=?", "--classes"),
    (r"\blabel_map\b=?", "--map"),
    (r"\btrain_dataset\b", "--train"),
    (r"\b(per|min|max)_(class|area)\b=?", r"--\1-\2"),
)
"""How the command's users know what Python calls otherwise."""


class WrongInputError(Exception):
    """The command cannot do it. The message is what is said."""


def in_options(text: str) -> str:
    """Arguments as the command has them.

    >>> in_options("class_names: expected one; draw fewer (per_class=) or pass overwrite=True")
    '--classes: expected one; draw fewer (--per-class) or pass --overwrite'
    >>> in_options("source: say what it is with label_map={'ctae': class name}")
    'SOURCE: say what it is with --map "ctae=class name"'
    """
    for name, shown in _RENAMED:
        text = re.sub(name, shown, text)
    return text


def line_of(text: str) -> str:
    """A text in one line."""
    return visible(" ".join(text.split()))


def say(text: str, stream: TextIO | None = None) -> None:
    """Print in what the stream can encode."""
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


@contextmanager
def wrong_input(path: str = "SOURCE") -> Iterator[None]:
    """Whatever a wrong input raises becomes :class:`WrongInputError`; ``path`` is what the command calls that."""
    try:
        yield
    except ImportError as error:
        raise WrongInputError(str(error)) from error
    except (TypeError, ValueError, OSError) as error:
        text = re.sub("^path: ", f"{path}: ", str(error)) or type(error).__name__
        raise WrongInputError(in_options(text)) from error
    except WrongInputError:
        raise
    except Exception as error:  # of a transform, dataset or source that others wrote
        raise WrongInputError(in_options(told(error))) from error
