"""Open the picture of an entry as it was annotated: upright or as stored, in 8-bit RGB, or say why it cannot serve."""

from __future__ import annotations

import os
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from camdebug.sources.entry import Entry, Unusable
from camdebug.sources.paths import check_file

if TYPE_CHECKING:
    from PIL.Image import Image

Exif = Literal["auto", "apply", "ignore"]

MOST_PIXELS = 178_956_970
"""Of a picture; what declares more is not decoded. Pillow refuses above it too, unless it was told not to."""

# Pillow's readers of pixels; left out are those that run other programs (EPS), draw (WMF) or take anything (TGA).
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "PPM", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF", "HEIF", "QOI", "ICO")

_ORIENTATION = 0x0112
_TAGS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_PNG_TAGS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def open_picture(entry: Entry, *, exif: Exif = "auto") -> Image:
    """The picture of an entry, whole, in the pixels of its annotation.

    Colours become RGB as torchvision's loader makes them: palettes and CMYK are converted, transparency is dropped,
    of an animation the first frame is taken. Grey pictures of 16 bits keep their high byte, as Pillow does it for
    16-bit colours (its own conversion to RGB cuts grey ones at 255). Grey ones without a value of 4096 or more are
    refused, since they would have 16 shades of black: cameras of 12 bits write such. Floating and 32-bit pictures are
    refused, since nothing says what is white.

    A picture that an EXIF tag turns (or one of XMP, as Pillow reads both) is stored lying, and may have been annotated
    either way. With ``"auto"`` the declared size of the entry tells which. Where it does not (squares, half turns, no
    size) the picture is refused; if the entry has neither boxes nor masks it is left as stored, as torchvision's loader
    does. TIFF pictures are always turned, by Pillow itself.

    Args:
        entry: of a source.
        exif: ``"apply"`` turns pictures upright, ``"ignore"`` leaves them as stored.

    Returns:
        A picture in mode RGB without metadata, of the declared size if the entry has one and boxes or masks.

    Raises:
        Unusable: the picture cannot serve; one reason for each kind of fault.
        ValueError: ``exif`` is none of the three.
    """
    if exif not in get_args(Exif):
        raise ValueError(f"exif: expected 'auto', 'apply' or 'ignore', got {exif!r:.80}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(entry.picture, Path):
            with _opened(entry.picture) as image:
                return _finished(image, entry, exif)
        try:
            image = entry.picture()
        except Unusable:
            raise
        except Exception as error:
            raise Unusable(f"could not be read ({type(error).__name__})") from error
        return _finished(_expect_picture(image), entry, exif)


def picture_size(picture: Path | bytes, *, upright: bool = False) -> tuple[int, int]:
    """Height and width of a picture in pixels, from its header alone.

    Args:
        picture: its file, or what is in it.
        upright: after the turn that its EXIF tag asks for, instead of as stored.

    Raises:
        Unusable: it is not a picture that can be opened.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _opened(picture) if isinstance(picture, Path) else open_bytes(picture) as image:
            return size_of(image, upright=upright)


def size_of(image: Image, *, upright: bool = False) -> tuple[int, int]:
    """Height and width of an opened picture in pixels; arguments are those of :func:`picture_size`."""
    if upright and _tags_follow(image):
        _decode(image)
    lying = upright and _orientation(image) >= 5
    return (image.width, image.height) if lying else (image.height, image.width)


def open_bytes(content: bytes) -> Image:
    """The picture in the content of a file, with its header read and its pixels not.

    Raises:
        Unusable: it is not a picture that can be opened.
    """
    return _header(BytesIO(content))


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's readers that are used, by name."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _opened(path: Path) -> Image:
    check_file(path)
    return _header(path)


def _header(source: Path | BytesIO) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(source, formats=picture_formats())
    except UnidentifiedImageError as error:
        raise Unusable("not a picture") from error
    except Image.DecompressionBombError as error:
        raise Unusable(_too_large()) from error
    except Exception as error:  # readers of damaged headers raise whatever they meet first
        raise Unusable("truncated or damaged picture") from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise Unusable(_too_large())
    return image


def _too_large() -> str:
    return f"more than {MOST_PIXELS // 1_000_000} million pixels"


def _expect_picture(image: object) -> Image:
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise Unusable(f"expected a Pillow picture, got {type(image).__name__}")
    if image.width * image.height > MOST_PIXELS:
        raise Unusable(_too_large())
    return image


def _finished(image: Image, entry: Entry, exif: Exif) -> Image:
    _decode(image)  # first: a PNG may have its tags behind the pixels
    turn = _turn(image, entry, exif)
    _check_size(entry, (image.width, image.height) if turn >= 5 else (image.height, image.width))
    try:
        picture = _rgb(image)
    except (ValueError, OSError) as error:
        raise Unusable(f"pixels of a kind that cannot be read ({image.mode})") from error
    picture.info = {}  # else whoever looks at the tag turns the picture once more
    return _turned(picture, turn)


def _decode(image: Image) -> None:
    try:
        image.load()
    except Exception as error:  # of a damaged file decoders raise whatever they meet first
        raise Unusable("truncated or damaged picture") from error


def _rgb(image: Image) -> Image:
    if image.mode == "F":
        raise Unusable("floating pixels; save the picture in 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_deep(image).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image) -> Image:
    """Grey of 8 bits from grey of 16; Pillow gives some of them (PGM) in 32."""
    from PIL import Image

    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise Unusable("32-bit pixels; save the picture in 8 or 16 bits")
    values = np.asarray(image).astype(np.int64)
    largest = values.max(initial=0)
    if 0 < largest < 256:
        raise Unusable("16-bit picture with values below 256 alone; save it in 8 bits")
    if 256 <= largest < 4096:
        raise Unusable("16-bit picture with values below 4096 alone, as of 12 bits, would be black; save it in 8 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _orientation(image: Image) -> int:
    """Of the EXIF or XMP tag, 1 to 8. 1 is upright, and what a missing or senseless tag means."""
    if image.format == "TIFF" or not any(tag in image.info for tag in _TAGS):  # Pillow turns TIFF pictures itself
        return 1
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged tag says nothing; the pixels may be whole
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tags_follow(image: Image) -> bool:
    """Whether a PNG has tags behind its pixels, of which Pillow knows once it has decoded these."""
    stream: Any = getattr(image, "fp", None)
    if image.format != "PNG" or stream is None:
        return False
    here, pixels, found = stream.tell(), False, False
    stream.seek(8)
    while not found and len(head := stream.read(8)) == 8:
        pixels |= head[4:] == b"IDAT"
        found = pixels and head[4:] in _PNG_TAGS
        stream.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    stream.seek(here)
    return found


def _turn(image: Image, entry: Entry, exif: Exif) -> int:
    """The orientation to undo; 1 for none."""
    tag = 1 if exif == "ignore" else _orientation(image)
    if exif == "apply" or tag == 1:
        return tag
    stored = (image.height, image.width)
    if tag >= 5 and entry.size is not None and image.height != image.width:
        return tag if tuple(entry.size) == stored[::-1] else 1
    if entry.size is not None and tuple(entry.size) != stored:
        return 1  # of another size either way
    if not _has_places(entry):
        return 1
    raise Unusable(
        "turned by its EXIF tag, annotated either way; pass exif='apply' (upright) or exif='ignore' (stored)"
    )


def _turned(picture: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    steps = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(steps[orientation]) if orientation in steps else picture


def _check_size(entry: Entry, real: tuple[int, int]) -> None:
    """Boxes and masks for a picture of another size cannot be trusted to fit this one."""
    if entry.size is None or tuple(entry.size) == real or not _has_places(entry):
        return
    swapped = tuple(entry.size) == real[::-1]
    raise Unusable("annotated for a picture of another size" + (" (height and width swapped)" if swapped else ""))


def _has_places(entry: Entry) -> bool:
    return any(found.box is not None or found.mask is not None for found in entry.objects)
