import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop as CaptumsGuidedBackprop
from captum.attr import GuidedGradCam as CaptumsGuidedGradCam
from pytorch_grad_cam import GuidedBackpropReLUModel
from reference_nets import network
from tiny_nets import ConvNet, pictures
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.guided import GuidedBackprop, GuidedGradCam, guided_gradcam, guided_gradient
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.passes import run_pass
from camdebug.cam.target.search import find_target_layers

BOTH = (GuidedBackprop(), GuidedGradCam())
CAPTUM_WARNS = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")


def maps_of(method, model, images, class_idx=None, *, chunk_size=32, target_layer=None):
    with borrowed(model):
        subject = ModelUse().on(model)
        lens = Lens(subject, find_target_layers(subject, images, target_layer), chunk_size)
        found = explain(lens, images, [class_idx], [method], MapOptions(sign="signed"))
        return found[0][method.name].maps


def in_colour(model, images, class_idx, target_layer=None):
    """Both methods before the sum over colour channels."""
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images, target_layer)
        chunk = next(run_pass(subject, layers, images, [], rows=[slice(0, len(images))], graph=False))
        wanted = torch.tensor(class_idx)
        return guided_gradient(chunk, wanted), guided_gradcam(chunk, layers[0], wanted)


# --- worked out by hand

PICTURE = [[[[1.0, 2.0], [-1.0, 3.0]]]]


def hand_net(*rectifiers):
    """Behind the first ReLU cell (1, 0) is 0; the second stage has both signs; class 0 takes 1, -2, 3, 4 of cells."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), *rectifiers, nn.Conv2d(1, 2, 1, bias=False))
    net.extend([nn.ReLU(), nn.Flatten(), nn.Linear(8, 2, bias=False)])
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[-4].weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
        net[-1].weight.zero_()
        net[-1].weight[0, :4] = torch.tensor([1.0, -2.0, 3.0, 4.0])
    return net


def test_maps_are_those_worked_out_by_hand():
    # Gradients 1, -2, 3, 4: the second is negative at the last ReLU; at cell (1, 0) the first ReLU is shut; times 2.
    net, images = hand_net(nn.ReLU()), torch.tensor(PICTURE)
    assert maps_of(GuidedBackprop(), net, images, torch.tensor([0])).tolist() == [[[2.0, 0.0], [0.0, 8.0]]]
    # Grad-CAM at the first ReLU, with ordinary gradients: (1 - 2 + 0 + 4) / 4 times activations 2, 4, 0, 6.
    found = maps_of(GuidedGradCam(), net, images, torch.tensor([0]), target_layer="1")
    assert found.tolist() == [[[2 * 1.5, 0.0], [0.0, 8 * 4.5]]]


def test_negative_values_of_the_map_stay():
    net = hand_net(nn.ReLU())
    with torch.no_grad():
        net[0].weight.fill_(-2.0)
    found = maps_of(GuidedBackprop(), net, -torch.tensor(PICTURE), torch.tensor([0]))
    assert found.tolist() == [[[-2.0, 0.0], [0.0, -8.0]]]


# --- every way to call a ReLU


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_place_on_a_view(x):
    x = x * 1.0
    x[:, :, 1:].relu_()
    return torch.cat([x[:, :, :1].relu(), x[:, :, 1:]], 2)


WAYS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.relu": Calls(F.relu),
    "F.relu by keyword": Calls(lambda x: F.relu(input=x)),
    "F.relu in place": Calls(lambda x: F.relu(x, True)),
    "F.relu_": Calls(F.relu_),
    "torch.relu": Calls(torch.relu),
    "torch.relu by keyword": Calls(lambda x: torch.relu(input=x)),
    "torch.relu_": Calls(torch.relu_),
    "Tensor.relu": Calls(lambda x: x.relu()),
    "Tensor.relu_": Calls(lambda x: x.relu_()),
    "in place on a view": Calls(in_place_on_a_view),
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu6": Calls(F.relu6),
    "F.relu6, overwritten later": Calls(lambda x: F.relu6(x).mul_(2.0).div_(2.0)),
    "F.hardtanh_": Calls(lambda x: F.hardtanh_(x, 0.0, 6.0)),
}


@pytest.mark.parametrize("way", WAYS)
def test_relus_are_guided_however_they_are_called(way):
    model, images = ConvNet(flat_side=4, seed=9), pictures() / 4  # below 6 everywhere, where ReLU6 is a ReLU
    ordinary = gradients_of(model, images, [0, 1, 2])
    expected = in_colour(model, images, [0, 1, 2], "stage")
    model.relu = WAYS[way]
    for found, same in zip(in_colour(model, images, [0, 1, 2], "stage"), expected, strict=True):
        assert same.abs().max() > 1e-2
        torch.testing.assert_close(found, same)
    assert (expected[0] - ordinary).abs().max() > 1e-2


def gradients_of(model, images, class_idx):
    entry = images.clone().requires_grad_()
    scores = model.eval()(entry)[range(len(images)), class_idx]
    return torch.autograd.grad(scores.sum(), entry)[0]


@pytest.mark.parametrize("other", [nn.Hardtanh(), nn.LeakyReLU(0.1), nn.Softplus(), Calls(lambda x: x.clamp(min=0))])
def test_other_activations_keep_their_ordinary_gradient(other):
    net, images = hand_net(nn.ReLU()), torch.tensor(PICTURE) / 10
    net[3] = other
    ordinary = gradients_of(net, images, [0])
    assert (ordinary < 0).any(), "the net must have a gradient that a guide would have stopped"
    # what comes down to the first ReLU is negative in places, and guided there
    found = maps_of(GuidedBackprop(), net, images, torch.tensor([0]))
    torch.testing.assert_close(found, ordinary[:, 0].relu())


# --- captum and grad-cam


def in_captums(model, layer, images, classes):
    """Guided backprop and Guided Grad-CAM; hooks of captum fail on ReLUs in place."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    guided = CaptumsGuidedBackprop(model).attribute(images.clone().requires_grad_(), target=classes)
    product = CaptumsGuidedGradCam(model, model.get_submodule(layer))
    return guided, product.attribute(images.clone().requires_grad_(), target=classes, interpolate_mode="bilinear")


