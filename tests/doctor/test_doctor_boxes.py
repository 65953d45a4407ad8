"""Boxes on the grid, and what can be tested with the probes."""

import pytest
import torch
from patients import Net, images, probes
from torch import nn

from camdebug.doctor import cost, examine
from camdebug.doctor.boxes import class_boxes
from camdebug.doctor.examine import planned_looks
from camdebug.doctor.facts import ClassBoxes
from camdebug.observe import Observer
from camdebug.observe import observer as observer_module
from camdebug.observe.backgrounds import Backgrounds
from camdebug.probe.probe_set import ProbeSet


def test_boxes_are_counted_in_cells_after_the_transform():
    # 16x16 pixels on 8x8 cells: two pixels a cell. One class has three probes, of 4x8, 6x8 and 16x15 pixels.
    boxes = torch.tensor([[0.0, 0, 4, 8], [0, 0, 6, 8], [0, 0, 16, 15], [0, 0, 2, 2]])
    found = class_boxes(ProbeSet(images(4), [0, 0, 0, 1], boxes, class_names=["big", "small"]), (8, 8))
    assert found == [
        ClassBoxes("big", 3, 2, 0, 1, 0, width=3.0, height=4.0, below_a_cell=0),  # 240 of 256 pixels: 94 %
        ClassBoxes("small", 1, 0, 1, 0, 0, width=1.0, height=1.0, below_a_cell=0),  # 4 of 256 pixels: 1.6 %
    ]


def test_width_goes_with_columns_and_height_with_rows():
    oblong = ProbeSet(torch.zeros(1, 3, 20, 40), [0], torch.tensor([[0.0, 0, 16, 5]]))
    (found,) = class_boxes(oblong, (5, 10))  # cells of 4x4 pixels
    assert (found.width, found.height) == (4.0, 1.25)


def test_without_a_grid_shares_are_known_and_cells_are_not():
    (found,) = class_boxes(probes(counts=(2,)), None)
    assert (found.usable, found.width, found.height, found.below_a_cell) == (2, None, None, 0)


def test_a_box_smaller_than_a_cell_is_a_problem_of_the_grid():
    report = examine(Net(stride=4), probes(box=(2, 2, 5, 7), size=16))  # 15 pixels, 5.9 %; a cell has 16
    (problem,) = report.problems
    assert problem.startswith("the grid of 4x4 cells is coarse for `class 0`, `class 1`, `class 2`: the median box is")
    assert report.probes.classes[0].below_a_cell == 25
    assert problem.endswith("Choose an earlier target_layer, or larger pictures.")
    assert examine(Net(stride=2), probes(box=(2, 2, 5, 7))).ok


def test_of_earlier_layers_the_last_is_named_on_which_a_box_has_a_cell():
    class Stages(Net):
        def __init__(self):
            super().__init__(stride=1)
            self.pools = nn.Sequential(*(nn.AvgPool2d(2) for _ in range(3)))  # 8x8, 4x4 and 2x2 cells

        def forward(self, x):
            return self.head(self.pools(self.stage(x).relu()).mean((2, 3)))

    (problem,) = examine(Stages(), probes(box=(2, 2, 5, 7))).problems  # 15 pixels; cells have 64, 16, 4 and 1
    assert problem.startswith("the grid of 2x2 cells is coarse")
    assert problem.endswith("Choose an earlier target_layer, such as pools.0 8x8, or larger pictures.")
    (problem,) = examine(Stages(), probes(box=(2, 2, 6, 7))).problems  # 20 pixels
    assert problem.endswith("such as pools.1 4x4, or larger pictures.")


def test_a_few_boxes_smaller_than_a_cell_are_a_note():
    good = probes()
    boxes = torch.stack([box[0] for box in good.boxes])
    boxes[0] = torch.tensor([0.0, 0, 3, 1])
    report = examine(Net(), ProbeSet(good.images, good.labels, boxes))
    assert report.ok
    assert "Boxes smaller than one cell: 1." in report.notes


def test_classes_that_cannot_be_judged_are_named_with_the_reason():
    box = torch.tensor([[2.0, 2, 9, 10]]).repeat(75, 1)
    box[:3] = torch.tensor([0.0, 0, 2, 2])
    box[3:7] = torch.tensor([0.0, 0, 16, 14])
    fixed = probes()
    report = examine(Net(), ProbeSet(fixed.images, fixed.labels, box, class_names=["a", "b", "c"]))
    assert report.problems == (
        "1 of 3 classes cannot be judged, which takes 20 probes with boxes of 2 to 70 % of the picture: `a` 18 of 25 "
        "(3 too small, 4 too large). Take more pictures of them, or other crops.",
    )
    assert report.probes.testable == ("b", "c")


def test_nineteen_probes_are_too_few_and_twenty_are_not():
    assert examine(Net(), probes(counts=(20, 20, 20))).ok
    assert "`class 1` 19 of 19." in examine(Net(), probes(counts=(20, 19, 20))).problems[0]


def test_a_class_without_donors_is_named():
    report = examine(Net(), probes(counts=(40, 5, 5)))
    assert report.problems[1].startswith("backgrounds of `class 0` cannot be tested: fewer than 20 usable pictures")


def test_one_class_alone_has_no_other_backgrounds():
    report = examine(Net(), probes(counts=(30,)))
    assert (
        "the probes have one class: backgrounds of other classes are needed. Add probes of others." in report.problems
    )


def test_two_classes_get_one_verdict():
    two = examine(Net(), probes(counts=(25, 25)))
    assert two.ok
    assert two.notes == ("With two classes there is one verdict for both: a cue of one opens a gap in the other, too.",)


