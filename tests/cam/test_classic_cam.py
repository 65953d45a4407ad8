"""The classic CAM: found by measuring where it exists, refused in clear words where it does not."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from reference_nets import network
from tiny_nets import CELLS, ConvNet, forwards_of, graph_of, pictures
from torch import nn
from torchcam.methods import CAM

from camdebug.cam.engine import compute_cams
from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.classic import ClassicCam
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout
from camdebug.cam.target.search import find_target_layers

SIGNED = MapOptions(sign="signed")


def cams(model, images, class_idx, *, layer=None, use=None, options=SIGNED, chunk_size=32):
    """Maps as :func:`compute_cams` would give them, of one class for each picture."""
    with borrowed(model):
        subject = (use or ModelUse()).on(model)
        layers = (layer,) if isinstance(layer, TargetLayer) else find_target_layers(subject, images, layer)
        wanted = [torch.tensor(class_idx)]
        return explain(Lens(subject, layers, chunk_size), images, wanted, [ClassicCam()], options)[0]["cam"]


def gap_net(head=None):
    """The activation is the picture; the head reads its mean."""
    stage = nn.Conv2d(2, 2, 1, bias=False)
    linear = nn.Linear(2, 3)
    with torch.no_grad():
        stage.weight.copy_(torch.eye(2)[:, :, None, None])
        linear.weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 0.0]]))
        linear.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
    parts = [("stage", stage), ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("head", head or linear)]
    return nn.Sequential(OrderedDict(parts))


def linear_head(seed=0):
    """``ConvNet`` with a linear head behind global average pooling."""
    net = ConvNet(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3))
    return net


def test_the_map_is_the_channels_weighted_by_the_linear_layer():
    # CELLS are [[1, 2], [0, 1]] and [[2, 0], [1, 0]]; class 0 weighs them by 1 and -1, class 1 by .5 and 2.
    found = cams(gap_net(), torch.tensor([CELLS] * 3), [0, 1, 2])
    assert found.maps.tolist() == [[[-1.0, 2.0], [-1.0, 1.0]], [[4.5, 1.0], [2.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]
    assert (found.method, found.layer, found.class_idx.tolist()) == ("cam", "stage", [0, 1, 2])
    positive = cams(gap_net(), torch.tensor([CELLS]), [0], options=MapOptions())
    assert positive.maps.tolist() == [[[0.0, 2.0], [0.0, 1.0]]]


@pytest.mark.parametrize("chunk_size", [1, 2, 5])
def test_its_mean_is_the_score_less_the_bias_of_the_class(chunk_size):
    net, images, classes = linear_head(), pictures(5), [0, 1, 2, 1, 0]
    found = cams(net, images, classes, chunk_size=chunk_size)
    bias = net.head[-1].bias.detach()[classes]
    torch.testing.assert_close(found.maps.mean((1, 2)), found.class_score - bias)
    assert (found.class_score - bias).abs().min() > 1e-2


def test_it_is_hirescam_and_gradcam_times_the_number_of_cells():
    net, images, classes = linear_head(), pictures(size=(16, 24)), [0, 1, 2]
    found = cams(net, images, classes, options=MapOptions())
    for maps in compute_cams(net, images, classes, method=["hirescam", "gradcam"]).values():
        torch.testing.assert_close(found.maps, maps.maps * 4 * 6)
    assert found.maps.max() > 0.1


@pytest.mark.parametrize(
    ("name", "layer", "fc"),
    [
        ("resnet18", "layer4", "fc"),
        ("regnet_y_400mf", "trunk_output", "fc"),
        ("efficientnet_b0", "features", "classifier.1"),
    ],
)
def test_it_equals_torch_cams(name, layer, fc):
    model = network(name)
    images, classes = pictures(3, (96, 64)), [4, 0, 1]
    found = cams(model, images, classes)
    assert found.layer == layer
    with torch.no_grad(), CAM(model, layer, fc) as cam:
        model(images)
        (theirs,) = cam(classes, normalized=False)
    torch.testing.assert_close(found.maps, theirs, rtol=1e-4, atol=1e-4)  # no ReLU there either
    assert found.maps.min() < -0.01 < 0.01 < found.maps.max()


def test_it_is_the_weights_times_the_activation_of_a_full_graph():
    net, images, classes = linear_head(), pictures(), [2, 0, 1]
    activation, _ = graph_of(net, net.relu, images, classes)
    weight = net.head[-1].weight.detach().numpy()
    expected = [sum(weight[k][c] * a[c] for c in range(8)) for k, a in zip(classes, activation, strict=True)]
    np.testing.assert_allclose(cams(net, images, classes).maps.numpy(), np.stack(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("conv", "pool", "shape"),
    [
        (nn.Conv1d, nn.AdaptiveAvgPool1d, (6,)),
        (nn.Conv3d, nn.AdaptiveAvgPool3d, (2, 3, 4)),
    ],
    ids=["signal", "volume"],
)
def test_grids_of_rank_one_and_three(conv, pool, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(conv(2, 4, 1), pool(1), nn.Flatten(), nn.Linear(4, 3))
    images = pictures(2, (24,)).reshape(2, 3, 24)[:, :2, : int(np.prod(shape))].reshape(2, 2, *shape)
    layer = TargetLayer(model[0], "0", Layout("NCHW", shape), "for the test")
    found = cams(model, images, [0, 2], layer=layer)
    assert found.maps.shape == (2, *shape)
    bias = model[-1].bias.detach()[[0, 2]]
    torch.testing.assert_close(found.maps.flatten(1).mean(1), found.class_score - bias)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_in_other_number_formats_the_head_is_found_too(dtype):
    net, images = linear_head(), pictures(size=(32, 32))
    expected = cams(net, images, [0, 1, 2]).maps
    found = cams(net.to(dtype), images, [0, 1, 2]).maps
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.03 * expected.abs().max().item(), rtol=0)


def test_one_more_forward_of_each_chunk_is_all_it_costs():
    net = linear_head()
    with borrowed(net):
        subject, images = ModelUse().on(net), pictures(5)
        lens = Lens(subject, find_target_layers(subject, images), 3)
        seen = forwards_of(net)
        explain(lens, images, [torch.zeros(5, dtype=torch.int64)], [ClassicCam()])
    assert seen == [3, 3, 2, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_model_that_has_diverged_has_maps_that_say_so_and_no_error(bad):
    net, images = linear_head(), pictures(2)
    with torch.no_grad():
        net.head[-1].weight[1] = bad
    found = cams(net, images, [0, 1]).maps
    assert found[0].isfinite().all()
    assert not found[1].isfinite().all()
    with torch.no_grad():
        net.stem[0].weight[0] = float("nan")
    assert cams(net, images, [0, 1]).maps.isnan().all()


def test_no_hook_and_no_gradient_is_left_behind():
    net = linear_head().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cams(net, pictures(), [0, 1, 2])
    assert all(not module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.head[1].training


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own, of its input
def test_the_head_of_a_warmed_compiled_model_is_found():
    net, images = linear_head().eval(), pictures()
    expected = cams(net, images, [0, 1, 2]).maps
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(images)
    assert torch.equal(cams(compiled, images, [0, 1, 2]).maps, expected)
    torch._dynamo.reset()


class Adapted(nn.Linear):
    """What it gives is not what its weights say."""

    def forward(self, x):
        return super().forward(x) + x[:, :1]


class OwnHead(nn.Module):
    """Has weights, but no linear layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, x):
        return x @ self.weight.T


