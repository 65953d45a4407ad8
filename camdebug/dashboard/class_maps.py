"""Pictures of whole classes: cue maps, mean heat, and the places where heat is locked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from camdebug.numerals import percent
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import BackgroundContrast, EpochRecord
from camdebug.render.cue_map import cue_scale, draw_cue_map, draw_mean_map, mean_box, mean_density, mean_picture
from camdebug.render.picture import Colours, to_pictures
from camdebug.render.words import SCALE_NOTE, class_name, two_digits
from camdebug.sinks.base import Picture


class ClassMaps:
    """Draws classes; those on alert are always among the ones shown.

    Args:
        probes: the probe set.
        colours: how the pictures' own colours are restored.
        prefix: first part of all tags.
        slugs: a tag-safe name for each class.
        max_classes: so many classes are drawn, and as many on alert besides.

    Attributes:
        scale: absolute value of the strongest colour of cue maps so far.
    """

    def __init__(
        self, probes: ProbeSet, colours: Colours, *, prefix: str, slugs: Sequence[str], max_classes: int
    ) -> None:
        self._probes, self._colours, self._prefix, self._slugs = probes, colours, prefix, slugs
        self._max_classes = max_classes
        self._means: dict[tuple[int, ...], tuple[NDArray[np.uint8], torch.Tensor]] = {}
        self.scale = 0.0

    def see(self, record: EpochRecord) -> None:
        """Let the scale of cue maps grow with a look, whether or not it is drawn."""
        self.scale = cue_scale([c.cue_map for c in record.contrasts], self.scale)

    def cue_maps(self, record: EpochRecord) -> list[Picture]:
        """Where the evidence sits that classes owe to backgrounds of their own."""
        shown = set(self._shown_classes(record))
        return [self._cue_map(c, record.epoch) for c in record.contrasts if shown & set(c.classes)]

    def _cue_map(self, contrast: BackgroundContrast, epoch: int) -> Picture:
        name = " / ".join(class_name(self._probes.class_names, k) for k in contrast.classes)
        picture, box = self._mean(contrast.classes)
        p_value = "p < .001" if contrast.p_value < 1e-3 else f"p {two_digits(contrast.p_value)}"
        owed = f"{two_digits(contrast.value, sign=True)} logits (chance 0), {p_value}"
        note = f"owed to its backgrounds at epoch {epoch}: {owed}"
        title = f"cue map: {name}"
        image = draw_cue_map(contrast.cue_map, picture, title=title, scale=self.scale, boxes=box, note=note)
        return Picture(cue_map_tag(contrast, self._prefix, self._slugs), image, f"{title}; {note}")

    def mean_maps(self, record: EpochRecord) -> list[Picture]:
        """Mean heat over mean picture."""
        pictures = []
        for class_idx in self._shown_classes(record):
            name, tag = class_name(self._probes.class_names, class_idx), self._slugs[class_idx]
            picture, box = self._mean((class_idx,))
            members = self._probes.labels == class_idx
            note = f"epoch {record.epoch}, mean of {int(members.sum())} probes"
            heat = mean_density(record.label_maps.maps[members])
            image = draw_mean_map(heat, picture, title=f"mean heat: {name}", boxes=box, note=note)
            pictures.append(
                Picture(f"{self._prefix}/mean_map/{tag}", image, f"mean heat: {name}; {note}; {SCALE_NOTE}")
            )
        return pictures

    def places(self, record: EpochRecord) -> list[Picture]:
        """Mean heat of the classes whose heat is locked at a place, the place outlined."""
        locked = [v.class_idx for v in record.verdicts if v.locked_place][: self._max_classes]
        tested = [(k, place) for k in locked if (place := record.place_of(k)) is not None]
        pictures = []
        for class_idx, place in tested:
            picture, _ = self._mean((class_idx,))
            height, width = picture.shape[:2]
            box = torch.tensor([place.box]) * torch.tensor([width, height, width, height])
            title = f"heat at a fixed place: {class_name(self._probes.class_names, class_idx)}"
            note = f"epoch {record.epoch}, {place.place}: {percent(place.share)} of the heat, rolled round "
            note += f"{percent(place.chance_share)}"
            heat = mean_density(record.label_maps.maps[self._probes.labels == class_idx])
            image = draw_mean_map(heat, picture, title=title, boxes=box, note=note)
            tag = place_tag(class_idx, self._prefix, self._slugs)
            pictures.append(Picture(tag, image, f"{title}; {note}; {SCALE_NOTE}"))
        return pictures

    def _shown_classes(self, record: EpochRecord) -> list[int]:
        present = [k for k, count in enumerate(self._probes.counts) if count]
        alerted = [v.class_idx for v in record.verdicts if v.level.is_alert and v.class_idx in present]
        return sorted({*present[: self._max_classes], *alerted[: self._max_classes]})

    def _mean(self, classes: tuple[int, ...]) -> tuple[NDArray[np.uint8], torch.Tensor]:
        """Mean picture and mean box of the probes of these classes."""
        if classes not in self._means:
            members = [i for i, k in enumerate(self._probes.labels.tolist()) if k in classes]
            picture = mean_picture(to_pictures(self._probes.images[members], self._colours))
            self._means[classes] = picture, mean_box([self._probes.boxes[i] for i in members])
        return self._means[classes]


def cue_map_tag(contrast: BackgroundContrast, prefix: str, slugs: Sequence[str]) -> str:
    """Tag of the cue map of a class, or of a pair."""
    return f"{prefix}/cue_map/{'pair' if contrast.is_pair else slugs[contrast.classes[0]]}"


def place_tag(class_idx: int, prefix: str, slugs: Sequence[str]) -> str:
    """Tag of the map of the place where the heat of a class is locked."""
    return f"{prefix}/place/{slugs[class_idx]}"
