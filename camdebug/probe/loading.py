"""Load a saved probe set, without trust: it is the one that was saved, or there is one error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from camdebug.probe.checks import check_names, check_statistics
from camdebug.probe.content import Content, enclosing_box
from camdebug.probe.saved import (
    DTYPES,
    MANIFEST,
    MOST_BYTES,
    PLAIN,
    VERSION,
    checked_folder,
    is_ours,
    name_of,
    read_manifest,
)
from camdebug.records import Provenance
from camdebug.store import RecordError, disk
from camdebug.store.arrays import unpack
from camdebug.store.plain import field_types, from_plain
from camdebug.store.strict import digest

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

_Set = TypeVar("_Set", bound="ProbeSet")
_MOST_AXIS = 1 << 20
_ATTEMPTS = 100
"""While others save over and over again."""

_LONGEST_DOUBT = 1000
_BY_NAME = {name_of(dtype): dtype for dtype in DTYPES}
_STRANGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError, RecursionError)


def load(folder: str | Path, make: Callable[[Content], _Set]) -> _Set:
    """See ``ProbeSet.load``.

    Args:
        folder: with the set.
        make: a set from its content.
    """
    path = checked_folder(folder)
    for _ in range(_ATTEMPTS):
        manifest = _manifest(path)
        try:
            return _loaded(path, manifest, make)
        except RecordError:
            if not _is_replaced(path, manifest):
                raise
    return _loaded(path, _manifest(path), make)


def _is_replaced(path: Path, manifest: dict[str, Any]) -> bool:
    """Whether another process has saved a new set in the meantime, and removed files of this one."""
    try:
        return read_manifest(path) != manifest
    except (OSError, RecordError):
        return False


def _loaded(path: Path, manifest: dict[str, Any], make: Callable[[Content], _Set]) -> _Set:
    try:
        content = _content(path, manifest)
        _check(content)
        probes = make(content)
        if probes.fingerprint != manifest["fingerprint"]:
            raise RecordError(f"its fingerprint is {probes.fingerprint[:12]}, not the one it was saved with")
    except RecordError as error:
        raise _damaged(path, str(error)) from None
    except OSError as error:
        raise _damaged(path, f"a file cannot be read ({error.strerror})") from None
    except _STRANGE as error:
        raise _damaged(path, f"{MANIFEST} does not fit its files ({str(error)[:200]!a})") from None
    return probes


def _damaged(path: Path, why: str) -> RecordError:
    return RecordError(f"folder: the probe set in {path} is damaged: {why}. Copy it again, or build it anew")


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = read_manifest(path)
    except OSError as error:
        raise RecordError(
            f"folder: expected a probe set as ProbeSet.save writes it, got {path}, in which {MANIFEST} cannot be read "
            f"({error.strerror})"
        ) from None
    except RecordError as error:
        raise _damaged(path, f"{MANIFEST} {error}") from None
    if found["version"] != VERSION:
        number = str(found["version"])[:20]
        raise RecordError(
            f"folder: the probe set in {path} is in format {number}, and this camdebug reads format {VERSION}; update "
            "camdebug, or save the set again with this one"
        )
    return found


def _content(path: Path, manifest: dict[str, Any]) -> Content:
    shape = _shape(manifest["shape"])
    dtype = _BY_NAME[manifest["dtype"]]
    arrays = _annotations(path, manifest)
    hints, plain = field_types(Content), manifest["set"]
    told = {name: from_plain(hints[name], plain[name], arrays) for name in PLAIN if name in plain}
    told |= {name: _split(arrays[name], arrays[counts], shape[0]) for name, counts in _RAGGED}
    return Content(**told, labels=arrays["labels"], **_pictures(path, manifest, shape, dtype))


_RAGGED = (("boxes", "box_counts"), ("ignore", "ignore_counts"))


def _shape(value: object) -> tuple[int, int, int, int]:
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) is int and 0 < v <= _MOST_AXIS for v in value):
        raise RecordError(f"{MANIFEST} tells no size of pictures")
    count, channels, height, width = value
    return count, channels, height, width


def _read(path: Path, manifest: dict[str, Any], name: object) -> tuple[bytes, Any]:
    """A file that the manifest names, as it was written, and the arrays that it announces."""
    if not is_ours(name):
        raise RecordError(f"{MANIFEST} names a file that is none of its own")
    about = manifest["files"][name]
    try:
        data = disk.read_file(path / str(name))
    except OSError as error:
        raise RecordError(f"{name} cannot be read ({error.strerror})") from None
    if (len(data), digest(data)) != (about["bytes"], about["sha256"]):
        raise RecordError(f"{name} is not as it was written")
    return data, about["arrays"]


def _unpacked(name: object, data: bytes, announced: object) -> dict[str, Tensor]:
    try:
        return unpack(data, announced)
    except RecordError as error:
        raise RecordError(f"{name} {error}") from None


def _annotations(path: Path, manifest: dict[str, Any]) -> dict[str, Tensor]:
    name = manifest["annotations"]
    return _unpacked(name, *_read(path, manifest, name))


def _split(values: Tensor, counts: Tensor, count: int) -> tuple[Tensor, ...]:
    if counts.dtype is not torch.int64 or counts.shape != (count,) or bool((counts < 0).any()):
        raise RecordError("its boxes are not counted by picture")
    if values.dtype is not torch.float64 or values.shape != (int(counts.sum()), 4):
        raise RecordError("its boxes are not as many as their counts")
    return tuple(part.clone() for part in torch.split(values, counts.tolist()))


def _pictures(
    path: Path, manifest: dict[str, Any], shape: tuple[int, int, int, int], dtype: torch.dtype
) -> dict[str, Any]:
    """Pictures and masks, file by file."""
    count, _, height, width = shape
    arrays = manifest["files"][manifest["pictures"][0]]["arrays"]
    masks = [name for name in ("masks", "ignore_masks") if name in arrays]
    bits = len(masks) * count * height * ((width + 7) // 8)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize + bits > MOST_BYTES:
        raise RecordError(f"{MANIFEST} announces more than {MOST_BYTES} bytes of pictures")
    found: dict[str, Any] = {"images": torch.empty(shape, dtype=dtype), "masks": None, "ignore_masks": None}
    found |= {name: torch.empty((count, height, width), dtype=torch.bool) for name in masks}
    done = 0
    for part in _parts(path, manifest, shape, dtype, masks):
        rows = slice(done, done + len(part["pictures"]))
        found["images"][rows] = part["pictures"].view(dtype)
        for name in masks:
            unpacked = np.unpackbits(part[name].numpy(), axis=-1, count=width)
            found[name][rows] = torch.from_numpy(unpacked.view(np.bool_))
        done = rows.stop
    if done != count:
        raise RecordError(f"its files hold {done} pictures, not {count}")
    return found


def _parts(
    path: Path, manifest: dict[str, Any], shape: tuple[int, int, int, int], dtype: torch.dtype, masks: list[str]
) -> Iterator[dict[str, Tensor]]:
    """The arrays of each file of pictures, in order, each of them of the expected kind and shape."""
    left, channels, height, width = shape
    stored = name_of(DTYPES[dtype])
    for name in manifest["pictures"]:
        data, announced = _read(path, manifest, name)
        rows = announced["pictures"]["shape"][0]
        if type(rows) is not int or not 1 <= rows <= left:
            raise RecordError(f"{name} holds more pictures than the set")
        left -= rows
        expected = {"pictures": {"dtype": stored, "shape": [rows, channels, height, width]}}
        expected |= {mask: {"dtype": "uint8", "shape": [rows, height, (width + 7) // 8]} for mask in masks}
        yield _unpacked(name, data, expected)


# Whoever writes a manifest can also compute its digests: what is read must be a set that could have been built.


def _check(content: Content) -> None:
    count, channels, height, width = content.images.shape
    labels = content.labels
    check_names("class_names", content.class_names)
    check_statistics(content.mean, content.std, channels)
    if labels.dtype is not torch.int64 or labels.shape != (count,):
        raise RecordError("it has no label for each picture")
    if int(labels.min()) < 0 or int(labels.max()) >= len(content.class_names):
        raise RecordError("a label is of no class")
    if len(content.source_ids) != count:
        raise RecordError("it has no id for each picture")
    if not all(bool(picture.isfinite().all()) for picture in content.images):
        raise RecordError("a picture is not finite")
    if not all(_are_boxes(b, height, width) for b in (*content.boxes, *content.ignore)):
        raise RecordError("a box is not in its picture")
    _check_objects(content)
    if content.provenance is not None:
        _check_provenance(content.provenance, count)


def _are_boxes(boxes: Tensor, height: int, width: int) -> bool:
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = (low >= 0) & (high <= torch.tensor([width, height])) & (low < high)
    return bool(inside.all())


def _check_objects(content: Content) -> None:
    if content.masks is None and content.ignore_masks is not None:
        raise RecordError("it has regions to ignore as pixels, and no masks")
    if content.masks is not None and not content.annotated:
        raise RecordError("it has masks, and is said to have none")
    if any((len(boxes) > 0) != content.annotated for boxes in content.boxes):
        raise RecordError("a picture has boxes where there are none, or none where there are")
    if content.masks is not None:
        around = [enclosing_box(mask) for mask in content.masks]
        if not all(torch.equal(*pair) for pair in zip(around, content.boxes, strict=True)):
            raise RecordError("a box is not the one around its mask")


def _check_provenance(provenance: Provenance, count: int) -> None:
    if len(provenance.origins) != count or len(provenance.thumbnails) != count:
        raise RecordError("it does not say of each picture where it comes from")
    if provenance.thumbnails.dtype is not torch.uint8 or provenance.thumbnails.ndim != 3:
        raise RecordError("its thumbnails are no pictures")
    for origin in provenance.origins:
        if min(origin.image_size) < 1 or not (origin.area is None or 0 <= origin.area <= 1):
            raise RecordError("the size or area of an original is none")
    if not all(doubt.isprintable() and len(doubt) <= _LONGEST_DOUBT for doubt in provenance.doubts):
        raise RecordError("a doubt is no sentence")
