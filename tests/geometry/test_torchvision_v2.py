import functools
import random
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from camdebug.geometry import carrier_of

FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
BOXES = torch.tensor([[6.0, 4.0, 30.0, 40.0], [0.0, 0.0, 3.0, 2.0]], dtype=torch.float64)
MASKS = torch.zeros((2, 40, 60), dtype=torch.bool)
MASKS[0, 4:40, 6:30] = True
MASKS[1, 0:2, 0:3] = True


def carrier(*steps, floats=True):
    return carrier_of(v2.Compose([*steps, *(FLOATS if floats else [])]))


def carry(*steps, boxes=BOXES, masks=MASKS, seed=0, floats=True):
    return carrier(*steps, floats=floats).carry(PICTURE, boxes, masks, seed=seed)


def mirror(picture):
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Own(v2.Transform):
    """A user's own step: what it does is up to ``done``, which gets every input."""

    def __init__(self, done):
        super().__init__()
        self.done = done

    def forward(self, *inputs):
        return self.done(*inputs)


def test_a_picture_its_boxes_and_masks_are_moved_alike():
    found = carry(v2.Resize(20), v2.CenterCrop((20, 20)))
    assert torch.equal(found.image, v2.Compose([v2.Resize(20), v2.CenterCrop((20, 20)), *FLOATS])(PICTURE))
    assert found.image.dtype is torch.float32
    assert type(found.image) is type(found.boxes) is type(found.masks) is torch.Tensor
    # 60x40 becomes 30x20, and 5 columns are cut away on each side
    assert found.boxes.tolist() == [[0.0, 2.0, 10.0, 20.0], [0.0, 0.0, 0.0, 1.0]]
    assert found.boxes.dtype is torch.float64
    assert found.masks.dtype is torch.bool
    assert found.masks.sum((1, 2)).tolist() == [18 * 10, 0]
    assert bool(found.masks[0, 2:20, 0:10].all())


def test_boxes_are_not_rounded_to_float32():
    found = carry(v2.Resize((7, 11)), boxes=torch.tensor([[1 / 3, 1 / 7, 50 + 1 / 3, 39 + 1 / 7]], dtype=torch.float64))
    expected = [1 / 3 * 11 / 60, 1 / 7 * 7 / 40, (50 + 1 / 3) * 11 / 60, (39 + 1 / 7) * 7 / 40]
    assert found.boxes[0].tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    "own",
    [
        v2.SanitizeBoundingBoxes(min_size=20),
        v2.SanitizeBoundingBoxes(min_size=20, labels_getter=None),
        v2.SanitizeBoundingBoxes(labels_getter=lambda sample: sample["my own labels"]),
        v2.ConvertBoundingBoxFormat("CXCYWH"),
        v2.ToPureTensor(),
        v2.ClampBoundingBoxes(),
        v2.ToDtype({tv_tensors.BoundingBoxes: torch.int64, tv_tensors.Mask: torch.float32, "others": None}),
        nn.Identity(),
    ],
)
def test_what_a_pipeline_does_to_boxes_alone_is_left_out(own):
    found = carry(v2.CenterCrop((30, 52)), own, *FLOATS, floats=False)
    assert found.boxes.tolist() == [[2.0, 0.0, 26.0, 30.0], [0.0, 0.0, 0.0, 0.0]]
    assert found.masks.sum((1, 2)).tolist() == [24 * 30, 0]


def test_boxes_are_never_cast():
    whole = v2.ToDtype({tv_tensors.BoundingBoxes: torch.int64, "others": None})
    boxes = torch.tensor([[0.25, 0.5, 9.75, 8.5]], dtype=torch.float64)
    assert torch.equal(carry(whole, boxes=boxes, masks=MASKS[:0]).boxes, boxes)


