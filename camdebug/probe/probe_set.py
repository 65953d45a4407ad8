"""The probe set: a frozen selection of annotated pictures in the model's own input space."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from camdebug.probe.content import Content, Offered, check
from camdebug.probe.doors import check_way
from camdebug.probe.sentences import counted_as, dropped_boxes, no_probes, summarise
from camdebug.probe.suspicion import suspicions
from camdebug.probe.uses import Uses
from camdebug.sources.entry import Kind

if TYPE_CHECKING:
    from camdebug.probe.datamodule import Stage
    from camdebug.probe.drawn import Drawn
    from camdebug.sources.pictures import Exif


class ProbeSet(Uses):
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

    >>> import torch
    >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1], torch.tensor([[0, 0, 4, 4], [2, 2, 8, 8]]))
    >>> probes
    ProbeSet(2 pictures of 3x8x8, 2 classes, 2 boxes)
    """

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
                - a class index alone, for a set that is drawn but not measured.

                torchvision's CocoDetection, VOCDetection, VOCSegmentation, SBDataset, Cityscapes and OxfordIIITPet
                (also in a ``Subset`` or ``ConcatDataset``) are wrapped by torchvision's own wrapper when they are not
                yet, with boxes in float64; yours stays as it is. VOC's "difficult" objects are objects as any other
                here, while :class:`~camdebug.sources.VocFolder` makes ignored regions of them. No more pictures are
                read than are needed where labels are known beforehand (COCO, VOC, pets, ``targets``, ``samples``); of
                any other dataset all are, if a class stays short.
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
                that is not to be used. ``class_names`` are then the only names.
            mean: as for :class:`ProbeSet`.
            std: as for :class:`ProbeSet`.

        Raises:
            TypeError, ValueError: when the dataset cannot be read as described; the message says what came instead.
        """
        from camdebug.probe.dataset import draw

        check_way("dataset", dataset, "from_dataset")
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

        check_way("source", source, "from_source")
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

    @classmethod
    def _of(cls, content: Content) -> ProbeSet:
        """What is checked already; says nothing, so that every way to a set ends in one warning."""
        probes = cls.__new__(cls)
        vars(probes).update(vars(content))
        return probes

    def _report(self, *notes: str, depth: int = 3) -> None:
        """Give the one warning of a construction, at the line of the user, some frames up."""
        parts = [*map(str, suspicions(self)[:1]), *notes]
        if self.exclusions:
            ids = () if self.provenance is None else (*self.source_ids, *(e.source_id for e in self.exclusions))
            what = counted_as(ids, self.class_names)
            parts.append(summarise(self.exclusions, len(self) + len(self.exclusions), what))
        excluded = {e.source_id for e in self.exclusions}
        dropped = [f"{d.source_id}: {d.reason}" for d in self.dropped_boxes if d.source_id not in excluded]
        if dropped:
            parts.append(dropped_boxes(dropped))
        if self.empty_classes:
            parts.append(no_probes(self.empty_classes))
        if parts:
            warnings.warn(". ".join(part[:1].upper() + part[1:] for part in parts) + ".", UserWarning, stacklevel=depth)
