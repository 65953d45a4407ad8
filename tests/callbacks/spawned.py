"""Trainings under ``ddp_spawn``: what the processes find is written to files, for nothing else comes back."""

import json
import sys
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from small_training import Module, monitor, probes, seed, train_loader, trainer, val_loader


class Starts(Callback):
    """Runs in every process; those that are forked would go on with the generators of the first one."""

    def on_fit_start(self, fitted, module):
        torch.set_num_threads(1)
        seed(2)


class Writes(Callback):
    def __init__(self, watched, folder):
        self.watched, self.folder = watched, folder

    def on_fit_end(self, fitted, module):
        record = self.watched.last_record
        maps = record.label_maps.maps
        found = {"epoch": record.epoch, "rank": fitted.global_rank, "maps": list(maps.shape), "sum": float(maps.sum())}
        (self.folder / f"spawned {fitted.global_rank}.json").write_text(json.dumps(found))


def train(callbacks, strategy):
    seed(1)
    model = Module()
    trainer(callbacks=[Starts(), *callbacks], devices=2, strategy=strategy).fit(model, train_loader(), val_loader())
    return model.state_dict()


def main(folder):
    torch.set_num_threads(1)
    watched = monitor(probes=probes(per_class=20), log_probes=2, on_alert=lambda alert: None)  # cannot be pickled
    without = train([], "ddp_fork")  # trains alike, and imports nothing anew
    under_watch = train([watched, Writes(watched, folder)], "ddp_spawn")
    same = [key for key in without if not torch.equal(without[key], under_watch[key])]
    (folder / "differences.json").write_text(json.dumps(same))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
