import random
import re

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camdebug.geometry import carrier_of
from camdebug.geometry.carrier import NotCarried

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
BOXES = torch.tensor([[6.0, 4.0, 30.0, 40.0], [0.0, 0.0, 3.0, 2.0]], dtype=torch.float64)
MASKS = torch.zeros((2, 40, 60), dtype=torch.bool)
MASKS[0, 4:40, 6:30] = True
MASKS[1, 0:2, 0:3] = True
FLOAT = A.ToFloat(max_value=255)


def carrier(*steps, **arguments):
    return carrier_of(A.Compose([*steps, FLOAT, A.ToTensorV2()], **arguments))


def carry(*steps, boxes=BOXES, masks=MASKS, seed=0, **arguments):
    return carrier(*steps, **arguments).carry(PICTURE, boxes, masks, seed=seed)


def mirrored(image, **_):
    return np.ascontiguousarray(image[:, ::-1])


def same(image, **_):
    return image


def test_a_picture_its_boxes_and_masks_are_moved_alike():
    found = carry(A.CenterCrop(30, 52), A.HorizontalFlip(p=1))
    # 5 rows and 4 columns are cut away on each side, then 52 columns change places
    assert found.boxes.tolist() == [pytest.approx([26, 0, 50, 30], abs=1e-4), [0.0, 0.0, 0.0, 0.0]]
    expected = torch.from_numpy(np.asarray(PICTURE)[5:35, 4:56][:, ::-1].copy()).movedim(2, 0) / 255
    torch.testing.assert_close(found.image, expected)
    assert found.masks.sum((1, 2)).tolist() == [24 * 30, 0]
    assert bool(found.masks[0, :, 26:50].all())
    assert (found.boxes.dtype, found.masks.dtype) == (torch.float64, torch.bool)


@pytest.mark.parametrize(
    "terms",
    [
        A.BboxParams(format="yolo", label_fields=["kind"]),
        A.BboxParams(format="coco", label_fields=["a", "b"], min_area=10_000, min_visibility=0.9),
    ],
)
def test_the_users_own_terms_for_boxes_are_theirs_and_not_applied(terms):
    pipeline = A.Compose([A.CenterCrop(30, 52), FLOAT], bbox_params=terms)
    found = carrier_of(pipeline).carry(PICTURE, BOXES, MASKS, seed=0)
    assert found.boxes[0].tolist() == pytest.approx([2, 0, 26, 30], abs=1e-4)
    assert pipeline.processors["bboxes"].params is terms


def test_boxes_beyond_the_picture_or_without_area_keep_their_rows():
    boxes = torch.tensor([[-9.0, -9, 30, 20], [70, 0, 80, 5], [5, 5, 5, 9], [30, 20, 99, 99]], dtype=torch.float64)
    found = carry(boxes=boxes, masks=MASKS[:0])
    assert found.boxes.tolist() == [
        pytest.approx([0, 0, 30, 20]),
        [0.0] * 4,
        [0.0] * 4,
        pytest.approx([30, 20, 60, 40]),
    ]
    assert found.masks.shape == (0, 40, 60)


def test_pictures_without_boxes_are_carried():
    found = carry(A.Resize(20, 30), boxes=torch.zeros((0, 4), dtype=torch.float64))
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (2, 20, 30)


def test_arrays_of_floats_become_pictures():
    grey = carrier_of(A.Compose([A.Resize(20, 30), FLOAT])).carry(PICTURE.convert("L"), BOXES, MASKS, seed=0)
    assert grey.image.shape == (1, 20, 30)
    colour = carrier_of(A.Compose([FLOAT])).carry(PICTURE, BOXES, MASKS, seed=0)
    torch.testing.assert_close(colour.image, torch.from_numpy(np.asarray(PICTURE).copy()).movedim(2, 0) / 255)


@pytest.mark.parametrize("steps", [[A.Resize(8, 8)], [A.Resize(8, 8), A.ToTensorV2()]])
def test_bytes_are_refused_with_the_mend(steps):
    with pytest.raises(TypeError, match=r"^transform: .* got torch.uint8; A.Normalize\(\) or A.ToFloat\(max"):
        carrier_of(A.Compose(steps)).carry(PICTURE, BOXES, MASKS, seed=0)


