"""Whether cells lie where their part of the picture does."""

import pytest
import torch
import torchvision
from patients import Net, images
from scipy.stats import binomtest
from torch import nn

from camdebug.cam.lens import Lens
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout
from camdebug.doctor import examine, following
from camdebug.doctor.advice import LayerAdvice
from camdebug.doctor.facts import FollowFacts
from camdebug.doctor.findings import Findings
from camdebug.doctor.following import brightened, by_chance, check_following, corner_share, most_changed


class Turned(Net):
    """The layer's output is turned in some way, which the head, a mean over cells, cannot tell."""

    def __init__(self, turn):
        super().__init__()
        self.turned = nn.Identity()
        self.turn = turn

    def forward(self, x):
        return self.head(self.turned(self.turn(self.stage(x).relu())).mean((2, 3)))


def test_a_cells_change_is_measured_against_its_own_mean():
    """The first cell changes most whatever is brighter, but each changes most for its own corner."""
    changes = torch.tensor([[9.0, 1.0, 2.0, 0.0], [6.0, 3.0, 2.0, 0.0], [6.0, 1.0, 4.0, 0.0], [6.0, 1.0, 2.0, 0.0]])
    changes[3, 3] = 1e-9  # below rounding: it stays as it is
    shares = torch.eye(4, dtype=torch.float64).reshape(4, 2, 2)
    assert changes.argmax(1).tolist() == [0, 0, 0, 0]
    # Over means of 6.75, 1.5, 2.5 and 0: 1.33, .67, .8; .89, 2, .8; .89, .67, 1.6; .89, .67, .8.
    assert most_changed(changes.double().reshape(4, 1, 2, 2), shares) == [[0], [1], [2], [0]]
    assert most_changed(torch.zeros(4, 1, 2, 2), shares) == [[None]] * 4


class DimRim(Turned):
    """Cells at the rim respond a hundredth as much, as those of a deep network before training."""

    def forward(self, x):
        cells = self.stage(x).relu()
        weight = torch.full((8, 8), 0.01)
        weight[3:5, 3:4] = 1.0
        near = nn.functional.avg_pool2d(cells, 5, 1, 2)
        return self.head(self.turned(self.turn(near * weight)).mean((2, 3)))


@pytest.mark.parametrize(
    ("turn", "hits"), [(lambda cells: cells, 16), (lambda cells: cells.flip(2), 0)], ids=["as it is", "mirrored"]
)
def test_cells_that_respond_unequally_follow_the_picture_all_the_same(turn, hits):
    report = examine(DimRim(turn), images(), target_layer="turned")
    assert (report.following.hits, report.following.trials, report.ok) == (hits, 16, hits == 16)


@pytest.mark.parametrize(("name", "side"), [("resnet18", 128), ("shufflenet_v2_x0_5", 128)])
def test_untrained_networks_follow_the_picture(name, side):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=5)
    given = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    report = examine(model, given, method="eigencam")
    assert (report.layers[0].grid, report.following.hits, report.problems) == ((4, 4), 16, ())


@pytest.mark.parametrize(("hits", "found"), [(8, "problem"), (9, "note"), (11, "note"), (12, "nothing")])
def test_hits_above_chance_but_few_are_a_note(hits, found):
    findings = Findings()
    following._judge(FollowFacts(16, hits, 0.25, 4), findings, "stage", (4, 4), str)
    assert (len(findings.problems), len(findings.notes)) == (found == "problem", found == "note")
    following._judge(FollowFacts(16, min(hits, 11), 0.25, 12), transposed := Findings(), "stage", (4, 4), str)
    assert "columns first" in transposed.problems[0]


def test_chance_is_that_of_a_binomial():
    assert by_chance(8, 16, 0.25) == pytest.approx(binomtest(8, 16, 0.25, "greater").pvalue)
    assert by_chance(8, 16, 0.25) > 0.01 > by_chance(9, 16, 0.25)


