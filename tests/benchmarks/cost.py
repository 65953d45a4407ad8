"""Cost of the maps of a probe set beside a plain forward and beside the peers."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, keep, paired_ratios, spread
from torch import nn

from camdebug import compute_cams
from camdebug.cam.methods.one_pass import ONE_PASS

METHODS = ["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"]
GRADIENT = [name for name, method in ONE_PASS.items() if method.uses_gradient]
NETWORKS = ("resnet18", "resnet50")


def network(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision.models, name)().eval()
    return model


def contenders(model: nn.Module, pictures: int) -> dict[str, Callable[[], object]]:
    """What is timed, the plain forward first. Every contender starts from and leaves an eval() model."""
    images, classes = torch.randn(pictures, 3, 224, 224), torch.randint(0, 1000, (pictures,))

    def plain() -> None:
        with torch.inference_mode():
            model(images)

    return {
        "plain forward": plain,
        "camdebug, 1 method": lambda: compute_cams(model, images, classes),
        "camdebug, 5 methods": lambda: compute_cams(model, images, classes, method=METHODS),
        "camdebug, all gradient": lambda: compute_cams(model, images, classes, method=GRADIENT),
        **_peers(model, images, classes),
    }


def _peers(model: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> dict[str, Callable[[], object]]:
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCam

    layer: nn.Module = model.layer4[-1]  # type: ignore[union-attr,index,operator,assignment]
    targets = [ClassifierOutputTarget(int(c)) for c in classes]

    def grad_cam(*kinds: Any) -> None:
        for kind in kinds:
            with kind(model=model, target_layers=[layer]) as cam:
                cam(images, targets)

    def torch_cam() -> None:
        with TorchCam(model, "layer4") as cam:
            cam(classes.tolist(), model(images))

    return {
        "grad-cam, 1 method": lambda: grad_cam(GradCAM),
        "grad-cam, 5 methods": lambda: grad_cam(GradCAM, GradCAMPlusPlus, HiResCAM, XGradCAM, LayerCAM),
        "torch-cam, 1 method": torch_cam,
        "captum, 1 method": lambda: LayerGradCam(model, layer).attribute(images, classes),
    }


def peak_memory(name: str, pictures: int, contender: str) -> float:
    """MiB by which a fresh process grows, at its highest, while the contender runs once.

    The median of three processes for camdebug and the plain forward, one process for each of the slow peers.

    The contender has run on one picture before, so its libraries are loaded and its layer is found.
    """
    repeats = 3 if contender.startswith(("camdebug", "plain")) else 1
    command = [sys.executable, __file__, "--peak", name, str(pictures), contender]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeats)]
    return statistics.median(float(json.loads(text.splitlines()[-1])) for text in found)


def _measure_peak(name: str, pictures: int, contender: str) -> None:
    import resource
    import threading
    import time

    import psutil

    model = network(name)
    contenders(model, 1)[contender]()
    run, process, high = contenders(model, pictures)[contender], psutil.Process(), [0]
    before, done = process.memory_info().rss, threading.Event()

    def watch() -> None:
        while not done.is_set():
            high[0] = max(high[0], process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    highest = max(high[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if high[0] == 0 else 0)
    print(json.dumps((highest - before) / 2**20))


def main() -> None:
    options = arguments("cost of maps, as ratios to a plain forward", rounds=7, peer_rounds=1, pictures=32)
    figures: dict[str, Any] = {}
    for name in NETWORKS:
        runs = contenders(network(name), options.pictures)
        plain = runs.pop("plain forward")
        rounds = {contender: options.rounds if "camdebug" in contender else options.peer_rounds for contender in runs}
        ratios = {who: values for who, values in paired_ratios(plain, runs, rounds).items() if values}
        base = peak_memory(name, options.pictures, "plain forward")
        figures[name] = {}
        print(f"\n{name}, {options.pictures} pictures of 224 px (plain inference_mode forward = 1)")
        print(f"  {'':22} {'time':>7} {'min':>6} {'max':>6} {'peak memory':>12}")
        for contender, values in ratios.items():
            memory = peak_memory(name, options.pictures, contender) / base
            figures[name][contender] = {"time_ratio": spread(values), "peak_memory_ratio": round(memory, 2)}
            s = spread(values)
            print(f"  {contender:22} {s['median']:7.2f} {s['min']:6.2f} {s['max']:6.2f} {memory:12.2f}", flush=True)
    keep(options.json, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _measure_peak(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
