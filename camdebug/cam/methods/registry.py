"""Methods by name, and what else may be passed as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from camdebug.cam.methods.classic import ClassicCam
from camdebug.cam.methods.foreign import CamFn, Foreign, foreign
from camdebug.cam.methods.full_gradient import FullGrad
from camdebug.cam.methods.grad_cam_bridge import PREFIX, GradCamPackage, bridge
from camdebug.cam.methods.guided import GuidedBackprop, GuidedGradCam
from camdebug.cam.methods.noise import SmoothGradCamPlusPlus
from camdebug.cam.methods.one_pass import ONE_PASS, OnePass
from camdebug.cam.methods.perturbation import AblationCAM, RandomCAM, ScoreCAM
from camdebug.cam.options import MapOptions
from camdebug.cam.passes import Chunk


@runtime_checkable
class Worker(Protocol):
    """A method that does more than one pass, or none: it gets a chunk and makes its own forwards."""

    @property
    def name(self) -> str:
        """Of the method."""
        ...

    @property
    def layered(self) -> bool:
        """Whether it looks at the target layer, so that there is a map for each target layer."""
        ...

    def __call__(self, chunk: Chunk, layer_index: int, class_idx: Tensor) -> Tensor:
        """Signed maps ``(n, *grid)`` float32 of the chunk's pictures for one class of each, ``(n,)`` int64.

        Called inside ``borrowed(model)`` with gradients off. ``chunk.views[layer_index]`` is the target layer; a
        method that is not ``layered`` is called once, with 0, and there may be no layer at all.
        """
        ...


Method = OnePass | Worker
MethodChoice = str | CamFn | Method
"""A name, ``"gradcam:ClassName"``, a function ``(model, images, class_idx) -> (n, *grid)``, or a method with options of
its own, such as ``ScoreCAM(top_k=64)``."""

_ALL: tuple[Worker, ...] = (
    ClassicCam(),
    AblationCAM(),
    ScoreCAM(),
    RandomCAM(),
    SmoothGradCamPlusPlus(),
    FullGrad(),
    GuidedBackprop(),
    GuidedGradCam(),
)

WORKERS: dict[str, Worker] = {method.name: method for method in _ALL}


def method_names() -> tuple[str, ...]:
    """All methods that have a name.

    >>> "ablationcam" in method_names()
    True
    """
    return (*ONE_PASS, *WORKERS)


def check_methods(method: object) -> tuple[Method, ...]:
    """The methods asked for, or raise naming the unknown one and the known ones."""
    asked = method if isinstance(method, (list, tuple)) else [method]
    if method is None or not asked:
        known = ", ".join(method_names())
        raise TypeError(f"method: expected a name or a sequence of names from {known}; got {method!r}")
    found: dict[str, Method] = {}
    for one in map(_method, asked):
        if found.setdefault(one.name, one) != one:
            raise ValueError(
                f"method: two different ones are called {one.name!r}, so their maps could not be told apart; write "
                "functions with names of their own"
            )
    return tuple(found.values())


def _method(choice: object) -> Method:
    if isinstance(choice, str) and choice in ONE_PASS:
        return ONE_PASS[choice]
    if isinstance(choice, str) and choice in WORKERS:
        return WORKERS[choice]
    if isinstance(choice, str) and choice.startswith(PREFIX):
        return bridge(choice)
    if isinstance(choice, (OnePass, Worker)):
        return choice
    if callable(choice):
        return _not_ours(foreign(choice))
    if not isinstance(choice, str):
        raise TypeError(
            f"method: expected a name, or a function (model, images, class_idx) -> (N, h, w), got {choice!r}"
        )
    raise ValueError(
        f'method: expected one of {", ".join(method_names())}, or "{PREFIX}ClassName" for a class of grad-cam; got '
        f"{choice!r}"
    )


def _not_ours(method: Foreign) -> Foreign:
    if method.name in method_names() or method.name.startswith(PREFIX):
        raise ValueError(
            f"method: the function is called {method.name!r}, as a method that is not yours is, so their maps could "
            "not be told apart; give the function another name"
        )
    return method


def check_options(methods: Sequence[Method], options: MapOptions) -> None:
    """Refuse an option that a method does not know."""
    unable = [method.name for method in methods if not isinstance(method, OnePass)]
    if options.eigen_smooth and unable:
        raise ValueError(
            f"eigen_smooth: {', '.join(unable)} adds up no weighted channels; leave it out, or choose one of "
            f"{', '.join(ONE_PASS)}"
        )


def needs_gradient(method: Method) -> bool:
    """Whether the gradient at the target layer is used."""
    return isinstance(method, OnePass) and method.uses_gradient


def needs_layer(method: Method) -> bool:
    """Whether there must be a target layer, or several."""
    if isinstance(method, GradCamPackage):
        return method.needs_layer
    return isinstance(method, OnePass) or method.layered
