"""Lightning's own engine: batches go through ``trainer.predict``, with that Trainer's devices and precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from camdebug.auditing.batches import Batch, Batches
from camdebug.auditing.work import Work
from camdebug.callbacks import trainer_facts as facts
from camdebug.callbacks.looker import peers_of
from camdebug.cam.lending.borrow import borrowed

_PACKAGES = ("pytorch_lightning", "lightning.pytorch")


def package_of(trainer: object) -> str:
    """The Lightning package whose Trainer this is.

    Raises:
        TypeError: of none.
    """
    for cls in type(trainer).__mro__:
        for package in _PACKAGES:
            if cls.__name__ == "Trainer" and f"{cls.__module__}.".startswith(f"{package}."):
                return package
    raise TypeError(
        f"trainer: expected a Trainer of {' or '.join(_PACKAGES)}, got {type(trainer).__name__}; for example "
        "Trainer(devices=1, logger=False)"
    )


def check_strategy(trainer: facts.Trainer) -> None:
    """Refuse what cannot be audited, before anything is started."""
    sharding = facts.sharding_strategy(trainer)
    if sharding is not None:
        raise ValueError(f"trainer: {sharding}; for an audit use 'ddp' or one device")
    if facts.starts_processes_of_its_own(trainer):
        raise ValueError(
            f"trainer: what the processes of {type(trainer.strategy).__name__} find does not come back when they are "
            "spawned or forked; use 'ddp' or one device"
        )


def go_through(trainer: facts.Trainer, model: nn.Module, work: Work, batches: Batches, *, num_workers: int) -> None:
    """Let the Trainer carry all batches to ``work``. Model and Trainer come back as they were, whatever happens."""
    loader = DataLoader(batches, batch_size=None, num_workers=num_workers)
    carrier = _carrier_class(package_of(trainer))(model, work)
    # All parameters are copied: strategies move them, convert them, and write those of rank zero into the others'.
    with borrowed(model, copied=None), _left_as_it_was(trainer), work.shared():
        try:
            trainer.predict(carrier, dataloaders=loader, return_predictions=False)
        finally:
            carrier.release()  # callbacks of the Trainer may keep it


@contextmanager
def _left_as_it_was(trainer: facts.Trainer) -> Iterator[None]:
    """What the Trainer knows and has found. A datamodule would take our batches for its own."""
    datamodule = trainer.datamodule
    before = [(owner, name, _copied(getattr(owner, name))) for owner, name in _kept(trainer) if hasattr(owner, name)]
    trainer.datamodule = None
    try:
        yield
    finally:
        trainer.datamodule = datamodule
        for owner, name, value in before:
            setattr(owner, name, value)


def _kept(trainer: facts.Trainer) -> Iterator[tuple[object, str]]:
    """Where a Trainer keeps its module, data and state, the metrics of its last run, and what it has predicted."""
    ours, fitting = trainer.predict_loop, trainer.fit_loop
    loops = (ours, fitting, fitting.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop)
    owners: list[tuple[object, str]] = [
        *((loop._data_source, "instance") for loop in loops),
        *((loop, "_combined_loader") for loop in loops),
        (ours, "max_batches batch_progress epoch_batch_indices _predictions _return_predictions"),
        (getattr(trainer, "_data_connector", None), "_datahook_selector"),
        (trainer.strategy, "_lightning_module _model"),
        (trainer.state, "fn status stage"),
        (trainer.profiler, "_lightning_module _stage"),
        (
            getattr(trainer, "_logger_connector", None),
            "_callback_metrics _logged_metrics _progress_bar_metrics _current_fx _first_loop_iter",
        ),
    ]
    return ((owner, name) for owner, names in owners for name in names.split())


def _copied(value: Any) -> Any:  # noqa: ANN401
    """What is written in place, so that it cannot be put back itself: dicts of metrics, and counts of batches."""
    if isinstance(value, dict):
        return dict(value)
    return deepcopy(value) if type(value).__name__.endswith("Progress") else value


class _Carrier:
    """A LightningModule around the user's module: it has no step but ours, and none of the user's hooks runs."""

    allow_zero_length_dataloader_with_multiple_devices = True
    trainer: facts.Trainer

    def __init__(self, model: nn.Module, work: Work) -> None:
        super().__init__()
        self.audited = model
        self._work: Work | None = work

    @property
    def _at_work(self) -> Work:
        assert self._work is not None
        return self._work

    def on_predict_start(self) -> None:
        unsupported = facts.unsupported_strategy(self.trainer)
        if unsupported is not None:
            raise ValueError(f"trainer: {unsupported}")
        self._at_work.open(facts.TrainerPrecision(self.trainer, self), peers_of(self.trainer))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return torch.tensor(batch.indices, dtype=torch.int64)

    def on_predict_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:  # noqa: ANN401
        # Not in the step, which runs in the precision's own context: measures are taken in full precision.
        self._at_work.take(batch)

    def on_predict_epoch_end(self) -> None:
        self._at_work.close()

    def release(self) -> None:
        self._work = None
        del self.audited


@lru_cache
def _carrier_class(package: str) -> type:
    module: Any = import_module(package).LightningModule
    return type("Audit", (_Carrier, module), {})
