"""Which pictures of a dataset need not be read: its annotations tell the classes of each beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from camdebug.probe.checks import name_a_few
from camdebug.probe.classes import ClassPlan
from camdebug.probe.dataset_labels import Labels, categories, has_objects, labels_stay, leaves
from camdebug.probe.reading import Reader, Sample
from camdebug.wording import shown_name


@dataclass(frozen=True)
class Hints:
    """The classes of every picture before it is read. What it is read with counts.

    Attributes:
        classes: of each picture, maybe more than are left after the transform; ``None`` where they are not known.
        of_objects: whether they are of annotated objects, and not of pictures as a whole.
    """

    classes: list[frozenset[int] | None]
    of_objects: bool

    def order(self, order: Sequence[int]) -> list[int]:
        """The same pictures, those of which nothing is known last."""
        unknown = {i for i in order if self.classes[i] is None}
        return [i for i in order if i not in unknown] + [i for i in order if i in unknown]

    def agree(self, index: int, samples: Sequence[Sample]) -> bool:
        """Whether a picture was read as it was foretold."""
        told = self.classes[index]
        alike = all((sample.kind is not None) == self.of_objects for sample in samples)
        return alike and (told is None or {sample.label for sample in samples} <= told)


def hints_of(reader: Reader, labels: Sequence[Labels | None] | None) -> Hints | None:
    """What can be known of the pictures of a reader; ``None`` where labels may change before they are read.

    Args:
        reader: of the dataset.
        labels: as :func:`camdebug.probe.dataset_labels.annotated` gives them.
    """
    kinds = {has_objects(leaf) for leaf in leaves(reader.dataset)}
    if labels is None or reader.label is not None or len(kinds) > 1 or not labels_stay(reader.dataset):
        return None
    named = categories(reader.dataset, strict=False)
    return Hints([_classes(found, reader.plan.label_map, named) for found in labels], kinds.pop())


def _classes(
    labels: Labels | None, label_map: Mapping[int, int] | None, named: Collection[int]
) -> frozenset[int] | None:
    if labels is None:
        return None
    found = {label for label, _ in labels}
    if label_map is None:
        return frozenset(found)
    # A label that neither the map nor the dataset knows may be changed on the way, or mean something else.
    if any(label not in label_map and label not in named for label in found):
        return None
    return frozenset(label_map[label] for label in found if label in label_map)


def names_left_out(plan: ClassPlan, labels: Sequence[Labels | None] | None) -> str | None:
    """A sentence about annotated classes that the model does not have, where names settled which it has."""
    if not plan.categories or plan.names is None:
        return None
    counts = Counter(name for found in labels or () for _, name in found or () if name and name not in plan.names)
    if not counts:
        return None
    listed = name_a_few([f"{shown_name(name)}: {count}" for name, count in counts.most_common()])
    which = "1 annotated class" if len(counts) == 1 else f"{len(counts)} annotated classes"
    return f"ProbeSet: objects of {which} that the model does not have are ignored regions ({listed})"
