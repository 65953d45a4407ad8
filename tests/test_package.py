import os
import subprocess
import sys
from pathlib import Path

import pytest

import camdebug
from camdebug.cli import main

ROOT = Path(__file__).parent.parent


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=os.environ
    ).stdout.strip()


def test_importing_camdebug_imports_nothing_heavy():
    heavy = "torch numpy torchvision pytorch_lightning lightning wandb tensorboard matplotlib PIL sklearn"
    code = f"import sys, camdebug; print([m for m in {heavy.split()!r} if m in sys.modules])"
    assert _run(code) == "[]"


def test_the_engine_imports_no_lightning_no_logger_and_no_drawing():
    code = (
        "import sys; from camdebug import compute_cams, ProbeSet, Heatmaps; "
        "print([m for m in 'pytorch_lightning lightning wandb tensorboard matplotlib PIL torchvision'.split() "
        "if m in sys.modules])"
    )
    assert _run(code) == "[]"


def test_importing_changes_no_global_generator():
    code = (
        "import random, numpy, torch, pytorch_lightning, lightning.pytorch\n"  # these move python's own by themselves
        "before = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()\n"
        "import camdebug; camdebug.CAMMonitor, camdebug.ProbeSet\n"
        "print((torch.get_rng_state() == before[0]).all().item(), (numpy.random.get_state()[1] == before[1]).all(), "
        "random.getstate() == before[2])"
    )
    assert _run(code) == "True True True"


@pytest.mark.parametrize("name", camdebug.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(camdebug, name).__doc__
    assert name in dir(camdebug)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = camdebug.nothing_like_it


def test_the_version_is_the_same_everywhere(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"camdebug {camdebug.__version__}\n"
    assert f'version = "{camdebug.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "camdebug", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "demo" in result.stdout


def test_without_a_command_help_is_shown(capsys):
    assert main([]) == 0
    assert "usage: camdebug" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--epochs", "two"], ["--seed", "-1"]])
def test_a_wrong_number_is_named(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert arguments[0] in error
    assert repr(arguments[1]) in error


def test_the_demo_leaves_a_strangers_folder_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("do not lose me", encoding="utf-8")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "choose another --output" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_demo_refuses_a_file_as_its_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
