"""torchvision's own datasets: annotations made to follow transforms.v2, to fractions of a pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from camdebug.sources.entry import Kind

_PET, _BORDER = 1, 3
_BBOX = "bbox"
"""COCO's own boxes, in as many digits as they have there; the wrapper's are float32."""


def adapted(dataset: Any, names: Sequence[str] = (), annotation: Kind | None = None) -> Any:  # noqa: ANN401
    """Annotated datasets of torchvision in its own wrapper, also within a ``Subset`` or ``ConcatDataset``.

    These are CocoDetection, VOCDetection, VOCSegmentation, SBDataset, Cityscapes, and OxfordIIITPet with trimaps.
    Whatever reads its own way is returned as it is. The argument is never changed.

    The wrapper gives boxes as the files have them, whole numbers as a rule, and a transform that resizes whole numbers
    cuts them to whole pixels. So they become float64 before the transforms, also where a dataset is wrapped already.

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
        return Pets(dataset if is_wrapped(dataset) else _wrapped(dataset))
    if is_wrapped(dataset):
        return _in_full(dataset)
    reader = getattr(type(dataset), "__getitem__", None)
    if reader is datasets.VOCDetection.__getitem__ and not set(names) <= set(VOC_CATEGORIES):
        return OwnVoc(_wrapped(dataset, "boxes", "annotation"), names)
    if reader is datasets.VOCDetection.__getitem__:
        return _wrapped(dataset, "boxes", "labels")
    if reader is datasets.CocoDetection.__getitem__:
        masks = ("masks",) if annotation == "masks" else ()
        return _wrapped(dataset, "boxes", "labels", "iscrowd", _BBOX, *masks)
    maps = (datasets.VOCSegmentation, datasets.SBDataset, datasets.Cityscapes)
    return _wrapped(dataset) if reader in [cls.__getitem__ for cls in maps] else dataset


def _wrapped(dataset: Any, *keys: str) -> Any:  # noqa: ANN401
    from torchvision import datasets

    # A copy, because the wrapper takes the transforms away from the dataset that it is given.
    wrapped = datasets.wrap_dataset_for_transforms_v2(copy(dataset), target_keys=keys or None)
    return _in_full(wrapped, from_bbox=_BBOX in keys)


def _in_full(wrapped: Any, *, from_bbox: bool = False) -> Any:  # noqa: ANN401
    """A wrapped dataset once more, whose transforms get boxes in float64."""
    found = object.__new__(type(wrapped))  # copy() would wrap anew, and lose what was changed since
    vars(found).update(vars(wrapped))
    found.transforms = BoxesInFull(wrapped.transforms, from_bbox=from_bbox)
    return found


class BoxesInFull:
    """Transforms of a picture and its target that get every ``BoundingBoxes`` of the target in float64.

    Where all are torchvision's own, boxes alone go through them as through the transform of ``ProbeSet.from_source``.

    Args:
        transforms: as of a dataset; ``None`` for none.
        from_bbox: whether boxes are to be taken from the target's ``bbox``, which they do not get.
    """

    def __init__(self, transforms: Callable[[Any, Any], Any] | None, *, from_bbox: bool = False) -> None:
        self.transforms, self._from_bbox = transforms, from_bbox
        self._of_boxes = _exact(transforms) if is_plain(transforms) else transforms

    def __call__(self, image: Any, target: Any) -> Any:  # noqa: ANN401
        """Carry them."""
        target = _with_own_boxes(target) if self._from_bbox else _boxes_in_full(target)
        has_boxes_alone = isinstance(target, dict) and "boxes" in target and "masks" not in target
        transforms = self._of_boxes if has_boxes_alone else self.transforms
        return (image, target) if transforms is None else transforms(image, target)


def _exact(transforms: Any) -> Any:  # noqa: ANN401
    """The same without float32 in between, where v2 alone is used."""
    from camdebug.geometry.v2_parts import followable, is_v2

    if not is_v2(transforms):
        return transforms
    try:
        return followable(transforms)
    except TypeError:  # some part moves no boxes; what comes out is checked
        return transforms


def is_plain(transforms: Any) -> bool:  # noqa: ANN401
    """Whether transforms of pictures and targets are torchvision's own, which change no label, through and through."""
    from torchvision.datasets.vision import StandardTransform

    from camdebug.geometry.v2_parts import is_opaque, is_v2, leaves

    if isinstance(transforms, BoxesInFull):
        return is_plain(transforms.transforms)
    if type(transforms) is StandardTransform:
        return transforms.target_transform is None
    return transforms is None or (is_v2(transforms) and not any(map(is_opaque, leaves(transforms))))


def _boxes_in_full(target: Any) -> Any:  # noqa: ANN401
    from torchvision import tv_tensors

    if isinstance(target, tv_tensors.BoundingBoxes):
        return tv_tensors.wrap(target.to(torch.float64), like=target)
    if type(target) is dict:
        return {key: _boxes_in_full(value) for key, value in target.items()}
    return tuple(map(_boxes_in_full, target)) if type(target) is tuple else target


def _with_own_boxes(target: dict[str, Any]) -> dict[str, Any]:
    from torchvision import tv_tensors

    if _BBOX not in target:
        return target
    boxes = torch.tensor(target[_BBOX], dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    rest = {key: value for key, value in target.items() if key != _BBOX}
    return {**rest, "boxes": tv_tensors.wrap(boxes, like=target["boxes"])}


def is_wrapped(dataset: Any) -> bool:  # noqa: ANN401
    """Whether a dataset is one in torchvision's wrapper."""
    return any(cls.__name__ == "VisionDatasetTVTensorWrapper" for cls in type(dataset).__mro__)


def _has_trimaps(dataset: Any) -> bool:  # noqa: ANN401
    from torchvision import datasets

    read_by_torchvision = (
        is_wrapped(dataset) or getattr(type(dataset), "__getitem__", None) is datasets.OxfordIIITPet.__getitem__
    )
    is_pets = isinstance(dataset, datasets.OxfordIIITPet) and read_by_torchvision
    return is_pets and "segmentation" in dataset._target_types


class Pets(Dataset[Any]):
    """OxfordIIITPet with trimaps: the pet is the object, and its border neither object nor background."""

    def __init__(self, wrapped: Any) -> None:  # noqa: ANN401
        self.wrapped, self.classes = wrapped, pet_classes(wrapped)
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


def pet_classes(dataset: Any) -> list[str]:  # noqa: ANN401
    """Of its one kind of label: 37 breeds, or cat and dog."""
    breeds = "binary-category" not in dataset._target_types or "category" in dataset._target_types
    return list(dataset.classes if breeds else dataset.bin_classes)


class OwnVoc(Dataset[Any]):
    """A VOC-style folder with classes of its own, whose names torchvision's wrapper cannot number."""

    def __init__(self, wrapped: Any, names: Sequence[str]) -> None:  # noqa: ANN401
        self.wrapped = wrapped
        self.categories = dict(enumerate([*names, "(any other)"]))
        self._number = {name: number for number, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.wrapped)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image, target = self.wrapped[index]
        return image, {**target, "labels": [self.number(item["name"]) for item in target["annotation"]["object"]]}

    def number(self, name: str) -> int:
        """Of a class, in ``categories``."""
        return self._number.get(name, len(self._number))


# As torchvision's wrapper numbers them, 0 being its background.
VOC_CATEGORIES = (
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
