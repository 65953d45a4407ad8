"""Ablation-CAM and Score-CAM beside grad-cam and torch-cam, and where these differ from the papers."""

import contextlib
import os

import numpy as np
import pytest
import torch
from pytorch_grad_cam import AblationCAM as PeerAblationCAM
from pytorch_grad_cam import ScoreCAM as PeerScoreCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from reference_nets import network
from tiny_nets import ConvNet, pictures
from torch import nn
from torchcam.methods import ScoreCAM as TorchScoreCAM

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.perturbation import AblationCAM, ScoreCAM
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layer

SIZE, CLASSES = (64, 48), [3, 0]
FAMILIES = {
    "resnet18": "layer1",
    "squeezenet1_1": "features.3.squeeze_activation",
    "regnet_y_400mf": "stem.2",
    "shufflenet_v2_x0_5": "conv1.2",
    "mobilenet_v3_small": "features.2.block.0",
    "mnasnet0_5": "layers.2",
}


def positive(name):
    """Scores above 0."""
    model = network(name)
    with torch.no_grad():
        [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1].bias.fill_(20.0)
    return model


def ours(model, layer, images, classes, worker):
    with borrowed(model):
        subject = ModelUse().on(model)
        lens = Lens(subject, (find_target_layer(subject, images, layer),), 32)
        found = explain(lens, images, [torch.tensor(classes)], [worker], MapOptions(sign="signed"))
    return found[0][worker.name].maps.numpy()


def scaled(maps, images):
    """As grad-cam does: per layer, and once more after averaging over layers."""
    size = tuple(images.shape[:1:-1])
    return scale_cam_image(scale_cam_image(np.maximum(maps, 0), size))


def grad_cam(kind, model, layer, images, classes):
    targets = [ClassifierOutputTarget(k) for k in classes]
    with quiet(), kind(model=model, target_layers=[model.get_submodule(layer)]) as cam:
        return cam(input_tensor=images, targets=targets)


