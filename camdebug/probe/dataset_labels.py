"""What the labels of a dataset stand for, and those of each picture as far as the dataset has them unread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from camdebug.probe.torchvision_sets import VOC_CATEGORIES, OwnVoc, Pets, is_plain, is_wrapped, pet_classes

Labels = tuple[tuple[int, str], ...]
"""Of one picture: the annotation label of each object, and its name where annotations name it, otherwise ``""``."""


def leaves(dataset: Any) -> Iterator[Any]:  # noqa: ANN401
    """The datasets that a ``Subset`` or ``ConcatDataset`` takes its pictures from."""
    if type(dataset) is Subset:
        yield from leaves(dataset.dataset)
    elif type(dataset) is ConcatDataset:
        for part in dataset.datasets:
            yield from leaves(part)
    else:
        yield dataset


def categories(dataset: Any, *, strict: bool = True) -> dict[int, str]:  # noqa: ANN401
    """Names of the annotation labels of an adapted dataset; empty where they are not known for certain.

    Args:
        dataset: as :func:`camdebug.probe.torchvision_sets.adapted` gives it.
        strict: whether parts of different categories are an error; otherwise there are none then.

    Raises:
        ValueError: the parts of a ``ConcatDataset`` have different ones.
    """
    first, *others = [_categories_of(leaf) for leaf in leaves(dataset)]
    if all(found == first for found in others):
        return first
    if strict:
        raise ValueError(
            "dataset: expected parts with the same categories, got a ConcatDataset of different ones; pass "
            "label_map={label: class index}"
        )
    return {}


def _categories_of(dataset: Any) -> dict[int, str]:  # noqa: ANN401
    from torchvision import datasets

    if isinstance(dataset, OwnVoc):
        return dataset.categories
    if isinstance(dataset, (Pets, datasets.OxfordIIITPet)):
        names = dataset.classes if isinstance(dataset, Pets) else pet_classes(dataset)
        return {} if _renumbers(dataset) else dict(enumerate(names))
    if not is_wrapped(dataset):
        return _of_class_to_idx(dataset)
    if isinstance(dataset, datasets.CocoDetection):
        return {int(key): str(value["name"]) for key, value in sorted(dataset.coco.cats.items())}
    if isinstance(dataset, (datasets.VOCDetection, datasets.VOCSegmentation, datasets.SBDataset)):
        return dict(enumerate(VOC_CATEGORIES, start=1))
    if isinstance(dataset, datasets.Cityscapes):
        return {found.id: found.name for found in dataset.classes if found.id >= 0}
    return _of_class_to_idx(dataset)


def _renumbers(dataset: Any) -> bool:  # noqa: ANN401
    """Whether the dataset changes its targets afterwards."""
    return getattr(getattr(dataset, "wrapped", dataset), "target_transform", None) is not None


def _of_class_to_idx(dataset: Any) -> dict[int, str]:  # noqa: ANN401
    """The dataset's own ``class_to_idx``, turned round, where nothing changes its labels afterwards."""
    found = getattr(dataset, "class_to_idx", None)
    if not isinstance(found, Mapping) or _renumbers(dataset):
        return {}
    turned = {value: name for name, value in found.items() if isinstance(name, str) and isinstance(value, int)}
    return dict(sorted(turned.items())) if len(turned) == len(found) else {}


def declared_classes(dataset: Any) -> Any:  # noqa: ANN401
    """What the dataset, or the one it is a subset of, has as ``classes``; ``None`` without, or if labels change."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return None if _renumbers(dataset) else getattr(dataset, "classes", None)


def stuff(dataset: Any) -> frozenset[int]:  # noqa: ANN401
    """Annotation labels that are background and no objects: Cityscapes' roads, walls and sky."""
    return frozenset().union(*map(_stuff_of, leaves(dataset)))


def _stuff_of(dataset: Any) -> frozenset[int]:  # noqa: ANN401
    from torchvision import datasets

    if not (is_wrapped(dataset) and isinstance(dataset, datasets.Cityscapes)):
        return frozenset()
    return frozenset(c.id for c in dataset.classes if not c.has_instances and not c.ignore_in_eval)


