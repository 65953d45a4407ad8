"""Frozen dataclasses to plain JSON values and back, by their own fields and types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

ARRAY = "array"
"""The one key of what stands in place of a tensor that is kept elsewhere."""

KeepArray = Callable[[str, Tensor], None]


def to_plain(value: object, keep_array: KeepArray | None = None, path: str = "") -> Any:  # noqa: ANN401 - a JSON value
    """JSON value of a dataclass and all that is in it.

    Enums go by value, what is not finite is ``None``. Tensors of one dimension are lists; others are handed to
    ``keep_array`` with their path, such as ``contrasts.0.cue_map``, and replaced by ``{"array": path}``.

    Raises:
        TypeError: for anything that this cannot hold.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Tensor):
        return _plain_tensor(value, keep_array, path)
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name), keep_array, _join(path, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v, keep_array, _join(path, str(k))) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(v, keep_array, _join(path, str(i))) for i, v in enumerate(value)]
    raise TypeError(f"{path}: a record cannot hold a {type(value).__name__}")


def _plain_tensor(value: Tensor, keep_array: KeepArray | None, path: str) -> Any:  # noqa: ANN401 - a JSON value
    if value.ndim == 1:
        return [to_plain(item) for item in value.tolist()]
    if keep_array is None:
        raise TypeError(f"{path}: a tensor of shape {tuple(value.shape)} has no place here")
    keep_array(path, value)
    return {ARRAY: path}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def from_plain(kind: Any, value: Any, arrays: Mapping[str, Tensor] | None = None) -> Any:  # noqa: ANN401 - of that kind
    """The reverse of :func:`to_plain` for a ``kind`` as annotations name it.

    ``None`` for a plain float is NaN. Fields that are absent take their defaults; unknown ones are left aside.

    Raises:
        TypeError, ValueError: when the value is not of that kind.
    """
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return None if value is None else from_plain(_but_none(kind), value, arrays)
    if origin is tuple:
        return _tuple_from(get_args(kind), value, arrays)
    if origin is dict:
        return _dict_from(get_args(kind), value, arrays)
    if kind is Tensor:
        return _tensor_from(value, arrays or {})
    if is_dataclass(kind):
        return _dataclass_from(kind, value, arrays)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _but_none(kind: Any) -> Any:  # noqa: ANN401 - a type
    (one,) = (k for k in get_args(kind) if k is not NoneType)
    return one


def _tuple_from(kinds: tuple[Any, ...], value: object, arrays: Mapping[str, Tensor] | None) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    return tuple(from_plain(kind, item, arrays) for kind, item in zip(kinds, value, strict=True))


def _dict_from(kinds: tuple[Any, ...], value: object, arrays: Mapping[str, Tensor] | None) -> dict[str, Any]:
    if not isinstance(value, dict) or kinds[0] is not str:
        raise TypeError(f"expected names and values, got {type(value).__name__}")
    return {name: from_plain(kinds[1], item, arrays) for name, item in value.items()}


def _tensor_from(value: object, arrays: Mapping[str, Tensor]) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict) and isinstance(value.get(ARRAY), str):
        if value[ARRAY] not in arrays:
            raise ValueError(f"the array {value[ARRAY][:80]!a} is missing")
        return arrays[value[ARRAY]]
    return column(value)


def column(values: object, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of one dimension from a list of numbers, ``None`` for NaN.

    Raises:
        TypeError, ValueError: when it is no such list.
    """
    if not isinstance(values, list) or not all(v is None or type(v) in (bool, int, float) for v in values):
        raise TypeError("expected a list of numbers")
    whole = bool(values) and all(type(v) in (bool, int) for v in values)
    try:
        if not whole:
            values, dtype = [math.nan if v is None else float(v) for v in values], dtype or torch.float64
        return torch.tensor(values, dtype=dtype)
    except (OverflowError, RuntimeError) as error:
        raise ValueError("a number is too large") from error


def _dataclass_from(kind: Any, value: object, arrays: Mapping[str, Tensor] | None) -> Any:  # noqa: ANN401 - of that kind
    if not isinstance(value, dict):
        raise TypeError(f"expected the fields of {kind.__name__}, got {type(value).__name__}")
    hints = field_types(kind)
    given = {f.name: from_plain(hints[f.name], value[f.name], arrays) for f in fields(kind) if f.name in value}
    return kind(**given)


@cache
def field_types(kind: type) -> dict[str, Any]:
    """The type of each field of a dataclass, by name."""
    return get_type_hints(kind)
