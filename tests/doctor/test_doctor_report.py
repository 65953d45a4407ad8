"""What the report says of a model, for people and for programs."""

import json
from contextlib import nullcontext

import pytest
import torch
from patients import Net, images, probes
from torch import nn

from camdebug.cam.methods.registry import WORKERS
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.doctor import DoctorReport, examine
from camdebug.doctor.facts import CostFacts, LayerFacts, LookCost, ModelFacts, OutputFacts


class Several(Net):
    """Two stages on unlike grids, a frozen part, BatchNorm and dropout."""

    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(4, 4, 2, 2)
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout(0.5)
        with torch.no_grad():
            self.second.weight.fill_(0.5)
        self.stage.requires_grad_(False)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.second(self.stage(x).relu())).mean((2, 3))))


def test_the_facts_of_a_model():
    report = examine(Several(), probes())
    weights = (48 + 4) + (64 + 4) + (4 + 4) + (12 + 3)
    assert report.model == ModelFacts(weights, 52, ("float32",), 1, 1, "(3, 16, 16) float32 on cpu")
    assert report.output == OutputFacts("a tensor (1, 3)", 3, "softmax", False)
    reason = "last spatial stage, NCHW, 4x4 cells"
    assert report.layers == (LayerFacts("norm", reason, "NCHW", (4, 4, 4), "float32", (4, 4)),)
    assert report.other_layers == ("stage 8x8",)
    assert (report.heat.method, report.heat.pictures, report.heat.cells, report.heat.channels) == ("hirescam", 64, 1, 1)
    assert report.ok


def test_a_layer_that_is_asked_for_is_examined_and_the_other_is_named():
    report = examine(Several(), images(), target_layer="stage", method="gradcam")
    assert [(layer.name, layer.reason, layer.grid) for layer in report.layers] == [("stage", "as asked for", (8, 8))]
    assert report.other_layers == ("norm 4x4",)
    assert "layer      stage (as asked for, NCHW, 8x8 cells): activation (4, 8, 8) float32\n" in str(report)
    assert report.heat.method == "gradcam"


def test_several_layers_are_all_reported():
    report = examine(Several(), images(), target_layer=["norm", "stage"])
    assert [layer.grid for layer in report.layers] == [(4, 4), (8, 8)]


def test_pictures_enter_as_the_precision_has_it():
    class Half:
        def convert(self, given):
            return given.to(torch.bfloat16)

        def context(self):
            return nullcontext()

    report = examine(Net().to(torch.bfloat16), images(), precision=Half())
    assert report.model.pictures == "(3, 16, 16) bfloat16 on cpu"
    assert report.model.dtypes == ("bfloat16",)
    assert report.layers[0].dtype == "bfloat16"
    assert report.ok


def test_the_model_is_run_and_read_as_the_user_says():
    class Answering(Net):
        def forward(self, x, question):
            return {"scores": super().forward(x), "question": question}

    use = ModelUse(forward_fn=lambda model, x: model(x, "what?")["scores"])
    assert examine(Answering(), images(), use=use).ok
    assert "missing 1 required positional argument: 'question'" in examine(Answering(), images()).problems[0]


def test_where_the_number_of_classes_is_unknown_the_first_one_is_explained():
    def first_score(output):
        return ClassScores(None, pick=lambda class_idx: output[torch.arange(len(output)), class_idx])

    report = examine(Net(), images(), use=ModelUse(outputs=first_score))
    assert report.ok
    assert report.output == OutputFacts("a tensor (1, 3)", None, "softmax", False)
    assert report.heat.without_evidence == 0
    assert report.notes == ("The output does not tell how many classes there are, so forwards were not compared.",)
    assert "read as classes unknown with softmax" in str(report)


