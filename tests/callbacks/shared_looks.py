"""One of several processes that train under DDP and share every look. Run by ``test_shared_looks``.

At each look of the monitor the same look is taken again by this process alone, from the same memory, on the same
weights and with rank zero's buffers: both must find the same to the last bit.
"""

import copy
import json
import os
import sys
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy
from small_training import Memory as MemoryLogger
from small_training import Module, differences, everything_of, monitor, probes, seed, train_loader, trainer, val_loader

from camdebug.callbacks import looker
from camdebug.cam.peers import ALONE
from camdebug.observe import Observer

CASES = {
    "ddp": {},
    "uneven chunks": {"chunk_size": 32},
    "fewer chunks than ranks": {"chunk_size": 100},
    "no validation, so buffers differ": {"validation": False},
    "unused parameters are looked for": {"strategy": DDPStrategy(find_unused_parameters=True)},
    "static graph": {"strategy": DDPStrategy(static_graph=True)},
    "rank 1 loses its second look": {"lost": 1},
    "the model communicates in its forward": {"model": "talks", "chunk_size": 32},
    "rank 1 finds no look due": {"spoil": "due"},
    "rank 1 starts elsewhere": {"spoil": "start"},
}
CONTROL = "control: every rank keeps its own buffers"
OF_THREE = ("ddp", "uneven chunks", "rank 1 loses its second look")


def cases(count):
    """Names of the cases that so many processes go through."""
    return list(CASES) if count == 2 else list(OF_THREE)


def unlike(one, other, where=""):
    """Names of what differs between two records, in any bit; the time that they took aside."""
    if is_dataclass(one):
        names = [f.name for f in fields(one) if f.name != "seconds"]
        return [d for n in names for d in unlike(getattr(one, n), getattr(other, n), f"{where}.{n}")]
    if isinstance(one, (tuple, list)):
        if len(one) != len(other):
            return [f"{where}: {len(one)} and {len(other)}"]
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in unlike(a, b, f"{where}[{i}]")]
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one.nan_to_num(7.25), other.nan_to_num(7.25))
    else:
        same = one == other or (one != one and other != other)
    return [] if same else [where]


class Watching:
    """A monitor whose every look is taken twice; ``lost``: so many looks before one fails on rank 1."""

    def __init__(self, rank, *, lost=None, **options):
        self.monitor = monitor(probes=probes(per_class=24), log_probes=2, **options)
        self.rank, self.lost, self.unlike, self.forwards, self.looks = rank, lost, [], [], 0
        self.monitor._observer.look = self.look

    def look(self, model, precision, *, peers, **options):
        observer = self.monitor._observer
        del observer.look  # or the copy would call it
        alone = copy.deepcopy(observer)
        observer.look = self.look
        counted = []
        handle = model.net.conv1.register_forward_hook(lambda m, inputs, output: counted.append(len(output)))
        try:
            record = Observer.look(observer, model, precision, peers=peers, **options)
            shared = len(counted)
            again = Observer.look(alone, model, precision, peers=ALONE, **options)
        finally:
            handle.remove()
        self.looks += 1
        self.forwards.append([shared, len(counted) - shared])
        self.unlike += unlike(record, again)
        if self.lost == self.looks - 1 and self.rank == 1:
            raise RuntimeError("lost on purpose")
        return record


class Talks(Module):
    """Hangs where one process makes more forwards than another."""

    def forward(self, x):
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(torch.zeros(1))
        return self.net(x)


def spoil(watched, what, rank):
    """What one process alone may get wrong."""
    if rank != 1:
        return
    if what == "due":
        watched._schedule.is_due = lambda fitted: 1 / 0
    if what == "start":
        real = watched.setup

        def setup(fitted, module, stage):
            real(fitted, module, stage)
            watched._schedule.last_epoch = 7

        watched.setup = setup


def train(callbacks, *, validation, strategy, model):
    seed(1)
    model, memory = model(), MemoryLogger()
    options = {"max_epochs": 4, "devices": int(os.environ["RANKS"]), "strategy": copy.deepcopy(strategy)}
    fitted = trainer(callbacks=callbacks, logger=memory, **options)
    fitted.fit(model, train_loader(), val_loader() if validation else None)
    ours = {k: float(v) for k, v in fitted.callback_metrics.items() if k.startswith("camdebug/")}
    return everything_of(model, fitted, memory), ours


def main(folder):
    rank = int(os.environ["LOCAL_RANK"])
    torch.set_num_threads(1)
    count = int(os.environ["RANKS"])
    for name in [*cases(count), CONTROL]:
        options = CASES.get(name, {"validation": False})
        if name == CONTROL:
            looker.rank_zero_buffers = lambda model, peers: nullcontext()
        surroundings = {
            "validation": options.get("validation", True),
            "strategy": options.get("strategy", "ddp"),
            "model": Talks if options.get("model") == "talks" else Module,
        }
        watching = Watching(rank, lost=options.get("lost"), chunk_size=options.get("chunk_size", 5))
        spoil(watching.monitor, options.get("spoil"), rank)
        without, _ = train([], **surroundings)
        under_watch, metrics = train([watching.monitor], **surroundings)
        found = {
            "unlike": watching.unlike,
            "forwards": watching.forwards,
            "looks": watching.looks,
            "differences": differences(without, under_watch),
            "metrics": metrics,
            "lost": watching.monitor._messages._lost,
        }
        (folder / f"{name} {rank}.json").write_text(json.dumps(found))
    os._exit(0)  # gloo may abort an interpreter that exits in its own way


if __name__ == "__main__":
    main(Path(sys.argv[1]))