RANDOM = {
    "flip": (A.HorizontalFlip(), True),
    "sure flip": (A.HorizontalFlip(p=1), False),
    "never": (A.RandomCrop(8, 8, p=0), False),
    "crop": (A.RandomCrop(8, 8), True),
    "crop in a sequence": (A.Sequential([A.RandomCrop(8, 8)], p=1), True),
    "fixed sequence": (A.Sequential([A.Resize(8, 8)], p=1), False),
    "one of": (A.OneOf([A.Resize(8, 8), A.Resize(8, 8)], p=1), True),
    "pad anywhere": (A.PadIfNeeded(99, 99, position="random"), True),
    "fixed": (A.Compose([A.LongestMaxSize(32), A.PadIfNeeded(32, 32), A.ToGray(p=1)]), False),
    "perhaps all": (A.Compose([A.Resize(8, 8)], p=0.5), True),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_steps_are_known(name):
    step, expected = RANDOM[name]
    assert carrier(step).random is expected


def test_the_same_seed_gives_the_same_and_another_seed_another():
    subject = carrier(A.RandomResizedCrop((16, 16)), A.HorizontalFlip(), A.RandomBrightnessContrast(p=1), seed=7)
    first, again, other = (subject.carry(PICTURE, BOXES, MASKS, seed=seed) for seed in (3, 3, 4))
    for key in ("image", "boxes", "masks"):
        assert torch.equal(getattr(first, key), getattr(again, key))
    assert not torch.equal(first.image, other.image)
    assert not torch.equal(first.boxes, other.boxes)


def test_generators_and_the_users_pipeline_stay_as_they_were():
    pipeline = A.Compose([A.RandomCrop(20, 20), A.Lambda(image=same, name="same"), FLOAT], seed=3)
    drawn = pipeline(image=np.asarray(PICTURE))["image"]
    pipeline.set_random_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    carrier_of(pipeline).carry(PICTURE, BOXES, MASKS, seed=11)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert np.array_equal(pipeline(image=np.asarray(PICTURE))["image"], drawn)


def of(*steps):
    found = carrier_of(A.Compose(list(steps)))
    return found.mean, found.std


def test_the_normalisation_is_read_where_it_is_sure():
    mean, std = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)
    assert of(A.Resize(8, 8), A.Normalize(mean, std)) == (mean, std)
    assert of(A.Normalize((51, 102, 204), (255, 51, 102), max_pixel_value=1)) == ((0.2, 0.4, 0.8), (1.0, 0.2, 0.4))
    assert of(FLOAT, A.Normalize(mean, std, max_pixel_value=1)) == (mean, std)
    for steps in (
        [FLOAT],
        [A.Normalize(mean, std), A.Normalize(mean, std)],
        [A.Normalize(mean, std, p=0.5)],
        [A.Normalize(normalization="image")],
        [A.Lambda(image=same, name="same"), A.Normalize(mean, std)],
    ):
        assert of(*steps) == (None, None)


def test_the_normalisation_read_is_the_one_applied():
    mean, std = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)
    found = carrier_of(A.Compose([A.Normalize(mean, std), A.ToTensorV2()])).carry(PICTURE, BOXES, MASKS, seed=0)
    unit = torch.from_numpy(np.asarray(PICTURE).copy()).movedim(2, 0) / 255
    expected = (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(found.image, expected, rtol=0, atol=1e-5)


def test_a_function_that_moves_the_picture_alone_is_seen():
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: .*; Lambda moves the picture"):
        carry(A.Lambda(image=mirrored, name="mirrored"))
    found = carry(A.Lambda(image=same, name="same"))
    assert found.boxes[0].tolist() == pytest.approx(BOXES[0].tolist(), abs=1e-4)


def test_the_text_is_its_own_and_has_no_addresses():
    assert "CenterCrop(" in carrier(A.CenterCrop(3, 4)).text
    assert carrier_of(A.Compose([A.Lambda(image=same)])).text.startswith("Compose(Lambda(name=None, image=same,")
    named = carrier(A.Lambda(image=same, name="same")).text
    assert not re.search("0x[0-9a-f]+", named)


MIRRORS = {
    "pad": A.PadIfNeeded(99, 99, border_mode=cv2.BORDER_REFLECT_101),
    "wrap": A.Pad(9, border_mode=cv2.BORDER_WRAP),
    "moved": A.Affine(translate_px=20, border_mode=cv2.BORDER_REFLECT, p=1),
    "crop": A.CenterCrop(50, 50, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101),
}


@pytest.mark.parametrize("name", MIRRORS)
def test_borders_that_show_an_object_once_more_are_refused(name):
    with pytest.raises(
        ValueError, match=r"^transform: .* seen several times; pad with border_mode=cv2.BORDER_CONSTANT"
    ):
        carrier(A.Sequential([MIRRORS[name]], p=1))


def test_borders_of_one_colour_or_that_are_never_seen_are_taken():
    unseen = A.CenterCrop(30, 52, border_mode=cv2.BORDER_REFLECT_101)
    never = A.Pad(9, border_mode=cv2.BORDER_WRAP, p=0)
    found = carry(unseen, never, A.Pad(9, border_mode=cv2.BORDER_REPLICATE))
    assert found.boxes[0].tolist() == pytest.approx([11, 9, 35, 39], abs=1e-4)


def test_an_object_that_comes_back_in_pieces_is_an_error_of_the_whole():
    box = torch.tensor([[1.0, 1.0, 59.0, 39.0]], dtype=torch.float64)
    with pytest.raises(NotCarried, match=r"^transform: an object is seen several times"):
        carry(A.RandomGridShuffle((2, 2), p=1), boxes=box, masks=MASKS[:0])


def test_a_compose_that_records_is_followed():
    found = carrier_of(A.ReplayCompose([A.CenterCrop(30, 52), FLOAT])).carry(PICTURE, BOXES, MASKS, seed=0)
    assert found.boxes[0].tolist() == pytest.approx([2, 0, 26, 30], abs=1e-4)


def test_resized_masks_lie_in_the_middle_of_their_boxes():
    masks = torch.zeros((16, 40, 60), dtype=torch.bool)
    for row, mask in enumerate(masks):
        mask[8 + row // 4 : 28 + row // 4, 8 + row % 4 : 40 + row % 4] = True
    for step in (A.Resize(10, 15), A.Sequential([A.SmallestMaxSize(10)], p=1), A.Compose([A.LongestMaxSize(15)])):
        found = carry(step, masks=masks).masks
        middles = torch.stack([torch.nonzero(mask).double().mean(0) + 0.5 for mask in found]).mean(0)
        # by the first pixel of four it would be 0.375 away
        assert middles.tolist() == pytest.approx([(18 + 1.5) / 4, (24 + 1.5) / 4], abs=0.13)
