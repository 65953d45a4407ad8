"""The law of this room: the heat inside the carried box is the heat of the carried object, whatever carried them.

Pictures are of mode F, so that no transform rounds to bytes. The object's heat ends well within its box, and all other
heat keeps as far from it, so that no filter carries any of it across the rim. Everything here is linear: the object
alone, carried by itself, says how much of the whole is its own.
"""

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification, ObjectDetection, SemanticSegmentation

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
from camdebug.probe.boxes import coverage

HEIGHT, WIDTH = 150, 211
BOX = (92.5, 20.25, 159.0, 78.75)
SEED = 5
FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
AREA, BILINEAR = InterpolationMode.BOX, InterpolationMode.BILINEAR
NOTHING = torch.zeros((0, HEIGHT, WIDTH), dtype=torch.bool)


def bump(x1, y1, x2, y2):
    """Smooth, and 0 from the rim on."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    u, v = (2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1)
    return np.where((abs(u) < 1) & (abs(v) < 1), (np.cos(np.pi * u / 2) * np.cos(np.pi * v / 2)) ** 2, 0.0)


def heat():
    """Object and whole, as pictures, the object's heat 12 pixels within its box."""
    x1, y1, x2, y2 = BOX
    own = 2 * bump(x1 + 12, y1 + 12, x2 - 12, y2 - 12)
    others = [(2, 3, 80, 70), (100, 92, 180, 149), (172, 10, 209, 90), (10, 80, 88, 140)]
    whole = own + 0.6 * sum(bump(*other) for other in others)
    return tuple(Image.fromarray(values.astype(np.float32)) for values in (own, whole))


def v2_of(*steps):
    return {"transform": v2.Compose([*steps, *FLOATS])}


def said(*steps):
    return {"transform": None, "geometry": list(steps)}


def v1_of(*steps):
    return {"transform": v1.Compose([*steps, v1.ToTensor()])}


def albumentations_of(*steps):
    return {"transform": A.Compose([*steps, A.ToTensorV2()])}


def opaque(*steps, geometry):
    pipeline = v1.Compose([*steps, v1.ToTensor()])
    return {"transform": None, "image_transform": lambda picture: pipeline(picture), "geometry": geometry}


def preset(kind, **arguments):
    return {"transform": kind(**arguments)}


PLAIN = {"mean": (0.0,), "std": (1.0,)}
CASES = {
    "v2 nothing": v2_of(),
    "v2 shorter side down": v2_of(v2.Resize(64)),
    "v2 shorter side up": v2_of(v2.Resize(333)),
    "v2 longest side": v2_of(v2.Resize(120, max_size=131)),
    "v2 squeezed": v2_of(v2.Resize((97, 61))),
    "v2 bicubic": v2_of(v2.Resize(101, interpolation=InterpolationMode.BICUBIC)),
    "v2 box filter": v2_of(v2.Resize(50, interpolation=AREA)),
    "v2 of a tensor": v2_of(v2.ToImage(), v2.Resize((80, 200), antialias=True)),
    "v2 of a tensor, shorter side": v2_of(v2.ToImage(), v2.Resize(70, antialias=True), v2.CenterCrop(64)),
    "v2 crop": v2_of(v2.CenterCrop((101, 99))),
    "v2 crop through the object": v2_of(v2.CenterCrop((70, 60))),
    "v2 crop of more than there is": v2_of(v2.CenterCrop((153, 220))),
    "v2 crop of more at odd offsets": v2_of(v2.CenterCrop((157, 301))),
    "v2 as models are evaluated": v2_of(v2.Resize(91), v2.CenterCrop(80)),
    "v2 pad": v2_of(v2.Pad((3, 5, 7, 11))),
    "v2 flips": v2_of(v2.RandomHorizontalFlip(p=1), v2.RandomVerticalFlip(p=1)),
    "v2 all of it": v2_of(v2.Pad(9), v2.Resize(103), v2.CenterCrop((88, 121)), v2.RandomHorizontalFlip(p=1)),
    "v2 quarter turn": v2_of(v2.RandomRotation((90, 90), expand=True)),
    "v2 turned": v2_of(v2.RandomRotation((9, 9), interpolation=BILINEAR)),
    "v2 in other containers": {"transform": nn.Sequential(v2.Resize(91), nn.Sequential(v2.CenterCrop(80), *FLOATS))},
    "v2 in the first Compose": {"transform": v1.Compose([v2.Resize(91), v2.CenterCrop(80), *FLOATS])},
    "v2 pure tensors": v2_of(v2.Resize(91), v2.PILToTensor(), v2.ToPureTensor()),
    "v2 random crop": v2_of(v2.RandomResizedCrop((90, 70), scale=(0.5, 0.8))),
    "v2 random place": v2_of(v2.RandomCrop((90, 111))),
    "v2 random shift and scale": v2_of(v2.RandomAffine(0, (0.1, 0.1), (0.8, 1.1), interpolation=BILINEAR)),
    "v2 zoomed out": v2_of(v2.RandomZoomOut(p=1)),
    "v2 crop around boxes": v2_of(v2.RandomIoUCrop(min_scale=0.5), v2.SanitizeBoundingBoxes()),
    "v2 random size": v2_of(v2.RandomShortestSize([60, 70, 80])),
    "v2 jittered scale": v2_of(v2.ScaleJitter((120, 120), (0.6, 1.4))),
    "v2 one of": v2_of(v2.RandomChoice([v2.Resize(77), v2.CenterCrop(91)])),
    "v2 in any order": v2_of(v2.RandomOrder([v2.Resize(77), v2.CenterCrop(91), v2.Pad((1, 2, 3, 4))])),
    "said nothing": said(),
    "said shorter side": said(Resize(64)),
    "said larger": said(Resize(333, interpolation="bicubic")),
    "said longest side": said(Resize(120, max_size=131)),
    "said squeezed": said(Resize((97, 61))),
    "said crop": said(CenterCrop((101, 99))),
    "said crop of more": said(CenterCrop((157, 301))),
    "said letterbox": said(Letterbox((96, 96), fill=0)),
    "said tall letterbox": said(Letterbox((251, 93), fill=0)),
    "said letterbox of small ones": said(Letterbox(300, fill=0, scale_up=False)),
    "said pad": said(Pad((3, 5, 7, 11))),
    "said flips": said(HorizontalFlip(), VerticalFlip()),
    "said all of it": said(Pad(9), Resize(103), CenterCrop((88, 121)), HorizontalFlip(), Normalize([0.0], [2.0])),
    "opaque as evaluated": opaque(v1.Resize(91), v1.CenterCrop(80), geometry=[Resize(91), CenterCrop(80)]),
    "opaque flip": opaque(v1.RandomHorizontalFlip(p=1), geometry=[HorizontalFlip()]),
    "v1 as evaluated": v1_of(v1.Resize(91), v1.CenterCrop(80)),
    "v1 squeezed and padded": v1_of(v1.Resize((77, 99)), v1.Pad((1, 2, 3, 4)), v1.CenterCrop((70, 120))),
    "v1 longest side": v1_of(v1.Resize(120, max_size=131)),
    "preset classification": preset(ImageClassification, crop_size=80, resize_size=91, **PLAIN),
    "preset of another filter": preset(
        ImageClassification, crop_size=80, resize_size=80, interpolation=InterpolationMode.BICUBIC, **PLAIN
    ),
    "preset segmentation": preset(SemanticSegmentation, resize_size=70, **PLAIN),
    "preset detection": preset(ObjectDetection),
    "albumentations squeezed": albumentations_of(A.Resize(97, 161, interpolation=3)),
    "albumentations larger": albumentations_of(A.Resize(300, 400)),
    "albumentations shorter side": albumentations_of(A.SmallestMaxSize(141), A.CenterCrop(120, 131)),
    "albumentations letterbox": albumentations_of(A.LongestMaxSize(256), A.PadIfNeeded(256, 256)),
    "albumentations flips": albumentations_of(A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1)),
    "albumentations crop": albumentations_of(A.Crop(33, 21, 177, 148)),
    "albumentations random crop": albumentations_of(A.RandomCrop(90, 111)),
    "albumentations random crop, resized": albumentations_of(A.RandomResizedCrop((140, 150), scale=(0.5, 0.8))),
    "albumentations perhaps": albumentations_of(A.HorizontalFlip(), A.OneOf([A.Resize(99, 97), A.RandomCrop(99, 98)])),
    "albumentations alone": {"transform": A.CenterCrop(101, 99)},
}  # fmt: skip


