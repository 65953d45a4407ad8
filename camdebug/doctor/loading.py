"""Model and pictures for the command line: a function of the user's own makes them; nothing is unpickled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from camdebug.wording import told


class LoadingError(Exception):
    """What was named gives no model and pictures. The message is one line."""


def load(target: str) -> tuple[Any, Any]:
    """Call ``package.module:name``, found from the current directory too.

    Args:
        target: names a function without arguments that returns ``(model, probes_or_batch)``, or a dict with the keys
            ``model`` and ``probes`` or ``batch``.

    Raises:
        LoadingError: when that does not work, whatever the reason.
    """
    module, name = _module_and_name(target)
    made = getattr(module, name, None)
    if not callable(made):
        raise LoadingError(f"{module.__name__!r} has no function {name!r}")
    return _model_and_pictures(target, called(target, made))


def named(target: str) -> Any:  # noqa: ANN401 - whatever has that name
    """What ``package.module:name`` stands for, found from the current directory too.

    Raises:
        LoadingError: when there is no such thing.
    """
    module, name = _module_and_name(target)
    if not hasattr(module, name):
        raise LoadingError(f"{module.__name__!r} has no {name!r}")
    return getattr(module, name)


def called(target: str, made: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
    """What a function without arguments returns.

    Raises:
        LoadingError: when it fails.
    """
    try:
        return made()
    except (Exception, SystemExit) as error:
        raise LoadingError(f"{target} failed ({told(error)})") from error


def _model_and_pictures(target: str, given: object) -> tuple[Any, Any]:
    if isinstance(given, Mapping) and "model" in given:
        pictures = [given[key] for key in ("probes", "batch") if key in given]
        if len(pictures) == 1:
            return given["model"], pictures[0]
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        return given[0], given[1]
    raise LoadingError(
        f"{target}: expected (model, probes_or_batch) or a dict with the keys model and probes or batch, got "
        + (f"the keys {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__)
    )


def _module_and_name(target: str) -> tuple[ModuleType, str]:
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise LoadingError(f"expected package.module:name, got {target!r}")
    if any(sign in target for sign in "/\\") or target.startswith(".") or module_name.endswith(".py"):
        raise LoadingError(f"expected package.module:name, not a path, got {target!r}; run the command in its folder")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise LoadingError(f"cannot import {module_name!r} ({told(error)})") from error
    return module, name
