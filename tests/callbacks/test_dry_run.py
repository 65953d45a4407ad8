"""A monitor asks the doctor with its own settings."""

import sys

import pytest
import torch
from small_training import Module, differences, everything_of, monitor, ours, probes, seed, train_loader, trainer
from torch import nn

from camdebug import MapOptions
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.doctor import examine as examine_function
from camdebug.observe import Observer

examine_room = sys.modules[examine_function.__module__]


def test_it_reports_what_the_monitor_itself_chooses():
    report = monitor().doctor(Module(), epochs=3)
    assert report.ok
    assert (report.layers[0].name, report.layers[0].grid) == ("net.norm2", (8, 8))
    assert report.output.classes == 4
    watching = monitor()
    with ours():
        trainer(callbacks=[watching], max_epochs=1).fit(Module(), train_loader())
    assert watching.last_record.label_maps.layer == report.layers[0].name
    assert watching.last_record.label_maps.grid == report.layers[0].grid


def test_the_monitors_own_settings_are_the_ones_that_are_tried():
    options = MapOptions(fuse="max")
    watching = monitor(method="layercam", target_layer=["net.conv1", "net.conv2"], options=options, chunk_size=3)
    report = watching.doctor(Module())
    assert [layer.name for layer in report.layers] == ["net.conv1", "net.conv2"]
    assert "layercam (max)" in str(report)
    assert report.cost.pictures == 3


class Tuple(Module):
    """The scores are the second entry: read as the first one, there would be no classes."""

    def forward(self, x, scale):
        return x, scale * self.net(x)


def scaled(model, images):
    return model(images, 2.0)


def second(output, class_idx):
    return output[1].gather(1, class_idx[:, None])[:, 0]


def test_it_runs_and_reads_the_model_as_the_monitor_does():
    report = monitor(forward_fn=scaled, score_fn=second).doctor(Tuple())
    assert (report.ok, report.output.classes) == (True, 4)
    assert not monitor(score_fn=second).doctor(Tuple()).ok
    assert monitor(task="multilabel").doctor(Module()).output.link == "sigmoid"
    assert monitor().doctor(Module()).output.link == "softmax"


def power_of(*, epochs=None, **options):
    return monitor(**options).doctor(Module(), epochs=epochs).probes.outlook


def looked_forward_to(epochs, **options):
    """What the observer itself says before a training of so many looks."""
    observer = Observer(probes(), **options)
    model = Module()
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
    return observer.smallest_effect(epochs)


def test_power_is_that_of_the_monitors_alpha_and_of_the_planned_looks():
    assert power_of(epochs=40, alpha=0.2) == looked_forward_to(40, alpha=0.2)
    assert power_of(epochs=40) == looked_forward_to(40)
    assert power_of() == looked_forward_to(None)
    assert power_of(epochs=41, every_n_epochs=10) == looked_forward_to(5)
    assert looked_forward_to(40, alpha=0.2) != looked_forward_to(40) != looked_forward_to(None)
    assert looked_forward_to(41) != looked_forward_to(5)


def test_without_contrast_no_background_is_promised():
    report = monitor(contrast=False).doctor(Module(), epochs=10)
    assert report.probes.testable == ()
    assert report.probes.outlook == looked_forward_to(10, contrast=False)
    assert monitor().doctor(Module(), epochs=10).probes.testable == tuple(probes().class_names)


def test_donors_are_drawn_with_the_monitors_seed(monkeypatch):
    drawn = []

    class Noting(Observer):
        def __init__(self, *args, **options):
            drawn.append(options["seed"])
            super().__init__(*args, **options)

    monkeypatch.setattr(examine_room, "Observer", Noting)
    monitor(seed=7).doctor(Module())
    assert drawn == [7]


def test_a_batch_takes_the_place_of_the_probes():
    batch = next(iter(train_loader()))
    report = monitor().doctor(Module(), batch)
    assert report.probes is None
    assert report.layers[0].name == "net.norm2"


def test_a_layer_that_is_not_there_is_a_problem_and_no_exception():
    report = monitor(target_layer="net.nowhere").doctor(Module())
    assert not report.ok
    assert "net.nowhere" in " ".join(report.problems)


class Logs(Module):
    def forward(self, x):
        self.log("in_forward", x.mean())
        return super().forward(x)


def test_a_forward_that_logs_is_examined_too():
    assert monitor().doctor(Logs()).ok


def test_a_module_that_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got list"):
        monitor().doctor([])


def test_training_after_a_dry_run_ends_with_the_same_bits():
    def trained(*, examined):
        seed(1)
        model = Module()
        watching = monitor(probes=given)
        if examined:
            assert watching.doctor(model).ok
        fitted = trainer(callbacks=[watching])
        with ours():
            fitted.fit(model, train_loader())
        return everything_of(model, fitted, Nothing())

    given = probes()
    assert differences(trained(examined=True), trained(examined=False)) == []


class Nothing:
    def of_user(self):
        return []


def test_a_plain_module_is_examined_as_well():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert monitor().doctor(net).layers[0].grid == (16, 16)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert "log" not in vars(net)
