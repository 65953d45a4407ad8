"""torchvision's own datasets: annotations made to follow transforms.v2, and what their labels mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from camdebug.sources.entry import Kind

_PET, _BORDER = 1, 3


def adapted(dataset: Any, names: Sequence[str] = (), annotation: Kind | None = None) -> Any:  # noqa: ANN401
    """Annotated datasets of torchvision in its own wrapper, also within a ``Subset`` or ``ConcatDataset``.

    These are CocoDetection, VOCDetection, VOCSegmentation, SBDataset, Cityscapes, and OxfordIIITPet with trimaps.
    Whatever is wrapped already, or reads its own way, is returned as it is. The argument is never changed.

    Args:
        dataset: any dataset.
        names: the model's classes; a VOC-style folder is read by them when they are not all among VOC's own.
        annotation: whether boxes or masks are read of CocoDetection, which has both.
    """
    from torchvision import datasets

    if type(dataset) is Subset:
        return Subset(adapted(dataset.dataset, names, annotation), dataset.indices)
    if type(dataset) is ConcatDataset:
        return ConcatDataset([adapted(part, names, annotation) for part in dataset.datasets])
    if _has_trimaps(dataset):
        return _Pets(dataset if _is_wrapped(dataset) else _wrapped(dataset))
    reader = getattr(type(dataset), "__getitem__", None)
    if reader is datasets.VOCDetection.__getitem__ and not set(names) <= set(_VOC_CATEGORIES):
        return _OwnVoc(_wrapped(dataset, "boxes", "annotation"), names)
    if reader is datasets.VOCDetection.__getitem__:
        return _wrapped(dataset, "boxes", "labels")
    if reader is datasets.CocoDetection.__getitem__:
        masks = ("masks",) if annotation == "masks" else ()
        return _wrapped(dataset, "boxes", "labels", "iscrowd", *masks)
    maps = (datasets.VOCSegmentation, datasets.SBDataset, datasets.Cityscapes)
    return _wrapped(dataset) if reader in [cls.__getitem__ for cls in maps] else dataset


def _wrapped(dataset: Any, *keys: str) -> Any:  # noqa: ANN401
    from torchvision import datasets

    # A copy, because the wrapper takes the transforms away from the dataset that it is given.
    return datasets.wrap_dataset_for_transforms_v2(copy(dataset), target_keys=keys or None)


def _is_wrapped(dataset: Any) -> bool:  # noqa: ANN401
    return any(cls.__name__ == "VisionDatasetTVTensorWrapper" for cls in type(dataset).__mro__)


def _has_trimaps(dataset: Any) -> bool:  # noqa: ANN401
    from torchvision import datasets

    read_by_torchvision = (
        _is_wrapped(dataset) or getattr(type(dataset), "__getitem__", None) is datasets.OxfordIIITPet.__getitem__
    )
    is_pets = isinstance(dataset, datasets.OxfordIIITPet) and read_by_torchvision
    return is_pets and "segmentation" in dataset._target_types


class _Pets(Dataset[Any]):
    """OxfordIIITPet with trimaps: the pet is the object, and its border neither object nor background."""

    def __init__(self, wrapped: Any) -> None:  # noqa: ANN401
        self.wrapped, self.classes = wrapped, _pet_classes(wrapped)
        types = list(wrapped._target_types)
        if len(types) < 2:
            raise ValueError(
                'dataset: expected OxfordIIITPet with target_types=("category", "segmentation"), got the segmentation '
                "without a class"
            )
        self._trimap = types.index("segmentation")
        self._label = types.index("category") if "category" in types else types.index("binary-category")

    def __len__(self) -> int:
        return len(self.wrapped)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image, target = self.wrapped[index]
        trimap = torch.as_tensor(target[self._trimap]).as_subclass(Tensor)
        trimap = trimap.reshape(-1, *trimap.shape[-2:])
        return image, {"masks": trimap == _PET, "ignore_masks": trimap == _BORDER, "labels": [target[self._label]]}


def _pet_classes(dataset: Any) -> list[str]:  # noqa: ANN401
    """Of its one kind of label: 37 breeds, or cat and dog."""
    breeds = "binary-category" not in dataset._target_types or "category" in dataset._target_types
    return list(dataset.classes if breeds else dataset.bin_classes)


class _OwnVoc(Dataset[Any]):
    """A VOC-style folder with classes of its own, whose names torchvision's wrapper cannot number."""

    def __init__(self, wrapped: Any, names: Sequence[str]) -> None:  # noqa: ANN401
        self.wrapped = wrapped
        self.categories = dict(enumerate([*names, "(any other)"]))
        self._number = {name: number for number, name in self.categories.items()}

    def __len__(self) -> int:
        return len(self.wrapped)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image, target = self.wrapped[index]
        found = [item["name"] for item in target["annotation"]["object"]]
        other = len(self.categories) - 1
        return image, {**target, "labels": [self._number.get(name, other) for name in found]}


