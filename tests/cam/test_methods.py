import re

import numpy as np
import pytest
import torch
from tiny_nets import CELLS, METHOD_NAMES, ConvNet, graph_of, hand_net, pictures, slow_component, slow_map, slow_signed
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.methods.one_pass import ONE_PASS, signed_hirescam

third = 1 / 3
NEW_NAMES = ("gradcam-elementwise", "eigengradcam", "seg-eigencam", "eigencam", "kpca-cam", "fem")
EVERY_NAME = METHOD_NAMES + NEW_NAMES


def at_silver(x, y):
    """Along (1, 1 + sqrt 2), the direction of the top eigenvector of ((1, 1), (1, 3))."""
    return (x + (1 + 2**0.5) * y) / (4 + 2 * 2**0.5) ** 0.5


def at_17(x, y):
    """Along (4, 1 + sqrt 17), that of ((2, 2), (2, 3))."""
    return (4 * x + (1 + 17**0.5) * y) / (16 + (1 + 17**0.5) ** 2) ** 0.5


def at_73(x, y):
    """Along (-8, 3 + sqrt 73), that of ((2, -1), (-1, 2.75))."""
    return (-8 * x + (3 + 73**0.5) * y) / (64 + (3 + 73**0.5) ** 2) ** 0.5


# Worked out from tiny_nets.CELLS and WEIGHTS.
# gradcam: mean weights of class 0 are (.5, 0), of class 1 (-1, 1).
# gradcam++: channel sums are 4 and 3. Class 0: two cells at g = 1 give 2/(2+4), one cell at g = 1 gives 1/(2+3).
#   Class 1: channel 0 is negative; two cells at g = 2 give 2 * 2 * 4/(8+3*8).
# xgradcam: class 0 (1+1)/4 and -2/3, class 1 -4/4 and 2/3.
# eigengradcam: gradient times activation, centred, is (.5, -1.5), (-.5, .5), (-.5, .5), (.5, .5) for class 0, whose
#   scatter is ((1, -1), (-1, 3)); the first cell is far out, but against the class, so it is on the negative side.
#   Class 1: (0, -.5), (-1, -.5), (1, 1.5), (0, -.5), scatter ((2, 2), (2, 3)).
# seg-eigencam: with absolute gradients the first cell of class 0 is (.5, 1.5); it peaks, so it is positive.
# eigencam: cells centred are (0, 1.25), (1, -.75), (-1, .25), (0, -.75), scatter ((2, -1), (-1, 2.75)).
# fem: four cells are too few for two sigma.
BY_HAND = {
    ("gradcam", 0): [[0.5, 1.0], [0.0, 0.5]],
    ("gradcam", 1): [[1.0, 0.0], [1.0, 0.0]],
    ("gradcam++", 0): [[third + 0.4, 2 * third], [0.2, third]],
    ("gradcam++", 1): [[1.0, 0.0], [0.5, 0.0]],
    ("hirescam", 0): [[0.0, 0.0], [0.0, 1.0]],
    ("hirescam", 1): [[0.0, 0.0], [2.0, 0.0]],
    ("xgradcam", 0): [[0.0, 1.0], [0.0, 0.5]],
    ("xgradcam", 1): [[third, 0.0], [2 * third, 0.0]],
    ("layercam", 0): [[1.0, 0.0], [0.0, 1.0]],
    ("layercam", 1): [[0.0, 0.0], [2.0, 0.0]],
    ("gradcam-elementwise", 0): [[1.0, 0.0], [0.0, 1.0]],
    ("gradcam-elementwise", 1): [[0.0, 0.0], [2.0, 0.0]],
    ("eigengradcam", 0): [[0.0, at_silver(0.5, 0.5)], [at_silver(0.5, 0.5), at_silver(-0.5, 0.5)]],
    ("eigengradcam", 1): [[0.0, 0.0], [at_17(1, 1.5), 0.0]],
    ("seg-eigencam", 0): [[at_silver(0.5, 1.5), 0.0], [0.0, 0.0]],
    ("seg-eigencam", 1): [[0.0, 0.0], [at_17(1, 1.5), 0.0]],
    ("eigencam", 0): [[at_73(0, 1.25), 0.0], [at_73(-1, 0.25), 0.0]],
    ("eigencam", 1): [[at_73(0, 1.25), 0.0], [at_73(-1, 0.25), 0.0]],
    ("fem", 0): [[0.0, 0.0], [0.0, 0.0]],
    ("fem", 1): [[0.0, 0.0], [0.0, 0.0]],
}


@pytest.mark.filterwarnings("ignore:camdebug. every map of fem")
@pytest.mark.parametrize(("method", "class_idx"), BY_HAND)
def test_every_method_gives_the_map_worked_out_by_hand(method, class_idx):
    found = compute_cams(hand_net(), torch.tensor([CELLS]), class_idx, method=method)
    assert found.maps[0].tolist() == [pytest.approx(row, abs=1e-6) for row in BY_HAND[method, class_idx]]


