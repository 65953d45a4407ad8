"""Where pictures, texts and alerts go: one sink for each logger of the trainer that can take them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from camdebug.sinks.base import Picture, PictureBox, Sink, slug, unique_slugs

__all__ = ["Picture", "PictureBox", "Sink", "room_kept", "sinks_for", "slug", "unique_slugs"]


def sinks_for(loggers: Iterable[Any], *, prefix: str = "camdebug") -> list[Sink]:
    """Sinks for those loggers that take pictures, in order. Call and use them on rank zero only.

    Loggers are recognised by the names of their classes and base classes, so those of ``lightning``, of
    ``pytorch_lightning`` and subclasses of either all count. Others get scalars
    alone, which go to every logger by another way.

    Args:
        loggers: of the trainer.
        prefix: first part of the tags of alerts and facts.
    """
    found = (_sink_for(logger, prefix) for logger in loggers)
    return [sink for sink in found if sink is not None]


def room_kept(logger: Any) -> AbstractContextManager[Any]:  # noqa: ANN401
    """A block in which what a logger cannot take of ours costs nothing that the user logs later."""
    names = {cls.__name__ for cls in type(logger).__mro__}
    if "TensorBoardLogger" not in names or "DummyLogger" in names:
        return nullcontext()
    from camdebug.sinks import tensorboard

    try:
        writer = logger.experiment
    except Exception:  # what is logged next will say so
        return nullcontext()
    return tensorboard.room_kept(writer)


def _sink_for(logger: Any, prefix: str) -> Sink | None:  # noqa: ANN401 - any class may be a logger
    names = {cls.__name__ for cls in type(logger).__mro__}
    if "DummyLogger" in names:
        return None
    if "TensorBoardLogger" in names:
        from camdebug.sinks.tensorboard import TensorBoardSink

        return TensorBoardSink(logger, prefix=prefix)
    if "WandbLogger" in names:
        from camdebug.sinks.wandb import WandbSink

        return WandbSink(logger, prefix=prefix)
    return None
