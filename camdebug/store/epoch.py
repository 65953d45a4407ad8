"""One look as three files, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camdebug.records import EpochRecord
from camdebug.store.arrays import describe, pack, unpack
from camdebug.store.plain import column, field_types, from_plain, to_plain
from camdebug.store.strict import RecordError, digest, from_json, seal, to_json, unseal

LOOK, PROBES, MAPS = "look.json", "probes.jsonl", "maps.npz"

FOLLOWS = {
    "predicted_maps.class_idx": "label_maps.predicted_class",
    "predicted_maps.class_score": "label_maps.predicted_score",
    "predicted_maps.predicted_class": "label_maps.predicted_class",
    "predicted_maps.predicted_score": "label_maps.predicted_score",
}
"""All that is not stored, because it is the same as what stands beside it."""

_BY_PROBE = ("label_maps", "scores")
_SMALL = 1 << 18
_DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.int64, torch.bool)}


@dataclass(frozen=True, eq=False)
class Files:
    """The verified content of the files of an epoch.

    Attributes:
        look: what ``look.json`` holds.
        probes: bytes of ``probes.jsonl``.
        maps: bytes of ``maps.npz``.
    """

    look: dict[str, Any]
    probes: bytes
    maps: bytes


# From a record to files


def to_files(record: EpochRecord, *, step: int) -> dict[str, bytes]:
    """Names and bytes of the files of an epoch.

    Up to 256 KiB of maps are stored in float32, more of them in float16, unless that would spoil them: by more than a
    thousandth of their peak, or beyond its range.

    Args:
        record: of the look.
        step: of the logger.
    """
    arrays: dict[str, Tensor] = {}
    look = to_plain(record, arrays.__setitem__)
    columns = _take_columns(record, look)
    label, predicted = (arrays.pop(f"{part}.maps").float().cpu() for part in ("label_maps", "predicted_maps"))
    differing = [i for i in range(len(label)) if not torch.equal(label[i], predicted[i])]
    maps = {"label_maps": label, "predicted_maps": predicted[differing]}
    as_numpy = {**_as_small(maps), **{name: _as_numpy(array) for name, array in arrays.items()}}
    files = {MAPS: pack(as_numpy), PROBES: _lines(_rows(record, columns))}
    about = {name: {"bytes": len(data), "sha256": digest(data)} for name, data in files.items()}
    look |= {"step": int(step), "files": about, "arrays": describe(as_numpy), "differing": differing}
    return {**files, LOOK: seal(look)}


def _take_columns(record: EpochRecord, look: dict[str, Any]) -> dict[str, list[Any]]:
    """Move what there is one of for each probe out of the tree; ``columns`` keeps the names and dtypes."""
    columns: dict[str, list[Any]] = {}
    look["columns"] = {}
    for part in (*_BY_PROBE, "predicted_maps"):
        for name, value in _columns(getattr(record, part)):
            taken = look[part].pop(name)
            if f"{part}.{name}" not in FOLLOWS:
                columns[name] = taken
                look["columns"][name] = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else None
        look[part].pop("maps", None)
    return columns


def _columns(part: Any) -> Iterator[tuple[str, Tensor | tuple[Any, ...]]]:  # noqa: ANN401 - a dataclass
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, tuple) or (isinstance(value, Tensor) and value.ndim == 1):
            yield field.name, value


def _as_small(maps: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    large = sum(m.numel() for m in maps.values()) * 4 > _SMALL
    if large and all(map(_survives_half, maps.values())):
        return {name: m.half().numpy() for name, m in maps.items()}
    return {name: m.numpy() for name, m in maps.items()}


def _as_numpy(array: Tensor) -> np.ndarray[Any, Any]:
    return (array.float() if array.dtype is torch.bfloat16 else array).cpu().numpy()


def _survives_half(maps: Tensor) -> bool:
    known = maps[maps.isfinite().flatten(1).all(1)]
    if not len(known):
        return True
    loss = (known - known.half().float()).abs().flatten(1).amax(1)
    return bool((loss <= 1e-3 * known.abs().flatten(1).amax(1)).all())


def _rows(record: EpochRecord, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """What is known of each probe; beside what is measured, also what follows from it and people look for."""
    differences = _by_probe((c.probes, c.differences) for c in record.contrasts)
    falls = _by_probe((s.recipients, s.falls) for s in record.swaps)
    correct = record.label_maps.correct.tolist()
    rows = []
    for probe in range(len(record.label_maps)):
        row = {name: values[probe] for name, values in columns.items()}
        area = row["area_fraction"]
        row |= {"probe": probe, "correct": correct[probe], "chance_outside_mass": None if area is None else 1 - area}
        rows.append({**row, "difference": differences.get(probe), "fall": falls.get(probe)})
    return rows


def _by_probe(pairs: Iterator[tuple[Tensor, Tensor]]) -> dict[int, float | None]:
    return {int(i): to_plain(float(v)) for probes, values in pairs for i, v in zip(probes, values, strict=True)}


def _lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(to_json(row) + b"\n" for row in rows)


# From files to a record


def verified(look: bytes, probes: bytes, maps: bytes) -> Files:
    """The files of an epoch, when they are the ones that were written together.

    Raises:
        RecordError: naming the file that is not.
    """
    try:
        content = unseal(look)
        about = content["files"]
        known = {name: (about[name]["bytes"], about[name]["sha256"]) for name in (MAPS, PROBES)}
    except RecordError as error:
        raise RecordError(f"{LOOK} {error}") from None
    except (TypeError, KeyError):
        raise RecordError(f"{LOOK} names no files") from None
    for name, data in ((MAPS, maps), (PROBES, probes)):
        if known[name] != (len(data), digest(data)):
            raise RecordError(f"{name} is not as it was written")
    return Files(content, probes, maps)


def rows_of(files: Files) -> list[dict[str, Any]]:
    """One flat dict for each probe.

    Raises:
        RecordError: when they are not that.
    """
    rows = []
    for line in files.probes.splitlines():
        try:
            row = from_json(line)
        except RecordError as error:
            raise RecordError(f"{PROBES} {error}") from None
        if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for v in row.values()):
            raise RecordError(f"{PROBES} is not one flat object a line")
        rows.append(row)
    return rows


def arrays_of(files: Files) -> dict[str, Tensor]:
    """Maps of the label and of the predicted class, ``label_maps`` and ``predicted_maps``, and those of the look.

    The two are ``(N, h, w)`` in the dtype in which they are stored.

    Raises:
        RecordError: when they cannot be read.
    """
    try:
        arrays = unpack(files.maps, files.look.get("arrays"))
    except RecordError as error:
        raise RecordError(f"{MAPS} {error}") from None
    try:
        label, differing = arrays["label_maps"], column(files.look["differing"], torch.int64)
        predicted = label.clone()
        predicted[differing] = arrays["predicted_maps"]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise RecordError(f"{MAPS} holds no maps that fit together ({type(error).__name__})") from None
    return {**arrays, "predicted_maps": predicted}


def to_record(files: Files) -> EpochRecord:
    """The record that was written; what was not finite is NaN or ``None``.

    Raises:
        RecordError: when it cannot be made.
    """
    arrays = arrays_of(files)
    rows = rows_of(files)
    try:
        if len(rows) != len(arrays["label_maps"]):
            raise ValueError(f"{len(rows)} probes for {len(arrays['label_maps'])} maps")
        tree = {**files.look, **{part: dict(files.look[part]) for part in (*_BY_PROBE, "predicted_maps")}}
        known = {name: _column(rows, name, dtype) for name, dtype in files.look["columns"].items()}
        for part in _BY_PROBE:
            names = field_types(field_types(EpochRecord)[part])
            tree[part] |= {name: values for name, values in known.items() if name in names}
        for target, source in FOLLOWS.items():
            tree["predicted_maps"][target.partition(".")[2]] = known[source.partition(".")[2]]
        for part in ("label_maps", "predicted_maps"):
            tree[part]["maps"] = arrays[part].float()
        record: EpochRecord = from_plain(EpochRecord, tree, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise RecordError(f"{LOOK} does not hold a look ({str(error)[:200]!a})") from None
    return record


def _column(rows: Sequence[Mapping[str, Any]], name: str, dtype: str | None) -> Any:  # noqa: ANN401 - list or tensor
    values = [row[name] for row in rows]
    return values if dtype is None else column(values, _DTYPES[dtype])
