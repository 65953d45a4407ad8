"""``"gradcam:ClassName"``: any method of the package grad-cam (``pytorch_grad_cam``), on any model that we can read.

grad-cam hooks layers and reads what they give, so it must be told how tokens or channels-last cells are laid out, takes
the model's output for a table of scores, and cannot read tuples or half precision. Here it sees a small module instead:
its only layer hands on the cells ``(1, C, *grid)`` of the target layer, its output is the score that we explain.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from camdebug.cam.lending.stand_ins import harmless
from camdebug.cam.methods.foreign import as_maps
from camdebug.cam.passes import Chunk
from camdebug.cam.target.layers import TargetLayer
from camdebug.cam.target.layout import tensor_in, with_tensor
from camdebug.rng import seeded_rng

PREFIX = "gradcam:"
_OLDEST = (1, 5, 4)

_NO_LAYER = ("FullGrad",)  # looks at every layer with a bias
_ALL_LAYERS = ("RefineCAM",)  # multiplies the maps of several
_COMPARE = ("FinerCAM", "SESS")  # set one class against others
_SECOND_ORDER = ("ShapleyCAM",)  # differentiates the gradient, which must depend on something


@dataclass(frozen=True)
class GradCamPackage:
    """A class of the package grad-cam as a method, run as carefully as any foreign code.

    Its maps are what grad-cam returns: at the picture's size, each scaled to 0..1. So their magnitudes mean nothing,
    and shares of mass are distorted, for the lowest cell becomes 0; our own methods are raw. An activation that the
    network overwrites in place is read before that, which grad-cam itself does not.

    Attributes:
        kind: name of the class.
    """

    kind: str

    @property
    def name(self) -> str:
        """As it is asked for."""
        return PREFIX + self.kind

    @property
    def layered(self) -> bool:
        """All but those that choose their layers themselves, or take all at once."""
        return self.kind not in _NO_LAYER + _ALL_LAYERS

    @property
    def needs_layer(self) -> bool:
        """All but those that choose their layers themselves."""
        return self.kind not in _NO_LAYER

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """``(n, *size)`` float32 in 0..1.

        One picture at a time: some of its methods run many variants of one picture, and the other inputs of a model
        must be those of that picture.

        Raises:
            ValueError: when the pictures are no pictures or volumes, or the method needs more classes than there are.
        """
        if chunk.pictures.ndim not in (4, 5):
            raise ValueError(
                f"method: {self.name} is for pictures (N, C, H, W) or (N, C, D, H, W), "
                f"got {tuple(chunk.pictures.shape)}"
            )
        taken = slice(None) if self.kind in _ALL_LAYERS else slice(layer_index, layer_index + 1)
        layers = [] if self.kind in _NO_LAYER else [view.layer for view in chunk.views[taken]]
        learning = self.kind in _SECOND_ORDER
        # Fused attention cannot be differentiated twice.
        attention = sdpa_kernel(SDPBackend.MATH) if learning else nullcontext()
        with harmless(chunk.subject.model, name=self.name, seed=chunk.rows.start, requires_grad=learning), attention:
            maps = [self._map(chunk, layers, i, int(k)) for i, k in enumerate(class_idx)]
        return torch.cat(maps)

    def _map(self, chunk: Chunk, layers: Sequence[TargetLayer], i: int, class_idx: int) -> Tensor:
        """Of the ``i``-th picture, ``(1, *size)``."""
        kind, whole = _classes()[self.kind], self.kind in _COMPARE
        seen = _AsSeen(chunk, i, class_idx, len(layers), whole=whole)
        picture = chunk.pictures[i : i + 1].to(_at_least_float32(chunk.pictures.dtype), copy=True)
        with seen.on(layers), _without_bars(kind), seeded_rng(chunk.rows.start + i):
            method = kind(seen, list(seen.taps), **_options(kind))
            try:
                if "target_idx" in inspect.signature(kind.forward).parameters:
                    found = method(picture, None, target_idx=class_idx)
                else:
                    found = method(picture, [_Column(class_idx if whole else 0)])
            finally:
                _let_go(method)
        return as_maps(found, picture, self.name)


def bridge(name: str) -> GradCamPackage:
    """The method that ``"gradcam:ClassName"`` names.

    Raises:
        ValueError: when grad-cam is missing, too old, or has no such class; the message lists those it has.
    """
    kind, known = name.removeprefix(PREFIX), _classes()
    if kind not in known:
        near = get_close_matches(kind, known, n=1, cutoff=0.5)
        hint = f"; did you mean {PREFIX}{near[0]}?" if near else "."
        raise ValueError(
            f"method: grad-cam {metadata.version('grad-cam')} has no class {kind!r} that makes maps{hint} It has "
            f"{', '.join(sorted(known))}"
        )
    return GradCamPackage(kind)


def _classes() -> dict[str, type[Any]]:
    """Those that take layers and make maps; the package has no other sign for them."""
    try:
        import pytorch_grad_cam  # drawing and learning libraries come with it
    except ImportError as error:
        raise ValueError(
            f"method: {PREFIX}... needs the package grad-cam, which cannot be imported: {error}"
        ) from error
    _check_version(metadata.version("grad-cam"))
    kinds = {
        key: kind for key, kind in vars(pytorch_grad_cam).items() if isinstance(kind, type) and hasattr(kind, "forward")
    }
    return {key: kind for key, kind in kinds.items() if "target_layers" in inspect.signature(kind).parameters}


def _check_version(version: str) -> None:
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < _OLDEST:
        raise ValueError(f"method: {PREFIX}... needs grad-cam {'.'.join(map(str, _OLDEST))} or newer, got {version}")


def _options(kind: type[Any]) -> dict[str, Any]:
    """By default all AblationCAMs share one layer, which would keep the activations of the last picture for good."""
    default = inspect.signature(kind).parameters.get("ablation_layer")
    return {} if default is None else {"ablation_layer": type(default.default)()}


def _let_go(method: Any) -> None:  # noqa: ANN401
    """It would try to detach gradients that are views when it is collected, and fail."""
    for cam in (method, getattr(method, "base_cam", None), *getattr(method, "base_cam_per_layer", ())):
        kept = getattr(cam, "activations_and_grads", None)
        if kept is not None:
            kept.activations, kept.gradients = [], []
            kept.release()


class _AsSeen(nn.Module):
    """A model as grad-cam sees it: one column of scores, of the class that is explained, or all columns.

    ``taps``: a layer for each target layer, through which its cells go; grad-cam hooks or replaces it.
    """

    def __init__(self, chunk: Chunk, i: int, class_idx: int, taps: int, *, whole: bool) -> None:
        super().__init__()
        self.taps = nn.ModuleList(nn.Identity() for _ in range(taps))  # first, for layers are searched in this order
        self.model = chunk.subject.model
        self._chunk, self._row, self._class_idx, self._whole = chunk, chunk.rows.start + i, class_idx, whole
        self._graph = False

    def forward(self, pictures: Tensor) -> Tensor:
        """Of one picture, or variants of it."""
        self._graph = torch.is_grad_enabled()
        rows = torch.full((len(pictures),), self._row)
        # A copy: the model may write to its input.
        scores = self._chunk.subject.forward(pictures.to(self._chunk.pictures.dtype, copy=True), rows)
        if self._whole:
            return scores.matrix
        return scores.of(torch.full((len(pictures),), self._class_idx, device=scores.device))[:, None]

    def train(self, mode: bool = True) -> _AsSeen:
        """Nothing to do: the model is borrowed, and its own ``train()`` may do anything."""
        return self

    @contextmanager
    def on(self, layers: Sequence[TargetLayer]) -> Iterator[None]:
        """While it runs, each layer's cells go through its tap."""
        with ExitStack() as hooks:
            for i, layer in enumerate(layers):
                hooks.callback(layer.module.register_forward_hook(self._through(i, layer)).remove)
            yield

    def _through(self, i: int, layer: TargetLayer) -> Any:  # noqa: ANN401
        def tapped(_module: nn.Module, _inputs: object, output: object) -> object:
            found = tensor_in(output)
            assert found is not None  # a pass has read it
            if self._graph:
                torch.set_grad_enabled(True)  # in a no_grad block of the model's own
            if self._graph and not found.requires_grad:
                found = found.detach().requires_grad_(True)
            cells = layer.layout.cells(found)
            # A copy: the tap's output is kept, and the next layer may work in place. In half precision numpy is lost.
            tapped = self.taps[i](cells.to(_at_least_float32(cells.dtype), copy=True))
            return with_tensor(output, layer.layout.with_cells(found, tapped.to(found.dtype)))

        return tapped


@dataclass(frozen=True)
class _Column:
    """What grad-cam calls a target: reads a score from a row of the output, or from rows."""

    index: int

    def __call__(self, output: Tensor) -> Tensor:
        return output[..., self.index]


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def _without_bars(kind: type[Any]) -> Iterator[None]:
    """Progress bars of grad-cam would run over the training's."""
    modules = [vars(sys.modules[base.__module__]) for base in kind.__mro__ if base.__module__ in sys.modules]
    barred = [(names, names["tqdm"]) for names in modules if "tqdm" in names]
    try:
        for names, _ in barred:
            names["tqdm"] = SimpleNamespace(tqdm=iter)
        yield
    finally:
        for names, tqdm in barred:
            names["tqdm"] = tqdm
