"""One of two processes that train under FSDP2 and share every look. Run by ``test_sharded_looks``.

After each look the model makes a forward of the probes through FSDP2 and all its hooks: the look must have seen the
same scores. And this process alone looks at a plain module with the gathered weights, from the same memory.
"""

import copy
import json
import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from shared_looks import unlike
from small_training import (
    Memory,
    Module,
    differences,
    everything_of,
    hooks_on,
    lost_epochs,
    monitor,
    probes,
    seed,
    train_loader,
    trainer,
    val_loader,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from camdebug.callbacks import looker, whole_weights
from camdebug.callbacks.rank_zero_buffers import rank_zero_buffers
from camdebug.callbacks.ranks import Ranks
from camdebug.callbacks.trainer_facts import TrainerPrecision, callback_bases
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.peers import ALONE
from camdebug.observe import Observer
from camdebug.rng import preserved_rng

RANKS = int(os.environ.get("RANKS", "0"))
HALF = MixedPrecisionPolicy(param_dtype=torch.bfloat16, output_dtype=torch.float32)
GROUPS = (("net.conv1", "net.norm1"), ("net.conv2", "net.norm2"), "net")


class Sharded(Module):
    """``units``: what ``fully_shard`` is called for, in this order; the last one without the options."""

    def __init__(self, units=("net.conv2", "net"), **options):
        super().__init__()
        self.units, self.options, self.set_up = units, options, False

    def configure_model(self):
        if self.set_up:
            return
        self.set_up = True
        for unit in self.units:
            part = [self.get_submodule(u) for u in unit] if isinstance(unit, tuple) else self.get_submodule(unit)
            options = {} if unit == self.units[-1] else self.options  # a BatchNorm on the CPU wants float32
            fully_shard(part, mesh=self.device_mesh["data_parallel"], **options)


class Frozen(Sharded):
    def __init__(self):
        super().__init__()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith("head"))


class FailsBetweenUnits(Sharded):
    """On rank 1 alone, where the other has asked for weights that come from both."""

    def __init__(self):
        super().__init__()
        self.net.relu.register_forward_pre_hook(self.fail)

    def fail(self, part, inputs):
        if len(inputs[0]) == 5 and torch.distributed.get_rank() == 1:
            raise RuntimeError("lost between units")


CASES = {
    "units in a unit": {},
    "several modules in a unit": {"units": GROUPS},
    "weights in bfloat16": {"units": ("net.conv2", "net.head", "net"), "mp_policy": HALF},
    "rank 1 fails between two units": {"model": FailsBetweenUnits},
    "rank 1 cannot hold its first look's weights": {"short_at": 2},
    "rank 1 cannot hold the weights at fit start": {"short_at": 0},
    "a part is not sharded": {"units": ("net.conv2",)},
    "tensor_parallel_size=2": {"mesh": (1, 2)},
}
MORE = {
    "one unit": {"units": ("net",)},
    "the module itself": {"units": ("net.conv2", "")},
    "weights stay whole after a forward": {"reshard_after_forward": False},
    "no validation": {"validation": False},
    "accumulation, validation in the middle": {"trainer": {"accumulate_grad_batches": 3, "val_check_interval": 2}},
    "frozen weights": {"model": Frozen},
    "rank 1 loses its second look": {"lost": 1},
}
OF_THREE = {
    name: CASES[name]
    for name in ("units in a unit", "rank 1 fails between two units", "rank 1 cannot hold its first look's weights")
}
"""In three processes, over which 4, 6 and 8 channels are shared out unevenly."""
CONTROL = "control: FSDP2 gathers weights in each forward of a look"
LATE = "control: memory is taken weight by weight"
NO_ROOM = "no room for a third"


class Scarce:
    """Does what ``real`` does, but runs out of memory at the third call."""

    def __init__(self, real):
        self.real, self.calls = real, 0

    def __get__(self, part, kind):
        return lambda: self(part)

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == 3:
            raise torch.OutOfMemoryError(NO_ROOM)
        return self.real(*arguments, **options)


class Gatherings:
    """How many weights this process has begun to gather, each time the model was to be whole."""

    def __init__(self, short_at=None):
        self.short_at, self.begun = short_at, []

    @contextmanager
    def counted(self):
        room, gather, begun = whole_weights._room_for, DTensor.full_tensor, self.begun

        def room_for(*arguments):
            begun.append(0)
            scarce = len(begun) - 1 == self.short_at and torch.distributed.get_rank() == 1
            with patch.object(torch, "empty", Scarce(torch.empty)) if scarce else nullcontext():
                return room(*arguments)

        def full_tensor(part, **options):
            if sys._getframe(1).f_code.co_name == "_gathered":
                begun[-1] += 1
            return gather(part, **options)

        with patch.object(whole_weights, "_room_for", room_for), patch.object(DTensor, "full_tensor", full_tensor):
            yield


