"""Checks before the first look: do method, probes and model fit together?"""

from __future__ import annotations

import inspect

from torch import Tensor

from camdebug.cam.explain import Recipe
from camdebug.cam.methods.foreign import CamFn, Foreign, name_of
from camdebug.cam.methods.registry import MethodChoice, check_methods, check_options
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.options import MapOptions


def check_recipe(method: MethodChoice, options: MapOptions) -> Recipe:
    """One method for all looks, whose maps can be shared out.

    Raises:
        TypeError, ValueError: naming the argument that is wrong.
    """
    if not isinstance(options, MapOptions):
        raise TypeError(f"options: expected camdebug.MapOptions, got {type(options).__name__}")
    methods = check_methods([method])
    check_options(methods, options)
    if options.sign == "signed":
        raise ValueError("options: shares of heat take maps of 0 or more; choose sign='positive' or 'absolute'")
    if isinstance(methods[0], Foreign):
        _check_signature(methods[0].function)
    return Recipe(methods[0], options)


def _check_signature(function: CamFn) -> None:
    """Refuse a function that cannot be called with three arguments. Some that are built in do not tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        raise TypeError(
            f"method: expected a function (model, images, class_idx) -> (N, h, w), got {name_of(function)}{signature}"
        ) from error


def check_use(use: ModelUse) -> ModelUse:
    """How a model is used, the same for all pictures: composites are made of several.

    Raises:
        ValueError: when ``score_fn`` is about single pictures.
    """
    if getattr(use.outputs, "of_pictures", None) is not None:
        raise ValueError(
            "score_fn: a region or a box for each picture is for compute_cams; looks also read other pictures, so give "
            "one for all"
        )
    return use


def check_class_count(classes: int, scores: int) -> None:
    """Refuse probes of more classes than the model gives scores for.

    Raises:
        ValueError: naming the probes.
    """
    if classes > scores:
        raise ValueError(
            f"probes: have {classes} classes, but the model gives {scores} scores; the labels must be the model's "
            "class indices"
        )


def are_probabilities(scores: Tensor) -> bool:
    """Whether ``(n, K)`` scores are 0 or more and sum to 1, to the precision of bfloat16."""
    return bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-2).all())
