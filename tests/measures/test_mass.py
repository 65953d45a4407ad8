import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from camdebug.measures.mass import (
    EPSILON,
    area_fraction,
    inside_mass,
    inside_mass_on_every_box,
    log_density_ratio,
    outside_lift,
    outside_mass,
)
from camdebug.probe.boxes import coverage

law = settings(deadline=None, max_examples=60)
FORMULAS = [inside_mass, outside_mass, outside_lift, log_density_ratio]


@st.composite
def probes(draw, *, ignored=True):
    """Maps with heat, boxes that cover something but not all, and maybe ignored cells outside the boxes."""
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    size = (count, height, width)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    maps = torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) > 0.4)
    maps[:, 0, 0] += 0.1
    cover = torch.rand(size, generator=generator, dtype=torch.float64) * (torch.rand(size, generator=generator) > 0.5)
    cover[:, 0, 0] = 0.5
    readable = 1 - (1 - cover) * torch.rand(size, generator=generator, dtype=torch.float64).round(decimals=1) * 0.9
    return maps, cover, readable if ignored and draw(st.booleans()) else None


def slow(maps, cover, readable):
    """One probe, cell by cell, from the formulas of the method: a, I, O, lift, D."""
    inside = heat = covered = whole = 0.0
    for i in range(maps.shape[0]):
        for j in range(maps.shape[1]):
            weight = 1.0 if readable is None else float(readable[i, j])
            inside += float(cover[i, j]) * float(maps[i, j])
            heat += weight * float(maps[i, j])
            covered += float(cover[i, j])
            whole += weight
    a, share = covered / whole, inside / heat
    ratio = math.log((1 - share + 1e-3) / (1 - a)) - math.log((share + 1e-3) / a)
    return a, share, 1 - share, (1 - share) / (1 - a), ratio


@law
@given(probes())
def test_every_formula_equals_its_slow_oracle(given_probes):
    maps, cover, readable = given_probes
    for n in range(len(maps)):
        a, share, out, lift, ratio = slow(maps[n], cover[n], None if readable is None else readable[n])
        assert area_fraction(cover, readable)[n].item() == pytest.approx(a, rel=1e-9)
        for formula, expected in zip(FORMULAS, (share, out, lift, ratio), strict=True):
            assert formula(maps, cover, readable)[n].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@law
@given(probes())
def test_every_map_on_every_box_equals_its_slow_oracle(given_probes):
    maps, cover, readable = given_probes
    every = inside_mass_on_every_box(maps, cover, readable)
    for box in range(len(maps)):
        for heat in range(len(maps)):
            expected = slow(maps[heat], cover[box], None if readable is None else readable[box])[1]
            assert every[box, heat].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@law
@given(probes())
def test_inside_and_outside_are_shares_that_add_up_to_one(given_probes):
    inside, outside = inside_mass(*given_probes), outside_mass(*given_probes)
    torch.testing.assert_close(inside + outside, torch.ones_like(inside), atol=1e-15, rtol=0)
    for share in (inside, outside, area_fraction(*given_probes[1:])):
        assert ((share >= -1e-12) & (share <= 1 + 1e-12)).all()


@law
@given(probes(), st.sampled_from([1e-3, 0.5, 3.0, 1e3]))
def test_the_scale_of_a_map_changes_nothing(given_probes, scale):
    maps, cover, readable = given_probes
    for formula in FORMULAS:
        torch.testing.assert_close(
            formula(maps.double() * scale, cover, readable), formula(maps, cover, readable), atol=1e-9, rtol=1e-9
        )


@law
@given(probes())
def test_the_batch_a_probe_is_measured_in_changes_nothing(given_probes):
    maps, cover, readable = given_probes
    for formula in FORMULAS:
        whole = formula(maps, cover, readable)
        for n in range(len(maps)):
            alone = [None if t is None else t[n : n + 1] for t in (maps, cover, readable)]
            torch.testing.assert_close(formula(*alone)[0], whole[n], atol=1e-12, rtol=1e-12)


