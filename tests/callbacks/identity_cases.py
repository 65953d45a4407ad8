"""The configurations under which a training is compared with and without a monitor. Importing this runs nothing."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import identity_data as data
import identity_nets as nets
import identity_optimisation as optimisation
import identity_setup as setup
import identity_state as state
import torch
from pytorch_lightning import callbacks as lightning
from small_training import Module

try:
    from pytorch_lightning.callbacks.weight_averaging import EMAWeightAveraging
except ImportError:  # Lightning before 2.6
    EMAWeightAveraging = None


@dataclass
class Case:
    """One configuration of a training.

    ``callbacks``: makes the user's own. ``monitor``: where among them the monitor stands. ``data``: makes the arguments
    of ``fit``. ``learner``: makes what is fitted from the module. ``before``: is called with Trainer and module first,
    and may add to these arguments. ``around``: what the whole training runs inside. ``probes``: makes the monitor's
    from the usual ones. ``says``: a part of the one warning that camdebug gives. ``looks``: whether there are any.
    """

    model: Any = Module
    trainer: dict = field(default_factory=dict)
    callbacks: Callable = list
    monitor: str = "first"
    data: Callable = data.usual
    learner: Callable = lambda module: module
    before: Callable = lambda trainer, module: None
    around: Callable[[], AbstractContextManager] = nullcontext
    probes: Callable = lambda probes: probes
    says: str = ""
    looks: bool = True


def trainer(model=Module, **options):
    """A case that differs in options of the Trainer."""
    others = {k: options.pop(k) for k in ("data", "says", "looks") if k in options}
    return Case(model, trainer=options, **others)


def early_stopping():
    return [lightning.EarlyStopping("val_loss", patience=0, min_delta=10.0)]


TRAINER = {
    "default": trainer(max_epochs=3),
    "sanity check": trainer(num_sanity_val_steps=2),
    "num_sanity_val_steps=-1": trainer(num_sanity_val_steps=-1),
    "accumulation, validation in the middle": trainer(accumulate_grad_batches=3, val_check_interval=2),
    "no validation loader": trainer(data=data.no_validation),
    "limit_val_batches=0": trainer(limit_val_batches=0),
    "limit_train_batches=.6, limit_val_batches=1": trainer(limit_train_batches=0.6, limit_val_batches=1),
    "check_val_every_n_epoch=2": trainer(check_val_every_n_epoch=2, max_epochs=3),
    "val_check_interval=.4": trainer(val_check_interval=0.4),
    "validation by iterations, more than an epoch": trainer(
        check_val_every_n_epoch=None, val_check_interval=7, max_epochs=3
    ),
    "fast_dev_run": trainer(fast_dev_run=2),
    "detect_anomaly": trainer(detect_anomaly=True),
    "deterministic": trainer(deterministic=True),
    "max_steps": trainer(max_steps=7, max_epochs=-1),
    "min_epochs": Case(trainer={"min_epochs": 3, "max_epochs": 4}, callbacks=early_stopping),
    "max_time": trainer(max_time="00:01:00:00"),
    "overfit_batches, gradients clipped by norm": trainer(overfit_batches=2, gradient_clip_val=0.1),
    "gradients clipped by value": trainer(gradient_clip_val=0.01, gradient_clip_algorithm="value"),
    "inference_mode=False": trainer(inference_mode=False),
    "profiler, progress bar and summary": trainer(
        profiler="simple", enable_progress_bar=True, enable_model_summary=True
    ),
    "barebones": Case(
        trainer={"barebones": True, "logger": False, "log_every_n_steps": 0},
        around=lambda: setup.quiet(".*barebones.*"),
        looks=False,
    ),
}
PRECISION = {
    "bf16-mixed": trainer(precision="bf16-mixed"),
    "bf16-true": trainer(precision="bf16-true"),
    "16-true": trainer(precision="16-true"),
    "64-true": trainer(precision="64-true"),
    "own autocast in forward": Case(nets.OwnAutocast),
    "autocast around the whole training": Case(
        nets.StartsSmall, data=data.no_validation, around=lambda: torch.autocast("cpu", torch.bfloat16)
    ),
    "default dtype float64": Case(
        data=data.of_float64, probes=data.in_float64, around=lambda: setup.default_dtype(torch.float64)
    ),
    "coarse matrix products": Case(around=setup.coarse_products),
    "use_deterministic_algorithms": Case(around=setup.deterministic),
}
NETWORKS = {
    "spectral norm, both kinds": Case(nets.SpectralNorm, says="net.conv1.weight"),
    "weight norm and orthogonal weights": Case(nets.WeightNorm),
    "BatchNorm of three kinds": Case(nets.BatchNormKinds),
    "InstanceNorm and GroupNorm": Case(nets.OtherNorms),
    "recurrent head": Case(nets.RecurrentHead),
    "stochastic depth": Case(nets.StochasticDepth),
    "Monte Carlo dropout": Case(nets.MonteCarloDropout),
    "own generators": Case(nets.OwnGenerators, says="source"),
    "buffer counts in forward": Case(state.CountingBuffer, says="calls"),
    "buffer replaced in forward": Case(state.ReplacedBuffer, says="calls"),
    "parts added in forward": Case(state.GrowingNet, says="grown"),
    "attribute counts in forward": Case(state.CountingAttribute, says="calls"),
    "nested dict counts in forward": Case(state.NestedMetrics, says="seen"),
    "numpy array counts in forward": Case(state.CountingArray, says="usage"),
    "dataclass and slots count in forward": Case(state.CountingObject, says="tally"),
    "empty object filled in forward": Case(state.FillsEmptyObject, says="store"),
    "helper object with a running mean": Case(state.NormalisesByHelper, says="running"),
    "moving codebook in a dict": Case(state.MovingCodebook, says="codebook"),
    "queue of features": Case(state.FeatureQueue, says="queue"),
    "buffer updated from the graph": Case(state.CentresScores, says="centre"),
    "teacher hidden in a list": Case(state.HiddenTeacher, says="teachers"),
    "metrics updated in forward": Case(state.MetricInForward, says="brightness"),
    "metrics over epochs": Case(state.MetricOverValidation),
    "weights rescaled in forward": Case(nets.RescalesItsWeights, data=data.no_validation, says="net.head.weight"),
    "weights replaced in forward": Case(nets.SwapsItsWeights, data=data.no_validation, says="net.conv2.weight"),
    "tied weights, a module used twice": Case(nets.TiedWeights),
    "frozen backbone, own train()": Case(nets.FrozenBackbone),
    "backbone under no_grad": Case(nets.NoGradBackbone),
    "parts made in configure_model": Case(nets.MadeLate),
    "ModuleDict, ParameterList, ParameterDict": Case(nets.InDictsAndLists),
    "own __setattr__ and __getattr__": Case(nets.OwnAttributeAccess, says="store"),
    "logs in forward": Case(nets.LogsInForward),
    "writes to its input": Case(nets.WritesToItsInput),
    "differentiates in forward": Case(nets.Energy),
    "differentiates the layer in forward": Case(nets.EnergyOfTheLayer, says="cannot explain", looks=False),
    "hooks of every kind": Case(nets.UserHooks, says="backward_calls"),
    "backward hook before the scores": Case(nets.BackwardHookOnRelu),
}
OPTIMISATION = {
    "manual optimisation, own accumulation": Case(optimisation.Manual, trainer={"val_check_interval": 3}),
    "two optimisers": Case(optimisation.TwoOptimizers),
    "adversarial, optimisers toggled": Case(optimisation.Adversarial),
    "L-BFGS": Case(optimisation.optimised_by(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3))),
    "AMSGrad, foreach, one-cycle schedule": Case(
        optimisation.optimised_by(
            lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True, foreach=True),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, total_steps=20),
        )
    ),
    "fused AdamW": Case(optimisation.optimised_by(lambda p: torch.optim.AdamW(p, 1e-2, fused=True))),
    "plateau scheduler": Case(optimisation.WithPlateau),
    "gradients read and changed in hooks": Case(optimisation.ReadsGradients),
    "gradient penalty": Case(optimisation.GradientPenalty),
}
AVERAGED = {
    "stochastic weight averaging": Case(
        callbacks=lambda: [lightning.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)],
        trainer={"max_epochs": 4},
    ),
    "stochastic weight averaging before the monitor": Case(
        callbacks=lambda: [lightning.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)],
        trainer={"max_epochs": 3},
        monitor="last",
    ),
    "averaged copy within the module": Case(optimisation.AveragedCopy),
}
if EMAWeightAveraging is not None:
    AVERAGED |= {
        "moving average": Case(callbacks=lambda: [EMAWeightAveraging(decay=0.9)]),
        "moving average before the monitor": Case(callbacks=lambda: [EMAWeightAveraging(decay=0.9)], monitor="last"),
    }
REENTRANT = "use_reentrant=False"
COMPILED = {
    "torch.compile(module)": Case(optimisation.Silent, learner=setup.compiled),
    "module.compile()": Case(optimisation.Silent, learner=setup.compiled_in_place),
    "a part compiled": Case(learner=setup.part_compiled, data=data.no_validation),
    "a part compiled, fullgraph=True, dynamic=True": Case(
        learner=lambda module: setup.part_compiled(module, fullgraph=True, dynamic=True), data=data.no_validation
    ),
    "part.compile()": Case(learner=setup.part_compiled_in_place, data=data.no_validation),
    "part.compile(), warmed": Case(learner=setup.warmed),
    "a part compiled by inductor": Case(learner=setup.by_inductor),
    "checkpointing below the layer": Case(nets.checkpointed("below")),
    "checkpointing around the layer": Case(nets.checkpointed("around")),
    "checkpointing above the layer": Case(nets.checkpointed("above")),
    "reentrant checkpointing below the layer": Case(nets.checkpointed("below", old=True)),
    "reentrant checkpointing above the layer": Case(nets.checkpointed("above", old=True), says=REENTRANT, looks=False),
}
DATA = {
    "persistent workers": Case(data=data.persistent_workers),
    "workers with their own generator and init": Case(data=data.seeded_workers),
    "own generator and weighted sampler": Case(data=data.weighted, around=lambda: setup.quiet(".*shuffling enabled.*")),
    "stream without a length": Case(data=data.stream),
    "loaders made anew": Case(trainer={"reload_dataloaders_every_n_epochs": 1}),
    "data module, loaders made anew": Case(data=data.module, trainer={"reload_dataloaders_every_n_epochs": 1}),
    "dict of loaders, several for validation": Case(optimisation.SeveralLoaders, data=data.several),
}
CALLBACKS = {
    "timer and learning-rate monitor": Case(
        optimisation.WithPlateau,
        callbacks=lambda: [lightning.Timer(), lightning.LearningRateMonitor("step")],
        monitor="last",
    ),
    "early stopping in the middle": Case(callbacks=early_stopping, trainer={"max_epochs": 5}),
    "early stopping before the monitor": Case(callbacks=early_stopping, trainer={"max_epochs": 5}, monitor="last"),
    "checkpoint after every epoch": Case(
        callbacks=lambda: [lightning.ModelCheckpoint("checkpoints", monitor="val_loss", save_top_k=-1, save_last=True)],
        trainer={"enable_checkpointing": True},
        around=setup.in_a_folder,
    ),
    "resumed in the middle": Case(before=setup.save_first_epoch, around=setup.in_a_folder, trainer={"max_epochs": 3}),
    "accumulation that changes": Case(
        callbacks=lambda: [lightning.GradientAccumulationScheduler({0: 2, 1: 1})], trainer={"max_epochs": 3}
    ),
    "backbone that is freed": Case(
        optimisation.Backboned,
        callbacks=lambda: [lightning.BackboneFinetuning(1, backbone_initial_lr=0.01, train_bn=False)],
        trainer={"max_epochs": 3},
    ),
    "pruning": Case(callbacks=lambda: [lightning.ModelPruning("l1_unstructured", amount=0.3)], says="net.conv1.weight"),
}


def tuning(make, position):
    return Case(optimisation.WithLearningRate, callbacks=lambda: [make()], data=data.of_the_module, monitor=position)


def _rate_finder():
    return lightning.LearningRateFinder(num_training_steps=16)


def _batch_size_finder():
    return lightning.BatchSizeFinder(steps_per_trial=1, init_val=2, max_trials=1)


TUNER = {
    "lr_find before fit": Case(optimisation.WithLearningRate, before=setup.find_rate, data=data.of_the_module),
    "scale_batch_size before fit": Case(
        optimisation.WithLearningRate, before=setup.find_batch_size, data=data.of_the_module
    ),
    "LearningRateFinder": tuning(_rate_finder, "first"),
    "LearningRateFinder before the monitor": tuning(_rate_finder, "last"),
    "BatchSizeFinder": tuning(_batch_size_finder, "first"),
}
GROUPS = {
    "Trainer options": TRAINER,
    "precision": PRECISION,
    "networks": NETWORKS,
    "optimisation": OPTIMISATION,
    "weights averaged": AVERAGED,
    "compile and checkpointing": COMPILED,
    "data": DATA,
    "callbacks": CALLBACKS,
    "tuner": TUNER,
}
CASES = {name: case for group in GROUPS.values() for name, case in group.items()}
