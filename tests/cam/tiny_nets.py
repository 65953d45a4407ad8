"""Nets small enough to work out by hand, and the papers' formulas as slow loops."""

import numpy as np
import torch
from torch import nn

METHOD_NAMES = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")

# One picture of two channels on 2x2 cells, and what each of two classes takes from every cell of it.
CELLS = [[[1.0, 2.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]]
WEIGHTS = [
    [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 1.0], [0.0, 0.0]]],
    [[[-1.0, -1.0], [-1.0, -1.0]], [[0.0, 2.0], [2.0, 0.0]]],
]


def hand_net():
    """The activation is the picture, the gradient of class k is ``WEIGHTS[k]``."""
    stage = nn.Conv2d(2, 2, 1, bias=False)
    head = nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        stage.weight.copy_(torch.eye(2)[:, :, None, None])
        head.weight.copy_(torch.tensor(WEIGHTS).flatten(1))
    return nn.Sequential(stage, nn.Flatten(), head)


class ConvNet(nn.Module):
    """Two stages with BatchNorm and in-place ReLU, GAP or flattened; nonlinear head, so gradients differ by picture."""

    def __init__(self, *, classes=3, flat_side=None, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
            self.stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8))
            self.relu = nn.ReLU(inplace=True)
            width = 8 if flat_side is None else 8 * flat_side**2
            self.pool = nn.AdaptiveAvgPool2d(1) if flat_side is None else nn.Identity()
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, classes))
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.5)

    def forward(self, x):
        return self.head(self.pool(self.relu(self.stage(self.stem(x)))))


def pictures(count=3, size=(16, 16), seed=1, channels=3):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def forwards_of(model):
    """A list to which every forward adds the number of its pictures. The list stands outside of what is restored."""
    seen = []
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    return seen


def graph_of(model, layer, images, class_idx):
    """Activation and gradient from an ordinary full graph; a copy of the activation, lest the net overwrites it."""
    kept = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append((output, output.detach().clone()))
        return output.clone()

    handle = layer.register_forward_hook(keep)
    modes = {m: m.training for m in model.modules()}
    model.eval()
    with torch.enable_grad():
        scores = model(images)
        scores[range(len(images)), class_idx].sum().backward()
    handle.remove()
    model.zero_grad(set_to_none=True)
    for module, training in modes.items():
        module.training = training
    output, activation = kept[0]
    return activation.numpy(), output.grad.numpy()


def slow_map(method, activation, gradient):
    """``(C, h, w)`` numpy to ``(h, w)``, cell by cell as in the paper of the method."""
    channels, height, width = activation.shape
    cells = [(i, j) for i in range(height) for j in range(width)]
    found = np.zeros((height, width))
    for k in range(channels):
        a, g = activation[k].astype(float), gradient[k].astype(float)
        total = sum(a[c] for c in cells)
        if method == "gradcam":
            weight = sum(g[c] for c in cells) / len(cells)
        elif method == "gradcam++":
            weight = 0.0
            for c in cells:
                if g[c] > 0:
                    weight += g[c] ** 2 / (2 * g[c] ** 2 + total * g[c] ** 3 + 1e-6) * g[c]
        elif method == "xgradcam":
            weight = sum(g[c] * a[c] / (total + 1e-7) for c in cells)
        for c in cells:
            if method == "hirescam":
                found[c] += g[c] * a[c]
            elif method == "layercam":
                found[c] += max(g[c], 0.0) * a[c]
            else:
                found[c] += weight * a[c]
    return np.maximum(found, 0.0)


GATHERED = {
    "eigengradcam": lambda a, g: (a * g, (a * g).sum(0)),
    "eigencam": lambda a, _g: (a, np.abs(a).sum(0)),
    "seg-eigencam": lambda a, g: (a * np.abs(g), np.zeros_like(a[0])),
}


def slow_signed(method, activation, gradient):
    """``(C, *grid)`` numpy to ``(*grid)``, not ReLU'd, of the methods that came after those of ``slow_map``."""
    a, g = activation.astype(float), gradient.astype(float)
    if method in GATHERED:
        return slow_component(*GATHERED[method](a, g))
    if method == "kpca-cam":
        return slow_kernel_component(a)
    found = np.zeros(a.shape[1:])
    for k in range(len(a)):
        mean, sigma = a[k].mean(), a[k].std()
        for cell in np.ndindex(found.shape):
            if method == "gradcam-elementwise":
                found[cell] += max(g[k][cell] * a[k][cell], 0.0)
            elif method == "fem" and a[k][cell] > mean + 2 * sigma:
                found[cell] += mean
    return found


def slow_component(added, towards):
    """The first component by a full decomposition, turned so that it correlates with ``towards`` or, if not, peaks."""
    points = added.reshape(len(added), -1).T
    points = points - points.mean(0)
    return turned(points @ np.linalg.svd(points)[2][0], towards)


def slow_kernel_component(activation):
    """The kernel matrix entry by entry, and the centring with an explicit projector."""
    points = activation.reshape(len(activation), -1).T
    points = points - points.mean(0)
    count, scale = len(points), (points**2).sum() / len(points)
    kernel = np.array([[np.tanh(x @ y / scale + 1) for y in points] for x in points])
    centre = np.eye(count) - np.ones((count, count)) / count
    values, vectors = np.linalg.eigh(centre @ kernel @ centre)
    return turned(vectors[:, -1] * np.sqrt(values[-1]), np.abs(activation).sum(0))


def turned(projection, towards):
    agreement = projection @ (towards.ravel() - towards.mean())
    if abs(agreement) < 1e-9:
        agreement = projection[np.abs(projection).argmax()]
    return (projection if agreement > 0 else -projection).reshape(towards.shape)
