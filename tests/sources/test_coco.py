"""COCO files as people have them; torchvision and pycocotools are the references."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as reference_masks
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

from camdebug.records import Exclusion
from camdebug.sources import CocoJson, Source, Unusable
from camdebug.sources.coco_masks import coco_mask
from camdebug.sources.pictures import open_picture

HEIGHT, WIDTH = 30, 40
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 0, "name": "cat"}, {"id": 90, "name": "tooth brush é"}]
SQUARE = [[4, 5, 14, 5, 14, 15, 4, 15]]


def picture(key, name, **changes):
    return {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT, **changes}


def annotation(key, image, box=(1, 2, 3, 4), category=18, **more):
    return {"id": key, "image_id": image, "category_id": category, "bbox": list(box), "segmentation": SQUARE, **more}


@pytest.fixture
def coco(tmp_path):
    """A function that writes a COCO file and gives its reader."""

    def make(images, annotations, categories=CATEGORIES, **options):
        listing = tmp_path / "instances.json"
        listing.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        return CocoJson(listing, tmp_path, **options)

    return make


def spelled(mask):
    found = reference_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def run_lengths(mask):
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def discs(seed):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    y, x, r = np.random.default_rng(seed).integers([0, 0, 2], [HEIGHT, WIDTH, 15])
    return (rows - y) ** 2 + (columns - x) ** 2 < r**2


SEGMENTATIONS = [
    SQUARE,
    [[1.5, 2.25, 30.75, 4.5, 12.25, 28.5], [-3, -3, 5.5, -3, 2, 9]],
    [[30, 20, 45, 20, 45, 35]],
    spelled(discs(1)),
    run_lengths(discs(2)),
    run_lengths(~discs(3)),
]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_boxes_and_masks_are_those_that_torchvision_and_pycocotools_read(coco, tmp_path, capsys):
    images = [picture(0, "b.png"), picture(7, "a é.png"), picture(3, "deep/c.png")]
    (tmp_path / "deep").mkdir()
    for each in images:
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / each["file_name"])
    owners, categories = [0, 7, 3, 0, 7, 3], [18, 0, 18, 90, 0, 18]
    annotations = [
        annotation(n, owner, (n + 0.5, 2, 3.25, 4 * n), categories[n], segmentation=SEGMENTATIONS[n], iscrowd=n // 5)
        for n, owner in enumerate(owners)
    ]
    source = coco(images, annotations)
    reference = COCO(tmp_path / "instances.json")
    dataset = CocoDetection(str(tmp_path), str(tmp_path / "instances.json"))
    wrapped = wrap_dataset_for_transforms_v2(dataset, target_keys=("image_id", "boxes", "labels", "masks"))
    targets = {target["image_id"]: target for _, target in wrapped}
    capsys.readouterr()
    found, masked = source.read(), CocoJson(tmp_path / "instances.json", tmp_path, use="masks").read()
    assert capsys.readouterr().out == ""
    assert [entry.source_id for entry in found.entries] == ["a é.png", "b.png", "deep/c.png"]
    assert found.names == masked.names == ("cat", "dog", "tooth brush é")
    assert (found.kind, masked.kind, found.source) == ("boxes", "masks", "COCO, 3 pictures")
    assert not found.exclusions + masked.exclusions
    names = {each["id"]: each["name"] for each in CATEGORIES}
    for entry, with_masks, key in zip(found.entries, masked.entries, (7, 0, 3), strict=True):
        target = targets[key]
        assert torch.equal(torch.tensor([each.box for each in entry.objects]), target["boxes"].float())
        assert [each.name for each in entry.objects] == [names[label] for label in target["labels"].tolist()]
        masks = np.stack([each.mask() for each in with_masks.objects])
        assert masks.dtype == np.bool_
        np.testing.assert_array_equal(masks, target["masks"].bool().numpy())
        rows = reference.loadAnns(reference.getAnnIds(key))
        np.testing.assert_array_equal(masks, np.stack([reference.annToMask(row) for row in rows]).astype(bool))
        assert [each.ignored for each in entry.objects] == [bool(row["iscrowd"]) for row in rows]
        assert entry.size == (HEIGHT, WIDTH)
        assert all(each.box is None for each in with_masks.objects)
        assert all(each.mask is None for each in entry.objects)
        assert open_picture(entry).size == (WIDTH, HEIGHT)
    assert isinstance(source, Source)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_run_lengths_are_decoded_as_pycocotools_does(data, height, width):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    for segmentation in (spelled(mask), run_lengths(mask)):
        np.testing.assert_array_equal(coco_mask(segmentation, (height, width)), mask)


def test_long_runs_and_large_differences_are_spelled_out():
    mask = np.zeros((700, 900), dtype=bool)
    mask[5, 3] = mask[100:600, 200:850] = mask[699, 899] = True
    np.testing.assert_array_equal(coco_mask(spelled(mask), mask.shape), mask)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [WIDTH, HEIGHT], "counts": [1200]}, "mask of another size"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "mask of another size"),
        ({"counts": [1200]}, "mask of another size"),
        ({"size": [HEIGHT, WIDTH]}, "run lengths that are no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [600, "600"]}, "run lengths that are no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [600.0, 600.0]}, "run lengths that are no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [1300, -100]}, "run lengths that are no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [2, 3]}, "run lengths that do not fill the picture"),
        ({"size": [HEIGHT, WIDTH], "counts": [0, 10**18]}, "run lengths that do not fill the picture"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "run lengths that do not fill the picture"),
        ({"size": [HEIGHT, WIDTH], "counts": "52203"}, "run lengths that do not fill the picture"),
        ({"size": [HEIGHT, WIDTH], "counts": "52P"}, "run lengths that cannot be spelled out"),
        ({"size": [HEIGHT, WIDTH], "counts": "5 2"}, "run lengths that cannot be spelled out"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "run lengths that cannot be spelled out"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 10**5}, "run lengths that cannot be spelled out"),
        ([[1, 2, 3, 4]], "polygon of fewer than three whole corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon of fewer than three whole corners"),
        ([SQUARE[0], []], "polygon of fewer than three whole corners"),
        ([1, 2, 3, 4, 5, 6], "polygon that is no list of numbers"),
        ([["1", 2, 3, 4, 5, 6]], "polygon that is no list of numbers"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "polygon far outside the picture"),
        ([[1e300, 2, 3, 4, 5, 6]], "polygon far outside the picture"),
        ([[10**400, 2, 3, 4, 5, 6]], "polygon far outside the picture"),
        ([], "object without a mask"),
        ("text", "object without a mask"),
    ],
)
def test_a_faulty_mask_is_refused_before_it_is_decoded(segmentation, reason):
    with pytest.raises(Unusable) as caught:
        coco_mask(segmentation, (HEIGHT, WIDTH))
    assert str(caught.value) == reason


def test_a_mask_for_a_bomb_is_not_made():
    with pytest.raises(Unusable, match=r"^mask of more than 178 million pixels$"):
        coco_mask({"size": [10**6, 10**6], "counts": [10**12]}, (10**6, 10**6))


OUTSIDE = "file name that leads out of images=; give the folder that holds it"
PICTURE_FAULTS = [
    ({"file_name": "../out.png"}, "../out.png", OUTSIDE),
    ({"file_name": "/etc/passwd"}, "/etc/passwd", OUTSIDE),
    ({"file_name": "..\\out.png"}, "..\\out.png", OUTSIDE),
    ({"file_name": "C:/out.png"}, "C:/out.png", OUTSIDE),
    ({"file_name": ""}, "images[1]", "no file name"),
    ({"file_name": None}, "images[1]", "no file name"),
    ({"file_name": ["a"]}, "images[1]", "no file name"),
    ({"file_name": "\ud800.png"}, "\\ud800.png", "file name that is not Unicode"),
    ({"file_name": "a\0.png"}, "a\0.png", "impossible file name"),
    ({"file_name": "."}, ".", "impossible file name"),
    ({"id": None}, "images[1]", "no id"),
    ({"id": [1]}, "images[1]", "no id"),
    ({"file_name": "good.png", "id": 5}, "images[1]", "duplicate picture"),
]


@pytest.mark.parametrize(("change", "source_id", "reason"), PICTURE_FAULTS)
def test_a_faulty_picture_is_one_exclusion_and_its_annotations_are_none(coco, change, source_id, reason):
    images = [picture(5, "good.png"), {**picture(1, "bad.png"), **change}]
    found = coco(images, [annotation(1, 5), annotation(2, images[1]["id"])]).read()
    left_over = [Exclusion("annotations[1]", "annotation of an unknown picture")] if reason == "no id" else []
    assert [entry.file for entry in found.entries] == ["good.png"]
    assert list(found.exclusions) == [Exclusion(source_id, reason), *left_over]


def test_pictures_that_annotations_cannot_be_assigned_to_are_left_out(coco):
    images = [picture(1, "a.png"), picture(1, "b.png"), picture(2, "c.png"), picture(3, "c.png"), picture(4, "d.png")]
    found = coco(images, [annotation(key, key) for key in range(1, 5)]).read()
    assert [entry.file for entry in found.entries] == ["d.png"]
    assert found.exclusions == (
        Exclusion("a.png", "duplicate image id"),
        Exclusion("b.png", "duplicate image id"),
        Exclusion("c.png", "duplicate file_name"),
        Exclusion("c.png", "duplicate file_name"),
    )


@pytest.mark.parametrize(
    ("change", "use", "reason"),
    [
        ({"category_id": 19}, "boxes", "annotation of an unknown category"),
        ({"category_id": [18]}, "boxes", "annotation of an unknown category"),
        ({"category_id": None}, "boxes", "annotation of an unknown category"),
        ({"bbox": None}, "boxes", "object without a box"),
        ({"bbox": []}, "boxes", "object without a box"),
        ({"bbox": [1, 2, 3]}, "boxes", "box that is not four numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "boxes", "box that is not four numbers"),
        ({"bbox": [1, 2, 3, True]}, "boxes", "box that is not four numbers"),
        ({"bbox": [1, 2, 3, 10**400]}, "boxes", "box that is not four numbers"),
        ({"bbox": {"x": 1}}, "boxes", "box that is not four numbers"),
        ({"segmentation": []}, "masks", "object without a mask"),
        ({"segmentation": None}, "masks", "object without a mask"),
    ],
)
def test_an_annotation_that_cannot_be_read_takes_its_picture_out(coco, change, use, reason):
    annotations = [annotation(1, 5), annotation(2, 6), {**annotation(3, 6), **change}]
    found = coco([picture(5, "good.png"), picture(6, "bad.png")], annotations, use=use).read()
    assert [entry.file for entry in found.entries] == ["good.png"]
    assert found.exclusions == (Exclusion("bad.png", reason),)


def test_annotations_of_no_picture_and_repeated_ones_are_counted(coco):
    rows = [
        annotation(1, 5),
        annotation(1, 5),
        annotation(1, 5, (9, 9, 9, 9)),
        annotation(4, 77),
        3,
        annotation(6, [5]),
    ]
    found = coco([picture(5, "a.png")], rows).read()
    # The same id on another box is another object: ids carry no place.
    assert [each.box for each in found.entries[0].objects] == [(1, 2, 4, 6), (9, 9, 18, 18)]
    assert found.exclusions == (
        Exclusion("annotations[1]", "duplicate annotation"),
        Exclusion("annotations[3]", "annotation of an unknown picture"),
        Exclusion("annotations[4]", "no JSON object"),
        Exclusion("annotations[5]", "annotation of an unknown picture"),
    )


@pytest.mark.parametrize("spelling", [float, str], ids=["7.0", "'7'"])
@pytest.mark.parametrize("where", ["images", "annotations", "both"])
def test_whole_numbers_are_ids_in_any_spelling(coco, spelling, where):
    there, here = (spelling if where != other else int for other in ("annotations", "images"))
    rows = [annotation(here(1), here(7), category=here(18)), annotation(here(2), here(9), category=here(0))]
    categories = [{**each, "id": there(each["id"])} for each in CATEGORIES]
    found = coco([picture(there(7), "a.png"), picture(there(9), "b.png")], rows, categories).read()
    assert [[each.name for each in entry.objects] for entry in found.entries] == [["dog"], ["cat"]]
    assert (found.names, found.exclusions) == (("cat", "dog", "tooth brush é"), ())


def test_ids_that_are_no_whole_numbers_are_none_and_texts_stay_texts(coco):
    images = [picture(7.5, "a.png"), picture(float("nan"), "b.png"), picture("007", "c.png"), picture(7, "d.png")]
    found = coco(images, [annotation(1, "007"), annotation(2, 7), annotation(3, 7)]).read()
    assert [(entry.file, len(entry.objects)) for entry in found.entries] == [("c.png", 1), ("d.png", 2)]
    assert [each.reason for each in found.exclusions] == ["no id", "no id"]


def test_ids_that_do_not_meet_are_an_error_and_a_selection_of_pictures_is_none(coco):
    rows = [annotation(number, f"img_{number}") for number in range(3)]
    with pytest.raises(ValueError) as caught:
        coco([picture(1, "a.png"), picture(2, "b.png")], rows).read()
    assert str(caught.value) == (
        "annotation_file: 3 of 3 annotations have an image_id that no picture has, such as 'img_0', where ids of "
        "images are like 1; mend the ids"
    )
    found = coco([picture("img_2", "a.png")], rows).read()
    assert len(found.entries[0].objects) == 1
    assert [each.reason for each in found.exclusions] == ["annotation of an unknown picture"] * 2


@pytest.mark.parametrize("name", ["{}/pictures/a.png", "../pictures/a.png", "..\\pictures\\a.png"])
def test_names_that_lead_into_the_folder_of_pictures_by_another_way_are_followed(tmp_path, name):
    (tmp_path / "json").mkdir()
    (tmp_path / "pictures").mkdir()
    listing = tmp_path / "json" / "a.json"
    images = [picture(1, name.format(tmp_path)), picture(2, "../secret.png")]
    listing.write_text(json.dumps({"images": images, "annotations": [annotation(1, 1)], "categories": CATEGORIES}))
    found = CocoJson(listing, tmp_path / "pictures").read()
    assert [(entry.file, entry.picture) for entry in found.entries] == [("a.png", tmp_path / "pictures" / "a.png")]
    assert found.exclusions == (Exclusion("../secret.png", OUTSIDE),)


def test_panoptic_annotations_are_named(coco):
    rows = [
        {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 3, "category_id": 18, "bbox": [1, 2, 3, 4]}]}
    ]
    with pytest.raises(ValueError, match=r"^annotation_file: .* panoptic .* pass the file of instances, such as"):
        coco([picture(1, "a.png")], rows).read()


def test_boxes_that_make_no_sense_are_passed_on_as_they_are(coco):
    rows = [annotation(n, 5, box) for n, box in enumerate([(float("nan"), 0, 1, 1), (5, 5, -2, 0), (0, 0, 1e999, 9)])]
    (entry,) = coco([picture(5, "a.png")], rows).read().entries
    assert str([each.box for each in entry.objects]) == (
        "[(nan, 0.0, nan, 1.0), (5.0, 5.0, 3.0, 5.0), (0.0, 0.0, inf, 9.0)]"
    )


@pytest.mark.parametrize("size", [{"width": None}, {"height": 0}, {"width": -4}, {"width": "40"}, {"height": 1e999}])
def test_a_picture_without_a_size_keeps_boxes_but_no_masks(coco, size):
    images = [{**picture(5, "a.png"), **size}]
    assert coco(images, [annotation(1, 5)]).read().entries[0].size is None
    found = coco(images, [annotation(1, 5)], use="masks").read()
    assert found.exclusions == (Exclusion("a.png", "no width and height, which masks need"),)


def test_pictures_without_annotations_stay_without_objects(coco):
    found = coco([picture(5, "a.png"), picture(6, "b.png")], [annotation(1, 6)]).read()
    assert [len(entry.objects) for entry in found.entries] == [0, 1]


def test_two_categories_of_one_name_are_one_class(coco):
    categories = [{"id": 2, "name": "cell"}, {"id": 1, "name": "rod"}, {"id": 3, "name": "cell"}]
    found = coco([picture(5, "a.png")], [annotation(n, 5, category=n) for n in (1, 2, 3)], categories).read()
    assert found.names == ("rod", "cell")
    assert [each.name for each in found.entries[0].objects] == ["rod", "cell", "cell"]


GOOD = {"images": [picture(1, "a.png")], "annotations": [], "categories": CATEGORIES}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [,]}', "expected JSON, but there is a mistake at line 1, column 13: "),
        ('{"images":\n [', "expected JSON, but there is a mistake at line 2, column "),
        ("[" * 100_000, r"expected JSON, got what cannot be read \(RecursionError\)$"),
        ("9" * 5000, r"expected JSON, got what cannot be read \(ValueError\)$"),
        (b"\x80abc", r"expected JSON, got what cannot be read \(UnicodeDecodeError\)$"),
        ("", ".*instances.json: empty file$"),
        ("[]", r"expected a JSON object with lists .*; it has no list of images, annotations, categories$"),
        (json.dumps({**GOOD, "annotations": None}), r".*; it has no list of annotations$"),
        (json.dumps({**GOOD, "images": {}}), r".*; it has no list of images$"),
        (json.dumps({**GOOD, "images": []}), r"expected at least one picture in images, got none$"),
        (json.dumps({**GOOD, "categories": [3]}), r"categories\[0\]: no JSON object$"),
        (json.dumps({**GOOD, "categories": [{"id": 1}]}), r"categories\[0\]: no name$"),
        (json.dumps({**GOOD, "categories": [{"name": "a"}]}), r"categories\[0\]: no id$"),
        (
            json.dumps({**GOOD, "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}),
            r"categories\[1\]: expected different ids, got 1 for 'a' and 'b'$",
        ),
    ],
)
def test_a_file_that_is_no_coco_file_is_one_error(tmp_path, content, message):
    file = tmp_path / "instances.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="^annotation_file: " + message):
        CocoJson(file, tmp_path).read()


def test_what_is_not_there_is_named(coco, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^annotation_file: .*gone\.json: missing file$"):
        CocoJson(tmp_path / "gone.json", tmp_path).read()
    with pytest.raises(ValueError, match=r"^annotation_file: .*: a folder in place of the file$"):
        CocoJson(tmp_path, tmp_path).read()
    source = coco([picture(1, "a.png")], [])
    with pytest.raises(FileNotFoundError, match=r"^images: expected a folder, and there is none at .*gone$"):
        CocoJson(source.annotation_file, tmp_path / "gone").read()
    with pytest.raises(ValueError, match=r"^use: expected 'boxes' or 'masks', got 'both'$"):
        CocoJson(source.annotation_file, tmp_path, use="both")


def test_a_byte_order_mark_does_no_harm(coco):
    source = coco([picture(1, "a.png")], [])
    source.annotation_file.write_bytes(b"\xef\xbb\xbf" + source.annotation_file.read_bytes())
    assert len(source.read().entries) == 1


def test_pictures_are_found_or_missing_when_they_are_opened(coco):
    (entry,) = coco([picture(1, "a.png")], [annotation(1, 1)]).read().entries
    with pytest.raises(Unusable, match=r"^missing file$"):
        open_picture(entry)