@pytest.mark.parametrize(
    ("turn", "hits", "exchanged"),
    [
        (lambda cells: cells, 16, 8),
        (lambda cells: cells.transpose(2, 3), 8, 16),
        (lambda cells: cells.flip(3), 0, 0),
        (lambda cells: cells.roll(4, 2), 0, 0),
    ],
    ids=["as it is", "transposed", "mirrored", "rolled"],
)
def test_turned_cells_are_found_out(turn, hits, exchanged):
    report = examine(Turned(turn), images(), target_layer="turned")
    found = report.following
    assert (found.trials, found.hits, found.exchanged, found.chance) == (16, hits, exchanged, 0.25)
    assert report.ok == (hits == 16)


def test_on_two_cells_a_side_a_miss_is_a_note():
    class Coarse(Net):
        def __init__(self):
            super().__init__(stride=8)
            self.turned = nn.Identity()

        def forward(self, x):
            return self.head(self.turned(self.stage(x).relu().flip(3)).mean((2, 3)))

    report = examine(Coarse(), images(), target_layer="turned")
    assert (report.ok, report.following.hits) == (True, 0)
    assert report.notes[0].startswith("On 2x2 cells of turned a brighter corner changes its own cells most in 0 of 16")


def test_a_transposed_grid_is_said_to_be_transposed():
    (problem,) = examine(Turned(lambda cells: cells.transpose(2, 3)), images(), target_layer="turned").problems
    assert problem.startswith(
        "maps of turned do not follow the picture: when one corner is made brighter, the cells there change most in "
        "8 of 16 trials (chance 4). With rows and columns exchanged it is 16 of 16: the output is laid out columns "
        "first."
    )


def test_shuffled_cells_are_at_chance_and_not_said_to_be_transposed():
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    model = Turned(lambda cells: cells.flatten(2)[:, :, order].unflatten(2, (8, 8)))
    report = examine(model, images(), target_layer="turned")
    assert report.following.hits == 4
    assert "A cell of it does not stand for the part of the picture at its place." in report.problems[0]


def test_channels_last_are_read_right():
    class Last(Net):
        def __init__(self):
            super().__init__()
            self.last = nn.Identity()

        def forward(self, x):
            return self.head(self.last(self.stage(x).relu().movedim(1, 3)).mean((1, 2)))

    report = examine(Last(), images(), target_layer="last")
    assert (report.layers[0].layout, report.layers[0].grid, report.layers[0].activation) == ("NHWC", (8, 8), (4, 8, 8))
    assert report.following.hits == 16


def test_oblong_pictures_have_oblong_grids():
    report = examine(Net(), torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
    assert report.layers[0].grid == (8, 12)
    assert report.following.hits == 16


def test_a_cell_that_lies_on_the_middle_belongs_half_to_each_corner():
    assert corner_share((3, 2), (0, 0)).tolist() == [[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]
    assert corner_share((3, 2), (1, 0)).tolist() == [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]
    every = torch.stack([corner_share((5, 7), (a, b)) for a in (0, 1) for b in (0, 1)])
    assert every.sum(0).tolist() == torch.ones(5, 7).tolist()


def test_one_corner_becomes_brighter_by_two_deviations_and_nothing_else_changes():
    pictures = torch.tensor([[[[0.0, 2.0, 0.0], [2.0, 0.0, 2.0]]]])  # deviation 1
    change = brightened(pictures, (1, 0)) - pictures
    assert change.tolist() == [[[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]]]
    assert pictures.max() == 2.0


def test_a_grid_of_one_row_cannot_be_checked():
    model, findings = Net(), Findings()
    layer = TargetLayer(model.stage, "stage", Layout("NCHW", (1, 8)), "of one row")
    lens = Lens(ModelUse().on(model), (layer,), 4)
    advice = LayerAdvice(lens.subject, images(), None, (layer,), ())
    assert check_following(lens, images(), findings, advice) is None
    assert findings.notes == ["A grid of 1x8 cells cannot be checked for whether maps follow the picture."]
    assert findings.problems == []
