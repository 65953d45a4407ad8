"""Ablation-CAM, Score-CAM and chance: by hand, and by slow loops over whole forwards."""

import pickle

import numpy as np
import pytest
import torch
from tiny_nets import CELLS, ConvNet, forwards_of, hand_net, pictures
from torch import nn
from torch.nn import functional as F

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.perturbation import AblationCAM, RandomCAM, ScoreCAM
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import Layout
from camdebug.cam.target.search import find_target_layer

SIGNED = MapOptions(sign="signed")


def maps_of(model, layer, images, classes, worker, *, chunk_size=32, options=SIGNED):
    """``layer``: a dotted name, or a ``TargetLayer``."""
    with borrowed(model):
        subject = ModelUse().on(model)
        found = find_target_layer(subject, images, layer) if isinstance(layer, str) else layer
        lens = Lens(subject, (found,), chunk_size)
        return explain(lens, images, [torch.as_tensor(classes)], [worker], options)[0][worker.name].maps


def scores_with(model, module, images, change):
    """Whole forwards of an ``eval()`` model, with ``change`` applied to the module's output."""
    handle = module.register_forward_hook(lambda _m, _i, output: change(output.clone()))
    try:
        with torch.no_grad():
            return model(images)
    finally:
        handle.remove()


def slow_ablation(model, module, images, classes, axis=1):
    """One whole forward for each channel, without skipping any; a channel is ``axis`` of the output."""
    seen = []
    before = scores_with(model, module, images, lambda out: seen.append(out.clone()) or out)
    activation, total = seen[0], 0
    for channel in range(activation.shape[axis]):

        def without(out, channel=channel):
            out.select(axis, channel).zero_()
            return out

        after = scores_with(model, module, images, without)
        fall = (before - after)[range(len(images)), classes]
        part = activation.select(axis, channel)
        total = total + fall.reshape(-1, *[1] * (part.ndim - 1)) * part
    return total


def slow_score_cam(model, activation, images, classes):
    """The paper's steps for one picture and one channel at a time, without skipping any."""
    maps = []
    for picture, cells, k in zip(images, activation, classes, strict=True):
        scores = []
        for channel in cells:
            mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[channel.ndim]
            up = F.interpolate(channel[None, None], picture.shape[1:], mode=mode)[0, 0]
            spread = up.max() - up.min()
            mask = (up - up.min()) / spread if channel.max() > channel.min() else torch.zeros_like(up)
            with torch.no_grad():
                scores.append(model((picture * mask.to(picture))[None])[0, k].float())
        weights = torch.stack(scores).softmax(0)
        maps.append(sum(w * a for w, a in zip(weights, cells, strict=True)))
    return torch.stack(maps)


def activation_of(model, module, images):
    seen = []
    scores_with(model, module, images, lambda out: seen.append(out.clone()) or out)
    return seen[0].float()


# --- by hand: the activation of hand_net is the picture, its scores are linear in the cells


def test_ablation_by_hand_weighs_a_channel_by_the_fall_of_the_score():
    # class 0 takes 1 + 1 = 2 from channel 0 and -1 * 2 = -2 from channel 1; class 1 takes -4 and 2
    found = maps_of(hand_net(), "0", torch.tensor([CELLS, CELLS]), [0, 1], AblationCAM())
    assert found.tolist() == [[[-2.0, 4.0], [-2.0, 2.0]], [[0.0, -8.0], [2.0, -4.0]]]


def test_score_cam_by_hand_weighs_a_channel_by_the_score_of_the_masked_picture():
    # masks are A0 / 2 = [[.5, 1], [0, .5]] and A1 / 2 = [[1, 0], [.5, 0]]
    # masked with 0: channel 0 is [[.5, 2], [0, .5]], channel 1 [[1, 0], [0, 0]]; class 0 scores .5 + .5 - 1 = 0
    # masked with 1: channel 0 is [[1, 0], [0, 0]], channel 1 [[2, 0], [.5, 0]]; class 0 scores 1 - 2 = -1
    first = 1 / (1 + np.exp(-1))
    expected = first * np.array(CELLS[0]) + (1 - first) * np.array(CELLS[1])
    found = maps_of(hand_net(), "0", torch.tensor([CELLS]), [0], ScoreCAM())
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


