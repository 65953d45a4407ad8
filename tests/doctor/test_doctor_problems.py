"""Every problem is provoked once, with its words, and a healthy model has none."""

from importlib import import_module
from itertools import count

import pytest
import pytorch_lightning as pl
import torch
from patients import Net, images, probes, spoiled
from torch import nn
from torch.nn import functional as F

from camdebug.doctor import examine
from camdebug.doctor.findings import Findings

examine_module = import_module("camdebug.doctor.examine")


def problems(model, given=None, **options):
    return examine(model, images() if given is None else given, **options).problems


@pytest.mark.parametrize("given", [probes(), images(), (images(), torch.zeros(4))], ids=["probes", "tensor", "batch"])
def test_a_healthy_model_has_no_problem(given):
    report = examine(Net(), given, epochs=10)
    assert report.problems == ()
    assert report.ok
    assert str(report).startswith("camdebug doctor: no problem found.\n")


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
def test_torchscript_cannot_be_borrowed_but_boxes_are_still_judged():
    scripted = torch.jit.trace(Net(), images())
    report = examine(scripted, probes(counts=(25, 3, 25)))
    assert report.problems[0].startswith("looks cannot borrow the model: it is TorchScript")
    assert report.problems[1].startswith("1 of 3 classes cannot be judged")
    assert (report.output, report.layers, report.cost) == (None, (), None)
    assert report.model.parameters == 3 * 4 * 4 + 4 + 4 * 3 + 3


def test_lazy_parameters_are_refused_and_stay_lazy():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    (problem,) = problems(model)
    assert "0.weight is not initialised yet (a lazy module); run one forward first" in problem
    assert isinstance(model[0].weight, nn.UninitializedParameter)


def test_a_forward_that_raises_is_told_in_one_line_without_a_traceback():
    report = examine(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), probes())
    (problem,) = report.problems
    assert problem.startswith("the model's forward fails on a picture of (3, 16, 16): RuntimeError: ")
    assert problem.endswith("Check the size and channels that it takes.")
    assert "Traceback" not in str(report)
    assert report.probes.testable == ("class 0", "class 1", "class 2")
    assert report.picture is not None


def test_a_forward_that_takes_more_than_pictures_is_told_how_it_is_run():
    class Answering(Net):
        def forward(self, x, question):
            return super().forward(x)

    (problem,) = problems(Answering())
    assert "missing 1 required positional argument: 'question'" in problem
    assert problem.startswith(
        "the model's forward fails on a picture of (3, 16, 16): its forward takes more than pictures"
    )
    assert problem.rstrip().endswith("pass inputs=[...] or forward_fn=.")


def test_a_forward_that_asks_for_its_trainer_is_told_that_there_is_none_yet():
    class Asks(pl.LightningModule):
        def forward(self, x):
            return x.mean((2, 3)) * self.trainer.current_epoch

    (problem,) = problems(Asks())
    assert problem.endswith("Before a fit there is no self.trainer, so its forward must do without one.")


def test_a_forward_that_logs_is_examined_without_logging(recwarn):
    class Logs(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            self.log("seen", x.mean())
            return self.net(x)

    model = nn.Sequential(Logs())
    kept = model[0].__dict__["log_dict"] = object()
    assert problems(model) == ()
    assert not recwarn
    assert "log" not in model[0].__dict__
    assert model[0].__dict__["log_dict"] is kept


def test_an_error_of_the_method_is_told_once_and_as_of_its_maps():
    def nowhere(model, pictures, classes):
        return 1 / 0

    (problem,) = problems(Net(), method=nowhere)
    assert problem == (
        "maps of nowhere cannot be made: RuntimeError: method: nowhere raised ZeroDivisionError: division by zero. "
        "Looks will fail in the same way; choose another method or target_layer."
    )


def test_a_cost_that_cannot_be_measured_is_told_when_the_maps_can_be_made(monkeypatch):
    def broken(*args):
        raise RuntimeError("no clock")

    monkeypatch.setattr(examine_module, "measure_cost", broken)
    report = examine(Net(), images())
    assert report.problems == (
        "the cost of a look could not be measured: RuntimeError: no clock. Looks will fail in the same way.",
    )
    assert report.heat is not None


def test_an_output_that_cannot_be_read_is_described():
    (problem,) = problems(spoiled(lambda net, x: {"boxes": [], "names": ["one"]}))
    assert problem.startswith("the output, a dict of boxes, names, cannot be read as class scores: ")


def test_probabilities_are_noticed_and_logits_are_not_taken_for_them():
    report = examine(spoiled(lambda net, x: Net.forward(net, x).softmax(1)), images())
    assert report.problems[0].startswith("the model's scores look like probabilities")
    assert report.output.probabilities
    assert not examine(Net(), images()).output.probabilities


def test_more_classes_than_outputs_do_not_fit_and_the_other_classes_are_still_examined():
    report = examine(Net(classes=2), probes())
    assert report.problems[0].startswith(
        "model and probes do not fit together: probes: have 3 classes, but the model gives 2 scores"
    )
    assert report.heat.pictures == 43  # of 64 in turn, 22 are of class 0, 21 of class 1
    assert len(report.problems) == 1


def test_a_layer_that_does_not_exist_is_told_with_its_neighbours_and_the_layers_there_are():
    report = examine(Net(), images(), target_layer="stag")
    (problem,) = report.problems
    assert problem == "there is no target layer: the model has no layer 'stag'; did you mean stage?"
    assert report.other_layers == ("stage 8x8",)


def test_a_layer_that_runs_twice_is_refused():
    (problem,) = problems(
        spoiled(lambda net, x: net.head((net.stage(x) + net.stage(-x)).mean((2, 3)))), target_layer="stage"
    )
    assert "'stage' runs 2 times in a forward" in problem


def test_a_model_without_cells_has_no_layer_but_its_forwards_are_compared():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 2), nn.Dropout(0.5))
    model.forward = lambda x: model[1](F.dropout(model[0](x)))
    found = problems(model)
    assert len(found) == 2
    assert "found no layer with a spatial output (N, C, h, w)" in found[0]
    assert found[1].startswith("the forward draws random numbers")


