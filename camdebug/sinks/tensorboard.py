"""TensorBoard: JPEG pictures and texts. Start its server with ``--samples_per_plugin images=9999`` to see all steps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from camdebug.sinks.base import Picture, inert, jpeg, safe_markdown


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
        if not pictures:
            return
        with room_kept(self._logger.experiment) as writer:
            if type(writer).__module__.startswith("tensorboardX"):
                for picture in pictures:
                    writer.add_image(picture.tag, picture.image, step, dataformats="HWC")
            else:
                writer._get_file_writer().add_summary(_summary(pictures), step)

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """Log a text under ``tag``, keeping its line breaks."""
        with room_kept(self._logger.experiment) as writer:
            writer.add_text(tag, safe_markdown(markdown), step)

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
        with room_kept(self._logger.experiment) as writer:
            writer.add_text(f"{self._prefix}/facts", table, 0)


class _AtOnce:
    """Stands in for the thread of a writer: what is written here fails here. Others may write at the same time."""

    def __init__(self, records: Any) -> None:  # noqa: ANN401 - a RecordWriter
        self._records, self._lock = records, Lock()

    def write(self, event: bytes) -> None:
        with self._lock:
            self._records.write(event)

    def flush(self) -> None:
        with self._lock:
            self._records.flush()


@contextmanager
def room_kept(writer: Any) -> Iterator[Any]:  # noqa: ANN401 - a SummaryWriter
    """What of ours does not fit on the disk is taken back, so that it costs the user's own scalars nothing.

    The writer works in a thread of its own: what fails there is raised at the next thing that *the user* logs, and for
    ever after. So what is written in the block is written at once, without that thread. If that fails, the file is cut
    to what it was.

    Raises:
        OSError: it did not fit, or the writer could not write before.
    """
    events = _event_writer(writer)
    if events is None:
        yield writer
        return
    writer.flush()  # what fails here is not ours, and stays as it is
    thread, file = events._async_writer, Path(events._file_name)
    size = file.stat().st_size if file.is_file() else None
    events._async_writer = _AtOnce(thread._writer)
    try:
        yield writer
        writer.flush()
    except BaseException:
        with suppress(OSError):
            if size is not None:
                os.truncate(file, size)
        raise
    finally:
        events._async_writer = thread


def _event_writer(writer: Any) -> Any:  # noqa: ANN401
    """What torch's writer writes with; ``None`` for other writers, and for files that cannot be appended to."""
    try:
        events = writer._get_file_writer().event_writer
        known = events._file_name and events._async_writer._writer
        return events if known and events._general_file_writer.fs_supports_append else None
    except Exception:  # another writer, or one that cannot be opened: what is logged next will say so
        return None


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
    return " ".join(inert(str(value)).replace("|", "&#124;").split())
