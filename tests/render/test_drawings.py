import dataclasses

import numpy as np
import pytest
import torch

from camdebug.render.colour import density, paint_heat, upsample
from camdebug.render.cue_map import (
    cue_scale,
    draw_cue_map,
    draw_mean_map,
    mean_box,
    mean_density,
    mean_picture,
)
from camdebug.render.filmstrip import TILE, Frame, choose_columns, contact_sheet, draw_filmstrip
from camdebug.render.ink import MARGIN, PAPER, line_height, resize
from camdebug.render.legend import cue_legend, heat_legend
from camdebug.render.overlay import display_size, draw_overlays
from camdebug.render.words import Reading, two_digits

torch.set_num_threads(1)
BOX = torch.tensor([[20.0, 30.0, 80.0, 90.0]])
AWKWARD = ["n" * 200, "\U0001f998 kangaroo \U0001f998" * 9, "<script>alert('x')</script>" * 5, "a/b\\c" * 40]


def picture(height=224, width=224, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def reading(**changes):
    return dataclasses.replace(Reading(12, "kangaroo", "dog", False, 0.617, 0.84, -1.234), **changes)


def overlay(size=(224, 224), maps=None, boxes=BOX, said=None):
    maps = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0)) if maps is None else maps
    return draw_overlays(picture(*size)[None], maps, [boxes], [said or reading()])[0]


def frames(count, grid=7):
    generator = torch.Generator().manual_seed(count)
    return [
        Frame(e, density(torch.rand(1, grid, grid, generator=generator))[0], 0.3 + e / 100, e % 2 == 0)
        for e in range(count)
    ]


def rim_is_paper(image, rows):
    """No ink in the margin: text that was cut would reach the edge."""
    band = image[rows]
    return bool((band[:, : MARGIN - 1] == PAPER).all() and (band[:, -(MARGIN - 1) :] == PAPER).all())


# words


def test_captions_say_the_numbers_with_their_chance_level():
    assert reading().headline() == "#12 kangaroo -> dog (wrong)"
    assert reading(predicted="kangaroo", correct=True).headline() == "#12 kangaroo (right)"
    assert reading().numbers == "outside .62 (chance .84)  D -1.2 (chance 0)"
    assert reading(problem="no heat").numbers == "no heat"


@pytest.mark.parametrize("size", [(224, 224), (48, 48), (500, 375)])
def test_numbers_and_their_chance_levels_are_never_cut(monkeypatch, size):
    written = []

    def note(pen, place, text, *args, **options):
        written.append((place, text))

    monkeypatch.setattr("camdebug.render.overlay.write", note)
    image = overlay(size, said=reading(outside=0.617, log_density_ratio=-1.234)).image
    numbers = "  ".join(text for _, text in written[1:])
    assert numbers == "outside .62 (chance .84)  D -1.2 (chance 0)"
    assert max(y for (_, y), _ in written) + line_height(13) <= image.shape[0] + MARGIN


@pytest.mark.parametrize("value", [1e-9, -3e-5, 0.0, 0.00051, 0.0996, 0.995, 1.0, 9.96, 1234.0, -0.5])
def test_numbers_have_two_digits_and_are_never_only_zeros(value):
    text = two_digits(value)
    assert text == "0" or text == "~0" or float(text) == pytest.approx(value, rel=0.051)
    assert not text.startswith(("0.", "-0."))
    assert (text == "0") == (value == 0)


# overlay


def test_an_overlay_is_the_picture_under_its_heat_with_the_box():
    maps = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0))
    drawn = overlay(maps=maps)
    expected = paint_heat(picture(), upsample(density(maps), (224, 224)))[0]
    expected[30:90, 20:80] = drawn.image[30:90, 20:80]
    assert np.array_equal(drawn.image[:224, :224], expected)
    assert (drawn.image[30, 20:80] == 255).all()
    assert drawn.boxes == ((20.0, 30.0, 80.0, 90.0),)


def test_a_map_without_evidence_leaves_the_picture_plain():
    drawn = overlay(maps=torch.full((1, 7, 7), 1.5e-8), boxes=torch.zeros(0, 4))
    assert np.array_equal(drawn.image[:224, :224], picture())


def test_boxes_grow_with_small_pictures():
    drawn = overlay(size=(48, 48), boxes=torch.tensor([[4.0, 8.0, 20.0, 40.0]]))
    assert drawn.boxes == ((20.0, 40.0, 100.0, 200.0),)
    assert (drawn.image[40, 20:100] == 255).all()


