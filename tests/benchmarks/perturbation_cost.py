"""Cost of the methods that ask the model again, beside grad-cam and torch-cam, in plain forwards of one picture."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from common import arguments, keep, seconds, spread
from torch import Tensor, nn

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.perturbation import RandomCAM
from camdebug.cam.methods.registry import Method
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layer


def network() -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet18().eval()
    return model


def contenders(model: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """Each explains class 1 of all pictures at the last block."""
    from pytorch_grad_cam import AblationCAM, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import ScoreCAM as TorchScoreCAM

    layer: nn.Module = model.layer4[-1]  # type: ignore[union-attr,index,operator,assignment]
    classes = [1] * len(images)

    with borrowed(model):
        target = find_target_layer(ModelUse().on(model), images, layer)

    def ours(worker: Method) -> None:
        with borrowed(model):
            lens = Lens(ModelUse().on(model), (target,), 32)
            explain(lens, images, [torch.tensor(classes)], [worker])

    def grad_cam(kind: Any) -> None:
        with quiet(), kind(model=model, target_layers=[layer]) as cam:
            cam(images, [ClassifierOutputTarget(k) for k in classes])

    def torch_cam() -> None:
        with TorchScoreCAM(model, layer) as cam:
            cam(classes, model(images))

    return {
        "camdebug ablationcam": lambda: ours(AblationCAM()),
        "grad-cam AblationCAM": lambda: grad_cam(AblationCAM),
        "camdebug scorecam": lambda: ours(ScoreCAM()),
        "grad-cam ScoreCAM": lambda: grad_cam(ScoreCAM),
        "torch-cam ScoreCAM": torch_cam,
        "camdebug randomcam": lambda: ours(RandomCAM()),
    }


PAIRS = [
    ("camdebug ablationcam", "grad-cam AblationCAM"),
    ("camdebug scorecam", "grad-cam ScoreCAM"),
    ("camdebug scorecam", "torch-cam ScoreCAM"),
]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """grad-cam draws a bar for every picture."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def dead_channels(model: nn.Module, images: Tensor) -> float:
    """Share of channels that are 0 in all cells of a picture: those cost nothing."""
    seen: list[Tensor] = []
    layer: nn.Module = model.layer4[-1]  # type: ignore[union-attr,index,operator,assignment]
    handle = layer.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.inference_mode():
        model(images)
    handle.remove()
    return float((seen[0].flatten(2).abs().amax(2) == 0).float().mean())


def main() -> None:
    options = arguments("cost of Ablation-CAM and Score-CAM", rounds=1, pictures=1, side=224, threads=1)
    torch.set_num_threads(options.threads)
    model, images = network(), torch.randn(options.pictures, 3, options.side, options.side)
    for run in contenders(model, torch.randn(1, 3, 64, 64)).values():
        run()  # what is loaded at the first use is loaded
    runs = contenders(model, images)
    plain = lambda: _plain(model, images)  # noqa: E731
    plain()
    times: dict[str, list[float]] = {name: [] for name in ("plain forward", *runs)}
    for _ in range(options.rounds):
        for name, run in runs.items():
            times["plain forward"].append(seconds(plain))
            times[name].append(seconds(run))
    forward = spread(times["plain forward"])["median"] or 1e-3
    figures: dict[str, Any] = {"dead_channels": round(dead_channels(model, images), 3)}
    print(f"ResNet-18, {options.pictures} pictures of {options.side} px, {options.threads} threads")
    for name, found in times.items():
        figures[name] = {"seconds": spread(found), "forwards": round(spread(found)["median"] / forward, 1)}
        print(f"  {name:24} {figures[name]['seconds']['median']:8.3f} s {figures[name]['forwards']:8.1f} forwards")
    for mine, theirs in PAIRS:
        ratio = spread([b / a for a, b in zip(times[mine], times[theirs], strict=True)])
        figures[f"{theirs} / {mine}"] = ratio
        print(f"  {theirs} takes {ratio['median']} times as long as {mine}")
    keep(options.json, figures)


def _plain(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


if __name__ == "__main__":
    main()
