"""A real training: a tag that gives the class away raises the alert, the same tag at random does not."""

import warnings

import pytest
import torch
import wandb
import wandb_reader
from PIL import Image
from small_training import ours, seed, trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from camdebug import CAMMonitor, Level, ProbeSet
from camdebug.callbacks.messages import ShortcutWarning
from camdebug.demo.data import CLASS_NAMES, CLASSES, boxes_of, draw_scenes, draw_tags, paint
from camdebug.demo.model import DigitClassifier


def small_cnn():
    layers, channels = [], 3
    for width, stride in ((16, 2), (32, 2), (64, 1), (64, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Classifier(DigitClassifier):
    def __init__(self):
        super().__init__()
        self.net = small_cnn()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 4e-3)


def watched_training(strength, **options):
    seed(0)
    scenes, held_out = draw_scenes(700, seed=0, held_out=False), draw_scenes(150, seed=0, held_out=True)
    pictures = paint(scenes, draw_tags(scenes.label, strength=strength, seed=0))
    shown = paint(held_out, draw_tags(held_out.label, strength=strength, seed=1))
    labels = torch.from_numpy(held_out.label)
    probes = ProbeSet(shown, labels, boxes_of(held_out), class_names=CLASS_NAMES)
    watching = CAMMonitor(probes, chunk_size=64, verbose=False, record=False)
    fitted = trainer(max_epochs=6, callbacks=watching, **options)
    fitted.fit(
        Classifier(),
        DataLoader(TensorDataset(pictures, torch.from_numpy(scenes.label)), batch_size=25, shuffle=True),
        DataLoader(TensorDataset(shown, labels), batch_size=150),
    )
    return watching, fitted


def logged_training(folder):
    from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    wandb_logger = WandbLogger(project="planted", save_dir=folder, mode="offline")
    watched = watched_training(strength=0.95, logger=[TensorBoardLogger(folder, name="tb", version=""), wandb_logger])
    wandb.finish()
    wandb.teardown()
    return watched


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """One watched training with its TensorBoard and W&B logs; the monitor, the trainer, the alerts, the folder."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        with pytest.warns(ShortcutWarning) as caught:
            watching, fitted = logged_training(folder)
    return watching, fitted, [str(w.message) for w in caught if issubclass(w.category, ShortcutWarning)], folder


def test_a_planted_shortcut_raises_the_alert(planted):
    watching, fitted, told, _ = planted
    verdicts, metrics = watching.last_record.verdicts, fitted.callback_metrics
    confirmed = [v.name for v in verdicts if v.level is Level.CONFIRMED]
    assert confirmed
    assert float(metrics["camdebug/confirmed_classes"]) == len(confirmed)
    gaps = [v.swap_gap.present for v in verdicts]
    assert float(metrics["camdebug/swap_gap"]) == pytest.approx(sum(gaps) / len(gaps))
    assert float(metrics["camdebug/worst_swap_gap"]) == pytest.approx(max(gaps))
    assert float(metrics["camdebug/background_evidence"]) > 0
    for name in confirmed:  # once for each change of state
        assert sum(f"`{name}`: CONFIRMED" in text for text in told) == 1
        assert sum(f"`{name}`: SUSPECT" in text for text in told) <= 1
        assert sum(f"`{name}`: WATCH" in text for text in told) <= 1


def test_its_wandb_run_holds_pictures_verdicts_scalars_and_alerts_at_lightnings_steps(planted):
    _, _, told, folder = planted
    rows = [row for row in wandb_reader.history(folder) if "trainer/global_step" in row]
    steps_of = {
        key: [row["trainer/global_step"] for row in rows if key in row]
        for key in ("val/accuracy", "camdebug/outside_mass", "camdebug/probe", "camdebug/filmstrip", "camdebug/cue_map")
    }
    assert len(steps_of["val/accuracy"]) == 6
    assert all(steps == steps_of["val/accuracy"] for steps in steps_of.values()), steps_of
    verdicts = [row["camdebug/verdict"] for row in rows if "camdebug/verdict" in row]
    page = next(folder.rglob(verdicts[-1]["path"])).read_text(encoding="utf-8")
    assert "the background matters for" in page
    assert "<td>confirmed (" in page
    for beside in ("Right for the wrong reason: ", "Heat outside the boxes: ", "Maps changed by JS", "before training"):
        assert beside in page
    assert "What this does not tell you." in page
    last = next(row["camdebug/probe"] for row in reversed(rows) if "camdebug/probe" in row)
    assert last["count"] == 16
    with Image.open(next(folder.rglob(last["filenames"][0]))) as picture:
        assert picture.format == "JPEG"
    alerts = wandb_reader.alerts(folder)
    assert [a.text for a in alerts] == told
    assert wandb_reader.config(folder)["camdebug"]["method"] == "hirescam"


def test_its_event_file_holds_the_same_at_the_same_steps(planted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, _, told, folder = planted
    events = EventAccumulator(str(folder / "tb"), size_guidance={"images": 0, "tensors": 0, "scalars": 0}).Reload()
    steps = [e.step for e in events.Scalars("val/accuracy")]
    strips = [tag for tag in events.Tags()["images"] if tag.startswith("camdebug/filmstrip/")]
    assert len(strips) == 16
    assert [e.step for e in events.Images(strips[0])] == steps
    assert [e.step for e in events.Tensors("camdebug/verdict/text_summary")] == steps
    alerts = [e.tensor_proto.string_val[0].decode() for e in events.Tensors("camdebug/alert/text_summary")]
    assert len(alerts) == len(told)
    assert all(any(text[:60] in alert for alert in alerts) for text in told)


def test_the_same_tag_at_random_raises_none():
    with ours() as said:
        watching, fitted = watched_training(strength=0.0)
    assert said == []
    assert float(fitted.callback_metrics["camdebug/suspect_classes"]) == 0
    assert not any(v.level.is_alert for v in watching.last_record.verdicts)
    assert any(v.level is Level.NO_EVIDENCE for v in watching.last_record.verdicts)
