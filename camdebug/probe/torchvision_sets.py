"""torchvision's own detection datasets: their boxes made to follow transforms.v2, and what their labels mean."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, Subset


def adapted(dataset: Any, names: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """CocoDetection and VOCDetection in torchvision's wrapper, also within a ``Subset`` or ``ConcatDataset``.

    Whatever is wrapped already, or reads its own way, is returned as it is. The argument is never changed.

    Args:
        dataset: any dataset.
        names: the model's classes; a VOC-style folder is read by them when they are not all among VOC's own.
    """
    from torchvision import datasets

    if type(dataset) is Subset:
        return Subset(adapted(dataset.dataset, names), dataset.indices)
    if type(dataset) is ConcatDataset:
        return ConcatDataset([adapted(part, names) for part in dataset.datasets])
    reader = getattr(type(dataset), "__getitem__", None)
    if reader is datasets.VOCDetection.__getitem__ and not set(names) <= set(_VOC_CATEGORIES):
        return _OwnVoc(_wrapped(dataset, "boxes", "annotation"), names)
    if reader in (datasets.CocoDetection.__getitem__, datasets.VOCDetection.__getitem__):
        return _wrapped(dataset, "boxes", "labels")
    return dataset


def _wrapped(dataset: Any, *keys: str) -> Any:  # noqa: ANN401
    from torchvision import datasets

    # A copy, because the wrapper takes the transforms away from the dataset that it is given.
    return datasets.wrap_dataset_for_transforms_v2(copy(dataset), target_keys=keys)


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
    """Names of the annotation labels of an adapted COCO or VOC dataset; empty for any other."""
    from torchvision import datasets

    if type(dataset) is Subset:
        return categories(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return _common([categories(part) for part in dataset.datasets])
    if isinstance(dataset, _OwnVoc):
        return dataset.categories
    if not any(cls.__name__ == "VisionDatasetTVTensorWrapper" for cls in type(dataset).__mro__):
        return {}
    if isinstance(dataset, datasets.CocoDetection):
        return {int(key): str(value["name"]) for key, value in sorted(dataset.coco.cats.items())}
    if isinstance(dataset, datasets.VOCDetection):
        return dict(enumerate(_VOC_CATEGORIES, start=1))
    return {}


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
