"""Maps as fine as the pictures are compared on 28 cells a side."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from camdebug import ProbeSet
from camdebug.records import Heatmaps
from camdebug.steadiness.cells import on_few_cells
from camdebug.steadiness.check import Steadiness

LABELS = torch.arange(12) % 2


def heatmaps(maps):
    return Heatmaps(maps, LABELS, torch.zeros(12), LABELS, torch.zeros(12), "mine", "")


def pictures(seed, side=56):
    return torch.rand(12, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_each_cell_is_the_mean_of_those_it_covers():
    maps = torch.zeros(1, 56, 84)
    maps[0, :2, :3] = torch.tensor([[1.0, 2, 3], [4, 5, 9]])
    maps[0, 55, 83] = 12.0
    found = on_few_cells(maps)
    assert found.shape == (1, 28, 28)
    assert (float(found[0, 0, 0]), float(found[0, 27, 27])) == (4.0, 2.0)
    assert int((found != 0).sum()) == 2


def test_sides_that_are_no_multiple_share_the_cells_at_the_border():
    found = on_few_cells(torch.arange(29.0).expand(1, 5, 29))
    assert found.shape == (1, 5, 28)
    assert found[0, 0].tolist() == [i + 0.5 for i in range(28)]


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (1, 28)])
def test_coarser_maps_stay_as_they_are_bit_for_bit(size):
    maps = torch.rand(3, *size)
    assert on_few_cells(maps) is maps


def test_what_is_not_finite_stays_so_and_the_largest_numbers_do_not_overflow():
    maps = torch.full((3, 56, 56), torch.finfo(torch.float32).max)
    maps[1, 0, 0], maps[2, 3, 3] = torch.nan, torch.inf
    found = on_few_cells(maps)
    assert found[0].isfinite().all()
    assert found[1, 0, 0].isnan()
    assert found[2, 1, 1].isinf()


def checked(fine):
    """Two looks at pictures that are their own maps, at full size or at the mean of every four pixels."""
    labels = LABELS
    corner = torch.arange(12.0)[:, None] * 2
    boxes = torch.cat([corner, corner, corner + 24, corner + 30], 1)
    probes = ProbeSet(pictures(0), labels, boxes, class_names=["a", "b"])

    def maps_of(images):
        maps = images[:, 0].abs()
        return maps if fine else F.avg_pool2d(maps, 2)

    recipe = SimpleNamespace(maps=lambda lens, images, wanted: [heatmaps(maps_of(images[0:12]))])
    steadiness = Steadiness(probes)
    steadiness.remember(heatmaps(maps_of(pictures(1))))
    reports = []
    for epoch in range(2):
        now = heatmaps(maps_of(probes.images + epoch * pictures(2)))
        boxes = probes.coverage(now.grid), probes.readable(now.grid)
        reports.append(steadiness.check(None, recipe, now, epoch=epoch, boxes=boxes, full=True))
    return reports, steadiness


def test_fine_maps_give_the_report_of_the_means_over_their_cells():
    (fine, of_fine), (coarse, of_coarse) = checked(True), checked(False)
    for one, other in zip(fine, coarse, strict=True):
        for kind in ("jitter", "shift", "lighting", "noise", "other_probes", "initial", "initial_chance"):
            expected = getattr(other, kind)
            assert getattr(one, kind).jensen_shannon == pytest.approx(expected.jensen_shannon, rel=1e-4)
            assert getattr(one, kind).spearman == pytest.approx(expected.spearman, rel=1e-3, abs=1e-5)
        assert one.following.own == pytest.approx(other.following.own, rel=1e-4)
        assert one.following.z == pytest.approx(other.following.z, rel=1e-3)
    assert fine[1].drift.jensen_shannon == pytest.approx(coarse[1].drift.jensen_shannon, rel=1e-4)
    assert fine[1].drift.jensen_shannon > 0.005
    for remembered in (of_fine, of_coarse):
        state = remembered.state_dict()
        assert [state[k]["maps"].shape for k in ("initial", "previous")] == 2 * [(12, 28, 28)]
