import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import FullGrad as GradCamsFullGrad
from pytorch_grad_cam.utils.image import scale_cam_image
from tiny_nets import ConvNet, pictures
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.full_gradient import FullGrad, full_gradient
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.passes import run_pass
from camdebug.cam.target.search import find_target_layers


def maps_of(model, images, class_idx=None, *, method=None, chunk_size=32):
    method = method or FullGrad()
    with borrowed(model):
        subject = ModelUse().on(model)
        lens = Lens(subject, find_target_layers(subject, images), chunk_size)
        return explain(lens, images, [class_idx], [method])[0][method.name].maps


def parts_of(model, images, class_idx):
    """All parts of the scores, and the scores."""
    found = []
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images)
        chunk = next(run_pass(subject, layers, images, [], rows=[slice(0, len(images))], graph=False))
        full_gradient(chunk, torch.tensor(class_idx), lambda part, has_grid: found.append((part, has_grid)))
        return found, chunk.scores.of(torch.tensor(class_idx))


def total(parts):
    return sum(part.double().flatten(1).sum(1) for part, _ in parts)


# --- worked out by hand


def hand_net():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[0].bias.fill_(1.0)
        net[3].weight.copy_(torch.tensor([[1.0, 2.0, -1.0, 3.0], [0.0, 0.0, 0.0, 1.0]]))
        net[3].bias.copy_(torch.tensor([0.5, 0.0]))
    return net


# The convolution gives 3, -1, 2, 5; the second cell ends at the ReLU; the score is 3 - 2 + 15 + .5.
PICTURE = [[[[1.0, -1.0], [0.5, 2.0]]]]


def test_parts_are_those_worked_out_by_hand_and_add_up_to_the_score():
    parts, score = parts_of(hand_net(), torch.tensor(PICTURE), [0])
    found = [(part.tolist(), has_grid) for part, has_grid in parts]
    assert found == [
        ([[0.5, 0.0]], False),
        ([[[[1.0, 0.0], [-1.0, 3.0]]]], True),
        ([[[[2.0, 0.0], [-1.0, 12.0]]]], True),
    ]
    assert total(parts).tolist() == score.tolist() == [16.5]


def test_the_map_is_the_sum_of_the_scaled_sizes_of_parts_that_have_a_grid():
    found = maps_of(hand_net(), torch.tensor(PICTURE), torch.tensor([0]))
    expected = torch.tensor([[[1 / 6 + 1 / 3, 0.0], [1 / 12 + 1 / 3, 2.0]]])
    torch.testing.assert_close(found, expected)


def test_channels_scaled_together_keep_their_proportions():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.fill_(1.0)
        net[2].weight[0] = torch.tensor([1.0, 1.0, 2.0, 2.0, 6.0, 6.0, 10.0, 10.0])
    images, classes = torch.ones(1, 1, 2, 2), torch.tensor([0])
    assert maps_of(net, images, classes).tolist() == [[[0.0, 0.0], [2.0, 2.0]]]
    together = maps_of(net, images, classes, method=FullGrad(scaling="layer"))
    torch.testing.assert_close(together, torch.tensor([[[(0 + 5) / 9] * 2, [(1 + 9) / 9] * 2]]))


# --- completeness


class Everything(nn.Module):
    """Piecewise linear, with layers that run twice, functions without a module, and what writes over its input."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.stem = nn.Conv2d(3, 4, 3, 2, 1, padding_mode="reflect")
            self.norm, self.plain = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
            self.relu = nn.ReLU(inplace=True)
            self.up = nn.ConvTranspose2d(4, 4, 2, 2)
            self.loose = nn.Parameter(torch.randn(5, 4, 1, 1))
            self.loose_bias = nn.Parameter(torch.randn(5))
            self.head = nn.Linear(5, 3)
            self.last = nn.BatchNorm1d(3)
            for module in (self.norm, self.plain, self.last):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(self.norm.weight)
            nn.init.normal_(self.norm.bias)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.plain(self.relu(self.norm(x))))
        x = F.relu(F.conv2d(self.up(x), self.loose, bias=self.loose_bias))
        return self.last(self.head(F.max_pool2d(x, 2).mean((2, 3))))


def vgg11_bn(weights, num_classes):
    """Without its 120 million weights behind the features."""
    body = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=True)
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, num_classes))


def prepared(name, classes=5):
    """Random weights, and BatchNorm statistics of the pictures, so that scores are neither 0 nor huge."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = vgg11_bn if name == "vgg11_bn" else getattr(torchvision.models, name)
        model = make(weights=None, num_classes=classes)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.bias, std=0.2)
        with torch.no_grad():
            model.train()(pictures(4, (64, 64), seed=2))
    return model.eval()


