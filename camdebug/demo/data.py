"""Handwritten digits on crops of photographs, with a coloured tag in the corner that may give the class away.

Everything is real input that ships with scikit-learn: its digits (Alpaydin & Kaynak 1998) and its two sample
photographs. The background crop never depends on the class. The tag's colour does, in the planted twin; in the clean
twin it is drawn at random, so its backgrounds are independent of the class by construction. One picture can be made
again with another tag and nothing else changed: that counterfactual copy shows what the tag is worth to a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

CLASSES = 5
CLASS_NAMES = tuple(f"digit {k}" for k in range(CLASSES))
SIZE = 48
TAG = 7
TAG_COLOURS = np.array(
    [[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.3, 0.4, 0.95], [0.95, 0.85, 0.2], [0.85, 0.3, 0.85]], dtype=np.float32
)
_DIGIT_SIZES = (18, 26)

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scenes:
    """Recipes of pictures: whatever is random in them but the tag.

    All ``(n,)`` int64: ``digit`` row of the digits data, ``label`` its class, ``size`` of the digit in pixels, ``x``
    and ``y`` of its corner, ``photo``, ``photo_x`` and ``photo_y`` of the background crop, ``noise`` seed.
    """

    digit: NDArray[np.int64]
    label: NDArray[np.int64]
    size: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    photo: NDArray[np.int64]
    photo_x: NDArray[np.int64]
    photo_y: NDArray[np.int64]
    noise: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


@lru_cache(maxsize=1)
def _digits() -> tuple[Array, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    wanted = data.target < CLASSES
    return (data.images[wanted] / 16).astype(np.float32), data.target[wanted].astype(np.int64)


@lru_cache(maxsize=1)
def _photographs() -> tuple[Array, ...]:
    """Both sample photographs at half size, in [0, 1]."""
    from sklearn.datasets import load_sample_images

    return tuple(picture[::2, ::2].astype(np.float32) / 255 for picture in load_sample_images().images)


def draw_scenes(count: int, *, seed: int, held_out: bool, again: int = 0) -> Scenes:
    """Draw recipes. For one ``seed``, digits of held-out scenes never stand in the others.

    Args:
        count: how many.
        seed: of the split of the digits, and of the draw.
        held_out: from the digits that are kept from training.
        again: another draw from the same split.
    """
    rng = np.random.default_rng([seed, int(held_out), again])
    _, labels = _digits()
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    pool = shuffled[600:] if held_out else shuffled[:600]
    digit = rng.choice(pool, count)
    size = rng.integers(*_DIGIT_SIZES, size=count, endpoint=True)
    room = SIZE - TAG - 2 - size
    photo = rng.integers(len(_photographs()), size=count)
    height, width = _photographs()[0].shape[:2]
    return Scenes(
        digit=digit,
        label=labels[digit],
        size=size,
        x=rng.integers(0, room, endpoint=True),
        y=rng.integers(0, room, endpoint=True),
        photo=photo,
        photo_x=rng.integers(0, width - SIZE, size=count),
        photo_y=rng.integers(0, height - SIZE, size=count),
        noise=rng.integers(0, 2**31, size=count),
    )


def draw_tags(labels: NDArray[np.int64], *, strength: float, seed: int) -> NDArray[np.int64]:
    """Class that each tag's colour stands for: the picture's own with probability ``strength``, else any at random."""
    rng = np.random.default_rng([seed, 7])
    at_random = rng.integers(CLASSES, size=len(labels))
    return np.where(rng.random(len(labels)) < strength, labels, at_random).astype(np.int64)


def other_tags(labels: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """A tag of another class for every picture."""
    rng = np.random.default_rng([seed, 8])
    return ((labels + rng.integers(1, CLASSES, size=len(labels))) % CLASSES).astype(np.int64)


def paint(scenes: Scenes, tags: NDArray[np.int64]) -> Tensor:
    """Make the pictures.

    Returns:
        ``(n, 3, 48, 48)`` float32 in [0, 1].
    """
    return torch.from_numpy(np.stack([_paint_one(scenes, i, int(tags[i])) for i in range(len(scenes))]))


def _paint_one(scenes: Scenes, i: int, tag: int) -> Array:
    photo, x, y = _photographs()[scenes.photo[i]], scenes.photo_x[i], scenes.photo_y[i]
    picture: Array = 0.75 * photo[y : y + SIZE, x : x + SIZE]
    size, left, top = scenes.size[i], scenes.x[i], scenes.y[i]
    ink = np.clip(1.3 * _enlarged(int(scenes.digit[i]), int(size)), 0, 1)[..., None]
    spot = picture[top : top + size, left : left + size]
    picture[top : top + size, left : left + size] = spot * (1 - ink) + ink
    picture[SIZE - TAG - 1 : SIZE - 1, SIZE - TAG - 1 : SIZE - 1] = TAG_COLOURS[tag]
    picture += np.random.default_rng(scenes.noise[i]).normal(0, 0.04, picture.shape)
    channels_first: Array = np.clip(picture, 0, 1).transpose(2, 0, 1).astype(np.float32)
    return channels_first


@lru_cache(maxsize=20_000)
def _enlarged(digit: int, size: int) -> Array:
    grey = torch.from_numpy(_digits()[0][digit])[None, None]
    large = torch.nn.functional.interpolate(grey, (size, size), mode="bilinear", align_corners=False)
    return np.asarray(large[0, 0].numpy(), dtype=np.float32)


def boxes_of(scenes: Scenes) -> Tensor:
    """``(n, 4)`` float32 xyxy in pixels: the digit's square."""
    corners = np.stack([scenes.x, scenes.y, scenes.x + scenes.size, scenes.y + scenes.size], 1)
    return torch.from_numpy(corners.astype(np.float32))


class AnnotatedDigits(Dataset[Any]):
    """A detection dataset as torchvision has them: ``(image, {"boxes": BoundingBoxes, "labels": ...})``."""

    classes = CLASS_NAMES

    def __init__(self, scenes: Scenes, tags: NDArray[np.int64]) -> None:
        self.images = paint(scenes, tags)
        self.labels = torch.from_numpy(scenes.label)
        self.boxes = boxes_of(scenes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        from torchvision import tv_tensors

        boxes = tv_tensors.BoundingBoxes(self.boxes[index][None], format="XYXY", canvas_size=(SIZE, SIZE))
        return self.images[index], {"boxes": boxes, "labels": self.labels[index][None]}
