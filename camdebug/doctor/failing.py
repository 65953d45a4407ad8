"""What a model's own forward raises, and what to do about it; and how it is kept from logging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from camdebug.cam.lending.logging_off import logging_off


def forward_failed(error: Exception, raw: str, size: tuple[int, ...]) -> tuple[str, str]:
    """What failed, and advice.

    Args:
        error: that was raised.
        raw: the output in words if the model got as far as that.
        size: of one picture.
    """
    if raw:
        return f"the output, {raw}, cannot be read as class scores", "Return logits (N, K), or say how it is read."
    return f"the model's forward fails on a picture of {size}", _advice(str(error))


def _advice(why: str) -> str:
    if "pass inputs=" in why:
        return ""  # the error says it
    if "not attached to a `Trainer`" in why:
        return "Before a fit there is no self.trainer, so its forward must do without one."
    return "Check the size and channels that it takes."


@contextmanager
def no_logging(model: nn.Module) -> Iterator[None]:
    """No ``self.log`` in the forward of a ``LightningModule``, which has no Trainer yet to log to."""
    with ExitStack() as muted:
        for module in model.modules():
            if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__):
                muted.enter_context(logging_off(module))
        yield
