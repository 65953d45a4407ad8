"""Gradients and maps: what is a problem, and what passes with the first step."""

import pytest
import torch
from patients import Net, images, probes, spoiled
from torch import nn
from torchvision.models import VisionTransformer

from camdebug.doctor import examine


def problems(model, given=None, **options):
    return examine(model, images() if given is None else given, **options).problems


def test_a_head_of_zeros_passes_with_the_first_step_and_is_a_note():
    net = Net()
    nn.init.zeros_(net.head.weight)
    report = examine(net, images())
    assert report.problems == ()
    assert report.notes == (
        "The head starts at zero (head.weight is all zeros), so before the first step maps are empty.",
    )
    assert (report.heat.cells, report.heat.channels, report.heat.without_evidence) == (0.0, 0.0, 4)


@pytest.mark.parametrize("method", ["eigencam", "scorecam", lambda model, pictures, classes: pictures.mean(1)])
def test_maps_that_take_no_gradient_are_not_said_to_be_empty(method):
    net = Net()
    nn.init.zeros_(net.head.weight)
    report = examine(net, images(), method=method)
    assert report.ok
    assert report.heat.without_evidence == 0
    assert report.notes[0] == (
        "The head starts at zero (head.weight is all zeros), so before the first step background evidence, which takes "
        "gradients there, is 0."
    )


def test_scores_that_do_not_depend_on_the_layer_have_no_gradient():
    report = examine(spoiled(lambda net, x: net.head(net.stage(x).tanh().mul(0).mean((2, 3)))), images())
    assert report.problems[0].startswith("the gradient at stage is 0 everywhere, so every map is empty: the scores do")


@pytest.mark.parametrize("zeros", [False, True], ids=["a head of numbers", "a head of zeros"])
def test_a_layer_of_which_a_class_token_alone_is_read_is_a_problem_and_the_one_before_is_named(zeros):
    torch.manual_seed(0)
    model = VisionTransformer(16, 4, 2, 2, 8, 8, num_classes=3)
    with torch.no_grad():
        model.heads.head.weight.copy_(torch.randn(3, 8) * (not zeros))
    report = examine(model, images(), target_layer="encoder.layers.encoder_layer_1")
    if zeros:
        assert report.notes[0].startswith("The head starts at zero (heads.head.weight is all zeros)")
    else:
        assert report.problems == (
            "the scores depend on no cell of encoder.layers.encoder_layer_1, only on what its output holds beside "
            "them, such as a class token, so every map is empty. Choose another target_layer, such as "
            "encoder.layers.encoder_layer_1.ln_1, the one that is found unasked.",
        )
    assert examine(model, images()).problems == ()


def test_a_method_without_gradients_explains_a_model_that_gives_none_but_not_at_probes():
    detached = spoiled(lambda net, x: Net.forward(net, x).detach())
    report = examine(detached, images(), method="eigencam")
    assert (report.problems, report.heat.without_evidence, report.heat.cells) == ((), 0, 0.0)
    assert report.notes[0].startswith("No gradient leads from stage to the scores. eigencam takes none, but background")
    assert "no layer with a spatial output has a gradient path" in examine(detached, images()).problems[0]
    assert "no layer with a spatial output has a gradient path" in problems(detached, probes(), method="eigencam")[0]


def test_a_dead_layer_is_named():
    net = Net()
    nn.init.zeros_(net.stage.weight)
    nn.init.zeros_(net.stage.bias)
    found = problems(net)
    assert found[0].startswith("stage is dead: its output is 0 for every picture")
    assert found[1].startswith("stage does not respond to the picture")


@pytest.mark.parametrize(
    ("factor", "why"),
    [(-1.0, "nothing in stage speaks for the class that is explained"), (1e-9, "nowhere is there more than ")],
)
def test_maps_that_are_all_empty_while_gradients_flow_are_a_note_for_so_they_may_be_before_training(factor, why):
    net = Net()
    with torch.no_grad():
        net.head.weight.mul_(factor)
    report = examine(net, images())
    assert report.ok
    assert (report.heat.cells, report.heat.without_evidence) == (1.0, 4)
    assert report.notes[0].startswith(f"Every map is empty: {why}")


def test_a_layer_whose_evidence_cancels_is_condemned_and_the_one_that_is_found_unasked_is_named():
    """What reads it is a norm without scale, so that the gradient stands at right angles to the activation."""

    class Normed(Net):
        def __init__(self):
            super().__init__()
            self.after = nn.Conv2d(4, 4, 1)
            nn.init.eye_(self.after.weight[:, :, 0, 0])

        def forward(self, x):
            cells = self.stage(x)
            return self.head(self.after(cells / cells.norm(dim=1, keepdim=True)).mean((2, 3)))

    (problem,) = problems(Normed(), target_layer="stage")
    assert problem.startswith("all 4 maps are empty at stage: what its channels say of the classes cancels in every")
    assert problem.endswith("Choose another target_layer, such as after, the one that is found unasked.")
    assert problems(Normed()) == ()


def test_when_more_than_half_of_the_maps_are_empty_that_is_a_note():
    net = Net()
    with torch.no_grad():
        net.head.weight[:2].neg_()
    report = examine(net, probes())
    assert report.problems == ()
    assert report.heat.without_evidence == 43
    assert "43 of 64 maps are empty" in report.notes[0]
