"""grad-cam as the reference: it scales its maps per layer and once more after averaging over layers, so we do both."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import (
    FEM,
    KPCA_CAM,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    SegEigenCAM,
    XGradCAM,
)
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from reference_nets import network, scaled_as_grad_cam_does
from tiny_nets import ConvNet, graph_of, pictures, slow_map

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.methods.one_pass import ONE_PASS
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.passes import run_pass
from camdebug.cam.target.search import find_target_layers

REFERENCES = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "gradcam-elementwise": GradCAMElementWise,
    "seg-eigencam": SegEigenCAM,
}
# Their sign is arbitrary in grad-cam.
EIGEN = {"eigencam": EigenCAM, "eigengradcam": EigenGradCAM}
SMOOTHED = {name: cam for name, cam in REFERENCES.items() if name != "seg-eigencam"}
CLASSES = [3, 0]


def lean(name):
    """With gradients of one parameter, which grad-cam needs; those of all take it seconds."""
    model = network(name).requires_grad_(False)
    next(model.parameters()).requires_grad_(True)
    return model


def grad_cam(cam_class, model, layer, images, classes, *, own_copy=False, eigen_smooth=False, **options):
    """grad-cam's result; with ``own_copy`` the model goes on with a copy, so that it cannot overwrite what is kept."""
    with cam_class(model=model, target_layers=[layer], **options) as cam:
        handle = layer.register_forward_hook(lambda _module, _inputs, output: output.clone() if own_copy else None)
        targets = [ClassifierOutputTarget(k) for k in classes]
        found = cam(input_tensor=images, targets=targets, eigen_smooth=eigen_smooth)
        handle.remove()
    return found


def seen(model, images, classes):
    """Layer, activation and gradient that one pass sees at the layer found by itself."""
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images)
        scores = [lambda found, rows: found.of(torch.tensor(classes)[rows])]
        (chunk,) = run_pass(subject, layers, images, scores, rows=[slice(0, len(images))])
    return layers[0].module, chunk.view.activation, chunk.view.gradients[0]


def signs_of(signed, theirs, size):
    """For each picture the sign with which our map is grad-cam's after its scaling, within 1e-4."""
    either = [scaled_as_grad_cam_does(np.maximum(sign * signed, 0), size) for sign in (1, -1)]
    off = np.array([[np.abs(one - its).max() for one, its in zip(maps, theirs, strict=True)] for maps in either])
    assert off.min(0).max() < 1e-4, off
    return 1 - 2 * off.argmin(0)


FAMILIES = {
    "resnet18": "layer4",
    "vgg11_bn": "features",
    "mobilenet_v3_small": "features",
    "convnext_tiny": "features",
    "densenet121": "features",
    "efficientnet_b0": "features",
    "regnet_y_400mf": "trunk_output",
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """Name, model, pictures, and what one pass sees."""
    model, images = lean(request.param), pictures(2, (96, 64), seed=3)
    return request.param, model, images, *seen(model, images, CLASSES)


def test_methods_from_one_pass_equal_grad_cams_own_results_in_seven_families(family):
    name, model, images, layer, *_ = family
    found = compute_cams(model, images, CLASSES, method=tuple(REFERENCES))
    assert layer is model.get_submodule(FAMILIES[name])
    for method, heat in found.items():
        assert heat.layer == FAMILIES[name]
        assert heat.grid == (3, 2)
        assert heat.maps.max() > 1e-3, f"{method} of {name} is too faint to compare"
        ours = scaled_as_grad_cam_does(heat.maps.numpy(), (64, 96))
        theirs = grad_cam(REFERENCES[method], model, layer, images, CLASSES, own_copy=True)
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0, err_msg=method)


def test_eigen_methods_equal_grad_cams_up_to_its_arbitrary_sign_in_seven_families(family):
    _, model, images, layer, activation, gradient = family
    for method, cam_class in EIGEN.items():
        signed = ONE_PASS[method].signed_map(activation, gradient).numpy()
        signs_of(signed, grad_cam(cam_class, model, layer, images, CLASSES, own_copy=True), (64, 96))


def test_kpca_cam_equals_grad_cams_with_the_gamma_of_the_pictures_scale_in_seven_families(family):
    _, model, images, layer, activation, gradient = family
    signed = ONE_PASS["kpca-cam"].signed_map(activation, gradient).numpy()
    points = activation.flatten(2) - activation.flatten(2).mean(2, keepdim=True)
    for i, gamma in enumerate(1 / points.square().sum(1).mean(1)):
        one = slice(i, i + 1)
        theirs = grad_cam(KPCA_CAM, model, layer, images[one], CLASSES[one], own_copy=True, gamma=gamma.item())
        signs_of(signed[one], theirs, (64, 96))