def test_with_top_1_the_channel_that_varies_most_is_the_map():
    # variances are .5 and .6875
    found = maps_of(hand_net(), "0", torch.tensor([CELLS]), [0], ScoreCAM(top_k=1))
    assert found[0].tolist() == CELLS[1]


def test_chance_weighs_each_channel_of_each_picture_from_the_seed_and_its_row():
    images = torch.tensor([CELLS, CELLS])
    found = maps_of(hand_net(), "0", images, [0, 1], RandomCAM(seed=5))
    weights = [np.random.default_rng((5, row)).uniform(-1, 1, 2) for row in (0, 1)]
    expected = np.stack([w[0] * np.array(CELLS[0]) + w[1] * np.array(CELLS[1]) for w in weights])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found, maps_of(hand_net(), "0", images, [0, 1], RandomCAM(seed=6)))
    torch.testing.assert_close(found, maps_of(hand_net(), "0", images, [1, 0], RandomCAM(seed=5), chunk_size=1))


# --- slow loops


@pytest.mark.parametrize("flat_side", [None, 4])
@pytest.mark.parametrize("layer", ["stem", "stage", "relu"])
def test_ablation_equals_a_slow_loop_of_whole_forwards(flat_side, layer):
    net, images, classes = ConvNet(flat_side=flat_side).eval(), pictures(4), [0, 2, 1, 0]
    expected = slow_ablation(net, net.get_submodule(layer), images, classes)
    assert expected.abs().max() > 1e-2
    found = maps_of(net, layer, images, classes, AblationCAM())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("top_k", [None, 3, 100])
def test_score_cam_equals_a_slow_loop_over_channels(top_k):
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(3), [0, 2, 1]
    activation = activation_of(net, net.relu, images)
    if top_k == 3:  # the loop gets these channels alone
        best = activation.flatten(2).var(2).topk(3).indices
        activation = activation[torch.arange(3)[:, None], best]
    expected = slow_score_cam(net, activation, images, classes)
    found = maps_of(net, "relu", images, classes, ScoreCAM(top_k=top_k))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_dead_channels_share_one_forward_and_the_map_is_the_same():
    net, images = ConvNet(flat_side=4).eval(), pictures(1)
    with torch.no_grad():
        net.stage[1].weight[:5] = 0.0
        net.stage[1].bias[:5] = torch.tensor([0.0, 0.0, -1.0, 0.3, 0.7])  # the last two: constant above 0
    activation = activation_of(net, net.relu, images)
    assert (activation.flatten(2).std(2) == 0).sum() == 5
    expected = slow_score_cam(net, activation, images, [1])
    counted = forwards_of(net)
    found = maps_of(net, "relu", images, [1], ScoreCAM())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert counted[-1] == 3 + 1  # in one batch: channels that live, and black


def test_channels_of_zeros_are_not_run_in_ablation():
    net, images = ConvNet().eval(), pictures(1)
    with torch.no_grad():
        net.stage[1].weight[:5] = 0.0
        net.stage[1].bias[:5] = -1.0
    counted = forwards_of(net.head)
    found = maps_of(net, "relu", images, [1], AblationCAM())
    assert counted[-1] == 3 + 1  # channels that live, and the whole
    torch.testing.assert_close(found, slow_ablation(net, net.relu, images, [1]), atol=1e-6, rtol=1e-5)


def test_a_channel_that_the_head_ignores_falls_by_exactly_nothing():
    net, images = ConvNet(flat_side=4).eval(), pictures(2)
    with torch.no_grad():
        net.head[1].weight[:, 16:] = 0.0  # all channels but the first, of 16 cells each
    only = maps_of(net, "relu", images, [0, 1], AblationCAM())
    first = activation_of(net, net.relu, images)[:, 0]
    ratio = only[first > 0] / first[first > 0]
    assert (only[first == 0] == 0).all()
    assert len(ratio.unique().round(decimals=4).unique()) <= 2  # one weight for each picture


