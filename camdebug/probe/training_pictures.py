"""The pictures of a training dataset, without its random transform where they can be had so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from camdebug.sources import Annotations, Entry, Source, Unusable
from camdebug.sources.pictures import open_picture, picture_size

_PICTURE_KEYS = ("image", "images", "img", "pixel_values", "picture", "x")
_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class TrainingPicture:
    """One picture that is trained on.

    Attributes:
        where: it is, for people.
        read: gives it, as a Pillow picture or a tensor; several where it may be meant turned or as it lies in its file.
    """

    where: str
    read: Callable[[], Sequence[Any]]


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """All of them.

    Attributes:
        pictures: one for each row of the dataset.
        raw: whether they come as their files hold them, and not through the dataset's transform.
    """

    pictures: Sequence[TrainingPicture]
    raw: bool


def training_pictures(train_dataset: Any, *, transformed: bool = False) -> list[TrainingPictures]:  # noqa: ANN401
    """How the pictures of a training dataset can be had: one way, or two that give the same rows.

    Args:
        train_dataset: a source, annotations, a path that :func:`camdebug.sources.find.find_source` knows, or any
            map-style dataset.
        transformed: also as ``dataset[i]`` gives them, where their files can be read.

    Raises:
        TypeError, ValueError: it is none of these, or empty.
    """
    if isinstance(train_dataset, (str, Path)):
        from camdebug.sources.find import find_source

        train_dataset = find_source(train_dataset)
    if isinstance(train_dataset, Source):
        train_dataset = train_dataset.read()
    if not isinstance(train_dataset, Annotations):
        _check_dataset(train_dataset)
    raw, found = _raw(train_dataset), []
    if raw is not None:
        found.append(TrainingPictures(raw, raw=True))
    if not isinstance(train_dataset, Annotations) and (raw is None or transformed):
        found.append(TrainingPictures(list(_of_rows(train_dataset)), raw=False))
    if not found[0].pictures:
        raise ValueError("train_dataset: expected at least one picture, got none")
    return found


def _check_dataset(dataset: Any) -> None:  # noqa: ANN401
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not map_style or isinstance(dataset, (IterableDataset, Mapping)):
        hint = "; pass the dataset itself, not its DataLoader" if hasattr(dataset, "batch_sampler") else ""
        hint = "; pass the dataset that it trains on" if hasattr(dataset, "train_dataloader") else hint
        raise TypeError(
            "train_dataset: expected a map-style dataset (with __len__ and __getitem__), a source or a path, got "
            f"{type(dataset).__name__}{hint}"
        )


def _raw(dataset: Any) -> list[TrainingPicture] | None:  # noqa: ANN401
    """Pictures as their files hold them, or ``None`` where only the dataset itself can give them."""
    if isinstance(dataset, Annotations):
        return [TrainingPicture(entry.source_id, partial(_open, entry)) for entry in dataset.entries]
    if isinstance(dataset, Subset):
        whole = _raw(dataset.dataset)
        return None if whole is None else [whole[int(i)] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [_raw(part) for part in dataset.datasets]
        return None if None in parts else [picture for part in parts for picture in part or ()]
    if any(cls.__name__ == "VisionDatasetTVTensorWrapper" for cls in type(dataset).__mro__):
        return _raw(dataset._dataset)
    return _of_torchvision(dataset) or _of_table(dataset)


def _of_torchvision(dataset: Any) -> list[TrainingPicture] | None:  # noqa: ANN401
    from torchvision import datasets

    if isinstance(dataset, datasets.DatasetFolder):
        return [_loaded(dataset, Path(path)) for path, _ in dataset.samples]
    if isinstance(dataset, datasets.CocoDetection):
        names = [dataset.coco.imgs[number]["file_name"] for number in dataset.ids]
        return [_file(Path(dataset.root), Path(dataset.root) / name) for name in names]
    if isinstance(dataset, datasets.VOCDetection):
        return [_file(Path(dataset.root), Path(path)) for path in dataset.images]
    return None


def _of_table(dataset: Any) -> list[TrainingPicture] | None:  # noqa: ANN401
    """Of a Hugging Face table, by its first column of pictures."""
    if not type(dataset).__module__.startswith("datasets.") or not hasattr(dataset, "with_format"):
        return None
    column = next((name for name, kind in dataset.features.items() if type(kind).__name__ == "Image"), None)
    if column is None:
        return None
    plain = dataset.with_format(None).select_columns([column])
    return [TrainingPicture(f"row {i}", partial(_cell, plain, i, column)) for i in range(len(plain))]


def _cell(table: Any, row: int, column: str) -> Sequence[Any]:  # noqa: ANN401
    return _both_ways(table[row][column])


def _both_ways(picture: Any) -> Sequence[Any]:  # noqa: ANN401
    """As it is, and upright where a Pillow picture still has a tag that says it is not."""
    if not hasattr(picture, "getexif") or picture.getexif().get(_ORIENTATION, 1) == 1:
        return [picture]
    from PIL import ImageOps

    return [picture, ImageOps.exif_transpose(picture)]


def _loaded(dataset: Any, path: Path) -> TrainingPicture:  # noqa: ANN401
    """Through the loader of an ImageFolder, which may read what nobody else can."""
    return TrainingPicture(_relative(path, Path(dataset.root)), lambda: _both_ways(dataset.loader(str(path))))


def _file(root: Path, path: Path) -> TrainingPicture:
    return TrainingPicture(_relative(path, root), partial(_open, Entry(str(path), path, ())))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _open(entry: Entry) -> Sequence[Any]:
    """Upright; and as it lies in its file where that is another way."""
    bare = Entry(entry.source_id, entry.picture, ())
    upright = open_picture(bare, exif="apply")
    lying = isinstance(entry.picture, Path) and picture_size(entry.picture) != (upright.height, upright.width)
    return [upright, open_picture(bare, exif="ignore")] if lying else [upright]


def _of_rows(dataset: Any) -> Iterator[TrainingPicture]:  # noqa: ANN401
    for i in range(len(dataset)):
        yield TrainingPicture(f"dataset[{i}]", partial(_row, dataset, i))


def _row(dataset: Any, index: int) -> Sequence[Any]:  # noqa: ANN401
    sample = dataset[index]
    if isinstance(sample, Mapping):
        sample = next((sample[key] for key in _PICTURE_KEYS if key in sample), None)
    elif isinstance(sample, (tuple, list)) and sample:
        sample = sample[0]
    if isinstance(sample, (Tensor, np.ndarray)) or hasattr(sample, "getexif"):
        return _both_ways(sample)
    raise Unusable(f"no picture in dataset[{index}]")
