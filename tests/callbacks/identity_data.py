"""What trainings of the identity matrix read: each function makes the arguments of ``fit``."""

import numpy as np
import pytorch_lightning as pl
import torch
from small_training import Pictures, Stream, train_loader, val_loader
from torch.utils.data import DataLoader, WeightedRandomSampler

from camdebug.probe.probe_set import ProbeSet


def usual():
    return {"train_dataloaders": train_loader(), "val_dataloaders": val_loader()}


def no_validation():
    return {"train_dataloaders": train_loader()}


def of_the_module():
    return {}


def of_float64():
    train, validation = Pictures(), Pictures(16, augment=False)
    train.x, validation.x = train.x.double(), validation.x.double()
    return {
        "train_dataloaders": DataLoader(train, batch_size=8, shuffle=True),
        "val_dataloaders": DataLoader(validation, batch_size=8),
    }


def in_float64(probes):
    return ProbeSet(probes.images.double(), probes.labels, probes.boxes, class_names=probes.class_names)


def persistent_workers():
    loader = train_loader(num_workers=2, persistent_workers=True)
    return {"train_dataloaders": loader, "val_dataloaders": val_loader()}


def _seed_worker(number):
    np.random.seed((torch.initial_seed() + number) % 2**32)


def seeded_workers():
    source = torch.Generator().manual_seed(7)
    loader = train_loader(num_workers=1, generator=source, worker_init_fn=_seed_worker)
    return {"train_dataloaders": loader, "val_dataloaders": val_loader()}


def weighted():
    pictures = Pictures()
    sampler = WeightedRandomSampler(torch.linspace(1, 2, len(pictures)), 40, generator=torch.Generator().manual_seed(7))
    return {
        "train_dataloaders": DataLoader(pictures, batch_size=8, sampler=sampler),
        "val_dataloaders": DataLoader(Pictures(16), batch_size=8, shuffle=True),
    }


def stream():
    return {"train_dataloaders": DataLoader(Stream(), batch_size=8), "val_dataloaders": val_loader()}


class Data(pl.LightningDataModule):
    def __init__(self):
        super().__init__()
        self.made = 0

    def train_dataloader(self):
        self.made += 1
        return train_loader(generator=torch.Generator().manual_seed(self.made))

    def val_dataloader(self):
        return val_loader()


def module():
    return {"datamodule": Data()}


def several():
    loaders = {"a": train_loader(), "b": DataLoader(Pictures(24), batch_size=8, shuffle=True)}
    combined = pl.utilities.CombinedLoader(loaders, "max_size_cycle")
    return {"train_dataloaders": combined, "val_dataloaders": [val_loader(), val_loader()]}
