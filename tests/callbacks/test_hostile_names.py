"""Class names are words, whatever stands in them: no HTML, link, path, metric or line of a terminal is made of them."""

import json
import re

import pytest
import staging
import wandb_reader
from hostile import NAMES, active_in, as_tensorboard_shows_it
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from small_training import Module, monitor, ours, probes, seed, train_loader, trainer, val_loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from camdebug.records import Level
from camdebug.sinks.base import safe_markdown
from camdebug.sinks.wandb import _page
from camdebug.wording import shown_name, visible

SAFE = re.compile(r"[A-Za-z0-9_./-]+")


class ManyClasses(Module):
    """The labels of the training are the first four; the module's layers have names of their own."""

    def __init__(self):
        super().__init__()
        self.net.head = nn.Linear(8, len(NAMES))
        self.net.add_module("<b>[x](javascript:alert(3))`", nn.Identity())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One training with hostile names, alerts and all, logged to TensorBoard and to W&B."""
    import wandb

    folder = tmp_path_factory.mktemp("logs")
    before = set(everything_in(folder.parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_DIR", str(folder))
        board = TensorBoardLogger(folder, name="tb", version="0")
        wandbs = WandbLogger(project="names", save_dir=str(folder), mode="offline")
        hostile = probes(per_class=2, classes=len(NAMES), class_names=list(NAMES))
        alerts = []
        watching = monitor(probes=hostile, contrast=False, log_probes=8, chunk_size=50, on_alert=alerts.append)
        patch.setattr(staging, "CLASSES", len(NAMES))
        seed(1)
        with ours() as said:
            fitted = trainer(callbacks=staging.staged(watching, [Level.WATCH, Level.SUSPECT]), logger=[board, wandbs])
            fitted.fit(ManyClasses(), train_loader(), val_loader())
        wandb.finish()
        wandb.teardown()
    made = set(everything_in(folder.parent)) - before
    return {"folder": folder, "board": board, "said": said, "alerts": alerts, "made": made, "fit": fitted}


def everything_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_training_was_watched_and_alerted(run):
    assert run["fit"].current_epoch == 2
    assert len(run["alerts"]) >= 6
    assert [text for text in run["said"] if "failed" in text or "lost" in text or "did not take" in text] == []


def test_metrics_and_tags_are_plain_and_one_for_each_class(run):
    tags = EventAccumulator(run["board"].log_dir).Reload().Tags()
    names = [*tags["scalars"], *tags["images"], *(tag.removesuffix("/text_summary") for tag in tags["tensors"])]
    assert all(SAFE.fullmatch(name) for name in [*names, *run["fit"].callback_metrics])
    assert not any(".." in name.split("/") for name in names)
    outside = {name.lower() for name in names if name.endswith("/outside_mass") and "/class/" in name}
    assert len(outside) == len(NAMES)


def test_no_text_of_tensorboard_is_more_than_text(run):
    events = EventAccumulator(run["board"].log_dir, size_guidance={"tensors": 0}).Reload()
    texts = [e.tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"] for e in events.Tensors(tag)]
    assert any("alert" in text for text in texts)
    for text in texts:
        assert active_in(as_tensorboard_shows_it(text)) == []


def test_no_panel_of_wandb_is_more_than_text(run):
    pages = [path.read_text(encoding="utf-8") for path in everything_in(run["folder"]) if path.suffix == ".html"]
    assert len(pages) == 2
    for page in pages:
        assert active_in(page) == []
        assert "alert(1)" in page  # it is shown


def test_captions_and_boxes_of_wandb_have_no_line_breaks_and_control_characters(run):
    rows = wandb_reader.history(run["folder"])
    captions = [c for row in rows for v in row.values() if isinstance(v, dict) for c in v.get("captions") or []]
    assert len(captions) > 8
    files = [
        json.loads(path.read_text()) for path in everything_in(run["folder"]) if path.name.endswith("boxes2D.json")
    ]
    labels = [box["box_caption"] for file in files for box in file["box_data"]]
    assert labels
    for text in [*captions, *labels]:
        assert visible(text) == text
    assert all(SAFE.fullmatch(key) for row in rows for key in row if key.startswith("camdebug/"))


def test_alerts_keep_to_one_line_and_to_their_length(run):
    for alert in run["alerts"]:
        assert len(alert.title) <= 63
        assert visible(alert.title) == alert.title
    for text in run["said"]:
        assert visible(text) == text


def test_no_file_is_made_outside_the_folder_of_the_logs(run):
    assert run["made"]
    assert all(path.is_relative_to(run["folder"]) for path in run["made"])
    assert not any("passwd" in path.parts for path in run["made"])
    parts = {part for path in run["made"] for part in path.relative_to(run["folder"]).parts}
    assert all(part.isascii() and part.isprintable() and part != ".." for part in parts)


# The functions themselves


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sentence", ["class `{}` is **suspect**", "| {} | 3 |", "* `{}` · watch: why", "**camdebug: {} watch**", "{}"]
)
def test_no_name_becomes_active_in_any_place(name, sentence):
    raw, shown = sentence.format(name.replace("\ud800", "?")), sentence.format(shown_name(name))
    for page in (_page(shown), as_tensorboard_shows_it(safe_markdown(shown))):
        assert active_in(page) == []
    for page in (_page(raw), as_tensorboard_shows_it(safe_markdown(raw))):
        assert set(active_in(page)) <= {"h1"}  # a name of several lines


@given(st.text(alphabet="`\\<>[]()!&|*_a\n #b\"'=:/", max_size=40))
def test_no_text_at_all_makes_a_link_a_picture_or_a_tag(text):
    allowed = {"h1", "h2", "h3", "h4", "h5", "h6", "pre", "ol", "blockquote", "hr"}
    assert set(active_in(_page(text))) <= allowed


def test_without_escaping_names_are_active():
    """The negative control of the reader and of the escaping."""
    import markdown

    assert "script" in active_in(markdown.markdown(NAMES[0]))
    assert "a" in active_in(markdown.markdown(NAMES[2]))
    assert "img" in active_in(as_tensorboard_shows_it(NAMES[3]))


def test_what_we_format_ourselves_is_still_formatted():
    page = _page("**bold** *light* `a [b](c) <d>`\n\n| x | y |\n| --- | --- |\n| 1\\|2 | [z] |\n\n* item")
    for part in ("<strong>bold</strong>", "<em>light</em>", "<code>a [b](c) &lt;d&gt;</code>", "<li>item</li>"):
        assert part in page
    assert "<td>1&#124;2</td>" in page
    assert "<td>&#91;z&#93;</td>" in page
