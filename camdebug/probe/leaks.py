"""Whether probes are pictures that are trained on: the same to the last pixel, or nearly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from camdebug.numerals import count_of
from camdebug.probe.checks import name_a_few, plain
from camdebug.probe.duplicates import Similarities, check_threshold, side_of
from camdebug.probe.thumbnails import digest_of, pixel_digest, thumbnail_of, thumbnails_of
from camdebug.probe.training_pictures import TrainingPicture, TrainingPictures, training_pictures
from camdebug.rng import seeded_rng
from camdebug.wording import told

if TYPE_CHECKING:
    from camdebug.probe.probe_set import ProbeSet

_CHUNK = 512
_CHANNELS = (1, 3, 4)
_ALIKE = "the same as a picture that is trained on"
_MANY = "many look alike there"

Found = tuple[str, str]


@dataclass(frozen=True)
class Leaks:
    """Probes found among the training pictures. None found is no proof that there is none.

    Attributes:
        exact: id of the probe and where it is in the training data, the same to the last pixel.
        near: likewise, nearly the same: re-encoded, resized, mirrored, brighter or darker.
        possible: likewise, as ``near``, where that says little: many more pairs are almost as near, so different
            pictures come near each other in this kind of data.
        probes: that were looked for.
        compared: training pictures that were read.
        unread: training pictures that could not be read.
        how: they were compared, and what that cannot find.
    """

    exact: tuple[Found, ...]
    near: tuple[Found, ...]
    probes: int
    compared: int
    unread: int
    how: str
    possible: tuple[Found, ...] = ()

    def __bool__(self) -> bool:
        """Whether any was found that is more than possible."""
        return bool(self.exact or self.near)

    @property
    def found(self) -> tuple[str, ...]:
        """Ids of all probes that were found, for :meth:`ProbeSet.without`."""
        return tuple(dict.fromkeys(probe for probe, _ in (*self.exact, *self.near)))

    def __str__(self) -> str:
        parts = [
            self._told(found, one, several)
            for found, one, several in (
                (self.exact, "is trained on", "are trained on"),
                (self.near, f"looks nearly {_ALIKE}", f"look nearly {_ALIKE}"),
                (self.possible, f"possibly looks {_ALIKE}; {_MANY}", f"possibly look {_ALIKE}; {_MANY}"),
            )
            if found
        ]
        none = f"none of {count_of(self.probes, 'probe')} was found among {count_of(self.compared, 'training picture')}"
        unread = f", {self.unread} more could not be read" if self.unread else ""
        compared = "" if not parts else f"; {count_of(self.compared, 'training picture')} compared"
        text = ("; ".join(parts) or none) + compared + unread
        mend = " Take them out with probes.without(leaks.found), or out of the training." if self else ""
        return f"{text[:1].upper()}{text[1:]}, {self.how}.{mend}"

    def _told(self, found: Sequence[Found], one: str, several: str) -> str:
        count = len({probe for probe, _ in found})
        named = name_a_few([f"{probe}: {where}" for probe, where in found])
        return f"{count} of {count_of(self.probes, 'probe')} {one if count == 1 else several} ({named})"


@dataclass(frozen=True, eq=False)
class _Looks:
    """Of training pictures: hashes and thumbnails, each with the number of its picture."""

    digests: tuple[tuple[int, str], ...]
    rows: tuple[int, ...]
    thumbnails: Tensor


def leaks_into(probes: ProbeSet, train_dataset: Any, *, threshold: float | None = None) -> Leaks:  # noqa: ANN401
    """See ``ProbeSet.leaks_into``."""
    threshold = check_threshold(threshold)
    ways = training_pictures(train_dataset, transformed=probes.provenance is None)
    exact: set[tuple[int, int]] = set()
    near: set[tuple[int, int]] = set()
    possible: set[tuple[int, int]] = set()
    failures: list[dict[int, Exception]] = []
    with seeded_rng(0):
        for way in ways:
            failures.append(_compare(probes, way, threshold, exact, near, possible))
    pictures = ways[0].pictures
    unread = set.intersection(*map(set, failures))
    if len(unread) == len(pictures):
        raise ValueError(
            f"train_dataset: none of its {len(pictures)} pictures could be read; the first raised "
            f"{told(failures[-1][0])}"
        ) from failures[-1][0]
    return Leaks(
        exact=_named(exact, probes, pictures),
        near=_named(near - exact, probes, pictures),
        possible=_named(possible - near - exact, probes, pictures),
        probes=len(probes),
        compared=len(pictures) - len(unread),
        unread=len(unread),
        how=_how(raw=all(way.raw for way in ways), known=probes.provenance is not None),
    )


def _compare(
    probes: ProbeSet,
    way: TrainingPictures,
    threshold: float | None,
    exact: set[tuple[int, int]],
    near: set[tuple[int, int]],
    possible: set[tuple[int, int]],
) -> dict[int, Exception]:
    """Add what is found, pairs of a probe and a training picture, and return what could not be read."""
    known = _digests(probes)
    compared_with = [Similarities(t, threshold=threshold, side=side) for t, side in _thumbnails(probes, raw=way.raw)]
    failures: dict[int, Exception] = {}
    for looks in _looks(way.pictures, failures):
        exact.update((probe, i) for i, digest in looks.digests for probe in known.get(digest, ()))
        for similarities in compared_with:
            similarities.compare(looks.thumbnails, looks.rows)
    near.update((probe, i) for similarities in compared_with for probe, i, _ in similarities.sure_pairs())
    possible.update((probe, i) for similarities in compared_with for probe, i, _ in similarities.pairs())
    return failures


def _named(
    pairs: Iterable[tuple[int, int]], probes: ProbeSet, pictures: Sequence[TrainingPicture]
) -> tuple[Found, ...]:
    return tuple((probes.source_ids[probe], pictures[i].where) for probe, i in sorted(pairs))


def _how(*, raw: bool, known: bool) -> str:
    if raw and known:
        return "by a hash of their pixels and by small grey copies; a crop of a picture is not recognised"
    if raw:
        return (
            "by small grey copies of the files against the probes as the model receives them; what a crop has left out "
            "is not recognised"
        )
    return "as dataset[i] gave them this once; crops and augmentation may hide a picture"


def _digests(probes: ProbeSet) -> dict[str, list[int]]:
    """Probes by the hashes of their pictures: as the model receives them, and as they were read."""
    found: dict[str, list[int]] = {}
    origins = probes.provenance.origins if probes.provenance is not None else ()
    for digests in ([origin.digest for origin in origins], [pixel_digest(image) for image in probes.images]):
        for probe, digest in enumerate(digests):
            found.setdefault(digest, []).append(probe)
    return found


def _thumbnails(probes: ProbeSet, *, raw: bool) -> list[tuple[Tensor, int]]:
    """Of the probes as read, where that is known; and as the model receives them, unless files are compared.

    With the side of what they were made from.
    """
    own = probes.provenance is None or not raw
    found = [(thumbnails_of(probes.images), min(probes.image_size))] if own else []
    return found if probes.provenance is None else [(probes.provenance.thumbnails, side_of(probes)), *found]


def _looks(pictures: Sequence[TrainingPicture], failures: dict[int, Exception]) -> Iterator[_Looks]:
    """In chunks, so that memory does not grow with the dataset; what cannot be read becomes a failure."""
    numbered = iter(enumerate(pictures))
    while chunk := list(islice(numbered, _CHUNK)):
        digests: list[tuple[int, str]] = []
        thumbnails: list[tuple[int, Tensor]] = []
        for i, picture in chunk:
            try:
                looks = [_look(value) for value in picture.read()]
            except Exception as error:  # a single damaged picture is counted, like those that a set leaves out
                failures[i] = error
                continue
            digests += [(i, digest) for found, _ in looks for digest in found]
            thumbnails += [(i, thumbnail) for _, thumbnail in looks]
        if thumbnails:
            rows = tuple(i for i, _ in thumbnails)
            yield _Looks(tuple(digests), rows, torch.stack([thumbnail for _, thumbnail in thumbnails]))


def _look(picture: Any) -> tuple[list[str], Tensor]:  # noqa: ANN401
    """Hashes of a Pillow picture, a tensor or an array, and its thumbnail."""
    if not isinstance(picture, (Tensor, np.ndarray)):
        return [digest_of(picture)], thumbnail_of(picture)
    values = _channels_first(plain(picture) if isinstance(picture, Tensor) else torch.from_numpy(np.array(picture)))
    if values.dtype is torch.uint8 and values.shape[0] in (1, 3):
        return _look(_pillow(values))
    return [pixel_digest(values)], thumbnails_of(values[None])[0]


def _channels_first(values: Tensor) -> Tensor:
    """``(C, H, W)`` from that, from ``(H, W)``, or from ``(H, W, C)`` as albumentations has it; transparency goes."""
    if values.ndim == 2:
        return values[None]
    if values.ndim != 3:
        raise ValueError(f"expected a picture (C, H, W), (H, W, C) or (H, W), got {tuple(values.shape)}")
    if values.shape[2] in _CHANNELS and values.shape[0] not in _CHANNELS:
        return values.permute(2, 0, 1)[: 3 if values.shape[2] == 4 else None]
    return values


def _pillow(values: Tensor) -> Any:  # noqa: ANN401
    """From 8-bit ``(C, H, W)``."""
    from PIL import Image

    array = values.cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
