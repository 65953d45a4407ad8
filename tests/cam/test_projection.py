"""The first component of the cells: what it is, which way it points, and the laws it keeps."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection, get_2d_projection_kernel
from tiny_nets import slow_component, slow_kernel_component

from camdebug.cam.methods.projection import (
    component_towards_magnitude,
    component_towards_peak,
    component_towards_sum,
    first_component,
    kernel_component,
)

COMPONENTS = (component_towards_sum, component_towards_magnitude, component_towards_peak, kernel_component)
SIDES = {
    "few channels": (2, 5, 4, 6),
    "few cells": (2, 40, 3, 4),
    "many of both": (2, 300, 17, 18),
    "many of both, more channels": (1, 400, 17, 17),
    "many cells": (2, 7, 30, 40),
    "a signal": (2, 5, 9),
    "a volume": (2, 20, 3, 4, 5),
}


def cells_of(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def up_to_sign(found, expected):
    """The larger difference of any picture, each with the sign that fits better."""
    pairs = zip(np.asarray(found), np.asarray(expected), strict=True)
    return max(min(np.abs(a - b).max(), np.abs(a + b).max()) for a, b in pairs)


@pytest.mark.parametrize("shape", SIDES.values(), ids=SIDES)
def test_it_equals_the_full_decomposition_whichever_side_is_the_smaller(shape):
    cells = cells_of(shape)
    found = component_towards_sum(cells).numpy()
    expected = np.stack([slow_component(one, one.sum(0)) for one in cells.double().numpy()])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    assert up_to_sign(found, get_2d_projection(cells.numpy())) < 1e-4


def test_a_component_that_hardly_leads_is_found_by_iteration_too():
    # Singular values 1, .999, .998 ...: plain power iteration would need ten thousand steps.
    left, right = (np.linalg.qr(cells_of((300, 300), seed).double().numpy())[0] for seed in (1, 2))
    ones = np.ones(300) / 300**0.5
    left = np.linalg.qr(np.column_stack([ones, left]))[0][:, 1:]  # centred already
    matrix = left @ np.diag(1 - np.arange(299) * 1e-3) @ right[:299]
    found = first_component(torch.from_numpy(matrix.T.reshape(1, 300, 15, 20).copy()), torch.zeros(1, 15, 20))
    assert up_to_sign(found.reshape(1, -1), left[:, :1].T) < 1e-6


@pytest.mark.parametrize("shape", [(2, 30, 3, 4), (2, 5, 4, 6), (1, 8, 17, 18), (2, 6, 11), (2, 4, 2, 3, 4)])
def test_the_kernel_component_equals_grad_cams_with_the_gamma_that_makes_it_free_of_units(shape):
    for one in cells_of(shape).split(1):
        centred = one.flatten(2) - one.flatten(2).mean(2, keepdim=True)
        gamma = 1 / centred.square().sum(1).mean().item()
        found = kernel_component(one)
        assert up_to_sign(found, get_2d_projection_kernel(one.numpy(), gamma=gamma)) < 1e-4
        np.testing.assert_allclose(found[0].numpy(), slow_kernel_component(one[0].double().numpy()), atol=1e-5)


def test_at_unit_variance_the_kernel_component_is_grad_cams_default_whose_shape_changes_with_the_units():
    cells = cells_of((1, 6, 4, 5))
    points = cells.flatten(2) - cells.flatten(2).mean(2, keepdim=True)
    unit = cells / points.square().mean().sqrt()
    ours = kernel_component(unit)
    assert up_to_sign(ours, get_2d_projection_kernel(unit.numpy())) < 1e-4
    assert torch.equal(kernel_component(8 * unit), ours)
    theirs = get_2d_projection_kernel(8 * unit.numpy())
    assert up_to_sign(ours / ours.norm(), theirs / np.linalg.norm(theirs)) > 0.05


def test_a_strong_object_is_always_positive_where_grad_cams_map_of_some_pictures_is_inverted():
    spoiled = 0
    for seed in range(20):
        cells = 0.1 * cells_of((1, 12, 6, 6), seed).abs()
        cells[:, :, 2:4, 3:5] += cells_of((1, 12, 1, 1), 100 + seed).abs()
        theirs, ours = get_2d_projection(cells.numpy())[0], component_towards_magnitude(cells)[0].numpy()
        inside = np.zeros((6, 6), bool)
        inside[2:4, 3:5] = True
        assert ours[inside].min() > 0 > ours[~inside].max()
        assert min(np.abs(theirs - ours).max(), np.abs(theirs + ours).max()) < 1e-5
        spoiled += theirs[inside].max() < 0
    assert 0 < spoiled < 20


def test_evidence_points_to_the_class_and_magnitude_to_what_is_strong():
    # One strong cell, negative in both channels: less evidence, but more activation.
    cells = torch.tensor([[[-4.0, 1.0, 1.0], [-4.0, 1.0, 1.0]]])
    length = (50 / 3 * 2) ** 0.5
    away = torch.tensor([[-2.0, 1.0, 1.0]]) * length / 6**0.5
    torch.testing.assert_close(component_towards_sum(cells), away)
    torch.testing.assert_close(component_towards_magnitude(cells), -away)
    torch.testing.assert_close(component_towards_peak(cells), -away)


def test_without_any_correlation_the_first_of_the_cells_that_stand_out_is_positive():
    # The channels cancel, so the sum is even; the cells 0 and 3 stand out alike.
    cells = torch.tensor([[[-2.0, 1.0, -1.0, 2.0], [2.0, -1.0, 1.0, -2.0]]])
    expected = torch.tensor([[2.0, -1.0, 1.0, -2.0]]) * 2**0.5
    torch.testing.assert_close(component_towards_sum(cells), expected)
    torch.testing.assert_close(component_towards_sum(-cells), expected)
    torch.testing.assert_close(component_towards_peak(cells), expected)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 300, 17, 18), (1, 2, 1), (1, 1, 5)])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_cells_that_do_not_differ_have_an_empty_map(component, shape, value):
    cells = torch.full(shape, value)
    assert torch.equal(component(cells), torch.zeros(shape[0], *shape[2:]))


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(3, 4, 3, 3), (3, 300, 17, 17)])
def test_a_picture_that_is_not_finite_has_no_map_and_spoils_no_other(component, bad, shape):
    cells = cells_of(shape)
    good = component(cells)
    cells[1, 2, 0, 1] = bad
    found = component(cells)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], good[[0, 2]])


def test_too_many_cells_to_compare_all_with_all_are_refused():
    with pytest.raises(ValueError, match=r"method: 'kpca-cam' .* expected up to 4096 cells, got 4160; choose a deeper"):
        kernel_component(torch.zeros(1, 2, 64, 65))


def test_it_is_deterministic_and_moves_no_random_numbers():
    cells = cells_of((1, 300, 17, 18))
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, kernel = component_towards_sum(cells), kernel_component(cells)
    assert torch.equal(component_towards_sum(cells), first)
    assert torch.equal(kernel_component(cells), kernel)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpys).all()
    get_2d_projection_kernel(cells.numpy())
    assert (np.random.get_state()[1] != numpys).any(), "grad-cam's draws its start from numpy's"


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("shape", [(5, 6, 3, 4), (3, 300, 17, 18)])
def test_it_does_not_depend_on_who_else_is_in_the_batch(component, shape):
    cells = cells_of(shape)
    parts = torch.cat([component(part) for part in cells.split(2)])
    torch.testing.assert_close(parts, component(cells), rtol=1e-6, atol=1e-6)


def decided(cells):
    """Whether component and sign are well defined, so that rounding cannot tip them."""
    points = cells.double().flatten(2).mT
    points = points - points.mean(1, keepdim=True)
    u, s, _ = torch.linalg.svd(points)
    height = u[:, :, 0].abs().sort(1, descending=True).values
    towards = [cells.double().flatten(2).sum(1), cells.double().flatten(2).abs().sum(1)]
    agree = [torch.nn.functional.cosine_similarity(u[:, :, 0], t - t.mean(1, keepdim=True)).abs() for t in towards]
    clear = [s[:, 1] < 0.98 * s[:, 0], height[:, 1] < 0.99 * height[:, 0], *(a > 0.01 for a in agree)]
    return all(bool(c.all()) for c in clear)


seeds = st.integers(0, 10**6)
linear = pytest.mark.parametrize("component", COMPONENTS[:3])


@linear
@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(2, 20), power=st.integers(-30, 30))
def test_units_only_scale_it(component, seed, channels, power):
    cells = cells_of((1, channels, 3, 4), seed)
    assume(decided(cells))
    torch.testing.assert_close(component(cells * 2.0**power), component(cells) * 2.0**power)


@pytest.mark.parametrize("component", COMPONENTS)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(2, 20), axis=st.sampled_from([2, 3]))
def test_a_mirrored_picture_has_the_mirrored_map(component, seed, channels, axis):
    cells = cells_of((1, channels, 3, 4), seed)
    assume(decided(cells))
    mirrored = component(cells.flip(axis)).flip(axis - 1)
    found = component(cells)
    if component is kernel_component:  # its sign is not covered by ``decided``
        assume((found * cells.abs().sum(1)).sum().abs() > 0.1)
    torch.testing.assert_close(mirrored, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("component", COMPONENTS)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(2, 20))
def test_the_order_of_channels_does_not_matter(component, seed, channels):
    cells = cells_of((1, channels, 3, 4), seed)
    assume(decided(cells))
    found = component(cells)
    if component is kernel_component:
        assume((found * cells.abs().sum(1)).sum().abs() > 0.1)
    torch.testing.assert_close(component(cells.flip(1)), found, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(2, 20))
def test_opposite_evidence_has_the_opposite_map_and_opposite_activation_the_same(seed, channels):
    cells = cells_of((1, channels, 3, 4), seed)
    assume(decided(cells))
    torch.testing.assert_close(component_towards_sum(-cells), -component_towards_sum(cells))
    torch.testing.assert_close(component_towards_magnitude(-cells), component_towards_magnitude(cells))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(1, 20))
def test_it_correlates_with_what_it_points_to_and_is_centred(seed, channels):
    cells = cells_of((3, channels, 3, 4), seed)
    for found, towards in (
        (component_towards_sum(cells), cells.sum(1)),
        (component_towards_magnitude(cells), cells.abs().sum(1)),
        (kernel_component(cells), cells.abs().sum(1)),
    ):
        assert ((found * towards).sum((1, 2)) > -1e-3).all()
        assert found.sum((1, 2)).abs().max() < 1e-4
