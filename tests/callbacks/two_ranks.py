"""One of two processes that train together; what they find is written to files. Run by ``test_two_ranks``."""

import json
import os
import sys
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from small_training import CLASSES, Module, monitor, probes, seed, train_loader, trainer, val_loader
from staging import staged

from camdebug import Level

QUIET, FIRST = [Level.NO_EVIDENCE] * CLASSES, [Level.CONFIRMED] + [Level.NO_EVIDENCE] * (CLASSES - 1)
CONFIRMS = [QUIET, FIRST]


class LightningStops(Callback):
    def on_train_epoch_end(self, fitted, module):
        fitted.should_stop = fitted.current_epoch == 1


def watching(rank, action, *, fails=None, quiet=None):
    small = monitor(probes=probes(per_class=2), contrast=False, action=action, log_probes=1)
    found = staged(small, [QUIET] if rank == quiet else CONFIRMS)
    if rank == fails:
        found._observer.look = lambda *args, **options: 1 / 0
    return found


def callbacks_of(rank):
    return {
        "lightning stops": LightningStops(),
        "both confirm": watching(rank, "stop"),
        "look of rank 0 fails": watching(rank, "stop", fails=0),
        "look of rank 1 fails": watching(rank, "stop", fails=1),
        "rank 1 alone confirms": watching(rank, "stop", quiet=0),
        "action warn": watching(rank, "warn"),
    }


def train(callback):
    seed(1)
    model = Module()
    fitted = trainer(callbacks=callback, max_epochs=4, devices=2, strategy="ddp")
    fitted.fit(model, train_loader(), val_loader())
    return {"rank": fitted.global_rank, "epochs": fitted.current_epoch, "steps": fitted.global_step}, model


def refused(folder, rank):
    """What a fit raises that is resumed with the probes of the checkpoint in one process, with others in the other."""
    monitors = [monitor(probes=probes(per_class=2, seed=9 + k), contrast=False, log_probes=1) for k in (0, rank)]
    for watcher, epochs, checkpoint in zip(monitors, (1, 3), (None, folder / "first.ckpt"), strict=True):
        fitted = trainer(callbacks=watcher, max_epochs=epochs, devices=2, strategy="ddp")
        try:
            fitted.fit(Module(), train_loader(), val_loader(), ckpt_path=checkpoint)
        except ValueError as error:
            return {"raised": str(error), "steps": fitted.global_step}
        fitted.save_checkpoint(folder / "first.ckpt")
    return {}


def main(folder):
    rank = int(os.environ["LOCAL_RANK"])
    torch.set_num_threads(1)
    for name, callback in callbacks_of(rank).items():
        facts, model = train(callback)
        torch.save(model.state_dict(), folder / f"{name} {rank}.pt")
        (folder / f"{name} {rank}.json").write_text(json.dumps(facts))
    (folder / f"other probes {rank}.json").write_text(json.dumps(refused(folder, rank)))
    os._exit(0)  # gloo may abort an interpreter that exits in its own way


if __name__ == "__main__":
    main(Path(sys.argv[1]))