@pytest.mark.parametrize("shape", [(9,), (3, 3), (1, 3, 3)], ids=["signal", "picture", "volume"])
def test_fem_weights_what_stands_out_of_a_channel_by_the_channels_mean(shape):
    # Channel 0: 9 in one cell of nine, mean 1, sigma sqrt 8; 9 > 1 + 2 sqrt 8. Channel 1: 3 and 6, mean 1, sigma 2;
    # 6 > 1 + 4, 3 is not. Channel 2 is even. Channel 3: mean -1, so what stands out of it counts against.
    channels = torch.zeros(4, 9)
    channels[0, 4], channels[1, 0], channels[1, 7], channels[2], channels[3] = 9.0, 3.0, 6.0, 0.1, -1.5
    channels[3, 2] = 3.0
    signed = ONE_PASS["fem"].signed_map(channels.reshape(1, 4, *shape), channels)
    assert signed.shape == (1, *shape)
    assert signed.flatten().tolist() == pytest.approx([0, 0, -1, 0, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("scale", [1.0, 2.0**-20, 2.0**20])
@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)], ids=["signal", "picture", "volume"])
def test_kpca_cam_of_two_kinds_of_cells_is_the_value_worked_out_by_hand_in_any_units(shape, scale):
    # Centred, the cells are -1 and 1: like cells have the kernel tanh(1 + 1), unlike ones tanh(-1 + 1) = 0. Centred,
    # that is tanh(2) / 2 with a sign; its top eigenvector is even in size, and the eigenvalue is 2 tanh(2).
    cells = torch.tensor([0.0, 2.0, 0.0, 2.0]).reshape(1, 1, *shape) * scale
    height = (np.tanh(2) / 2) ** 0.5
    signed = ONE_PASS["kpca-cam"].signed_map(cells, cells)
    assert signed.flatten().tolist() == pytest.approx([-height, height, -height, height])


@pytest.mark.parametrize("method", [name for name in EVERY_NAME if (name, 0) in BY_HAND])
@pytest.mark.parametrize("classes", [(0, 1), (1, 0)])
@pytest.mark.filterwarnings("ignore:camdebug. every map of fem")
def test_in_a_batch_each_picture_gets_the_map_of_its_own_class(method, classes):
    found = compute_cams(hand_net(), torch.tensor([CELLS, CELLS]), classes, method=method)
    expected = torch.tensor([BY_HAND[method, k] for k in classes])
    torch.testing.assert_close(found.maps, expected, atol=1e-6, rtol=0)
    assert found.class_idx.tolist() == list(classes)


def test_scores_and_predictions_are_the_raw_logits_of_the_model():
    # class 0: 1 + 1 - 2 = 0; class 1: -(1 + 2 + 0 + 1) + 2 * 1 = -2
    found = compute_cams(hand_net(), torch.tensor([CELLS, CELLS]), [1, 0])
    assert found.class_score.tolist() == [-2.0, 0.0]
    assert found.predicted_class.tolist() == [0, 0]
    assert found.predicted_score.tolist() == [0.0, 0.0]
    assert found.correct.tolist() == [False, True]
    assert (found.method, found.layer, found.grid, len(found)) == ("hirescam", "0", (2, 2), 2)


def test_signed_hirescam_sums_to_the_score_of_a_linear_head():
    activation = torch.tensor([CELLS])
    gradient = hand_net()[2].weight.detach()[1].reshape(1, 2, 2, 2)
    signed = signed_hirescam(activation, gradient)
    assert signed.tolist() == [[[-1.0, -2.0], [2.0, -1.0]]]
    assert signed.sum().item() == -2.0


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_class_with_only_negative_gradients_has_an_empty_map_which_is_said(method):
    net = hand_net()
    with torch.no_grad():
        net[2].weight[0] = -1.0
    with pytest.warns(UserWarning, match=f"camdebug: every map of {re.escape(method)} at 0 is empty: nothing there"):
        found = compute_cams(net, torch.tensor([CELLS]), 0, method=method)
    assert found.maps.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    assert found.empty.tolist() == [True]


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_channel_of_zeros_adds_nothing(method):
    cells = torch.tensor([CELLS])
    cells[:, 1] = 0.0
    expected = {
        "gradcam": [[0.5, 1.0], [0.0, 0.5]],
        "gradcam++": [[third, 2 * third], [0.0, third]],
        "hirescam": [[1.0, 0.0], [0.0, 1.0]],
        "xgradcam": [[0.5, 1.0], [0.0, 0.5]],
        "layercam": [[1.0, 0.0], [0.0, 1.0]],
    }[method]
    torch.testing.assert_close(compute_cams(hand_net(), cells, 0, method=method).maps, torch.tensor([expected]))


