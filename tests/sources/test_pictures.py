"""Real picture files, good and bad, opened as they were annotated."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps
from torchvision.datasets.folder import pil_loader

from camdebug.sources import AnnotatedObject, Entry, Unusable
from camdebug.sources.pictures import MOST_PIXELS, open_picture, picture_size

BOXED = (AnnotatedObject("cell", box=(0.0, 0.0, 2.0, 2.0)),)
NAMED = (AnnotatedObject("cell"),)
HEIGHT, WIDTH = 4, 6


def entry(path, objects=NAMED, size=None):
    return Entry("a", path, objects, size=size)


def noise(height=HEIGHT, width=WIDTH, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def turned_file(tmp_path, orientation, height=HEIGHT, width=WIDTH):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{orientation}_{height}.png"
    Image.fromarray(noise(height, width)).save(path, exif=exif)
    return path


def png(header, rows=b""):
    """A PNG of any header: width, height, bits, kind of colours, and three zeros."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", *header)), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def reason(path, objects=NAMED, size=None, **given):
    with pytest.raises(Unusable) as caught:
        open_picture(entry(path, objects, size), **given)
    return str(caught.value)


def palette_with_alpha():
    image = Image.fromarray(noise()).quantize(5)
    image.info["transparency"] = bytes([0, 128, 255, 3, 9])
    return image


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("rgb.png", Image.fromarray(noise())),
        ("grey.png", Image.fromarray(noise(channels=1))),
        ("alpha.png", Image.fromarray(noise(channels=4))),
        ("grey_alpha.png", Image.fromarray(noise(channels=2))),
        ("palette.png", palette_with_alpha()),
        ("two_levels.png", Image.fromarray(noise(channels=1)).convert("1")),
        ("cmyk.jpg", Image.fromarray(noise()).convert("CMYK")),
        ("luma.jpg", Image.fromarray(noise()).convert("YCbCr")),
        ("bitmap.bmp", Image.fromarray(noise())),
        ("tiles.tif", Image.fromarray(noise()).convert("CMYK")),
        ("named in 東京 é.webp", Image.fromarray(noise())),
        ("grey.jpg", Image.fromarray(noise(channels=1))),
    ],
)
def test_pixels_are_those_of_torchvisions_loader(tmp_path, name, image):
    path = tmp_path / name
    image.save(path)
    opened = open_picture(entry(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pil_loader(str(path))
    assert opened.mode == "RGB"
    assert opened.info == {}
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(expected))


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_picture(entry(tmp_path / "a.gif")).getcolors() == [(WIDTH * HEIGHT, (255, 0, 0))]


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    values = np.array([[0, 255, 256, 4095, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    (tmp_path / "deep.pgm").write_bytes(b"P5 6 1 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.pgm", "deep.tif"):
        opened = np.asarray(open_picture(entry(tmp_path / name)))
        np.testing.assert_array_equal(opened, np.repeat([[[0], [0], [1], [15], [128], [255]]], 3, axis=2))
    # Pillow alone cuts them at 255: all but black would be white.
    clipped = np.asarray(Image.open(tmp_path / "deep.png").convert("L"))
    np.testing.assert_array_equal(clipped, [[0, 255, 255, 255, 255, 255]])


def test_grey_of_sixteen_bits_is_as_bright_as_colour_of_sixteen_bits(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH)).astype(">u2")
    grey = b"".join(b"\0" + row.tobytes() for row in values)
    colour = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in values)
    (tmp_path / "grey.png").write_bytes(png((WIDTH, HEIGHT, 16, 0, 0, 0, 0), grey))
    (tmp_path / "colour.png").write_bytes(png((WIDTH, HEIGHT, 16, 2, 0, 0, 0), colour))
    pictures = [np.asarray(open_picture(entry(tmp_path / name))) for name in ("grey.png", "colour.png")]
    np.testing.assert_array_equal(*pictures)
    np.testing.assert_array_equal(pictures[0][..., 0], values >> 8)


def test_eight_bits_in_a_picture_of_sixteen_are_refused_rather_than_made_black(tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint16)).save(tmp_path / "a.png")
    assert reason(tmp_path / "a.png") == "16-bit picture with values below 256 alone; save it in 8 bits"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(tmp_path / "black.png")
    assert open_picture(entry(tmp_path / "black.png")).getcolors() == [(WIDTH * HEIGHT, (0, 0, 0))]


def test_twelve_bits_in_a_picture_of_sixteen_are_refused_rather_than_made_black(tmp_path):
    reason_of = {4095: "16-bit picture with values below 4096 alone, as of 12 bits, would be black; save it in 8 bits"}
    for largest in (4095, 4096):
        values = np.linspace(0, largest, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
        Image.fromarray(values).save(tmp_path / f"{largest}.png")
    assert reason(tmp_path / "4095.png") == reason_of[4095]
    assert open_picture(entry(tmp_path / "4096.png")).getextrema()[0] == (0, 16)


def late_png(kind, content):
    """A picture whose tag lies behind its pixels."""
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "PNG")
    whole = stream.getvalue()
    end = whole.index(b"IEND") - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return whole[:end] + chunk + whole[end:]


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("where", ["behind the pixels", "XMP behind the pixels", "XMP"])
def test_every_tag_that_pillow_turns_by_is_seen(tmp_path, where):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / ("a.jpg" if where == "XMP" else "a.png")
    if where == "XMP":
        Image.fromarray(noise()).save(path, xmp=XMP)
    elif "XMP" in where:
        path.write_bytes(late_png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    else:
        path.write_bytes(late_png(b"eXIf", exif.tobytes()[6:]))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert expected.shape[:2] == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(open_picture(entry(path), exif="apply")), expected)
    np.testing.assert_array_equal(np.asarray(open_picture(entry(path, BOXED, (WIDTH, HEIGHT)))), expected)
    assert open_picture(entry(path, BOXED, (HEIGHT, WIDTH))).size == (WIDTH, HEIGHT)
    assert reason(path, BOXED).startswith("turned by its EXIF tag")
    assert picture_size(path, upright=True) == picture_size(path.read_bytes(), upright=True) == (WIDTH, HEIGHT)
    assert picture_size(path) == (HEIGHT, WIDTH)


def test_a_size_is_known_without_decoding_where_no_tag_follows_the_pixels(tmp_path, monkeypatch):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    (tmp_path / "late.png").write_bytes(late_png(b"tEXt", b"a\0b"))
    decoded = []
    original = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(1) or original(image))
    assert picture_size(tmp_path / "a.png", upright=True) == (HEIGHT, WIDTH)
    assert decoded == []
    assert picture_size(tmp_path / "late.png", upright=True) == (HEIGHT, WIDTH)
    assert len(decoded) > 0  # the control


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_floating_pixels_are_refused(tmp_path, value):
    Image.fromarray(np.full((HEIGHT, WIDTH), value, np.float32)).save(tmp_path / "a.tif")
    assert reason(tmp_path / "a.tif") == "floating pixels; save the picture in 8 or 16 bits"


