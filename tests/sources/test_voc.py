"""Pascal VOC folders as people have them, read by torchvision as the reference."""

import os
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import VOCDetection, wrap_dataset_for_transforms_v2

from camdebug.records import Exclusion
from camdebug.sources import Annotations, Source, Unusable, VocFolder
from camdebug.sources.pictures import open_picture

HEIGHT, WIDTH = 30, 40


def node(name="cat", box=(1, 2, 11, 22), more=""):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    numbers = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name>{more}<bndbox>{numbers}</bndbox></object>"


def xml(filename, *objects, size=(HEIGHT, WIDTH), more=""):
    shape = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    return f"<annotation><filename>{filename}</filename>{more}{shape}{''.join(objects)}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """A VOC folder without files, of which torchvision knows the place."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    return root


def add(folder, name, content, picture=None):
    (folder / "Annotations" / f"{name}.xml").write_text(content, encoding="utf-8")
    file = folder / "JPEGImages" / (picture or f"{name}.jpg")
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(file)


def reasons(found):
    return {each.source_id: each.reason for each in found.exclusions}


def test_boxes_are_those_that_torchvision_reads(folder):
    boxes = [[(1, 1, 40, 30)], [(3, 4, 10, 20), (0, 0, 5, 5)], [(7, 7, 7, 7)]]
    names = [["cat"], ["dog", "person"], ["cat"]]
    for number, (some, called) in enumerate(zip(boxes, names, strict=True)):
        objects = [node(name, box) for name, box in zip(called, some, strict=True)]
        add(folder, f"p{number}", xml(f"p{number}.jpg", *objects))
    (folder / "ImageSets/Main/val.txt").write_text("p0\np1\np2\n")
    found = VocFolder(folder, split="val").read()
    reference = wrap_dataset_for_transforms_v2(VOCDetection(str(folder.parent.parent), "2012", "val"))
    assert len(reference) == len(found.entries) == 3
    for entry, (image, target) in zip(found.entries, reference, strict=True):
        assert torch.equal(torch.tensor([each.box for each in entry.objects]), target["boxes"].float())
        assert entry.size == target["boxes"].canvas_size
        assert open_picture(entry).tobytes() == image.tobytes()
    assert [[each.name for each in entry.objects] for entry in found.entries] == names
    assert found.names == ("cat", "dog", "person")
    assert (found.kind, found.source, found.exclusions) == ("boxes", "Pascal VOC, 3 pictures", ())
    assert [entry.source_id for entry in found.entries] == [f"JPEGImages/p{number}.jpg" for number in range(3)]
    assert isinstance(VocFolder(folder), Source)
    assert isinstance(found, Annotations)


def test_the_first_pixel_is_one_where_it_is_said(folder):
    add(folder, "a", xml("a.jpg", node(box=(1, 1, WIDTH, HEIGHT))))
    (entry,) = VocFolder(folder, one_based=True).read().entries
    assert entry.objects[0].box == (0, 0, WIDTH, HEIGHT)
    assert VocFolder(folder).read().entries[0].objects[0].box == (1, 1, WIDTH, HEIGHT)


def test_a_split_lists_the_files_that_are_read(folder):
    for name in ("b", "a", "c d", "é 東"):
        add(folder, name, xml(f"{name}.jpg", node()))
    (folder / "ImageSets/Main/train.txt").write_text("é 東\n\n  c d \na\na\ngone\n", encoding="utf-8")
    found = VocFolder(folder, split="train").read()
    assert [entry.file for entry in found.entries] == [f"JPEGImages/{name}.jpg" for name in ("a", "c d", "é 東")]
    assert found.exclusions == (Exclusion("gone", "listed in the split, but without an XML file"),)
    assert len(VocFolder(folder).read().entries) == 4


