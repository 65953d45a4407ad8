import numpy as np
import pytest
import torch

from camdebug.measures.localisation import has_evidence
from camdebug.render.colour import (
    FULL_SCALE,
    cue_lut,
    density,
    heat_lut,
    paint_cue,
    paint_heat,
    upsample,
)

torch.set_num_threads(1)


def picture(size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_zero_heat_leaves_the_picture_untouched():
    plain = picture()
    assert np.array_equal(paint_heat(plain, torch.zeros(1, 16, 16))[0], plain)


def test_zero_cue_leaves_the_picture_untouched():
    plain = picture()
    assert np.array_equal(paint_cue(plain, torch.zeros(1, 16, 16), 0.3)[0], plain)


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e6])
def test_a_uniform_map_has_the_colour_of_a_sixth_of_the_scale(unit):
    grey = np.full((14, 14, 3), 100, np.uint8)
    painted = paint_heat(grey, upsample(density(torch.full((1, 7, 7), unit)), (14, 14)))[0]
    colours, opacity = heat_lut()
    one = round((len(colours) - 1) / FULL_SCALE)
    expected = 100 * (1 - opacity[one]) + colours[one] * opacity[one]
    assert np.abs(painted - expected).max() <= 1


def test_equal_density_has_equal_colour_in_any_unit_and_epoch():
    heat = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0))
    early, late = (paint_heat(picture(), upsample(density(heat * unit), (16, 16))) for unit in (0.01, 250.0))
    assert np.abs(early.astype(int) - late).max() <= 2
    assert np.abs(early.astype(int) - picture()).max() > 30


def test_a_stronger_map_elsewhere_in_the_batch_changes_no_colour():
    heat = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    both = paint_heat(picture(), upsample(density(heat * torch.tensor([1.0, 900.0])[:, None, None]), (16, 16)))
    alone = paint_heat(picture(), upsample(density(heat[:1]), (16, 16)))
    assert np.array_equal(both[0], alone[0])


def test_a_map_of_rounding_noise_draws_nothing():
    noise = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0)) * 1.5e-8
    assert np.array_equal(paint_heat(picture(), upsample(density(noise), (16, 16)))[0], picture())
    real = noise * 1e6
    assert not np.array_equal(paint_heat(picture(), upsample(density(real), (16, 16)))[0], picture())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_map_that_is_not_finite_draws_nothing_and_harms_no_neighbour(bad):
    maps = torch.ones(2, 4, 4)
    maps[0, 1, 1] = bad
    assert has_evidence(maps).tolist() == [False, True]
    assert density(maps)[0].eq(0).all()
    assert density(maps)[1].eq(1).all()


def test_density_has_mean_one_for_half_precision_and_huge_maps():
    maps = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(1))
    for converted in (maps.half(), maps * 1e30, maps.double() * 1e-3):
        assert torch.allclose(density(converted).mean((1, 2)), torch.ones(3), atol=1e-5)


def test_upsampling_is_bilinear_between_cell_centres():
    line = upsample(torch.tensor([[[0.0, 4.0]]]), (1, 4))[0, 0]
    assert torch.allclose(line, torch.tensor([0.0, 1.0, 3.0, 4.0]))


def test_more_heat_is_brighter_and_more_opaque():
    colours, opacity = heat_lut()
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance[::20]) > 0).all()
    assert opacity[0] == 0
    assert (np.diff(opacity) > 0).all()


def test_cue_colours_are_red_for_blue_against_and_clear_at_zero():
    colours, opacity = cue_lut()
    assert opacity[200] == 0
    assert colours[-1][0] > 150 > colours[-1][2]
    assert colours[0][2] > 150 > colours[0][0]
    assert np.allclose(opacity, opacity[::-1])


def test_cue_scale_is_symmetric_and_saturates():
    grey = np.full((1, 3, 3), 128, np.uint8)
    painted = paint_cue(grey, torch.tensor([[[-0.5, 0.0, 9.0]]]), 0.5)[0, 0]
    full = paint_cue(grey, torch.tensor([[[-9.0, 0.0, 0.5]]]), 0.5)[0, 0]
    assert np.array_equal(painted, full)
