"""Rows of Hugging Face datasets, whose own decoding is the reference."""

import io

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as Picture
from PIL import Image, features

from camdebug.records import Exclusion
from camdebug.sources import HuggingFaceRows, Source, Unusable
from camdebug.sources.pictures import open_picture

NUMBERS, BOX = ClassLabel(names=["cat", "dog", "cow"]), List(Value("float32"), length=4)
AS_LISTS = {"bbox": List(BOX), "category": List(NUMBERS)}
AS_DICTS = List({"bbox": BOX, "category": NUMBERS})


def pictures(count):
    """Encoded PNGs of 4x3, each of its own colour."""
    return [encoded(Image.new("RGB", (4, 3), (k, 2 * k, 255 - k))) for k in range(count)]


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return {"bytes": stream.getvalue(), "path": None}


NOISE = encoded(Image.effect_noise((64, 64), 50))


def make(objects, feature=AS_LISTS, **columns):
    """A dataset of an object column, and of others as ``(values, feature)``."""
    values = {"image": pictures(len(objects)), "objects": objects, **{name: v for name, (v, _) in columns.items()}}
    features = {"image": Picture(), "objects": feature, **{name: f for name, (_, f) in columns.items()}}
    return Dataset.from_dict(values, features=Features(features))


def one(box=(1, 2, 3, 4), category=1):
    return {"bbox": [list(box)], "category": [category]}


def found_in(annotations):
    return {entry.source_id: [(o.name, o.box) for o in entry.objects] for entry in annotations.entries}


