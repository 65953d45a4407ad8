import numpy as np
import pytest
import torch

from camdebug.render.picture import find_colours, to_pictures

torch.set_num_threads(1)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture
def photos():
    pixels = torch.randint(0, 256, (4, 3, 12, 10), generator=torch.Generator().manual_seed(0))
    pixels[0, :, 0, 0], pixels[1, :, 0, 0] = 0, 255
    return pixels


def shown(images, **statistics):
    colours = find_colours(images, **statistics)
    return to_pictures(images, colours), colours.sentence


def same(pictures, pixels):
    return np.abs(pictures.astype(int) - pixels.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_unit_range_is_shown_as_it_is(photos):
    pictures, sentence = shown(photos / 255)
    assert same(pictures, photos)
    assert "[0, 1]" in sentence


def test_imagenet_normalisation_is_recognised(photos):
    pictures, sentence = shown((photos / 255 - MEAN[:, None, None]) / STD[:, None, None])
    assert same(pictures, photos)
    assert "ImageNet" in sentence


def test_minus_one_to_one_is_halved(photos):
    pictures, sentence = shown(photos / 127.5 - 1)
    assert same(pictures, photos)
    assert "[-1, 1]" in sentence


@pytest.mark.parametrize("spoil", [lambda p: p.float(), lambda p: p * 3.7 - 900])
def test_any_other_range_is_stretched_once_for_the_whole_set(photos, spoil):
    pictures, sentence = shown(spoil(photos))
    assert same(pictures, photos)
    assert "black to white" in sentence


def test_given_statistics_beat_inference(photos):
    images = (photos / 255 - 0.2) / 4
    pictures, sentence = shown(images, mean=(0.2,) * 3, std=(4.0,) * 3)
    assert same(pictures, photos)
    assert "probe set" in sentence
    assert not same(shown(images)[0], photos)


def test_the_rule_is_one_for_the_set_not_one_a_picture():
    images = torch.zeros(2, 1, 4, 4)
    images[0], images[1] = 10, 90
    images[1, 0, 0, 0] = 110
    pictures, _ = shown(images)
    assert pictures[0].max() == 0
    assert pictures[1, 1, 1].tolist() == [204, 204, 204]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channel_counts_are_the_mean_as_grey(channels):
    images = torch.linspace(0, 1, channels * 16).reshape(1, channels, 4, 4)
    pictures, _ = shown(images)
    expected = (images.mean(1)[0] * 255).round().numpy()
    assert all(np.array_equal(pictures[0, :, :, c], expected) for c in range(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_dtype_is_drawn(photos, dtype):
    pictures, _ = shown((photos / 255).to(dtype))
    assert np.abs(pictures.astype(int) - photos.permute(0, 2, 3, 1).numpy()).max() <= 2


def test_a_constant_set_is_grey_and_divides_by_nothing():
    assert set(shown(torch.full((2, 3, 4, 4), 7.0))[0].ravel().tolist()) == {128}
