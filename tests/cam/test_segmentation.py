"""Scores of pictures from maps of scores: hand-computed, on torchvision's and Hugging Face's nets, beside grad-cam."""

import pickle
import re

import numpy as np
import pytest
import torch
import torchvision
from hand_made_lens import maps_of
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from tiny_nets import pictures
from torch import nn

from camdebug.cam.model.reading import OutputReader
from camdebug.cam.model.segmentation import RegionScore, region_score

READ = OutputReader()

# Three classes on 2x2 pixels: class 0 wins the first two, class 1 the last two (of equals the first), class 2 none.
MAPS = torch.tensor([[[[4.0, 2.0], [1.0, 0.0]], [[0.0, 1.0], [3.0, 5.0]], [[-1.0, -3.0], [3.0, -3.0]]]])
CLASSES = torch.tensor([0, 2])


# --- values by hand


@pytest.mark.parametrize("output", [MAPS, {"out": MAPS, "aux": -MAPS}, (MAPS, -MAPS), MAPS[:, :, None]])
def test_the_score_of_a_class_is_its_mean_over_the_pixels_it_wins_and_over_all_where_it_wins_none(output):
    found = READ(output)
    assert found.table.tolist() == [[3.0, 4.0, -1.0]]
    assert found.link == "softmax"
    assert found.predicted.tolist() == [1]


def test_the_gradient_of_a_mean_lies_on_its_pixels_alone():
    expected = {0: [[0.5, 0.5], [0, 0]], 1: [[0, 0], [0.5, 0.5]], 2: [[0.25, 0.25], [0.25, 0.25]]}
    for class_idx, pixels in expected.items():
        maps = MAPS.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(READ(maps).of(torch.tensor([class_idx])).sum(), maps)
        assert gradient[0, class_idx].tolist() == pixels
        assert gradient.abs().sum() == 1.0


def test_each_picture_has_pixels_of_its_own():
    both = torch.cat([MAPS, MAPS.flip(1)])
    assert torch.equal(READ(both).table, torch.cat([READ(MAPS).table, READ(MAPS.flip(1)).table]))


def test_with_several_labels_a_class_wins_the_pixels_where_its_own_score_is_above_zero():
    found = OutputReader(task="multilabel")(MAPS)
    assert found.link == "sigmoid"
    assert found.table.tolist() == [[pytest.approx(7 / 3), 3.0, 3.0]]
    assert OutputReader(task="multilabel")(-MAPS.abs()).table.tolist() == [[-1.75, -2.25, -2.5]]


def test_a_binary_map_becomes_two_maps_with_opposite_signs():
    z = torch.tensor([[[[2.0, 4.0], [-1.0, 0.0]]]], requires_grad=True)
    found = READ({"out": z})
    assert found.table.tolist() == [[1.0, 3.0]]
    assert found.link == "sigmoid"
    (for_it,) = torch.autograd.grad(found.of(torch.tensor([1])).sum(), z, retain_graph=True)
    (against,) = torch.autograd.grad(found.of(torch.tensor([0])).sum(), z)
    assert for_it.tolist() == [[[[0.5, 0.5], [0, 0]]]]
    assert against.tolist() == [[[[0, 0], [-1.0, 0]]]]
    with pytest.raises(ValueError, match=r"task: 'multiclass' needs .* got one output .*, shape \(1, 1, 2, 2\)"):
        OutputReader(task="multiclass")(z)


def test_pixels_that_are_no_number_spoil_the_classes_they_belong_to_and_no_other_picture():
    maps = torch.cat([MAPS, MAPS])
    maps[0, 0, 0, 0] = torch.nan
    table = READ(maps).table
    assert table[1].tolist() == [3.0, 4.0, -1.0]
    assert table[0, 0].isnan()
    assert table[0, 1].tolist() == 4.0


# --- regions

LEFT = torch.tensor([[True, False], [True, False]])


@pytest.mark.parametrize("mask", [LEFT, LEFT[None], LEFT.float() * 0.3, LEFT.to(torch.uint8) * 255])
def test_the_score_of_a_region_is_the_mean_in_it(mask):
    maps = torch.cat([MAPS, MAPS * 2]).requires_grad_()
    score = RegionScore(mask)({"out": maps}, torch.tensor([1, 0]))
    assert score.tolist() == [1.5, 5.0]
    (gradient,) = torch.autograd.grad(score.sum(), maps)
    assert gradient[0, 1].tolist() == gradient[1, 0].tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert gradient.sum() == 2.0


def test_regions_may_differ_where_all_pictures_go_in_one_forward():
    region = RegionScore(torch.stack([LEFT, ~LEFT]))
    assert region(torch.cat([MAPS, MAPS]), torch.tensor([1, 1])).tolist() == [1.5, 3.0]
    words = r"mask: expected one for all pictures, or one for each of the 3 pictures of this forward, got 2"
    with pytest.raises(ValueError, match=words):
        region(torch.cat([MAPS] * 3), torch.tensor([1, 1, 1]))


def test_regions_that_come_with_the_pictures_are_taken_from_the_output():
    output = {"out": torch.cat([MAPS, MAPS]), "mask": torch.stack([LEFT, ~LEFT])}
    reader = OutputReader(score_fn=lambda o, k: region_score(o["out"], k, o["mask"]))
    found = reader(output)
    assert found.of(torch.tensor([1, 1])).tolist() == [1.5, 3.0]
    assert found.table.tolist() == [[3.0, 4.0, -1.0]] * 2
    counted = OutputReader(score_fn=reader.score_fn, num_classes=3)(output).table
    assert counted.tolist() == [[2.5, 1.5, 1.0], [1.0, 3.0, -3.0]]


