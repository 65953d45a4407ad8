"""What an audit of a trained model over a whole dataset found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from camdebug.records.localisation import ClassScores, LocalisationScores
from camdebug.records.split import RightAgainstWrong
from camdebug.records.verdict import ClassVerdict, RunVerdict
from camdebug.store.disk import write_file
from camdebug.store.plain import to_plain

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class AuditedPictures:
    """One row for each picture that was measured, in the order of the dataset.

    Attributes:
        source_ids: of each.
        labels: ``(N,)`` int64, the class that its map explains.
        predicted: ``(N,)`` int64, the class with the highest score.
        scores: where its heat lies. ``calibrated_log_density_ratio`` is NaN: it takes the maps of others.
    """

    source_ids: tuple[str, ...]
    labels: Tensor
    predicted: Tensor
    scores: LocalisationScores

    def __len__(self) -> int:
        return len(self.source_ids)

    @property
    def correct(self) -> Tensor:
        """``(N,)`` bool: the model predicts the label."""
        return self.predicted == self.labels


@dataclass(frozen=True)
class Worst:
    """A picture with much heat outside its box: its id, D (chance 0), and whether it is predicted right."""

    source_id: str
    log_density_ratio: float
    correct: bool


@dataclass(frozen=True)
class BackgroundLook:
    """What swapped backgrounds showed, at one look through probes from the dataset.

    Attributes:
        verdict: over all classes.
        classes: of each class. ``worst_probes`` are indices of the probes.
        worst: for each class the source ids of these.
        probes: of each class.
        fingerprint: of the probe set.
        alpha: what the share of clean models that get any alert, over all classes, is meant to be at most.
        notes: what can be found with these probes, and what stands in the way, in sentences.
    """

    verdict: RunVerdict
    classes: tuple[ClassVerdict, ...]
    worst: tuple[tuple[str, ...], ...]
    probes: tuple[int, ...]
    fingerprint: str
    alpha: float
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AuditReport:
    """Where a trained model looks in a dataset, and which class leans on its background. ``print`` it, or ``save`` it.

    Attributes:
        pictures: a row for each picture that was measured.
        size: pictures in the dataset.
        left_out: ids of the pictures that were not measured, or not looked at as probes although drawn, by the reason.
        classes: means of each class.
        split: right predictions against wrong ones.
        worst: of each class the pictures with the largest D, at most a few.
        look: what swapped backgrounds showed; ``None`` when there was no look.
        method: CAM method.
        layer: dotted name of the target layer, or of several; background evidence is that of HiResCAM at the first one,
            whatever the method.
        layer_reason: why that one; and, where the method does not read it or its maps have another grid, that.
        grid: height and width of the maps in cells; not those of the layer where the method has a grid of its own.
        versions: of the packages that took part.
        text: the report in words.
    """

    pictures: AuditedPictures
    size: int
    left_out: Mapping[str, tuple[str, ...]]
    classes: tuple[ClassScores, ...]
    split: RightAgainstWrong
    worst: tuple[tuple[Worst, ...], ...]
    look: BackgroundLook | None
    method: str
    layer: str
    layer_reason: str
    grid: tuple[int, ...]
    versions: Mapping[str, str]
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def chance_recalls(self) -> tuple[float, ...]:
        """For each class the share of all predictions that name it: its recall if they were dealt out at random."""
        return tuple(float((self.pictures.predicted == c.class_idx).double().mean()) for c in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows of single pictures, as JSON has it. The same for the same audit, bit for bit."""
        found = {
            "schema": SCHEMA,
            "versions": dict(self.versions),
            "method": self.method,
            "layer": self.layer,
            "layer_reason": self.layer_reason,
            "grid": list(self.grid),
            "pictures": {
                "in_dataset": self.size,
                "measured": len(self.pictures),
                "left_out": {reason: list(ids) for reason, ids in self.left_out.items()},
            },
            "classes": [
                {
                    **asdict(scores),
                    "chance_recall": chance,
                    "right": split.right,
                    "wrong": split.wrong,
                    "worst": worst,
                }
                for scores, chance, split, worst in zip(
                    self.classes, self.chance_recalls, self.split.classes, self.worst, strict=True
                )
            ],
            "all_classes": {"right": self.split.overall.right, "wrong": self.split.overall.wrong},
            "look": self.look,
            "text": self.text,
        }
        plain: dict[str, Any] = to_plain(found)
        return plain

    def rows(self) -> Iterator[dict[str, Any]]:
        """The row of each picture, as JSON has it; ``None`` for what is not defined."""
        pictures, scores = self.pictures, self.pictures.scores
        for i, source_id in enumerate(pictures.source_ids):
            yield {
                "id": source_id,
                "label": int(pictures.labels[i]),
                "predicted": int(pictures.predicted[i]),
                "validity": scores.validity[i].name.lower(),
                "area_fraction": to_plain(float(scores.area_fraction[i])),
                "outside_mass": to_plain(float(scores.outside_mass[i])),
                "log_density_ratio": to_plain(float(scores.log_density_ratio[i])),
            }

    def save(self, path: str | os.PathLike[str], *, pictures: bool = False, overwrite: bool = False) -> None:
        """Write ``to_dict()`` as JSON: the whole file or none. All processes may call it with one path.

        Args:
            path: of the file.
            pictures: also write the row of each picture to a file beside it, whose name ends in ``.pictures.jsonl``.
            overwrite: whether a file with other content gives way.

        Raises:
            FileExistsError: there is a file with other content; nothing has changed then.
        """
        target = Path(path)
        files = {target: json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"}
        if pictures:
            lines = [json.dumps(row, allow_nan=False) + "\n" for row in self.rows()]
            files = {_beside(target): "".join(lines), **files}
        data = {file: content.encode() for file, content in files.items()}
        for file, content in data.items():
            if not overwrite:
                _refuse_other(file, content)
        for file, content in data.items():
            _write(file, content, overwrite=overwrite)


def _beside(path: Path) -> Path:
    """Another ending than that of JSON is part of the name: ``audit.v1`` and ``audit.v2`` are two audits."""
    return path.with_name(f"{path.name.removesuffix('.json')}.pictures.jsonl")


def _refuse_other(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() != content:
        raise FileExistsError(
            f"path: {path} exists and holds something else; choose another name, or pass overwrite=True"
        )


def _write(path: Path, content: bytes, *, overwrite: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_file(path, content, replace=overwrite, limited=False)
    except FileExistsError:  # another process was about to do the same
        _refuse_other(path, content)