@pytest.mark.parametrize("size", [(28, 28), (32, 48), (150, 150), (199, 199), (224, 224), (480, 640), (1024, 1024)])
def test_pictures_are_shown_at_a_readable_size(size):
    height, width = display_size(*size)
    assert 200 <= min(height, width) <= 320
    assert width / height == pytest.approx(size[1] / size[0], rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (4, 2000), (2000, 4)])
def test_extreme_shapes_stay_within_bounds(size):
    drawn = draw_overlays(picture(*size)[None], torch.ones(1, 1, 1), [torch.zeros(0, 4)], [reading()])[0]
    assert 224 <= drawn.image.shape[1] <= 640
    assert drawn.image.shape[0] <= 700


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("size", [(48, 48), (224, 224), (224, 400)])
def test_overlay_captions_are_never_cut(name, size):
    drawn = overlay(size=size, said=reading(label=name, predicted=name[::-1]))
    ordinary = overlay(size=size)
    height = display_size(*size)[0]
    assert drawn.image.shape[1] == ordinary.image.shape[1]
    assert np.array_equal(drawn.image[:height], ordinary.image[:height])
    assert rim_is_paper(drawn.image, slice(height, None))
    assert (drawn.image[height:] != PAPER).any()


def test_all_overlays_of_a_set_may_differ_only_in_small_print():
    many = draw_overlays(
        np.stack([picture()] * 2), torch.ones(2, 7, 7), [BOX, BOX], [reading(), reading(label="n" * 200)]
    )
    assert {o.image.shape[1] for o in many} == {224}


# film strip


@pytest.mark.parametrize("count", [0, 1, 2, 11, 12, 13, 24, 1000])
def test_columns_are_first_last_and_evenly_spaced(count):
    columns = choose_columns(count)
    assert len(columns) == min(count, 12)
    assert columns == sorted(set(columns))
    if count:
        assert (columns[0], columns[-1]) == (0, count - 1)
    steps = np.diff(columns)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_one_column_cannot_hold_first_and_last():
    with pytest.raises(ValueError, match="at least 2"):
        choose_columns(5, limit=1)


def test_a_strip_holds_the_plain_picture_and_each_epoch_on_one_scale():
    shown = frames(3)
    strip = draw_filmstrip(picture(), shown, torch.zeros(0, 4), title="#12 kangaroo", chance=0.84)
    tiles = tiles_of(strip, 4)
    plain = resize(picture(), (TILE, TILE))
    assert np.array_equal(tiles[0], plain)
    for tile, frame in zip(tiles[1:], shown, strict=True):
        assert np.array_equal(tile, paint_heat(plain, upsample(frame.density[None], (TILE, TILE)))[0])


def tiles_of(strip, count):
    plain = resize(picture(), (TILE, TILE))
    top = next(y for y in range(120) if np.array_equal(strip[y : y + TILE, MARGIN : MARGIN + TILE], plain))
    return [strip[top : top + TILE, x : x + TILE] for x in range(MARGIN, MARGIN + count * (TILE + 4), TILE + 4)]


def test_the_same_map_has_the_same_pixels_in_every_column():
    one = frames(1)[0]
    strip = draw_filmstrip(picture(), [dataclasses.replace(one, epoch=e) for e in (0, 7)], torch.zeros(0, 4), title="")
    _, first, second = tiles_of(strip, 3)
    assert np.array_equal(first, second)


def test_long_runs_show_twelve_epochs_and_the_last_one():
    shown = frames(40)
    strip = draw_filmstrip(picture(), shown, torch.zeros(0, 4), title="")
    last = paint_heat(resize(picture(), (TILE, TILE)), upsample(shown[-1].density[None], (TILE, TILE)))[0]
    assert strip.shape[1] == 2 * MARGIN + 13 * TILE + 12 * 4
    assert np.array_equal(tiles_of(strip, 13)[-1], last)


def test_frames_of_different_grids_can_share_a_strip():
    strip = draw_filmstrip(picture(), [frames(1)[0], frames(1, grid=14)[0]], BOX, title="")
    assert strip.dtype == np.uint8


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("count", [0, 1, 12])
def test_strip_titles_are_never_cut(name, count):
    strip = draw_filmstrip(picture(), frames(count), BOX, title=f"#12 {name}", chance=0.84)
    ordinary = draw_filmstrip(picture(), frames(count), BOX, title="#12 kangaroo", chance=0.84)
    assert strip.shape == ordinary.shape
    assert rim_is_paper(strip, slice(0, 18))
    assert np.array_equal(strip[20:], ordinary[20:])


