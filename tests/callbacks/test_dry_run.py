"""A monitor asks the doctor with its own settings."""

import pytest
import torch
from small_training import Module, differences, everything_of, monitor, ours, probes, seed, train_loader, trainer
from torch import nn

from camdebug import MapOptions


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