@pytest.mark.parametrize(
    "make",
    [Everything, lambda: prepared("resnet18"), lambda: prepared("vgg11_bn"), lambda: prepared("densenet121")],
    ids=["everything", "resnet18", "vgg11_bn", "densenet121"],
)
def test_on_relu_nets_the_parts_of_every_picture_add_up_to_its_score(make):
    model, images = make().double(), pictures(3, (64, 64))
    parts, score = parts_of(model, images, [0, 1, 2])
    assert (score.abs() > 1e-3).all()
    torch.testing.assert_close(total(parts), score.double(), atol=1e-6, rtol=1e-6)


def test_every_call_of_a_layer_is_a_part():
    parts, _ = parts_of(Everything(), pictures(2), [0, 1])
    # from the end: BatchNorm, Linear, function, transposed, the second and first runs of BatchNorms, stem, input
    assert [tuple(part.shape) for part, _ in parts] == [
        (2, 3),
        (2, 3),
        (2, 5, 16, 16),
        (2, 4, 16, 16),
        *[(2, 4, 8, 8)] * 4,
        (2, 3, 16, 16),
    ]


def test_without_any_one_part_and_behind_a_tanh_the_sum_is_not_the_score():
    images = pictures(2, (16, 16))
    parts, score = parts_of(Everything().double(), images, [0, 1])
    for left_out in range(len(parts)):
        rest = [part for i, part in enumerate(parts) if i != left_out]
        assert (total(rest) - score).abs().max() > 1e-3
    parts, score = parts_of(ConvNet().double(), images, [0, 1])
    assert (total(parts) - score).abs().max() > 1e-2


class OwnStatistics(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=True)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(1, track_running_stats=False), OwnStatistics(1)])
def test_statistics_of_the_batch_itself_are_no_constant_so_only_the_bias_counts(norm):
    net = nn.Sequential(norm, nn.Flatten(), nn.Linear(4, 2, bias=False))
    nn.init.constant_(norm.bias, 3.0)
    parts, _ = parts_of(net, torch.tensor(PICTURE), [1])
    assert torch.equal(parts[0][0].flatten(), 3 * net[2].weight[1])


