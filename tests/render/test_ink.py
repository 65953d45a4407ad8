import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from camdebug.render import ink

NAMES = [
    "x" * 200,
    "W" * 200,
    "\U0001f998" * 60,
    "<b>&amp;</b> " * 20,
    "a/b\\c " * 40,
    "",
    "line\nbreak\ttab",
    "日本 語",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [30, 112, 214])
def test_ellipsised_text_stays_within_its_width(name, width):
    line = ink.ellipsise(name, 11, width)
    canvas = Image.new("L", (width + 400, 40), 255)
    ImageDraw.Draw(canvas).text((0, 5), line, fill=0, font=ink.font(11))
    assert ink.text_width(line, 11) <= width
    assert (np.asarray(canvas)[:, width:] == 255).all()


def test_the_check_above_sees_text_that_is_not_shortened():
    canvas = Image.new("L", (600, 40), 255)
    ImageDraw.Draw(canvas).text((0, 5), "x" * 200, fill=0, font=ink.font(11))
    assert (np.asarray(canvas)[:, 214:] != 255).any()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(40, 300))
def test_any_text_is_one_printable_line_that_fits(text, width):
    assert ink.text_width(ink.ellipsise(text, 12, width), 12) <= width
    wrapped = ink.wrap(text, 12, width, 2)
    assert len(wrapped) <= 2
    assert all(ink.text_width(line, 12) <= width and "\n" not in line for line in wrapped)


def test_unknown_characters_are_marked_and_invisible_ones_vanish():
    assert ink.printable("caf\u00e9 \u2192 \U0001f998\u200d!") == "caf\u00e9 \u2192 ?!"


def test_a_sentence_that_must_shrink_keeps_its_frame():
    line = ink.fit(lambda n: f"#7 {ink.shorten('k' * 200, n)} (wrong)", 12, 200)
    assert line.startswith("#7 kk")
    assert line.endswith("... (wrong)")
    assert 170 < ink.text_width(line, 12) <= 200


def test_wrap_breaks_at_spaces_and_loses_nothing_that_fits():
    lines = ink.wrap("one two three four five six", 12, 90, 4)
    assert " ".join(lines) == "one two three four five six"
    assert len(lines) > 1


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_box_line_reads_on_any_ground(ground):
    image = np.full((40, 40, 3), ground, np.uint8)
    ink.outline(image, (10, 12, 30, 28))
    assert (image[12, 10:30] == 255).all()
    assert (image[13, 11:29] == 0).all()
    assert (image[27, 10:30] == 255).all()
    assert (image[12:28, 10] == 255).all()
    assert (image[12:28, 29] == 255).all()
    untouched = image.copy()
    untouched[12:28, 10:30] = ground
    assert (untouched == ground).all()
    assert (image[14:26, 12:28] == ground).all()


@pytest.mark.parametrize("box", [(-50, -50, 900, 900), (39.6, 39.6, 39.9, 39.9), (0, 0, 0.2, 0.2), (5, 5, 5, 5)])
def test_boxes_at_the_rim_and_tiny_ones_are_drawn_inside(box):
    image = np.full((40, 40, 3), 128, np.uint8)
    ink.outline(image, box)
    assert (image == 255).sum() >= 36
    assert (image == 0).any()


@pytest.mark.parametrize("turned", [False, True])
def test_a_sliver_at_the_border_is_no_dark_bar(turned):
    image = np.full((40, 40, 3), 128, np.uint8)
    ink.outline(image, (0, 36, 40, 40) if turned else (36, 0, 40, 40))
    image = image.transpose(1, 0, 2) if turned else image
    assert (image[:, 36] == 255).all()
    assert (image[:, 39] == 255).all()
    assert (image[[1, 4, 35, 38], 37:39] == 0).all()  # its ends alone are dark
    assert (image[5:35, 37:39] == 128).all()


def test_a_box_on_a_picture_smaller_than_its_line_does_not_fail():
    image = np.full((2, 1, 3), 128, np.uint8)
    ink.outline(image, (0, 0, 1, 2))
    assert (image == 255).all()


def test_whole_factors_repeat_pixels():
    small = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    assert np.array_equal(ink.resize(small, (9, 12))[1::3, 1::3], small)
    assert ink.resize(small, (5, 6)).shape == (5, 6, 3)


def test_pillows_own_font_stands_in_without_matplotlib(monkeypatch):
    monkeypatch.setattr(ink, "_font_file", lambda bold: None)
    for cached in (ink.font, ink._known_characters, ink.text_width):
        cached.cache_clear()
    try:
        assert ink.printable("caf\u00e9") == "caf?"
        assert 0 < ink.text_width(ink.ellipsise("x" * 200, 12, 100), 12) <= 100
    finally:
        for cached in (ink.font, ink._known_characters, ink.text_width):
            cached.cache_clear()
