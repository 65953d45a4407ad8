"""Train a network whose tag gives the class away, and its twin whose tag does not, both under CAMMonitor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from camdebug.callbacks.cam_monitor import CAMMonitor
from camdebug.callbacks.messages import ShortcutWarning
from camdebug.demo.data import CLASS_NAMES, AnnotatedDigits, Scenes, draw_scenes, draw_tags, other_tags, paint
from camdebug.demo.model import DigitClassifier
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import EpochRecord

TRAINING, VALIDATION, PROBES_PER_CLASS = 1200, 400, 40
_LIGHTNING_LOGS = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")
_LIGHTNING_HINTS = (".*does not have many workers.*", ".*treespec, LeafSpec.*")
RECORDS = "records"
STRENGTH = {"planted": 0.95, "clean": 0.0}


class DemoError(Exception):
    """The demo cannot run as asked, or did not run through; the message says why."""


@dataclass
class Twin:
    """One trained twin: its probes, a record of every look, and what the tag is truly worth to it.

    ``accuracy_drop`` maps each class name to its accuracy on copies with the class's own tag minus its accuracy on
    copies with another class's tag and nothing else changed.
    """

    name: str
    probes: ProbeSet
    records: list[EpochRecord] = field(default_factory=list)
    accuracy_drop: dict[str, float] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)


class _Recorder(pl.Callback):
    """Keeps the record of every look and prints a line of progress."""

    def __init__(self, monitor: CAMMonitor, twin: Twin) -> None:
        self._monitor, self._twin = monitor, twin

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        record = self._monitor.last_record
        if record is None or record.epoch != trainer.current_epoch:
            raise DemoError(f"the look at epoch {trainer.current_epoch} of the {self._twin.name} twin was lost")
        self._twin.records.append(record)
        flagged = [f"{v.name} {v.level.value}" for v in record.verdicts if v.level.is_alert]
        accuracy = float(trainer.callback_metrics["val/accuracy"])
        print(
            f"  {self._twin.name:8} epoch {trainer.current_epoch:2}  accuracy {accuracy:.2f}  "
            f"{', '.join(flagged) if flagged else 'nothing flagged'}",
            flush=True,
        )


def train_twin(name: str, *, output: Path, seed: int, epochs: int, with_wandb: bool) -> Twin:
    """Train one twin and return what was seen.

    Args:
        name: ``"planted"`` or ``"clean"``.
        output: folder for the loggers.
        seed: of data, weights and order.
        epochs: of training.
        with_wandb: also log to W&B, offline.
    """
    strength = STRENGTH[name]
    pl.seed_everything(seed, workers=True, verbose=False)
    training = draw_scenes(TRAINING, seed=seed, held_out=False)
    held_out = draw_scenes(VALIDATION, seed=seed, held_out=True)
    annotated = AnnotatedDigits(held_out, draw_tags(held_out.label, strength=strength, seed=seed + 1))
    probes = ProbeSet.from_dataset(annotated, per_class=PROBES_PER_CLASS, seed=seed)
    twin = Twin(name, probes)
    monitor = CAMMonitor(probes, seed=seed, max_overhead=None, record=output / RECORDS / name)
    model = DigitClassifier()
    with _quiet(twin):
        pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=_loggers(name, output, with_wandb),
            callbacks=[monitor, _Recorder(monitor, twin)],
            default_root_dir=output,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        ).fit(
            model,
            DataLoader(_labelled(training, strength, seed), batch_size=64, shuffle=True),
            DataLoader(TensorDataset(annotated.images, annotated.labels), batch_size=200),
        )
    if with_wandb:
        import wandb

        wandb.finish()  # or the next twin would go on in this run
    twin.accuracy_drop = accuracy_drop(model, draw_scenes(1000, seed=seed, held_out=True, again=1), seed=seed)
    return twin


def accuracy_drop(model: DigitClassifier, scenes: Scenes, *, seed: int) -> dict[str, float]:
    """True worth of the tag for each class, from pairs of pictures that differ in the tag alone."""
    labels = torch.from_numpy(scenes.label)
    model.eval()
    with torch.inference_mode():
        own = model(paint(scenes, scenes.label)).argmax(1) == labels
        other = model(paint(scenes, other_tags(scenes.label, seed=seed))).argmax(1) == labels
    drop = own.double() - other.double()
    return {name: float(drop[labels == k].mean()) for k, name in enumerate(CLASS_NAMES)}


def _labelled(scenes: Scenes, strength: float, seed: int) -> TensorDataset:
    return TensorDataset(
        paint(scenes, draw_tags(scenes.label, strength=strength, seed=seed)), torch.from_numpy(scenes.label)
    )


def _loggers(name: str, output: Path, with_wandb: bool) -> list[Logger]:
    loggers: list[Logger] = [TensorBoardLogger(output / "tensorboard", name=name, version="")]
    if with_wandb:
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(WandbLogger(name=name, project="camdebug-demo", save_dir=output, offline=True))
    return loggers


@contextmanager
def _quiet(twin: Twin) -> Iterator[None]:
    """Collect alerts instead of printing each; leave out Lightning's banners and hints: they are not about the demo."""
    logs = [logging.getLogger(name) for name in _LIGHTNING_LOGS]
    levels = [log.level for log in logs]
    with warnings.catch_warnings():
        for hint in _LIGHTNING_HINTS:
            warnings.filterwarnings("ignore", message=hint)
        warnings.filterwarnings("always", category=ShortcutWarning)
        show = warnings.showwarning

        def collect(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:  # noqa: ANN401
            if issubclass(category, ShortcutWarning):
                twin.alerts.append(str(message))
            else:
                show(message, category, *rest, **more)

        warnings.showwarning = collect
        for log in logs:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)