def test_a_frame_without_heat_is_plain():
    empty = Frame(3, torch.zeros(7, 7), None, False)
    tiles = tiles_of(draw_filmstrip(picture(), [empty], torch.zeros(0, 4), title=""), 2)
    assert np.array_equal(tiles[0], tiles[1])


def test_a_contact_sheet_keeps_every_strip_whole():
    strips = [np.full((30, 400, 3), 10, np.uint8), np.full((50, 700, 3), 90, np.uint8)]
    image = contact_sheet([("planted shortcut", strips[0]), ("clean twin " * 60, strips[1])], legend=True)
    assert image.shape[1] == 700
    assert (image == 10).all(2).sum() == 30 * 400
    assert (image == 90).all(2).sum() >= 50 * 700
    plain = contact_sheet([("same", strips[0]), ("same", strips[0])])
    assert plain.shape[0] < contact_sheet([("same", strips[0]), ("other", strips[0])]).shape[0]
    assert contact_sheet([]).shape[2] == 3


# class maps


def test_a_cue_map_is_red_where_evidence_is_owed_and_grey_elsewhere():
    cue = torch.zeros(7, 7)
    cue[6, 6], cue[0, 0] = 0.4, -0.4
    image = draw_cue_map(cue, picture(), title="kangaroo", scale=0.4).astype(int)
    top = 2 * 18 + MARGIN
    owed, against, middle = image[top + 218, 218], image[top + 5, 5], image[top + 112, 112]
    assert owed[0] > owed[2] + 80
    assert against[2] > against[0] + 80
    assert middle.max() - middle.min() <= 1


def test_a_larger_scale_makes_the_same_map_paler():
    cue = torch.full((7, 7), 0.1)
    strong, pale = (draw_cue_map(cue, picture(), title="", scale=s).astype(int)[100, 100] for s in (0.1, 1.0))
    assert strong[0] - strong[2] > pale[0] - pale[2] > 0


def test_the_cue_scale_only_grows_and_keeps_noise_pale():
    def peak(value: float) -> torch.Tensor:
        return torch.full((7, 7), 0.1).index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(value))

    assert cue_scale([peak(-0.9)], 0.5) == pytest.approx(0.9)
    assert cue_scale([peak(0.2)], 0.7) == pytest.approx(0.7)
    assert cue_scale([torch.full((7, 7), 1e-6)]) == pytest.approx(4 / 49)
    assert cue_scale([torch.cat([peak(float("nan")), peak(3.0)])]) == pytest.approx(3.0)
    assert cue_scale([]) > 0


@pytest.mark.parametrize("name", AWKWARD)
def test_class_map_titles_are_never_cut(name):
    ordinary = draw_mean_map(torch.ones(7, 7), picture(), title="kangaroo", boxes=BOX, note="40 probes")
    image = draw_mean_map(torch.ones(7, 7), picture(), title=name, boxes=BOX, note=name)
    assert image.shape == ordinary.shape
    assert rim_is_paper(image, slice(0, 40))
    assert rim_is_paper(image, slice(40 + 224 + 2, None))


def test_class_means_leave_out_what_says_nothing():
    maps = torch.stack([torch.eye(2), torch.zeros(2, 2), torch.full((2, 2), float("nan"))])
    assert torch.equal(mean_density(maps), torch.eye(2) * 2)
    assert torch.equal(mean_density(maps[1:]), torch.zeros(2, 2))
    boxes = [torch.tensor([[0.0, 0, 2, 2], [4, 4, 6, 8]]), torch.tensor([[2.0, 2, 4, 4]]), torch.zeros(0, 4)]
    assert mean_box(boxes).tolist() == [[1.0, 1.0, 5.0, 6.0]]
    assert mean_box(boxes[2:]).shape == (0, 4)
    assert (mean_picture(np.stack([np.full((2, 2, 3), v, np.uint8) for v in (10, 20)])) == 15).all()


@pytest.mark.parametrize("width", [40, 224, 1500])
def test_legends_show_their_scale_from_end_to_end(width):
    for legend in (heat_legend(width), cue_legend(width, 0.02)):
        assert legend.shape[1] == width
        assert (legend[:, -1] == PAPER).all()
        assert (legend != PAPER).any()
