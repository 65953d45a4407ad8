"""One of several processes that train under DDP and share every look. Run by ``test_shared_looks``.

At each look of the monitor the same look is taken again by this process alone, from the same memory, on the same
weights and with rank zero's buffers: both must find the same to the last bit.
"""

import copy
import json
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy
from small_training import (
    CLASSES,
    Module,
    Pictures,
    differences,
    everything_of,
    lost_epochs,
    monitor,
    probes,
    seed,
    trainer,
    val_loader,
)
from small_training import Memory as MemoryLogger
from torch.utils.data import DataLoader

from camdebug.callbacks import looker
from camdebug.cam.peers import ALONE
from camdebug.observe import Observer, observer
from camdebug.verdict.learned import learned_classes

CASES = {
    "ddp": {},
    "uneven chunks": {"chunk_size": 17},
    "fewer chunks than ranks": {"chunk_size": 100},
    "no validation, so buffers differ": {"validation": False},
    "unused parameters are looked for": {"trainer": {"strategy": "ddp_find_unused_parameters_true"}},
    "static graph": {"trainer": {"strategy": DDPStrategy(static_graph=True)}},
    "planned looks": {"learned": True, "epochs": 1},
    "accumulation, validation in the middle": {"trainer": {"accumulate_grad_batches": 3, "val_check_interval": 2}},
    "bf16-mixed": {"trainer": {"precision": "bf16-mixed"}},
    "moving average": {"average": True},
    "rank 1 loses its second look": {"lost": 1},
    "rank 1 runs out of memory": {"model": "greedy", "epochs": 1},
    "the model communicates in its forward": {"model": "talks", "chunk_size": 32},
    "a logger communicates": {"logger": "talks", "chunk_size": 32, "epochs": 1},
    "rank 1 finds no look due": {"spoil": "due"},
    "rank 1 starts elsewhere": {"spoil": "start"},
}
MORE = {
    "rank 1 expects that this look is the last one": {"learned": True, "spoil": "plan"},
    "uneven data": {"pictures": 37},
    "every rank has all the data": {"trainer": {"use_distributed_sampler": False}},
    "two nodes": {"trainer": {"devices": 1, "num_nodes": 2}},
    "longer": {"epochs": 4},
}
FEWER = {"fewer probes than ranks": {"probes": {"per_class": 1, "classes": 2}, "chunk_size": 1}}
CONTROL = {"control: every rank keeps its own buffers": {"validation": False}}
EVERY = CASES | MORE | FEWER | CONTROL
EPOCHS = 2
ROUNDS = {
    (2, ""): [*CASES, *CONTROL],
    (2, "more"): list(MORE),
    (3, ""): ["ddp", "uneven chunks", "planned looks", "rank 1 loses its second look", *FEWER],
}
"""What so many processes go through."""


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
        self.monitor = monitor(log_probes=2, **options)
        self.rank, self.lost, self.unlike, self.forwards, self.looks = rank, lost, [], [], 0
        self.decided = []
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
            alone.chunk_size = observer.chunk_size  # halved if any rank ran out of memory
            again = Observer.look(alone, model, precision, peers=ALONE, **options)
        finally:
            handle.remove()
        self.looks += 1
        self.decided.append(any(swap.decides for swap in record.swaps))
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


class Greedy(Module):
    """Rank 1 has less memory than the others."""

    def forward(self, x):
        if 2 < len(x) < 8 and self.global_rank == 1 and not self.training:
            raise torch.OutOfMemoryError("five are too many")
        return self.net(x)


MODELS = {"talks": Talks, "greedy": Greedy}


def spoil(watched, what, rank):
    """What one process alone may get wrong."""
    if rank != 1:
        return
    if what == "due":
        watched._schedule.is_due = lambda fitted: 1 / 0
    if what == "plan":
        real_look = watched._looker.look
        watched._looker.look = lambda fitted, module, every_n_epochs: real_look(fitted, module, every_n_epochs=99)
    if what == "start":
        real = watched.setup

        def setup(fitted, module, stage):
            real(fitted, module, stage)
            watched._schedule.last_epoch = 7

        watched.setup = setup


class TalkingLogger(MemoryLogger):
    """Hangs where one process alone hands it a row."""

    def log_metrics(self, metrics, step=None):
        torch.distributed.all_reduce(torch.zeros(1))
        super().log_metrics(metrics, step)


def averaging(case):
    if not case.get("average"):
        return []
    from pytorch_lightning.callbacks.weight_averaging import EMAWeightAveraging  # not before 2.6

    return [EMAWeightAveraging(decay=0.9)]


def train(callbacks, case):
    seed(1)
    model, memory = MODELS.get(case.get("model"), Module)(), (TalkingLogger if "logger" in case else MemoryLogger)()
    ranks, surroundings = int(os.environ["RANKS"]), copy.deepcopy(case.get("trainer", {}))
    options = {"max_epochs": case.get("epochs", EPOCHS), "devices": ranks, "strategy": "ddp", **surroundings}
    fitted = trainer(callbacks=callbacks + averaging(case), logger=memory, **options)
    loader = DataLoader(Pictures(case.get("pictures", 40)), batch_size=8, shuffle=True)
    fitted.fit(model, loader, val_loader() if case.get("validation", True) else None)
    ours = {k: float(v) for k, v in fitted.callback_metrics.items() if k.startswith("camdebug/")}
    return everything_of(model, fitted, memory), ours


def all_learned(labels, predicted):
    """Only then does the plan begin, and noise is never learned."""
    return dict.fromkeys(range(CLASSES), True)


@contextmanager
def nodes(rank, count):
    """In which the processes are, one in each, if there are several."""
    kept = {name: os.environ[name] for name in ("NODE_RANK", "LOCAL_RANK")}
    if count > 1:
        os.environ.update(NODE_RANK=str(rank), LOCAL_RANK="0")
    try:
        yield
    finally:
        os.environ.update(kept)


def go_through(case, rank):
    given = probes(**case.get("probes", {"per_class": 20}))
    watching = Watching(rank, lost=case.get("lost"), probes=given, chunk_size=case.get("chunk_size", 5))
    spoil(watching.monitor, case.get("spoil"), rank)
    observer.learned_classes = all_learned if case.get("learned") else learned_classes
    with nodes(rank, case.get("trainer", {}).get("num_nodes", 1)):
        without, _ = train([], case)
        under_watch, metrics = train([watching.monitor], case)
    return {
        "unlike": watching.unlike,
        "forwards": watching.forwards,
        "decided": watching.decided,
        "looks": watching.looks,
        "expected": case.get("epochs", EPOCHS),
        "chunk_size": watching.monitor._observer.chunk_size,
        "differences": differences(without, under_watch),
        "metrics": metrics,
        "lost": lost_epochs(watching.monitor),
    }


def main(folder, which):
    rank, count = int(os.environ["LOCAL_RANK"]), int(os.environ["RANKS"])
    torch.set_num_threads(1)
    for name in ROUNDS[count, which]:
        if name in CONTROL:
            looker.rank_zero_buffers = lambda model, peers: nullcontext()
        (folder / f"{name} {rank}.json").write_text(json.dumps(go_through(EVERY[name], rank)))
    os._exit(0)  # gloo may abort an interpreter that exits in its own way


if __name__ == "__main__":
    main(Path(sys.argv[1]), "".join(sys.argv[2:]))
