import numpy as np
import pytest
import torch
from tiny_nets import CELLS, METHOD_NAMES, ConvNet, graph_of, hand_net, pictures, slow_map
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.methods import ONE_PASS, signed_hirescam

third = 1 / 3

# Worked out from tiny_nets.CELLS and WEIGHTS.
# gradcam: mean weights of class 0 are (.5, 0), of class 1 (-1, 1).
# gradcam++: channel sums are 4 and 3. Class 0: two cells at g = 1 give 2/(2+4), one cell at g = 1 gives 1/(2+3).
#   Class 1: channel 0 is negative; two cells at g = 2 give 2 * 2 * 4/(8+3*8).
# xgradcam: class 0 (1+1)/4 and -2/3, class 1 -4/4 and 2/3.
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
}


@pytest.mark.parametrize(("method", "class_idx"), BY_HAND)
def test_every_method_gives_the_map_worked_out_by_hand(method, class_idx):
    found = compute_cams(hand_net(), torch.tensor([CELLS]), class_idx, method=method)
    assert found.maps[0].tolist() == [pytest.approx(row, abs=1e-6) for row in BY_HAND[method, class_idx]]


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("classes", [(0, 1), (1, 0)])
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
def test_a_class_with_only_negative_gradients_has_an_empty_map(method):
    net = hand_net()
    with torch.no_grad():
        net[2].weight[0] = -1.0
    assert compute_cams(net, torch.tensor([CELLS]), 0, method=method).maps.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


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


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_no_gradient_and_no_activation_is_no_heat_and_never_nan(method):
    nothing = torch.zeros(1, 2, 3, 3)
    for activation, gradient in ((nothing, nothing), (nothing + 1, nothing), (nothing, nothing - 1)):
        assert ONE_PASS[method].signed_map(activation, gradient).relu().tolist() == [[[0.0] * 3] * 3]


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
