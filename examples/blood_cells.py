"""Tell red cells, white cells and platelets apart, and watch where the network looks.

    python examples/blood_cells.py                         # smears that are drawn here
    python examples/blood_cells.py --data BCCD --side 224  # the BCCD dataset, or another Pascal VOC folder like it
    python examples/blood_cells.py --magnified

The annotations are of whole smears, the classifier sees one cell at a time. So each annotated cell is cut out with what
lies around it, and its box goes with it; the other cells in the crop count neither as object nor as background.

With ``--magnified`` every cell fills a quarter of its crop. A platelet is magnified more than a white cell then, and so
are the grain and the neighbours around it: these tell the class, the network uses them, and camdebug says so.
"""

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from camdebug import CAMMonitor, ProbeSet
from camdebug.sources import ObjectCrops, VocFolder
from camdebug.sources.pictures import open_picture

CLASSES = ("red", "white", "platelet")
NAMES = {"RBC": "red", "WBC": "white", "Platelets": "platelet"}

validation = v2.Compose(
    [v2.ToImage(), v2.Resize((64, 64)), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)


class Crops(Dataset):
    """Cells to train on: no boxes are needed here."""

    def __init__(self, source, transform):
        found = source.read()
        self.cells = [(entry, next(o.name for o in entry.objects if not o.ignored)) for entry in found.entries]
        self.transform = transform

    def __len__(self):
        return len(self.cells)

    def __getitem__(self, index):
        entry, name = self.cells[index]
        return self.transform(open_picture(entry)), CLASSES.index(NAMES[name])


class CellClassifier(LightningModule):
    """Your model stands here."""

    def __init__(self):
        super().__init__()
        stages = [
            nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in ((3, 16), (16, 32), (32, 64))
        ]
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(64, len(CLASSES))

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))

    def training_step(self, batch, _):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main(data: Path | None, output: Path, epochs: int = 20, side: int | None = 96) -> CAMMonitor:
    """Train and watch; ``side`` of the crops in pixels of the smear, ``None`` for twice the cell's own."""
    seed_everything(0)
    if data is None:
        data = output / "smears"
        if not data.exists():
            draw_smears(data)
    training = ObjectCrops(VocFolder(data, split="train"), side=side, most=2)
    held_out = ObjectCrops(
        VocFolder(data, split="val"), side=side, most=1
    )  # crops of one smear show parts of each other

    probes = ProbeSet.from_source(held_out, transform=validation, class_names=CLASSES, label_map=NAMES, per_class=40)
    print(probes.summary(epochs=epochs))
    probes.preview(output / "probes.png")
    print(probes.leaks_into(training))

    augmented = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), validation])
    monitor = CAMMonitor(probes)
    trainer = Trainer(max_epochs=epochs, logger=TensorBoardLogger(output), callbacks=[monitor], log_every_n_steps=5)
    trainer.fit(
        CellClassifier(),
        DataLoader(Crops(training, augmented), batch_size=32, shuffle=True),
        DataLoader(Crops(held_out, validation), batch_size=64),
    )
    for verdict in monitor.last_record.verdicts if monitor.last_record else ():
        print(f"{CLASSES[verdict.class_idx]}: {verdict.level.value}. {verdict.reason}")
    print(f"tensorboard --logdir {output} --samples_per_plugin images=9999")
    return monitor


def draw_smears(folder: Path, *, train: int = 40, val: int = 24, seed: int = 0) -> None:
    """Write smears with boxes of their cells, as a Pascal VOC folder."""
    rng = np.random.default_rng(seed)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    names = [f"smear_{number:03d}" for number in range(train + val)]
    for name in names:
        picture, cells = draw_smear(rng)
        picture.save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
        (folder / "Annotations" / f"{name}.xml").write_text(as_voc(f"{name}.jpg", picture.size, cells))
    for split, members in (("train", names[:train]), ("val", names[train:])):
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(members) + "\n")


def draw_smear(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    """A smear of 256x192 pixels, and the name and box of each cell."""
    width, height = 256, 192
    picture = Image.new("RGB", (width, height), (236, 222, 214))
    pen, cells, taken = ImageDraw.Draw(picture), [], []
    for name, count, sizes in (("WBC", 1, (24, 30)), ("RBC", 8, (13, 17)), ("Platelets", 3, (8, 10))):
        for _ in range(count):
            radius = int(rng.integers(*sizes, endpoint=True))
            x, y = (int(rng.integers(radius + 1, side - radius - 1)) for side in (width, height))
            if any((x - u) ** 2 + (y - v) ** 2 < (radius + r + 2) ** 2 for u, v, r in taken):
                continue
            taken.append((x, y, radius))
            draw_cell(pen, name, x, y, radius, rng)
            cells.append((name, (x - radius, y - radius, x + radius + 1, y + radius + 1)))
    noisy = np.asarray(picture, dtype=np.float64) + rng.normal(0, 5, (height, width, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), cells


def draw_cell(pen: ImageDraw.ImageDraw, name: str, x: int, y: int, radius: int, rng: np.random.Generator) -> None:
    def disc(u: float, v: float, r: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse([u - r, v - r, u + r, v + r], fill=colour)

    if name == "RBC":
        disc(x, y, radius, (214, 150, 150))
        disc(x, y, radius * 0.45, (226, 178, 174))
    elif name == "WBC":
        disc(x, y, radius, (206, 190, 214))
        for angle in rng.uniform(0, 2 * np.pi, 3):  # lobes of the nucleus
            disc(x + 0.35 * radius * np.cos(angle), y + 0.35 * radius * np.sin(angle), radius * 0.45, (112, 70, 150))
    else:
        disc(x, y, radius, (130, 90, 160))


def as_voc(name: str, size: tuple[int, int], cells: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    boxes = "".join(
        f"<object><name>{escape(cell)}</name><bndbox>"
        + "".join(f"<{side}>{v}</{side}>" for side, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for cell, box in cells
    )
    width, height = size
    return (
        f"<annotation><filename>{escape(name)}</filename>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{boxes}</annotation>"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Pascal VOC folder; without it smears are drawn")
    parser.add_argument("--output", type=Path, default=Path("blood-cells"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--side", type=int, default=96, help="of the crops, in pixels of the smear")
    parser.add_argument("--magnified", action="store_true", help="crops as large as the cell asks for instead")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    main(options.data, options.output, options.epochs, None if options.magnified else options.side)
