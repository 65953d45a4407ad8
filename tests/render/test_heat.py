"""Heat over pictures, in one call."""

import numpy as np
import pytest
import torch

from camdebug import Heatmaps, draw_heat
from camdebug.render.colour import FULL_SCALE, heat_lut


def test_the_colour_is_the_density_of_the_heat_on_the_fixed_scale():
    images = torch.zeros(2, 3, 8, 8)
    images[:, :, 0, 0] = 1.0  # white and black: pixels lie in [0, 1]
    maps = torch.zeros(2, 2, 2)
    maps[0, 1, 1] = 3.0  # four times as dense as a uniform map
    drawn = draw_heat(images, maps)
    assert (drawn.shape, drawn.dtype) == ((2, 8, 8, 3), np.uint8)
    colours, opacity = heat_lut()
    step = round(4.0 / FULL_SCALE * (len(colours) - 1))
    np.testing.assert_allclose(drawn[0, 7, 7], colours[step] * opacity[step], atol=2)
    assert drawn[0, 0, 0].tolist() == [255, 255, 255]
    assert (drawn[1] == draw_heat(images, torch.zeros(2, 2, 2))[1]).all(), "no evidence has no colour"
    assert (drawn[1, 1:, 1:] == 0).all()


def test_what_speaks_against_a_class_is_not_drawn_and_records_are_taken_as_well():
    images, signed = torch.rand(1, 1, 4, 4), torch.tensor([[[-1.0, 0.0], [0.0, 2.0]]])
    nothing = torch.zeros(1)
    heat = Heatmaps(signed, nothing.long(), nothing, None, None, "hirescam", "layer")
    assert (draw_heat(images, heat) == draw_heat(images, signed.relu())).all()


def test_maps_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match=r"heat: expected a map \(h, w\) for each of 2 pictures .* got \(3, 4, 4\)"):
        draw_heat(torch.rand(2, 3, 8, 8), torch.rand(3, 4, 4))