class ColourByColour(nn.Module):
    """Its first convolution sees three pictures of one colour for each picture."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.single, self.rest = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.single(x.flatten(0, 1)[:, None]).relu().reshape(x.shape)
        return self.head(self.rest(x).relu().mean((2, 3)))


def test_a_layer_that_sees_other_rows_than_the_pictures_is_part_of_the_score_and_not_of_the_map():
    net, images = ColourByColour(), pictures(2)
    parts, score = parts_of(net, images, [0, 1])
    shapes = [tuple(part.shape) for part, _ in parts]
    assert shapes == [(2, 2), (2, 4, 16, 16), (6, 1, 16, 16), (2, 3, 16, 16)]
    by_picture = [(part.reshape(2, -1), has_grid) for part, has_grid in parts]
    torch.testing.assert_close(total(by_picture), score.double(), atol=1e-5, rtol=1e-5)
    expected = [slow_fullgrad([parts[1][0][i].numpy(), parts[3][0][i].numpy()], (16, 16)) for i in range(2)]
    found = maps_of(net, images, torch.tensor([0, 1]))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-4)


class WritesToItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        return self.net(x.mul_(2.0).sub_(1.0))


def test_a_model_may_write_to_its_input():
    images = pictures()
    parts, _ = parts_of(WritesToItsInput(), images, [0, 1, 2])
    written, _ = parts_of(ConvNet(), images * 2 - 1, [0, 1, 2])
    entry, inner = parts[-1][0], written[-1][0]
    torch.testing.assert_close(entry, inner / (images * 2 - 1) * 2 * images, atol=1e-5, rtol=1e-4)


# --- the paper's formula in slow loops


def slow_enlarged(grid, size):
    """Bilinear between the middles of cells, one pixel at a time; beyond the last middle the edge goes on."""
    found = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * grid.shape[0] / size[0] - 0.5, 0), grid.shape[0] - 1)
            x = min(max((j + 0.5) * grid.shape[1] / size[1] - 0.5, 0), grid.shape[1] - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, grid.shape[0] - 1), min(x0 + 1, grid.shape[1] - 1)
            top = grid[y0, x0] * (1 - (x - x0)) + grid[y0, x1] * (x - x0)
            low = grid[y1, x0] * (1 - (x - x0)) + grid[y1, x1] * (x - x0)
            found[i, j] = top * (1 - (y - y0)) + low * (y - y0)
    return found


def slow_fullgrad(parts, size):
    """Parts ``(C, h, w)`` of one picture to its map."""
    found = np.zeros(size)
    for part in parts:
        for channel in np.abs(part):
            if channel.max() > channel.min():
                found += slow_enlarged((channel - channel.min()) / (channel.max() - channel.min()), size)
    return found


def parts_by_bias_fields(net, image, class_idx):
    """Every bias becomes a field of its own over the cells; then its gradient is an ordinary one."""
    stem, norm, stage, stage_norm = net.stem[0], net.stem[1], net.stage[0], net.stage[1]
    fields = []

    def added(x, bias):
        field = bias.detach()[:, None, None].expand(x.shape[1:]).clone().requires_grad_()
        fields.append(field)
        return x + field

    def normed(bn, x):
        factor = bn.weight / (bn.running_var + bn.eps).sqrt()
        return added(x * factor[:, None, None], bn.bias - bn.running_mean * factor)

    entry = image[None].clone().requires_grad_()
    x = normed(norm, added(F.conv2d(entry, stem.weight, None, 2, 1), stem.bias)).relu()
    x = normed(stage_norm, added(F.conv2d(x, stage.weight, None, 2, 1), stage.bias)).relu()
    net.head(net.pool(x))[0, class_idx].backward()
    return [(field.grad * field).detach().numpy() for field in [*fields, entry]]


def test_maps_equal_the_papers_formula_in_slow_loops():
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(2), [2, 0]
    for bn in (net.stem[1], net.stage[1]):
        bn.running_mean.copy_(torch.linspace(-1, 1, bn.num_features))
    found = maps_of(net, images, torch.tensor(classes), chunk_size=1)
    for image, class_idx, heat in zip(images, classes, found, strict=True):
        parts = [part.reshape(part.shape[-3:]) for part in parts_by_bias_fields(net, image, class_idx)]
        np.testing.assert_allclose(heat.numpy(), slow_fullgrad(parts, (16, 16)), atol=1e-3, rtol=1e-4)


# --- grad-cam


def grad_cams(model, images, classes):
    """Scores are magnified: grad-cam adds 1e-7 to what it divides by, which drowns small gradients."""
    with GradCamsFullGrad(model, []) as cam:
        return cam(input_tensor=images, targets=[lambda scores, k=k: 1e6 * scores[k] for k in classes])


def as_grad_cam_scales(maps):
    return scale_cam_image(maps.numpy())


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vgg11_bn",
        "squeezenet1_1",
        "densenet121",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "mnasnet0_5",
    ],
)
def test_maps_equal_grad_cams(name):
    model, images = prepared(name).double(), pictures(2, (48, 64), seed=3).double()
    expected = grad_cams(model, images.clone(), [3, 0])
    ours = maps_of(model, images, torch.tensor([3, 0]))
    np.testing.assert_allclose(as_grad_cam_scales(ours), expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.02


def test_grad_cams_map_fades_with_the_scale_of_the_score_and_ours_does_not():
    net, images = hand_net(), torch.tensor(PICTURE)
    factors = (1.0, 2.0**-23)
    theirs, ours = [], []
    for factor in factors:
        with torch.no_grad():
            net[3].weight.mul_(factor)
        with GradCamsFullGrad(net, []) as cam:
            theirs.append(cam(input_tensor=images.clone(), targets=[lambda scores: scores[0]]))
        ours.append(maps_of(net, images, torch.tensor([0])))
    assert torch.equal(*ours)
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01


class OwnConv(nn.Conv2d):
    pass


def nets_with_biases_that_grad_cam_misses():
    return {
        "a subclass of Conv2d": nn.Sequential(OwnConv(3, 4, 3), nn.ReLU()),
        "a transposed convolution": nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.ReLU()),
        "BatchNorm without weights": nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU()
        ),
    }


@pytest.mark.parametrize("kind", nets_with_biases_that_grad_cam_misses())
def test_grad_cam_leaves_out_biases_that_belong_to_the_score(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nets_with_biases_that_grad_cam_misses()[kind]
        net = nn.Sequential(body, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        net.append(nn.Linear(64, 2)).eval().double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.linspace(-1, 1, 4))
    images, classes = pictures(1).double(), [0]
    parts, score = parts_of(net, images, classes)
    torch.testing.assert_close(total(parts), score.double(), atol=1e-6, rtol=1e-6)
    ours = as_grad_cam_scales(maps_of(net, images, torch.tensor(classes)))
    assert np.abs(ours - grad_cams(net, images.clone(), classes)).max() > 0.01


def test_grad_cam_refuses_a_batchnorm_that_runs_twice_and_the_map_counts_both_runs():
    net, images = Everything().eval(), pictures(1)
    with pytest.raises(AssertionError):
        grad_cams(net, images.clone(), [0])
    parts, _ = parts_of(net, images, [0])
    expected = slow_fullgrad([part[0].numpy() for part, has_grid in parts if has_grid and part.ndim == 4], (16, 16))
    np.testing.assert_allclose(maps_of(net, images, torch.tensor([0]))[0].numpy(), expected, atol=1e-4)


# --- laws


@pytest.mark.parametrize("scaling", ["channel", "layer"])
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_chunk_size_changes_no_map(chunk_size, scaling):
    model, images, classes = Everything(), pictures(5), torch.tensor([0, 1, 2, 0, 1])
    method = FullGrad(scaling=scaling)
    whole = maps_of(model, images, classes, method=method)
    parts = maps_of(model, images, classes, method=method, chunk_size=chunk_size)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    assert whole.shape == (5, 16, 16)


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**20])
def test_the_scale_of_the_score_changes_nothing(factor):
    model, images = Everything(), pictures(2)
    before = maps_of(model, images, torch.tensor([0, 1]))
    with torch.no_grad():
        model.last.weight.mul_(factor)
    assert torch.equal(maps_of(model, images, torch.tensor([0, 1])), before)


def test_what_is_equal_over_all_cells_but_for_rounding_is_no_pattern():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(net[0].bias, 1.0)
    with torch.no_grad():
        net[2].weight.fill_(0.3).mul_(torch.tensor([1.0, 1 + 1e-7, 1.0, 1 - 1e-7]))
        net[0].weight.zero_()
    assert maps_of(net, torch.rand(1, 1, 2, 2), torch.tensor([0])).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    with torch.no_grad():
        net[2].weight[0, 0] *= 1 + 1e-4
    assert maps_of(net, torch.rand(1, 1, 2, 2), torch.tensor([0]))[0, 0, 0] == 1.0


def test_a_network_that_gives_nan_has_a_map_of_nan_and_no_calm_one():
    net = hand_net()
    with torch.no_grad():
        net[3].weight[0, 0] = torch.nan
    assert maps_of(net, torch.tensor(PICTURE), torch.tensor([0])).isnan().all()


def test_a_half_precision_model_gives_close_float32_maps():
    model, images = prepared("resnet18"), pictures(2, (64, 64))
    expected = maps_of(model, images, torch.tensor([0, 1]))
    torch.testing.assert_close(maps_of(model.double(), images, torch.tensor([0, 1])), expected, rtol=1e-3, atol=0.1)
    found = maps_of(model.bfloat16(), images, torch.tensor([0, 1]))
    assert found.dtype is torch.float32
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.95


# --- untouched, also when it fails


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.fails = Everything(), False

    def forward(self, x):
        found = self.net(x)
        if self.fails and torch.is_grad_enabled():
            raise RuntimeError("in the middle")
        return found


def state_of(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    return hooks, [p.grad.clone() for p in model.parameters()], torch.get_rng_state(), model.training


@pytest.mark.parametrize("fails", [False, True])
def test_gradients_hooks_random_numbers_and_modes_stay_as_they_were(fails):
    model, images = Failing().train(), pictures(2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = state_of(model)
    model.fails = fails
    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            maps_of(Lookable(model), images, torch.tensor([0, 1]))
    else:
        maps_of(model, images, torch.tensor([0, 1]))
    torch.testing.assert_close(state_of(model), before, atol=0, rtol=0)
    model.fails = False
    with torch.enable_grad():
        (model(images) ** 2).sum().backward()
    assert not torch.equal(model.net.stem.weight.grad, before[1][0]), "the negative control: training does change it"


class Lookable(nn.Module):
    """Lets the search for the layer through, and the method's own forward fail."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        wanted, self.model.fails = self.model.fails, self.model.fails and x.requires_grad and len(x) > 1
        try:
            return self.model(x)
        finally:
            self.model.fails = wanted