class TestObjects:
    @pytest.mark.parametrize("feature", [AS_LISTS, AS_DICTS], ids=["dict of lists", "list of dicts"])
    def test_both_layouts_give_names_of_the_features_and_corners(self, feature):
        boxes, categories = [[1, 2, 10, 20], [0.5, 0, 4, 4]], [2, 0]
        as_lists = {"bbox": boxes, "category": categories}
        as_dicts = [{"bbox": b, "category": c} for b, c in zip(boxes, categories, strict=True)]
        empty = {"bbox": [], "category": []} if feature is AS_LISTS else []
        source = HuggingFaceRows(make([as_lists if feature is AS_LISTS else as_dicts, empty], feature))
        found = source.read()
        assert isinstance(source, Source)
        assert found_in(found) == {"row 0": [("cow", (1, 2, 11, 22)), ("cat", (0.5, 0, 4.5, 4))], "row 1": []}
        assert (found.names, found.kind, found.exclusions) == (("cat", "dog", "cow"), "boxes", ())
        assert found.source == "Hugging Face dataset, 2 pictures"

    @pytest.mark.parametrize(
        ("box_format", "expected"), [("xyxy", (8, 6, 4, 2)), ("xywh", (8, 6, 12, 8)), ("cxcywh", (6, 5, 10, 7))]
    )
    def test_formats_of_boxes(self, box_format, expected):
        found = HuggingFaceRows(make([one((8, 6, 4, 2))]), box_format=box_format).read()
        assert found_in(found) == {"row 0": [("dog", expected)]}

    def test_any_names_of_columns_and_fields(self):
        feature = List({"rect": BOX, "kind": Value("string"), "area": Value("int64")})
        rows = make([[{"rect": [1, 2, 3, 4], "kind": "größe", "area": 3}]], feature)
        rows = rows.rename_columns({"image": "img", "objects": "things"})
        found = HuggingFaceRows(rows, image="img", objects="things", box="rect", label="kind").read()
        assert (found_in(found), found.names) == ({"row 0": [("größe", (1, 2, 4, 6))]}, ("größe",))

    @pytest.mark.parametrize("label", ["category", "categories", "label", "labels", "category_id"])
    def test_the_field_of_the_class_is_found_by_its_usual_names(self, label):
        rows = make([{"bbox": [[1, 2, 3, 4]], label: [1]}], {"bbox": List(BOX), label: List(NUMBERS)})
        assert HuggingFaceRows(rows).read().entries[0].objects[0].name == "dog"

    @pytest.mark.parametrize("names", [["a", "b"], {1: "b", 7: "x"}])
    def test_names_for_numbers_without(self, names):
        rows = make([one()], {"bbox": List(BOX), "category": List(Value("int64"))})
        found = HuggingFaceRows(rows, names=names).read()
        assert found_in(found) == {"row 0": [("b", (1, 2, 4, 6))]}
        assert found.names == (tuple(names) if isinstance(names, list) else ("b", "x"))
        with pytest.raises(
            ValueError, match=r"^names: expected those of the dataset's classes, which are numbers like 1$"
        ):
            HuggingFaceRows(rows).read()

    def test_crowds_are_ignored(self):
        feature = {**AS_LISTS, "iscrowd": List(Value("bool"))}
        rows = make([{"bbox": [[1, 2, 3, 4]] * 2, "category": [0, 1], "iscrowd": [True, False]}], feature)
        assert [o.ignored for o in HuggingFaceRows(rows).read().entries[0].objects] == [True, False]

    def test_declared_sizes_and_shares_of_them(self):
        rows = make(
            [one((0.25, 0.5, 0.5, 0.5))] * 2, width=([40, None], Value("int64")), height=([30, 3], Value("int64"))
        )
        found = HuggingFaceRows(rows, normalised=True).read()
        assert [(entry.size, entry.objects[0].box) for entry in found.entries] == [
            ((30, 40), (10, 15, 30, 30)),
            ((3, 4), (1, 1.5, 3, 3)),
        ]
        with pytest.raises(ValueError, match=r"^normalised: all coordinates of the boxes lie in 0 to 1"):
            HuggingFaceRows(rows).read()

    def test_shares_without_sizes_are_of_the_picture_as_it_stands_upright(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = encoded(Image.new("RGB", (40, 30)), exif=exif)
        rows = make([one((0.25, 0.5, 0.5, 0.5))] * 2).remove_columns("image")
        rows = rows.add_column("image", [turned["bytes"], b"no picture"])
        found = HuggingFaceRows(rows, normalised=True).read()
        assert [(entry.size, entry.objects[0].box) for entry in found.entries] == [((40, 30), (7.5, 20, 22.5, 40))]
        assert open_picture(found.entries[0]).size == (30, 40)
        assert found.exclusions == (Exclusion("row 1", "not a picture"),)


class TestColumns:
    FEATURES = Features({"image": Picture(), "bbox": List(BOX), "label": List(NUMBERS)})

    def test_boxes_and_classes_in_columns_of_their_own(self):
        columns = {"image": pictures(2), "bbox": [[[1, 2, 3, 4], [5, 6, 7, 8]], []], "label": [[2, 0], []]}
        rows = Dataset.from_dict(columns, features=self.FEATURES)
        found = HuggingFaceRows(rows, objects=None).read()
        assert found_in(found) == {"row 0": [("cow", (1, 2, 4, 6)), ("cat", (5, 6, 12, 14))], "row 1": []}
        assert found.kind == "boxes"

    def test_one_box_a_row(self):
        columns = {"image": pictures(1), "rect": [[1.0, 2, 3, 4]], "kind": ["cat"], "iscrowd": [True]}
        found = HuggingFaceRows(Dataset.from_dict(columns), objects=None, box="rect", label="kind").read()
        assert found_in(found) == {"row 0": [("cat", (1, 2, 4, 6))]}
        assert found.entries[0].objects[0].ignored

    @pytest.mark.parametrize("name", ["bbox", "boxes"])
    def test_they_are_never_passed_over_without_a_word(self, name):
        rows = Dataset.from_dict({"image": pictures(1), name: [[[1.0, 2, 3, 4]]], "label": ["cat"]})
        with pytest.raises(
            ValueError, match=rf"^objects: expected .* has '{name}' without; pass objects=None and box="
        ):
            HuggingFaceRows(rows).read()
        assert HuggingFaceRows(rows.remove_columns([name])).read().kind is None

    def test_a_column_that_is_not_there(self):
        with pytest.raises(
            ValueError, match=r"^box: expected columns of the dataset \('image', 'objects'\), got 'bbox'"
        ):
            HuggingFaceRows(make([one()]), objects=None).read()


class TestLabels:
    def test_without_objects_rows_have_a_class_and_no_box(self):
        features = Features({"image": Picture(), "label": NUMBERS})
        rows = Dataset.from_dict({"image": pictures(3), "label": [2, 0, 2]}, features=features)
        found = HuggingFaceRows(rows).read()
        assert found_in(found) == {"row 0": [("cow", None)], "row 1": [("cat", None)], "row 2": [("cow", None)]}
        assert (found.names, found.kind) == (("cat", "dog", "cow"), None)

    def test_several_classes_a_row(self):
        features = Features({"image": Picture(), "labels": List(NUMBERS)})
        rows = Dataset.from_dict({"image": pictures(2), "labels": [[2, 0, 2], []]}, features=features)
        assert found_in(HuggingFaceRows(rows).read()) == {"row 0": [("cow", None), ("cat", None)], "row 1": []}


class TestPictures:
    def test_they_are_those_that_the_dataset_decodes(self):
        rows = make([one()] * 5).select([4, 2, 0])
        found = HuggingFaceRows(rows).read()
        for number, entry in enumerate(found.entries):
            expected = np.asarray(rows[number]["image"])
            assert np.array_equal(np.asarray(open_picture(entry)), expected)
            assert expected[0, 0, 0] == (4, 2, 0)[number]

    def test_none_is_decoded_before_it_is_asked_for_and_the_dataset_stays_as_it_is(self, monkeypatch):
        rows = make([one()] * 3).with_format("torch")
        opened, decoded = [], []
        original = Image.open
        monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(1) or original(*a, **k))
        monkeypatch.setattr(Picture, "decode_example", lambda *a, **k: decoded.append(1))
        found = HuggingFaceRows(rows).read()
        assert (opened, decoded) == ([], [])
        open_picture(found.entries[1])
        assert (opened, decoded) == ([1], [])
        assert (rows.format["type"], rows.features["image"].decode) == ("torch", True)

    @pytest.mark.parametrize("feature", [Picture(), Value("string")])
    def test_files_by_their_paths(self, tmp_path, feature):
        Image.new("RGB", (5, 4), (9, 8, 7)).save(tmp_path / "ü.png")
        paths = [str(tmp_path / "ü.png"), str(tmp_path / "none.png")]
        rows = Dataset.from_dict({"image": paths, "label": ["a", "b"]}).cast_column("image", feature)
        first, second = HuggingFaceRows(rows).read().entries
        assert open_picture(first).getpixel((0, 0)) == (9, 8, 7)
        with pytest.raises(Unusable, match=r"^missing file$"):
            open_picture(second)

    @pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
    def test_every_kind_of_file_that_is_read_elsewhere_is_read_here(self):
        picture = encoded(Image.new("RGB", (8, 6)), "AVIF")
        rows = Dataset.from_dict({"image": [picture["bytes"]], "label": ["a"]})
        assert open_picture(HuggingFaceRows(rows).read().entries[0]).size == (8, 6)

    def test_plain_bytes(self):
        rows = Dataset.from_dict({"image": [pictures(1)[0]["bytes"]], "label": ["a"]})
        assert open_picture(HuggingFaceRows(rows).read().entries[0]).size == (4, 3)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ({"bytes": b"no picture", "path": None}, "not a picture"),
            ({"bytes": NOISE["bytes"][:500], "path": None}, "truncated or damaged picture"),
            ({"bytes": None, "path": "https://example.org/1.png"}, "picture that is not on this machine"),
            ({"bytes": b"", "path": ""}, "row without a picture"),
            (None, "row without a picture"),
        ],
    )
    def test_those_that_cannot_be_opened_say_why(self, value, reason):
        rows = Dataset.from_dict(
            {"image": [value], "label": ["a"]}, features=Features({"image": Picture(), "label": Value("string")})
        )
        with pytest.raises(Unusable, match=f"^{reason}$"):
            open_picture(HuggingFaceRows(rows).read().entries[0])


