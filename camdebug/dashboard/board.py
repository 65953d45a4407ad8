"""One look becomes pictures and texts in every dashboard: what is drawn, how often, and what is kept for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from camdebug.dashboard.class_maps import ClassMaps
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord
from camdebug.records.state import as_count, as_number
from camdebug.render.colour import density
from camdebug.render.film import Film, Shot
from camdebug.render.filmstrip import draw_filmstrip
from camdebug.render.overlay import draw_overlays
from camdebug.render.picture import find_colours, to_pictures
from camdebug.render.words import SCALE_NOTE, class_name, of_prediction, read
from camdebug.sinks.base import Picture, PictureBox, Sink, unique_slugs
from camdebug.sinks.broadcast import Broadcast
from camdebug.wording import Failure, told

_STATE_VERSION = 1


class Dashboard:
    """Draws each look and logs it everywhere. Lives on rank zero and never raises because of a picture or a backend.

    Overlays and the verdict are logged at every look; wrong predictions also with the heat for what was predicted.
    Film strips and maps of classes are logged at looks 1 to 10, then at every doubling (20, 40, ...), at the final
    look, when a class enters or leaves an alert level and when heat is found to stay at a place.

    Args:
        probes: the fixed probe set.
        logged: indices of the probes that are shown, see :func:`camdebug.render.choice.choose_logged`.
        sinks: backends, see :func:`camdebug.sinks.sinks_for`.
        prefix: first part of all tags; two dashboards on one logger need different ones.
        slugs: a tag-safe name for each class; by default :func:`camdebug.sinks.unique_slugs` of the names.
        max_classes: so many classes get maps at each look; those on alert get them besides.

    Attributes:
        problems: every failure of a sink or a drawing; the caller reports and clears them.
        colours: the sentence that says how the pictures' own colours were restored.
    """

    def __init__(
        self,
        probes: ProbeSet,
        logged: Sequence[int],
        sinks: Sequence[Sink],
        *,
        prefix: str = "camdebug",
        slugs: Sequence[str] | None = None,
        max_classes: int = 24,
    ) -> None:
        wrong = [i for i in logged if not 0 <= i < len(probes)]
        if wrong:
            raise ValueError(f"logged: expected indices of the {len(probes)} probes, got {wrong[:5]}")
        self._probes, self._prefix = probes, prefix
        self._logged = [int(i) for i in logged]
        self._slugs = tuple(slugs) if slugs is not None else unique_slugs(probes.class_names)
        self._max_classes = max_classes
        self._sinks = Broadcast(sinks)
        self.problems = self._sinks.problems
        self._colours = find_colours(probes.images, probes.mean, probes.std)
        self.colours = self._colours.sentence
        self._pictures = to_pictures(probes.images[self._logged], self._colours)
        self._class_maps = ClassMaps(probes, self._colours, prefix=prefix, slugs=self._slugs, max_classes=max_classes)
        self._film = Film(len(self._logged))
        self._looks = 0
        self._locked: set[int] = set()
        self._undrawn: EpochRecord | None = None

    def publish(self, record: EpochRecord, *, step: int, verdict_text: str, final: bool = False) -> None:
        """Log one look.

        Args:
            record: what the look found, about the whole probe set in its order.
            step: of the logger, the same as that of the scalars of this look.
            verdict_text: markdown, logged under ``<prefix>/verdict``.
            final: no look follows.
        """
        self._looks += 1
        self._film.append(self._shot(record))
        self._class_maps.see(record)
        self._sinks.text(f"{self._prefix}/verdict", verdict_text, step=step)
        self._log("overlays", lambda: self._overlays(record), step)
        locked, before = {v.class_idx for v in record.verdicts if v.locked_place}, self._locked
        self._locked = locked
        if final or strips_due(self._looks) or _alert_changed(record) or locked - before:
            self._log_summaries(record, step)
        else:
            self._undrawn = record

    def finish(self, *, step: int) -> None:
        """Log strips and maps of classes once more when they do not show the last look yet."""
        if self._undrawn is not None:
            self._log_summaries(self._undrawn, step)

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Alert in every dashboard."""
        self._sinks.alert(title, text, step=step)

    def facts(self, facts: Mapping[str, str | int | float]) -> None:
        """Record facts of the whole run in every dashboard."""
        self._sinks.facts(facts)

    def state_dict(self) -> dict[str, Any]:
        """What film strips need after a resume: only primitives, lists, dicts and tensors."""
        return {
            "version": _STATE_VERSION,
            "fingerprint": self._probes.fingerprint,
            "logged": list(self._logged),
            "looks": self._looks,
            "cue_scale": self._class_maps.scale,
            "film": self._film.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: when the state is damaged or of other probes; nothing has changed then.
        """
        expected = {"version": _STATE_VERSION, "fingerprint": self._probes.fingerprint, "logged": self._logged}
        for name, value in expected.items():
            found = state.get(name) if isinstance(state, Mapping) else None
            if type(found) is not type(value) or found != value:
                raise ValueError(f"dashboard state: expected the {name} of this run, found another")
        looks, scale = as_count(state.get("looks")), as_number(state.get("cue_scale"))
        if scale < 0:
            raise ValueError(f"dashboard state: expected a cue_scale of 0 or more, got {scale!r}")
        self._film.load_state_dict(state.get("film"))
        self._looks, self._class_maps.scale = looks, scale

    def _log(self, what: str, draw: Callable[[], list[Picture]], step: int) -> None:
        if not len(self._sinks):
            return
        try:
            pictures = draw()
        except Exception as error:
            self.problems.append(Failure(f"drawing {what}", f"drawing {what} failed", told(error)))
            return
        if pictures:
            self._sinks.pictures(pictures, step=step)

    def _log_summaries(self, record: EpochRecord, step: int) -> None:
        self._undrawn = None
        self._log("film strips", self._strips, step)
        self._log("worst probes", lambda: self._worst(record), step)
        self._log("cue maps", lambda: self._class_maps.cue_maps(record), step)
        self._log("mean maps", lambda: self._class_maps.mean_maps(record), step)
        self._log("places", lambda: self._class_maps.places(record), step)

    def _shot(self, record: EpochRecord) -> Shot:
        maps, scores, chosen = record.label_maps, record.scores, self._logged
        return Shot(
            epoch=record.epoch,
            density=density(maps.maps[chosen]),
            outside=scores.outside_mass[chosen],
            chance=1 - scores.area_fraction[chosen],
            correct=maps.correct[chosen],
        )

    def _overlays(self, record: EpochRecord) -> list[Picture]:
        """The drawn probes with the heat for their label; the wrong ones also with the heat for the prediction."""
        shown = dict(zip(self._logged, self._pictures, strict=True))
        wrong = {i: p for i, p in shown.items() if not bool(record.label_maps.correct[i])}
        return [
            *self._draw("probe", shown, record, record.label_maps.maps),
            *self._draw("predicted", wrong, record, record.predicted_maps.maps),
        ]

    def _worst(self, record: EpochRecord) -> list[Picture]:
        """The probes that an alert names, whether or not they are among the drawn ones."""
        alerted = [v for v in record.verdicts if v.level.is_alert][: self._max_classes]
        worst = list(dict.fromkeys(i for v in alerted for i in v.worst_probes))
        pictures = to_pictures(self._probes.images[worst], self._colours) if worst else ()
        return self._draw("worst", dict(zip(worst, pictures, strict=True)), record, record.label_maps.maps)

    def _draw(
        self, group: str, shown: Mapping[int, NDArray[np.uint8]], record: EpochRecord, maps: torch.Tensor
    ) -> list[Picture]:
        """Overlays of the probes ``shown`` (index to picture) under ``<prefix>/<group>``."""
        if not shown:
            return []
        chosen = list(shown)
        readings = [read(record, i, self._probes.class_names) for i in chosen]
        if group == "predicted":
            readings = [of_prediction(reading) for reading in readings]
        boxes = [self._probes.boxes[i] for i in chosen]
        drawn = draw_overlays(np.stack(list(shown.values())), maps[chosen], boxes, readings)
        return [
            Picture(
                tag=f"{self._prefix}/{group}/{self._probe_slug(reading.index)}",
                image=overlay.image,
                caption=f"epoch {record.epoch}, {reading.headline()}, {reading.numbers}; {SCALE_NOTE}",
                boxes=tuple(PictureBox(*box, label=reading.label) for box in overlay.boxes),
            )
            for reading, overlay in zip(readings, drawn, strict=True)
        ]

    def _strips(self) -> list[Picture]:
        epochs = self._film.epochs
        pictures = []
        for position, index in enumerate(self._logged):
            title = f"#{index} {class_name(self._probes.class_names, int(self._probes.labels[index]))}"
            strip = draw_filmstrip(
                self._pictures[position],
                self._film.frames(position),
                self._probes.boxes[index],
                title=title,
                chance=self._film.chance(position),
            )
            caption = f"{title}, epochs {epochs[0]} to {epochs[-1]}; {SCALE_NOTE}"
            pictures.append(Picture(f"{self._prefix}/filmstrip/{self._probe_slug(index)}", strip, caption))
        return pictures

    def _probe_slug(self, index: int) -> str:
        return f"{index}-{self._slugs[int(self._probes.labels[index])]}"


def strips_due(looks: int) -> bool:
    """Whether the ``looks``-th look is drawn as strips: each of the first ten, then every doubling.

    >>> [n for n in range(1, 100) if strips_due(n)]
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 40, 80]
    """
    tens, rest = divmod(looks, 10)
    return looks <= 10 or (rest == 0 and tens & (tens - 1) == 0)


def _alert_changed(record: EpochRecord) -> bool:
    changes = [(v.changed_from, v.level) for v in record.verdicts if v.changed_from is not None]
    return any(before.is_alert or now.is_alert for before, now in changes)
