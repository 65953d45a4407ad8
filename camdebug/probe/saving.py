"""Save a probe set: whole or not at all, and an older one stays until the new one is complete."""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camdebug.probe.saved import (
    ABOUT,
    DTYPES,
    FORMAT,
    MANIFEST,
    MOST_BYTES,
    PLAIN,
    VERSION,
    checked_folder,
    is_ours,
    name_of,
    read_manifest,
)
from camdebug.store import RecordError, disk
from camdebug.store.arrays import describe, pack
from camdebug.store.plain import to_plain
from camdebug.store.strict import digest, to_json

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

_SHARD = 1 << 25
"""Bytes of pictures and masks in a file, unless a single picture has more."""

_SAMPLE = 1 << 20
_WORTH_IT = 0.5

_ATTEMPTS = 3
"""Another process may remove a file that its set and this one have in common."""

_ABANDONED = 3600
"""Seconds after which a file that no manifest names is taken for left behind by a process that was killed."""

Arrays = dict[str, NDArray[Any]]


def save(probes: ProbeSet, folder: str | Path, *, overwrite: bool = False) -> None:
    """See ``ProbeSet.save``."""
    path = checked_folder(folder)
    _check_set(probes)
    goes_on = check_place(path, overwrite=overwrite)
    if not goes_on:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_folder(path, _files(probes))
        return
    known = set(read_manifest(path)["files"])
    try:
        for _ in range(_ATTEMPTS):
            for name, data in _files(probes):  # the manifest is the last: with it the new set takes the old one's place
                known.add(name)
                disk.write_file(path / name, data)
            if all(os.path.lexists(path / name) for name in _named(path)):
                break
    finally:
        with suppress(OSError):
            _sweep(path, known)


def _check_set(probes: ProbeSet) -> None:
    if probes.images.dtype not in DTYPES:
        raise TypeError(f"images: expected a known kind of floating numbers, got {probes.images.dtype}")
    row, total = _bytes_of_a_row(probes), _bytes_of_a_row(probes) * len(probes)
    if total > MOST_BYTES:
        raise ValueError(
            f"folder: {len(probes)} pictures take {total / 1e9:.1f} GB, and at most {MOST_BYTES / 1e9:.1f} GB can be "
            "saved; draw fewer probes (per_class=) or make smaller pictures"
        )
    if row > disk.MOST_BYTES - _SAMPLE:
        raise ValueError(
            f"folder: a picture of {'x'.join(map(str, probes.images.shape[1:]))} takes {row / 1e6:.0f} MB, and at most "
            f"{(disk.MOST_BYTES - _SAMPLE) / 1e6:.0f} MB can be saved; make smaller pictures"
        )


def check_place(path: Path, *, overwrite: bool) -> bool:
    """Whether an older set is to be replaced in a folder.

    Raises:
        FileExistsError: something is there that may not be, or not without ``overwrite``.
    """
    if not os.path.lexists(path):
        return False
    if not disk.is_folder(path):
        what = "a link" if path.is_symlink() else "a file"
        raise FileExistsError(f"folder: expected a folder of its own to save into, got {path}, which is {what}")
    if not disk.names_in(path):
        return False
    try:
        found = read_manifest(path)["format"]
    except (OSError, RecordError):
        found = None
    if found is None:
        raise FileExistsError(
            f"folder: expected a folder that is new, empty or holds a probe set, got {path}, which holds something else"
        )
    if not overwrite:
        raise FileExistsError(f"folder: {path} holds a probe set already; pass overwrite=True to replace it")
    return True


def _named(path: Path) -> set[str]:
    """Files that the manifest names; none where it cannot be read."""
    with suppress(OSError, RecordError):
        return set(read_manifest(path)["files"])
    return set()


def _sweep(path: Path, known: set[str]) -> None:
    """Remove what the manifest does not name, be it the old one, after a failure, or the new one.

    That is files of the set replaced and of this one. Others of ours may be those of a process that is still writing;
    they go when they are old.
    """
    named = _named(path)
    for name in disk.names_in(path) if named else ():
        if is_ours(name) and name not in named and (name in known or _is_abandoned(path / name)):
            disk.discard(path / name)


