"""Where the pictures of a probe set come from. It describes; a set's fingerprint is over its content alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Origin:
    """Of one probe, before the transform.

    Attributes:
        file: of the picture, relative to the folder of its source, with ``/``; empty when it came from no file.
        image_size: height and width of the picture as it was read, in pixels.
        area: share of that picture that the object covered, in [0, 1]; ``None`` without boxes and masks.
        digest: SHA-256 (hex) of the picture's pixels as they were read, upright and in RGB.
    """

    file: str
    image_size: tuple[int, int]
    area: float | None
    digest: str

    @property
    def folder(self) -> str:
        """That the picture lies in, relative to the source's; empty when it lies directly in that."""
        return self.file.rpartition("/")[0]


@dataclass(frozen=True)
class ClassDraw:
    """How the probes of a class were found.

    Attributes:
        name: of the class.
        offered: pictures of the source with an object of the class.
        tried: of those that were read, in drawing order, until the class was full.
        too_large_before: of those tried, objects of more than 70 % of the picture as it was read.
        too_large_after: the same after the transform.
        too_small_before: of those tried, objects of less than 2 % of the picture as it was read.
        too_small_after: the same after the transform.
        gone: of those tried, objects of which the transform left nothing.
    """

    name: str
    offered: int
    tried: int
    too_large_before: int
    too_large_after: int
    too_small_before: int
    too_small_after: int
    gone: int


@dataclass(frozen=True, eq=False)
class Provenance:
    """Of a probe set that was drawn from annotated files.

    Attributes:
        source: what they are, in words, such as ``"Pascal VOC, 364 pictures"``.
        transform: text of the transform that carried pictures and annotations.
        seed: of the drawing, and of the transform where it is random.
        random: whether the transform is random, and was fixed by the seed.
        versions: of the packages that took part, by name.
        origins: for each probe.
        thumbnails: ``(N, 32, 32)`` uint8 grey, the pictures before the transform, squeezed into a square: near
            duplicates are found by them.
        classes: how each class was filled.
        doubts: what seems to be wrong with the boxes as they were annotated, each a sentence without its full stop.
    """

    source: str
    transform: str
    seed: int
    random: bool
    versions: dict[str, str]
    origins: tuple[Origin, ...]
    thumbnails: Tensor
    classes: tuple[ClassDraw, ...]
    doubts: tuple[str, ...] = ()

    def of(self, rows: Sequence[int]) -> Provenance:
        """The same of some of the probes."""
        kept = torch.tensor(list(rows), dtype=torch.int64)
        return replace(self, origins=tuple(self.origins[i] for i in rows), thumbnails=self.thumbnails[kept])