def test_batches_of_channels_change_nothing(monkeypatch):
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(3), [0, 2, 1]
    whole = [maps_of(net, "relu", images, classes, worker) for worker in (AblationCAM(), ScoreCAM())]
    monkeypatch.setattr("camdebug.cam.methods.tail.MOST_ELEMENTS", 400)
    monkeypatch.setattr("camdebug.cam.methods.perturbation.MOST_PIXELS", 2000)
    counted = forwards_of(net)
    for worker, expected in zip((AblationCAM(), ScoreCAM()), whole, strict=True):
        torch.testing.assert_close(maps_of(net, "relu", images, classes, worker), expected, atol=1e-5, rtol=1e-5)
    assert max(counted[-20:]) <= 5


@pytest.mark.parametrize("worker", [AblationCAM(), ScoreCAM(), RandomCAM()], ids=lambda w: w.name)
def test_how_pictures_are_split_into_chunks_changes_nothing(worker):
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(11), [0, 2, 1, 0, 0, 1, 2, 2, 1, 0, 1]
    whole = maps_of(net, "relu", images, classes, worker)
    for size in (1, 2, 5):
        found = maps_of(net, "relu", images, classes, worker, chunk_size=size)
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


# --- layouts, axes and number formats


class Grid(nn.Module):
    """Gives what a convolution gives in another layout; a class token of the mean stands before tokens."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "NHWC":
            return x.movedim(1, -1)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        return tokens if self.kind == "tokens" else (tokens.transpose(0, 1), None)


class LaidOut(nn.Module):
    def __init__(self, kind):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.grid = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.ReLU()), Grid(kind)
            self.head = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
        self(pictures(1))

    def forward(self, x):
        x = self.grid(self.stem(x))
        return self.head(x[0].transpose(0, 1) if isinstance(x, tuple) else x)


LAYOUTS = {
    "NHWC": Layout("NHWC", (4, 4)),
    "tokens": Layout("tokens", (4, 4), first=1),
    "tokens second, in a tuple": Layout("tokens", (4, 4), first=1, batch_axis=1),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [1, 3])
def test_in_every_layout_a_channel_is_taken_from_the_cells_and_the_class_token_stays(name, size):
    net, images, classes, layout = LaidOut(name).eval(), pictures(3), [0, 2, 1], LAYOUTS[name]
    target = TargetLayer(net.grid, "grid", layout, "test")
    cells = activation_of(net, net.stem, images)
    with torch.no_grad():
        before = net(images)

    def scores_of(cells_now):
        def put(_m, _i, out):
            raw = out[0].transpose(0, 1) if isinstance(out, tuple) else out
            raw = raw.clone()
            if layout.kind == "NHWC":
                raw[:] = cells_now.movedim(1, -1)
            else:
                raw[:, 1:] = cells_now.flatten(2).transpose(1, 2)
            return (raw.transpose(0, 1), None) if isinstance(out, tuple) else raw

        handle = net.grid.register_forward_hook(put)
        with torch.no_grad():
            scores = net(images)
        handle.remove()
        return scores

    expected = 0
    for channel in range(6):
        without = cells.clone()
        without[:, channel] = 0
        fall = (before - scores_of(without))[range(3), classes]
        expected = expected + fall[:, None, None] * cells[:, channel]
    assert expected.abs().max() > 1e-3
    found = maps_of(net, target, images, classes, AblationCAM(), chunk_size=size)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    found = maps_of(net, target, images, classes, ScoreCAM(), chunk_size=size)
    torch.testing.assert_close(found, slow_score_cam(net, cells, images, classes), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes_have_maps_too(axes):
    conv, pool = (nn.Conv1d, nn.AdaptiveAvgPool1d) if axes == 1 else (nn.Conv3d, nn.AdaptiveAvgPool3d)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(conv(2, 5, 3, 2, 1), nn.ReLU(), pool(2), nn.Flatten(), nn.Linear(5 * 2**axes, 3)).eval()
    images = torch.rand(2, 2, *[8] * axes, generator=torch.Generator().manual_seed(0))
    target = TargetLayer(net[1], "1", Layout("NCHW", (4,) * axes), "test")
    expected = slow_ablation(net, net[1], images, [0, 2])
    assert expected.shape == (2, *[4] * axes)
    torch.testing.assert_close(maps_of(net, target, images, [0, 2], AblationCAM()), expected, atol=1e-6, rtol=1e-4)
    expected = slow_score_cam(net, activation_of(net, net[1], images), images, [0, 2])
    torch.testing.assert_close(maps_of(net, target, images, [0, 2], ScoreCAM()), expected, atol=1e-6, rtol=1e-4)


def test_score_cam_refuses_cells_that_have_fewer_axes_than_the_picture():
    net = nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 1), nn.Flatten(), nn.LazyLinear(2)).eval()
    net(pictures(1))
    target = TargetLayer(net[1], "1", Layout("NCHW", (256,)), "test")
    with pytest.raises(ValueError, match=r"method: scorecam expected a target layer with 2 axes of cells.*\(256,\)"):
        maps_of(net, target, pictures(1), [0], ScoreCAM())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("worker", [AblationCAM(), ScoreCAM(), RandomCAM()], ids=lambda w: w.name)
def test_other_number_formats_give_the_same_maps_as_nearly_as_they_can(worker, dtype, tolerance):
    images, classes = pictures(3), [0, 2, 1]
    expected = maps_of(ConvNet(flat_side=4).eval(), "relu", images, classes, worker)
    found = maps_of(ConvNet(flat_side=4).eval().to(dtype), "relu", images, classes, worker)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("worker", [AblationCAM(), ScoreCAM(), RandomCAM()], ids=lambda w: w.name)
def test_a_frozen_model_in_training_mode_is_left_as_it_was(worker):
    net = ConvNet(flat_side=4).train().requires_grad_(False)
    net.head[1].weight.requires_grad_(True)
    net.head[1].weight.grad = torch.full_like(net.head[1].weight, 3.0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in net.named_modules()}
    state, random = torch.get_rng_state(), np.random.get_state()[1].copy()
    maps_of(net, "relu", pictures(), [0, 1, 2], worker)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert (net.head[1].weight.grad == 3).all()
    assert all(p.grad is None for p in net.parameters() if p is not net.head[1].weight)
    assert attributes == {name: set(vars(module)) for name, module in net.named_modules()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(module.training for module in net.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert (random == np.random.get_state()[1]).all()


@pytest.mark.parametrize("worker", [AblationCAM(), ScoreCAM(), ScoreCAM(top_k=4), RandomCAM(seed=3)])
def test_methods_travel_to_other_processes(worker):
    assert pickle.loads(pickle.dumps(worker)) == worker
    assert worker.layered is True


def test_names_tell_methods_apart():
    names = [worker.name for worker in (AblationCAM(), ScoreCAM(), ScoreCAM(top_k=4), RandomCAM())]
    assert names == ["ablationcam", "scorecam", "scorecam-top4", "randomcam"]


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "all"])
def test_a_wrong_number_of_channels_is_refused(wrong):
    with pytest.raises(ValueError, match="top_k: expected a whole number above 0, or None, got"):
        ScoreCAM(top_k=wrong)


@pytest.mark.parametrize("wrong", [-1, 2.0, True, None])
def test_a_wrong_seed_is_refused(wrong):
    with pytest.raises(ValueError, match="seed: expected a whole number from 0, got"):
        RandomCAM(seed=wrong)


class Narrow(nn.Module):
    """Many channels, and memory for so many pictures at once."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stage, self.head = nn.Conv2d(3, 24, 3, 4, 1), nn.Linear(24, 3)

    def forward(self, x):
        cells = self.stage(x)
        if len(cells) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.head(cells.relu().mean((2, 3)))


@pytest.mark.parametrize("worker", [AblationCAM(), ScoreCAM()], ids=lambda worker: worker.name)
def test_forwards_shrink_with_the_chunk_so_that_halving_it_helps_when_memory_runs_out(worker, monkeypatch):
    model, images = Narrow(8).eval(), pictures(3)
    expected = maps_of(Narrow(99).eval(), "stage", images, [0, 1, 2], worker)
    found = maps_of(model, "stage", images, [0, 1, 2], worker, chunk_size=1)
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 1e-4
    with pytest.raises(torch.OutOfMemoryError):
        maps_of(model, "stage", images, [0, 1, 2], worker, chunk_size=2)
    monkeypatch.setattr("camdebug.cam.methods.perturbation.ROWS_FOR_EACH", 99)
    with pytest.raises(torch.OutOfMemoryError):
        maps_of(model, "stage", images, [0, 1, 2], worker, chunk_size=1)