def test_a_method_that_takes_many_forwards_makes_the_maps_of_a_few_pictures_only(monkeypatch):
    class Dear:
        name, layered = "dear", True

        def __call__(self, chunk, layer_index, class_idx):
            return chunk.views[layer_index].activation.mean(1)

    monkeypatch.setitem(WORKERS, "dear", Dear())
    report = examine(Net(), probes(), method="dear")
    assert report.ok
    assert (report.heat.method, report.heat.pictures, report.cost.pictures) == ("dear", 4, 4)
    assert report.following.trials == 16
    assert report.picture.size[1] < examine(Net(), probes()).picture.size[1]


def test_a_batch_says_nothing_of_boxes():
    report = examine(Net(), (images(), torch.zeros(4)))
    assert report.probes is None
    assert "probes" not in str(report)


def test_problems_come_first_each_with_a_number():
    model = Net(classes=2)
    lines = str(examine(model, probes(counts=(25, 3, 25)))).splitlines()
    assert lines[0] == "camdebug doctor: 2 problems."
    assert lines[1].startswith("  1. Model and probes do not fit together: ")
    assert lines[2].startswith("  2. 1 of 3 classes cannot be judged")
    assert lines[3] == ""


def test_all_is_said_in_lines():
    report = examine(Several(), probes(), epochs=20)
    heads = [line[:11].strip() for line in str(report).splitlines()[2:]]
    assert heads == [
        *("model", "output", "layer", "", "maps", "place", "probes", "", "", "", "power", "cost", "", ""),
    ]
    text = str(report)
    assert "probes     75 in 3 classes; backgrounds of 3 can be tested; places can be tested\n" in text
    assert "`class 0`: 25 of 25 probes usable, median box 1.8 x 2.0 cells (w x h)\n" in text
    assert "place      a brighter corner changes its own cells most in 16 of 16 trials (chance 4)\n" in text


def test_names_that_others_gave_move_no_cursor_and_break_no_line():
    class Hostile(Net):
        def __init__(self):
            super().__init__()
            self.add_module("x\n\x1b[31mred", nn.Identity())

        def forward(self, x):
            return {"lo\ngits\x1b[2J": self.head(self._modules["x\n\x1b[31mred"](self.stage(x)).mean((2, 3)))}

    def method(model, pictures, classes):
        return pictures.mean(1)

    method.__name__ = "me\nthod\x1b[31m"
    use = ModelUse(outputs=lambda output: ClassScores(next(iter(output.values()))))
    report = examine(Hostile(), images(), method=method, use=use)
    text = str(report)
    assert "\x1b" in report.layers[0].name + report.output.raw
    assert "\x1b" not in text
    assert "layer      x [31mred (" in text
    assert "output     a dict of lo gits[2J" in text


def test_of_many_classes_a_dozen_is_shown():
    report = examine(Net(classes=20), probes(counts=(20,) * 20))
    assert "and 8 more classes" in str(report)
    assert len(report.probes.classes) == 20


def test_cost_is_told_in_units_that_people_read():
    cost = CostFacts(32, 0.25, 0.3, 3 * 2**20, "peak on cuda:0", 100352, LookCost(3.2, 14.4, 12.0, 240.0))
    text = str(DoctorReport((), (), ModelFacts(0, 0, (), 0, 0, None), cost=cost))
    assert "cost       32 pictures: forward 250 ms, maps 300 ms (1.2 times as long)\n" in text
    assert "memory 3.0 MiB (peak on cuda:0); activation 98 KiB a picture\n" in text
    assert "estimated without drawing: 3.2 forwards of the probes, 12 s; at most, when planned, 14, 4.0 min" in text


@pytest.mark.parametrize("model", [Several(), nn.Linear(3, 2)], ids=["healthy", "broken"])
def test_the_report_is_saved_as_json(tmp_path, model):
    report = examine(model, probes())
    report.save(tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found == report.as_dict()
    assert found["ok"] is report.ok
    assert found["problems"] == list(report.problems)
    assert found["model"]["parameters"] == report.model.parameters
    assert "picture" not in found
