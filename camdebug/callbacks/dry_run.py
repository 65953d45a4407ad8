"""``DryRun``: what a monitor can tell before a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camdebug.callbacks.schedule import Schedule
from camdebug.observe import Observer

if TYPE_CHECKING:
    from torch import nn

    from camdebug.doctor import DoctorReport


class DryRun:
    """Asks the doctor with a monitor's own settings."""

    _observer: Observer
    _schedule: Schedule

    def doctor(self, model: nn.Module, batch: object = None, *, epochs: int | None = None) -> DoctorReport:
        """Say what looks at this model will do, cost and refuse, without a training. ``print`` the report.

        Args:
            model: that is to be trained. It comes back as it was, bit for bit.
            batch: pictures ``(N, C, H, W)``, or a batch of a ``DataLoader`` that begins with them, in place of the
                monitor's probes; then there is nothing to say about boxes.
            epochs: of the training; it settles what these probes are likely to find.

        Raises:
            TypeError: when ``model`` is no module or ``batch`` holds no pictures.
        """
        from camdebug.doctor import examine

        observer = self._observer
        return examine(
            model,
            observer.probes if batch is None else batch,
            method=observer.asked_method,
            target_layer=observer.target_layer,
            options=observer.recipe.options,
            use=observer.use,
            contrast=observer.contrast,
            chunk_size=observer.asked_chunk_size,
            epochs=epochs,
            every_n_epochs=self._schedule.every_n_epochs,
            alpha=observer.alpha,
            seed=observer.seed,
        )