def test_difficult_objects_are_ignored_or_used_as_told(folder):
    hard = [node(more=f"<difficult>{text}</difficult>") for text in ("1", "0", " 1 ", "", "Unspecified")]
    add(folder, "a", xml("a.jpg", *hard, node()))
    ignored = [each.ignored for each in VocFolder(folder).read().entries[0].objects]
    assert ignored == [True, False, True, False, False, False]
    assert not any(each.ignored for each in VocFolder(folder, difficult="use").read().entries[0].objects)


def test_parts_of_objects_are_no_objects(folder):
    head = "<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></part>"
    add(folder, "a", xml("a.jpg", node("person", (1, 2, 30, 20), more=head)))
    found = VocFolder(folder).read()
    assert [(each.name, each.box) for each in found.entries[0].objects] == [("person", (1, 2, 30, 20))]
    assert found.names == ("person",)


@pytest.mark.parametrize(
    ("filename", "picture"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "a.PNG"),
        ("a", "a.png"),
        ("", "a.png"),
        ("other.jpg", "a.jpg"),
        ("other.jpg", "other.jpg"),
        ("JPEGImages/other.png", "other.png"),
        ("train\\other.jpg", "other.jpg"),
        ("day/a.jpg", "day/a.jpg"),
        ("v1.2 of 東京.jpg", "v1.2 of 東京.jpg"),
        ("../../etc/passwd", "a.jpg"),
        ("/etc/passwd", "a.jpg"),
        ("C:\\data\\b.jpg", "a.jpg"),
    ],
)
def test_a_picture_is_found_by_its_name_or_by_that_of_the_xml(folder, filename, picture):
    elsewhere = folder / "JPEGImages" / "b.jpg"
    Image.new("RGB", (1, 1)).save(elsewhere)
    add(folder, "a", xml(filename, node(), more=f"<path>{elsewhere}</path>"), picture)
    found = VocFolder(folder).read()
    assert [entry.file for entry in found.entries] == [f"JPEGImages/{picture}"]
    assert found.entries[0].picture == folder / "JPEGImages" / picture
    assert not found.exclusions


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "gb18030", "big5", "Shift_JIS", "EUC-KR", "utf-8", "utf-16"])
def test_encodings_that_labelling_programs_declare_are_read(folder, encoding):
    add(folder, "a", "", "a.jpg")
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n' + xml("a.jpg", node("人"))
    (folder / "Annotations" / "a.xml").write_bytes(content.encode(encoding))
    found = VocFolder(folder).read()
    assert (found.names, found.exclusions) == (("人",), ())


def test_pictures_in_the_sub_folder_of_their_xml_come_first(folder):
    for name in ("t1/a", "t2/a"):
        (folder / "Annotations" / name).parent.mkdir()
        add(folder, name, xml("a.jpg", node()))
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "JPEGImages" / "a.jpg")
    found = VocFolder(folder).read()
    assert [entry.file for entry in found.entries] == ["JPEGImages/t1/a.jpg", "JPEGImages/t2/a.jpg"]
    assert found.exclusions == ()


def test_folders_may_lie_anywhere(folder):
    add(folder, "a", xml("a.jpg", node()))
    root = folder.parent
    for annotations in (folder / "Annotations", "VOC2012/Annotations"):
        (entry,) = VocFolder(root, annotations=annotations, images=folder / "JPEGImages").read().entries
        assert (entry.source_id, entry.file, entry.picture) == ("a.jpg", "a.jpg", folder / "JPEGImages" / "a.jpg")
        assert open_picture(entry).size == (WIDTH, HEIGHT)


def test_a_path_on_somebody_elses_disk_is_never_followed(folder):
    secret = folder.parent / "secret.jpg"
    Image.new("RGB", (WIDTH, HEIGHT)).save(secret)
    for number, filename in enumerate([secret, "../../secret.jpg", "..\\..\\secret.jpg"]):
        content = xml(filename, node(), more=f"<path>{secret}</path>")
        (folder / "Annotations" / f"x{number}.xml").write_text(content)
    found = VocFolder(folder).read()
    assert not found.entries
    assert reasons(found) == {f"Annotations/x{number}.xml": "missing picture" for number in range(3)}


