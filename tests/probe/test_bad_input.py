"""What people bring by mistake, through the public door: left out with its reason, or one error."""

import json
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from camdebug import ProbeSet, compute_cams
from camdebug.sources import CocoJson, CsvTable, MaskFolder, VocFolder, YoloFolder

TENSOR = v2.Compose([v2.ToImage(), v2.Resize((32, 32)), v2.ToDtype(torch.float32, scale=True)])
GOOD = "good{}.jpg"
BOX = (10, 12, 30, 36)


def noise(seed=0, size=(48, 64), channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


class Smears:
    """A Pascal VOC folder in the making."""

    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages"):
            (root / name).mkdir(parents=True)
        for number in range(4):
            self.picture(GOOD.format(number), number)
            self.xml(GOOD.format(number), BOX, label="cat" if number % 2 else "dog")

    def picture(self, name, seed=0, mode="RGB", size=(48, 64), **options):
        Image.fromarray(noise(seed, size)).convert(mode).save(self.root / "JPEGImages" / name, **options)

    def xml(self, name, box=BOX, *, size=(48, 64), label="cat"):
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        self.raw(
            name,
            f"<annotation><filename>{name}</filename><size><width>{size[1]}</width><height>{size[0]}</height></size>"
            f"<object><name>{label}</name><bndbox>{corners}</bndbox></object></annotation>",
        )

    def raw(self, name, text):
        path = self.root / "Annotations" / f"{name.rpartition('.')[0]}.xml"
        path.write_text(text, encoding="utf-8")

    def both(self, name, box=BOX, **options):
        self.picture(name, **options)
        self.xml(name, box)


def kinds(s):
    """Make each fault; what is left out, and why. ``None`` for what is mended rather than left out."""
    pictures = s.root / "JPEGImages"
    s.xml("missing.jpg")
    s.both("truncated.jpg")
    whole = (pictures / "truncated.jpg").read_bytes()
    (pictures / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    s.xml("empty.jpg")
    (pictures / "empty.jpg").write_bytes(b"")
    s.xml("text.jpg")
    (pictures / "text.jpg").write_text("not a picture")
    s.xml("folder.jpg")
    (pictures / "folder.jpg").mkdir()
    s.xml("cycle.jpg")
    (pictures / "cycle.jpg").symlink_to("cycle.jpg")
    s.xml("pipe.jpg")
    os.mkfifo(pictures / "pipe.jpg")
    s.xml("bomb.png")
    (pictures / "bomb.png").write_bytes(_claims(60_000, 60_000))
    s.both("other_size.jpg", size=(24, 30))
    s.both("turned.jpg", size=(48, 64), exif=_orientation(3))
    s.xml("float.tiff")
    Image.fromarray(np.ones((48, 64), np.float32)).save(pictures / "float.tiff")
    s.both("no_area.jpg", (10, 12, 10, 36))
    s.both("outside.jpg", (70, 12, 90, 36))
    s.both("nan.jpg", ("nan", 12, 30, 36))
    s.both("inverted.jpg", (30, 36, 10, 12))
    s.both("speck.jpg", (10, 12, 14, 16))
    s.both("all_of_it.jpg", (0, 0, 64, 48))
    s.picture("broken.jpg")
    s.raw("broken.jpg", "<annotation><object>")
    s.picture("entities.jpg")
    s.raw("entities.jpg", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>')
    s.picture("external.jpg")
    s.raw("external.jpg", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>')
    s.both("words.jpg", ("left", 12, 30, 36))
    s.picture("nameless.jpg")
    s.xml("nameless.jpg", label="")
    s.raw("escape.jpg", "<annotation><filename>../../../etc/passwd</filename><object/></annotation>")
    s.picture("corners.jpg")
    s.raw("corners.jpg", "<annotation><filename>corners.jpg</filename><object><name>cat</name></object></annotation>")
    # mended: opened as they should be
    s.both("cmyk.jpg", mode="CMYK")
    s.both("palette.png", mode="P")
    s.both("grey.png", mode="L")
    s.both("see_through.png", mode="RGBA")
    s.xml("deep.png")
    Image.fromarray(noise(channels=1)[..., 0].astype(np.uint16) * 256).save(pictures / "deep.png")
    s.both("Жук 猫 é.jpg")
    s.both("upright.jpg", size=(64, 48), exif=_orientation(6))


def _orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def _claims(width, height):
    """The beginning of a PNG of that size."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


@pytest.fixture
def smears(tmp_path):
    return Smears(tmp_path / "smears")


def build(source, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probes = ProbeSet.from_source(source, **{"transform": TENSOR, "class_names": ["cat", "dog"], **options})
    return probes, [str(w.message) for w in caught]


LEFT_OUT = {
    "JPEGImages/truncated.jpg": "truncated or damaged picture",
    "JPEGImages/empty.jpg": "empty file",
    "JPEGImages/text.jpg": "not a picture",
    "JPEGImages/cycle.jpg": "link that leads back to itself",
    "JPEGImages/pipe.jpg": "neither file nor folder (a pipe, socket or device)",
    "JPEGImages/bomb.png": "more than 178 million pixels",
    "JPEGImages/float.tiff": "floating pixels; save the picture in 8 or 16 bits",
    "JPEGImages/other_size.jpg": "annotated for a picture of another size",
    "JPEGImages/turned.jpg": (
        "turned by its EXIF tag, annotated either way; pass exif='apply' (upright) or exif='ignore' (stored)"
    ),
    "JPEGImages/no_area.jpg": "box of no area",
    "JPEGImages/outside.jpg": "box outside the picture",
    "JPEGImages/nan.jpg": "box not finite",
    "JPEGImages/inverted.jpg": "box inverted",
    "JPEGImages/speck.jpg": "object under 2 % of the picture after the transform",
    "JPEGImages/all_of_it.jpg": "object over 70 % of the picture after the transform",
    "Annotations/missing.xml": "missing picture",
    "Annotations/folder.xml": "missing picture",
    "Annotations/escape.xml": "missing picture",
    "Annotations/broken.xml": "broken XML",
    "Annotations/entities.xml": "XML with entities or references to other files",
    "Annotations/external.xml": "XML with entities or references to other files",
    "Annotations/words.xml": "box that is not four numbers",
    "Annotations/nameless.xml": "no class name",
    "Annotations/corners.xml": "object without a box",
}
MENDED = ("cmyk.jpg", "palette.png", "grey.png", "see_through.png", "deep.png", "Жук 猫 é.jpg", "upright.jpg")


def test_every_fault_is_left_out_for_its_reason_and_everything_else_is_a_probe(smears):
    kinds(smears)
    probes, said = build(VocFolder(smears.root))
    assert {e.source_id: e.reason for e in probes.exclusions} == LEFT_OUT
    assert len(probes.exclusions) == len(LEFT_OUT)
    assert set(probes.source_ids) == {f"JPEGImages/{n}" for n in (*MENDED, *map(GOOD.format, range(4)))}
    assert len(said) == 1
    assert f"left out {len(LEFT_OUT)} of {len(LEFT_OUT) + len(probes)} pictures" in said[0]
    assert all(f"x {reason}" in said[0] for reason in LEFT_OUT.values())
    assert all(torch.equal(box[0], torch.tensor([5.0, 8.0, 15.0, 24.0])) for box in probes.boxes)
    heat = compute_cams(
        nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), _Head()), probes.images, class_idx=probes.labels
    )
    assert heat.maps.isfinite().all()


class _Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(4, 2)

    def forward(self, cells):
        return self.weights(cells.mean((2, 3)))


def test_one_of_them_would_be_enough_to_end_a_naive_reader(smears):
    """The control: torchvision's own reading of the same folder raises on most of the faults."""
    from torchvision.datasets.folder import default_loader

    kinds(smears)
    failed = []
    for name in ("truncated.jpg", "empty.jpg", "text.jpg", "cycle.jpg", "bomb.png"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                default_loader(str(smears.root / "JPEGImages" / name))
            except Exception:
                failed.append(name)
    assert failed == ["truncated.jpg", "empty.jpg", "text.jpg", "cycle.jpg", "bomb.png"]


def voc(s, **changes):
    for number in range(4):
        s.xml(GOOD.format(number), **changes)
    return VocFolder(s.root)


def coco(s, text=None, *, annotations=None, images=None, use="boxes"):
    found = {
        "images": images or [{"id": 1, "file_name": "good0.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": annotations or [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 12, 20, 24]}],
    }
    (s.root / "coco.json").write_text(json.dumps(found) if text is None else text)
    return CocoJson(s.root / "coco.json", s.root / "JPEGImages", use=use)


def yolo(s, data="names: [cat]\nval: JPEGImages\n", row="0 .5 .5 .4 .4"):
    (s.root / "data.yaml").write_text(data)
    (s.root / "JPEGImages" / "good0.txt").write_text(row)
    return YoloFolder(s.root / "data.yaml")


def table(s, text, **columns):
    (s.root / "boxes.csv").write_text(text, encoding="utf-8")
    names = {"picture": "file", "label": "kind", "box": ("a", "b", "c", "d"), **columns}
    return CsvTable(s.root / "boxes.csv", s.root / "JPEGImages", **names)


def masks(s, mask, *, values):
    (s.root / "masks").mkdir()
    Image.fromarray(mask).save(s.root / "masks" / "good0.png")
    return MaskFolder(s.root / "JPEGImages", s.root / "masks", values=values)


WHOLE = {
    "no such folder": (lambda s: VocFolder(s.root / "gone"), "root: "),
    "no annotations": (lambda s: VocFolder(s.root / "JPEGImages"), "annotations: "),
    "no such split": (lambda s: VocFolder(s.root, split="val"), "split: "),
    "boxes from 0 to 1": (lambda s: voc(s, box=(0.1, 0.2, 0.5, 0.6)), "lie in 0 to 1"),
    "x, y, width, height": (lambda s: voc(s, box=(40, 30, 12, 10)), "look like x, y, width, height"),
    "boxes of larger pictures": (lambda s: voc(s, box=(100, 120, 300, 360)), "beyond"),
    "an unknown class": (
        lambda s: voc(s, label="Cat"),
        "none of 'cat', 'dog' is annotated; Pascal VOC, 4 pictures names 'Cat' (near: cat)",
    ),
    "malformed JSON": (lambda s: coco(s, "{"), "annotation_file: "),
    "JSON of something else": (lambda s: coco(s, "[1, 2]"), "annotation_file: "),
    "a repeated picture id": (
        lambda s: coco(s, images=[{"id": 1, "file_name": f"good{n}.jpg", "width": 64, "height": 48} for n in (0, 1)]),
        "2 x duplicate image id (good0.jpg, good1.jpg)",
    ),
    "broken YAML": (lambda s: yolo(s, "names: [cat"), "data_yaml: "),
    "no names": (lambda s: yolo(s, "val: JPEGImages\n"), "data_yaml: "),
    "pixels where fractions belong": (
        lambda s: yolo(s, row="0 32 24 20 20"),
        "1 x YOLO row not in 0 to 1 (JPEGImages/good0.jpg)",
    ),
    "a column that is not there": (
        lambda s: table(s, "file,kind,a,b,c\n"),
        "box: expected columns of boxes.csv ('file', 'kind', 'a', 'b', 'c'), got 'd'",
    ),
    "an empty table": (lambda s: table(s, ""), "file: "),
    "a mask of another size": (
        lambda s: masks(s, np.ones((24, 32), np.uint8), values={1: "cat"}),
        "annotated for a picture of another size",
    ),
    "mask values nobody named": (lambda s: masks(s, np.full((48, 64), 9, np.uint8), values={1: "cat"}), "values: "),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_wrong_with_all_of_it_is_one_error(smears, kind):
    make, message = WHOLE[kind]
    with pytest.raises((ValueError, OSError)) as raised:
        build(make(smears))
    assert message in str(raised.value)
