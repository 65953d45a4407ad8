import json
from pathlib import Path

import numpy as np
import pytest
import wandb_reader
from PIL import Image

from camdebug.sinks.base import Picture, PictureBox
from camdebug.sinks.wandb import WandbSink


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield tmp_path
    close()


def open_logger(folder, mode):
    from pytorch_lightning.loggers import WandbLogger

    return WandbLogger(project="camdebug-test", save_dir=str(folder), mode=mode)


def close():
    import wandb

    wandb.finish()
    wandb.teardown()


def smooth(shift=0):
    y, x = np.mgrid[0:90, 0:120]
    return np.stack([x * 2, y * 2, (x + y + shift) % 200], 2).astype(np.uint8)


def pictures(count, group="camdebug/probe", boxes=(), shift=0):
    return [Picture(f"{group}/{i}-cat", smooth(i + shift), f"probe {i}", boxes) for i in range(count)]


@pytest.fixture
def offline(quiet):
    """One run with everything in it, read back."""
    logger = open_logger(quiet, "offline")
    sink = WandbSink(logger)
    sink.facts({"layer": "layer4", "probes": 40})
    for step in (3, 17):
        logger.log_metrics({"loss": 0.5}, step)
        sink.text("camdebug/verdict", f"step {step}: class `<b>` is **clean** & dry", step=step)
        sink.pictures(
            [
                *pictures(2, boxes=(PictureBox(10, 20, 50, 60, "cat <b>"),), shift=step),
                *pictures(1, "camdebug/filmstrip"),
            ],
            step=step,
        )
    sink.alert("a title much too long " * 10, "Look at #12.", step=17)
    sink.facts({"layer": "layer3"})
    folder = Path(logger.experiment.dir)
    close()
    return quiet, folder


def rows_with(root, key):
    """Rows that hold ``key``, which are at steps 3 and 17."""
    rows = [row for row in wandb_reader.history(root) if key in row]
    assert [row["trainer/global_step"] for row in rows] == [3, 17]
    return [row[key] for row in rows]


def test_an_offline_run_holds_everything_at_its_step(offline):
    root, folder = offline
    assert rows_with(root, "loss") == [0.5, 0.5]
    for step, value in zip((3, 17), rows_with(root, "camdebug/probe"), strict=True):
        check_probes(folder, value, step)
    assert [value["count"] for value in rows_with(root, "camdebug/filmstrip")] == [1, 1]
    pages = [(folder / value["path"]).read_text() for value in rows_with(root, "camdebug/verdict")]
    assert "step 3: class" in pages[0]
    assert "step 17: class <code>&lt;b&gt;</code> is <strong>clean</strong> &amp; dry" in pages[1]
    (alert,) = wandb_reader.alerts(root)
    assert (alert.text, alert.level, alert.wait_duration) == ("Look at #12.", "WARN", 1)
    assert 20 < len(alert.title) < 64
    assert wandb_reader.config(root)["camdebug"] == {"layer": "layer3", "probes": 40}


def check_probes(folder, value, step):
    assert (value["count"], value["format"]) == (2, "jpg")
    assert value["captions"] == ["probe 0", "probe 1"]
    for i, name in enumerate(value["filenames"]):
        assert np.abs(np.asarray(Image.open(folder / name)).astype(int) - smooth(i + step)).mean() < 6
    for boxes in value["all_boxes"]:
        (box,) = json.loads((folder / boxes["object"]["path"]).read_text())["box_data"]
        assert box["position"] == {"minX": 10, "minY": 20, "maxX": 50, "maxY": 60}
        assert (box["domain"], box["box_caption"]) == ("pixel", "cat <b>")


def test_a_disabled_run_takes_everything_silently(quiet):
    sink = WandbSink(open_logger(quiet, "disabled"))
    sink.facts({"a": 1})
    sink.text("t", "words", step=1)
    sink.pictures(pictures(2, boxes=(PictureBox(0, 0, 5, 5, "cat"),)), step=1)
    sink.alert("title", "words", step=1)
    assert not list(quiet.rglob("*.wandb"))


class FakeLogger:
    """Takes lists as WandbLogger does."""

    def __init__(self):
        self.lists = []

    def log_image(self, key, images, step=None, **options):
        assert all(len(values) == len(images) for values in options.values())
        self.lists.append((key, len(images), step))


def test_lists_longer_than_the_cut_of_wandb_are_split():
    logger = FakeLogger()
    WandbSink(logger).pictures([*pictures(250), *pictures(108, group="other")], step=4)
    assert logger.lists == [
        ("camdebug/probe", 108, 4),
        ("camdebug/probe-2", 108, 4),
        ("camdebug/probe-3", 34, 4),
        ("other", 108, 4),
    ]


def test_pictures_without_boxes_may_stand_beside_those_with():
    logger = FakeLogger()
    WandbSink(logger).pictures([*pictures(1), *pictures(1, boxes=(PictureBox(0, 0, 5, 5, "cat"),))], step=4)
    assert logger.lists == [("camdebug/probe", 2, 4)]