def test_pixels_of_32_bits_and_of_colours_without_a_conversion_are_refused(tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.int32)).save(tmp_path / "a.tif")
    assert reason(tmp_path / "a.tif") == "32-bit pixels; save the picture in 8 or 16 bits"
    assert reason(lambda: Image.new("La", (2, 2))) == "pixels of a kind that cannot be read (La)"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_made_upright_when_the_declared_size_says_so(tmp_path, orientation):
    path = turned_file(tmp_path, orientation)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert picture_size(path, upright=True) == (upright.height, upright.width)
    assert picture_size(path) == (HEIGHT, WIDTH)
    for exif, expected in (("apply", upright), ("ignore", Image.open(path))):
        opened = open_picture(entry(path, BOXED, (expected.height, expected.width)), exif=exif)
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(expected))
    if orientation >= 5:
        opened = open_picture(entry(path, BOXED, (upright.height, upright.width)))
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(upright))
        stored = open_picture(entry(path, BOXED, (HEIGHT, WIDTH)))
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(Image.open(path)))


def test_the_tag_is_gone_so_that_nobody_turns_the_picture_again(tmp_path):
    opened = open_picture(entry(turned_file(tmp_path, 6)), exif="apply")
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(opened)), np.asarray(opened))


@pytest.mark.parametrize(
    ("orientation", "height", "size"),
    [(6, WIDTH, (WIDTH, WIDTH)), (3, HEIGHT, (HEIGHT, WIDTH)), (6, HEIGHT, None), (2, HEIGHT, None)],
)
def test_a_turn_that_the_size_does_not_tell_of_needs_a_word_where_there_are_boxes(tmp_path, orientation, height, size):
    path = turned_file(tmp_path, orientation, height)
    assert reason(path, BOXED, size) == (
        "turned by its EXIF tag, annotated either way; pass exif='apply' (upright) or exif='ignore' (stored)"
    )
    without = open_picture(entry(path, NAMED, size))
    np.testing.assert_array_equal(np.asarray(without), np.asarray(pil_loader(str(path))))
    upright = open_picture(entry(path, BOXED, size), exif="apply")
    np.testing.assert_array_equal(np.asarray(upright), np.asarray(ImageOps.exif_transpose(Image.open(path))))


def test_a_tag_without_sense_turns_nothing(tmp_path):
    for orientation in (0, 9, 60000):
        path = turned_file(tmp_path, orientation)
        opened = open_picture(entry(path, BOXED, (HEIGHT, WIDTH)), exif="apply")
        np.testing.assert_array_equal(np.asarray(opened), noise())
    image = Image.fromarray(noise())
    image.save(tmp_path / "junk.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffjunk")
    np.testing.assert_array_equal(np.asarray(open_picture(entry(tmp_path / "junk.png"), exif="apply")), noise())


