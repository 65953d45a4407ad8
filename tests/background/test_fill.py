import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camdebug.background.fill import fill_from_surround


def test_a_hole_in_a_flat_picture_takes_the_colour_of_its_surround():
    picture = torch.full((1, 3, 16, 16), 0.25)
    picture[:, :, 4:12, 5:11] = 9.0
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 4:12, 5:11] = True
    torch.testing.assert_close(fill_from_surround(picture, mask), torch.full((1, 3, 16, 16), 0.25))


def test_pixels_outside_the_mask_stay_bit_for_bit_and_nothing_of_the_object_leaks():
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(2, 3, 17, 23, generator=generator)
    mask = torch.zeros(2, 17, 23, dtype=torch.bool)
    mask[0, 3:9, 4:20] = True
    mask[1, 10:17, 0:6] = True
    other = torch.where(mask[:, None], torch.rand(2, 3, 17, 23, generator=generator) * 100, picture)
    filled = fill_from_surround(picture, mask)
    assert torch.equal(filled.permute(0, 2, 3, 1)[~mask], picture.permute(0, 2, 3, 1)[~mask])
    assert torch.equal(filled, fill_from_surround(other, mask))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 10_000))
def test_a_fill_stays_within_the_values_of_the_surround(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 1, height, width, generator=generator)
    mask = torch.rand(1, height, width, generator=generator) < 0.6
    mask[0, 0, 0] = False
    known = picture[0, 0][~mask[0]]
    filled = fill_from_surround(picture, mask)
    assert filled.min() >= known.min() - 1e-6
    assert filled.max() <= known.max() + 1e-6


def test_a_picture_masked_all_over_becomes_zero_and_half_precision_stays_half():
    picture = torch.rand(1, 1, 5, 5).half()
    filled = fill_from_surround(picture, torch.ones(1, 5, 5, dtype=torch.bool))
    assert filled.dtype is torch.float16
    assert torch.equal(filled, torch.zeros_like(picture))


def test_a_hole_between_dark_and_light_is_bridged():
    picture = torch.zeros(1, 1, 8, 32)
    picture[..., 16:] = 1.0
    mask = torch.zeros(1, 8, 32, dtype=torch.bool)
    mask[:, :, 8:24] = True
    row = fill_from_surround(picture, mask)[0, 0, 4]
    assert row[8] < 0.35
    assert row[23] > 0.65
    assert bool((row[9:24] - row[8:23] >= -1e-6).all())
