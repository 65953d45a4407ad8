"""Which class of the model an annotation label stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import index

from camdebug.probe.checks import check_names, name_a_few

_MOST_UNNAMED_CLASSES = 100_000


def near_matches(name: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown name, to be put right behind it in a message; empty without any.

    >>> near_matches("dgo", ["Cat", "Dog"])
    ' (near: Dog)'
    >>> near_matches("zebra", ["cat", "dog"])
    ''
    """
    spelled: dict[str, str] = {}
    for other in known:
        spelled.setdefault(other.casefold(), other)
    found = get_close_matches(name.casefold(), spelled)
    return f" (near: {', '.join(spelled[match] for match in found)})" if found else ""


@dataclass(frozen=True)
class ClassPlan:
    """How annotation labels become classes of the model.

    Attributes:
        names: of the model's classes; ``None`` when nobody has told them.
        label_map: annotation label to class index; ``None`` when labels are class indices already.
        categories: names of all labels that may occur, where names alone settled the map; otherwise empty.
    """

    names: tuple[str, ...] | None
    label_map: Mapping[int, int] | None
    categories: Mapping[int, str] = field(default_factory=dict)

    @property
    def reachable(self) -> frozenset[int] | None:
        """Classes that the labels can lead to; ``None`` when they are unknown."""
        if self.label_map is not None:
            return frozenset(self.label_map.values())
        return frozenset(range(len(self.names))) if self.names else None

    def of(self, labels: list[int], where: str) -> list[int]:
        """Class of each annotation label; -1 for a label that the map does not know."""
        strange = [value for value in labels if self.categories and value not in self.categories]
        if strange:
            # The user's transform seems to have renumbered them, so the match by name would be wrong.
            raise ValueError(
                f"dataset: expected labels of {where} to be its category ids ({_listed(self.categories.items())}), "
                f"got {strange[0]}; pass label_map={{label: class index}}"
            )
        return labels if self.label_map is None else [self.label_map.get(value, -1) for value in labels]

    def expect(self, class_idx: int, what: str) -> int:
        """Return ``class_idx``, or raise saying where it came from."""
        if class_idx >= 0 and (self.names is None or class_idx < len(self.names)):
            return class_idx
        expected = f"0 to {len(self.names) - 1}, one of the {len(self.names)} classes" if self.names else "0 or more"
        raise ValueError(
            f"dataset: expected a class index ({expected}), got {class_idx} as {what}; where annotation labels are "
            "not class indices pass label_map={label: class index}"
        )


def model_classes(class_names: object, class_to_idx: object) -> tuple[str, ...] | None:
    """The model's classes in the order of its outputs, from either argument; ``None`` without both.

    Args:
        class_names: one name for each class.
        class_to_idx: name to class index, each of 0 to n - 1 once.

    Raises:
        TypeError, ValueError: when one is not as described, or both are given.

    >>> model_classes(None, {"dog": 1, "cat": 0})
    ('cat', 'dog')
    """
    if class_names is not None and class_to_idx is not None:
        raise ValueError("class_names, class_to_idx: expected one of them, got both")
    if class_to_idx is None:
        return check_names("class_names", class_names) if class_names is not None else None
    if not isinstance(class_to_idx, Mapping) or not class_to_idx:
        raise TypeError(f"class_to_idx: expected {{class name: class index}}, got {class_to_idx!r:.80}")
    try:
        names = {index(value): name for name, value in class_to_idx.items()}
    except TypeError as error:
        raise TypeError(f"class_to_idx: expected whole numbers as indices, got {class_to_idx!r:.80}") from error
    if sorted(names) != list(range(len(class_to_idx))):
        last = len(class_to_idx) - 1
        raise ValueError(f"class_to_idx: expected each index of 0 to {last} once, got {list(class_to_idx.values())}")
    return check_names("class_to_idx", [names[k] for k in range(len(names))])


