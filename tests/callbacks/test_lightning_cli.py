"""The monitor in a YAML file of LightningCLI, and on its command line, in both packages.

Tests that are marked ``versions`` also hold with the jsonargparse that Lightning 2.5 asks for at the least.
"""

import inspect
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import cli_parts
import pytest
import yaml
from small_training import (
    Memory,
    Mixin,
    differences,
    everything_of,
    looks_taken,
    ours,
    same_state,
    train_loader,
    val_loader,
)
from staging import staged

from camdebug import CAMMonitor, Level

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
README_EXAMPLE = (
    README.partition("```yaml\n")[2]
    .partition("```")[0]
    .replace("mydata.", "cli_parts.")
    .replace("per_class: 40", "per_class: 20")
)
QUIET = """
    seed_everything: 1
    trainer:
      max_epochs: 2
      accelerator: cpu
      devices: 1
      logger: false
      enable_checkpointing: false
      enable_progress_bar: false
      enable_model_summary: false
      num_sanity_val_steps: 0
"""


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def package(request):
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is given, with a file of the Trainer's settings and one of the README's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # about Lightning's calls, not ours
    (tmp_path / "quiet.yaml").write_text(textwrap.dedent(QUIET))
    (tmp_path / "watched.yaml").write_text(textwrap.dedent(README_EXAMPLE))
    return tmp_path


def command(package, *arguments, **options):
    """Give ``fit`` with these arguments, as on the command line."""

    class Module(Mixin, import_module(package).LightningModule):
        def train_dataloader(self):
            return train_loader()

        def val_dataloader(self):
            return val_loader()

    cli = import_module(f"{package}.cli")
    with ours() as said, pytest.MonkeyPatch.context() as typed:
        subcommand = ["fit"] if options.get("run", True) else []
        typed.setattr(sys, "argv", ["train.py", *subcommand, "--config", "quiet.yaml", *arguments])
        made = cli.LightningCLI(Module, **options)
    assert said == []
    return made


def unsaved(package, *arguments, **options):
    return command(package, *arguments, save_config_callback=None, **options)


def watching(cli):
    return next(callback for callback in cli.trainer.callbacks if isinstance(callback, CAMMonitor))


def printed(capsys, package, *arguments):
    with pytest.raises(SystemExit) as ended:
        unsaved(package, *arguments, "--print_config")
    assert ended.value.code == 0
    return capsys.readouterr().out


def refusal(capsys, *arguments):
    """What is said: by the parser, which exits, or by the constructor that it calls."""
    with pytest.raises((SystemExit, ValueError)) as ended:
        unsaved("pytorch_lightning", "--config", "watched.yaml", *arguments)
    return f"{ended.value}\n{capsys.readouterr().err}"


@pytest.mark.versions
def test_probes_of_a_dataset_in_yaml_and_the_same_bits_as_without(package, folder):
    without, under_watch = unsaved(package), unsaved(package, "--config", "watched.yaml")
    states = [everything_of(cli.model, cli.trainer, Memory()) for cli in (without, under_watch)]
    assert differences(*states) == []
    found = watching(under_watch)
    assert len(found.probes) == 80
    assert found.last_record.epoch == 1
    assert "camdebug/outside_mass" in under_watch.trainer.callback_metrics


@pytest.mark.versions
def test_what_is_printed_is_accepted_again_and_says_the_same(package, folder, capsys):
    text = printed(capsys, package, "--config", "watched.yaml")
    (folder / "printed.yaml").write_text(text)
    assert printed(capsys, package, "--config", "printed.yaml") == text
    given = yaml.safe_load(text)["trainer"]["callbacks"][0]["init_args"]
    assert list(given) == list(inspect.signature(CAMMonitor).parameters)
    assert looks_taken(watching(unsaved(package, "--config", "printed.yaml")).state_dict()) == 2


@pytest.mark.versions
def test_a_callback_can_be_added_on_the_command_line(package, folder):
    added = watching(
        unsaved(
            package,
            "--trainer.callbacks+=camdebug.CAMMonitor",
            "--trainer.callbacks.probes=cli_parts.drawn",
            "--trainer.callbacks.probes.seed=5",
            "--trainer.callbacks.target_layer=net.conv1",
            "--trainer.callbacks.name=added",
        )
    )
    assert added.probes.fingerprint == cli_parts.drawn(seed=5).fingerprint != cli_parts.drawn().fingerprint
    assert (added.name, added._observer.layer.name) == ("added", "net.conv1")
    assert added.last_record.epoch == 1