def carried(case, picture, box=BOX):
    boxes = torch.tensor([box], dtype=torch.float64)
    return carrier_of(**case).carry(picture, boxes, NOTHING, seed=SEED)


def inside(image, box):
    """Share of the heat in the box, each pixel by the part of it that the box covers."""
    size = tuple(image.shape[1:])
    cover = coverage([box.reshape(1, 4)], size, size)[0]
    total = image[0].double()
    return float((total * cover).sum() / total.sum())


def own_share(case):
    own, whole = (carried(case, picture).image[0].double() for picture in heat())
    return float(own.sum() / whole.sum())


@pytest.mark.parametrize("name", CASES)
def test_the_heat_in_the_carried_box_is_that_of_the_carried_object(name):
    found = carried(CASES[name], heat()[1])
    share = own_share(CASES[name])
    assert 0.05 < share < 0.999
    assert inside(found.image, found.boxes[0]) == pytest.approx(share, abs=1e-5)


WRONG = {
    "axes swapped": lambda box: box[[1, 0, 3, 2]],
    "not scaled": lambda box: torch.tensor(BOX, dtype=torch.float64),
    "crop forgotten": lambda box: torch.tensor(BOX, dtype=torch.float64) * (91 / 150),
    "width by the height's ratio and no crop": lambda box: torch.tensor(BOX) * torch.tensor([91 / 211, 1, 91 / 211, 1]),
    "mirrored": lambda box: torch.stack([80 - box[2], box[1], 80 - box[0], box[3]]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_law_breaks_by_far_where_boxes_do_not_follow(fault):
    case = CASES["v2 as models are evaluated"]
    found = carried(case, heat()[1])
    wrong = inside(found.image, WRONG[fault](found.boxes[0]))
    assert abs(wrong - own_share(case)) > 0.03


def test_bytes_keep_the_law_to_their_rounding():
    """Pictures as they come: RGB of 8 bits, whose levels are rounded by each step."""
    case = v2_of(v2.Resize(91), v2.CenterCrop(80))
    own, whole = (
        Image.fromarray((np.array(picture) * 127).round().astype(np.uint8)).convert("RGB") for picture in heat()
    )
    found = carried(case, whole)
    share = float(carried(case, own).image.double().sum() / found.image.double().sum())
    assert inside(found.image, found.boxes[0]) == pytest.approx(share, abs=1e-3)


def test_bytes_that_are_only_moved_keep_the_law_exactly():
    case = v2_of(v2.CenterCrop((101, 99)), v2.Pad((1, 2, 3, 4)), v2.RandomHorizontalFlip(p=1))
    own, whole = (Image.fromarray((np.array(picture) * 127).round().astype(np.uint8)) for picture in heat())
    found = carried(case, whole)
    share = float(carried(case, own).image.double().sum() / found.image.double().sum())
    assert inside(found.image, found.boxes[0]) == pytest.approx(share, abs=1e-12)
