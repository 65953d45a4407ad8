"""YOLO sets as ultralytics lays them out and as people have them."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as reference_masks

from camdebug.records import Exclusion
from camdebug.sources import Source, Unusable, YoloFolder
from camdebug.sources.pictures import open_picture

HEIGHT, WIDTH = 20, 40
TRIANGLE = "1 0.1 0.25 0.9 0.25 0.5 0.75"


def add(root, name, rows, size=(HEIGHT, WIDTH), split="val", **saving):
    picture = root / "images" / split / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(3 * size[0] * size[1], dtype=np.uint32).astype(np.uint8).reshape(*size, 3)).save(
        picture, **saving
    )
    label = root / "labels" / split / f"{name}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    if rows is not None:
        label.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return picture


def describe(root, text="val: images/val\nnames: [cat, dog]\n"):
    file = root / "data.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def read(root, **options):
    return YoloFolder(root / "data.yaml", **options).read()


def test_fractions_become_pixels_of_the_picture(tmp_path):
    add(tmp_path, "b", "0 0.5 0.5 0.25 0.5\n1 0.125 0.25 0.25 0.5")
    add(tmp_path, "a", "1.0 0.5 0.5 1 1\n\n", size=(8, 16))
    add(tmp_path, "c", TRIANGLE + "\r\n0 .5 .5 0 0\r\n")
    source = YoloFolder(describe(tmp_path))
    found = source.read()
    assert isinstance(source, Source)
    assert (found.names, found.kind, found.source) == (("cat", "dog"), "boxes", "YOLO, 3 pictures")
    assert [(entry.source_id, entry.size) for entry in found.entries] == [
        ("images/val/a.png", (8, 16)),
        ("images/val/b.png", (20, 40)),
        ("images/val/c.png", (20, 40)),
    ]
    assert [[(each.name, each.box) for each in entry.objects] for entry in found.entries] == [
        [("dog", (0, 0, 16, 8))],
        [("cat", (15, 5, 25, 15)), ("dog", (0, 0, 10, 10))],
        [("dog", (4, 5, 36, 15)), ("cat", (20, 10, 20, 10))],
    ]
    assert found.exclusions == ()


def test_a_byte_order_mark_is_nothing(tmp_path):
    add(tmp_path, "a", "\ufeff0 0.5 0.5 0.25 0.5\r\n")
    (tmp_path / "list.txt").write_text("\ufeffimages/val/a.png\n", encoding="utf-8")
    describe(tmp_path, "\ufeffval: list.txt\nnames: [cat, dog]\n")
    found = read(tmp_path)
    assert [[each.box for each in entry.objects] for entry in found.entries] == [[(15, 5, 25, 15)]]
    assert found.exclusions == ()


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_polygons_become_the_masks_that_pycocotools_fills(tmp_path):
    add(tmp_path, "a", TRIANGLE + "\n0 0 0 1 0 1 1 0 1\n")
    describe(tmp_path)
    found = read(tmp_path, use="masks")
    triangle, whole = (each.mask() for each in found.entries[0].objects)
    corners = [[4.0, 5.0, 36.0, 5.0, 20.0, 15.0]]
    expected = reference_masks.decode(reference_masks.merge(reference_masks.frPyObjects(corners, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(triangle, expected.astype(bool))
    assert 150 <= triangle.sum() <= 180  # half of 32 x 10, and its edge
    assert whole.all()
    assert whole.shape == (HEIGHT, WIDTH)
    assert found.kind == "masks"
    assert all(each.box is None for each in found.entries[0].objects)


def test_a_box_is_no_mask(tmp_path):
    add(tmp_path, "a", "0 .5 .5 .1 .1\n" + TRIANGLE)
    describe(tmp_path)
    reason = "YOLO row with a box where a polygon is needed"
    assert read(tmp_path, use="masks").exclusions == (Exclusion("images/val/a.png", reason),)
    assert len(read(tmp_path).entries[0].objects) == 2


@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_lie_in_the_upright_picture(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = add(tmp_path, "a", "0 0.5 0.25 1 0.5", exif=exif)
    describe(tmp_path)
    (entry,) = read(tmp_path).entries
    assert entry.size == (WIDTH, HEIGHT)
    assert entry.objects[0].box == (0, 0, HEIGHT, WIDTH / 2)
    np.testing.assert_array_equal(
        np.asarray(open_picture(entry)), np.asarray(ImageOps.exif_transpose(Image.open(picture)))
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[cat, dog]", ("cat", "dog")),
        ("{0: cat, 1: dog}", ("cat", "dog")),
        ("{1: dog, 0: cat}", ("cat", "dog")),
        ("{'0': 'no', '1': 東京 é}", ("no", "東京 é")),
        ("\n  - 7\n  - ' two words '", ("7", "two words")),
        ("{0: cat, 1: dog, 5: cat}", ("cat", "dog")),
    ],
)
def test_names_are_a_list_or_numbered(tmp_path, names, expected):
    add(tmp_path, "a", "1 .5 .5 .1 .1\n0 .5 .5 .1 .1")
    describe(tmp_path, f"val: images/val\nnames: {names}\n")
    found = read(tmp_path)
    assert found.names == expected
    assert [each.name for each in found.entries[0].objects] == [expected[1], expected[0]]


@pytest.mark.parametrize(
    "text",
    [
        "val: images/val",
        "val: [images/val]",
        "path: .\nval: images/val",
        "path: ../set\nval: images/val",
        "path: ../datasets/set\nval: images/val",
        "val: ../images/val",
        "path: {root}\nval: images/val",
        "val: {root}/images/val",
        "val: list.txt",
        "path: images\nval: list2.txt",
    ],
)
def test_a_split_is_found_where_it_lies(tmp_path, text):
    root = tmp_path / "set"
    picture = add(root, "a", "0 .5 .5 .1 .1")
    (root / "list.txt").write_text(f"./images/val/a.png\n\n  {picture}  \nimages/val/a.png\n")
    (root / "list2.txt").write_text("val/a.png\n")
    describe(root, text.format(root=root) + "\nnames: [cat]\n")
    found = read(root)
    expected = "val/a.png" if text.startswith("path: images") else "images/val/a.png"
    assert [(entry.source_id, len(entry.objects)) for entry in found.entries] == [(expected, 1)]
    assert found.entries[0].picture == picture


def test_several_folders_are_one_split_and_pictures_elsewhere_share_a_root(tmp_path):
    for name in ("one", "two"):
        add(tmp_path / name, "a", "0 .5 .5 .1 .1")
    (tmp_path / "yaml").mkdir()
    describe(tmp_path / "yaml", "train: [../one/images/val, ../two/images]\nnames: [cat]\n")
    found = read(tmp_path / "yaml", split="train")
    assert [entry.file for entry in found.entries] == ["one/images/val/a.png", "two/images/val/a.png"]


def test_labels_lie_beside_the_pictures_where_no_folder_is_called_images(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 .5 .5 .5 .5")
    describe(tmp_path, "val: .\nnames: [cat]\n")
    assert [each.box for each in read(tmp_path).entries[0].objects] == [(10, 5, 30, 15)]


def test_the_last_folder_of_that_name_counts(tmp_path):
    root = tmp_path / "images" / "set"
    add(root, "images/deep é/a", None)
    label = root / "images" / "val" / "labels" / "deep é" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text("0 .5 .5 .5 .5")
    describe(root)
    assert [entry.file for entry in read(root).entries] == ["images/val/images/deep é/a.png"]


FAULTS = {
    "0 .5 .5 .5": "YOLO row with a wrong number of columns",
    "0 .5 .5 .5 .5 .5": "YOLO row with a wrong number of columns",
    "0 .1 .1 .2 .2 .3 .3 .4": "YOLO row with a wrong number of columns",
    "0": "YOLO row with a wrong number of columns",
    "0 10 10 5 5": "YOLO row not in 0 to 1",
    "0 .5 .5 1.01 .5": "YOLO row not in 0 to 1",
    "0 -.1 .5 .5 .5": "YOLO row not in 0 to 1",
    "0 nan .5 .5 .5": "YOLO row not in 0 to 1",
    "0 .5 .5 inf .5": "YOLO row not in 0 to 1",
    "2 .5 .5 .5 .5": "YOLO class that data.yaml does not name",
    "-1 .5 .5 .5 .5": "YOLO class that data.yaml does not name",
    "0.5 .5 .5 .5 .5": "YOLO class that data.yaml does not name",
    "nan .5 .5 .5 .5": "YOLO class that data.yaml does not name",
    "cat .5 .5 .5 .5": "YOLO row that is not numbers",
    "0,.5,.5,.5,.5": "YOLO row that is not numbers",
    b"\xff\xfe0\0": "label file that is no text",
}


def test_every_fault_of_a_label_file_is_one_exclusion_and_the_others_are_read(tmp_path):
    for number, rows in enumerate(FAULTS):
        add(tmp_path, f"bad{number:02}", rows if isinstance(rows, bytes) else f"0 .5 .5 .5 .5\n{rows}\n")
    add(tmp_path, "good", "0 .5 .5 1.0005 .5")
    add(tmp_path, "missing", None)
    labels = tmp_path / "labels" / "val"
    add(tmp_path, "folder", None)
    (labels / "folder.txt").mkdir()
    add(tmp_path, "circle", None)
    (labels / "circle.txt").symlink_to(labels / "circle.txt")
    add(tmp_path, "text", "0 .5 .5 .5 .5").write_text("no picture")
    describe(tmp_path)
    found = read(tmp_path)
    assert [entry.file for entry in found.entries] == ["images/val/good.png"]
    assert {each.source_id: each.reason for each in found.exclusions} == {
        **{f"images/val/bad{number:02}.png": reason for number, reason in enumerate(FAULTS.values())},
        "images/val/missing.png": "no label file",
        "images/val/folder.png": "a folder in place of the file",
        "images/val/circle.png": "link that leads back to itself",
        "images/val/text.png": "not a picture",
    }


def test_an_empty_label_file_says_that_there_is_nothing(tmp_path, monkeypatch):
    add(tmp_path, "a", "")
    add(tmp_path, "b", " \n\n")
    describe(tmp_path)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    found = read(tmp_path)
    assert [(entry.objects, entry.size) for entry in found.entries] == [((), None), ((), None)]
    assert not found.exclusions


def test_links_that_lead_back_are_not_followed(tmp_path):
    add(tmp_path, "a", "0 .5 .5 .5 .5")
    (tmp_path / "images" / "val" / "back").symlink_to(tmp_path / "images", target_is_directory=True)
    describe(tmp_path)
    assert [entry.file for entry in read(tmp_path).entries] == ["images/val/a.png"]


def test_pictures_of_a_list_that_are_not_there_are_counted(tmp_path):
    add(tmp_path, "a", "0 .5 .5 .5 .5").unlink()
    add(tmp_path, "b", "0 .5 .5 .5 .5")
    (tmp_path / "list.txt").write_text("images/val/a.png\nimages/val/b.png\nimages/val/c.png\n")
    describe(tmp_path, "val: list.txt\nnames: [cat]\n")
    found = read(tmp_path)
    assert [entry.file for entry in found.entries] == ["images/val/b.png"]
    assert found.exclusions == (
        Exclusion("images/val/a.png", "missing file"),
        Exclusion("images/val/c.png", "no label file"),
    )


BOMB = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data_yaml: .*data\.yaml: empty file$"),
        ("names: [a\nval: b", r"data_yaml: expected YAML, but there is a mistake at line 2$"),
        ("names: [cat]\nval: \x07", r"data_yaml: expected YAML, but there is a mistake$"),
        ("!!python/object/apply:os.getcwd []", r"data_yaml: expected YAML, but there is a mistake at line 1$"),
        ("[" * 20_000, r"data_yaml: expected lists and names with values, got nothing, deep nesting or aliases "),
        ("when: 2020-99-99", r"data_yaml: expected YAML, got what cannot be read \(ValueError\)$"),
        (BOMB, r"data_yaml: expected lists and names with values, got nothing, deep nesting or aliases \(\*name\)$"),
        ("#" * 2**20 + "\n", r"data_yaml: .*: annotation file of more than 1 MB$"),
        ("just text", r"data_yaml: expected names, a list or numbers with names$"),
        ("val: images/val", r"data_yaml: expected names, a list or numbers with names$"),
        ("names: coco.names", r"data_yaml: expected names, a list or numbers with names$"),
        ("names: {a: cat}", r"data_yaml: expected whole numbers before the names, from 0 on$"),
        (
            "names: [yes, no]",
            r"data_yaml: expected text in names, got a truth value \(yes, no, on and off need quotes\)$",
        ),
        ("names: [[cat]]", r"data_yaml: expected text in names, got no text$"),
        ("names: ['']", r"data_yaml: expected text in names, got no text$"),
        ('names: ["\\ud800"]', r"data_yaml: expected text in names, got text that is not Unicode$"),
        ("names: [cat]\nnc: 2", r"data_yaml: expected as many names as classes, got nc 2 and 1 names$"),
        ("names: [cat]\nkpt_shape: [17, 3]", r"data_yaml: expected boxes or polygons, got key points \(kpt_shape\)"),
        ("names: [cat]\ntrain: a\ntest:", r"split: expected one of data_yaml \(train\), got 'val'$"),
        ("names: [cat]\n", r"split: expected one of data_yaml \(it has none\), got 'val'$"),
        ("names: [cat]\nval: {a: 1}", r"data_yaml: expected text in val, got no text$"),
        ("names: [cat]\nval: images/empty", r"split: expected pictures in 'val' of data_yaml, and there are none$"),
        ("names: [cat]\nval: data.bin", r"split: expected a text file with a path in each line, got other content in "),
        (
            "names: [cat]\nval: images/bare",
            r"data_yaml: expected label files such as .*/labels/bare/a.txt, and there is ",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error(tmp_path, text, message):
    add(tmp_path, "a", None, split="bare")
    (tmp_path / "images" / "empty").mkdir()
    (tmp_path / "data.bin").write_bytes(b"a\0b")
    with pytest.raises(ValueError, match="^" + message):
        YoloFolder(describe(tmp_path, text)).read()


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^data_yaml: .*gone\.yaml: missing file$"):
        YoloFolder(tmp_path / "gone.yaml").read()
    describe(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^split: data_yaml leads for 'val' to .*images/val, where nothing is"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"^use: expected 'boxes' or 'masks', got 'both'$"):
        YoloFolder(tmp_path / "data.yaml", use="both")


def test_a_picture_that_was_swapped_after_reading_is_seen(tmp_path):
    picture = add(tmp_path, "a", "0 .5 .5 .5 .5")
    describe(tmp_path)
    (entry,) = read(tmp_path).entries
    assert open_picture(entry).size == (WIDTH, HEIGHT)
    Image.new("RGB", (HEIGHT, WIDTH)).save(picture)
    with pytest.raises(Unusable, match=r"swapped\)$"):
        open_picture(entry)
