"""grad-cam as the reference: it scales its maps per layer and once more after averaging over layers, so we do both."""

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from tiny_nets import ConvNet, graph_of, pictures, slow_map
from torch import nn

from camdebug.cam.engine import compute_cams

REFERENCES = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
}
CLASSES = [3, 0]


def network(name):
    """Random weights, and BatchNorm statistics of the pictures: without them MobileNet's maps are numerical noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(pictures(4, (64, 64), seed=2))
    return model.eval()


def scaled_as_grad_cam_does(maps, size):
    return scale_cam_image(scale_cam_image(maps, size))


def grad_cam(method, model, layer, images, classes):
    with REFERENCES[method](model=model, target_layers=[layer]) as cam:
        return cam(input_tensor=images, targets=[ClassifierOutputTarget(k) for k in classes])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("vgg11_bn", "features"),
        ("mobilenet_v3_small", "features"),
        ("convnext_tiny", "features"),
    ],
)
def test_five_methods_from_one_pass_equal_grad_cams_own_results(name, layer):
    model, images = network(name), pictures(2, (96, 64), seed=3)
    found = compute_cams(model, images, CLASSES, method=tuple(REFERENCES))
    for method, heat in found.items():
        assert heat.layer == layer
        assert heat.grid == (3, 2)
        assert heat.maps.max() > 1e-3, f"{method} of {name} is too faint to compare"
        ours = scaled_as_grad_cam_does(heat.maps.numpy(), (64, 96))
        theirs = grad_cam(method, model, model.get_submodule(layer), images, CLASSES)
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0, err_msg=method)


# HiResCAM and LayerCAM multiply the lost cells by a gradient of 0, so they are spared.
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "xgradcam"])
def test_behind_an_in_place_relu_grad_cams_activation_is_overwritten_and_ours_is_the_papers(method):
    net, images, classes = ConvNet(flat_side=4).eval(), pictures(), [0, 1, 2]
    activation, gradient = graph_of(net, net.stage, images, classes)
    assert (activation < -0.1).any(), "the net must have something for the ReLU to overwrite"
    papers = np.stack([slow_map(method, a, g) for a, g in zip(activation, gradient, strict=True)]).astype(np.float32)
    overwritten = np.stack(
        [slow_map(method, np.maximum(a, 0), g) for a, g in zip(activation, gradient, strict=True)]
    ).astype(np.float32)
    expected, wrong = (scaled_as_grad_cam_does(maps, (16, 16)) for maps in (papers, overwritten))

    heat = compute_cams(net, images, classes, method=method, target_layer="stage")
    np.testing.assert_allclose(scaled_as_grad_cam_does(heat.maps.numpy(), (16, 16)), expected, atol=1e-4, rtol=0)

    theirs = grad_cam(method, net, net.stage, images, classes)
    np.testing.assert_allclose(theirs, wrong, atol=1e-4, rtol=0)
    assert np.abs(theirs - expected).max() > 0.05
