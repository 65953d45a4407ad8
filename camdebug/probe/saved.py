"""What a saved probe set looks like on disk: ``saving`` writes it, ``loading`` reads it.

Format 1::

    probes.json                 {"content": ..., "sha256": ...}: what the set is, in words and numbers, its fingerprint,
                                and size, SHA-256 and arrays of the other files
    annotations-<digest>.npz    labels (N,), boxes and ignore (k, 4) of all pictures one after another, box_counts and
                                ignore_counts (N,), and arrays of the provenance, named after their place in "set"
    pictures-0000-<digest>.npz  pictures (n, C, H, W) of the first n probes; where the set has masks also masks and
                                ignore_masks (n, H, ceil(W / 8)) uint8, a bit a pixel (numpy.unpackbits)
    pictures-0001-<digest>.npz  of the next ones, and so on

Kinds of numbers that numpy does not have (bfloat16) are stored as whole numbers of the same bits. Files are named after
their content, so a new set can be written beside an old one, and ``probes.json``, replaced last, says which one it is.
Other files in the folder are left aside.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from camdebug.probe.content import Content
from camdebug.store import RecordError, disk
from camdebug.store.strict import unseal

FORMAT, VERSION = "camdebug probe set", 1
MANIFEST = "probes.json"

ABOUT = (
    "A fixed set of annotated pictures, as a model receives them, saved by camdebug (ProbeSet.save). Read it with "
    "camdebug.ProbeSet.load(folder); the .npz files open with numpy.load as well. Do not edit: any change is noticed."
)

MOST_BYTES = 1 << 32
"""Of the pictures and masks of a set."""

DTYPES: dict[torch.dtype, torch.dtype] = {
    torch.float16: torch.float16,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.int16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e5m2: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8,
    torch.float8_e5m2fnuz: torch.uint8,
}
"""Of pictures, and as what each is stored."""

IN_ARRAYS = ("images", "labels", "boxes", "masks", "ignore", "ignore_masks")
PLAIN = tuple(field.name for field in fields(Content) if field.name not in IN_ARRAYS)
"""Attributes of a set that the manifest holds under ``"set"``."""

_OURS = re.compile(r"(?:annotations|pictures-[0-9]{4,6})-[0-9a-f]{16}\.npz")


def name_of(dtype: torch.dtype) -> str:
    """As manifests and numpy have it.

    >>> name_of(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def is_ours(name: object) -> bool:
    """Whether a file of ours may be called that; such a name leads nowhere else."""
    return isinstance(name, str) and _OURS.fullmatch(name) is not None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest of a folder holds; of its format and version nothing but that they are ours.

    Raises:
        OSError: when there is none.
        RecordError: when it is not of a probe set, or has changed.
    """
    content = unseal(disk.read_file(folder / MANIFEST))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RecordError("is not of a probe set")
    if type(content.get("version")) is not int or not isinstance(content.get("files"), dict):
        raise RecordError("names no version or no files")
    return content


def checked_folder(folder: object) -> Path:
    """The path, absolute.

    Raises:
        TypeError, ValueError: when it is none.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"folder: expected the path of a folder, got {type(folder).__name__}")
    if not str(folder) or "\0" in str(folder):
        raise ValueError(f"folder: expected the path of a folder, got {str(folder)!r:.80}")
    return Path(folder).absolute()