def test_fem_is_the_papers_in_seven_families_while_grad_cam_weights_activations_by_how_many_stand_out(family):
    # The paper: the channel's mean times what stands out. grad-cam: the share of what stands out times the activation.
    _, model, images, layer, activation, gradient = family
    a = activation.numpy()
    mean, sigma = a.mean((2, 3), keepdims=True), a.std((2, 3), keepdims=True)
    above = a > mean + 2 * sigma
    paper, other = (mean * above).sum(1), (above.mean((2, 3), keepdims=True) * a).sum(1)
    assert paper.max() > 1e-3
    ours = ONE_PASS["fem"].signed_map(activation, gradient).numpy()
    np.testing.assert_allclose(ours, paper, atol=1e-5 * paper.max(), rtol=0)
    theirs = grad_cam(FEM, model, layer, images, CLASSES, own_copy=True)
    np.testing.assert_allclose(theirs, scaled_as_grad_cam_does(np.maximum(other, 0), (64, 96)), atol=1e-4, rtol=0)
    assert np.abs(theirs - scaled_as_grad_cam_does(np.maximum(paper, 0), (64, 96))).max() > 0.05


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("method", SMOOTHED)
def test_eigen_smoothing_equals_grad_cams_up_to_its_arbitrary_sign(method, name, capsys):
    model, images = lean(name), pictures(2, (96, 64), seed=3)
    layer, activation, gradient = seen(model, images, CLASSES)
    signed = ONE_PASS[method].signed_map(activation, gradient, eigen_smooth=True).numpy()
    signs_of(signed, grad_cam(SMOOTHED[method], model, layer, images, CLASSES, eigen_smooth=True), (64, 96))
    capsys.readouterr()  # HiResCAM prints


@pytest.mark.parametrize("method", EIGEN)
def test_eigen_maps_are_hot_where_there_is_more_while_grad_cams_of_some_pictures_are_hot_where_there_is_less(method):
    model, images = lean("mobilenet_v3_small"), pictures(12, (96, 96), seed=5)
    layer, activation, gradient = seen(model, images, [0] * 12)
    signed = ONE_PASS[method].signed_map(activation, gradient)
    there = activation.abs().sum(1) if method == "eigencam" else (activation * gradient).sum(1)
    hot, cold = ((there * side.relu()).sum((1, 2)) / side.relu().sum((1, 2)) for side in (signed, -signed))
    assert (hot > cold).all()
    signs = signs_of(signed.numpy(), grad_cam(EIGEN[method], model, layer, images, [0] * 12), (96, 96))
    assert set(signs.tolist()) == {1, -1}, "grad-cam inverts none of them, or all"


def test_of_a_densenet_grad_cam_keeps_what_an_in_place_relu_left_and_ours_is_what_the_layer_gave():
    model, images = lean("densenet121"), pictures(2, (96, 64), seed=3)
    layer, activation, gradient = seen(model, images, CLASSES)
    assert (activation < -0.1).any()
    for method in ("gradcam", "xgradcam", "eigencam"):
        cam_class = (REFERENCES | EIGEN)[method]
        overwritten = ONE_PASS[method].signed_map(activation.relu(), gradient).numpy()
        ours = ONE_PASS[method].signed_map(activation, gradient).numpy()
        theirs = grad_cam(cam_class, model, layer, images, CLASSES)
        signs_of(overwritten, theirs, (64, 96))
        with pytest.raises(AssertionError):
            signs_of(ours, theirs, (64, 96))


def test_min_max_scaling_hides_that_a_map_is_faint_and_ours_is_in_units_of_the_score():
    model, images = lean("resnet18"), pictures(2, (96, 64), seed=3)
    before = compute_cams(model, images, CLASSES, method="gradcam-elementwise").maps
    theirs_before = grad_cam(GradCAMElementWise, model, model.layer4, images, CLASSES)
    with torch.no_grad():
        model.fc.weight.mul_(2.0**-6)
    torch.testing.assert_close(compute_cams(model, images, CLASSES, method="gradcam-elementwise").maps, before * 2**-6)
    theirs = grad_cam(GradCAMElementWise, model, model.layer4, images, CLASSES)
    np.testing.assert_allclose(theirs, theirs_before, atol=1e-3, rtol=0)


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

    theirs = grad_cam(REFERENCES[method], net, net.stage, images, classes)
    np.testing.assert_allclose(theirs, wrong, atol=1e-4, rtol=0)
    assert np.abs(theirs - expected).max() > 0.05