def test_what_lies_beyond_the_picture_is_of_no_object_also_where_it_is_padded():
    boxes = torch.tensor([[-5.0, 3.0, 99.0, 50.0], [61.0, 0.0, 70.0, 9.0]], dtype=torch.float64)
    assert carry(boxes=boxes).boxes[0].tolist() == [0.0, 3.0, 60.0, 40.0]
    found = carry(v2.Pad(4), boxes=boxes).boxes
    assert found[0].tolist() == [4.0, 7.0, 64.0, 44.0]
    assert float((found[1, 2:] - found[1, :2]).prod()) == 0.0


def test_the_users_pipeline_is_not_changed():
    steps = [v2.Resize(20), v2.CenterCrop(16), v2.SanitizeBoundingBoxes(), v2.Lambda(np.asarray)]
    pipeline = v2.Compose(steps)
    carrier_of(pipeline)
    assert pipeline.transforms is steps
    assert [type(step) for step in steps] == [v2.Resize, v2.CenterCrop, v2.SanitizeBoundingBoxes, v2.Lambda]


def dropping(kept):
    """A step of the user's that leaves only some boxes, in another order, with their labels and masks."""

    def drop(sample):
        picture, target = sample
        rows = [row for row in kept if row < len(target["boxes"])]
        boxes = tv_tensors.wrap(target["boxes"][rows], like=target["boxes"])
        masks = tv_tensors.Mask(target["masks"][rows]) if len(target["masks"]) else target["masks"]
        return picture, {"boxes": boxes, "masks": masks, "labels": target["labels"][rows]}

    return Own(drop)


def test_boxes_that_a_users_step_drops_come_back_without_area_in_their_rows():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 3.0, 3.0]], dtype=torch.float64)
    masks = torch.ones((3, 40, 60), dtype=torch.bool)
    found = carry(dropping([2, 0]), boxes=boxes, masks=masks)
    assert found.boxes.tolist() == [[0.0, 0.0, 1.0, 1.0], [0.0] * 4, [2.0, 2.0, 3.0, 3.0]]
    assert found.masks.flatten(1).all(1).tolist() == [True, False, True]


def test_a_set_without_boxes_or_without_masks_is_carried():
    found = carry(v2.Resize(20), boxes=torch.zeros((0, 4), dtype=torch.float64), masks=MASKS[:0])
    assert (found.boxes.shape, found.masks.shape) == ((0, 4), (0, 20, 30))
    assert found.boxes.dtype is torch.float64
    assert found.masks.dtype is torch.bool


def test_a_turned_box_becomes_the_one_around_it():
    boxes = torch.tensor([[20.0, 20.0, 40.0, 20.0 + 1e-9]], dtype=torch.float64)
    found = carry(v2.RandomRotation((30, 30)), boxes=boxes)
    # a line of 20 pixels about the centre (30, 20), turned by 30 degrees
    high, wide = 10 * 0.5, 10 * 3**0.5 / 2
    assert found.boxes[0].tolist() == pytest.approx([30 - wide, 20 - high, 30 + wide, 20 + high], abs=1e-6)


