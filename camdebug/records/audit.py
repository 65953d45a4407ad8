"""What an audit of a trained model over a whole dataset found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor

from camdebug.records.localisation import ClassScores, LocalisationScores
from camdebug.records.split import RightAgainstWrong
from camdebug.records.verdict import ClassVerdict, RunVerdict

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
        alpha: share of clean models for which any alert is raised, over all classes.
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
        left_out: ids of the pictures that were not measured, by the reason.
        classes: means of each class.
        split: right predictions against wrong ones.
        worst: of each class the pictures with the largest D, at most a few.
        look: what swapped backgrounds showed; ``None`` when there was no look.
        method: CAM method.
        layer: dotted name of the target layer.
        layer_reason: why that one.
        grid: height and width of the maps in cells.
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
    grid: tuple[int, int]
    versions: Mapping[str, str]
    text: str

    def __str__(self) -> str:
        return self.text

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
                {**asdict(scores), "right": asdict(split.right), "wrong": asdict(split.wrong), "worst": list(worst)}
                for scores, split, worst in zip(self.classes, self.split.classes, self.worst, strict=True)
            ],
            "all_classes": {"right": asdict(self.split.overall.right), "wrong": asdict(self.split.overall.wrong)},
            "look": None if self.look is None else asdict(self.look),
            "text": self.text,
        }
        plain: dict[str, Any] = _plain(found)
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
                "area_fraction": _plain(float(scores.area_fraction[i])),
                "outside_mass": _plain(float(scores.outside_mass[i])),
                "log_density_ratio": _plain(float(scores.log_density_ratio[i])),
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
            files = {target.with_suffix(".pictures.jsonl"): "".join(lines), **files}
        for file, content in files.items():
            if not overwrite:
                _refuse_other(file, content)
        for file, content in files.items():
            _write(file, content, overwrite=overwrite)


def _refuse_other(path: Path, content: str) -> None:
    if path.exists() and path.read_bytes() != content.encode():
        raise FileExistsError(
            f"path: {path} exists and holds something else; choose another name, or pass overwrite=True"
        )


def _write(path: Path, content: str, *, overwrite: bool) -> None:
    """Whole or not at all, also where another process is about to do the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        draft.write_text(content, encoding="utf-8", newline="\n")
        if overwrite:
            draft.replace(path)
        else:
            _place(draft, path, content)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, path: Path, content: str) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        _refuse_other(path, content)
    except OSError:  # a file system without links
        draft.replace(path)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """The same in types of JSON, which has no number that is not finite."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(asdict(entry)) if isinstance(entry, Worst) else _plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return getattr(value, "value", value)  # of an Enum