# --- where gradients do not reach


class FrozenBelow(nn.Module):
    def __init__(self, *, frozen):
        super().__init__()
        self.net, self.frozen = ConvNet(), frozen

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = self.net.stem(x)
        return self.net.head(self.net.pool(self.net.relu(self.net.stage(x))))


def test_a_part_without_gradients_is_told_and_not_passed_over():
    expected = maps_of(FrozenBelow(frozen=False), pictures())
    assert expected.max() > 1
    with pytest.raises(ValueError, match=r"method: 'fullgrad' .* no gradient reaches the pictures"):
        maps_of(FrozenBelow(frozen=True), pictures())


class TakesWholeNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(x.float()).flatten(1)


def test_pictures_of_whole_numbers_have_no_gradient_and_the_same_ones_as_floats_do():
    images = torch.arange(16).reshape(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"method: 'fullgrad' .* no gradient reaches the pictures"):
        maps_of(TakesWholeNumbers(), images, torch.tensor([0]))
    # cells 0, 1, 4 and 5, each times a fourth, from 0 to 1
    found = maps_of(TakesWholeNumbers(), images.float(), torch.tensor([0]))
    torch.testing.assert_close(found[0, :2, :2], torch.tensor([[0.0, 0.2], [0.8, 1.0]]))


def test_a_model_whose_parameters_are_all_frozen_has_the_same_map():
    model, images = ConvNet(), pictures()
    expected = maps_of(model, images)
    assert torch.equal(maps_of(model.requires_grad_(False), images), expected)


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.net, self.reentrant = ConvNet(), reentrant

    def forward(self, x):
        x = checkpoint(self.net.stem, x, use_reentrant=self.reentrant)
        return self.net.head(self.net.pool(self.net.relu(self.net.stage(x))))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_checkpointed_blocks_are_counted_once_and_the_reentrant_kind_is_refused():
    images = pictures()
    assert torch.equal(maps_of(Checkpointed(reentrant=False), images), maps_of(ConvNet(), images))
    with pytest.raises(ValueError, match=r"method: 'fullgrad' .* expected use_reentrant=False"):
        maps_of(Checkpointed(reentrant=True), images)


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="scaling: expected 'channel' or 'layer', got 'picture'"):
        FullGrad(scaling="picture")
