import random
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from camdebug.geometry import (
    CenterCrop,
    HorizontalFlip,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    VerticalFlip,
    carrier_of,
)

law = settings(deadline=None, max_examples=25)
sides = st.integers(1, 40)


def noise(height, width, *, mode="L", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def carry(steps, picture, boxes=(), masks=None, **arguments):
    masks = torch.zeros((0, picture.height, picture.width), dtype=torch.bool) if masks is None else masks
    found = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return carrier_of(None, geometry=steps, **arguments).carry(picture, found, masks, seed=0)


def by_torchvision(transform, picture, box):
    """Picture as bytes, and the box clipped to it."""
    boxes = tv_tensors.BoundingBoxes([box], format="XYXY", canvas_size=picture.size[::-1], dtype=torch.float64)
    image, boxes = v2.Compose([transform, v2.PILToTensor()])((picture, boxes))
    return image.float() / 255, boxes.as_subclass(torch.Tensor)


@law
@given(sides, sides, sides, st.sampled_from([None, 1.0, 1.3, 2.0]))
def test_the_shorter_side_and_its_limit_are_torchvisions(height, width, size, limit):
    longest = None if limit is None else int(size * limit) + 1
    assume(longest is None or longest * min(height, width) >= max(height, width))  # torchvision gives no pixel else
    picture, box = noise(height, width), [0.25 * width, 0.5 * height, 0.75 * width, height]
    found = carry([Resize(size, max_size=longest)], picture, [box])
    image, boxes = by_torchvision(v2.Resize(size, max_size=longest), picture, box)
    torch.testing.assert_close(found.image, image, rtol=0, atol=0)
    torch.testing.assert_close(found.boxes, boxes, rtol=1e-6, atol=0)


@law
@given(sides, sides, sides, sides)
def test_crops_of_any_parity_are_torchvisions_also_beyond_the_picture(height, width, high, wide):
    picture = noise(height, width)
    found = carry([CenterCrop((high, wide))], picture)
    image, _ = by_torchvision(v2.CenterCrop((high, wide)), picture, [0, 0, 1, 1])
    assert torch.equal(found.image, image)


@law
@given(sides, sides, sides, sides, st.data())
def test_a_box_is_cropped_to_the_very_pixels_that_it_held(height, width, high, wide, data):
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    values = np.zeros((height, width), dtype=np.uint8)
    values[y1:y2, x1:x2] = 255
    own = CenterCrop((high, wide))
    for carrier in (
        carrier_of(None, geometry=[own]),
        carrier_of(v2.Compose([v2.CenterCrop((high, wide)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])),
    ):
        mask = torch.from_numpy(values > 0)[None]
        box = torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64)
        found = carrier.carry(Image.fromarray(values), box, mask, seed=0)
        left, top, right, bottom = (int(value) for value in found.boxes[0])
        expected = torch.zeros(high, wide)
        expected[top:bottom, left:right] = 1
        assert torch.equal(found.image[0], expected)
        assert torch.equal(found.masks[0], expected.bool())


@law
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(lambda found: len(found) != 3), st.integers(0, 255))
def test_padding_is_torchvisions(padding, fill):
    picture, box = noise(7, 11), [1.5, 2.0, 8.0, 6.25]
    found = carry([Pad(padding, fill)], picture, [box])
    image, boxes = by_torchvision(v2.Pad(padding, fill), picture, box)
    assert torch.equal(found.image, image)
    assert torch.equal(found.boxes, boxes)


@law
@given(sides, sides, st.sampled_from([v2.RandomHorizontalFlip, v2.RandomVerticalFlip]))
def test_flips_are_torchvisions(height, width, kind):
    picture, box = noise(height, width, mode="RGB"), [0.1 * width, 0.2 * height, 0.5 * width, 0.9 * height]
    step = HorizontalFlip() if kind is v2.RandomHorizontalFlip else VerticalFlip()
    found = carry([step], picture, [box])
    image, boxes = by_torchvision(kind(p=1), picture, box)
    assert torch.equal(found.image, image)
    torch.testing.assert_close(found.boxes, boxes, rtol=1e-12, atol=1e-12)


