"""The pictures in a column of a ``datasets.Dataset``, which stay encoded until one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camdebug.sources.entry import Unusable
from camdebug.sources.paths import check_file
from camdebug.sources.pictures import open_bytes, picture_size

if TYPE_CHECKING:
    from PIL.Image import Image


class RowPictures:
    """One column of pictures: of the feature ``Image``, or bytes, or paths of files.

    Args:
        rows: of the dataset, without a format.
        column: of the pictures.
    """

    def __init__(self, rows: Any, column: str) -> None:  # noqa: ANN401
        feature = rows.features[column]
        alone = rows.select_columns([column])
        encoded = type(feature).__name__ == "Image"
        self._rows = alone.cast_column(column, type(feature)(decode=False)) if encoded else alone
        self._column = column

    def open(self, number: int) -> Image:
        """One picture with its header read.

        Raises:
            Unusable: the row has none that can be opened.
        """
        return open_bytes(self._content(number))

    def upright(self, number: int) -> tuple[int, int]:
        """Height and width of one in pixels, from its header, after the turn that its tag asks for.

        Raises:
            Unusable: the row has none that can be opened.
        """
        return picture_size(self._content(number), upright=True)

    def _content(self, number: int) -> bytes:
        value = self._rows[number][self._column]
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not value:
            raise Unusable("row without a picture")
        if "://" in value:
            raise Unusable("picture that is not on this machine")
        check_file(Path(value))
        return Path(value).read_bytes()
