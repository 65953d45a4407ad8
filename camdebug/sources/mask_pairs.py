"""Which mask is which picture's: that of the same relative path, but for the ending and a suffix of the name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from camdebug.records import Exclusion
from camdebug.sources.folders import PICTURE_SUFFIXES, pictures_below, readable

Pair = tuple[Path, Path]
"""A picture and its mask, each relative to its folder."""


def pair(images: Path, masks: Path, suffix: str = "") -> tuple[list[Pair], list[Exclusion]]:
    """Pictures with their masks, and what has no partner, or several.

    Args:
        images: folder of the pictures.
        masks: folder of the masks; it may be the same one where ``suffix`` tells them apart.
        suffix: that names of masks have and those of pictures have not.

    Raises:
        ValueError: no mask has the name of a picture.
    """
    files, named, faults = _files(images, masks, suffix)
    pictures = _by_stem(files, lambda file: readable(file.with_suffix("")), faults)
    by_name = _by_stem(named, lambda file: readable(file.with_suffix("")).removesuffix(suffix), faults)
    pairs = [(picture, by_name[stem]) for stem, picture in pictures.items() if stem in by_name]
    if not pairs:
        raise ValueError(
            f"masks: no mask has the name of a picture; in {images} there is {_first(files)}, in {masks} "
            f"{_first(named)}; pass suffix= where names of masks have something more"
        )
    faults += _alone(pictures, by_name, "picture without a mask")
    faults += _alone(by_name, pictures, "mask without a picture")
    return pairs, faults


def _files(images: Path, masks: Path, suffix: str) -> tuple[list[Path], list[Path], list[Exclusion]]:
    """Pictures, masks, and what was passed over."""
    both = os.path.samefile(images, masks)
    if both and not suffix:
        raise ValueError("masks: expected another folder than images=, or suffix= to tell masks from pictures")
    found, others = pictures_below(images), pictures_below(masks, suffixes=(*PICTURE_SUFFIXES, ".gif"))
    named = [file for file in others.files if file.stem.endswith(suffix)]
    if both:
        return [file for file in found.files if not file.stem.endswith(suffix)], named, list(found.faults)
    nameless = [Exclusion(readable(file), "mask without suffix= in its name") for file in others.files]
    kept = [fault for file, fault in zip(others.files, nameless, strict=True) if not file.stem.endswith(suffix)]
    return list(found.files), named, [*found.faults, *others.faults, *kept]


def _by_stem(files: Iterable[Path], stem: Callable[[Path], str], faults: list[Exclusion]) -> dict[str, Path]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(stem(file), []).append(file)
    shared = [file for group in groups.values() if len(group) > 1 for file in group]
    faults += [Exclusion(readable(file), "several files of one name") for file in shared]
    return {key: group[0] for key, group in groups.items() if len(group) == 1}


def _alone(some: Mapping[str, Path], others: Mapping[str, Path], reason: str) -> list[Exclusion]:
    return [Exclusion(readable(file), reason) for stem, file in some.items() if stem not in others]


def _first(files: Sequence[Path]) -> str:
    return repr(readable(files[0])) if files else "nothing"
