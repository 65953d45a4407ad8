"""Strategies and models under which nothing is proven are told so in one message, and trained as without us."""

from types import SimpleNamespace

import lightning.pytorch.strategies
import pytest
import pytorch_lightning as pl
import torch
from small_training import Case, Module, differences, hooks_on, monitor, run
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from camdebug.callbacks import trainer_facts

PACKAGES = (pl.strategies, lightning.pytorch.strategies)
AFTERWARDS = "Look at a checkpoint afterwards, with compute_cams"


def fitting(strategy, *, model=None, processes=1):
    """As much of a Trainer as is asked, for strategies that cannot run here."""
    return SimpleNamespace(strategy=strategy, world_size=processes, lightning_module=model or nn.Linear(1, 1))


def kind_of(kind, **bases):
    """An instance of a class of that name, made without what its own constructor asks for."""
    return object.__new__(type(kind, tuple(bases.values()), {}))


@pytest.mark.parametrize("package", PACKAGES)
def test_fsdp1_as_lightning_makes_it_is_refused(package):
    strategy = package.FSDPStrategy(sharding_strategy="SHARD_GRAD_OP")
    assert trainer_facts.unsupported_strategy(fitting(strategy)) == f"FSDPStrategy is not supported yet. {AFTERWARDS}"


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "name", ["FSDPStrategy", "DeepSpeedStrategy", "XLAStrategy", "SingleDeviceXLAStrategy", "HPUParallelStrategy"]
)
def test_what_lightning_knows_and_its_subclasses_are_refused(package, name):
    real = getattr(package, name)
    mine = object.__new__(type("Mine", (real,), {"__abstractmethods__": frozenset()}))
    told = trainer_facts.unsupported_strategy(fitting(mine, processes=2))
    assert told == f"Mine is a {real.__name__}, which is not supported yet. {AFTERWARDS}"


@pytest.mark.parametrize(
    "name",
    [
        *("DDPFullyShardedNativeStrategy", "DDPFullyShardedStrategy", "XLAFSDPStrategy", "HPUDeepSpeedStrategy"),
        *("HorovodStrategy", "BaguaStrategy", "ColossalAIStrategy", "HivemindStrategy", "MegatronStrategy"),
    ],
)
@pytest.mark.parametrize("base", [pl.strategies.DDPStrategy, pl.strategies.SingleDeviceStrategy])
def test_what_others_have_made_is_refused_by_name(name, base):
    told = trainer_facts.unsupported_strategy(fitting(kind_of(name, base=base)))
    assert told == f"{name} is not supported yet. {AFTERWARDS}"


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", ["SingleDeviceStrategy", "DDPStrategy"])
def test_a_subclass_of_what_is_proven_is_not_refused(package, name):
    strategy = kind_of("Mine", base=getattr(package, name))
    assert trainer_facts.unsupported_strategy(fitting(strategy)) is None


def test_processes_that_do_not_talk_through_torch_are_refused():
    strategy = kind_of("OtherwiseStrategy", base=pl.strategies.SingleDeviceStrategy)
    told = trainer_facts.unsupported_strategy(fitting(strategy, processes=2))
    assert told == f"OtherwiseStrategy is not supported yet. {AFTERWARDS}"
    assert trainer_facts.unsupported_strategy(fitting(strategy)) is None


def parted(mark):
    """A module whose weight looks as if each process held a part of it."""
    model = nn.Sequential(nn.Linear(2, 2))
    setattr(model[0].weight, mark, lambda: None)
    return model


@pytest.mark.parametrize("mark", ["full_tensor", "ds_id"])
def test_a_model_that_was_sharded_by_hand_is_refused(mark):
    strategy = kind_of("DDPStrategy", base=pl.strategies.DDPStrategy)
    told = trainer_facts.unsupported_strategy(fitting(strategy, model=parted(mark)))
    assert told == f"0.weight is held in parts, which DDPStrategy cannot put together. {AFTERWARDS}"


def model_parallel(*, tensor_parallel_size=1):
    strategy = kind_of("ModelParallelStrategy", base=pl.strategies.SingleDeviceStrategy)
    strategy.device_mesh = {"tensor_parallel": SimpleNamespace(size=lambda: tensor_parallel_size)}
    return strategy


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        (nn.Linear(1, 1), 2, "ModelParallelStrategy is supported with tensor_parallel_size=1 only"),
        (nn.Linear(1, 1), 1, "weight is not covered by any fully_shard, so each process trains its own"),
        (parted("full_tensor"), 1, "0.weight is shared out by other means than fully_shard"),
    ],
)
def test_under_fsdp2_every_trained_weight_must_be_in_a_unit(model, size, words):
    strategy = model_parallel(tensor_parallel_size=size)
    told = trainer_facts.unsupported_strategy(fitting(strategy, model=model, processes=2))
    assert told == f"{words}. {AFTERWARDS}"


def test_one_process_alone_has_all_weights_under_fsdp2_as_well():
    assert trainer_facts.unsupported_strategy(fitting(model_parallel())) is None


def wrapped_by_hand():
    wrapped = object.__new__(type("Mine", (FullyShardedDataParallel,), {}))
    nn.Module.__init__(wrapped)
    return nn.Sequential(nn.Linear(1, 1), wrapped)


def test_a_model_with_a_part_that_was_wrapped_by_hand_is_refused():
    strategy = kind_of("DDPStrategy", base=pl.strategies.DDPStrategy)
    told = trainer_facts.unsupported_strategy(fitting(strategy, model=wrapped_by_hand()))
    assert told == f"1 is a FullyShardedDataParallel, which is not supported yet. {AFTERWARDS}"


class WithAnExtra(Module):
    """A part of it looks as if it was wrapped; its forward does not use that part."""

    def configure_model(self):
        self.extra = nn.Module()
        self.extra.register_parameter("weight", nn.Parameter(torch.zeros(1), requires_grad=False))
        self.extra.weight.ds_id = 0


class FSDPStrategy(pl.strategies.SingleDeviceStrategy):
    """Trains as ever."""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(trainer={"strategy": FSDPStrategy(device="cpu"), "accelerator": "auto"}), "FSDPStrategy is not "),
        (Case(WithAnExtra), "extra.weight is held in parts"),
    ],
)
def test_the_training_goes_on_with_the_same_bits_and_one_message(case, words):
    watching = monitor()
    without, outcome = run(case), run(case, watching)
    assert len(outcome.said) == 1
    assert f"camdebug is off in this run: {words}" in outcome.said[0]
    assert f"{AFTERWARDS}. Training goes on without it." in outcome.said[0]
    assert differences(without.state, outcome.state) == []
    assert watching.last_record is None
    assert hooks_on(outcome.model) == 0