def test_a_region_of_a_binary_map_has_both_signs():
    z = torch.tensor([[[[2.0, 4.0], [-1.0, 0.0]]]])
    assert RegionScore(LEFT)(z, torch.tensor([1])).tolist() == [0.5]
    assert RegionScore(LEFT)(z, torch.tensor([0])).tolist() == [-0.5]


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (LEFT.numpy(), TypeError, r"mask: expected a tensor \(H, W\), got ndarray"),
        (LEFT[0], ValueError, r"mask: expected a shape \(H, W\) or \(N, H, W\), got \(2,\)"),
        (LEFT & ~LEFT, ValueError, "mask: expected a region with at least one pixel, got an empty one"),
        (torch.stack([LEFT, LEFT & ~LEFT]), ValueError, "mask: expected a region with at least one pixel"),
    ],
)
def test_a_mask_that_is_none_is_refused_at_once(mask, error, words):
    with pytest.raises(error, match=words):
        RegionScore(mask)


def test_a_region_must_fit_the_maps_and_there_must_be_some():
    with pytest.raises(ValueError, match=r"mask: expected the size of .* maps of scores, \(2, 2\), got \(4, 4\)"):
        RegionScore(torch.ones(4, 4))(MAPS, torch.tensor([0]))
    words = r"score_fn: a region needs maps of scores \(N, K, H, W\) from the model, got dict\(logits: shape \(1, 3\)\)"
    with pytest.raises(TypeError, match=words):
        RegionScore(LEFT)({"logits": MAPS[:, :, 0, 0]}, torch.tensor([0]))


def test_a_region_can_be_sent_to_another_process():
    sent = pickle.loads(pickle.dumps(OutputReader(score_fn=RegionScore(LEFT))))
    assert sent(MAPS).of(torch.tensor([1])).tolist() == [1.5]


# --- nets of torchvision and Hugging Face


def network(name):
    """Random weights, BatchNorm statistics of the pictures lest maps are noise, and classes that all win some."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, num_classes=3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(pictures(2, (32, 48), seed=3))
            output = model.eval()(pictures(2, (32, 48), seed=3))["out"]
            last = [module for module in model.classifier.modules() if isinstance(module, nn.Conv2d)][-1]
            last.bias -= output.mean((0, 2, 3))
    return model


class Out(nn.Module):
    """grad-cam needs a tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)["out"]


def beside_grad_cam(model, layer, images, masks, reader, size):
    """Maps of both, scaled as grad-cam does it: per layer, and once more after averaging over layers."""
    found = maps_of(model, images, CLASSES, reader, layer, ("gradcam", "hirescam"))
    for name, kind in (("gradcam", GradCAM), ("hirescam", HiResCAM)):
        targets = [SemanticSegmentationTarget(int(k), mask.numpy()) for k, mask in zip(CLASSES, masks, strict=True)]
        with kind(model=Out(model), target_layers=[model.get_submodule(layer)]) as cam:
            theirs = cam(input_tensor=images, targets=targets)
        ours = found[name].maps
        assert ours.max() > 1e-4, f"{name} is too faint to compare"
        yield scale_cam_image(scale_cam_image(ours.numpy(), size)), theirs


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("fcn_resnet50", "backbone.layer4"),
        ("deeplabv3_mobilenet_v3_large", "backbone.16"),
        ("lraspp_mobilenet_v3_large", "backbone.16"),
    ],
)
def test_maps_of_segmentation_nets_are_grad_cams_own_for_the_same_pixels(name, layer):
    model, images = network(name), pictures(2, (32, 48), seed=3)
    output = model(images)["out"].detach()
    winners = output.argmax(1)
    masks = [(winners[i] == k).float() for i, k in enumerate(CLASSES)]
    assert all(0 < mask.sum() < mask.numel() for mask in masks), "each class must win some pixels"
    for ours, theirs in beside_grad_cam(model, layer, images, masks, READ, (48, 32)):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=0)
    region = torch.zeros(32, 48)
    region[5:20, 10:30] = 1
    reader = OutputReader(score_fn=RegionScore(region))
    for ours, theirs in beside_grad_cam(model, layer, images, [region] * 2, reader, (48, 32)):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=0)
    expected = [output[i, k][winners[i] == k].mean() for i, k in enumerate(CLASSES)]
    found = maps_of(model, images, CLASSES, READ, layer)["hirescam"]
    torch.testing.assert_close(found.class_score, torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_maps_smaller_than_the_picture_are_read_too():
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[1, 1], hidden_sizes=[4, 8], patch_sizes=[3, 3], strides=[2, 2],
        num_attention_heads=[1, 1], mlp_ratios=[1, 1], decoder_hidden_size=8, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.SegformerForSemanticSegmentation(config).eval()
    images = pictures(2, (16, 16))
    logits = model(images).logits.detach()
    assert logits.shape == (2, 3, 8, 8)
    found = maps_of(model, images, CLASSES, READ, "decode_head.linear_fuse")["hirescam"]
    won = logits.argmax(1)
    for i, k in enumerate(CLASSES):
        pixels = logits[i, k][won[i] == k] if (won[i] == k).any() else logits[i, k].flatten()
        torch.testing.assert_close(found.class_score[i], pixels.mean())
    assert found.maps.max() > 0
    with pytest.raises(ValueError, match=re.escape("maps of scores, (8, 8), got (16, 16)")):
        RegionScore(torch.ones(16, 16))(model(images), CLASSES)