def test_pictures_that_could_be_one_or_another_are_left_out(folder):
    add(folder, "a", xml("b.jpg", node()))
    add(folder, "b", xml("b.jpg", node()))
    add(folder, "c", xml("c", node()), "c.jpg")
    add(folder, "c", xml("c", node()), "c.png")
    add(folder, "d", xml("e.jpg", node()), "e.jpg")
    (folder / "Annotations" / "e.xml").write_text(xml("e.jpg", node()))
    found = VocFolder(folder).read()
    assert [entry.file for entry in found.entries] == ["JPEGImages/b.jpg"]
    assert reasons(found) == {
        "Annotations/a.xml": "<filename> and XML lead to different pictures",
        "Annotations/c.xml": "several pictures of its name",
        "Annotations/d.xml": "several XML files for one picture",
        "Annotations/e.xml": "several XML files for one picture",
    }


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
FAULTS = {
    "<annotation><filename>": "broken XML",
    "": "empty file",
    "\0\1\2": "broken XML",
    '<?xml version="1.0" encoding="nonsense"?><annotation/>': (
        "XML in an encoding that is not known; save it in UTF-8"
    ),
    '<?xml version="1.0" encoding="gb2312"?><annotation>猫</annotation>': (
        "XML that is not in the encoding it declares; save it in UTF-8"
    ),
    "<html></html>": "XML that is no annotation of Pascal VOC",
    LAUGHS + "<annotation><filename>&i;</filename></annotation>": "XML with entities or references to other files",
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>': (
        "XML with entities or references to other files"
    ),
    xml("a.jpg", "<object><name>cat</name></object>"): "object without a box",
    xml("a.jpg", node(box=(1, 2, 3, ""))): "box that is not four numbers",
    xml("a.jpg", node(box=(1, 2, "three", 4))): "box that is not four numbers",
    xml("a.jpg", "<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>"): "box that is not four numbers",
    xml("a.jpg", node(name=" ")): "no class name",
    xml("a.jpg", "<object><bndbox></bndbox></object>"): "box that is not four numbers",
    xml("a.jpg", node(name="<b>cat</b>")): "no class name",
    xml("gone.jpg", node()): "missing picture",
}


def test_every_fault_of_a_file_is_one_exclusion_and_the_others_are_read(folder):
    add(folder, "whole", xml("whole.jpg", node()))
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "JPEGImages" / "a.jpg")
    for number, content in enumerate(FAULTS):
        (folder / "Annotations" / f"bad{number:02}.xml").write_text(content)
    (folder / "Annotations" / "loop.xml").symlink_to(folder / "Annotations" / "loop.xml")
    found = VocFolder(folder).read()
    assert [entry.file for entry in found.entries] == ["JPEGImages/whole.jpg"]
    assert reasons(found) == {
        **{f"Annotations/bad{number:02}.xml": reason for number, reason in enumerate(FAULTS.values())},
        "Annotations/loop.xml": "link that leads back to itself",
    }


def test_boxes_that_make_no_sense_are_passed_on_as_they_are(folder):
    boxes = [("nan", 0, 5, 5), (9, 9, 3, 3), (-5, 0, 900, "inf"), (4.25, 4, 4.25, 4)]
    add(folder, "a", xml("a.jpg", *(node(box=box) for box in boxes)))
    found = [each.box for each in VocFolder(folder).read().entries[0].objects]
    assert str(found) == "[(nan, 0.0, 5.0, 5.0), (9.0, 9.0, 3.0, 3.0), (-5.0, 0.0, 900.0, inf), (4.25, 4.0, 4.25, 4.0)]"


