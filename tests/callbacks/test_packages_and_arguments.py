"""Both Lightning packages take the monitor; wrong arguments are refused by name."""

import re

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from small_training import Memory as MemoryOfPytorchLightning
from small_training import (
    Mixin,
    Module,
    Spy,
    differences,
    everything_of,
    monitor,
    ours,
    probes,
    seed,
    train_loader,
    trainer,
    val_loader,
)

from camdebug import CAMMonitor, load_record
from camdebug.callbacks import trainer_facts

PACKAGES = [pytorch_lightning, lightning.pytorch]


@pytest.fixture(params=PACKAGES, ids=lambda package: package.__name__)
def package(request):
    return request.param


def fit(package, callbacks):
    class Module(Mixin, package.LightningModule):
        pass

    class Memory(package.loggers.Logger):
        name, version = "memory", "0"
        log_metrics, log_hyperparams = MemoryOfPytorchLightning.log_metrics, MemoryOfPytorchLightning.log_hyperparams
        of, of_user = MemoryOfPytorchLightning.of, MemoryOfPytorchLightning.of_user

        def __init__(self):
            super().__init__()
            self.rows = []

    seed(1)
    model, memory = Module(), Memory()
    with ours() as said:
        fitted = trainer(package, callbacks=callbacks, logger=memory)
        fitted.fit(model, train_loader(), val_loader())
    assert said == []
    return everything_of(model, fitted, memory), memory


@pytest.mark.versions
@pytest.mark.parametrize("in_a_list", [True, False])
def test_trainers_of_both_packages_take_the_monitor_and_end_with_the_same_bits(package, in_a_list):
    watching = monitor()
    without, _ = fit(package, [])
    under_watch, memory = fit(package, [watching, Spy(watching)] if in_a_list else watching)
    assert differences(without, under_watch) == []
    assert [step for step, _ in memory.of("camdebug/outside_mass")] == [4, 9]


@pytest.mark.versions
def test_monitoring_callbacks_of_both_packages_find_the_metric(package):
    stopper = package.callbacks.EarlyStopping("camdebug/outside_mass", patience=9)
    fit(package, [stopper, monitor()])
    assert torch.isfinite(stopper.best_score)


def test_the_callback_is_one_of_every_installed_package():
    assert all(issubclass(CAMMonitor, package.Callback) for package in PACKAGES)


def test_a_package_that_is_missing_or_broken_is_left_out(monkeypatch):
    monkeypatch.setattr(trainer_facts, "find_spec", lambda name: None if name == "lightning" else name)
    assert trainer_facts.callback_bases() == (pytorch_lightning.Callback,)

    def broken(name):
        raise ImportError(name)

    monkeypatch.setattr(trainer_facts, "import_module", broken)
    assert trainer_facts.callback_bases() == ()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs: expected a whole number, 1 or more, got 0"),
        ({"every_n_epochs": 1.5}, ValueError, "every_n_epochs: "),
        ({"chunk_size": 0}, ValueError, "chunk_size: "),
        ({"chunk_size": True}, ValueError, "chunk_size: "),
        ({"log_probes": -1}, ValueError, "log_probes: "),
        ({"seed": -1}, ValueError, "seed: expected a whole number, 0 or more, got -1"),
        ({"alpha": 0.0}, ValueError, "alpha: expected a share between 0 and 1, got 0.0"),
        ({"alpha": 1}, ValueError, "alpha: "),
        ({"alpha": "much"}, ValueError, "alpha: "),
        ({"alpha": float("nan")}, ValueError, "alpha: "),
        ({"name": ""}, ValueError, "name: "),
        ({"name": "a/b"}, ValueError, "name: "),
        ({"name": "Bär"}, ValueError, "name: expected ASCII letters"),
        ({"name": 3}, ValueError, "name: "),
        ({"method": "gradcamm"}, ValueError, "method: "),
        ({"method": 3}, TypeError, "method: "),
    ],
)
def test_wrong_arguments_are_refused_by_name(options, error, words):
    with pytest.raises(error, match=f"^{words}"):
        CAMMonitor(probes(), **options)


