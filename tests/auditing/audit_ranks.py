"""One of several processes that audit together under DDP. Run by ``test_ranks``; what it finds goes to files."""

import json
import os
import sys
from pathlib import Path

import torch
from small_audit import Annotated, ReadOnce, bits, net, quick
from small_training import Net, probes, seed, trainer

LOOK = {"per_class": 21, "num_workers": 0, "batch_size": 16}
FINE = (
    "heat",
    "fewer batches than ranks",
    "no sampler",
    "look",
    "a probe lost on rank 1",
    "a probe set",
    "buffers of their own",
)
FAILING = ("model fails on rank 1", "callback fails on rank 0", "pictures differ", "look fails on rank 1")


class Fails(Net):
    def __init__(self, *, rank, after):
        super().__init__()
        self.rank, self.after, self.calls = rank, after, []

    def forward(self, x):
        if int(os.environ["LOCAL_RANK"]) == self.rank and len(x) == self.after:
            raise RuntimeError("lost on purpose")
        return super().forward(x)


class Unlike(Annotated):
    """Pictures of a process's own."""

    def __getitem__(self, i):
        image, target = super().__getitem__(i)
        return image + 0.1 * int(os.environ["LOCAL_RANK"]), target


def options_of(name):
    """What is audited in a case."""
    if name == "a probe lost on rank 1":
        return {"dataset": ReadOnce(120, fails=os.environ.get("LOCAL_RANK", "1") == "1"), **LOOK}
    if name in ("look", "pictures differ", "look fails on rank 1"):
        kind = Unlike if name == "pictures differ" else Annotated
        return {"dataset": kind(120), **LOOK}
    return {
        "fewer batches than ranks": {"batch_size": 40},
        "a probe set": {"dataset": probes(per_class=24), "per_class": 60},
    }.get(name, {})


def model_of(name):
    seed(1)
    if name == "model fails on rank 1":
        return Fails(rank=1, after=8)
    if name == "look fails on rank 1":
        return Fails(rank=1, after=4)  # the last chunk of a pass over 84 probes, no batch of the dataset
    return net()


def main(folder):
    rank, count = int(os.environ["LOCAL_RANK"]), int(os.environ["RANKS"])
    torch.set_num_threads(1)
    for name in [*FINE, *FAILING]:
        model = model_of(name)
        if name == "buffers of their own":  # running statistics are local to a process after a training
            model.norm1.running_mean += rank
        before = {k: v.clone() for k, v in model.state_dict().items()}
        more = {"use_distributed_sampler": False} if name == "no sampler" else {}
        if name == "callback fails on rank 0":
            more["callbacks"] = breaking(rank)
        fitted = trainer(strategy="ddp", devices=count, **more)
        found, counted = {}, []
        model.register_forward_hook(lambda module, inputs, output, counted=counted: counted.append(len(output)))
        try:
            report = quick(model, fitted=fitted, **options_of(name))
            found["bits"] = bits(report)
            report.save(folder / f"{name}.json")
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
        found["read"] = sum(n for n in counted if n > 1)  # one alone is looked at to find the layer
        found["same"] = all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        (folder / f"{name} {rank}.json").write_text(json.dumps(found))


def breaking(rank):
    import pytorch_lightning as pl

    class Breaks(pl.Callback):
        def on_predict_batch_end(self, *args):
            if rank == 0:
                raise OSError("disk full")

    return Breaks()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
