"""``camdebug doctor``: what it loads, writes and returns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from camdebug.cli import main
from camdebug.cli.doctor import in_options as _in_options
from camdebug.doctor.loading import LoadingError, load

ROOT = Path(__file__).parent.parent.parent
CASES = """
import sys
import torch
from torch import nn

def net():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.linspace(0.1, 0.9, parameter.numel()).reshape(parameter.shape))
    return net

def pictures():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))

def healthy():
    return net(), pictures()

def as_dict():
    return {"model": net(), "batch": pictures()}

def broken():
    return nn.Linear(3, 2), pictures()

def no_model():
    return "net", pictures()

def hostile():
    return {"mo\\n\\x1b[31mdel": 1}

def three():
    return 1, 2, 3

def half():
    return {"model": net()}

def failing():
    raise OSError("no such disk\\nsecond line")

def leaving():
    sys.exit("bye")

constant = 5
"""


@pytest.fixture
def cases(tmp_path, monkeypatch):
    """A module of the user's own in the current directory."""
    (tmp_path / "doctor_cases.py").write_text(CASES, encoding="utf-8")
    (tmp_path / "doctor_crash.py").write_text("import nothing_like_it", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("doctor_cases", "doctor_crash"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["healthy", "as_dict"])
def test_without_problems_the_status_is_0(cases, capsys, name):
    assert main(["doctor", f"doctor_cases:{name}"]) == 0
    assert capsys.readouterr().out.startswith("camdebug doctor: no problem found.\n")


@pytest.mark.parametrize("arguments", [["doctor_cases:broken"], ["doctor_cases:healthy", "--target-layer", "9"]])
def test_with_problems_the_status_is_1(cases, capsys, arguments):
    assert main(["doctor", *arguments]) == 1
    assert capsys.readouterr().out.startswith("camdebug doctor: 1 problem.\n  1. ")


def test_a_wrong_layer_is_told_in_a_sentence_with_the_option_of_the_command(cases, capsys):
    assert main(["doctor", "doctor_cases:healthy", "--target-layer", "stage"]) == 1
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("  1. There is no target layer: the model has no layer 'stage'; ")
    assert main(["doctor", "doctor_cases:broken"]) == 1
    assert "target_layer" not in capsys.readouterr().out


def test_arguments_are_told_as_options():
    text = (
        "pass target_layer= or target_layer='a'; a smaller chunk_size; target_layer=['a', 'b']; no other_target_layer"
    )
    assert _in_options(text) == (
        "pass --target-layer or --target-layer 'a'; a smaller --chunk-size; target_layer=['a', 'b']; no "
        "other_target_layer"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["doctor_cases"], "expected package.module:name, got 'doctor_cases'"),
        (["nowhere.at_all:f"], "cannot import 'nowhere.at_all' (ModuleNotFoundError: No module named 'nowhere')"),
        (["doctor_crash:f"], "cannot import 'doctor_crash' (ModuleNotFoundError: No module named 'nothing_like_it')"),
        (["doctor_cases:gone"], "'doctor_cases' has no function 'gone'"),
        (["doctor_cases:constant"], "'doctor_cases' has no function 'constant'"),
        (["doctor_cases:failing"], "doctor_cases:failing failed (OSError: no such disk)"),
        (["doctor_cases:leaving"], "doctor_cases:leaving failed (SystemExit: bye)"),
        (["doctor_cases:three"], "expected (model, probes_or_batch) or a dict with the keys model and probes or batch"),
        (["doctor_cases:hostile"], "got the keys mo [31mdel"),
        (["doctor_cases:half"], "got the keys model"),
        (["doctor_cases:no_model"], "model: expected a torch.nn.Module, got str"),
        (["doctor_cases:healthy", "--method", "gradkam"], "method: expected one of"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_and_status_2(cases, capsys, arguments, words):
    assert main(["doctor", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("camdebug doctor: ")
    assert error.count("\n") == 1
    assert words in error


def test_options_reach_the_examination(cases, capsys):
    options = ["--target-layer", "0", "--method", "layercam", "--chunk-size", "2", "--epochs", "5"]
    assert main(["doctor", "doctor_cases:healthy", *options]) == 0
    text = capsys.readouterr().out
    assert "layer      0 (as asked for" in text
    assert "layercam of 3 pictures" in text
    assert "cost       2 pictures" in text


def test_picture_and_json_are_written_also_with_problems(cases, capsys):
    for name, status in (("healthy", 0), ("broken", 1)):
        assert main(["doctor", f"doctor_cases:{name}", "--picture", f"{name}.png", "--json", f"{name}.json"]) == status
        with Image.open(cases / f"{name}.png") as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert json.loads((cases / f"{name}.json").read_text(encoding="utf-8"))["ok"] is (status == 0)
        assert capsys.readouterr().out.endswith(f"picture    {name}.png\n")


@pytest.mark.parametrize("option", [["--picture", "gone/a.png"], ["--picture", "a.nothing"], ["--json", "gone/a.json"]])
def test_what_cannot_be_written_is_one_line_and_status_2(cases, capsys, option):
    assert main(["doctor", "doctor_cases:healthy", *option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("camdebug doctor: cannot write it (")
    assert error.count("\n") == 1


def test_the_command_itself_returns_the_status_and_needs_no_lightning_and_no_logger(cases):
    heavy = "pytorch_lightning lightning wandb tensorboard"
    code = (
        "import sys; from camdebug.cli import main; status = main(['doctor', 'doctor_cases:broken']); "
        f"print([m for m in {heavy.split()!r} if m in sys.modules]); sys.exit(status)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 1
    assert run.stdout.startswith("camdebug doctor: 1 problem.\n")
    assert run.stdout.endswith("\n[]\n")
    assert run.stderr == ""


def test_nothing_is_unpickled(cases):
    (cases / "model.pt").write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    with pytest.raises(LoadingError, match=r"expected package.module:name"):
        load("model.pt")
    with pytest.raises(LoadingError, match=r"cannot import 'model.pt'"):
        load("model.pt:load")
    assert not (cases / "unpickled").exists()
