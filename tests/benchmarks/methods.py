"""Every method on every layout beside its peers: one table of ratios.

A method is timed on the pictures that it can do in reasonable time, and all of a row on the same ones: one for those
that run the network once for each channel, a batch for the others. Beside peers the former are timed on the first
network alone, where a peer's map of one picture takes half a minute; Score-CAM, which has no shorter way, is left out
elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_grad_cam as peers
import torch
import torchvision
from common import arguments, keep, paired_ratios, spread
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam import methods as torch_cam

from camdebug import compute_cams
from camdebug.cam.methods.one_pass import ONE_PASS
from camdebug.cam.methods.registry import method_names

GRAD_CAM = {
    "gradcam": peers.GradCAM,
    "gradcam++": peers.GradCAMPlusPlus,
    "hirescam": peers.HiResCAM,
    "xgradcam": peers.XGradCAM,
    "layercam": peers.LayerCAM,
    "gradcam-elementwise": peers.GradCAMElementWise,
    "eigengradcam": peers.EigenGradCAM,
    "eigencam": peers.EigenCAM,
    "kpca-cam": peers.KPCA_CAM,
    "fem": peers.FEM,
    "fullgrad": peers.FullGrad,
    "ablationcam": peers.AblationCAM,
    "scorecam": peers.ScoreCAM,
    "randomcam": peers.RandomCAM,
}
TORCH_CAM = {
    "gradcam": torch_cam.GradCAM,
    "gradcam++": torch_cam.GradCAMpp,
    "smooth-gradcam++": torch_cam.SmoothGradCAMpp,
    "xgradcam": torch_cam.XGradCAM,
    "layercam": torch_cam.LayerCAM,
    "cam": torch_cam.CAM,
    "scorecam": torch_cam.ScoreCAM,
}
CHANNEL_BY_CHANNEL = ("ablationcam", "scorecam")
ALL_GRADIENT = "all gradient methods"


@dataclass(frozen=True)
class Network:
    """A network, the layer that peers are told, and how they must lay out what it gives."""

    build: Callable[[], nn.Module]
    layer: str
    reshape: Callable[[Tensor], Tensor] | None = None


def _tokens(output: Tensor) -> Tensor:
    return output[:, 1:].transpose(1, 2).unflatten(2, (14, 14))


def _vision_transformer() -> nn.Module:
    """ViT-Ti/16, with a head that is not all zeros."""
    model = torchvision.models.VisionTransformer(224, 16, 12, 3, 192, 768)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


NETWORKS = {
    "resnet18": Network(torchvision.models.resnet18, "layer4"),
    "convnext_tiny": Network(torchvision.models.convnext_tiny, "features"),
    "swin_t": Network(torchvision.models.swin_t, "norm", lambda output: output.movedim(-1, 1)),
    "vit, 192 wide": Network(_vision_transformer, "encoder.layers.encoder_layer_11.ln_1", _tokens),
}


def contenders(network: Network, method: str, pictures: int) -> dict[str, Callable[[], object]]:
    """What is timed, the plain forward first."""
    torch.manual_seed(0)
    model = network.build().eval()
    images, classes = torch.randn(pictures, 3, 224, 224), torch.randint(0, 1000, (pictures,))
    asked = [name for name, each in ONE_PASS.items() if each.uses_gradient] if method == ALL_GRADIENT else method

    def plain() -> None:
        with torch.inference_mode():
            model(images)

    def ours() -> None:
        compute_cams(model, images, classes, method=asked, target_layer=network.layer)

    def grad_cam() -> None:
        kinds = (
            [GRAD_CAM[name] for name in asked if name in GRAD_CAM] if isinstance(asked, list) else [GRAD_CAM[method]]
        )
        layer, targets = model.get_submodule(network.layer), [ClassifierOutputTarget(int(c)) for c in classes]
        for kind in kinds:
            with silent(), kind(model=model, target_layers=[layer], reshape_transform=network.reshape) as cam:
                cam(images, targets)

    def others() -> None:
        with TORCH_CAM[method](model, network.layer) as cam:
            cam(classes.tolist(), model(images))

    found: dict[str, Callable[[], object]] = {"plain": plain, "camdebug": ours}
    if method == ALL_GRADIENT or method in GRAD_CAM:
        found["grad-cam"] = grad_cam
    if method in TORCH_CAM and network.reshape is None:
        found["torch-cam"] = others
    return found


@contextlib.contextmanager
def silent() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def row(network: Network, method: str, pictures: int, rounds: int, peer_rounds: int) -> dict[str, Any]:
    """Ratios to a plain forward; what a peer cannot do on this network is told by its error."""
    runs = contenders(network, method, pictures)
    if method in CHANNEL_BY_CHANNEL and network is not NETWORKS["resnet18"]:
        runs = {who: run for who, run in runs.items() if who in ("plain", "camdebug")}
    plain, failed = runs.pop("plain"), {}
    for who, run in list(runs.items()):
        try:
            run()
        except Exception as error:
            failed[who] = f"{type(error).__name__}: {error}".splitlines()[0][:80]
            del runs[who]
    times = paired_ratios(plain, runs, {who: rounds if who == "camdebug" else peer_rounds for who in runs})
    return {"pictures": pictures, **{who: spread(values) for who, values in times.items()}, "failed": failed}


def shown(found: dict[str, Any], who: str) -> str:
    if who in found:
        return f"{found[who]['median']:.2f}"
    return "fails" if who in found["failed"] else "-"


def main() -> None:
    options = arguments("every method, as ratios to a plain forward", rounds=5, peer_rounds=1, pictures=16, networks=4)
    figures: dict[str, Any] = {}
    for name, network in list(NETWORKS.items())[: options.networks]:
        figures[name] = {}
        print(f"\n{name} at {network.layer} (plain inference_mode forward of the same pictures = 1)")
        print(f"  {'':22} {'pictures':>8} {'camdebug':>9} {'grad-cam':>9} {'torch-cam':>9} {'grad-cam / camdebug':>20}")
        for method in (ALL_GRADIENT, *method_names()):
            if method == "scorecam" and name != "resnet18":
                continue
            pictures = 1 if method in CHANNEL_BY_CHANNEL else options.pictures
            rounds = min(options.rounds, 2) if method in CHANNEL_BY_CHANNEL else options.rounds
            found = row(network, method, pictures, rounds, options.peer_rounds)
            figures[name][method] = found
            both = "camdebug" in found and "grad-cam" in found
            times = f"{found['grad-cam']['median'] / found['camdebug']['median']:.1f}" if both else "-"
            columns = " ".join(f"{shown(found, who):>9}" for who in ("camdebug", "grad-cam", "torch-cam"))
            print(f"  {method:22} {pictures:8} {columns} {times:>20}", flush=True)
    one_pass = {name: found[ALL_GRADIENT]["camdebug"]["median"] for name, found in figures.items()}
    print(f"\nall gradient methods together: {one_pass}, median {statistics.median(one_pass.values()):.2f}")
    keep(options.json, figures)


if __name__ == "__main__":
    main()
