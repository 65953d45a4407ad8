"""Trainings under ``ddp_spawn``: what the processes find is written to files, for nothing else comes back."""

import json
import sys
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from small_training import Module, monitor, probes, seed, train_loader, trainer, val_loader


class Writes(Callback):
    """Runs in every process."""

    def __init__(self, watched, folder):
        self.watched, self.folder = watched, folder

    def on_fit_start(self, fitted, module):
        torch.set_num_threads(1)

    def on_fit_end(self, fitted, module):
        record = self.watched.last_record
        maps = record.label_maps.maps
        found = {"epoch": record.epoch, "rank": fitted.global_rank, "maps": list(maps.shape), "sum": float(maps.sum())}
        (self.folder / f"spawned {fitted.global_rank}.json").write_text(json.dumps(found))


def train(callbacks):
    seed(1)
    model = Module()
    trainer(callbacks=callbacks, devices=2, strategy="ddp_spawn").fit(model, train_loader(), val_loader())
    return model.state_dict()


def main(folder):
    torch.set_num_threads(1)
    watched = monitor(probes=probes(per_class=20), log_probes=2)
    without, under_watch = train([]), train([watched, Writes(watched, folder)])
    same = [key for key in without if not torch.equal(without[key], under_watch[key])]
    (folder / "differences.json").write_text(json.dumps(same))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
