"""Whatever is in the files: readers give entries and counted exclusions or one clear error, and nothing else."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camdebug.sources import CocoJson, Entry, Unusable, VocFolder, YoloFolder
from camdebug.sources.coco_masks import coco_mask
from camdebug.sources.pictures import open_picture, picture_size

HEIGHT, WIDTH = 6, 8
OFTEN = settings(max_examples=40, deadline=None, database=None)

VOC = b"""<?xml version="1.0" encoding="utf-8"?><!DOCTYPE annotation><annotation><filename>a.png</filename>
<size><width>8</width><height>6</height></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin>
<ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "images/a.png", "width": WIDTH, "height": HEIGHT}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1, 1, 5, 1, 3, 4]]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 2, 3, 4],
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [10, 20, 18]},
        },
    ],
    "categories": [{"id": 1, "name": "cat"}],
}
YAML = b"path: .\nval: images\nnames: {0: cat, 1: dog}\nnc: 2\n"
LABELS = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.9 0.1 0.5 0.8\n"

NOISE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("../../x"), st.just(10**400)
)
VALUES = st.recursive(
    NOISE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def damaged(draw, content):
    """The content with some of its bytes cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 40, len(content))))
        between = draw(st.one_of(st.binary(max_size=6), st.just(content[start:end] * 2)))
        content = content[:start] + between + content[end:]
    return content


@st.composite
def altered(draw, value):
    """The JSON with one of its values replaced by any other."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 5)):
        if isinstance(value, list):
            place = draw(st.integers(0, len(value) - 1))
            return [draw(altered(each)) if number == place else each for number, each in enumerate(value)]
        place = draw(st.sampled_from(sorted(value)))
        return {key: draw(altered(each)) if key == place else each for key, each in value.items()}
    return draw(VALUES)


def make_set(folder):
    for name in ("Annotations", "JPEGImages", "images", "labels"):
        (folder / name).mkdir()
    for name in ("JPEGImages", "images"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name / "a.png")
    (folder / "Annotations" / "a.xml").write_bytes(VOC)
    (folder / "labels" / "a.txt").write_bytes(LABELS)
    (folder / "data.yaml").write_bytes(YAML)
    (folder / "coco.json").write_text(json.dumps(COCO))
    return {
        "voc": VocFolder(folder),
        "yolo": YoloFolder(folder / "data.yaml"),
        "yolo masks": YoloFolder(folder / "data.yaml", use="masks"),
        "coco": CocoJson(folder / "coco.json", folder),
        "coco masks": CocoJson(folder / "coco.json", folder, use="masks"),
    }


def use(source, folder):
    """Read, and use all that was read; return what became of it."""
    found, argument = None, ""
    try:
        found = source.read()
    except (ValueError, OSError) as error:
        argument = str(error).partition(":")[0]
    if found is None:
        assert argument in {"annotation_file", "data_yaml", "split"}
        return None
    ids = [entry.source_id for entry in found.entries]
    assert len(set(ids)) == len(ids)
    json.dumps([ids, [(each.source_id, each.reason) for each in found.exclusions]]).encode()
    assert not [each.reason for each in found.exclusions if str(folder) in each.reason or len(each.reason) > 70]
    for entry in found.entries:
        use_entry(entry, found, folder)
    return found


def use_entry(entry, found, folder):
    assert entry.picture.resolve().is_relative_to(folder.resolve())
    with contextlib.suppress(Unusable):
        assert open_picture(entry).size == (WIDTH, HEIGHT)
    for each in entry.objects:
        assert each.name in found.names
        assert each.name.encode()
        assert (each.box is None) == (found.kind == "masks")
        if each.box is not None:
            assert [type(value) for value in each.box] == [float] * 4
            continue
        with contextlib.suppress(Unusable):
            mask = each.mask()
            assert (mask.shape, mask.dtype) == (entry.size, np.bool_)


def test_the_set_is_whole_before_it_is_damaged(tmp_path):
    sources = make_set(tmp_path)
    found = {name: use(source, tmp_path) for name, source in sources.items()}
    counts = {name: (len(each.entries), len(each.exclusions)) for name, each in found.items()}
    assert counts == {"voc": (1, 0), "yolo": (1, 0), "yolo masks": (0, 1), "coco": (1, 0), "coco masks": (1, 0)}
    assert [int(each.mask().sum()) for each in found["coco masks"].entries[0].objects] == [6, 20]


@pytest.mark.parametrize(
    ("name", "file", "contents"),
    [
        ("voc", "Annotations/a.xml", damaged(VOC)),
        ("coco", "coco.json", damaged(json.dumps(COCO).encode())),
        ("coco", "coco.json", altered(COCO).map(json.dumps).map(str.encode)),
        ("coco masks", "coco.json", altered(COCO).map(json.dumps).map(str.encode)),
        ("yolo", "labels/a.txt", damaged(LABELS)),
        ("yolo masks", "labels/a.txt", damaged(LABELS)),
        ("yolo", "data.yaml", damaged(YAML)),
    ],
)
def test_a_damaged_file_is_an_exclusion_or_one_error(tmp_path, name, file, contents):
    source = make_set(tmp_path)[name]

    @OFTEN
    @given(contents)
    def damage(content):
        (tmp_path / file).write_bytes(content)
        found = use(source, tmp_path)
        assert found is None or found.entries or found.exclusions

    damage()


@OFTEN
@given(
    st.one_of(
        VALUES,
        st.lists(st.lists(st.one_of(st.floats(), st.integers(-20, 20)), min_size=6, max_size=10), max_size=3),
        st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": st.text(max_size=8) | VALUES}),
        st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": st.lists(st.integers(0, 48), max_size=6)}),
    )
)
def test_any_mask(segmentation):
    try:
        mask = coco_mask(segmentation, (HEIGHT, WIDTH))
    except Unusable:
        return
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.bool_)


def encoded(kind):
    """A small picture in a format, of noise, so that there is something to damage."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "JPEG2000"])
def test_damaged_pictures(kind, tmp_path):
    whole, opened, refused = encoded(kind), [], set()
    path = tmp_path / "a.picture"

    @OFTEN
    @given(damaged(whole))
    def open_damaged(content):
        path.write_bytes(content)
        try:
            picture = open_picture(Entry("a", path, ()), exif="apply")
            assert (picture.mode, picture.info) == ("RGB", {})
            assert picture_size(path, upright=True) == (picture.height, picture.width)
            opened.append(picture)
        except Unusable as reason:
            refused.add(str(reason))

    open_damaged()
    path.write_bytes(whole)
    assert open_picture(Entry("a", path, ()), exif="ignore").size == (WIDTH, HEIGHT)
    assert refused <= {
        "not a picture",
        "empty file",
        "truncated or damaged picture",
        "more than 178 million pixels",
        "16-bit picture with values below 256 alone; save it in 8 bits",
        "floating pixels; save the picture in 8 or 16 bits",
        "32-bit pixels; save the picture in 8 or 16 bits",
    } | {reason for reason in refused if reason.startswith("pixels of a kind that cannot be read (")}
    assert len(opened) + len(refused) > 0
