import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms._presets import OpticalFlow, SemanticSegmentation

from camdebug.geometry import CenterCrop, HorizontalFlip, Pad, Resize, carrier_of
from camdebug.geometry.carrier import NotCarried
from camdebug.geometry.described import described

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
BOXES = torch.tensor([[6.0, 4.0, 30.0, 40.0]], dtype=torch.float64)
MASKS = torch.zeros((0, 40, 60), dtype=torch.bool)


def carry(transform=None, **arguments):
    return carrier_of(transform, **arguments).carry(PICTURE, BOXES, MASKS, seed=0)


def prepare(picture):
    """An opaque function: what models are evaluated with."""
    return v2.Compose([v2.Resize(20), v2.CenterCrop(20), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture)


class Preparing:
    def __call__(self, picture):
        return prepare(picture)


@pytest.mark.parametrize(
    ("opaque", "name"),
    [(prepare, "the function prepare"), (Preparing(), "Preparing"), (lambda picture: picture, "<lam")],
)
def test_an_opaque_transform_is_refused_with_the_reason_and_three_ways_out(opaque, name):
    with pytest.raises(TypeError) as error:
        carrier_of(opaque)
    message = str(error.value)
    assert message.startswith("transform: expected torchvision.transforms.v2 or an albumentations Compose, got ")
    for part in (
        name,
        "boxes could not follow",
        "transforms.v2, or",
        "of albumentations",
        "image_transform=",
        "geometry=",
    ):
        assert part in message


def test_an_opaque_transform_with_its_geometry_is_accepted():
    for image_transform in (prepare, Preparing(), v2.Compose([prepare])):
        found = carry(image_transform=image_transform, geometry=[Resize(20), CenterCrop(20)])
        assert torch.equal(found.image, prepare(PICTURE))
        assert found.boxes.tolist() == [[0.0, 2.0, 10.0, 20.0]]


WRONG_GEOMETRIES = {
    "a flip that is not there": [Resize(20), CenterCrop(20), HorizontalFlip()],
    "squeezed, not cropped": [Resize((20, 20))],
    "cropped, not resized": [CenterCrop(20)],
    "padded, not resized": [Resize((10, 10)), Pad(5)],
}


@pytest.mark.parametrize("name", WRONG_GEOMETRIES)
def test_a_geometry_that_is_not_what_the_function_does_is_seen_though_the_sizes_agree(name):
    with pytest.raises(ValueError, match=r"^geometry: did not carry the boxes along: .* the function prepare moves"):
        carry(image_transform=prepare, geometry=WRONG_GEOMETRIES[name])


def test_a_function_without_its_geometry_is_refused():
    with pytest.raises(TypeError, match=r"^image_transform: expected geometry=\[...\] beside it, .* function prepare"):
        carrier_of(None, image_transform=prepare)
    with pytest.raises(TypeError, match=r"^image_transform: expected a function of a picture, got str$"):
        carrier_of(None, image_transform="resize", geometry=[])


@pytest.mark.parametrize("more", [{"image_transform": prepare}, {"geometry": [Resize(8)]}, {"geometry": []}])
def test_one_of_the_two_ways_is_taken(more):
    with pytest.raises(TypeError, match=r"^transform: expected either transform=, or image_transform= with geometry"):
        carrier_of(v2.Resize(8), **more)


@pytest.mark.parametrize("step", [v1.RandomCrop(8), v1.RandomHorizontalFlip(), v2.RandomRotation(9), v1.AutoAugment()])
def test_a_function_known_to_draw_places_has_no_geometry(step):
    with pytest.raises(TypeError, match=f"^image_transform: expected .* got one with {type(step).__name__},"):
        carrier_of(None, image_transform=v1.Compose([step, v1.ToTensor()]), geometry=[])


def test_a_function_that_draws_colours_is_known_to_be_random_and_fixed_by_the_seed():
    jitter = v1.Compose([v1.ColorJitter(0.5), v1.ToTensor()])
    for carrier in (carrier_of(None, image_transform=jitter, geometry=[]), carrier_of(jitter)):
        assert carrier.random is True
        first, again, other = (carrier.carry(PICTURE, BOXES, MASKS, seed=seed).image for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_the_transforms_of_pretrained_weights_are_followed():
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    carrier = carrier_of(preset)
    found = carrier.carry(PICTURE, BOXES, MASKS, seed=0)
    assert torch.equal(found.image, preset(PICTURE))
    # 60x40 becomes 384x256, and 80 and 16 pixels are cut away on each side
    assert found.boxes.tolist() == [pytest.approx([0.0, 9.6, 112.0, 224.0])]
    assert (carrier.mean, carrier.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert carrier.text == described(preset)
    assert carrier.random is False


def test_a_preset_is_followed_as_image_transform_too():
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert carry(image_transform=preset).boxes.tolist() == carry(preset).boxes.tolist()


def test_presets_of_other_tasks_are_followed_where_one_picture_comes_out():
    found = carry(SemanticSegmentation(resize_size=20))
    assert found.boxes.tolist() == [[3.0, 2.0, 15.0, 20.0]]
    with pytest.raises(TypeError, match=r"^transform: .* the preset OpticalFlow"):
        carrier_of(OpticalFlow())


def test_transforms_of_the_first_kind_are_followed_where_their_places_are_known():
    mean, std = (0.5, 0.25, 0.125), (0.5, 1.0, 2.0)
    pipeline = v1.Compose(
        [v1.Resize(20), v1.CenterCrop((20, 26)), v1.Pad((1, 2)), v1.ToTensor(), v1.Normalize(mean, std)]
    )
    carrier = carrier_of(pipeline)
    found = carrier.carry(PICTURE, BOXES, MASKS, seed=0)
    assert torch.equal(found.image, pipeline(PICTURE))
    assert found.boxes.tolist() == [[2.0, 4.0, 14.0, 22.0]]
    assert (carrier.mean, carrier.std, carrier.random) == (mean, std, False)


def test_others_of_the_first_kind_are_refused_and_the_same_in_v2_is_written_out():
    steps = [v1.RandomResizedCrop(8), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize([0.5], [0.5])]
    with pytest.raises(TypeError) as error:
        carrier_of(v1.Compose(steps))
    message = str(error.value)
    assert "in which RandomResizedCrop moves pictures and leaves boxes behind" in message
    made = written(message)
    names = ["RandomResizedCrop", "RandomHorizontalFlip", "ToImage", "ToDtype", "Normalize"]
    assert [type(step).__name__ for step in made.transforms] == names
    assert carrier_of(made).carry(PICTURE, BOXES, MASKS, seed=0).image.shape == (3, 8, 8)


def test_a_function_among_those_of_the_first_kind_is_named():
    with pytest.raises(TypeError, match=r"^transform: .* RandomCrop moves .*; write the function prepare as a transf"):
        carrier_of(v1.Compose([v1.RandomCrop(8), prepare]))
    with pytest.raises(
        NotCarried, match=r"^transform: .* 20x20 for one of 40x60, but its steps without the function pr"
    ):
        carry(v1.Compose([v1.Resize(8), prepare]))


def rgb(picture):
    return picture.convert("RGB")


def mirror(picture):
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Tensors(v1.ToTensor):
    """As timm has one: a step of somebody else's that moves nothing."""


@pytest.mark.parametrize("step", [rgb, v1.Lambda(rgb), Tensors()])
def test_steps_of_others_among_those_of_the_first_kind_are_taken_to_move_nothing_and_watched(step):
    last = [] if isinstance(step, Tensors) else [v1.ToTensor()]
    pipeline = v1.Compose([v1.Resize(20), v1.CenterCrop(20), step, *last])
    for found in (carry(pipeline), carry(image_transform=pipeline)):
        assert torch.equal(found.image, pipeline(PICTURE))
        assert found.boxes.tolist() == [[0.0, 2.0, 10.0, 20.0]]
    with pytest.raises(
        NotCarried, match=r"^image_transform: did not carry .* the function mirror or .* moves the picture"
    ):
        carry(image_transform=v1.Compose([mirror, *pipeline.transforms]))


def written(message):
    twin = re.search(r"v2\.Compose\(\[.*\]\)$", message)[0]
    return eval(twin, {"v2": v2, "torch": torch, "InterpolationMode": v2.InterpolationMode})


def test_the_mend_of_the_first_kind_is_python_and_names_the_argument():
    steps = [v1.RandomApply([v1.RandomCrop(8, padding=2, padding_mode="edge")], p=0.25), v1.ToTensor()]
    with pytest.raises(TypeError, match=r"^image_transform: expected transforms.v2, .* in which RandomCrop") as error:
        carrier_of(None, image_transform=v1.Compose(steps))
    perhaps = written(str(error.value)).transforms[0]
    assert (type(perhaps), perhaps.p) == (v2.RandomApply, 0.25)
    assert perhaps.transforms[0].padding_mode == "edge"
    with pytest.raises(TypeError, match=r"in which FiveCrop moves .*; leave FiveCrop out, for it gives several pict"):
        carrier_of(v1.Compose([v1.FiveCrop(8), v1.ToTensor()]))


def test_padding_with_the_edge_is_padding():
    for pad in (v1.Compose([v1.Pad(3, padding_mode="edge"), v1.ToTensor()]), edge := v2.Pad(3, padding_mode="edge")):
        pipeline = v2.Compose([edge, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]) if pad is edge else pad
        found = carry(pipeline)
        assert torch.equal(found.image, torch.as_tensor(pipeline(PICTURE)))
        assert found.boxes.tolist() == [[9.0, 7.0, 33.0, 43.0]]


def test_steps_that_may_be_left_out_draw_places_unless_they_only_recolour():
    coloured = v1.Compose([v1.Resize(20), v1.RandomApply([v1.ColorJitter(0.5)]), v1.ToTensor()])
    for found in (carry(coloured), carry(image_transform=coloured, geometry=[Resize(20)])):
        assert found.boxes.tolist() == [[3.0, 2.0, 15.0, 20.0]]
    assert carry(v1.Compose([v1.RandomApply([v1.Resize(20)], p=0), v1.ToTensor()])).boxes.tolist() == BOXES.tolist()
    for moving in (v1.RandomApply([v1.Resize(20)]), v1.RandomChoice([v1.Resize(20), v1.CenterCrop(20)])):
        name = f"{type(moving).__name__} of Resize"
        for arguments in ({}, {"geometry": [Resize(20)]}):
            with pytest.raises(TypeError, match=f"^image_transform: .* {name}"):
                carrier_of(None, image_transform=v1.Compose([moving, v1.ToTensor()]), **arguments)


def test_what_moves_boxes_by_itself_is_to_be_passed_as_transform():
    albumentations = pytest.importorskip("albumentations")
    for image_transform in (v2.Compose([v2.Resize(8)]), albumentations.Resize(8, 8)):
        with pytest.raises(TypeError, match=r"^image_transform: .* moves boxes by itself: pass it as transform=$"):
            carrier_of(None, image_transform=image_transform)


def test_a_batch_of_features_says_how_to_take_the_picture_out():
    def processor(picture):
        return {"pixel_values": [np.zeros((3, 8, 8))]}

    mend = re.escape('lambda picture: processor(picture, return_tensors="pt")["pixel_values"][0]')
    with pytest.raises(TypeError, match=f"^image_transform: expected a floating tensor .*{mend}$"):
        carry(image_transform=processor, geometry=[])


def test_an_output_that_no_model_takes_names_its_argument():
    with pytest.raises(TypeError, match=r"^transform: expected a floating picture to come out, got torch.uint8"):
        carry(v1.Compose([v1.Resize(8), v1.PILToTensor()]))
    with pytest.raises(TypeError, match=r"^image_transform: expected a floating tensor .* got ndarray"):
        carry(image_transform=np.asarray, geometry=[])


def test_an_error_of_the_function_itself_is_passed_on_with_its_argument():
    def broken(picture):
        raise RuntimeError("no such channel")

    with pytest.raises(ValueError, match=r"^image_transform: could not carry .*: no such channel$"):
        carry(image_transform=broken, geometry=[])


class Plain:
    def method(self, picture):
        return picture


TEXTS = {
    "<lambda>": lambda picture: picture,
    "prepare": prepare,
    "Plain.method": Plain().method,
    "[Plain()]": [Plain()],
    "[prepare, Plain.method]": [prepare, Plain().method],
    "[<lambda>]": [lambda picture: picture],
    "Compose(\n    ToTensor()\n    <lambda>\n)": v1.Compose([v1.ToTensor(), lambda picture: picture]),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_same_in_every_process(text):
    assert described(TEXTS[text]) == text


def test_the_text_of_a_function_with_steps_names_both():
    carrier = carrier_of(None, image_transform=prepare, geometry=[Resize(20), CenterCrop((20, 20))])
    steps = "Resize(size=20, max_size=None, interpolation='bilinear')\nCenterCrop(size=(20, 20))"
    assert carrier.text == f"prepare\nwith boxes by\n{steps}"