@pytest.mark.parametrize(
    ("size", "expected"),
    [((HEIGHT, WIDTH), (HEIGHT, WIDTH)), ((0, 0), None), (None, None), (("?", 40), None), ((-30, 40), None)],
)
def test_a_size_that_was_not_known_is_none(folder, size, expected):
    add(folder, "a", xml("a.jpg", node(), size=size))
    assert VocFolder(folder).read().entries[0].size == expected


def test_swapped_height_and_width_are_seen_when_the_picture_is_opened(folder):
    add(folder, "a", xml("a.jpg", node(), size=(WIDTH, HEIGHT)))
    with pytest.raises(Unusable, match=r"^annotated for a picture of another size \(height and width swapped\)$"):
        open_picture(VocFolder(folder).read().entries[0])


def test_files_side_by_side_and_links_that_lead_back_are_read(folder):
    flat = folder.parent / "flat"
    (flat / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (flat / f"{name}.xml").write_text(xml(f"{name}.jpg", node()))
        Image.new("RGB", (WIDTH, HEIGHT)).save(flat / f"{name}.jpg")
    (flat / "deep" / "back").symlink_to(flat, target_is_directory=True)
    found = VocFolder(flat, annotations="", images="").read()
    assert [entry.source_id for entry in found.entries] == ["a.jpg", "deep/b.jpg"]
    assert not found.exclusions


def test_a_file_name_that_is_not_unicode_is_left_out_under_an_id_that_can_be_written(folder):
    add(folder, "a", xml("a.jpg", node()))
    stem = os.fsdecode(b"caf\xe9")
    (folder / "Annotations" / f"{stem}.xml").write_text(xml("", node()))
    (folder / "JPEGImages" / f"{stem}.jpg").write_bytes(b"")
    found = VocFolder(folder).read()
    assert [entry.file for entry in found.entries] == ["JPEGImages/a.jpg"]
    assert found.exclusions == (Exclusion("Annotations/caf\\udce9.xml", "file name that is not Unicode"),)


def test_a_picture_without_objects_stays_without(folder):
    add(folder, "a", xml("a.jpg"))
    add(folder, "b", xml("b.jpg", node()))
    found = VocFolder(folder).read()
    assert [len(entry.objects) for entry in found.entries] == [0, 1]


def test_what_is_wrong_with_the_whole_folder_is_one_error_that_names_the_argument(folder):
    with pytest.raises(FileNotFoundError, match=r"^root: expected a folder, and there is none at .*gone$"):
        VocFolder(folder / "gone").read()
    with pytest.raises(ValueError, match=r"^annotations: expected XML files of Pascal VOC, and there are none in "):
        VocFolder(folder).read()
    add(folder, "a", xml("a.jpg", node()))
    with pytest.raises(FileNotFoundError, match=r"^annotations: expected a folder, and there is none at .*Labels$"):
        VocFolder(folder, annotations="Labels").read()
    with pytest.raises(NotADirectoryError, match=r"^images: expected a folder, got the file "):
        VocFolder(folder, images="Annotations/a.xml").read()
    with pytest.raises(FileNotFoundError, match=r"^split: .*val\.txt: missing file$"):
        VocFolder(folder, split="val").read()
    with pytest.raises(ValueError, match=r"^split: expected a name such as 'val' \(of val.txt\), got '../val'$"):
        VocFolder(folder, split="../val")
    with pytest.raises(ValueError, match=r"^difficult: expected 'ignore' or 'use', got 'drop'$"):
        VocFolder(folder, difficult="drop")


def test_the_missing_package_is_named_with_its_remedy(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    with pytest.raises(
        ImportError, match=r'^Pascal VOC needs the package defusedxml; pip install "camdebug\[probes\]"'
    ):
        VocFolder(folder).read()


def test_reading_opens_no_picture(folder, monkeypatch):
    add(folder, "a", xml("a.jpg", node()))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    with warnings.catch_warnings(record=True) as caught:
        assert len(VocFolder(str(folder)).read().entries) == 1
    assert not caught
    assert isinstance(VocFolder(folder).read().entries[0].picture, Path)