def test_a_layer_without_a_path_to_the_scores_is_refused():
    (problem,) = problems(
        spoiled(lambda net, x: net.head(net.stage(x).detach().mean((2, 3))).detach() + 0 * x.mean()),
        target_layer="stage",
    )
    assert "no gradient path leads from 'stage' to the scores" in problem


def test_weights_that_are_not_finite_are_noticed():
    net = Net()
    with torch.no_grad():
        net.stage.weight[0, 0, 0, 0] = torch.nan
    found = problems(net)
    assert "4 of 4 maps are not finite" in found[0]
    assert any(p.startswith("the model's scores are not finite") for p in found)


def test_a_map_that_is_the_same_everywhere_tells_no_place():
    model = spoiled(lambda net, x: net.head(net.stage(x.mean((2, 3), keepdim=True).expand_as(x)).mean((2, 3))))
    report = examine(model, images())
    assert report.heat.constant == 4
    assert report.problems[0].startswith("every map is the same in all its cells")
    assert report.problems[1].startswith("maps of stage do not follow the picture")


def test_dropout_that_stays_on_is_noticed():
    (problem,) = problems(spoiled(lambda net, x: net.head(F.dropout(net.stage(x)).mean((2, 3)))))
    assert problem.startswith("the forward draws random numbers in evaluation mode")


def test_dropout_that_heeds_the_mode_is_fine():
    assert problems(spoiled(lambda net, x: net.head(F.dropout(net.stage(x), training=net.training).mean((2, 3))))) == ()


def test_a_forward_that_differs_a_little_is_a_note():
    forwards = count()
    report = examine(spoiled(lambda net, x: Net.forward(net, x) + 1e-5 * (next(forwards) % 2)), images())
    assert report.problems == ()
    assert any(note.startswith("Two forwards of the same pictures differ a little (by ") for note in report.notes)


@pytest.mark.parametrize("tracks", [True, False])
def test_pictures_that_depend_on_their_neighbours_are_noticed(tracks):
    class Normed(Net):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4, track_running_stats=tracks)

        def forward(self, x):
            return self.head(self.norm(self.stage(x)).relu().mean((2, 3)))

    report = examine(Normed(), images())
    assert report.model.batch_norms == 1
    assert [p.partition(":")[0] for p in report.problems] == (
        [] if tracks else ["a picture's scores depend on its neighbours in the batch"]
    )


def test_what_the_forward_changes_is_named():
    def counting(net, x):
        net.calls = getattr(net, "calls", 0) + 1
        return Net.forward(net, x)

    report = examine(spoiled(counting), images())
    assert report.ok
    assert report.notes == ("The model's forward changes calls. Each look puts it back.",)
    assert examine(Net(), images()).notes == ()


def test_pictures_of_whole_numbers_and_broken_ones_are_noticed():
    whole = (255 * images()).to(torch.uint8)
    (problem,) = problems(Net(), whole)
    assert problem.startswith("pictures are torch.uint8; a probe set takes floating ones")
    broken = images()
    broken[0, 0, 0, 0] = torch.inf
    assert problems(Net(), broken)[0].startswith("some pictures are not finite")


def test_when_memory_runs_out_a_smaller_chunk_is_advised_and_it_is_said_once():
    def greedy(net, x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return Net.forward(net, x)

    (problem,) = problems(spoiled(greedy))
    assert "OutOfMemoryError: CUDA out of memory" in problem
    assert problem.endswith("Pass a smaller chunk_size; looks halve theirs by themselves.")
    assert problems(spoiled(greedy), chunk_size=1) == ()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "gradkam"}, ValueError, "method: expected one of"),
        ({"chunk_size": 0}, ValueError, "chunk_size: expected a whole number above 0, got 0"),
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs: expected a whole number above 0, got 0"),
        ({"epochs": 2.5}, ValueError, "epochs: expected a whole number above 0, got 2.5"),
    ],
)
def test_wrong_arguments_are_errors(options, error, words):
    with pytest.raises(error, match=words):
        examine(Net(), images(), **options)


def test_what_is_no_model_or_no_picture_is_an_error():
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got function"):
        examine(images, images())
    with pytest.raises(TypeError, match="probes_or_batch: expected a ProbeSet, a tensor"):
        examine(Net(), "pictures")
    with pytest.raises(ValueError, match=r"probes_or_batch: expected pictures \(N, C, H, W\).*got \(4, 3\)"):
        examine(Net(), torch.zeros(4, 3))


def test_an_interrupt_is_no_problem_of_the_model():
    def interrupted(net, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(spoiled(interrupted), images())


def test_findings_are_said_once_and_without_control_characters():
    findings = Findings()
    for _ in range(2):
        findings.problem("a\x1b[2Jb")
        findings.note("n")
        with findings.attempt("it failed", "Mend it."):
            raise ValueError("why?\nmore")
    assert findings.problems == ["a[2Jb", "it failed: ValueError: why? Mend it."]
    assert findings.notes == ["n"]