def test_something_else_than_a_probe_set_is_refused():
    with pytest.raises(TypeError, match=r"^probes: expected a camdebug.ProbeSet, got Tensor; build one with"):
        CAMMonitor(torch.zeros(2, 3, 4, 4))


def test_the_choices_are_printed_once(capsys):
    fit(pytorch_lightning, monitor(verbose=True))
    out = capsys.readouterr().out
    assert out.count("camdebug: 80 probes of 4 classes, hirescam on net.") == 1
    assert "current weights, every 1 epoch(s); 4 of 4 classes can be judged" in out
    assert "With 20 pairs of backgrounds a class, a fall in probability of 0." in out
    assert "is confirmed at four looks of five" in out


def own_maps(model, images, class_idx):
    return images.abs().mean(1)[:, ::2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"hirescam on net\.norm2 \([^()]*\), current weights, every 1 epoch\(s\); 4 of 4 classes"),
        (
            {"method": "fullgrad"},
            r"fullgrad at the picture's size \(16x16\), current weights, every 1 epoch\(s\); background evidence is "
            r"HiResCAM's at net\.norm2 \(last spatial stage, [^()]*\); 4 of 4 classes",
        ),
        (
            {"method": own_maps, "contrast": False},
            r"own_maps with maps of 8x16 cells, current weights, .*\); no ba",
        ),
        (
            {"method": "gradcam"},
            r"gradcam on net\.norm2 \(last spatial stage, [^()]*\), current weights, every 1 epoch\(s\); background "
            r"evidence is HiResCAM's at net\.norm2; 4 of 4 classes",
        ),
        (
            {"method": "guided-gradcam"},
            r"guided-gradcam on net\.norm2 \([^()]*\) with maps of 16x16 cells, current weights, .*; background evid",
        ),
        (
            {"target_layer": ["net.conv2", "net.conv1"]},
            r"hirescam on net\.conv2, net\.conv1 \(as asked for\) with maps of 16x16 cells, .*; background evidence is "
            r"HiResCAM's at net\.conv2; 4 of 4",
        ),
    ],
)
def test_it_is_said_where_maps_are_made_and_where_background_evidence_is_measured(capsys, tmp_path, options, said):
    fitted = trainer(callbacks=[monitor(verbose=True, record=tmp_path / "record", **options)], max_epochs=1)
    with ours() as warned:
        fitted.fit(Module(), train_loader())
    assert warned == []
    assert re.search(rf"^camdebug: 80 probes of 4 classes, {said}", capsys.readouterr().out)
    record = load_record(tmp_path / "record")
    maps, reason = record.record(0).label_maps, record.manifest.layer_reason
    cells = "x".join(map(str, maps.grid))
    if options.get("method") in ("fullgrad", own_maps):
        assert reason.endswith(f"; not read by {maps.method}, whose maps have {cells} cells")
    else:
        assert reason.endswith(f"; maps of {cells} cells") == (maps.grid != (8, 8))


def test_too_few_probes_to_judge_are_said_at_the_start(capsys):
    fit(pytorch_lightning, monitor(verbose=True, probes=probes(per_class=3)))
    assert "every 1 epoch(s); no background can be tested" in capsys.readouterr().out


@pytest.mark.parametrize(("monitor_first", "seen"), [(True, "averaged"), (False, "current")])
def test_people_are_told_which_weights_are_seen_beside_a_moving_average(capsys, monitor_first, seen):
    average = pytest.importorskip("pytorch_lightning.callbacks.weight_averaging").EMAWeightAveraging(decay=0.5)

    class Witness(CAMMonitor):
        def on_validation_start(self, trainer, module):
            self.trained = module.net.head.weight.detach().clone()

        def _look(self, trainer, module, **hook):
            self.sees_trained = torch.equal(module.net.head.weight, self.trained)
            super()._look(trainer, module, **hook)

    watching = Witness(probes(), record=False)
    fit(pytorch_lightning, [watching, average] if monitor_first else [average, watching])
    assert f"{seen} weights" in capsys.readouterr().out
    assert watching.sees_trained == (seen == "current")
