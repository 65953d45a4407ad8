"""What the watch over steps that cannot be read sees, and what it lets through."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from camdebug.geometry import CenterCrop, Resize, carrier_of
from camdebug.geometry.carrier import NotCarried

FLOATS = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def picture(width, height, *, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8))


def look(carrier, width, height, *, seed=0):
    masks = torch.zeros((0, height, width), dtype=torch.bool)
    return carrier.carry(picture(width, height), torch.zeros((0, 4), dtype=torch.float64), masks, seed=seed)


def squeezed(found):
    return FLOATS(v2.Resize((32, 32))(found))


def declared(image_transform, *geometry):
    return carrier_of(None, image_transform=image_transform, geometry=list(geometry))


def test_what_is_right_for_squares_alone_is_seen_at_the_first_picture_of_another_shape():
    carrier = declared(squeezed, Resize(32), CenterCrop(32))
    for _ in range(2):
        look(carrier, 48, 48)
        with pytest.raises(
            NotCarried, match=r"^geometry: did not carry the boxes along: .* came out of one of 48x72; "
        ):
            look(carrier, 72, 48)


def test_sizes_are_looked_at_once_each_and_only_new_shapes_when_there_are_many():
    calls = Counter()

    def counting(found):
        calls[found.size] += 1
        return squeezed(found)

    carrier = declared(counting, Resize((32, 32)))
    for width in (*range(48, 68), 48):
        look(carrier, width, width)
    assert calls.pop((48, 48)) == 1 + 16 + 2 + 1 + 1  # under other seeds, black and white, and carried twice
    assert set(calls.values()) == {2 + 1}
    look(carrier, 90, 90)
    look(carrier, 90, 60)
    assert (calls[90, 90], calls[90, 60]) == (1, 3)


def shifted(pixels):
    return lambda found: FLOATS(Image.fromarray(np.roll(np.asarray(found), pixels, 1)))


def enlarged(factor):
    def zoom(found):
        height, width = round(found.height * factor), round(found.width * factor)
        return FLOATS(functional.center_crop(functional.resize(found, [height, width]), [found.height, found.width]))

    return zoom


@pytest.mark.parametrize("moved", [shifted(3), shifted(10), enlarged(1.05), enlarged(1.08), enlarged(0.94)])
def test_a_small_shift_or_zoom_is_seen(moved):
    with pytest.raises(NotCarried, match=r"^geometry: did not carry the boxes along"):
        look(declared(moved), 224, 224)


HONEST = {
    "nothing": (FLOATS, ()),
    "squeezed": (squeezed, (Resize((32, 32)),)),
    "enlarged": (lambda found: FLOATS(found.resize((224, 224))), (Resize((224, 224)),)),
    "sharp": (lambda found: FLOATS(found.resize((96, 96), Image.Resampling.BICUBIC)), (Resize((96, 96)),)),
    "nearest": (lambda found: FLOATS(found.resize((96, 96), Image.Resampling.NEAREST)), (Resize((96, 96)),)),
    "blurred": (lambda found: FLOATS(found.filter(ImageFilter.GaussianBlur(2))), ()),
    "equalised": (lambda found: FLOATS(functional.equalize(found.resize((224, 224)))), (Resize((224, 224)),)),
    "much enlarged": (lambda found: FLOATS(functional.equalize(found.resize((512, 512)))), (Resize((512, 512)),)),
    "packed": (lambda found: FLOATS(functional.jpeg(found, 10)), ()),
    "darker": (lambda found: FLOATS(found) ** 2.2, ()),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_recolours_blurs_or_resizes_as_it_was_said_is_let_through(name):
    image_transform, geometry = HONEST[name]
    carrier = declared(image_transform, *geometry)
    for width, height in ((72, 48), (48, 96), (37, 53), (160, 120)):
        assert look(carrier, width, height).image.shape[0] == 3


def perhaps(step, chance):
    drawn = v2.RandomApply([step], p=chance)
    return lambda found: FLOATS(drawn(found))


MIRROR = v2.RandomHorizontalFlip(p=1)


class Module(torch.nn.Module):
    def forward(self, found):
        return v2.RandomHorizontalFlip()(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "carrier",
    [
        lambda: declared(perhaps(MIRROR, 0.5)),
        lambda: carrier_of(v2.Compose([v2.Lambda(v2.RandomHorizontalFlip()), FLOATS])),
        lambda: carrier_of(v2.Compose([Module(), FLOATS])),
        lambda: carrier_of(v2.Compose([v2.ColorJitter(0.2), Module(), FLOATS])),
    ],
)
def test_an_opaque_step_that_draws_places_is_seen_under_any_seed(carrier, seed):
    with pytest.raises(
        NotCarried, match=r"did not carry the boxes along: .*, and draws something: if that is where to,"
    ):
        look(carrier(), 48, 36, seed=seed * 1000)


def test_what_draws_is_looked_at_in_every_picture():
    colours = v2.ColorJitter(0.5)

    def seldom(found):
        return FLOATS(colours(MIRROR(found) if torch.initial_seed() >= 1000 else found))

    carrier = declared(seldom)
    for seed in (0, 100, 999):
        look(carrier, 48, 36, seed=seed)
    with pytest.raises(NotCarried):
        look(carrier, 48, 36, seed=1000)


@pytest.mark.parametrize("step", [v2.ColorJitter(0.3, 0.3, 0.3), v2.RandomErasing(p=1), v2.GaussianBlur(5, (0.1, 2))])
def test_an_opaque_step_that_draws_colours_or_covers_a_part_is_let_through(step):
    carrier = declared(lambda found: step(FLOATS(found)))
    images = [look(carrier, 48, 36, seed=seed).image for seed in range(20)]
    assert not torch.equal(images[0], images[1])


def test_patches_that_a_draw_covers_in_part_are_no_reason_to_refuse():
    def covered(found):
        pixels = FLOATS(found)
        left, right = pixels.clone(), pixels.clone()
        left[:, :, : round(0.7 * found.width)] = torch.rand(1)
        left[:, : round(0.3 * found.height)] = 0
        return left if torch.rand(1) < 0.5 else right

    carrier = declared(covered)
    for seed in range(10):
        look(carrier, 48, 36, seed=seed)


@pytest.mark.parametrize("size", [(48, 36), (96, 72)])
@pytest.mark.parametrize(
    "step",
    [
        v2.RandomHorizontalFlip(),
        v2.ElasticTransform(),
        v2.RandomRotation(90),
        v2.RandomResizedCrop(32),
        v2.RandomPerspective(p=1),
    ],
)
def test_boxes_that_follow_a_draw_are_let_through_beside_an_opaque_step(step, size):
    carrier = carrier_of(v2.Compose([step, v2.Lambda(lambda found: found), FLOATS]))
    assert [look(carrier, *size, seed=seed).image.shape[0] for seed in range(6)] == [3] * 6
