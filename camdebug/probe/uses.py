"""What can be done with a probe set before a training: seen, summed up, searched for copies, kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from camdebug.probe.held import Held

if TYPE_CHECKING:
    from PIL.Image import Image

    from camdebug.doctor.probe_summary import ProbeSummary
    from camdebug.probe.leaks import Leaks
    from camdebug.probe.probe_set import ProbeSet


class Uses(Held):
    """Methods of :class:`ProbeSet`."""

    def preview(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        per_class: int | Literal["all"] | None = None,
        columns: int | None = None,
        sort: Literal["area", "index"] = "area",
    ) -> Image:
        """Draw the probes as the model receives them, with what is annotated: whether boxes are right shows at once.

        Args:
            path: where the picture is written, a name that ends in ``.png``; nothing is written without.
            per_class: at most so many of each class, evenly over their areas; ``"all"`` for all of them; by default
                all of up to 64 probes, and 64 of more.
            columns: pictures in a row; by default as many as fit on 1600 pixels.
            sort: within a class by ``"area"``, smallest first, or ``"index"``.

        Raises:
            ValueError: when an argument is not as described.
            OSError: when the file cannot be written; an earlier one is still there then.
        """
        from camdebug.render.probe_sheet import save_probe_sheet

        return save_probe_sheet(self._set(), path, per_class=per_class, columns=columns, sort=sort)

    def summary(self, *, epochs: int | None = None) -> ProbeSummary:
        """What the probes can show, class by class, and what is missing. ``print`` it.

        Args:
            epochs: of the training to come, in each of which there is a look: what can be found depends on their
                number. Without, it counts as unknown.

        Raises:
            ValueError: when ``epochs`` is not a whole number of at least 1.
        """
        from camdebug.doctor.probe_summary import summarise_probes

        return summarise_probes(self._set(), epochs=epochs)

    def without(self, probes: Iterable[int | str] | int | str, *, reason: str = "left out by hand") -> ProbeSet:
        """The same set without some probes, which become exclusions. This one stays as it is.

        Args:
            probes: indices, or source ids, of those to leave out: ``probes.without(leaks.found)``, or the second of
                each pair, ``probes.without(j for _, j, _ in probes.near_duplicates())``.
            reason: that the exclusions give.

        Raises:
            TypeError, ValueError: there is no such probe, or none would stay.

        >>> import torch
        >>> from camdebug import ProbeSet
        >>> probes = ProbeSet(torch.zeros(3, 3, 8, 8), [0, 0, 1], source_ids=["a", "b", "c"])
        >>> probes.without(["b"]).source_ids
        ('a', 'c')
        """
        from camdebug.probe.leaving_out import content_without

        return self._set()._of(content_without(self._set(), probes, reason=reason))

    def near_duplicates(self, *, threshold: float | None = None) -> tuple[tuple[int, int, float], ...]:
        """Rows of probes that show nearly the same picture, and the correlation of small grey copies, 1 if equal.

        Pictures re-encoded, resized, mirrored, brighter or darker are found; two classes in one picture are no pair.
        Without ``threshold`` it is .95, and more where different pictures of the set come near that.
        """
        from camdebug.probe.duplicates import near_duplicates

        return near_duplicates(self._set(), threshold=threshold)

    def leaks_into(self, train_dataset: Any, *, threshold: float | None = None) -> Leaks:  # noqa: ANN401
        """Look for the probes among the pictures that are trained on: the same to the last pixel, or nearly.

        Args:
            train_dataset: a source, its annotations, a path, or a map-style dataset: of torchvision's own and of
                Hugging Face the stored pictures are compared, of others what ``dataset[i]`` gives, once.
            threshold: as of :meth:`near_duplicates`.
        """
        from camdebug.probe.leaks import leaks_into

        return leaks_into(self._set(), train_dataset, threshold=threshold)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write all of it, for :meth:`load`: ``.npz`` files of numbers and one JSON file that people can read.

        The folder is there whole or not at all. With ``overwrite`` an older set stays whole until the new one is
        complete; other files in the folder stay as they are.

        Args:
            folder: to be made; empty, or with an older set to ``overwrite``.
            overwrite: whether an older set gives way.

        Raises:
            FileExistsError: something is there.
            OSError: it cannot be written; an older set is as it was.
            TypeError, ValueError: ``folder`` is no path, or the pictures are too large; the message says by how much.

        >>> import tempfile
        >>> import torch
        >>> from camdebug import ProbeSet
        >>> probes = ProbeSet(torch.zeros(2, 3, 8, 8), [0, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     probes.save(folder)
        ...     ProbeSet.load(folder).fingerprint == probes.fingerprint
        True
        """
        from camdebug.probe.saving import save

        save(self._set(), folder, overwrite=overwrite)

    def _set(self) -> ProbeSet:
        return cast("ProbeSet", self)