def test_the_file_beside_the_logs_is_accepted_again(package, folder):
    logged = {"class_path": f"{package}.loggers.TensorBoardLogger", "init_args": {"save_dir": "logs", "name": "run"}}
    (folder / "logged.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logged, "max_epochs": 1}}))
    first = command(package, "--config", "watched.yaml", "--config", "logged.yaml")
    saved = folder / "logs" / "run" / "version_0" / "config.yaml"
    again = watching(unsaved(package, "--config", str(saved), "--trainer.logger=false"))
    assert again.probes.fingerprint == watching(first).probes.fingerprint
    assert same_state(again.state_dict()["observer"], watching(first).state_dict()["observer"])


def test_alerts_go_to_a_function_or_to_an_object_with_arguments_of_its_own(folder):
    rung = []
    for on_alert in ("cli_parts.ring", {"class_path": "cli_parts.Bell", "init_args": {"tone": "dong"}}):
        told = {"class_path": "camdebug.CAMMonitor", "init_args": {"probes": "cli_parts.drawn", "on_alert": on_alert}}
        (folder / "told.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [told]}}))
        cli = unsaved("pytorch_lightning", "--config", "told.yaml", run=False)
        staged(watching(cli), [Level.NO_EVIDENCE, [Level.WATCH] + [Level.NO_EVIDENCE] * 3])
        with ours():
            cli.trainer.fit(cli.model)
        rung += cli_parts.BELL
        cli_parts.BELL.clear()
    by_function, (tone, by_object) = rung
    assert by_function == by_object
    assert (by_function.level, by_function.epoch, tone) == (Level.WATCH, 1, "dong")


def test_every_argument_of_the_dataset_can_be_written_down(folder):
    written = {
        "class_path": "camdebug.ProbeSet.from_dataset",
        "init_args": {
            "dataset": {"class_path": "cli_parts.ValidationWithBoxes", "init_args": {"size": 90}},
            "per_class": 20,
            "seed": 3,
            "class_names": ["ant", "bee", "cat", "dog"],
            "label_map": {0: 3, 1: 2, 2: 1, 3: 0},
            "label": "cli_parts.turned_around",
            "mean": [0.5, 0.5, 0.5],
            "std": [1.0, 1.0, 1.0],
        },
    }
    described = {"class_path": "camdebug.CAMMonitor", "init_args": {"probes": written}}
    (folder / "described.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [described]}}))
    found = watching(command("pytorch_lightning", "--config", "described.yaml", run=False)).probes
    assert (found.class_names, found.counts, found.mean) == (("ant", "bee", "cat", "dog"), (20,) * 4, (0.5,) * 3)
    assert [(int(i) + int(label)) % 4 for i, label in zip(found.source_ids, found.labels, strict=True)] == [3] * 80


def test_a_saved_set_can_be_named_and_what_follows_on_other_probes(folder):
    cli_parts.drawn(seed=3).save(folder / "saved")
    named = {"class_path": "camdebug.ProbeSet.load", "init_args": {"folder": "saved"}}
    arguments = {"probes": named, "other_probes": "restart"}
    described = {"class_path": "camdebug.CAMMonitor", "init_args": arguments}
    (folder / "saved.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [described]}}))
    found = watching(command("pytorch_lightning", "--config", "saved.yaml", run=False))
    assert found.probes.fingerprint == cli_parts.drawn(seed=3).fingerprint
    assert found._other_probes == "restart"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("every_n_epochs=0", "every_n_epochs: expected a whole number, 1 or more, got 0"),
        ("every_n_epochs=two", '"every_n_epochs"'),
        ("every_epoch=2", "every_epoch"),
        ("action=halt", '"action"'),
        ("name=a/b", "name: expected ASCII letters"),
        ("on_alert=cli_parts.nothing_like_it", '"on_alert"'),
        ("probes=cli_parts.no_probes", "Import path cli_parts.no_probes does not correspond to a subclass of"),
        ("probes.per_clas=3", "per_clas"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_before_anything_is_trained(folder, capsys, argument, words):
    assert words in refusal(capsys, f"--trainer.callbacks.{argument}")


def test_a_wrong_layer_ends_the_fit_before_the_first_step(folder):
    with pytest.raises(ValueError, match=r"^target_layer: .*did you mean net.conv"):
        unsaved("pytorch_lightning", "--config", "watched.yaml", "--trainer.callbacks.target_layer=net.conv9")


def test_probes_that_are_not_given_are_asked_for(folder, capsys):
    with pytest.raises(SystemExit):
        unsaved("pytorch_lightning", "--trainer.callbacks+=camdebug.CAMMonitor")
    assert "probes" in capsys.readouterr().err