def in_grad_cams(model, images, classes):
    grad_cams = GuidedBackpropReLUModel(model)  # one picture at a time; it puts other modules in the model
    found = [grad_cams(images[i : i + 1].clone(), k) for i, k in enumerate(classes)]
    return torch.from_numpy(np.stack(found)).movedim(-1, 1)


def assert_close(found, expected):
    """Within 1e-4 of the largest value."""
    expected = expected.detach().float()
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@CAPTUM_WARNS
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("squeezenet1_1", "features"),
        ("mobilenet_v3_small", "features"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("mnasnet0_5", "layers"),
        ("regnet_y_400mf", "trunk_output"),
    ],
)
def test_values_equal_captums_and_grad_cams(name, layer):
    model, classes, images = network(name).double(), [3, 0], pictures(2, (48, 64), seed=3).double()
    guided, product = in_colour(model, images, classes, layer)
    theirs = in_captums(model, layer, images, classes)
    assert_close(guided, theirs[0])
    assert_close(product, theirs[1])
    assert_close(guided, in_grad_cams(model, images, classes))


@CAPTUM_WARNS
def test_captum_and_grad_cam_miss_the_relu_that_densenet_calls_as_a_function():
    model, classes, images = network("densenet121"), [3, 0], pictures(2, (64, 64), seed=3)
    guided, product = in_colour(model, images, classes, "features")
    missed = *in_captums(model, "features", images, classes), in_grad_cams(model, images, classes)
    for theirs, ours in zip(missed, (guided, product, guided), strict=True):
        assert (theirs - ours).abs().max() > 0.05 * ours.abs().max()

    model = network("densenet121")
    as_module = nn.Sequential(model.features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.classifier)
    theirs = in_captums(as_module, "0", images, classes)
    assert_close(guided, theirs[0])
    assert_close(product, theirs[1])


def test_maps_are_sums_over_colours_at_the_pictures_size():
    model, images, classes = ConvNet(), pictures(2, (16, 24)), [2, 1]
    for method, colours in zip(BOTH, in_colour(model, images, classes), strict=True):
        found = maps_of(method, model, images, torch.tensor(classes))
        assert found.shape == (2, 16, 24)
        torch.testing.assert_close(found, colours.sum(1))
        assert found.min() < 0 < found.max()


# --- laws


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_chunk_size_changes_no_map(method, chunk_size):
    model, images, classes = ConvNet(), pictures(5), torch.tensor([0, 1, 2, 0, 1])
    whole = maps_of(method, model, images, classes)
    parts = maps_of(method, model, images, classes, chunk_size=chunk_size)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
