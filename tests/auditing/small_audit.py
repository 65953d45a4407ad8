"""A small annotated dataset with some pictures that cannot be used, and a quiet audit of it."""

import pytorch_lightning as pl
import torch
from small_training import CLASSES, Net, seed, trainer
from torch.utils.data import Dataset

from camdebug import audit

UNREADABLE, BOXLESS, TINY = 3, 11, 20


class Annotated(Dataset):
    """40 pictures of 16 px; ``broken``: three of them cannot be used."""

    classes = tuple(f"kind {k}" for k in range(CLASSES))

    def __init__(self, count=40, *, broken=True):
        source = torch.Generator().manual_seed(3)
        self.images = torch.randn(count, 3, 16, 16, generator=source)
        corner = torch.randint(0, 8, (count, 2), generator=source).float()
        self.boxes = torch.cat([corner, corner + 7], 1)
        self.broken = broken

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        if self.broken and i == UNREADABLE:
            raise OSError("truncated file")
        image, boxes = self.images[i], self.boxes[i : i + 1]
        if self.broken and i == BOXLESS:
            boxes = boxes[:0]
        if self.broken and i == TINY:
            image = image[:, :8, :8]
        return image, {"boxes": boxes, "labels": torch.full((len(boxes),), i % CLASSES)}


class ReadOnce(Annotated):
    """Picture 30 can be read after the one before it, as a batch does, but not when it is drawn as a probe."""

    def __init__(self, count=120, *, fails=True):
        super().__init__(count)
        self.fails, self.before = fails, -1

    def __getitem__(self, i):
        before, self.before = self.before, i
        if self.fails and i == 30 and before != 29:
            raise OSError("lost")
        return super().__getitem__(i)


def net():
    seed(1)
    return Net()


def quick(model=None, dataset=None, *, package=pl, fitted=None, **options):
    """The heat part of an audit, with few pictures a batch."""
    given = {"per_class": 0, "batch_size": 8, **options}
    fitted = fitted if fitted is not None else trainer(package)
    return audit(fitted, net() if model is None else model, Annotated() if dataset is None else dataset, **given)


def bits(report):
    """Everything that must be equal to the last bit."""
    pictures = report.pictures
    return {
        "ids": pictures.source_ids,
        "labels": pictures.labels.tolist(),
        "predicted": pictures.predicted.tolist(),
        "inside": [value.hex() for value in pictures.scores.inside_mass.tolist()],
        "area": [value.hex() for value in pictures.scores.area_fraction.tolist()],
        "validity": [v.name for v in pictures.scores.validity],
        "report": report.to_dict(),
    }
