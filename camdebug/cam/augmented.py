"""Copies of pictures under which a map should stay the same, to take the mean over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from camdebug.cam.passes import Pictures


@dataclass(frozen=True)
class Augmentation:
    """Mirrored along the last axis or not, and all values times a factor. What grad-cam's ``aug_smooth`` does."""

    mirrored: bool
    factor: float

    def of(self, images: Tensor) -> Tensor:
        """The changed copy of pictures ``(N, C, *size)``."""
        return (images.flip(-1) if self.mirrored else images) * self.factor

    def undone(self, maps: Tensor) -> Tensor:
        """Maps ``(N, *grid)`` of changed pictures, as they lie on the pictures themselves."""
        return maps.flip(-1) if self.mirrored else maps


PLAIN_COPY = Augmentation(False, 1.0)
OTHER_COPIES = tuple(
    Augmentation(mirrored, factor)
    for mirrored in (False, True)
    for factor in (0.9, 1.0, 1.1)
    if (mirrored, factor) != (False, 1.0)
)


@dataclass(frozen=True, eq=False)
class Augmented:
    """Pictures whose changed copies are made a slice at a time."""

    images: Pictures
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice, /) -> Tensor:
        return self.augmentation.of(self.images[rows])