def plan_classes(
    names: tuple[str, ...] | None,
    label_map: Mapping[int, int] | None,
    categories: Mapping[int, str],
    declared: object,
    named: bool = True,
) -> ClassPlan:
    """Settle names and label map from what the user and the dataset say.

    Args:
        names: the model's classes as the user gives them, or ``None``.
        label_map: annotation label to class index as the user gives it, or ``None``.
        categories: names of the annotation labels, where the dataset tells them; otherwise empty.
        declared: ``dataset.classes``, or ``None``; with a ``label_map`` it counts if that leaves every label as it is.
        named: whether categories that are numbered from 0 may name the model's classes where nobody else does.
    """
    if label_map is not None:
        checked = _check_map(label_map, len(names) if names else None)
        return ClassPlan(names or _declared_names(checked, declared) or _names_of(checked, categories), checked)
    if categories:
        return _plan_by_name(names, categories, named)
    if names is None and declared is not None:
        names = check_names("dataset.classes (pass class_names= instead)", declared)
    return ClassPlan(names, None)


def _check_map(label_map: object, classes: int | None) -> dict[int, int]:
    if not isinstance(label_map, Mapping) or not label_map:
        raise TypeError(f"label_map: expected {{annotation label: class index}}, got {label_map!r:.80}")
    try:
        checked = {index(key): index(value) for key, value in label_map.items()}
    except TypeError as error:
        raise TypeError(f"label_map: expected whole numbers, got {label_map!r:.80}") from error
    wrong = [v for v in checked.values() if v < 0 or v >= (classes or _MOST_UNNAMED_CLASSES)]
    if wrong:
        expected = f"0 to {classes - 1}" if classes else f"0 to {_MOST_UNNAMED_CLASSES - 1} (without class_names)"
        raise ValueError(f"label_map: expected class indices {expected}, got {wrong[0]}")
    return checked


def _declared_names(label_map: Mapping[int, int], declared: object) -> tuple[str, ...] | None:
    """``dataset.classes`` where the map leaves each of them as it is."""
    if not isinstance(declared, Sequence) or not all(isinstance(name, str) for name in declared):
        return None
    unchanged = label_map == {k: k for k in range(len(declared))}
    return check_names("dataset.classes (pass class_names= instead)", declared) if unchanged else None


def _names_of(label_map: Mapping[int, int], categories: Mapping[int, str]) -> tuple[str, ...]:
    """Each class by the categories that it takes in, and by its number where there are none."""
    taken: dict[int, list[str]] = {}
    for label, class_idx in label_map.items():
        if label in categories:
            taken.setdefault(class_idx, []).append(categories[label])
    names = tuple("+".join(taken.get(k, [str(k)])) for k in range(max(label_map.values()) + 1))
    return names if len(set(names)) == len(names) else tuple(str(k) for k in range(len(names)))


def _plan_by_name(names: tuple[str, ...] | None, categories: Mapping[int, str], named: bool) -> ClassPlan:
    if names is None and list(categories) == list(range(len(categories))):
        return ClassPlan(check_names("dataset: its categories", list(categories.values())) if named else None, None)
    if names is None:
        raise ValueError(
            f"class_names: expected the model's classes in the order of its outputs, got none; the dataset's labels "
            f"are category ids and no class indices ({_listed(categories.items())}). Names are matched with the "
            "categories; or pass label_map={category id: class index}"
        )
    _check_known(
        names,
        categories.values(),
        f"the dataset's categories ({_listed(categories.items())})",
        "for names of your own pass label_map={category id: class index} as well",
    )
    return ClassPlan(names, {key: names.index(name) for key, name in categories.items() if name in names}, categories)


def check_annotated_names(names: Sequence[str], found: Collection[str]) -> None:
    """Raise for a name of the model that no annotation of a VOC-style folder has, unless it knows all that they have.

    Args:
        names: of the model's classes.
        found: names in the annotations.
    """
    if found:
        _check_known(
            names,
            found,
            f"the annotated classes ({name_a_few(sorted(found))})",
            "for names of your own there is from_source(VocFolder(...), label_map={annotated name: class name})",
        )


def _check_known(names: Sequence[str], known: Collection[str], what: str, mend: str) -> None:
    unknown = sorted(name for name in names if name not in known)
    # A model may know more classes than are annotated, but then it knows all of those.
    if unknown and not set(known) <= set(names):
        near = name_a_few([name + near_matches(name, known) for name in unknown])
        raise ValueError(f"class_names: expected names of {what}, got {near}; {mend}")


def _listed(items: Iterable[tuple[int, str]]) -> str:
    return name_a_few([f"{key}: {name}" for key, name in items])