@contextlib.contextmanager
def quiet():
    """grad-cam draws a bar for every picture."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), torch.no_grad():
        yield


@pytest.mark.parametrize("name", FAMILIES)
def test_ablation_equals_grad_cam_behind_a_relu_where_scores_are_positive(name):
    model, layer, images = positive(name), FAMILIES[name], pictures(2, SIZE, seed=3)
    with torch.no_grad():
        assert (model(images) > 0).all()
    maps = ours(model, layer, images, CLASSES, AblationCAM())
    assert maps.max() > 1e-4
    theirs = grad_cam(PeerAblationCAM, model, layer, images, CLASSES)
    np.testing.assert_allclose(scaled(maps, images), theirs, atol=1e-4, rtol=0)


def test_for_negative_scores_grad_cam_turns_the_map_round_and_ours_stays():
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(), [0, 1, 2]
    with torch.no_grad():
        net.head[-1].bias.fill_(20.0)
    positive = ours(net, "relu", images, classes, AblationCAM())
    np.testing.assert_allclose(
        scaled(positive, images), grad_cam(PeerAblationCAM, net, "relu", images, classes), atol=1e-4
    )
    with torch.no_grad():
        net.head[-1].bias.fill_(-20.0)  # each fall is what it was
        assert (net(images) < 0).all()
    negative = ours(net, "relu", images, classes, AblationCAM())
    np.testing.assert_allclose(negative, positive, atol=1e-4)
    theirs = grad_cam(PeerAblationCAM, net, "relu", images, classes)
    np.testing.assert_allclose(theirs, scaled(-positive, images), atol=1e-4)
    assert np.abs(theirs - scaled(positive, images)).max() > 0.5


def test_where_activations_are_negative_grad_cam_puts_ten_million_in_and_we_put_zero():
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(), [0, 1, 2]
    with torch.no_grad():
        net.head[-1].bias.fill_(20.0)
    net.relu = nn.Identity()
    activation, before = _run(net, images, lambda out: out)
    assert activation.min() < 0

    def falls(value):
        found = []
        for channel in range(8):

            def change(out, channel=channel):
                # their minimum is over the whole of one picture's copies, these pictures are alike in that
                out[:, channel] = value if value == 0 else out.flatten(1).amin(1)[:, None, None] + value
                return out

            found.append((before - _run(net, images, change)[1])[range(3), classes])
        return torch.stack(found, 1)

    right, theirs = (torch.einsum("nc,nchw->nhw", falls(value), activation).numpy() for value in (0, -1e7))
    np.testing.assert_allclose(ours(net, "stage", images, classes, AblationCAM()), right, atol=1e-4)
    reference = grad_cam(PeerAblationCAM, net, "stage", images, classes)
    np.testing.assert_allclose(reference, scaled(theirs, images), atol=1e-3)
    assert np.abs(reference - scaled(right, images)).max() > 0.1


def _run(net, images, change):
    seen = []
    handle = net.stage.register_forward_hook(lambda _m, _i, out: seen.append(out.clone()) or change(out.clone()))
    with torch.no_grad():
        scores = net(images)
    handle.remove()
    return seen[0], scores


class CellsAtCentres(nn.Upsample):
    """grad-cam takes the outer cells for the corners of the picture; with this it takes them for their cells."""

    def __init__(self, size):
        super().__init__(size=tuple(size), mode="bilinear", align_corners=False)


class ScaledLast(TorchScoreCAM):
    """torch-cam scales masks before it upsamples them; with this it does so once more afterwards."""

    def _upsample(self, activation):
        return self._normalize(super()._upsample(activation), 2)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_score_cam_equals_both_peers_once_they_make_masks_as_the_paper_does(name, monkeypatch):
    layer = {"resnet18": "layer1", "squeezenet1_1": "features.4", "shufflenet_v2_x0_5": "stage2"}[name]
    model, images = positive(name), pictures(2, SIZE, seed=3)
    maps = ours(model, layer, images, CLASSES, ScoreCAM())
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", CellsAtCentres)
    theirs = grad_cam(PeerScoreCAM, model, layer, images, CLASSES)
    np.testing.assert_allclose(scaled(maps, images), theirs, atol=1e-4, rtol=0)
    _assert_equals_torch_cam(maps, ScaledLast, model, layer, images)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer1"),
        ("squeezenet1_1", "features.4"),
        ("shufflenet_v2_x0_5", "stage2"),
        ("mobilenet_v3_small", "features.2"),
        ("mnasnet0_5", "layers.8"),
        ("regnet_y_400mf", "stem"),
    ],
)
def test_score_cam_with_its_corners_equals_grad_cams_as_it_is(name, layer):
    model, images = positive(name), pictures(2, SIZE, seed=3)
    maps = ours(model, layer, images, CLASSES, ScoreCAM(align_corners=True))
    theirs = grad_cam(PeerScoreCAM, model, layer, images, CLASSES)
    np.testing.assert_allclose(scaled(maps, images), theirs, atol=1e-4, rtol=0)
    centred = ours(model, layer, images, CLASSES, ScoreCAM())
    assert np.abs(scaled(centred, images) - theirs).max() > 1e-3


def test_score_cam_equals_both_peers_as_they_are_where_no_mask_is_upsampled():
    net = ConvNet(flat_side=16).eval()
    net.stem[0].stride = net.stage[0].stride = (1, 1)
    images = pictures(2)
    maps = ours(net, "relu", images, [2, 0], ScoreCAM())
    assert maps.shape == (2, 16, 16)
    theirs = grad_cam(PeerScoreCAM, net, "relu", images, [2, 0])
    np.testing.assert_allclose(scaled(maps, images), theirs, atol=1e-4, rtol=0)
    _assert_equals_torch_cam(maps, TorchScoreCAM, net, "relu", images, [2, 0])


def _assert_equals_torch_cam(maps, kind, model, layer, images, classes=CLASSES):
    with kind(model, model.get_submodule(layer), input_shape=images.shape[1:]) as cam:
        with torch.no_grad():
            scores = model(images)
        theirs = cam(classes, scores)[0].numpy()
    low, high = maps.clip(0).min((1, 2), keepdims=True), maps.clip(0).max((1, 2), keepdims=True)
    np.testing.assert_allclose((maps.clip(0) - low) / (high - low), theirs, atol=1e-4, rtol=0)
