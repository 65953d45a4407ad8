"""Keeps a LightningModule from logging in its forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_LOGS = ("log", "log_dict")


@contextmanager
def logging_off(module: nn.Module) -> Iterator[None]:
    """A ``self.log`` inside the module's forward must not book our pictures as the user's data."""
    attributes: dict[str, Any] = module.__dict__
    kept: dict[str, Any] = {name: attributes[name] for name in _LOGS if name in attributes}
    attributes.update(dict.fromkeys(_LOGS, _ignore))
    try:
        yield
    finally:
        for name in _LOGS:
            attributes.pop(name, None)
        attributes.update(kept)


def _ignore(*_args: object, **_kwargs: object) -> None:
    return None