class TestFaults:
    @pytest.mark.parametrize(
        ("objects", "reason"),
        [
            ({"bbox": [[1, 2, 3]], "category": [1]}, "box that is not four numbers"),
            ({"bbox": [None], "category": [1]}, "box that is not four numbers"),
            ({"bbox": [[1, 2, 3, None]], "category": [1]}, "box that is not four numbers"),
            ({"bbox": [[1, 2, 3, 4]], "category": [-1]}, "object without a class"),
            ({"bbox": [[1, 2, 3, 4]], "category": [None]}, "object without a class"),
            ({"bbox": [[1, 2, 3, 4]], "category": [9]}, "class number without a name"),
            ({"bbox": [[1, 2, 3, 4]], "category": [0, 1]}, "objects with fields of different numbers"),
        ],
    )
    def test_a_row_that_cannot_be_read_is_left_out_whole(self, objects, reason):
        feature = {"bbox": List(List(Value("float32"))), "category": List(Value("int64"))}
        found = HuggingFaceRows(make([one(), objects, one()], feature), names=["cat", "dog"]).read()
        assert list(found_in(found)) == ["row 0", "row 2"]
        assert found.exclusions == (Exclusion("row 1", reason),)

    def test_boxes_are_as_they_are_there_faults_included(self):
        found = HuggingFaceRows(make([one((9, 9, 1, 1))]), box_format="xyxy").read()
        assert found_in(found) == {"row 0": [("dog", (9, 9, 1, 1))]}

    def test_a_size_that_is_none(self):
        rows = make([one()] * 2, width=([4, -4], Value("int64")), height=([3, 3], Value("int64")))
        assert HuggingFaceRows(rows).read().exclusions == (Exclusion("row 1", "size that is not two whole numbers"),)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"image": "imgae"},
                r"^image: expected columns of the dataset \('image', 'objects'\), got 'imgae'; did you",
            ),
            ({"objects": "objcts"}, r"^objects: expected columns of .* got 'objcts'; did you mean 'objects'\?$"),
            (
                {"box": "box"},
                r"^box: expected columns of an object in 'objects' \('bbox', 'category'\), got 'box'; did ",
            ),
            (
                {"label": "kind"},
                r"^label: expected columns of an object in 'objects' \('bbox', 'category'\), got 'kind'",
            ),
            ({"box_format": "coco"}, r"^box_format: expected 'xyxy', 'xywh' or 'cxcywh', got 'coco'$"),
        ],
    )
    def test_columns_and_fields_that_are_not_there(self, options, message):
        with pytest.raises(ValueError, match=message):
            HuggingFaceRows(make([one()]), **options).read()

    def test_neither_objects_nor_labels(self):
        rows = Dataset.from_dict({"image": ["1.png"], "caption": ["a cat"]})
        with pytest.raises(
            ValueError, match=r"^label: expected columns of the dataset, which has no 'objects' \('image',"
        ):
            HuggingFaceRows(rows).read()

    def test_no_rows_and_objects_that_are_none(self):
        with pytest.raises(ValueError, match=r"^dataset: no row can be used: it has none$"):
            HuggingFaceRows(make([])).read()
        with pytest.raises(TypeError, match=r"^objects: expected dicts in the column 'objects', got Value"):
            HuggingFaceRows(make(["[1, 2]"], Value("string"))).read()
        with pytest.raises(TypeError, match=r"^names: expected a list of names, or {number: name}, got 'cat'$"):
            HuggingFaceRows(make([one()]), names="cat").read()

    def test_what_is_no_single_part(self):
        rows = make([one()])
        with pytest.raises(TypeError, match=r"^dataset: expected one part, got DatasetDict of 'train', 'test'$"):
            HuggingFaceRows(DatasetDict(train=rows, test=rows))
        with pytest.raises(TypeError, match=r"^dataset: expected rows that can be read in any order, got an Iterable"):
            HuggingFaceRows(rows.to_iterable_dataset())
        with pytest.raises(
            TypeError, match=r"^dataset: expected a datasets.Dataset, got TensorDataset; ProbeSet.from_"
        ):
            HuggingFaceRows(torch.utils.data.TensorDataset(torch.zeros(1)))