REFUSED = {
    "FiveCrop gives several pictures": v2.FiveCrop(8),
    "TenCrop gives several pictures": v2.TenCrop(8),
    "CutMix mixes pictures": v2.CutMix(num_classes=3),
    "MixUp mixes pictures": v2.MixUp(num_classes=3),
    "AutoAugment moves pictures and no boxes": v2.AutoAugment(),
    "TrivialAugmentWide moves pictures and no boxes": v2.TrivialAugmentWide(),
    "got Resize of torchvision.transforms, the first kind among them": v1.Resize(8),
    "use transforms.v2.Resize, or use image_transform=": v1.Resize(8),
    "use transforms.v2.ToImage() and transforms.v2.ToDtype(torch.float32, scale=True), or": v1.ToTensor(),
    "write it as a transforms.v2.Transform": nn.Conv2d(3, 3, 1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_step_that_boxes_cannot_follow_is_refused_with_the_mend(reason):
    with pytest.raises(TypeError, match="^transform: expected .*" + re.escape(reason)):
        carrier(v2.RandomApply([v2.Compose([REFUSED[reason]])]))


OUTPUTS = {
    "floating picture to come out, got torch.uint8; transforms.v2.ToImage() and transforms.v2.ToDtype": [v2.ToImage()],
    "floating tensor (C, H, W) to come out, got Image": [v2.Resize(8)],
    "expected one picture (C, H, W), got 2 values": [Own(lambda sample: ([sample[0]] * 2, sample[1]))],
}


@pytest.mark.parametrize("reason", OUTPUTS)
def test_an_output_that_no_model_takes_is_refused_with_the_mend(reason):
    with pytest.raises(TypeError, match="^transform: .*" + re.escape(reason)):
        carry(*OUTPUTS[reason], floats=False)


def test_a_batch_is_no_picture():
    with pytest.raises(ValueError, match=r"^transform: expected one picture .* got the shape \(1, 3, 40, 60\)$"):
        carry(*FLOATS, v2.Lambda(lambda picture: picture[None]), floats=False)


def test_a_step_that_moves_the_picture_to_another_size_alone_is_seen():
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: .* 40x60, but .* out is 10x10;"):
        carry(v2.Lambda(lambda picture: picture.resize((10, 10))))


@pytest.mark.parametrize(
    "moved",
    [
        mirror,
        lambda picture: picture.rotate(180),
        lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        lambda picture: picture.crop((15, 10, 45, 30)).resize((60, 40)),
        lambda picture: picture.transpose(Image.Transpose.TRANSPOSE).resize((60, 40)),
    ],
)
def test_a_step_that_moves_pixels_alone_within_the_same_size_is_seen(moved):
    subject = carrier(v2.Lambda(moved), v2.Resize(80))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: a patch with the box"):
            subject.carry(PICTURE, BOXES, MASKS, seed=0)


def test_a_picture_too_small_to_tell_leaves_it_to_the_next_one():
    subject = carrier(v2.Lambda(mirror))
    nothing = torch.zeros((0, 4), dtype=torch.float64)
    subject.carry(PICTURE.resize((6, 4)), nothing, torch.zeros((0, 4, 6), dtype=torch.bool), seed=0)
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: a patch"):
        subject.carry(PICTURE, BOXES, MASKS, seed=0)


@pytest.mark.parametrize(
    "moved",
    [
        lambda picture: picture,
        lambda picture: picture.convert("L").convert("RGB"),
        lambda picture: Image.eval(picture, lambda value: 255 - value),
        lambda picture: picture.resize((30, 20)).resize((60, 40)),
    ],
)
def test_a_step_that_recolours_or_blurs_the_picture_is_let_through(moved):
    found = carry(v2.Lambda(moved), v2.Resize(20), v2.CenterCrop((20, 20)))
    assert found.boxes.tolist() == [[0.0, 2.0, 10.0, 20.0], [0.0, 0.0, 0.0, 1.0]]


def test_a_lambda_of_tensors_gets_the_picture_alone():
    found = carry(*FLOATS, v2.Lambda(lambda picture: (picture - picture.mean()) / picture.std()), floats=False)
    assert float(found.image.mean()) == pytest.approx(0.0, abs=1e-5)
    assert torch.equal(found.boxes, BOXES)


def test_a_target_that_is_lost_is_an_error():
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: expected the picture and its"):
        carry(Own(lambda sample: sample[0]))
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: they came out as Tensor"):
        carry(Own(lambda sample: (sample[0], {**sample[1], "boxes": sample[1]["boxes"].as_subclass(torch.Tensor)})))


def test_boxes_lost_without_their_labels_are_an_error():
    def lose(sample):
        boxes = tv_tensors.wrap(sample[1]["boxes"][:1], like=sample[1]["boxes"])
        return sample[0], {**sample[1], "boxes": boxes}

    with pytest.raises(ValueError, match=r"^transform: dropped 1 of 2 boxes without their labels$"):
        carrier(Own(lose)).carry(PICTURE, BOXES, MASKS[:0], seed=0)


def test_what_torchvision_cannot_do_to_boxes_is_said_with_its_reason():
    for step in (
        v2.Pad(3, padding_mode="reflect"),
        v2.Pad(3, padding_mode="symmetric"),
        v2.RandomCrop(8, padding=2, padding_mode="edge"),
        v2.RandomCrop(8, pad_if_needed=True, padding_mode="reflect"),
    ):
        message = (
            f"^transform: .*, but {type(step).__name__} with padding_mode='{step.padding_mode}' .*; use padding_mode="
        )
        with pytest.raises(ValueError, match=message):
            carrier(step)
    assert carry(v2.RandomCrop(8, padding_mode="reflect")).image.shape == (3, 8, 8)


RANDOM = {
    "crop": (v2.RandomResizedCrop(16), True),
    "flip": (v2.RandomHorizontalFlip(), True),
    "sure flip": (v2.RandomHorizontalFlip(p=1), False),
    "no flip": (v2.RandomVerticalFlip(p=0), False),
    "no erasing": (v2.RandomErasing(p=0), False),
    "sure erasing": (v2.RandomErasing(p=1), True),
    "rotation": (v2.RandomRotation(10), True),
    "fixed rotation": (v2.RandomRotation((90, 90)), False),
    "jitter": (v2.ColorJitter(0.2), True),
    "jitter of nothing": (v2.ColorJitter(), False),
    "blur": (v2.GaussianBlur(3), True),
    "fixed blur": (v2.GaussianBlur(3, sigma=1.0), False),
    "jpeg": (v2.JPEG((10, 90)), True),
    "fixed jpeg": (v2.JPEG(50), False),
    "elastic": (v2.ElasticTransform(), True),
    "scale": (v2.ScaleJitter((20, 20)), True),
    "noise": (v2.GaussianNoise(), True),
    "perhaps": (v2.RandomApply([v2.Grayscale()]), True),
    "surely": (v2.RandomApply([v2.Grayscale()], p=1), False),
    "surely random": (v2.RandomApply([v2.RandomCrop(8)], p=1), True),
    "never": (v2.RandomApply([v2.RandomCrop(8)], p=0), False),
    "one of two": (v2.RandomChoice([v2.Identity(), v2.Grayscale()]), True),
    "any order": (v2.RandomOrder([v2.Identity(), v2.Grayscale()]), True),
    "nested": (nn.Sequential(v2.Compose([v2.RandomCrop(8)])), True),
    "derived": (type("Mine", (v2.RandomCrop,), {})(8), True),
    "fixed": (v2.Compose([v2.Resize(8), v2.CenterCrop(8), v2.Pad(1), v2.Grayscale()]), False),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_steps_are_known_by_their_class(name):
    step, expected = RANDOM[name]
    assert carrier(step).random is expected


def test_the_same_seed_gives_the_same_and_another_seed_another():
    subject = carrier(v2.RandomResizedCrop(16), v2.ColorJitter(0.5), v2.RandomHorizontalFlip())
    first, again, other = (subject.carry(PICTURE, BOXES, MASKS, seed=seed) for seed in (3, 3, 4))
    for key in ("image", "boxes", "masks"):
        assert torch.equal(getattr(first, key), getattr(again, key))
    assert not torch.equal(first.image, other.image)
    assert not torch.equal(first.boxes, other.boxes)


def test_the_generators_of_the_program_stay_as_they_were():
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    carry(v2.RandomResizedCrop(16), v2.Lambda(lambda picture: picture), v2.ScaleJitter((20, 20)))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def of(*steps):
    found = carrier(*steps, floats=False)
    return found.mean, found.std


MEAN, STD = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)
NORMALIZE = v2.Normalize(MEAN, STD)


def test_the_normalisation_is_read_where_there_is_one():
    assert of(v2.Resize(8), *FLOATS, NORMALIZE) == (MEAN, STD)
    assert of(v2.PILToTensor(), v2.ConvertImageDtype(), nn.Sequential(NORMALIZE), v2.CenterCrop(8)) == (MEAN, STD)
    assert of(*FLOATS) == (None, None)


def test_a_normalisation_of_bytes_is_given_for_the_unit_range():
    bytes_ = v2.Normalize([51.0, 102.0, 153.0], [255.0, 25.5, 127.5])
    mean, std = of(v2.ToImage(), v2.ToDtype(torch.float32), bytes_)
    assert mean == pytest.approx((0.2, 0.4, 0.6))
    assert std == pytest.approx((1.0, 0.1, 0.5))


def test_no_normalisation_is_read_where_it_is_not_sure():
    assert of(*FLOATS, NORMALIZE, NORMALIZE) == (None, None)
    assert of(*FLOATS, v2.RandomApply([NORMALIZE])) == (None, None)
    assert of(*FLOATS, NORMALIZE, v2.RandomApply([NORMALIZE])) == (None, None)
    assert of(v2.ToImage(), v2.Lambda(lambda picture: picture / 255), NORMALIZE) == (None, None)
    assert of(*FLOATS, v2.Normalize([0.5], [0.5])) == (None, None)
    assert of(v2.Grayscale(), *FLOATS, v2.Normalize([0.5], [0.25])) == ((0.5,), (0.25,))


class Squared(nn.Module):
    def forward(self, picture):
        return picture


@pytest.mark.parametrize(
    "step", [lambda picture: picture.convert("RGB"), functools.partial(Image.Image.convert, mode="RGB"), Squared()]
)
def test_any_function_among_the_steps_gets_the_picture_alone_and_is_watched(step):
    found = carry(step, v2.ToImage(), v2.Resize(20))
    assert found.boxes[0].tolist() == [3.0, 2.0, 15.0, 20.0]
    with pytest.raises(ValueError, match=r"^transform: did not carry the boxes along: .* the function mirror .*moves"):
        carry(mirror, step)


class OwnCompose(v2.Compose):
    """As users derive one, to say something more in it."""


class Backwards(v2.Compose):
    def forward(self, *inputs):
        return super().forward(*inputs)


def test_a_compose_of_ones_own_is_opened_unless_it_runs_otherwise():
    pipeline = OwnCompose([v2.Resize(20), v2.SanitizeBoundingBoxes(min_size=20), *FLOATS, NORMALIZE])
    subject = carrier_of(pipeline)
    assert subject.carry(PICTURE, BOXES, MASKS, seed=0).boxes[1].tolist() == [0.0, 0.0, 1.5, 1.0]
    assert (subject.mean, subject.std) == (MEAN, STD)
    assert carrier_of(OwnCompose([v2.RandomCrop(8)])).random is True
    assert (carrier_of(Backwards(pipeline.transforms)).mean, subject.mean) == (None, MEAN)


@pytest.mark.parametrize("floats_first", [False, True])
@pytest.mark.parametrize("angle", [7, 45, 77, 90])
def test_a_turned_picture_that_grows_takes_boxes_and_masks_with_it(angle, floats_first):
    size = (200, 300)
    values = np.zeros((*size, 3), dtype=np.uint8)
    values[40:120, 60:160] = 255
    masks = torch.from_numpy(values[None, :, :, 0] > 0)
    turn = v2.RandomRotation((angle, angle), expand=True)
    pipeline = v2.Compose([*FLOATS, turn] if floats_first else [turn, *FLOATS])
    box = torch.tensor([[60.0, 40.0, 160.0, 120.0]], dtype=torch.float64)
    found = carrier_of(pipeline).carry(Image.fromarray(values), box, masks, seed=0)
    assert torch.equal(found.image, torch.as_tensor(pipeline(Image.fromarray(values))))
    rows, columns = torch.nonzero(found.image[0] > 0.5, as_tuple=True)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found.boxes[0].tolist() == pytest.approx([float(side) for side in seen], abs=1.5)
    middle = torch.nonzero(found.masks[0]).double().mean(0)
    assert middle.tolist() == pytest.approx(torch.nonzero(found.image[0] > 0.5).double().mean(0).tolist(), abs=0.75)


SCALED = {
    "crop": v2.RandomResizedCrop((50, 75), scale=(1, 1), ratio=(1.5, 1.5)),
    "jitter": v2.ScaleJitter((75, 50), scale_range=(1, 1)),
    "shorter side": v2.RandomShortestSize([50]),
    "any side": v2.RandomResize(50, 51),
}


@pytest.mark.parametrize("name", SCALED)
def test_random_sizes_leave_masks_in_the_middle_of_their_boxes(name):
    subject = carrier(SCALED[name])
    masks = torch.zeros((16, 200, 300), dtype=torch.bool)
    for row, mask in enumerate(masks):
        mask[40 + row // 4 : 100 + row // 4, 40 + row % 4 : 120 + row % 4] = True
    left, top = torch.arange(16) % 4 + 40.0, torch.arange(16) // 4 + 40.0
    boxes = torch.stack([left, top, left + 80, top + 60], 1).double()
    found = subject.carry(Image.new("RGB", (300, 200)), boxes, masks, seed=0)
    assert torch.allclose(found.boxes, boxes / 4, rtol=0, atol=1e-12)
    middles = torch.stack([torch.nonzero(mask).double().mean(0) + 0.5 for mask in found.masks])
    off = middles - torch.stack([found.boxes[:, 1::2].mean(1), found.boxes[:, 0::2].mean(1)], 1)
    # four pixels become one: the one in the middle is the third, and by the first one it would be -0.375
    assert off.mean(0).abs().tolist() == [pytest.approx(0.125, abs=1e-9)] * 2


def test_a_random_crop_of_odd_places_keeps_its_boxes_exactly():
    found = carrier(v2.RandomResizedCrop((20, 20))).carry(PICTURE, BOXES[:1], MASKS[:0], seed=3)
    torch.manual_seed(3)
    top, left, height, width = v2.RandomResizedCrop((20, 20)).make_params([PICTURE]).values()
    expected = functional.resized_crop(PICTURE, top, left, height, width, [20, 20])
    assert torch.equal(found.image, torch.as_tensor(v2.Compose(FLOATS)(expected)))
    scale = torch.tensor([20 / width, 20 / height] * 2, dtype=torch.float64)
    moved = (BOXES[0] - torch.tensor([left, top] * 2)) * scale
    assert found.boxes[0].tolist() == pytest.approx(moved.clamp(0, 20).tolist(), abs=1e-12)


class Divided(v2.Transform):
    def transform(self, inpt, params):
        return inpt / 255


class OfPictures(Divided):
    _transformed_types = (tv_tensors.Image,)


def test_a_step_of_ones_own_that_takes_boxes_for_pixels_is_named_with_the_mend():
    with pytest.raises(
        ValueError, match=r"^transform: did not carry .* Tensor; Divided gets them too: .*_transformed_t"
    ):
        carry(v2.ToImage(), Divided(), floats=False)
    assert torch.equal(carry(v2.ToImage(), OfPictures(), floats=False).boxes, BOXES)


def test_a_step_in_the_old_way_is_refused_for_torchvision_never_calls_it():
    class Old(v2.Transform):
        def _transform(self, inpt, params):
            return inpt

    with pytest.raises(
        TypeError, match=r"^transform: expected Old to have transform\(self, inpt, params\), got _transf"
    ):
        carrier(Old())