def test_turned_tiff_is_always_upright(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    opened = open_picture(entry(tmp_path / "a.tif", BOXED, (WIDTH, HEIGHT)))
    np.testing.assert_array_equal(np.asarray(opened), np.rot90(noise(), -1))
    assert picture_size(tmp_path / "a.tif", upright=True) == (WIDTH, HEIGHT)


def test_boxes_of_a_picture_of_another_size_are_not_trusted(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    assert open_picture(entry(tmp_path / "a.png", BOXED, (HEIGHT, WIDTH))).size == (WIDTH, HEIGHT)
    assert reason(tmp_path / "a.png", BOXED, (8, 12)) == "annotated for a picture of another size"
    swapped = "annotated for a picture of another size (height and width swapped)"
    assert reason(tmp_path / "a.png", BOXED, (WIDTH, HEIGHT)) == swapped
    assert open_picture(entry(tmp_path / "a.png", NAMED, (8, 12))).size == (WIDTH, HEIGHT)
    for orientation in (3, 6):
        path = turned_file(tmp_path, orientation)
        assert reason(path, BOXED, (8, 12)) == "annotated for a picture of another size"
    assert reason(turned_file(tmp_path, 6), BOXED, (WIDTH, HEIGHT), exif="ignore") == swapped


def bad_files(folder):
    jpeg, whole = folder / "whole.jpg", folder / "whole.png"
    Image.fromarray(noise(64, 64)).save(jpeg)
    Image.fromarray(noise(64, 64)).save(whole)
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"not a picture at all",
        "half.jpg": jpeg.read_bytes()[: jpeg.stat().st_size // 2],
        "half.png": whole.read_bytes()[: whole.stat().st_size // 2],
        "flipped.png": whole.read_bytes()[:200] + b"\xff" * 100 + whole.read_bytes()[300:],
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n",
        "bomb.png": png((60_000, 60_000, 8, 2, 0, 0, 0)),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle2.jpg")
    (folder / "circle2.jpg").symlink_to(folder / "circle.jpg")
    os.mkfifo(folder / "pipe.jpg")


FAULTS = {
    "gone.jpg": "missing file",
    "text.jpg/inside.jpg": "missing file",
    "nowhere.jpg": "link to a missing file",
    "circle.jpg": "link that leads back to itself",
    "folder.jpg": "a folder in place of the file",
    "pipe.jpg": "neither file nor folder (a pipe, socket or device)",
    "empty.jpg": "empty file",
    "nul\0.jpg": "impossible file name",
    "long" * 100 + ".jpg": "impossible file name",
    "text.jpg": "not a picture",
    "script.eps": "not a picture",
    "half.jpg": "truncated or damaged picture",
    "half.png": "truncated or damaged picture",
    "flipped.png": "truncated or damaged picture",
    "bomb.png": "more than 178 million pixels",
}


@pytest.mark.timeout(20)
def test_every_fault_of_a_file_has_one_short_reason_without_its_path(tmp_path):
    bad_files(tmp_path)
    assert {name: reason(tmp_path / name) for name in FAULTS} == FAULTS
    assert open_picture(entry(tmp_path / "whole.jpg")).size == (64, 64)  # the control


def test_a_bomb_is_refused_even_where_pillow_was_told_to_allow_it(tmp_path, monkeypatch):
    bad_files(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason(tmp_path / "bomb.png") == "more than 178 million pixels"
    with pytest.raises(Unusable, match=r"^more than 178 million pixels$"):
        picture_size(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS is None


def test_a_large_picture_that_pillow_warns_of_is_opened_in_silence(tmp_path, monkeypatch):
    Image.fromarray(noise(20, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(tmp_path / "a.png").close()
    assert open_picture(entry(tmp_path / "a.png")).size == (10, 20)
    assert picture_size(tmp_path / "a.png") == (20, 10)
    assert MOST_PIXELS == 2 * 89_478_485
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_pictures_that_a_function_gives_are_treated_alike(tmp_path):
    path = turned_file(tmp_path, 6)
    opened = open_picture(entry(lambda: Image.open(path), BOXED, (WIDTH, HEIGHT)))
    np.testing.assert_array_equal(np.asarray(opened), np.rot90(noise(), -1))

    def bad(error):
        raise error

    assert reason(lambda: bad(Unusable("as it says"))) == "as it says"
    assert reason(lambda: bad(RuntimeError("some path"))) == "could not be read (RuntimeError)"
    assert reason(lambda: b"bytes") == "expected a Pillow picture, got bytes"
    assert reason(lambda: Image.new("F", (2, 2))) == "floating pixels; save the picture in 8 or 16 bits"


def test_a_wrong_exif_is_an_error():
    with pytest.raises(ValueError, match=r"^exif: expected 'auto', 'apply' or 'ignore', got 'yes'$"):
        open_picture(entry(Path("a.png")), exif="yes")