def annotated(dataset: Any, pictures: Sequence[int] | None = None) -> list[Labels | None] | None:  # noqa: ANN401
    """What is annotated in each picture, before any transform, without opening one.

    Args:
        dataset: as :func:`camdebug.probe.torchvision_sets.adapted` gives it.
        pictures: some of them; by default all.

    Returns:
        Labels of each; ``None`` for a picture of which they are not known, or for a dataset that does not keep them.
    """
    pictures = range(len(dataset)) if pictures is None else pictures
    if type(dataset) is Subset:
        return annotated(dataset.dataset, [dataset.indices[i] for i in pictures])
    if type(dataset) is not ConcatDataset:
        return _annotated_in(dataset, pictures)
    every: list[Labels | None] = []
    for part in dataset.datasets:
        found = annotated(part)
        if found is None:
            return None
        every += found
    return [every[i] for i in pictures]


def _annotated_in(dataset: Any, pictures: Sequence[int]) -> list[Labels | None] | None:  # noqa: ANN401
    if isinstance(dataset, Pets):
        breeds = "category" in dataset.wrapped._target_types
        found = _whole_numbers(dataset.wrapped._labels if breeds else dataset.wrapped._bin_labels, len(dataset))
    elif _is_coco(dataset):
        names = _categories_of(dataset)
        return [_of_coco(dataset.coco.imgToAnns.get(dataset.ids[i], ()), names) for i in pictures]
    elif _is_voc(dataset):
        number = dataset.number if isinstance(dataset, OwnVoc) else _VOC_NUMBERS.get
        files = getattr(dataset, "wrapped", dataset).targets
        return [_of_voc(files[i], number) for i in pictures]
    else:
        lists = (getattr(dataset, name, None) for name in ("targets", "_labels", "labels", "samples", "_samples"))
        found = next((f for f in (_whole_numbers(each, len(dataset)) for each in lists) if f is not None), None)
    return None if found is None else [((found[i], ""),) for i in pictures]


_VOC_NUMBERS = {name: number for number, name in enumerate(VOC_CATEGORIES, start=1)}


def _is_coco(dataset: Any) -> bool:  # noqa: ANN401
    from torchvision import datasets

    read_by_torchvision = getattr(type(dataset), "_load_target", None) is datasets.CocoDetection._load_target
    return is_wrapped(dataset) and read_by_torchvision


def _is_voc(dataset: Any) -> bool:  # noqa: ANN401
    from torchvision import datasets

    return isinstance(dataset, OwnVoc) or (is_wrapped(dataset) and isinstance(dataset, datasets.VOCDetection))


def _of_coco(found: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> Labels | None:
    labels = [each.get("category_id") for each in found]
    known = [label for label in labels if type(label) is int]
    return tuple((label, names.get(label, "")) for label in known) if len(known) == len(labels) else None


def _of_voc(file: str, number: Any) -> Labels | None:  # noqa: ANN401
    from torchvision.datasets.voc import ET_parse

    try:
        root = ET_parse(file).getroot()
    except (OSError, SyntaxError, ValueError):  # said when the picture is read, if it is
        return None
    names = [(node.findtext("name") or "").strip() for node in root.findall("object")]
    labels = [number(name) for name in names]
    return None if None in labels else tuple(zip(labels, names, strict=True))


def _whole_numbers(values: Any, count: int) -> list[int] | None:  # noqa: ANN401
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    values = [value[1] if isinstance(value, (tuple, list)) and len(value) == 2 else value for value in values]
    return list(values) if all(type(value) is int for value in values) else None


def has_objects(dataset: Any) -> bool:  # noqa: ANN401
    """Whether what :func:`annotated` gives of a dataset that is none of others are objects, and no classes alone."""
    return isinstance(dataset, Pets) or _is_coco(dataset) or _is_voc(dataset)


def labels_stay(dataset: Any) -> bool:  # noqa: ANN401
    """Whether no transform of the dataset can change labels; objects may be lost."""
    return all(_keeps_labels(getattr(leaf, "wrapped", leaf), has_objects(leaf)) for leaf in leaves(dataset))


def _keeps_labels(dataset: Any, with_targets: bool) -> bool:  # noqa: ANN401
    return not _renumbers(dataset) and (not with_targets or is_plain(getattr(dataset, "transforms", None)))