def _is_abandoned(path: Path) -> bool:
    with suppress(OSError):
        return time.time() - os.lstat(path).st_mtime > _ABANDONED
    return False


def _files(probes: ProbeSet) -> Iterator[tuple[str, bytes]]:
    """Names and bytes, the manifest last."""
    kept: dict[str, Tensor] = {}
    content: dict[str, Any] = {"about": ABOUT, "format": FORMAT, "version": VERSION, "saved_with": _versions()}
    content |= {"fingerprint": probes.fingerprint, "dtype": name_of(probes.images.dtype)}
    content["set"] = {name: to_plain(getattr(probes, name), kept.__setitem__, name) for name in PLAIN}
    about: dict[str, Any] = {}
    name, data = _file("annotations", _annotations(probes, kept), about, level=6)
    content |= {"annotations": name, "pictures": (shards := [])}
    yield name, data
    level = _level(probes.images)
    for number, arrays in enumerate(_shards(probes)):
        name, data = _file(f"pictures-{number:04d}", arrays, about, level=level)
        shards.append(name)
        yield name, data
    content |= {"shape": list(probes.images.shape), "files": about}
    sealed = {"content": content, "sha256": digest(to_json(content))}
    yield MANIFEST, json.dumps(sealed, ensure_ascii=True, allow_nan=False, indent=1).encode("ascii") + b"\n"


def _file(stem: str, arrays: Arrays, about: dict[str, Any], *, level: int) -> tuple[str, bytes]:
    """A file and its name; ``about`` gets what is to be said of it."""
    data = pack(arrays, level=level)
    found = digest(data)
    name = f"{stem}-{found[:16]}.npz"
    about[name] = {"bytes": len(data), "sha256": found, "arrays": describe(arrays)}
    return name, data


def _annotations(probes: ProbeSet, kept: dict[str, Tensor]) -> Arrays:
    found = {name: tensor.cpu().numpy() for name, tensor in kept.items()}
    found["labels"] = probes.labels.numpy()
    for name, counts, boxes in (("boxes", "box_counts", probes.boxes), ("ignore", "ignore_counts", probes.ignore)):
        found[name] = torch.cat(boxes).numpy()
        found[counts] = np.array([len(b) for b in boxes], dtype=np.int64)
    return found


def _shards(probes: ProbeSet) -> Iterator[Arrays]:
    rows = max(1, _SHARD // _bytes_of_a_row(probes))
    stored = DTYPES[probes.images.dtype]
    for start in range(0, len(probes), rows):
        part = slice(start, start + rows)
        found = {"pictures": probes.images[part].view(stored).numpy()}
        for name, masks in (("masks", probes.masks), ("ignore_masks", probes.ignore_masks)):
            if masks is not None:
                found[name] = np.packbits(masks[part].numpy(), axis=-1)
        yield found


def _bytes_of_a_row(probes: ProbeSet) -> int:
    height, width = probes.image_size
    masks = sum(m is not None for m in (probes.masks, probes.ignore_masks))
    return probes.images[0].numel() * probes.images.element_size() + masks * height * ((width + 7) // 8)


def _level(images: Tensor) -> int:
    """Of deflate: 1 where that pays, told by a piece out of the middle, otherwise 0.

    Pictures of bytes that became floating numbers shrink to a quarter at 140 MB/s, those that were resized afterwards
    to 85 % at 40 MB/s.
    """
    values = images.view(DTYPES[images.dtype]).numpy().reshape(-1)
    half = min(len(values), _SAMPLE // values.itemsize) // 2
    piece = values[len(values) // 2 - half : len(values) // 2 + half + 1].tobytes()
    return int(len(zlib.compress(piece, 1)) < _WORTH_IT * len(piece))


def _versions() -> dict[str, str]:
    # Not by an import statement: the package's face names everything, also what this layer may not know.
    own = str(import_module("camdebug").__version__)
    return {
        "camdebug": own,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