class FlatNet(ConvNet):
    def __init__(self):
        super().__init__(flat_side=4)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 3))


REFUSED = {
    "two layers": (lambda: ConvNet(), None),
    "no pooling": (FlatNet, None),
    "a norm before the linear layer": (lambda: gap_net(nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 3))), None),
    "something after it": (lambda: gap_net(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid())), None),
    "an adapter in it": (lambda: gap_net(Adapted(2, 3)), None),
    "no linear layer": (lambda: gap_net(OwnHead()), None),
    "another layer than the last": (linear_head, "stage"),  # before the ReLU
}


@pytest.mark.parametrize(("make", "layer"), REFUSED.values(), ids=REFUSED)
def test_a_model_whose_scores_no_linear_layer_gives_from_the_mean_is_refused(make, layer):
    model = make()
    images = pictures(2, channels=next(model.parameters()).shape[1])
    with pytest.raises(ValueError, match=r"^method: 'cam' needs a linear layer .* from the mean of '\w+' .*'hirescam'"):
        cams(model, images, [0, 1], layer=layer)
    assert all(not module._forward_hooks for module in model.modules())


def test_a_score_that_is_not_one_of_the_linear_layers_is_refused():
    def squared(output):
        scores = ClassScores(output)
        return ClassScores(scores.table, pick=lambda idx: scores.of(idx).square())

    model, images = linear_head(), pictures(2)
    assert cams(model, images, [0, 1]).maps.abs().max() > 0.1
    with pytest.raises(ValueError, match=r"^method: 'cam' needs"):
        cams(model, images, [0, 1], use=ModelUse(outputs=squared))
    with pytest.raises(ValueError, match=r"^method: 'cam' needs"):
        cams(model, images, [0, 1], use=ModelUse(outputs=lambda output: ClassScores(output.softmax(1))))
