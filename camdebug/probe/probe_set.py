"""The probe set: a frozen selection of annotated pictures in the model's own input space."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from camdebug.probe import boxes as box_geometry
from camdebug.probe.checks import name_a_few, summarise
from camdebug.probe.content import Content, Offered, check, picture_numbers
from camdebug.probe.suspicion import suspicions
from camdebug.records import Exclusion, Provenance
from camdebug.sources.entry import Kind

if TYPE_CHECKING:
    from camdebug.probe.datamodule import Stage
    from camdebug.probe.drawn import Drawn

if TYPE_CHECKING:
    from PIL.Image import Image

    from camdebug.doctor.probe_summary import ProbeSummary
    from camdebug.probe.leaks import Leaks
    from camdebug.sources.pictures import Exif


class ProbeSet:
    """Pictures with labels and boxes that are looked at in every epoch. Built once; do not change it afterwards.

    Args:
        images: ``(N, C, H, W)`` floating, exactly as the model receives them (resized, normalised).
        labels: ``(N,)`` class indices of the model.
        boxes: for each picture ``(k, 4)`` xyxy in pixels of that picture (or one ``(N, 4)`` tensor); ``None`` for a
            set without annotations, which is drawn but not measured.
        masks: ``(N, H, W)`` bool, or 0 and 1: the pixels of each picture's object, in place of ``boxes``. One set has
            boxes or masks, never both; ``boxes`` are those around the masks then, and only drawn.
        class_names: one name for each class of the model; by default ``"0"``, ``"1"``, ...
        ignore: like ``boxes``: regions that count neither as object nor as background (other annotated objects).
        ignore_masks: like ``masks``: the same as pixels; with ``masks`` alone.
        mean: ``(C,)`` and
        std: ``(C,)`` of the normalisation, to show the pictures in their own colours; inferred when absent.
        source_ids: one id for each picture, used in reports and exclusions.

    Boxes that are not finite, inverted, empty or outside are dropped; pictures that are not finite, or left without
    a box while the set has boxes, are excluded. One warning counts and names them; ``exclusions`` and
    ``dropped_boxes`` keep them.

    Raises:
        TypeError, ValueError: when an argument is wrong as a whole; the message names it.

    >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1], torch.tensor([[0, 0, 4, 4], [2, 2, 8, 8]]))
    >>> probes
    ProbeSet(2 pictures of 3x8x8, 2 classes, 2 boxes)
    """

    images: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    masks: Tensor | None
    ignore: tuple[Tensor, ...]
    ignore_masks: Tensor | None
    source_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    annotated: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    exclusions: tuple[Exclusion, ...]
    dropped_boxes: tuple[Exclusion, ...]
    provenance: Provenance | None

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        labels: Tensor | Sequence[int],
        boxes: Tensor | Sequence[Tensor] | None = None,
        *,
        masks: Tensor | None = None,
        class_names: Sequence[str] | None = None,
        ignore: Sequence[Tensor] | None = None,
        ignore_masks: Tensor | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        source_ids: Sequence[str] | None = None,
    ) -> None:
        offered = Offered(
            images, labels, boxes, masks, class_names, ignore, ignore_masks, mean=mean, std=std, source_ids=source_ids
        )
        vars(self).update(vars(check(offered)))
        self._report()

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,  # noqa: ANN401 - anything with __len__ and __getitem__
        *,
        annotation: Kind | None = None,
        per_class: int = 40,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        class_to_idx: Mapping[str, int] | None = None,
        label_map: Mapping[int, int] | None = None,
        label: Callable[[Any], int | None] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ProbeSet:
        """Draw up to ``per_class`` probes a class from an annotated dataset, the same ones for the same ``seed``.

        The dataset is read with ``dataset[i]`` in a seeded order, once, until every class is full, without touching
        the global generators (a few probes are read again, to see whether the transform is random). A picture with
        objects of several classes stands for one of them, the others being ignored regions, and once more for another
        that would stay short otherwise: ``"17"`` is then also there as ``"17:dog"``.

        Args:
            dataset: gives ``(image, target)``: a tensor picture, and one of these:

                - a dict with ``labels`` and ``boxes`` (``BoundingBoxes``, or plain xyxy pixels) or ``masks``
                  ``(k, H, W)``; it may have ``iscrowd`` and ``ignore_masks``, which are neither object nor background;
                - a map of class ids ``(H, W)``; 0 is background and 255 is ignored;
                - a class index alone, for a set that is drawn but not measured. Where the dataset keeps all labels
                  (``targets``, ``samples``), no more pictures are read than are needed.

                torchvision's CocoDetection, VOCDetection, VOCSegmentation, SBDataset, Cityscapes and OxfordIIITPet
                (also in a ``Subset`` or ``ConcatDataset``) are wrapped by torchvision's own wrapper when they are not
                yet; yours stays as it is.
            annotation: ``"boxes"`` or ``"masks"`` where there are both; by default boxes. A set never has both.
            per_class: at most so many probes a class; 40 is recommended, below 20 no alarm is possible.
            seed: of the selection, and of the dataset's transforms if they are random.
            class_names: the model's classes, in the order of its outputs; by default ``dataset.classes`` when it has
                them and ``label_map`` is absent or leaves every label as it is. Where the dataset names its labels
                (torchvision's, or a ``class_to_idx``) they are matched by name.
            class_to_idx: the same as a mapping of name to index; give one of the two.
            label_map: annotation label to class index, where they differ and names do not settle it. Objects with
                other labels become ignored regions.
            label: class index of a picture from its target, where that class alone is to count; ``None`` for a picture
                that is not to be used.
            mean: as for :class:`ProbeSet`.
            std: as for :class:`ProbeSet`.

        Raises:
            TypeError, ValueError: when the dataset cannot be read as described; the message says what came instead.
        """
        from camdebug.probe.dataset import draw

        plan: dict[str, Any] = {"class_names": class_names, "class_to_idx": class_to_idx}
        plan |= {"label_map": label_map, "label": label}
        return cls._drawn(draw(dataset, annotation=annotation, per_class=per_class, seed=seed, **plan), mean, std)

    @classmethod
    def from_datamodule(
        cls,
        datamodule: Any,  # noqa: ANN401 - a LightningDataModule of either package
        *,
        stage: Stage = "validate",
        loader: int | str = 0,
        annotation: Kind | None = None,
        per_class: int = 40,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        class_to_idx: Mapping[str, int] | None = None,
        label_map: Mapping[int, int] | None = None,
        label: Callable[[Any], int | None] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ProbeSet:
        """Draw probes as :meth:`from_dataset` does, from the dataset behind a LightningDataModule's loader.

        No loader is iterated, and the global generators stay as they are. ``prepare_data()`` and ``setup(stage)`` are
        called as Lightning does, but only while there is no loader to be had: what is set up already stays as it is.
        (A split that ``setup`` draws at random is another one when the Trainer calls it again: seed it.)

        Args:
            datamodule: of ``pytorch_lightning`` or ``lightning.pytorch``.
            stage: ``"fit"`` for the pictures of ``train_dataloader()``, ``"validate"``, ``"test"`` or ``"predict"``.
            loader: which one, where there are several: a position, or a key.
            annotation: as for :meth:`from_dataset`, like all that follow.
            per_class: likewise.
            seed: likewise.
            class_names: likewise.
            class_to_idx: likewise.
            label_map: likewise.
            label: likewise.
            mean: likewise.
            std: likewise.

        Raises:
            TypeError, ValueError: when there is no such loader, or it does not say which pictures it takes.
        """
        from camdebug.probe.datamodule import dataset_of, notes_on
        from camdebug.probe.dataset import draw

        plan: dict[str, Any] = {"class_names": class_names, "class_to_idx": class_to_idx}
        plan |= {"label_map": label_map, "label": label}
        dataset = dataset_of(datamodule, stage=stage, loader=loader)
        found = draw(dataset, annotation=annotation, per_class=per_class, seed=seed, **plan)
        found.notes += notes_on(datamodule)
        return cls._drawn(found, mean, std)

    @classmethod
    def _drawn(cls, found: Drawn, mean: Sequence[float] | None, std: Sequence[float] | None) -> ProbeSet:
        probes = cls._of(check(found.offered(mean, std)))
        probes._report(*found.notes, depth=4)
        return probes

    @classmethod
    def load(cls, folder: str | Path) -> ProbeSet:
        """The set that :meth:`save` wrote: the same numbers, bit for bit, with the same fingerprint.

        Nothing that is read can run code, lead out of the folder or fill the memory. Other files in it are left aside.

        Args:
            folder: that it was saved to.

        Raises:
            TypeError: ``folder`` is no path.
            ValueError: there is no set, it is damaged, or of a newer format; the message says which, and what to do.
        """
        from camdebug.probe.loading import load

        return load(folder, cls._of)

    @classmethod
    def from_source(
        cls,
        source: Any,  # noqa: ANN401 - a source, its annotations or a path
        *,
        transform: Any = None,  # noqa: ANN401
        image_transform: Any = None,  # noqa: ANN401
        geometry: Any = None,  # noqa: ANN401
        class_names: Sequence[str] | None = None,
        class_to_idx: Mapping[str, int] | None = None,
        label_map: Mapping[str, str] | None = None,
        others: str = "error",
        per_class: int = 40,
        seed: int = 0,
        min_area: float = 0.02,
        max_area: float = 0.7,
        exif: Exif = "auto",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ProbeSet:
        """Draw up to ``per_class`` probes a class from annotated files, small and large objects alike.

        One probe stands for one class in one picture: its objects of that class are the probe's, all others are
        ignored regions. Only pictures that are tried are decoded. Those that cannot serve are left out and counted.

        Args:
            source: of :mod:`camdebug.sources`, its annotations, or a path from which the kind of annotation is found.
            transform: the model's, which carries pictures and annotations together.
            image_transform: in place of it one that takes pictures alone, with
            geometry: what it does to places.
            class_names: the model's classes in the order of its outputs; or
            class_to_idx: ``{class name: 0 to K-1}``.
            label_map: ``{annotated name: class name}`` where they differ.
            others: ``"ignore"`` makes objects of unknown classes ignored regions; by default they are an error.
            per_class: at most so many probes a class.
            seed: of the selection, and of random transforms.
            min_area: least share of the picture, after the transform, that the objects of a probe take; and
            max_area: most.
            exif: ``"apply"`` turns pictures upright, ``"ignore"`` does not; ``"auto"`` tells by the annotated size.
            mean: as for :class:`ProbeSet`, by default that of the transform;
            std: likewise.

        Raises:
            TypeError, ValueError: an argument is wrong, or the source as a whole.
        """
        from camdebug.geometry.find import carrier_of
        from camdebug.probe.drawing import Limits
        from camdebug.probe.from_source import build, duplicate_note

        built = build(
            source,
            carrier_of(transform, image_transform=image_transform, geometry=geometry),
            limits=Limits(per_class, seed, min_area, max_area),
            class_names=class_names,
            class_to_idx=class_to_idx,
            label_map=label_map,
            others=others,
            exif=exif,
            mean=mean,
            std=std,
        )
        probes = cls._of(built.content)
        probes._report(*built.notes, *duplicate_note(probes.near_duplicates(), probes.source_ids))
        return probes

    def near_duplicates(self, *, threshold: float | None = None) -> tuple[tuple[int, int, float], ...]:
        """Rows of probes that show nearly the same picture, and the correlation of small grey copies, 1 if equal.

        Pictures re-encoded, resized, mirrored, brighter or darker are found; two classes in one picture are no pair.
        Without ``threshold`` it is .95, and more where different pictures of the set come near that.
        """
        from camdebug.probe.duplicates import near_duplicates

        return near_duplicates(self, threshold=threshold)

    def leaks_into(self, train_dataset: Any, *, threshold: float | None = None) -> Leaks:  # noqa: ANN401
        """Look for the probes among the pictures that are trained on: the same to the last pixel, or nearly.

        Args:
            train_dataset: a source, its annotations, a path, or a map-style dataset: of torchvision's own and of
                Hugging Face the stored pictures are compared, of others what ``dataset[i]`` gives, once.
            threshold: as of :meth:`near_duplicates`.
        """
        from camdebug.probe.leaks import leaks_into

        return leaks_into(self, train_dataset, threshold=threshold)

    @classmethod
    def _of(cls, content: Content) -> ProbeSet:
        """What is checked already; says nothing, so that every way to a set ends in one warning."""
        probes = cls.__new__(cls)
        vars(probes).update(vars(content))
        return probes

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        boxes = f"{sum(len(b) for b in self.boxes)} boxes" if self.annotated else "no boxes"
        boxes = boxes if self.masks is None else f"{len(self)} masks"
        return (
            f"ProbeSet({len(self)} pictures of {channels}x{height}x{width}, {len(self.class_names)} classes, {boxes})"
        )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of probes of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.class_names)).tolist())

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Names of the classes without any probe: nothing can be said about them."""
        return tuple(name for name, count in zip(self.class_names, self.counts, strict=True) if count == 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over pictures, labels, annotations, ignored regions and class names: equal for equal content.

        Where the pictures came from does not count.
        """
        digest = hashlib.sha256()
        header = (tuple(self.images.shape), str(self.images.dtype), self.labels.tolist(), self.class_names)
        digest.update(repr(header).encode())
        digest.update(self.images.contiguous().view(torch.uint8).numpy().data)
        for group in (self.boxes, self.ignore):
            digest.update(repr([b.tolist() for b in group]).encode())
        for name, masks in (("masks", self.masks), ("ignore_masks", self.ignore_masks)):
            if masks is not None:
                digest.update(name.encode())
                digest.update(masks.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @cached_property
    def pictures(self) -> Tensor:
        """``(N,)`` int64: which picture each probe shows, the same number for pictures of the same pixels."""
        return picture_numbers(self.images)

    def coverage(self, grid: tuple[int, ...]) -> Tensor:
        """``(N, h, w)`` float64: share of each cell that the probe's own boxes, or mask, cover."""
        if self.masks is not None:
            return box_geometry.mask_coverage(self.masks, grid)
        return box_geometry.coverage(self.boxes, self.image_size, grid)

    def readable(self, grid: tuple[int, ...]) -> Tensor:
        """``(N, h, w)`` float64: share of each cell that is not an ignored region (the object itself always counts)."""
        if self.masks is not None:
            return 1 - box_geometry.mask_coverage(self.annotated_masks() & ~self.masks, grid)
        both = [torch.cat(pair) for pair in zip(self.boxes, self.ignore, strict=True)]
        return 1 - (box_geometry.coverage(both, self.image_size, grid) - self.coverage(grid))

    def object_masks(self) -> Tensor:
        """``(N, H, W)`` bool: pixels that the probe's own boxes touch, or its mask."""
        return box_geometry.pixel_masks(self.boxes, self.image_size) if self.masks is None else self.masks.clone()

    def annotated_masks(self) -> Tensor:
        """``(N, H, W)`` bool: pixels of any annotated object, ignored ones included."""
        found = self.object_masks() | box_geometry.pixel_masks(self.ignore, self.image_size)
        return found if self.ignore_masks is None else found | self.ignore_masks

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write all of it, for :meth:`load`: ``.npz`` files of numbers and one JSON file that people can read.

        The folder is there whole or not at all. With ``overwrite`` an older set stays whole until the new one is
        complete; other files in the folder stay as they are.

        Args:
            folder: to be made; empty, or with an older set to ``overwrite``.
            overwrite: whether an older set gives way.

        Raises:
            FileExistsError: something is there.
            OSError: it cannot be written; an older set is as it was.
            TypeError, ValueError: ``folder`` is no path, or the pictures are too large; the message says by how much.

        >>> import tempfile
        >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     probes.save(folder)
        ...     ProbeSet.load(folder).fingerprint == probes.fingerprint
        True
        """
        from camdebug.probe.saving import save

        save(self, folder, overwrite=overwrite)

    def preview(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        per_class: int | Literal["all"] | None = None,
        columns: int | None = None,
        sort: Literal["area", "index"] = "area",
    ) -> Image:
        """Draw the probes as the model receives them, with what is annotated: whether boxes are right shows at once.

        Args:
            path: where the picture is written, a name that ends in ``.png``; nothing is written without.
            per_class: at most so many of each class, evenly over their areas; ``"all"`` for all of them; by default
                all of up to 64 probes, and 64 of more.
            columns: pictures in a row; by default as many as fit on 1600 pixels.
            sort: within a class by ``"area"``, smallest first, or ``"index"``.

        Raises:
            ValueError: when an argument is not as described.
            OSError: when the file cannot be written; an earlier one is still there then.
        """
        from camdebug.render.probe_sheet import save_probe_sheet

        return save_probe_sheet(self, path, per_class=per_class, columns=columns, sort=sort)

    def summary(self, *, epochs: int | None = None) -> ProbeSummary:
        """What the probes can show, class by class, and what is missing. ``print`` it.

        Args:
            epochs: of the training to come, in each of which there is a look: what can be found depends on their
                number. Without, it counts as unknown.

        Raises:
            ValueError: when ``epochs`` is not a whole number of at least 1.
        """
        from camdebug.doctor.probe_summary import summarise_probes

        return summarise_probes(self, epochs=epochs)

    def _report(self, *notes: str, depth: int = 3) -> None:
        """Give the one warning of a construction, at the line of the user, some frames up."""
        parts = list(notes)
        if self.exclusions:
            parts.append(summarise(self.exclusions, len(self) + len(self.exclusions)))
        excluded = {e.source_id for e in self.exclusions}
        dropped = [f"{d.source_id}: {d.reason}" for d in self.dropped_boxes if d.source_id not in excluded]
        if dropped:
            parts.append(f"ProbeSet dropped {len(dropped)} unusable boxes of pictures it kept ({name_a_few(dropped)})")
        empty = self.empty_classes
        if empty:
            parts.append(f"ProbeSet has no probe of {len(empty)} classes ({name_a_few(empty)}): they stay unmeasured")
        parts += map(str, suspicions(self)[:1])
        if parts:
            warnings.warn(". ".join(parts) + ".", UserWarning, stacklevel=depth)
