import numpy as np
import pytest
import torch

from camdebug.steadiness.perturbed import DIRECTIONS, Perturbed, directions, noisy, relit, shifted

CHANGES = {
    "shift": lambda seed: shifted(2 * directions(9, seed=seed)),
    "lighting": lambda seed: relit(gain=0.1, offset=0.2, seed=seed),
    "noise": lambda seed: noisy(share=0.1, seed=seed),
}
every_change = pytest.mark.parametrize("name", list(CHANGES))


def pictures(count=9, dtype=torch.float32):
    return (5 + 3 * torch.randn(count, 3, 6, 8, generator=torch.Generator().manual_seed(1))).to(dtype)


def changed(name, images, seed=0):
    return Perturbed(images, CHANGES[name](seed))[0 : len(images)]


# --- what each change does


def test_content_moves_down_and_right_and_the_edge_is_repeated():
    picture = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert Perturbed(picture, shifted(torch.tensor([[0, 1]])))[0:1].tolist() == [[[[0, 0, 1], [3, 3, 4]]]]
    assert Perturbed(picture, shifted(torch.tensor([[0, -2]])))[0:1].tolist() == [[[[2, 2, 2], [5, 5, 5]]]]
    assert Perturbed(picture, shifted(torch.tensor([[1, 0]])))[0:1].tolist() == [[[[0, 1, 2], [0, 1, 2]]]]
    assert Perturbed(picture, shifted(torch.tensor([[-1, 0]])))[0:1].tolist() == [[[[3, 4, 5], [3, 4, 5]]]]


def test_a_step_longer_than_the_picture_repeats_the_edge_throughout():
    picture = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert Perturbed(picture, shifted(torch.tensor([[0, 7]])))[0:1].tolist() == [[[[0, 0, 0], [3, 3, 3]]]]


@pytest.mark.parametrize("count", [1, 4, 10])
def test_the_four_directions_are_dealt_out_evenly(count):
    dealt = [tuple(d) for d in directions(count, seed=3).tolist()]
    times = [dealt.count(d) for d in DIRECTIONS]
    assert sum(times) == count
    assert max(times) - min(times) <= 1
    assert directions(40, seed=0).tolist() != directions(40, seed=1).tolist()


def test_lighting_changes_contrast_and_brightness_in_units_of_the_picture():
    images = pictures(40)
    lit = Perturbed(images, relit(gain=0.1, offset=0.2, seed=0))[0:40]
    std = images.flatten(1).std(1, correction=0)
    gain = lit.flatten(1).std(1, correction=0) / std
    offset = (lit.flatten(1).mean(1) - images.flatten(1).mean(1)) / std
    assert sorted(set(np.round(gain.numpy(), 3))) == pytest.approx([0.9, 1.1])
    assert sorted(set(np.round(offset.numpy(), 3))) == pytest.approx([-0.2, 0.2])
    assert len({(g > 1, o > 0) for g, o in zip(gain.tolist(), offset.tolist(), strict=True)}) == 4


def test_lighting_keeps_the_order_of_all_values():
    images = pictures()
    lit = changed("lighting", images)
    assert torch.equal(lit.flatten(1).argsort(dim=1, stable=True), images.flatten(1).argsort(dim=1, stable=True))


def test_noise_has_the_share_of_the_pictures_own_deviation():
    images = 100 * torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) + 500
    noise = Perturbed(images, noisy(share=0.1, seed=0))[0:3] - images
    assert noise.flatten(1).std(1).tolist() == pytest.approx([10, 10, 10], rel=0.03)
    assert noise.flatten(1).mean(1).tolist() == pytest.approx([0, 0, 0], abs=0.4)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("name", ["lighting", "noise"])
def test_normalised_otherwise_the_picture_changes_alike(name):
    images = pictures(dtype=torch.float64)
    torch.testing.assert_close(changed(name, 0.25 * images - 7), 0.25 * changed(name, images) - 7, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["lighting", "noise"])
def test_a_picture_of_one_colour_stays_as_it_is(name):
    flat = torch.full((2, 3, 4, 4), 0.5)
    assert torch.equal(changed(name, flat), flat)


# --- what all have in common


@every_change
@pytest.mark.parametrize("chunk", [1, 2, 4, 9, 20])
def test_slices_join_to_the_whole(name, chunk):
    images = pictures()
    view = Perturbed(images, CHANGES[name](0))
    assert len(view) == 9
    assert torch.equal(torch.cat([view[i : i + chunk] for i in range(0, 9, chunk)]), view[0:9])


@every_change
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_type_stay_and_the_probes_are_not_written_to(name, dtype):
    images = pictures(dtype=dtype)
    before = images.clone()
    found = changed(name, images)
    assert (found.shape, found.dtype) == (images.shape, dtype)
    assert not torch.equal(found, images)
    found.zero_()
    assert torch.equal(images, before)


@every_change
def test_the_seed_decides(name):
    images = pictures()
    assert torch.equal(changed(name, images), changed(name, images))
    assert not torch.equal(changed(name, images), changed(name, images, seed=1))


@every_change
def test_global_generators_are_left_alone(name):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    changed(name, pictures())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
