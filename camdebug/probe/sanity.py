"""What is refused before anything is made of it: each error names the argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor, strided

from camdebug.sources import Annotations


def check_ids(source_ids: object, count: int) -> list[str]:
    """One id for each picture, as strings that differ.

    Raises:
        TypeError, ValueError: they are something else.
    """
    if source_ids is None:
        return [str(i) for i in range(count)]
    if isinstance(source_ids, (np.ndarray, Tensor)):
        source_ids = source_ids.tolist()
    if isinstance(source_ids, (str, bytes, Mapping, Set)) or not hasattr(source_ids, "__len__"):
        raise TypeError(f"source_ids: expected a sequence of ids, one for each image, got {source_ids!r:.80}")
    ids: list[Any] = list(source_ids)  # type: ignore[call-overload]
    if len(ids) != count:
        raise ValueError(f"source_ids: expected one for each of the {count} images, got {len(ids)}")
    if None in ids:
        raise TypeError(f"source_ids: expected an id for each image, got None at picture {ids.index(None)}")
    return _different("source_ids", [str(i) for i in ids])


def check_statistic(name: str, values: object) -> None:
    """Raise unless these are real numbers, one or one a channel; how many is checked elsewhere."""
    if values is None:
        return
    try:
        found = np.asarray(values)
        if found.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected real numbers, one a channel, got {values!r:.80}") from None


def check_tensors(name: str, values: object) -> None:
    """Raise for arrays of objects, and for tensors whose values do not lie in memory one by one."""
    for value in values if isinstance(values, (list, tuple)) else [values]:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
            raise TypeError(f"{name}: expected an array of numbers, got one of dtype {value.dtype}")
        kind = _strange_kind(value) if isinstance(value, Tensor) else None
        if kind:
            raise TypeError(f"{name}: expected a plain dense tensor with its values in memory, got a {kind} one")


def _strange_kind(tensor: Tensor) -> str | None:
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not strided:
        return "sparse"
    if tensor.is_meta:
        return "meta"
    return "quantized" if tensor.is_quantized else None


def check_entries(annotations: Annotations) -> None:
    """Check ids, declared sizes and names, as far as a source of one's own can get them wrong.

    Raises:
        TypeError, ValueError: of the first that is wrong.
    """
    for number, entry in enumerate(annotations.entries):
        if not isinstance(entry.source_id, str):
            raise TypeError(f"source: expected ids that are strings, got {entry.source_id!r:.80} at entry {number}")
        if entry.size is not None and not _is_size(entry.size):
            raise TypeError(
                f"source: expected the size of {entry.source_id} as two whole numbers, height and width, or None, got "
                f"{entry.size!r:.80}"
            )
        strange = next((o for o in entry.objects if not isinstance(getattr(o, "name", None), str)), None)
        if strange is not None:
            got = f"the name {strange.name!r:.80}" if hasattr(strange, "name") else f"{strange!r:.80}"
            raise TypeError(f"source: expected objects with the name of a class in {entry.source_id}, got {got}")
    _different("source", [entry.source_id for entry in annotations.entries])


def _is_size(size: object) -> bool:
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        return False
    return all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in size)


def _different(name: str, ids: list[str]) -> list[str]:
    found, times = next(((found, times) for found, times in Counter(ids).items() if times > 1), ("", 0))
    if times:
        raise ValueError(f"{name}: expected a different id for each picture, got {found!r:.80} {times} times")
    return ids
