"""The README is executed: its snippet, its demo command (once, for all tests here), its table, its example."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camdebug.records import Severity

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBERS = {
    "recall",
    "outside_mass",
    "chance_outside_mass",
    "outside_lift",
    "log_density_ratio",
    "calibrated_log_density_ratio",
    "background_evidence",
    "swap_gap",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _commands() -> list[str]:
    return next(b for b in _blocks("bash") if "camdebug demo" in b).strip().splitlines()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The README's main command, as it stands there, in a new folder."""
    folder = tmp_path_factory.mktemp("newcomer")
    words = shlex.split(_commands()[1])
    assert words[0] == "camdebug"
    result = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"},
    )
    return folder / "camdebug-demo", result


@pytest.fixture(scope="module")
def summary(demo):
    return json.loads((demo[0] / "summary.json").read_text(encoding="utf-8"))


def test_the_demo_runs_through_and_says_which_command_opens_the_dashboard(demo):
    _, result = demo
    assert result.returncode == 0, result.stderr[-2000:]
    assert "tensorboard --logdir camdebug-demo/tensorboard --samples_per_plugin images=9999" in result.stdout
    columns = ("heat outside", "uniform", "background evidence", "fall when swapped", "true accuracy drop", "verdict")
    for word in ("epoch  0  accuracy", "confirmed", *columns):
        assert word in result.stdout


def test_the_demo_is_quiet_about_everything_else(demo):
    assert demo[1].stderr == ""
    assert "Warning" not in demo[1].stdout


def test_the_planted_twin_is_flagged_and_the_clean_one_is_not(summary):
    planted, clean = summary["twins"]["planted"], summary["twins"]["clean"]
    assert planted["verdict"] == "confirmed"
    assert [c["verdict"] for c in planted["epochs"][-1]["classes"]].count("confirmed") >= 4
    last = [c for c in planted["epochs"][-1]["classes"] if c["verdict"] == "confirmed"]  # a planned look
    assert [c["severity"] for c in last] == [Severity.of(c["swap_gap"]).value for c in last]
    assert "severe" in {c["severity"] for c in last}
    assert not clean["flagged"]
    assert clean["verdict"] == "no evidence"
    assert {c["verdict"] for e in clean["epochs"] for c in e["classes"]} <= {"no evidence", "not learned yet"}


def test_the_verdicts_agree_with_the_truth_from_counterfactual_copies(summary):
    planted, clean = (summary["twins"][name]["accuracy_drop"] for name in ("planted", "clean"))
    assert np.mean(list(planted.values())) > 0.2
    assert abs(np.mean(list(clean.values()))) < 0.03


def test_a_demo_too_short_to_judge_anything_says_so_and_not_that_there_is_no_evidence():
    from types import SimpleNamespace

    from camdebug.demo.summary import closing_words
    from camdebug.records import ClassVerdict, Level
    from camdebug.verdict.run import run_verdict

    verdicts = (ClassVerdict(0, "0", Level.NOT_LEARNED, "because", 0),)
    last = SimpleNamespace(verdicts=verdicts, verdict=run_verdict(verdicts))
    twin = SimpleNamespace(name="planted", records=[last], accuracy_drop={"0": 0.1})
    assert closing_words([twin]).startswith("planted: nothing to judge yet. Truth")


def test_the_summary_has_every_measure_of_every_class_in_every_epoch(summary):
    for twin in summary["twins"].values():
        assert [e["epoch"] for e in twin["epochs"]] == list(range(8))
        for classes in (e["classes"] for e in twin["epochs"]):
            assert [c["name"] for c in classes] == [f"digit {k}" for k in range(5)]
            assert all(c[key] is None or math.isfinite(c[key]) for c in classes for key in NUMBERS)
            assert all(0 <= c["outside_mass"] <= 1 for c in classes if c["outside_mass"] is not None)
            assert all(c["reason"] for c in classes)