class Watching(*callback_bases()):
    """A monitor whose every look is checked by this callback, which stands after it. Rank 1 may lose one."""

    def __init__(self, rank, *, plain, lost=None):
        self.monitor = monitor(probes=probes(per_class=20), log_probes=2)
        self.rank, self.plain, self.lost = rank, plain, lost
        self.unlike, self.looks, self.checked, self.inside = [], 0, 0, []
        self.monitor._observer.look = self.look

    def look(self, model, precision, **options):
        observer = self.monitor._observer
        del observer.look  # or the copy would call it
        self.alone, self.options = copy.deepcopy(observer), {**options, "peers": ALONE}
        observer.look = self.look
        self.inside = sorted({type(parameter).__name__ for parameter in model.parameters()})
        record = Observer.look(observer, model, precision, **options)
        self.looks += 1
        if self.lost == self.looks - 1 and self.rank == 1:
            raise RuntimeError("lost on purpose")
        self.fresh = True
        return record

    fresh = False

    def on_validation_epoch_end(self, fitted, module):
        record, fresh = self.monitor.last_record, self.fresh
        self.fresh = False
        if not fresh or record.epoch != fitted.current_epoch:
            return
        with Ranks().attempt(), rank_zero_buffers(module, Ranks()):
            scores, state = self.scores_of(module), whole(module)
        labels, found = self.monitor.probes.labels, record.label_maps
        self.unlike += unlike(scores.gather(1, labels[:, None])[:, 0], found.class_score, "FSDP2's scores")
        self.unlike += unlike(scores.argmax(1), found.predicted_class, "FSDP2's predictions")
        if self.plain:
            self.unlike += unlike(record, self.look_at_a_plain_module(fitted, state), "a plain module's")
        self.checked += 1

    def scores_of(self, module):
        flags = {part: part.training for part in module.modules()}
        for part in flags:
            part.training = False
        with torch.no_grad():
            scores = [module(rows.clone()).float() for rows in self.monitor.probes.images.split(5)]
        for part, training in flags.items():
            part.training = training
        return torch.cat(scores)

    def look_at_a_plain_module(self, fitted, state):
        with preserved_rng():
            plain = Module()
        plain.load_state_dict(state)
        with borrowed(plain):
            return Observer.look(self.alone, plain, TrainerPrecision(fitted, plain), **self.options)


ROUNDS = {(2, ""): CASES, (2, "more"): MORE, (3, ""): OF_THREE}
"""What so many processes go through."""


def whole(model):
    """The weights, gathered without help from the package."""
    state = model.state_dict()
    return {k: v.full_tensor() if isinstance(v, DTensor) else v.clone() for k, v in state.items()}


def train(callbacks, case):
    seed(1)
    model, memory = case.get("model", Sharded)(**{k: case[k] for k in case.keys() & OF_FULLY_SHARD}), Memory()
    mesh = dict(zip(("data_parallel_size", "tensor_parallel_size"), case.get("mesh", (RANKS, 1)), strict=True))
    options = {
        "max_epochs": 2,
        "devices": RANKS,
        "strategy": pl.strategies.ModelParallelStrategy(**mesh),
        **case.get("trainer", {}),
    }
    fitted = trainer(callbacks=callbacks, logger=memory, **options)
    fitted.fit(model, train_loader(), val_loader() if case.get("validation", True) else None)
    state = everything_of(model, fitted, memory) | {"hooks": hooks_on(model)}
    ours = {k: float(v) for k, v in fitted.callback_metrics.items() if k.startswith("camdebug/")}
    return {k: v.to_local() if isinstance(v, DTensor) else v for k, v in state.items()}, ours


OF_FULLY_SHARD = {"units", "reshard_after_forward", "mp_policy"}


def go_through(name, case, rank):
    watching = Watching(rank, plain="mp_policy" not in case, lost=case.get("lost"))
    gatherings = Gatherings(case.get("short_at"))
    without, _ = train([], case)
    with gatherings.counted():
        under_watch, metrics = train([watching.monitor, watching], case)
    return {
        "begun": gatherings.begun,
        "unlike": watching.unlike,
        "looks": watching.looks,
        "checked": watching.checked,
        "inside": watching.inside,
        "differences": differences(without, under_watch),
        "metrics": metrics,
        "lost": lost_epochs(watching.monitor),
    }


def take_memory_late(folder, rank):
    """As if room were not taken beforehand: rank 1 fails while the others gather. One process may die here."""
    model = Module()
    fully_shard(model.net, mesh=torch.distributed.init_device_mesh("cpu", (RANKS,)))
    late = patch.object(DTensor, "full_tensor", Scarce(DTensor.full_tensor)) if rank == 1 else nullcontext()
    try:
        with late, Ranks().attempt(), whole_weights.whole_weights(model, Ranks()):
            pass
    except Exception as error:
        (folder / f"{LATE} {rank}.json").write_text(json.dumps(str(error)))


def main(folder, which):
    rank = int(os.environ["LOCAL_RANK"])
    torch.set_num_threads(1)
    for name, case in ROUNDS[RANKS, which].items():
        print(f"case {name}:", flush=True)
        (folder / f"{name} {rank}.json").write_text(json.dumps(go_through(name, case, rank)))
    looker.whole_weights = lambda model, peers: nullcontext()
    try:
        found = go_through(CONTROL, {}, rank)
    except RuntimeError as error:
        found = str(error)
    (folder / f"{CONTROL} {rank}.json").write_text(json.dumps(found))
    if ROUNDS[RANKS, which] is CASES:
        take_memory_late(folder, rank)
    os._exit(0)  # gloo may abort an interpreter that exits in its own way


if __name__ == "__main__":
    main(Path(sys.argv[1]), "".join(sys.argv[2:]))
