"""What the callback needs to know of a Trainer, in one place: both packages, 2.2 and newer."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camdebug.callbacks.whole_weights import is_part, why_not_whole
from camdebug.cam.lending.logging_off import logging_off as logging_off

Trainer = Any
LightningModule = Any


def callback_bases() -> tuple[type, ...]:
    """The ``Callback`` of every installed Lightning package: a Trainer accepts only its own."""
    found: list[type] = []
    for package, module in (("pytorch_lightning", "pytorch_lightning"), ("lightning", "lightning.pytorch")):
        with suppress(ImportError):  # one that is broken, or Fabric alone, is as good as none
            if find_spec(package) is not None:
                found.append(import_module(module).Callback)
    return tuple(dict.fromkeys(found))


class TrainerPrecision:
    """Pictures enter the model as the Trainer's precision plugin has it."""

    def __init__(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._plugin = trainer.precision_plugin
        self._device = pl_module.device

    def convert(self, images: Tensor) -> Tensor:
        """Move pictures to the module's device and the Trainer's number format."""
        converted: Tensor = self._plugin.convert_input(images.to(self._device))
        return converted

    def context(self) -> AbstractContextManager[Any]:
        """Autocast or default dtype, as the Trainer wraps its own forwards."""
        context: AbstractContextManager[Any] = self._plugin.forward_context()
        return context


def _class_names(thing: object) -> set[str]:
    return {c.__name__ for c in type(thing).__mro__}


def is_fitting(trainer: Trainer) -> bool:
    """A real training epoch: not the sanity check, nor ``validate``, ``test`` or ``predict``."""
    return getattr(trainer.state.fn, "value", trainer.state.fn) == "fit" and not trainer.sanity_checking


# By parts of class names, because most of them cannot be imported here. Each shards the model, runs it on a device on
# which nothing was tried, or communicates on ways of its own.
_UNPROVEN = ("FSDP", "FullySharded", "DeepSpeed", "XLA", "HPU", "Horovod", "Bagua", "Colossal", "Hivemind", "Megatron")


def unsupported_strategy(trainer: Trainer) -> str | None:
    """Why a look is not proven to be harmless under this strategy, for people; ``None`` where it is."""
    why = _unproven(trainer.strategy) or _held_in_parts(trainer)
    if why is None and trainer.world_size > 1 and not _talks():
        why = f"{type(trainer.strategy).__name__} is not supported yet"
    return None if why is None else f"{why}. Look at a checkpoint afterwards, with compute_cams"


def sharding_strategy(trainer: Trainer) -> str | None:
    """Why no process will have a whole model; known before any process is started."""
    if "ModelParallelStrategy" in _class_names(trainer.strategy):
        return f"{type(trainer.strategy).__name__} shards the model, which is supported in training only"
    return _unproven(trainer.strategy)


def starts_processes_of_its_own(trainer: Trainer) -> bool:
    """Spawned or forked for each call of the Trainer: what is found there does not come back."""
    return "_MultiProcessingLauncher" in _class_names(trainer.strategy.launcher)


def _unproven(strategy: object) -> str | None:
    name = type(strategy).__name__
    names = [c.__name__ for c in type(strategy).__mro__]
    known = next((n for n in names for part in _UNPROVEN if part in n), None)
    if known is None:
        return None
    return f"{name} is not supported yet" if known == name else f"{name} is a {known}, which is not supported yet"


def _held_in_parts(trainer: Trainer) -> str | None:
    """What of the model no process has whole, in a way that a look cannot make good."""
    model = trainer.lightning_module
    if "ModelParallelStrategy" in _class_names(trainer.strategy):
        if trainer.strategy.device_mesh["tensor_parallel"].size() > 1:
            return "ModelParallelStrategy is supported with tensor_parallel_size=1 only"
        return why_not_whole(model) if trainer.world_size > 1 else None
    for name, module in model.named_modules():
        if "FullyShardedDataParallel" in _class_names(module):
            return f"{name or 'the model'} is a FullyShardedDataParallel, which is not supported yet"
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_part(tensor) or hasattr(tensor, "ds_id"):  # DeepSpeed's mark
            return f"{name} is held in parts, which {type(trainer.strategy).__name__} cannot put together"
    return None


def _talks() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def names_of(trainer: Trainer, kind: type[Any]) -> list[str]:
    """Names of the Trainer's callbacks of a kind. Lightning does not compare those of ``configure_callbacks``."""
    return [callback.name for callback in trainer.callbacks if isinstance(callback, kind)]


def weights_seen(trainer: Trainer, callback: object) -> str:
    """``"current"``, or ``"averaged"`` when a ``WeightAveraging`` callback has swapped them in during validation."""
    names = [_class_names(c) for c in trainer.callbacks]
    averaging = next((i for i, n in enumerate(names) if "WeightAveraging" in n), None)
    return "averaged" if averaging is not None and trainer.callbacks.index(callback) < averaging else "current"


def is_a_trial(trainer: Trainer) -> bool:
    """``fast_dev_run`` and ``barebones``, which leave nothing behind: neither logs nor checkpoints."""
    return bool(getattr(trainer, "fast_dev_run", False) or getattr(trainer, "barebones", False))


def run_folder(trainer: Trainer) -> Path | None:
    """Where Lightning would put the checkpoints of this run's first logger; ``None`` when that is no local disk.

    Call it on rank zero: it asks nobody else, and elsewhere loggers may not know their version.
    """
    root = trainer.default_root_dir
    if not trainer.loggers:
        return _local(root)
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    folder = _local(logger.save_dir if logger.save_dir is not None else root)
    return None if folder is None else folder / str(logger.name) / version


def _local(path: object) -> Path | None:
    return None if "://" in str(path) else Path(str(path))


def logger_step(trainer: Trainer, *, in_train_hook: bool) -> int:
    """The step at which Lightning books the scalars of this epoch end."""
    stepped = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    if stepped is None:
        return int(trainer.global_step)
    return max(0, int(stepped) - int(in_train_hook))


def is_last_validation(trainer: Trainer) -> bool:
    """No further validation is due in this epoch, as far as can be told."""
    batches, interval = trainer.num_training_batches, trainer.val_check_batch
    if interval is None or not (math.isfinite(batches) and math.isfinite(interval)):
        return True
    left = int(batches) - (trainer.fit_loop.epoch_loop.batch_idx + 1)
    return bool(left < int(interval))


def is_last_epoch(trainer: Trainer) -> bool:
    """No epoch follows this one, as far as can be told."""
    if 0 <= trainer.max_steps <= trainer.global_step:
        return True
    if trainer.should_stop and _may_stop(trainer):
        return True
    return _has_last_epoch(trainer) and bool(trainer.current_epoch + 1 >= trainer.max_epochs)


def _may_stop(trainer: Trainer) -> bool:
    """Whether a call to stop is heard after this epoch: before ``min_epochs`` and ``min_steps`` Lightning goes on."""
    enough_epochs = trainer.current_epoch + 1 >= (trainer.min_epochs or 0)
    return bool(enough_epochs and trainer.global_step >= (trainer.min_steps or 0))


def has_initial_weights(trainer: Trainer) -> bool:
    """At fit start, where the weights of a checkpoint are loaded but its counters are not: nothing was trained yet."""
    return int(trainer.global_step) == 0 and getattr(trainer, "ckpt_path", None) is None


def looks_left(trainer: Trainer, every_n_epochs: int) -> int | None:
    """Planned looks from this epoch on, this one and the last epoch's included; ``None`` without a plan."""
    if is_last_epoch(trainer):
        return 1
    by_epochs = int(trainer.max_epochs) - 1 - int(trainer.current_epoch) if _has_last_epoch(trainer) else None
    following = [epochs for epochs in (by_epochs, _epochs_until_max_steps(trainer)) if epochs is not None]
    return 1 + max(0, math.ceil(min(following) / every_n_epochs)) if following else None


def _has_last_epoch(trainer: Trainer) -> bool:
    return trainer.max_epochs not in (None, -1)


def _epochs_until_max_steps(trainer: Trainer) -> int | None:
    """Epochs that begin after this one before ``max_steps`` is reached; ``None`` where that cannot be told."""
    batches = trainer.num_training_batches
    if trainer.max_steps < 0 or not (math.isfinite(batches) and batches):
        return None
    if not trainer.lightning_module.automatic_optimization:  # takes as many steps as it likes
        return None
    done, together = int(trainer.fit_loop.epoch_loop.batch_idx) + 1, int(trainer.accumulate_grad_batches)
    per_epoch = math.ceil(int(batches) / together)
    taken = per_epoch if done >= batches else done // together
    left = int(trainer.max_steps) - int(trainer.global_step) - (per_epoch - taken)
    return max(0, math.ceil(left / per_epoch))


def monitored_names(trainer: Trainer) -> set[str]:
    """Metrics that a callback or a learning-rate scheduler waits for: the run ends with an error if one is missing."""
    from_callbacks = {getattr(callback, "monitor", None) for callback in trainer.callbacks}
    from_schedulers = {getattr(config, "monitor", None) for config in trainer.lr_scheduler_configs}
    return {name for name in from_callbacks | from_schedulers if isinstance(name, str)}