def test_the_film_strip_shows_heat_on_the_tag_in_the_planted_twin_only(demo):
    """Right halves of the tiles of the last column: planted rows glow at the tag, clean rows do not."""
    with Image.open(demo[0] / "filmstrip.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    assert pixels.shape[1] > 900
    assert pixels.shape[0] > 900
    yellowness = (pixels[..., 0] + pixels[..., 1]) / 2 - pixels[..., 2]
    last = yellowness[:, -116:-4]
    half = len(last) // 2
    tag = [part[:, 70:].clip(60).mean() for part in (last[:half], last[half:])]
    assert tag[0] > tag[1] + 5


def test_tensorboard_holds_the_pictures_texts_scalars_and_alerts_of_the_demo(demo):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(name: str) -> EventAccumulator:
        events = EventAccumulator(
            str(demo[0] / "tensorboard" / name), size_guidance={"images": 0, "tensors": 0, "scalars": 0}
        )
        return events.Reload()

    planted, clean = read("planted"), read("clean")
    images = planted.Tags()["images"]
    assert sum(tag.startswith("camdebug/probe/") for tag in images) == 16
    assert sum(tag.startswith("camdebug/filmstrip/") for tag in images) == 16
    assert sum(tag.startswith("camdebug/cue_map/") for tag in images) == 5
    assert any(tag.startswith("camdebug/place/") for tag in images)
    assert not any(tag.startswith("camdebug/place/") for tag in clean.Tags()["images"])
    steps = [e.step for e in planted.Scalars("camdebug/outside_mass")]
    assert steps == [e.step for e in planted.Scalars("val/accuracy")]
    assert len(steps) == 8
    overlay = next(tag for tag in images if tag.startswith("camdebug/probe/"))
    assert [e.step for e in planted.Images(overlay)] == steps
    alerts = "camdebug/alert/text_summary"
    assert alerts in planted.Tags()["tensors"]
    assert alerts not in clean.Tags()["tensors"]
    assert any(b"CONFIRMED" in e.tensor_proto.string_val[0] for e in planted.Tensors(alerts))
    assert "camdebug/verdict/text_summary" in clean.Tags()["tensors"]


def test_the_demo_may_be_run_again_into_its_own_folder(demo, monkeypatch):
    from camdebug.demo.run import _claim

    before = list((demo[0] / "tensorboard").glob("*/events*"))
    copy = demo[0].parent / "again"
    subprocess.run(["cp", "-r", str(demo[0]), str(copy)], check=True)
    _claim(copy)
    assert before
    assert not list((copy / "tensorboard").glob("*/events*"))
    assert not (copy / "records").exists()


def test_the_demo_keeps_a_record_of_each_twin(demo):
    from camdebug.store import load_record

    for name in ("planted", "clean"):
        record = load_record(demo[0] / "records" / name)
        assert (record.epochs, record.status, record.notes) == (tuple(range(8)), "completed", ())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_other_seeds_come_to_the_same_verdicts(seed, tmp_path):
    from camdebug.demo.run import run_demo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_demo(tmp_path / "demo", seed=seed, epochs=8, with_wandb=False)
    twins = json.loads((tmp_path / "demo" / "summary.json").read_text(encoding="utf-8"))["twins"]
    assert twins["planted"]["verdict"] == "confirmed"
    assert not twins["clean"]["flagged"]


def test_each_twin_gets_a_wandb_run_of_its_own(tmp_path, monkeypatch):
    from camdebug.demo import twins

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(twins, "TRAINING", 128)
    monkeypatch.setattr(twins, "VALIDATION", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("planted", "clean"):
            twins.train_twin(name, output=tmp_path, seed=0, epochs=1, with_wandb=True)
    assert len(list(tmp_path.rglob("run-*.wandb"))) == 2


_AROUND_THE_SNIPPET = """
import json, warnings
import torch
import pytorch_lightning as pl
from pathlib import Path
from blood_cells import draw_smears
from camdebug.demo.data import AnnotatedDigits, draw_scenes, draw_tags
from camdebug.demo.model import DigitClassifier

warnings.simplefilter("ignore")  # of Lightning and W&B, about workers and folders
torch.set_num_threads(1)
held_out = draw_scenes(150, seed=0, held_out=True)
val_with_boxes = AnnotatedDigits(held_out, draw_tags(held_out.label, strength=0.0, seed=1))
pairs = torch.utils.data.TensorDataset(val_with_boxes.images[:64], val_with_boxes.labels[:64])
datamodule = pl.LightningDataModule.from_datasets(pairs, pairs, batch_size=32)
model = DigitClassifier()
draw_smears(Path("blood-cells/smears"), train=4, val=24)
{snippet}
assert (record.epochs, record.status, len(rows)) == (tuple(range(20)), "completed", 20 * len(probes))
assert len(report.classes) == 5
assert cells.counts == (24, 24, 24)
found = {{"epochs": trainer.current_epoch, **{{k: float(v) for k, v in trainer.callback_metrics.items()}}}}
open("found.json", "w", encoding="utf-8").write(json.dumps(found))
"""


def test_the_snippets_run_as_they_stand(tmp_path):
    """In a process and a W&B service of its own: W&B resolves its folder against the one where its service began."""
    script = tmp_path / "snippet.py"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    snippets = "\n".join(_blocks("python"))
    script.write_text(_AROUND_THE_SNIPPET.format(snippet=snippets), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]), "WANDB_SILENT": "true"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    metrics = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert metrics["epochs"] == 20
    for key in ("outside_mass", "log_density_ratio", "background_evidence", "swap_gap", "confirmed_classes"):
        assert math.isfinite(metrics[f"camdebug/{key}"])
    assert list(tmp_path.glob("logs/**/events.out.tfevents.*"))
    assert list(tmp_path.glob("wandb/**/run-*.wandb"))
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["classes"]
    with Image.open(tmp_path / "probes.png") as sheet:
        assert sheet.size[0] > 900


def test_the_example_runs(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import tensorboard_and_wandb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monitor = tensorboard_and_wandb.main(tmp_path, epochs=1)
    wandb.finish()
    assert monitor.last_record is not None
    assert monitor.last_record.epoch == 0


def test_an_example_goes_from_annotated_smears_to_a_watched_training(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import blood_cells

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monitor = blood_cells.main(None, tmp_path, epochs=1)
    assert monitor.probes.counts == (24, 24, 24)
    assert monitor.last_record.epoch == 0
    said = capsys.readouterr().out
    assert "3 of 3 classes can be judged; 72 probes of 72 pictures" in said
    assert "None of 72 probes was found among" in said
    with Image.open(tmp_path / "probes.png") as sheet:
        assert sheet.size[0] > 900


def test_the_command_builds_the_probes_of_the_snippet(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.chdir(tmp_path)
    import blood_cells

    from camdebug import ProbeSet
    from camdebug.cli import main

    blood_cells.draw_smears(Path("blood-cells/smears"), train=1, val=20)
    (block,) = [block for block in _blocks("bash") if "probes build" in block]
    assert main(shlex.split(block.replace("\\\n", " "))[1:]) == 0
    assert "3 of 3 classes can be judged; 60 probes of 60 pictures" in capsys.readouterr().out
    assert {"preview.png", "summary.txt"} <= {path.name for path in Path("cells-too").iterdir()}
    snippet = next(block for block in _blocks("python") if "ObjectCrops" in block).partition("cells.preview")[0]
    names: dict[str, object] = {"ProbeSet": ProbeSet}
    exec(snippet, names)
    built, same = ProbeSet.load("cells-too"), names["cells"]
    assert (built.source_ids, built.class_names) == (same.source_ids, same.class_names)
    assert all(torch.equal(*pair) for pair in zip(built.boxes, same.boxes, strict=True))
    assert float((built.images - same.images).abs().max()) < 0.02  # Pillow and torch resize alike, not the same


def test_the_commands_are_the_main_job_and_the_tests():
    assert _commands() == ['pip install -e ".[test]"', "camdebug demo", "pytest -n 2 --dist loadfile"]


def test_every_noun_lives_where_the_table_says():
    rows = re.findall(r"^\| (.+?) \| .+? \| `(.+?)` \|$", README, flags=re.MULTILINE)
    assert len(rows) >= 12
    for noun, path in rows:
        place = ROOT / path
        assert place.exists(), path
        if noun.startswith("`"):
            assert re.search(rf"(class|def) {noun.strip('`')}\b", place.read_text(encoding="utf-8")), noun


def test_every_file_that_the_readme_names_is_there():
    named = set(re.findall(r"`((?:tests|examples)/[\w./]+)`", README))
    assert "tests/benchmarks/results/soak.json" in named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_picture_of_the_readme_is_there():
    for path in re.findall(r"!\[.*?\]\((.+?)\)", README):
        with Image.open(ROOT / path) as picture:
            assert picture.size[0] > 900