def test_a_letterbox_keeps_the_shape_and_centres_the_picture():
    found = carry([Letterbox((60, 100))], Image.new("RGB", (80, 20), "white"), [[8.0, 4.0, 40.0, 20.0]])
    # 80x20 grows by 1.25 to 100x25, and 35 rows are left: 17 above, 18 below
    assert found.boxes.tolist() == [[10.0, 22.0, 50.0, 42.0]]
    assert found.image.shape == (3, 60, 100)
    assert found.image[0, :, 50].tolist() == pytest.approx([114 / 255] * 17 + [1.0] * 25 + [114 / 255] * 18)


def test_a_letterbox_leaves_small_pictures_small_when_told():
    picture = Image.new("L", (6, 3), 255)
    found = carry([Letterbox(8, fill=0, scale_up=False)], picture, [[0.0, 0.0, 6.0, 3.0]], torch.ones(1, 3, 6).bool())
    expected = torch.zeros(8, 8)
    expected[2:5, 1:7] = 1
    assert found.boxes.tolist() == [[1.0, 2.0, 7.0, 5.0]]
    assert torch.equal(found.image[0], expected)
    assert torch.equal(found.masks[0], expected.bool())


MOVES = {
    "flips": [HorizontalFlip(), VerticalFlip()],
    "odd crop": [CenterCrop((9, 12))],
    "crop of more": [CenterCrop((33, 20))],
    "pad": [Pad((1, 2, 3, 4))],
    "three times as large": [Resize((54, 75), interpolation="nearest")],
    "a third as large": [Resize((6, 9), interpolation="nearest")],
    "all": [Pad(1), Resize((60, 81), interpolation="nearest"), CenterCrop(50), HorizontalFlip()],
}


@pytest.mark.parametrize("name", MOVES)
def test_a_mask_goes_where_its_pixels_go(name):
    masks = torch.from_numpy(np.random.default_rng(1).random((2, 18, 25)) > 0.5)
    picture = Image.fromarray(masks[0].numpy().astype(np.uint8) * 255)
    found = carry(MOVES[name], picture, masks=masks)
    assert torch.equal(found.masks[0], found.image[0] > 0)
    assert found.masks.shape == (2, *found.image.shape[1:])
    assert 0 < found.masks[1].sum() < found.masks[1].numel()


@law
@given(sides, sides, sides, sides)
def test_a_resized_mask_takes_the_pixel_under_the_middle_of_each_new_one(height, width, high, wide):
    masks = torch.from_numpy(np.random.default_rng(height).random((1, height, width)) > 0.5)
    found = carry([Resize((high, wide))], noise(height, width), masks=masks)
    rows = [int((row + Fraction(1, 2)) * height / high) for row in range(high)]
    columns = [int((column + Fraction(1, 2)) * width / wide) for column in range(wide)]
    assert found.masks[0].tolist() == [[bool(masks[0, row, column]) for column in columns] for row in rows]


def test_the_same_by_torchvision_moves_the_mask_alike():
    masks = torch.from_numpy(np.random.default_rng(1).random((2, 18, 24)) > 0.5)
    picture = Image.fromarray(masks[0].numpy().astype(np.uint8) * 255)
    steps = [v2.Resize((6, 8), interpolation=InterpolationMode.NEAREST), v2.CenterCrop((5, 7))]
    carrier = carrier_of(v2.Compose([*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]))
    found = carrier.carry(picture, torch.zeros((0, 4), dtype=torch.float64), masks, seed=0)
    assert torch.equal(found.masks[0], found.image[0] > 0)
    own = carry([Resize((6, 8)), CenterCrop((5, 7))], picture, masks=masks)
    assert torch.equal(found.masks, own.masks)


def test_pictures_come_in_the_unit_range_and_normalised_at_the_end():
    picture = Image.fromarray(np.array([[[0, 51, 255]]], dtype=np.uint8))
    assert carry([], picture).image.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    steps = [Normalize(mean=[0.5, 0.1, 0.0], std=[0.5, 0.1, 2.0])]
    found = carrier_of(None, geometry=steps)
    assert (found.mean, found.std) == ((0.5, 0.1, 0.0), (0.5, 0.1, 2.0))
    assert carry(steps, picture).image.flatten().tolist() == pytest.approx([-1.0, 1.0, 0.5])
    assert carry(steps, picture).image.dtype is torch.float32


def test_nothing_said_keeps_size_and_boxes():
    carrier = carrier_of(None)
    found = carrier.carry(
        Image.new("L", (5, 4), 255), torch.tensor([[1.0, 1, 9, 3]]).double(), torch.ones(1, 4, 5).bool(), seed=0
    )
    assert torch.equal(found.image, torch.ones(1, 4, 5))
    assert found.boxes.tolist() == [[1.0, 1.0, 5.0, 3.0]]
    assert bool(found.masks.all())
    assert (carrier.text, carrier.random, carrier.mean) == ("no step: the size stays", False, None)


