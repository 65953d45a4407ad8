import numpy as np
import pytest
import torch
from tiny_nets import CELLS, ConvNet, forwards_of, graph_of, hand_net, pictures
from torch import nn
from torchcam.methods import SmoothGradCAMpp

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.noise import SmoothGradCamPlusPlus
from camdebug.cam.methods.registry import MapOptions, check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers


def maps_of(method, model, images, class_idx=None, *, chunk_size=32, target_layer=None, inputs=()):
    with borrowed(model):
        subject = ModelUse().on(model, None, *inputs)
        lens = Lens(subject, find_target_layers(subject, images, target_layer), chunk_size)
        found = explain(lens, images, [class_idx], [method], MapOptions(sign="signed"))
        return found[0][method.name].maps


# --- the paper's formula


def noise_of(row, samples, shape, *, seed=0):
    generator = torch.Generator().manual_seed(seed * 1_000_003 + row)
    return torch.randn(samples, *shape, generator=generator)


def slow_map(activation, gradients):
    """``(C, h, w)`` and ``(samples, C, h, w)`` numpy to ``(h, w)``, one cell at a time."""
    channels, height, width = activation.shape
    cells = [(i, j) for i in range(height) for j in range(width)]
    found = np.zeros((height, width))
    for k in range(channels):
        total, weight = sum(activation[k][c] for c in cells), 0.0
        for c in cells:
            first, second, third = (np.mean([g[k][c] ** power for g in gradients]) for power in (1, 2, 3))
            if second:
                weight += max(first, 0.0) * second / (2 * second + total * third + 1e-6)
        for c in cells:
            found[c] += weight * activation[k][c]
    return found


def noisy_gradients(net, layer, image, class_idx, method, row):
    """``(samples, C, h, w)``, one copy at a time through a full graph."""
    std = method.std * float(image.max() - image.min())
    copies = [image + std * noise for noise in noise_of(row, method.samples, image.shape, seed=method.seed)]
    return np.stack([graph_of(net, layer, copy[None], [class_idx])[1][0] for copy in copies])


@pytest.mark.parametrize("method", [SmoothGradCamPlusPlus(), SmoothGradCamPlusPlus(samples=7, std=0.4, seed=3)])
def test_maps_equal_the_formula_in_slow_loops_over_full_graphs(method):
    net, images, classes = ConvNet(flat_side=4).double(), pictures().double(), [2, 0, 1]
    found = maps_of(method, net, images, torch.tensor(classes), target_layer="stage")
    activation, gradient = graph_of(net, net.stage, images, classes)
    for row, image in enumerate(images):
        gradients = noisy_gradients(net, net.stage, image, classes[row], method, row)
        assert np.abs(gradients - gradient[row]).max() > 1e-3, "noise must move the gradients"
        np.testing.assert_allclose(found[row].numpy(), slow_map(activation[row], gradients), atol=1e-5, rtol=1e-4)


