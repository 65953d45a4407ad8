"""Families of models: which layer is found, where its cells are, and that they are there indeed."""

from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import swin_transformer as tv_swin
from torchvision.models.video import mvit, swin_transformer

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import MapOptions, check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layout import Layout, tensor_in
from camdebug.cam.target.search import find_target_layers

# Untrained: where the layer is matters, not what speaks for a class.
pytestmark = pytest.mark.filterwarnings("ignore:camdebug. every map of")

SMALL_VIT = {"image_size": 64, "patch_size": 16, "num_layers": 3, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}


CLASSES = torch.tensor([3, 0])
METHODS = ["gradcam", "hirescam", "layercam"]
SIGNED = MapOptions(sign="signed")


def torchvisions(name, **options):
    return getattr(torchvision.models, name)(weights=None, num_classes=5, **options)


def swin(version):
    options = {"block": tv_swin.SwinTransformerBlockV2, "downsample_layer": tv_swin.PatchMergingV2}
    return tv_swin.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5, **options if version == 2 else {})


def small_maxvit():
    return torchvision.models.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 4, 0.0, num_classes=5)


def small_mvit():
    blocks = [
        mvit.MSBlockConfig(1, 8, 8, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 4, 4]),
        mvit.MSBlockConfig(2, 8, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
        mvit.MSBlockConfig(2, 16, 16, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
    ]
    return mvit.MViT(
        (64, 96),
        8,
        blocks,
        residual_pool=False,
        residual_with_cls_embed=True,
        rel_pos_embed=False,
        proj_after_attn=False,
        num_classes=5,
    )


TORCHVISION = {
    "resnet18": (partial(torchvisions, "resnet18"), (96, 128), "layer4", "NCHW", (3, 4), 0),
    "vgg11_bn": (partial(torchvisions, "vgg11_bn"), (64, 96), "features", "NCHW", (2, 3), 0),
    "densenet121": (partial(torchvisions, "densenet121"), (64, 96), "features", "NCHW", (2, 3), 0),
    "mobilenet_v2": (partial(torchvisions, "mobilenet_v2"), (256, 192), "features", "NCHW", (8, 6), 0),
    "mobilenet_v3_small": (partial(torchvisions, "mobilenet_v3_small"), (192, 256), "features", "NCHW", (6, 8), 0),
    "efficientnet_b0": (partial(torchvisions, "efficientnet_b0"), (192, 256), "features", "NCHW", (6, 8), 0),
    "convnext_tiny": (partial(torchvisions, "convnext_tiny"), (64, 96), "features", "NCHW", (2, 3), 0),
    "regnet_y_400mf": (partial(torchvisions, "regnet_y_400mf"), (192, 256), "trunk_output", "NCHW", (6, 8), 0),
    "squeezenet1_1": (partial(torchvisions, "squeezenet1_1"), (96, 64), "classifier.2", "NCHW", (5, 3), 0),
    "googlenet": (
        partial(torchvisions, "googlenet", init_weights=False), (192, 256), "inception5b", "NCHW", (6, 8), 0,
    ),
    "shufflenet": (partial(torchvisions, "shufflenet_v2_x0_5"), (256, 192), "conv5", "NCHW", (8, 6), 0),
    "mnasnet": (partial(torchvisions, "mnasnet0_5"), (256, 192), "layers", "NCHW", (8, 6), 0),
    "swin v1": (partial(swin, 1), (64, 96), "permute", "NCHW", (8, 12), 0),
    "swin v2": (partial(swin, 2), (64, 96), "permute", "NCHW", (8, 12), 0),
    "maxvit": (small_maxvit, (64, 64), "blocks.1", "NCHW", (8, 8), 0),
    "vit": (
        lambda: torchvision.models.VisionTransformer(**SMALL_VIT, num_classes=5),
        (64, 64), "encoder.layers.encoder_layer_2.ln_1", "tokens", (4, 4), 1,
    ),
    "r3d_18": (
        lambda: torchvision.models.video.r3d_18(num_classes=5), (8, 32, 48), "layer4", "NCHW", (1, 2, 3), 0,
    ),
    "swin3d": (
        lambda: swin_transformer.SwinTransformer3d([2, 4, 4], 8, [1, 1], [2, 2], [2, 4, 4], num_classes=5),
        (8, 64, 96), "norm", "NHWC", (4, 8, 12), 0,
    ),
    "mvit": (small_mvit, (8, 64, 96), "blocks.2.norm1", "tokens", (4, 8, 12), 1),
}  # fmt: skip

SMALL_TIMM = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}
TIMM = {
    "vit": ("vision_transformer", "VisionTransformer", SMALL_TIMM, (64, 64), "blocks.2.norm1", "tokens", (4, 4), 1),
    "vit, mean of patches": (
        "vision_transformer", "VisionTransformer", {**SMALL_TIMM, "global_pool": "avg", "class_token": False},
        (64, 64), "norm", "tokens", (4, 4), 0,
    ),
    "vit, not square": (
        "vision_transformer", "VisionTransformer", {**SMALL_TIMM, "img_size": (64, 96)},
        (64, 96), "blocks.2.norm1", "tokens", (4, 6), 1,
    ),
    "deit, distilled": (
        "deit", "VisionTransformerDistilled", SMALL_TIMM, (64, 64), "blocks.2.norm1", "tokens", (4, 4), 2,
    ),
    "eva with registers": (
        "eva", "Eva", {**SMALL_TIMM, "num_reg_tokens": 4, "use_rot_pos_emb": True},
        (64, 64), "norm", "tokens", (4, 4), 5,
    ),
    "swin": (
        "swin_transformer", "SwinTransformer",
        {"img_size": (64, 96), "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4},
        (64, 96), "norm", "NHWC", (8, 12), 0,
    ),
    "convnext": (
        "convnext", "ConvNeXt", {"depths": (1, 1, 2, 1), "dims": (8, 8, 16, 16)},
        (64, 96), "norm_pre", "NCHW", (2, 3), 0,
    ),
}  # fmt: skip

SMALL_HF = {"image_size": 64, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
HUGGING_FACE = {
    "ViT": ({**SMALL_HF, "intermediate_size": 64}, (64, 64), "vit.layers.2.layernorm_before", "tokens", (4, 4), 1),
    "ConvNext": (
        {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
        (64, 96), "convnext.encoder.stages.3", "NCHW", (2, 3), 0,
    ),
    "Swin": (
        {"image_size": (64, 96), "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4},
        (64, 96), "swin.layernorm", "tokens", (8, 12), 0,
    ),
    "Dinov2WithRegisters": (
        {**SMALL_HF, "num_register_tokens": 4}, (64, 96), "dinov2_with_registers.layernorm", "tokens", (4, 6), 5,
    ),
}  # fmt: skip


def seeded(make):
    """Random weights, of which heads that start at zero get some, and BatchNorm statistics of pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return model


def random_images(count, size):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))


def settle(model, images):
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad(), torch.random.fork_rng():
            model.train()(images)


def cells_of(model, layer, images, layout=None):
    seen = []
    handle = layer.module.register_forward_hook(lambda _m, _i, out: seen.append(tensor_in(out).detach().clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    return (layout or layer.layout).cells(seen[0])


def corners(model, layer, size, layout=None):
    """For each corner of the picture: is the centre of the change on that side of the grid, along each axis?"""
    plane = [len(size) - 2, len(size) - 1]
    plain = random_images(1, size)
    before, found = cells_of(model, layer, plain, layout), []
    centres = {}
    for sides in ((0, 0), (0, 1), (1, 0), (1, 1)):
        changed = plain.clone()
        part = [slice(None)] * changed.ndim
        for axis, side in zip(plane, sides, strict=True):
            third = size[axis] // 3
            part[2 + axis] = slice(-third, None) if side else slice(third)
        changed[tuple(part)] = (
            1
            - changed[tuple(part)]
            + 2 * torch.randn(changed[tuple(part)].shape, generator=torch.Generator().manual_seed(2))
        )
        move = (cells_of(model, layer, changed, layout) - before).square().sum((0, 1))
        centres[sides] = [
            float((move.sum([a for a in range(move.ndim) if a != axis]) * torch.linspace(0, 1, move.shape[axis])).sum())
            / float(move.sum())
            for axis in plane
        ]
    for sides in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for i, side in enumerate(sides):
            other = tuple(1 - s if j == i else s for j, s in enumerate(sides))
            apart = centres[sides][i] - centres[other][i]
            found.append(apart if side else -apart)
    return min(found)


def check(model, use, size, name, kind, grid, first):
    images = random_images(2, size)
    with borrowed(model):
        subject = use.on(model)
        layers = find_target_layers(subject, images)
        found = explain(Lens(subject, layers, 2), images, [CLASSES], check_methods(METHODS), SIGNED)[0]
        layer = layers[0]
        assert (layer.name, layer.layout) == (name, Layout(kind, grid, first))
        for maps in found.values():
            assert maps.maps.shape == (2, *grid)
            assert maps.maps.isfinite().all()
            assert max(float(own.std()) for own in maps.maps) > 1e-7
        # Where the picture changes in a corner, the cells of that corner change more.
        assert corners(model, layer, size) > 0.05


@pytest.mark.parametrize("family", TORCHVISION)
def test_torchvisions_families(family):
    make, size, *expected = TORCHVISION[family]
    model = seeded(make)
    settle(model, random_images(4, size))
    check(model, ModelUse(), size, *expected)


def test_inceptions_auxiliary_head_is_no_hindrance():
    model = seeded(partial(torchvisions, "inception_v3", init_weights=False))
    settle(model, random_images(2, (299, 299)))
    images = random_images(1, (160, 299))
    with borrowed(model):
        (layer,) = find_target_layers(ModelUse().on(model), images)
    assert (layer.name, layer.layout) == ("Mixed_7c", Layout("NCHW", (3, 8)))


@pytest.mark.parametrize("family", TIMM)
def test_timms_families(family):
    timm = pytest.importorskip("timm")
    module, kind, options, size, *expected = TIMM[family]
    model = seeded(partial(getattr(getattr(timm.models, module), kind), **options, num_classes=5))
    check(model, ModelUse(), size, *expected)


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_hugging_faces_families(family):
    transformers = pytest.importorskip("transformers")
    options, size, *expected = HUGGING_FACE[family]
    config = getattr(transformers, f"{family}Config")(**options, num_labels=5)
    model = seeded(partial(getattr(transformers, f"{family}ForImageClassification"), config))
    check(model, ModelUse(), size, *expected)


@pytest.mark.parametrize(
    ("family", "wrong"),
    [
        ("swin3d", Layout("NCHW", (8, 12, 16))),  # channels last, read as channels first
        ("vit", Layout("tokens", (4, 4), first=0)),  # the class token read as a cell, at the grid's first corner
        ("mvit", Layout("tokens", (8, 4, 12), first=1)),  # time and height exchanged
    ],
)
def test_the_check_of_corners_fails_where_cells_are_read_in_the_wrong_way(family, wrong):
    make, size, name, *_ = TORCHVISION[family]
    model = seeded(make).eval()
    layer = find_in(model, size, name)
    assert corners(model, layer, size) > 0.1
    assert corners(model, layer, size, wrong) < corners(model, layer, size) - 0.05


def find_in(model, size, name):
    with borrowed(model):
        return find_target_layers(ModelUse().on(model), random_images(1, size), name)[0]


# --- grad-cam, told where the cells are as its tutorials do

REFERENCES = {"gradcam": GradCAM, "hirescam": HiResCAM, "layercam": LayerCAM, "xgradcam": XGradCAM}


def after_the_class_token(tensor):
    return tensor[:, 1:].reshape(len(tensor), 4, 4, -1).permute(0, 3, 1, 2)


def channels_last(tensor):
    return tensor.permute(0, 3, 1, 2)


@pytest.mark.parametrize("method", REFERENCES)
@pytest.mark.parametrize(
    ("family", "layer", "reshape"),
    [("vit", "encoder.layers.encoder_layer_2.ln_1", after_the_class_token), ("swin v1", "norm", channels_last)],
)
def test_maps_of_transformers_equal_grad_cams_with_a_reshape_transform(method, family, layer, reshape):
    make, size, *_ = TORCHVISION[family]
    model, images = seeded(make).eval(), random_images(2, size)
    with torch.no_grad():
        for parameter in model.parameters():  # or the attention hardly tells patches apart
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    with borrowed(model):
        lens = Lens(ModelUse().on(model), (find_in(model, size, layer),), 2)
        ours = explain(lens, images, [CLASSES], check_methods(method))[0][method].maps
    assert ours.amax() > 1e-4
    with REFERENCES[method](model, [model.get_submodule(layer)], reshape_transform=reshape) as cam:
        theirs = cam(images, [ClassifierOutputTarget(k) for k in CLASSES.tolist()])
    scaled = scale_cam_image(scale_cam_image(ours.numpy(), size[::-1]))
    np.testing.assert_allclose(scaled, theirs, atol=1e-4, rtol=0)