@pytest.mark.parametrize("eigen_smooth", [False, True])
@pytest.mark.parametrize("method", EVERY_NAME)
@pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 3, 3)], ids=["signal", "picture", "volume"])
def test_no_gradient_and_no_activation_is_no_heat_and_never_nan(method, shape, eigen_smooth):
    nothing = torch.zeros(1, 2, *shape)
    for activation, gradient in ((nothing, nothing), (nothing + 0.1, nothing), (nothing, nothing - 1)):
        signed = ONE_PASS[method].signed_map(activation, gradient, eigen_smooth=eigen_smooth)
        assert torch.equal(signed.relu(), torch.zeros(1, *shape))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)], ids=["signal", "picture", "volume"])
@pytest.mark.parametrize("method", EVERY_NAME)
def test_a_map_does_not_depend_on_how_its_cells_are_laid_out(method, shape):
    random = torch.Generator().manual_seed(0)
    activation, gradient = (torch.randn(2, 6, *shape, generator=random) for _ in range(2))
    flat = ONE_PASS[method].signed_map(activation.flatten(2), gradient.flatten(2))
    found = ONE_PASS[method].signed_map(activation, gradient)
    assert found.shape == (2, *shape)
    torch.testing.assert_close(found.flatten(1), flat)


@pytest.mark.parametrize("flat_side", [None, 4], ids=["gap", "flatten"])
@pytest.mark.parametrize("classes", [[0, 1, 2], [2, 2, 0]])
def test_maps_equal_the_formulas_of_the_papers_in_slow_loops_over_a_full_graph(flat_side, classes):
    net, images = ConvNet(flat_side=flat_side), pictures()
    activation, gradient = graph_of(net, net.stage, images, classes)
    found = compute_cams(net, images, classes, method=METHOD_NAMES, target_layer="stage")
    assert tuple(found) == METHOD_NAMES
    for method, heat in found.items():
        expected = np.stack([slow_map(method, a, g) for a, g in zip(activation, gradient, strict=True)])
        np.testing.assert_allclose(heat.maps.numpy(), expected, atol=2e-6, rtol=2e-5)
        assert heat.maps.dtype == torch.float32
        assert heat.maps.max() > 1e-2


@pytest.mark.parametrize("shape", [(11,), (4, 5), (2, 3, 4)], ids=["signal", "picture", "volume"])
@pytest.mark.parametrize("method", NEW_NAMES)
@pytest.mark.parametrize("below", [0.0, -9.0], ids=["ReLU'd", "signed"])
def test_later_methods_equal_slow_loops_on_grids_of_any_rank(method, shape, below):
    random = torch.Generator().manual_seed(3)
    activation = torch.randn(3, 6, *shape, generator=random).clamp(min=below)
    gradient = torch.randn(3, 6, *shape, generator=random)
    found = ONE_PASS[method].signed_map(activation, gradient).numpy()
    expected = [slow_signed(method, a, g) for a, g in zip(activation.numpy(), gradient.numpy(), strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), atol=2e-6, rtol=2e-5)
    assert np.abs(found).max() > 0.05


@pytest.mark.parametrize("method", EVERY_NAME)
def test_eigen_smoothing_is_the_component_of_what_channels_add_and_leaves_components_alone(method):
    random = torch.Generator().manual_seed(4)
    activation, gradient = (torch.randn(2, 6, 4, 5, generator=random) for _ in range(2))
    one = ONE_PASS[method]
    found = one.signed_map(activation, gradient, eigen_smooth=True)
    if method in ("eigengradcam", "seg-eigencam", "eigencam", "kpca-cam"):
        assert torch.equal(found, one.signed_map(activation, gradient))
        return
    added = one.channels(activation, gradient).double().numpy()
    expected = np.stack([slow_component(a, a.sum(0)) for a in added])
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6, rtol=2e-5)
    assert (found - one.signed_map(activation, gradient)).abs().max() > 0.05


def test_hirescam_equals_gradcam_behind_global_average_pooling_and_a_linear_head():
    net = ConvNet()
    net.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    found = compute_cams(net, pictures(), 1, method=["gradcam", "hirescam"])
    torch.testing.assert_close(found["gradcam"].maps, found["hirescam"].maps)


def test_maps_are_raw_and_scale_with_the_score():
    net, images = ConvNet(), pictures()
    before = compute_cams(net, images, 1).maps
    with torch.no_grad():
        net.head[-1].weight.mul_(8.0)
        net.head[-1].bias.mul_(8.0)
    torch.testing.assert_close(compute_cams(net, images, 1).maps, 8 * before)