@law
@given(probes(), st.sampled_from([(1,), (2,), (1, 2)]))
def test_flips_and_transposes_of_map_and_box_together_change_nothing(given_probes, axes):
    for formula in FORMULAS:
        expected = formula(*given_probes)
        flipped = [None if t is None else t.flip(axes) for t in given_probes]
        turned = [None if t is None else t.transpose(1, 2) for t in given_probes]
        torch.testing.assert_close(formula(*flipped), expected, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(formula(*turned), expected, atol=1e-12, rtol=1e-12)


@law
@given(probes())
def test_a_uniform_map_stands_at_chance_on_every_measure(given_probes):
    maps, cover, readable = given_probes
    uniform, a = torch.full_like(maps, 0.7), area_fraction(cover, readable)
    torch.testing.assert_close(inside_mass(uniform, cover, readable), a)
    torch.testing.assert_close(outside_lift(uniform, cover, readable), torch.ones_like(a))
    exact = torch.log(1 + EPSILON / (1 - a)) - torch.log(1 + EPSILON / a)  # 0 but for the epsilon
    torch.testing.assert_close(log_density_ratio(uniform, cover, readable), exact)
    assert (exact.abs() <= EPSILON / torch.minimum(a, 1 - a)).all()


def test_the_log_density_ratio_by_hand():
    maps, cover = torch.tensor([[[3.0, 0.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    # I = 3/4, a = 1/4: the object is (3/4)/(1/4) = 3 dense, the background (1/4)/(3/4) = 1/3
    assert log_density_ratio(maps, cover).item() == pytest.approx(math.log(0.251 / 0.75) - math.log(0.751 / 0.25))
    assert log_density_ratio(maps, cover).item() == pytest.approx(-math.log(9), abs=3e-3)
    everything_outside = log_density_ratio(maps * torch.tensor([0.0, 1.0, 1.0, 1.0]), cover)
    assert everything_outside.item() == pytest.approx(math.log(1.001 / 0.75) - math.log(0.001 / 0.25))


def test_what_is_not_defined_is_nan_and_never_a_number():
    zero, one = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert inside_mass(zero, one / 2).isnan().all()
    assert outside_lift(one, one).isnan().all()  # nothing is outside
    assert log_density_ratio(one, zero).isnan().all()
    assert log_density_ratio(one, one).isnan().all()
    assert area_fraction(zero, zero).isnan().all()


def test_a_plateau_keeps_the_mass_that_min_max_scaling_takes_away():
    # The object, a sixth of the cells, at 1.0 on a plateau of .8: 5 * .8 / (5 * .8 + 1) = .8
    maps = torch.full((1, 2, 3), 0.8)
    maps[0, 0, 0] = 1.0
    cover = torch.zeros(1, 2, 3)
    cover[0, 0, 0] = 1.0
    assert outside_mass(maps, cover).item() == pytest.approx(4 / 5)
    # 36 cells, 5 of them the object: 31 * .8 / (31 * .8 + 5) = .83
    maps, cover = torch.full((1, 6, 6), 0.8), torch.zeros(1, 6, 6)
    cover[0, 2, :5] = 1.0
    maps[cover > 0] = 1.0
    assert outside_mass(maps, cover).item() == pytest.approx(0.832, abs=5e-4)
    scaled = (maps - maps.amin((1, 2))) / (maps.amax((1, 2)) - maps.amin((1, 2)))  # as grad-cam does
    assert outside_mass(scaled, cover).item() == 0.0


def test_boxes_are_read_x_first_and_maps_height_first():
    # picture 40 high and 60 wide, cells of 10 px: the box covers column 4 of rows 1 and 2
    cover = coverage([torch.tensor([[40.0, 10.0, 50.0, 30.0]])], (40, 60), (4, 6))
    maps = torch.zeros(1, 4, 6)
    maps[0, 1, 4] = maps[0, 2, 4] = 1.0
    assert inside_mass(maps, cover).item() == 1.0
    assert area_fraction(cover).item() == pytest.approx(2 / 24)
    swapped = torch.zeros(1, 4, 6)
    swapped[0, 3, 1] = swapped[0, 3, 2] = 1.0
    assert inside_mass(swapped, cover).item() == 0.0


def test_a_cell_that_the_box_covers_in_part_counts_in_part():
    # cells of 10 px; the box takes 5 of 10 columns of the first cell and all of the second
    cover = coverage([torch.tensor([[5.0, 0.0, 20.0, 10.0]])], (10, 40), (1, 4))
    assert inside_mass(torch.tensor([[[2.0, 1.0, 0.0, 1.0]]]), cover).item() == pytest.approx((0.5 * 2 + 1) / 4)


def test_ignored_cells_are_neither_inside_nor_outside():
    maps, cover = torch.tensor([[[2.0, 1.0, 5.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    readable = torch.tensor([[[1.0, 1.0, 0.0, 0.5]]])
    # heat 2 + 1 + .5, area 1 of 2.5 cells
    assert inside_mass(maps, cover, readable).item() == pytest.approx(2 / 3.5)
    assert area_fraction(cover, readable).item() == pytest.approx(1 / 2.5)
    assert inside_mass(maps, cover).item() == pytest.approx(2 / 9)


def test_mass_after_bilinear_upsampling_is_close_but_the_native_grid_is_the_definition():
    maps = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]]])
    box = [torch.tensor([[10.0, 10.0, 30.0, 20.0]])]
    native = inside_mass(maps, coverage(box, (30, 30), (3, 3)))
    fine = interpolate(maps[None].double(), scale_factor=10, mode="bilinear", align_corners=False)[0]
    upsampled = inside_mass(fine, coverage(box, (30, 30), (30, 30)))
    assert native.item() == pytest.approx(5 / 10)
    # Upsampling is linear in the map, so the mass is too: a weight for each cell, from upsampling one cell at a time.
    cells = interpolate(torch.eye(9).double().reshape(9, 1, 3, 3), scale_factor=10, mode="bilinear")[:, 0]
    weights = cells[:, 10:20, 10:30].sum((1, 2)), cells.sum((1, 2))
    closed = (weights[0] @ maps.double().flatten()) / (weights[1] @ maps.double().flatten())
    assert upsampled.item() == pytest.approx(closed.item())
    assert upsampled.item() != native.item()
    assert upsampled.item() == pytest.approx(native.item(), abs=0.12)
