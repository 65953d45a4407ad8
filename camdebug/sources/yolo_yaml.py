"""What a ``data.yaml`` of YOLO says: the names of the classes, and where a split lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camdebug.sources.entry import Unusable
from camdebug.sources.paths import given_file, optional, text_of

_MOST_BYTES = 2**20
_MOST_DEPTH = 10


@dataclass(frozen=True)
class YoloSet:
    """One split of a ``data.yaml``.

    Attributes:
        names: of the classes, by their numbers and in their order.
        bases: folders that relative paths are looked for in.
        places: folders of pictures, or text files that list them.
    """

    names: dict[int, str]
    bases: tuple[Path, ...]
    places: tuple[Path, ...]


def read_yaml(file: Path, split: str) -> YoloSet:
    """Read a ``data.yaml``.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or lacks what is needed; the message names ``data_yaml`` or
            ``split``.
        ImportError: PyYAML is not installed.
    """
    data = _loaded(given_file("data_yaml", file, most_bytes=_MOST_BYTES))
    if "kpt_shape" in data:
        raise ValueError("data_yaml: expected boxes or polygons, got key points (kpt_shape), which are not read")
    names = _names(data.get("names"))
    if type(data.get("nc")) is int and data["nc"] != len(names):
        raise ValueError(f"data_yaml: expected as many names as classes, got nc {data['nc']} and {len(names)} names")
    bases = (file.parent / _text(data["path"], "path"), file.parent) if data.get("path") else (file.parent,)
    return YoloSet(names, bases, _places(data, split, bases))


def _loaded(content: bytes) -> dict[Any, Any]:
    yaml = optional("yaml", "YOLO's data.yaml")
    try:
        found = yaml.safe_load(content) if _plain(yaml, content) else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ValueError(f"data_yaml: expected YAML, but there is a mistake{where}") from error
    except (TypeError, ValueError, OverflowError) as error:  # of values such as the date 2020-99-99
        raise ValueError(f"data_yaml: expected YAML, got what cannot be read ({type(error).__name__})") from error
    if found is None:
        raise ValueError(
            "data_yaml: expected lists and names with values, got nothing, deep nesting or aliases (*name)"
        )
    return dict(found) if isinstance(found, Mapping) else {}


def _plain(yaml: Any, content: bytes) -> bool:  # noqa: ANN401
    """Whether it is free of what takes time without end: merged aliases and lists in lists in lists."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH or isinstance(event, yaml.AliasEvent):
            return False
    return True


def _names(value: object) -> dict[int, str]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        raise ValueError("data_yaml: expected names, a list or numbers with names")
    names = {_number(key): _text(name, "names") for key, name in value.items()}
    return dict(sorted(names.items()))


def _number(key: object) -> int:
    if isinstance(key, str) and key.isdecimal():
        return int(key)
    if type(key) is not int or key < 0:
        raise ValueError("data_yaml: expected whole numbers before the names, from 0 on")
    return key


def _text(value: object, name: str) -> str:
    try:
        if isinstance(value, bool):
            raise Unusable("a truth value (yes, no, on and off need quotes)")
        return text_of(str(value) if isinstance(value, (int, float)) else value, "text")
    except Unusable as reason:
        raise ValueError(f"data_yaml: expected text in {name}, got {reason}") from reason


def _places(data: dict[Any, Any], split: str, bases: tuple[Path, ...]) -> tuple[Path, ...]:
    value = data.get(split)
    if not value:
        others = [name for name in ("train", "val", "test") if data.get(name)]
        raise ValueError(f"split: expected one of data_yaml ({', '.join(others) or 'it has none'}), got {split!r:.80}")
    return tuple(_place(_text(each, split), split, bases) for each in (value if isinstance(value, list) else [value]))


def _place(text: str, split: str, bases: tuple[Path, ...]) -> Path:
    """Where a path leads from one of the bases; some exporters write ``../`` before it without reason."""
    tried = [base / text for base in bases]
    tried += [base / text[3:] for base in bases if text.startswith("../")]
    for path in tried:
        if os.path.exists(path):
            return path
    raise FileNotFoundError(f"split: data_yaml leads for {split!r:.80} to {tried[0]}, where nothing is; mend its path")
