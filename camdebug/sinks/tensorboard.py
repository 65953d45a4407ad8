"""TensorBoard: JPEG pictures and texts. Start its server with ``--samples_per_plugin images=9999`` to see all steps."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from camdebug.sinks.base import Picture, jpeg, safe_markdown


class TensorBoardSink:
    """Logs through the writer of a Lightning ``TensorBoardLogger``.

    Args:
        logger: its ``experiment`` is a ``SummaryWriter`` of torch or of tensorboardX.
        prefix: first part of the tags of alerts and facts.
    """

    name = "TensorBoard"

    def __init__(self, logger: Any, *, prefix: str = "camdebug") -> None:  # noqa: ANN401 - recognised by name, Lightning is not imported here
        self._logger = logger
        self._prefix = prefix
        self._alerts: tuple[int, list[str]] = (-1, [])

    def pictures(self, pictures: Sequence[Picture], *, step: int) -> None:
        """Log pictures under their tags, all in one event."""
        writer = self._logger.experiment
        if type(writer).__module__.startswith("tensorboardX"):
            for picture in pictures:
                writer.add_image(picture.tag, picture.image, step, dataformats="HWC")
        elif pictures:
            writer._get_file_writer().add_summary(_summary(pictures), step)

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """Log a text under ``tag``, keeping its line breaks."""
        self._logger.experiment.add_text(tag, safe_markdown(markdown), step)

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Log the alert as a text under ``<prefix>/alert``: TensorBoard has no alerts.

        It shows one text for a tag and step, the last, so each alert of a look is logged with those before it.
        """
        before = self._alerts[1] if self._alerts[0] == step else []
        self._alerts = (step, [*before, f"**{title}**\n\n{text}"])
        self.text(f"{self._prefix}/alert", "\n\n".join(self._alerts[1]), step=step)

    def facts(self, facts: Mapping[str, str | int | float]) -> None:
        """Log a table under ``<prefix>/facts`` at step 0."""
        rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()]
        table = "\n".join(["| fact | value |", "| --- | --- |", *rows])
        self._logger.experiment.add_text(f"{self._prefix}/facts", table, 0)


def _summary(pictures: Sequence[Picture]) -> Any:  # noqa: ANN401 - a protobuf message
    """Raw image summaries: ``add_image`` would encode each as PNG, five to a hundred times slower.

    Captions stay out: TensorBoard shows none, and what matters stands in the picture.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(
        value=[
            Summary.Value(
                tag=picture.tag,
                image=Summary.Image(
                    height=picture.image.shape[0],
                    width=picture.image.shape[1],
                    colorspace=3,
                    encoded_image_string=jpeg(picture.image),
                ),
            )
            for picture in pictures
        ]
    )


def _cell(value: str | int | float) -> str:
    return " ".join(html.escape(str(value), quote=False).replace("|", "&#124;").split())
