"""The picture: boxes and grid lines where they should be."""

import numpy as np
import pytest
import torch
from patients import Net, images, probes

from camdebug.doctor import examine, picture
from camdebug.doctor.picture import DRAWN, GAP, TEXT, draw_examination, draw_grid
from camdebug.doctor.pictures import pictures_of
from camdebug.probe.probe_set import ProbeSet
from camdebug.render.ink import DARK, LIGHT, MARGIN, PAPER, line_height
from camdebug.render.legend import legend_height

SIDE = 208  # 13 times 16 pixels
TOP = 2 * line_height(TEXT)


def grey_probe():
    """A picture of mid grey, 16x16, with a box from (4, 2) to (12, 10), the range of values fixed by a second one."""
    two = torch.full((2, 3, 16, 16), 0.5)
    two[1, :, 0, 0], two[1, :, 0, 1] = 0.0, 1.0
    return pictures_of(ProbeSet(two, [0, 1], torch.tensor([[4.0, 2, 12, 10]] * 2)))


def test_boxes_are_drawn_where_they_are_in_both_columns():
    image = np.asarray(draw_examination(grey_probe(), torch.zeros(2, 4, 4)))
    for left in (MARGIN, MARGIN + SIDE + GAP):
        tile = image[TOP : TOP + SIDE, left : left + SIDE]
        x0, y0, x1, y1 = 4 * 13, 2 * 13, 12 * 13 - 1, 10 * 13 - 1
        for y, x in ((y0, x0), (y0, x1), (y1, x0), (y1, x1), (y0, 100), (100, x0)):
            assert tuple(tile[y, x]) == LIGHT
        for y, x in ((y0 + 1, x0 + 1), (y1 - 1, x1 - 1), (y0 + 1, 100)):
            assert tuple(tile[y, x]) == DARK
        assert tuple(tile[y0 - 1, x0 - 1]) == (128, 128, 128)


def test_the_lines_of_the_grid_are_in_the_second_column_alone():
    image = np.asarray(draw_examination(grey_probe(), torch.zeros(2, 4, 4)))
    plain, warm = (image[TOP : TOP + SIDE, left : left + SIDE] for left in (MARGIN, MARGIN + SIDE + GAP))
    line = round(128 + 0.45 * 127)
    assert tuple(warm[SIDE * 3 // 4, 10]) == (line,) * 3
    assert tuple(warm[10, SIDE // 4]) == (line,) * 3
    assert (plain[SIDE * 3 // 4, :50] == 128).all()
    assert (warm[SIDE * 3 // 4 + 1, :50] == 128).all()


def test_heat_is_laid_over_the_second_column_where_the_map_has_it():
    maps = torch.zeros(2, 4, 4)
    maps[0, 3, 0] = 1.0  # at the bottom, on the left
    image = np.asarray(draw_examination(grey_probe(), maps)).astype(int)
    plain, warm = (image[TOP : TOP + SIDE, left : left + SIDE] for left in (MARGIN, MARGIN + SIDE + GAP))
    assert (plain[SIDE - 20, 20] == 128).all()
    assert warm[SIDE - 20, 20, 0] > 200 > 150 > warm[SIDE - 20, 20, 2]  # yellow
    assert (warm[10, SIDE - 10] == 128).all()


def test_lines_stand_between_cells():
    image = np.zeros((4, 6, 3), np.uint8)
    draw_grid(image, (2, 3))
    lit = image[..., 0] > 0
    assert lit.all(1).tolist() == [False, False, True, False]
    assert lit.all(0).tolist() == [False, False, True, False, True, False]


def test_the_picture_has_a_row_for_each_of_a_few_pictures_and_a_legend():
    report = examine(Net(), probes())
    rows = 6 * (line_height(TEXT) + SIDE + GAP) + line_height(TEXT) + legend_height() + MARGIN
    assert report.picture.size == (max(2 * MARGIN + 2 * SIDE + GAP, 448), rows)
    assert report.picture.mode == "RGB"
    assert DRAWN == 6


@pytest.fixture
def captions(monkeypatch):
    """The lines of text that are written."""
    lines = []
    written = picture.write
    monkeypatch.setattr(
        picture,
        "write",
        lambda pen, place, line, *rest, **kw: lines.append(line) or written(pen, place, line, *rest, **kw),
    )
    return lines


def test_captions_name_the_class_the_method_and_the_layer(captions):
    examine(Net(), probes(counts=(1, 1, 1)), method="layercam")
    assert [line for line in captions if line.startswith("#")] == [
        f"#{k} class {k}: layercam of its label at stage" for k in range(3)
    ]
    captions.clear()
    examine(Net(), images(1))
    assert "picture 0: hirescam of the predicted class at stage" in captions


def test_captions_say_where_there_is_no_map_or_no_heat(captions):
    examine(Net(), probes(counts=(1, 1)), method=lambda model, pictures, classes: 1 / 0)
    assert [line for line in captions if line.startswith("#")] == ["#0 class 0: no map", "#1 class 1: no map"]
    captions.clear()
    draw_examination(grey_probe(), torch.zeros(2, 4, 4), method="m\x1b", layer="a\nb")
    assert next(line for line in captions if line.startswith("#")).endswith(": m of its label at a b (no heat)")


def test_without_maps_or_boxes_the_plain_pictures_are_drawn():
    def broken(x):
        raise RuntimeError("no")

    model = Net()
    model.forward = broken
    report = examine(model, images(2))
    image = np.asarray(report.picture)
    assert image.shape == (2 * (line_height(TEXT) + SIDE + GAP) + line_height(TEXT), 448, 3)
    assert (image[TOP : TOP + SIDE, MARGIN + SIDE + GAP :] == PAPER).all()


def test_pictures_whose_class_the_model_does_not_know_are_not_drawn_beside_other_maps():
    found = examine(Net(classes=2), probes(counts=(1, 1, 2)))
    assert found.heat.pictures == 2
    assert found.picture.size[1] < examine(Net(), probes(counts=(1, 1, 2))).picture.size[1]
