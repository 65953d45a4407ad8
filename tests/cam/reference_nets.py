"""Networks of torchvision to compare maps on, and grad-cam's scaling of them."""

import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from tiny_nets import pictures
from torch import nn


def network(name, *, classes=5):
    """Random weights, and BatchNorm statistics of pictures: without them some maps are numerical noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=classes)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(pictures(4, (64, 64), seed=2))
    return model.eval()


def scaled_as_grad_cam_does(maps, size):
    """Per layer, and once more after averaging over layers. ``size``: width and height."""
    return scale_cam_image(scale_cam_image(maps, size))
