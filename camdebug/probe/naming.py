"""Which class of the model the name of an annotated class stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index as whole
from typing import Literal, get_args

from camdebug.numerals import count_of
from camdebug.probe.checks import check_names, name_a_few
from camdebug.probe.classes import near_matches
from camdebug.probe.sanity import check_entries
from camdebug.sources import Annotations

Others = Literal["error", "ignore"]

_MOST_LISTED = 20


@dataclass(frozen=True, eq=False)
class Naming:
    """How names of annotations become classes of the model.

    Attributes:
        names: of the model's classes, in the order of its outputs.
        index: class index of each annotated name that stands for one; objects of other names are ignored regions.
    """

    names: tuple[str, ...]
    index: Mapping[str, int]


def settle_names(
    annotations: Annotations,
    *,
    class_names: Sequence[str] | None = None,
    class_to_idx: Mapping[str, int] | None = None,
    label_map: Mapping[str, str] | None = None,
    others: str = "error",
) -> Naming:
    """Match the annotated names with the model's classes; arguments as of ``ProbeSet.from_source``.

    Names of ignored objects need not be known.

    Raises:
        TypeError, ValueError: an argument or an id is wrong, an annotated name is unknown, or no class is annotated.
    """
    if others not in get_args(Others):
        raise ValueError(f"others: expected 'error' or 'ignore', got {others!r:.80}")
    check_entries(annotations)
    counts = Counter(o.name for entry in annotations.entries for o in entry.objects if not o.ignored)
    names = _model_names(annotations, counts, class_names, class_to_idx)
    renamed = _check_map(label_map, names, [*annotations.names, *counts])
    number = {name: k for k, name in enumerate(names)}
    meant = {name: renamed.get(name, name) for name in dict.fromkeys([*annotations.names, *counts])}
    found = {name: number[new] for name, new in meant.items() if new in number}
    unknown = [name for name in counts if name not in found]
    if not any(name in found for name in counts):
        raise ValueError(_no_match(names, counts, annotations.source))
    if unknown and others == "error":
        raise ValueError(_unknown_names(unknown, names, counts))
    return Naming(names, found)


def _model_names(
    annotations: Annotations,
    counts: Mapping[str, int],
    class_names: Sequence[str] | None,
    class_to_idx: Mapping[str, int] | None,
) -> tuple[str, ...]:
    if class_names is not None and class_to_idx is not None:
        raise ValueError("class_names, class_to_idx: expected one of them, got both")
    if class_to_idx is not None:
        return _in_order(class_to_idx)
    if class_names is not None:
        return check_names("class_names", class_names)
    if annotations.kind is None and annotations.names:
        return tuple(sorted(annotations.names))
    listed = _listed(sorted(counts))
    raise ValueError(
        f"class_names: expected the model's classes in the order of its outputs, got none; {annotations.source} names "
        f"{listed or 'no class'}. Pass class_names=[...], or class_to_idx={{name: index}}"
    )


def _in_order(class_to_idx: object) -> tuple[str, ...]:
    """Names by their index, which must be 0 to K-1, each once."""
    if not isinstance(class_to_idx, Mapping) or not all(isinstance(name, str) for name in class_to_idx):
        raise TypeError(f"class_to_idx: expected {{class name: index}}, got {class_to_idx!r:.80}")
    try:
        numbers = {name: whole(value) for name, value in class_to_idx.items()}
    except TypeError as error:
        raise TypeError(f"class_to_idx: expected whole numbers as indices, got {class_to_idx!r:.80}") from error
    if sorted(numbers.values()) != list(range(len(numbers))) or not numbers:
        raise ValueError(
            f"class_to_idx: expected the indices 0 to K-1 of K classes, each once, got {_listed_numbers(numbers)}; "
            "name every output of the model, and several annotated names of one class by label_map="
        )
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _check_map(label_map: object, names: tuple[str, ...], annotated: Sequence[str]) -> dict[str, str]:
    if label_map is None:
        return {}
    if not isinstance(label_map, Mapping) or not all(isinstance(v, str) for pair in label_map.items() for v in pair):
        raise TypeError(f"label_map: expected {{annotated name: class name}}, got {label_map!r:.80}")
    for what, values, known in (
        ("names of the annotations", list(label_map), set(annotated)),
        ("names of the model's classes", list(label_map.values()), set(names)),
    ):
        strange = [value for value in dict.fromkeys(values) if value not in known]
        if strange:
            raise ValueError(f"label_map: expected {what}, got {name_a_few([_quoted(s, known) for s in strange])}")
    return dict(label_map)


def _quoted(name: str, known: set[str]) -> str:
    return f"{name!r}{near_matches(name, sorted(known))}"


def _unknown_names(unknown: Sequence[str], names: tuple[str, ...], counts: Mapping[str, int]) -> str:
    ordered = sorted(unknown, key=lambda name: (-counts[name], name))
    listed = _listed(
        [f"{name!r}, {count_of(counts[name], 'object')}{near_matches(name, names)}" for name in ordered], "; "
    )
    return (
        f"class_names: {count_of(len(unknown), 'annotated name')} not among the model's classes: {listed}. Say what "
        f"each stands for with label_map={{{ordered[0]!r}: class name}}, or pass others='ignore' to make their objects "
        "ignored regions"
    )


def _no_match(names: tuple[str, ...], counts: Mapping[str, int], source: str) -> str:
    if not counts:
        return f"source: {source} has no annotated object"
    listed = _listed([f"{name!r}{near_matches(name, names)}" for name in sorted(counts)])
    return (
        f"class_names: none of {_listed([repr(name) for name in names])} is annotated; {source} names {listed}. Say "
        "what they stand for with label_map={annotated name: class name}"
    )


def _listed(words: Sequence[str], joint: str = ", ") -> str:
    more = len(words) - _MOST_LISTED
    return joint.join(words[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _listed_numbers(numbers: Mapping[str, int]) -> str:
    return name_a_few([f"{name}: {value}" for name, value in numbers.items()]) or "none"