def test_of_a_linear_net_the_map_is_grad_cam_plus_plus_worked_out_by_hand():
    # The gradient is the same at every copy. Class 0: weights of channels 2/(2+4) and 1/(2+3); see test_methods.
    found = maps_of(SmoothGradCamPlusPlus(std=1.0), hand_net(), torch.tensor([CELLS]), torch.tensor([0]))
    expected = torch.tensor([[[1 / 3 + 0.4, 2 / 3], [0.2, 1 / 3]]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_without_noise_it_is_grad_cam_plus_plus_and_with_noise_it_is_not():
    net, images, classes = ConvNet(flat_side=4), pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(check_methods("gradcam++")[0], net, images, classes)
    found = maps_of(SmoothGradCamPlusPlus(std=0.0), net, images, classes)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    noisy = maps_of(SmoothGradCamPlusPlus(), net, images, classes)
    assert (noisy - expected).abs().max() > 0.01 * expected.abs().max()


def test_a_picture_of_one_colour_has_no_range_and_so_no_noise():
    net, images = ConvNet(flat_side=4), torch.full((1, 3, 16, 16), 0.5)
    expected = maps_of(check_methods("gradcam++")[0], net, images, torch.tensor([1]))
    found = maps_of(SmoothGradCamPlusPlus(std=9.0), net, images, torch.tensor([1]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


class Scaled(nn.Module):
    """The same net for pictures in other numbers."""

    def __init__(self, *, factor, offset):
        super().__init__()
        self.net, self.factor, self.offset = ConvNet(flat_side=4), factor, offset

    def forward(self, x):
        return self.net((x - self.offset) / self.factor)


def test_noise_follows_the_range_of_the_pictures_numbers():
    images, classes = pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(SmoothGradCamPlusPlus(), Scaled(factor=1.0, offset=0.0), images, classes)
    found = maps_of(SmoothGradCamPlusPlus(), Scaled(factor=256.0, offset=-3.0), images * 256 - 3, classes)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


# --- torch-cam


def in_torch_cam(net, layer, image, class_idx, **options):
    with SmoothGradCAMpp(net, layer, input_shape=tuple(image.shape), **options) as extract:
        scores = net(image[None])
        return extract([class_idx], scores, normalized=False)[0][0].detach().numpy()


def as_torch_cam_weights(activation, gradients, shown):
    """The third powers stand within the sum over cells, and the last copy's gradient for their mean."""
    second, third = (gradients**2).mean(0), (gradients**3).mean(0)
    alpha = second / (2 * second + (activation * third).sum((1, 2), keepdims=True) + 1e-8)
    weight = (alpha * np.maximum(gradients[-1], 0)).sum((1, 2), keepdims=True)
    return np.maximum((weight * shown).sum(0), 0)


def test_torch_cam_differs_in_what_it_sums_and_in_which_copy_it_weights_by():
    net, image = ConvNet(flat_side=4).eval(), pictures(1)[0]
    method = SmoothGradCamPlusPlus(samples=3, std=0.5)
    activation, _ = graph_of(net, net.relu, image[None], [1])
    gradients = noisy_gradients(net, net.relu, image, 1, method, 0)
    ours = maps_of(method, net, image[None], torch.tensor([1]), target_layer="relu")[0].numpy()
    np.testing.assert_allclose(ours, slow_map(activation[0], gradients), atol=1e-5, rtol=1e-4)

    # torch-cam draws its noise from the global generator, so it is replayed; it shows the last copy's activation
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = in_torch_cam(net, "relu", image, 1, num_samples=3, std=0.5)
        torch.manual_seed(5)
        copies = [image + torch.distributions.Normal(0, 0.5).sample((1, *image.shape))[0] for _ in range(3)]
    found = [graph_of(net, net.relu, copy[None], [1]) for copy in copies]
    shown, own = found[-1][0][0], np.stack([gradient[0] for _, gradient in found])
    np.testing.assert_allclose(theirs, as_torch_cam_weights(activation[0], own, shown), atol=1e-5, rtol=1e-3)
    papers = np.maximum(slow_map(activation[0], own), 0)
    assert np.abs(theirs - papers).max() > 0.1 * papers.max()


# --- laws


@pytest.mark.parametrize("samples", [1, 4, 9])
@pytest.mark.parametrize("chunk_size", [1, 2, 3])
def test_chunk_size_changes_no_map(chunk_size, samples):
    model, images, classes = ConvNet(flat_side=4), pictures(7), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    method = SmoothGradCamPlusPlus(samples=samples)
    whole = maps_of(method, model, images, classes)
    parts = maps_of(method, model, images, classes, chunk_size=chunk_size)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("chunk_size", "forwards"),
    [
        (8, [8, 8, 8, 8, 8]),
        (5, [5, 4, 4, 4, 4, 4, 3, 3, 1, 3, 1, 3, 1]),
        (1, [1] * 8 * 5),
    ],
    ids=str,
)
def test_copies_share_forwards_and_no_forward_has_more_pictures_than_the_chunk(chunk_size, forwards):
    model, images = ConvNet(), pictures(8)
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images)
        seen = forwards_of(model)
        explain(Lens(subject, layers, chunk_size), images, [None], [SmoothGradCamPlusPlus()])
    assert seen == forwards


def test_maps_repeat_to_the_last_bit_and_another_seed_or_row_has_other_noise():
    model, images, classes = ConvNet(flat_side=4), pictures(1).expand(2, -1, -1, -1), torch.tensor([1, 1])
    found = maps_of(SmoothGradCamPlusPlus(), model, images, classes)
    torch.rand(5)
    assert torch.equal(maps_of(SmoothGradCamPlusPlus(), model, images, classes), found)
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(maps_of(SmoothGradCamPlusPlus(seed=1), model, images, classes), found)


class TakesAge(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(flat_side=4)

    def forward(self, x, age):
        return self.net(x * age[:, None, None, None])


def test_copies_of_a_picture_keep_what_else_belongs_to_it():
    images, classes, ages = pictures(8), torch.tensor([0, 1, 2, 0] * 2), torch.linspace(0.5, 2, 8)
    found = maps_of(SmoothGradCamPlusPlus(), TakesAge(), images, classes, inputs=(ages,))
    expected = maps_of(SmoothGradCamPlusPlus(), ConvNet(flat_side=4), images * ages[:, None, None, None], classes)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_number_formats_of_the_model_change_little():
    method, images, classes = SmoothGradCamPlusPlus(), pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(method, ConvNet(flat_side=4), images, classes)
    double = maps_of(method, ConvNet(flat_side=4).double(), images, classes)
    assert double.dtype is torch.float32
    torch.testing.assert_close(double, expected, atol=1e-4, rtol=1e-3)
    half = maps_of(method, ConvNet(flat_side=4).bfloat16(), images, classes)
    assert half.dtype is torch.float32
    assert np.corrcoef(half.flatten(), expected.flatten())[0, 1] > 0.98


class FrozenBelow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet(flat_side=4)

    def forward(self, x):
        with torch.no_grad():
            x = self.net.relu(self.net.stage(self.net.stem(x)))
        return self.net.head(self.net.pool(x))


def test_a_frozen_backbone_has_the_same_map():
    method, images, classes = SmoothGradCamPlusPlus(), pictures(), torch.tensor([0, 1, 2])
    expected = maps_of(method, ConvNet(flat_side=4), images, classes, target_layer="relu")
    assert torch.equal(maps_of(method, FrozenBelow(), images, classes, target_layer="net.relu"), expected)
    frozen = ConvNet(flat_side=4).requires_grad_(False)
    assert torch.equal(maps_of(method, frozen, images, classes, target_layer="relu"), expected)


# --- untouched, also when it fails


class Failing(nn.Module):
    """Fails at the noisy copies, which are more than the pictures."""

    def __init__(self, *, most):
        super().__init__()
        self.net, self.most = ConvNet(), most

    def forward(self, x):
        found = self.net(x)
        if len(x) > self.most:
            raise RuntimeError("in the middle")
        return found


def state_of(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    return hooks, [p.grad.clone() for p in model.parameters()], torch.get_rng_state(), model.training


@pytest.mark.parametrize("most", [3, 99])
def test_gradients_hooks_random_numbers_and_modes_stay_as_they_were(most):
    model, images = Failing(most=most), pictures(5)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = state_of(model)
    if most == 3:
        with pytest.raises(RuntimeError, match="in the middle"):
            maps_of(SmoothGradCamPlusPlus(samples=2), model, images[:3].repeat(2, 1, 1, 1), chunk_size=6)
    else:
        maps_of(SmoothGradCamPlusPlus(samples=2), model, images)
    torch.testing.assert_close(state_of(model), before, atol=0, rtol=0)


# --- errors name the argument


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "samples: expected a whole number, 1 or more, got 0"),
        ({"samples": 2.0}, "samples: expected a whole number, 1 or more, got 2.0"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more, got -1"),
        ({"seed": True}, "seed: expected a whole number, 0 or more, got True"),
        ({"std": -0.1}, "std: expected a share of the picture's range, 0 or more, got -0.1"),
        ({"std": float("nan")}, "std: expected a share of the picture's range, 0 or more, got nan"),
        ({"std": "much"}, "std: expected a share of the picture's range, 0 or more, got 'much'"),
    ],
)
def test_errors_name_the_argument(options, words):
    with pytest.raises(ValueError, match=words):
        SmoothGradCamPlusPlus(**options)
