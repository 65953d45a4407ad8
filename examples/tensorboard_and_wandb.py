"""Watch a training in TensorBoard and W&B (offline): run it, then open the folder that it names.

The data is made here, from pictures that ship with scikit-learn. Put your own model, data module and annotated
validation set in their place; the two lines with camdebug stay as they are.
"""

import sys
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch.utils.data import DataLoader, TensorDataset

from camdebug import CAMMonitor, ProbeSet
from camdebug.demo.data import AnnotatedDigits, draw_scenes, draw_tags
from camdebug.demo.model import DigitClassifier


def main(folder: Path, epochs: int = 5) -> CAMMonitor:
    training, held_out = draw_scenes(1000, seed=0, held_out=False), draw_scenes(400, seed=0, held_out=True)
    train = AnnotatedDigits(training, draw_tags(training.label, strength=0.9, seed=1))
    val_with_boxes = AnnotatedDigits(held_out, draw_tags(held_out.label, strength=0.9, seed=2))

    probes = ProbeSet.from_dataset(val_with_boxes, per_class=40, seed=0)
    monitor = CAMMonitor(probes)

    trainer = Trainer(
        max_epochs=epochs,
        logger=[TensorBoardLogger(folder), WandbLogger(project="camdebug", save_dir=folder, offline=True)],
        callbacks=[monitor],
    )
    trainer.fit(
        DigitClassifier(),
        DataLoader(TensorDataset(train.images, train.labels), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(val_with_boxes.images, val_with_boxes.labels), batch_size=200),
    )
    print(f"tensorboard --logdir {folder} --samples_per_plugin images=9999")
    return monitor


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs"))
