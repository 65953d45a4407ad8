"""One of two processes of which one is interrupted or killed in the midst of a look. Run by ``test_parting_ranks``.

Each training has a child process of its own, forked so that nothing is imported twice. In its control there is no
monitor, and the same happens in a callback at the same place.
"""

import hashlib
import json
import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from small_training import Module, lost_epochs, monitor, probes, seed, train_loader, trainer, val_loader

RANK = int(os.environ.get("LOCAL_RANK", "0"))
BATCH, CHUNK = 8, 3  # a look has smaller ones than the training


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


SCENES = {"rank 1 is interrupted": interrupt, "rank 1 is killed": kill, "all are interrupted": interrupt}


class Parts(Module):
    """In the second look: rank 1, where its second forward begins, or all."""

    what, forwards = None, 0

    def forward(self, x):
        if self.what is not None and len(x) < BATCH and self.current_epoch == 1:
            self.forwards += 1
            if self.forwards == 2:
                self.what()
        return self.net(x)


class PartsWithoutUs(Callback):
    def __init__(self, what):
        self.what = what

    def on_validation_epoch_end(self, fitted, module):
        if self.what is not None and fitted.current_epoch == 1:
            self.what()


def train(what, *, watched):
    seed(1)
    what = None if what is None else staticmethod(what)
    model = type("Model", (Parts,), {"what": what})()
    ours = monitor(probes=probes(per_class=2), contrast=False, log_probes=0, chunk_size=CHUNK)
    callback = ours if watched else PartsWithoutUs(model.what)
    strategy = DDPStrategy(timeout=timedelta(seconds=30))
    fitted = trainer(callbacks=callback, max_epochs=4, devices=2, strategy=strategy)
    try:
        fitted.fit(model, train_loader(), val_loader())
        ended = "well"
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # older versions raise the interrupt itself
        ended = type(error).__name__
    weights = hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()
    epochs = fitted.fit_loop.epoch_progress.current.completed
    return {"ended": ended, "epochs": epochs, "weights": weights, "lost": lost_epochs(ours)}


def agree_on_port(path):
    """Every training has a meeting place of its own: in the last one somebody may still be waiting."""
    if RANK == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            partly = path.with_suffix(".partly")
            partly.write_text(str(free.getsockname()[1]))
        partly.rename(path)
    while not path.exists():
        time.sleep(0.01)
    os.environ["MASTER_PORT"] = path.read_text()


def main(folder):
    torch.set_num_threads(1)
    for name, what in SCENES.items():
        for kind in ("watched", "control"):
            agree_on_port(folder / f"{name} {kind}.port")
            child = os.fork()
            if child == 0:
                parts = RANK == 1 or name.startswith("all")
                found = train(what if parts else None, watched=kind == "watched")
                (folder / f"{name} {kind} {RANK}.json").write_text(json.dumps(found))
                os._exit(0)  # gloo may abort an interpreter that exits in its own way
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