def test_without_boxes_only_places_are_left():
    report = examine(Net(), probes(box=None))
    assert report.ok
    assert report.notes == (
        "The probes have no boxes: maps are drawn, and only heat that stays at one place can be found.",
    )
    assert report.probes.outlook == "Only whether heat stays at one place can be found."
    assert (
        examine(Net(), probes(counts=(5, 6), box=None))
        .problems[0]
        .startswith("no class has 20 probes (the most are 6)")
    )


def test_without_boxes_and_on_few_cells_nothing_can_be_found():
    report = examine(Net(stride=4), probes(box=None))  # 4x4 cells, which are enough with boxes
    assert "The probes have no boxes: maps are drawn, and nothing else." in report.notes
    assert report.probes.places is False
    assert report.probes.outlook.startswith("Heat at a fixed place cannot be tested: the maps have 4x4 cells")


def test_a_budget_that_cannot_be_met_is_a_problem():
    enough, hopeless = (examine(Net(), probes(counts=(20, 20, 20)), epochs=epochs) for epochs in (10, 100_000))
    assert enough.ok
    assert hopeless.problems[0].startswith("no alert on backgrounds is possible: each test may spend")
    assert (enough.probes.places, hopeless.probes.places) == (True, False)
    assert "no alert on heat at a fixed place is possible" in hopeless.probes.outlook
    assert examine(Net(), probes(counts=(20, 20, 20)), epochs=100_000, alpha=0.9).problems != hopeless.problems


@pytest.mark.parametrize(("stride", "places"), [(2, True), (8, False)])
def test_places_can_be_tested_on_grids_of_three_cells(stride, places):
    report = examine(Net(stride=stride), probes(box=(0, 0, 12, 12)))
    assert report.probes.places is places
    assert ("; places cannot be tested" in str(report)) is not places
    assert ("heat at a fixed place cannot be tested" in report.probes.outlook) is not places


@pytest.mark.parametrize("box", [(2, 2, 9, 10), None], ids=["boxes", "no boxes"])
def test_with_few_probes_it_is_said_once_that_places_cannot_be_tested(box):
    report = examine(Net(), probes(counts=(5, 5), box=box))
    assert report.probes.places is False
    lines = str(report).splitlines()
    assert "probes     10 in 2 classes; backgrounds of 0 can be tested; places cannot be tested" in lines
    assert (
        "power      Heat at a fixed place cannot be tested: that takes 20 probes of a class, the most are 5." in lines
    )


def test_what_can_be_found_is_told_for_the_looks_of_the_training():
    fixed = probes(counts=(20, 30, 25))
    plans = [{"epochs": 1000}, {"epochs": 1000, "every_n_epochs": 500}, {"epochs": 1000, "alpha": 0.4}, {}]
    words = [examine(Net(), fixed, **plan).probes.outlook for plan in plans]
    own = Observer(fixed)
    expected = [own.smallest_effect(1000), own.smallest_effect(3), Observer(fixed, alpha=0.4).smallest_effect(1000)]
    assert words == [*expected, own.smallest_effect(None)]
    assert words[0] not in words[1:]


@pytest.mark.parametrize(
    ("epochs", "every", "looks"), [(1, 1, 1), (1, 9, 1), (40, 1, 40), (40, 3, 14), (41, 4, 11), (40, 50, 2)]
)
def test_planned_looks_are_those_of_the_first_epoch_each_so_many_after_and_the_last(epochs, every, looks):
    assert planned_looks(epochs, every) == looks == len({*range(0, epochs, every), epochs - 1})


def test_without_contrast_only_places_are_tested():
    report = examine(Net(), probes(), contrast=False, epochs=3)
    assert report.ok
    assert report.notes == (
        "With contrast=False no background is tested: maps are drawn, and only heat that stays at one place can be "
        "found.",
    )
    assert report.probes.outlook == "Only whether heat stays at one place can be found."
    assert (report.probes.testable, report.probes.places) == ((), True)
    assert report.cost.look.planned_forwards == pytest.approx(6 * report.cost.ratio)
    assert "no class has 20 probes" in examine(Net(), probes(counts=(5, 6)), contrast=False).problems[0]


def test_the_seed_is_that_of_the_donors(monkeypatch):
    seeds = []
    monkeypatch.setattr(
        observer_module, "Backgrounds", lambda fixed, seed: seeds.append(seed) or Backgrounds(fixed, seed=seed)
    )
    monkeypatch.setattr(cost, "Backgrounds", lambda fixed, seed: seeds.append(seed) or Backgrounds(fixed, seed=seed))
    examine(Net(), probes(), seed=7)
    assert seeds == [7, 7]


def test_the_classes_take_turns():
    from camdebug.doctor.pictures import MOST, pictures_of

    found = pictures_of(probes(counts=(100, 2, 3)))
    assert found.labels[:9].tolist() == [0, 1, 2, 0, 1, 2, 0, 2, 0]
    assert found.rows[:6] == (0, 100, 102, 1, 101, 103)
    assert len(found.rows) == MOST


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ((images(3), torch.zeros(3)), 3),
        ([images(3), {"boxes": torch.zeros(3, 4)}], 3),
        ({"image": images(2), "label": torch.zeros(2)}, 2),
        ((tuple(images(3)), ({"labels": 0},) * 3), 3),
        (([images(1)[0], images(1, size=20)[0]], None), 1),
        (images(200), 64),
    ],
    ids=["pair", "list", "dict", "detection", "unlike sizes", "many"],
)
def test_batches_of_all_kinds_are_read(batch, count):
    from camdebug.doctor.pictures import pictures_of

    found = pictures_of(batch)
    assert found.images.shape == (count, 3, 16, 16)
    assert (found.labels, found.probes) == (None, None)
