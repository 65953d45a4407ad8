"""Masks in files: the values of their pixels, exact, never turned into the colours that they are shown in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camdebug.sources.entry import Mask, Unusable
from camdebug.sources.paths import check_file
from camdebug.sources.pictures import MOST_PIXELS, picture_formats

if TYPE_CHECKING:
    from PIL.Image import Image

Values = NDArray[np.integer[Any]]

NOT_BINARY = "mask is not binary; pass threshold= where it is grey or lossy, values= where it has classes"

_LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF", "HEIF")
_MOST_COLOURS = 4096
_IN_COLOURS = "mask in colours; as values= give colours, {(255, 0, 0): name}"


def read_values(path: Path, *, colours: bool = False) -> Values:
    """``(H, W)`` whole numbers, the values of a mask: indices of a palette, or grey of up to 16 bits.

    Args:
        path: of the file.
        colours: whether to read colours instead, each as ``red * 65536 + green * 256 + blue``.

    Raises:
        Unusable: it is no such mask.
    """
    with quiet(), _opened(path, exact=True) as image:
        return _values(image, colours=colours)


def values_in(path: Path, *, colours: bool = False) -> tuple[frozenset[int], tuple[int, int]]:
    """Which values a mask has, and its height and width; arguments and errors are those of :func:`read_values`.

    Unlike that it may run in threads, within :func:`quiet`.
    """
    with _opened(path, exact=True) as image:
        return _present(image, colours=colours), (image.height, image.width)


def mask_of(path: Path, values: Sequence[int], *, colours: bool = False) -> Mask:
    """``(H, W)`` where a mask has one of some values; arguments and errors are those of :func:`read_values`."""
    found: Mask = np.isin(read_values(path, colours=colours), values)
    return found


def binary_mask(path: Path, threshold: int | None = None) -> Mask:
    """``(H, W)`` where a mask of two values is not 0. Three or four equal channels count as one.

    Args:
        path: of the file.
        threshold: where it is given, masks may have any values, and the object is where they are above it: where it is
            brighter, if they are in colours or of two levels.

    Raises:
        Unusable: it is no such mask, or has no object.
    """
    with quiet(), _opened(path, exact=False) as image:
        grey = _one_channel(image, any_colours=threshold is not None)
        values = _values(grey, colours=False)
        if threshold is None:
            _check_binary(_present(grey, colours=False))
        found: Mask = values != 0 if threshold is None else values > threshold
    if not found.any():
        raise Unusable("mask without an object" + ("" if threshold is None else " above threshold="))
    return found


def _check_binary(there: frozenset[int]) -> None:
    if len(there) > 2 or (len(there) == 2 and 0 not in there):
        raise Unusable(NOT_BINARY)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings of files that are refused, or read all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def packed(colour: Sequence[int]) -> int:
    """A colour as one number.

    >>> packed((1, 2, 3))
    66051
    """
    red, green, blue = colour
    return red * 65536 + green * 256 + blue


def _present(image: Image, *, colours: bool) -> frozenset[int]:
    if not colours and image.mode in ("L", "P"):  # several times as fast as by way of an array
        return frozenset(value for value, count in enumerate(image.histogram()) if count)
    if not colours:
        return frozenset(np.unique(_values(image, colours=False)).tolist())
    found = image.convert("RGB").getcolors(_MOST_COLOURS)
    if found is None:
        raise Unusable("mask with thousands of colours")
    return frozenset(packed(colour) for _, colour in found)  # type: ignore[arg-type]


def _values(image: Image, *, colours: bool) -> Values:
    if colours:
        channels = np.asarray(image.convert("RGB")).astype(np.int32)
        found: Values = channels[..., 0] * 65536 + channels[..., 1] * 256 + channels[..., 2]
        return found
    if image.mode == "F":
        raise Unusable("mask of floating pixels; save it in 8 or 16 bits")
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise Unusable(_IN_COLOURS)
    return np.asarray(image, dtype=np.uint8 if image.mode == "1" else None)


def _one_channel(image: Image, *, any_colours: bool) -> Image:
    """What programs save as grey in colours."""
    if any_colours and image.mode in ("1", "P", "CMYK", "YCbCr"):
        image = image.convert("RGB")
    if image.mode not in ("RGB", "RGBA", "LA"):
        return image
    first, *others = image.split()
    opaque = image.mode == "RGB" or others.pop().getextrema() == (255, 255)
    if opaque and any_colours:
        return image.convert("L")
    if not opaque or any(other.tobytes() != first.tobytes() for other in others):
        raise Unusable(_IN_COLOURS)
    return first


@contextmanager
def _opened(path: Path, *, exact: bool) -> Iterator[Image]:
    """A mask, decoded."""
    from PIL import Image, UnidentifiedImageError

    check_file(path)
    try:
        image: Any = Image.open(path, formats=picture_formats())
    except UnidentifiedImageError as error:
        raise Unusable("mask is not a picture") from error
    except Image.DecompressionBombError as error:
        raise Unusable(_too_large()) from error
    except Exception as error:  # readers of damaged headers raise whatever they meet first
        raise Unusable("truncated or damaged mask") from error
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise Unusable(_too_large())
        if exact and image.format in _LOSSY:
            raise Unusable(f"mask saved as {image.format}, which does not keep values; of one class pass threshold=")
        try:
            image.load()
        except Exception as error:  # of a damaged file decoders raise whatever they meet first
            raise Unusable("truncated or damaged mask") from error
        yield image


def _too_large() -> str:
    return f"mask of more than {MOST_PIXELS // 1_000_000} million pixels"