def categories(dataset: Any) -> dict[int, str]:  # noqa: ANN401
    """Names of the annotation labels of an adapted dataset; empty where they are not known for certain."""
    from torchvision import datasets

    if type(dataset) is Subset:
        return categories(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return _common([categories(part) for part in dataset.datasets])
    if isinstance(dataset, _OwnVoc):
        return dataset.categories
    if isinstance(dataset, (_Pets, datasets.OxfordIIITPet)):
        names = dataset.classes if isinstance(dataset, _Pets) else _pet_classes(dataset)
        return dict(enumerate(names)) if getattr(dataset, "target_transform", None) is None else {}
    if not _is_wrapped(dataset):
        return _of_class_to_idx(dataset)
    if isinstance(dataset, datasets.CocoDetection):
        return {int(key): str(value["name"]) for key, value in sorted(dataset.coco.cats.items())}
    if isinstance(dataset, (datasets.VOCDetection, datasets.VOCSegmentation, datasets.SBDataset)):
        return dict(enumerate(_VOC_CATEGORIES, start=1))
    if isinstance(dataset, datasets.Cityscapes):
        return {found.id: found.name for found in dataset.classes if found.id >= 0}
    return _of_class_to_idx(dataset)


def _of_class_to_idx(dataset: Any) -> dict[int, str]:  # noqa: ANN401
    """The dataset's own ``class_to_idx``, turned round, where nothing changes its labels afterwards."""
    found = getattr(dataset, "class_to_idx", None)
    if not isinstance(found, Mapping) or getattr(dataset, "target_transform", None) is not None:
        return {}
    turned = {value: name for name, value in found.items() if isinstance(name, str) and isinstance(value, int)}
    return dict(sorted(turned.items())) if len(turned) == len(found) else {}


def stuff(dataset: Any) -> frozenset[int]:  # noqa: ANN401
    """Annotation labels that are background and no objects: Cityscapes' roads, walls and sky."""
    from torchvision import datasets

    if type(dataset) is Subset:
        return stuff(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return frozenset().union(*(stuff(part) for part in dataset.datasets))
    if not (_is_wrapped(dataset) and isinstance(dataset, datasets.Cityscapes)):
        return frozenset()
    return frozenset(c.id for c in dataset.classes if not c.has_instances and not c.ignore_in_eval)


def known_labels(dataset: Any) -> list[int] | None:  # noqa: ANN401
    """The annotation label of every picture where an adapted dataset keeps them, no picture read; ``None`` without.

    It is a hint: what a picture is read with counts.
    """
    if type(dataset) is Subset:
        found = known_labels(dataset.dataset)
        return None if found is None else [found[i] for i in dataset.indices]
    if type(dataset) is ConcatDataset:
        parts = [known_labels(part) for part in dataset.datasets]
        return [label for part in parts for label in part or ()] if all(part is not None for part in parts) else None
    if isinstance(dataset, _Pets):
        return known_labels(dataset.wrapped)
    for name in ("targets", "_labels", "labels", "samples", "_samples"):
        found = _whole_numbers(getattr(dataset, name, None), len(dataset))
        if found is not None:
            return found
    return None


def _whole_numbers(values: Any, count: int) -> list[int] | None:  # noqa: ANN401
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    values = [value[1] if isinstance(value, (tuple, list)) and len(value) == 2 else value for value in values]
    return list(values) if all(type(value) is int for value in values) else None


def declared_classes(dataset: Any) -> Any:  # noqa: ANN401
    """What the dataset, or the one it is a subset of, has as ``classes``; ``None`` without."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return getattr(dataset, "classes", None)


def _common(all_categories: list[dict[int, str]]) -> dict[int, str]:
    if any(found != all_categories[0] for found in all_categories):
        raise ValueError("dataset: expected parts with the same categories, got a ConcatDataset of different ones")
    return all_categories[0]


# As torchvision's wrapper numbers them, 0 being its background.
_VOC_CATEGORIES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