def test_what_lies_outside_keeps_its_row_without_area():
    found = carry(
        [CenterCrop(2)], Image.new("L", (8, 8)), [[0.0, 0.0, 2.0, 2.0], [3.0, 0.0, 8.0, 4.0], [-9, -9, -1, -1]]
    )
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1)
    assert areas.tolist() == [0.0, 2.0, 0.0]
    assert found.boxes[1].tolist() == [0.0, 0.0, 2.0, 1.0]


def test_padding_is_never_part_of_an_object_that_reached_beyond_the_picture():
    found = carry([Pad(3)], Image.new("L", (4, 4)), [[-2.0, 1.0, 6.0, 3.0]])
    assert found.boxes.tolist() == [[3.0, 4.0, 7.0, 6.0]]


def test_the_picture_is_made_by_the_function_and_the_boxes_by_the_steps():
    pipeline = v2.Compose([v2.Resize((20, 40)), v2.ToImage(), v2.ToDtype(torch.float64, scale=True)])

    def prepare(picture):
        return pipeline(picture)

    picture = noise(40, 60, mode="RGB")
    found = carry(
        [Resize((20, 40)), Normalize([0.1], [0.2])], picture, [[6.0, 4.0, 30.0, 40.0]], image_transform=prepare
    )
    assert found.boxes.tolist() == [[4.0, 2.0, 20.0, 20.0]]
    assert torch.equal(found.image, pipeline(picture))


def test_steps_and_picture_of_different_sizes_are_an_error_with_both():
    def prepare(picture):
        return functional.to_dtype(functional.to_image(picture.resize((30, 20))), torch.float32, scale=True)

    with pytest.raises(ValueError, match=r"^geometry: expected the size .* 20x30 for one of 40x60, but .* give 20x20$"):
        carry([Resize((20, 20))], noise(40, 60), image_transform=prepare)


WRONG_STEPS = {
    "Resize.size: expected pixels, or height and width, got 0": lambda: Resize(0),
    "Resize.size: expected pixels, or height and width, got [2.5, 3]": lambda: Resize([2.5, 3]),
    "Resize.size: expected pixels, or height and width, got True": lambda: Resize(True),
    "Resize.interpolation: expected one of nearest, bilinear": lambda: Resize(3, interpolation="linear"),
    "Resize.max_size: expected more than one size": lambda: Resize(3, max_size=3),
    "CenterCrop.size: expected pixels": lambda: CenterCrop((1, 2, 3)),
    "Letterbox.size: expected pixels": lambda: Letterbox(-1),
    "Pad.padding: expected one, two or four numbers": lambda: Pad((1, 2, 3)),
    "Normalize: expected one mean and std a channel": lambda: Normalize([1.0], [1.0, 2.0]),
    "Normalize: expected finite means, and stds above 0": lambda: Normalize([0.0], [0.0]),
    "geometry: expected one Normalize at most, as the last": lambda: carrier_of(
        None, geometry=[Normalize([0.0], [1.0]), Resize(3)]
    ),
    "geometry: expected Normalize with 1 channels, got 3": lambda: carry(
        [Normalize([0.0] * 3, [1.0] * 3)], noise(3, 3)
    ),
    "picture: expected RGB or grey with 8 bits, got the mode 'I'": lambda: carry([], Image.new("I", (2, 2))),
}


@pytest.mark.parametrize("message", WRONG_STEPS)
def test_a_wrong_step_says_what_it_should_be(message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        WRONG_STEPS[message]()


@pytest.mark.parametrize("geometry", [Resize(3), [Resize], ["resize"], [v2.Resize(3)], {"size": 3}])
def test_a_geometry_that_is_not_one_of_steps_is_refused(geometry):
    with pytest.raises(TypeError, match=r"^geometry: expected (a list of )?steps "):
        carrier_of(None, geometry=geometry)


def test_the_generators_of_the_program_stay_as_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    def prepare(picture):
        random.random(), np.random.rand(), torch.rand(1)
        return functional.to_dtype(functional.to_image(picture), torch.float32, scale=True)

    carry([], noise(20, 20), image_transform=prepare)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