def test_number_formats_of_the_model_change_little(method):
    images, classes = pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(method, ConvNet(), images, classes)
    double = maps_of(method, ConvNet().double(), images, classes)
    assert double.dtype is torch.float32
    torch.testing.assert_close(double, expected, atol=1e-5, rtol=1e-4)
    half = maps_of(method, ConvNet().bfloat16(), images, classes)
    assert half.dtype is torch.float32
    assert np.corrcoef(half.flatten(), expected.flatten())[0, 1] > 0.98


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
def test_a_compiled_model_has_the_same_map(method):
    images, classes = pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(method, ConvNet(), images, classes)
    compiled = torch.compile(ConvNet().eval(), backend="eager")
    compiled(images)
    assert torch.equal(maps_of(method, compiled, images, classes), expected)


# --- untouched, also when it fails


class Failing(nn.Module):
    """Fails in a method's own forward, behind all of the network; lets the search for the layer through."""

    def __init__(self, *, fails):
        super().__init__()
        self.net, self.fails = ConvNet(), fails

    def forward(self, x):
        found = self.net(x)
        if self.fails and x.requires_grad and len(x) > 1:
            raise RuntimeError("in the middle")
        return found


def state_of(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    parts = [id(module) for module in model.modules()]
    return hooks, parts, [p.grad.clone() for p in model.parameters()], torch.get_rng_state(), model.training


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
@pytest.mark.parametrize("fails", [False, True])
def test_modules_gradients_hooks_and_random_numbers_stay_and_training_is_not_guided(method, fails):
    model, images = Failing(fails=fails), pictures()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = state_of(model)
    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            maps_of(method, model, images, torch.tensor([0, 1, 2]))
    else:
        maps_of(method, model, images, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(state_of(model), before, atol=0, rtol=0)
    model.fails = False
    torch.testing.assert_close(gradients_of(model, images, [0, 1, 2]), gradients_of(ConvNet(), images, [0, 1, 2]))


# --- what cannot be explained is told


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
@pytest.mark.parametrize("other", [nn.GELU(), nn.SiLU(), nn.LeakyReLU()])
def test_a_network_without_a_relu_is_told_so(method, other):
    model = ConvNet()
    model.stem[2], model.relu = other, other
    with pytest.raises(ValueError, match=rf"method: '{method.name}' needs ReLU"):
        maps_of(method, model, pictures(), target_layer="stage")
    model.relu = nn.ReLU()
    assert maps_of(method, model, pictures(), target_layer="stage").abs().max() > 0


class Partly(nn.Module):
    """A stem that runs in a way of its own."""

    def __init__(self, run):
        super().__init__()
        self.net, self.run = ConvNet(), run

    def forward(self, x):
        x = self.run(self.net.stem, x)
        return self.net.head(self.net.pool(self.net.relu(self.net.stage(x))))


def without_gradients(stem, x):
    with torch.no_grad():
        return stem(x)


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
@pytest.mark.parametrize("layer", ["net.stem", "net.relu"])
def test_a_part_without_gradients_is_told(method, layer):
    with pytest.raises(ValueError, match=rf"method: '{method.name}' .* no gradient reaches the pictures"):
        maps_of(method, Partly(without_gradients), pictures(), target_layer=layer)
    expected = maps_of(method, ConvNet(), pictures(), target_layer=layer.removeprefix("net."))
    found = maps_of(method, Partly(lambda stem, x: stem(x)), pictures(), target_layer=layer)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
def test_a_model_whose_parameters_are_all_frozen_has_the_same_map(method):
    expected = maps_of(method, ConvNet(), pictures())
    assert torch.equal(maps_of(method, ConvNet().requires_grad_(False), pictures()), expected)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("method", BOTH, ids=lambda method: method.name)
@pytest.mark.parametrize("layer", ["net.stem.1", "net.relu"])
def test_checkpointed_blocks_are_guided_and_the_reentrant_kind_is_refused(method, layer):
    expected = maps_of(method, ConvNet(), pictures(), target_layer=layer.removeprefix("net."))
    plain = Partly(lambda stem, x: checkpoint(stem, x, use_reentrant=False))
    assert torch.equal(maps_of(method, plain, pictures(), target_layer=layer), expected)
    reentrant = Partly(lambda stem, x: checkpoint(stem, x, use_reentrant=True))
    with pytest.raises(ValueError, match=rf"method: '{method.name}' .* expected use_reentrant=False"):
        maps_of(method, reentrant, pictures(), target_layer="net.relu")
