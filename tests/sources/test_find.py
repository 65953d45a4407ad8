"""The reader of a folder is found by what is in it, and nothing is guessed where two fit."""

import json
import re

import pytest
from PIL import Image

from camdebug.sources import (
    FORMATS,
    CocoJson,
    CsvTable,
    MaskFolder,
    PictureFolder,
    Source,
    VocFolder,
    YoloFolder,
    find_source,
)

XML = (
    "<annotation><filename>1.png</filename><size><width>8</width><height>6</height></size><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"
)
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 6}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 4, 2]}],
        "categories": [{"id": 3, "name": "cat"}],
    }
)
YAML = "names: [cat]\nval: images\n"
CSV = "filename,class,xmin,ymin,xmax,ymax\n1.png,cat,1,2,5,4\n"


def fill(root, **files):
    """Files by their paths, in which ``__`` stands for ``/``, and ``_dot_`` for a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("L", (8, 6), 1).save(path)
        else:
            path.write_text(content)
    return root


def voc(root):
    return fill(root, Annotations__1_dot_xml=XML, JPEGImages__1_dot_png=None)


def boxes(source):
    return [(entry.source_id, [(o.name, o.box) for o in entry.objects]) for entry in source.read().entries]


class TestFound:
    @pytest.mark.parametrize(
        ("files", "below", "expected", "source_id"),
        [
            ({"Annotations__1_dot_xml": XML, "JPEGImages__1_dot_png": None}, "", VocFolder, "JPEGImages/1.png"),
            ({"1_dot_xml": XML, "1_dot_png": None}, "", VocFolder, "1.png"),
            ({"annotations__1_dot_xml": XML, "images__1_dot_png": None}, "", VocFolder, "images/1.png"),
            ({"annotations__xmls__1_dot_xml": XML, "images__1_dot_png": None}, "", VocFolder, "images/1.png"),
            ({"a_dot_json": COCO, "1_dot_png": None}, "", CocoJson, "1.png"),
            ({"a_dot_json": COCO, "images__1_dot_png": None}, "a.json", CocoJson, "1.png"),
            ({"val_dot_json": COCO, "val__1_dot_png": None}, "val.json", CocoJson, "1.png"),
            ({"annotations__on_val_dot_json": COCO, "val__1_dot_png": None}, "", CocoJson, "1.png"),
            ({"annotations__on_val_dot_json": COCO, "images__val__1_dot_png": None}, "", CocoJson, "1.png"),
            ({"d_dot_yaml": YAML, "images__1_dot_png": None, "labels__1_dot_txt": "0 .375 .5 .5 .3333333333333333"}, "",
             YoloFolder, "images/1.png"),
            ({"boxes_dot_csv": CSV, "1_dot_png": None}, "", CsvTable, "1.png"),
            ({"boxes_dot_TSV": CSV.replace(",", "\t"), "1_dot_png": None}, "boxes.TSV", CsvTable, "1.png"),
        ],
    )  # fmt: skip
    def test_boxes_are_the_same_whatever_the_format(self, tmp_path, files, below, expected, source_id):
        source = find_source(fill(tmp_path, **files) / below)
        assert isinstance(source, expected)
        assert isinstance(source, Source)
        ((found, objects),) = boxes(source)
        assert found.endswith(source_id.rpartition("/")[2])
        assert [name for name, _ in objects] == ["cat"]
        assert objects[0][1] == pytest.approx((1, 2, 5, 4), abs=1e-9)

    def test_masks_and_folders_of_classes(self, tmp_path):
        masks = fill(tmp_path / "m", images__cat__1_dot_png=None, masks__cat__1_dot_png=None)
        source = find_source(masks)
        assert (type(source), source.read().names) == (MaskFolder, ("cat",))
        folders = fill(tmp_path / "f", cat__deep__1_dot_png=None, dog__2_dot_png=None)
        source = find_source(str(folders))
        assert (type(source), source.read().names) == (PictureFolder, ("cat", "dog"))

    def test_a_table_beside_folders_of_pictures_counts_and_not_the_folders(self, tmp_path):
        assert isinstance(find_source(fill(tmp_path, boxes_dot_csv=CSV, cat__1_dot_png=None)), CsvTable)
        (tmp_path / "boxes.csv").unlink()
        assert isinstance(find_source(tmp_path), PictureFolder)

    def test_a_relative_file(self, tmp_path, monkeypatch):
        fill(tmp_path, annotations__instances_val_dot_json=COCO, val__1_dot_png=None)
        monkeypatch.chdir(tmp_path / "annotations")
        assert find_source("instances_val.json").images == tmp_path / "val"

    def test_every_format_has_a_reader_and_words_for_it(self):
        assert list(FORMATS) == ["voc", "coco", "yolo", "csv", "masks", "folder"]
        assert all(known.what and isinstance(known.reader, type) for known in FORMATS.values())
        assert FORMATS["csv"].options[:3] == ("file", "images", "picture")


class TestOptions:
    def test_they_reach_the_reader_and_win_over_what_was_found(self, tmp_path):
        fill(tmp_path, a_dot_json=COCO, images__1_dot_png=None, other__1_dot_png=None)
        source = find_source(tmp_path, images=tmp_path / "other", use="masks")
        assert (source.images, source.use) == (tmp_path / "other", "masks")
        assert find_source(voc(tmp_path / "v"), difficult="use").difficult == "use"

    def test_what_boxes_are_and_how_they_are_found_are_told_apart(self, tmp_path):
        fill(tmp_path, boxes_dot_csv=CSV.replace("5,4", "4,2"), **{"1_dot_png": None})
        source = find_source(tmp_path, format="csv", box_format="xywh")
        assert boxes(source) == [("1.png", [("cat", (1, 2, 5, 4))])]

    def test_pictures_of_voc_may_lie_elsewhere(self, tmp_path):
        source = find_source(voc(tmp_path / "v"), images=tmp_path / "v" / "JPEGImages")
        assert boxes(source) == [("1.png", [("cat", (1, 2, 5, 4))])]

    def test_unknown_ones_are_an_error_with_those_there_are(self, tmp_path):
        message = (
            r"^dificult: Pascal VOC, .* has no such option; expected 'root', 'split', .*; did you mean 'difficult'\?$"
        )
        with pytest.raises(TypeError, match=message):
            find_source(voc(tmp_path), dificult="use")

    def test_the_format_by_name(self, tmp_path):
        fill(voc(tmp_path), boxes_dot_csv=CSV)
        assert isinstance(find_source(tmp_path, format="voc"), VocFolder)
        assert isinstance(find_source(tmp_path, format="csv"), CsvTable)
        fill(tmp_path / "k", annotations__1_dot_xml=XML, images__1_dot_png=None)
        assert len(boxes(find_source(tmp_path / "k", format="voc"))) == 1
        with pytest.raises(ValueError, match=r"^format: expected one of 'voc', .* got 'vok'; did you mean 'voc'\?$"):
            find_source(tmp_path, format="vok")


class TestErrors:
    def test_a_part_of_a_set_is_not_taken_for_a_class(self, tmp_path):
        source = find_source(fill(tmp_path, train__1_dot_xml=XML, train__1_dot_png=None))
        with pytest.raises(ValueError, match=r"parts of a data set \('train'\); give one of them, such as .*/train$"):
            source.read()
        assert isinstance(find_source(tmp_path / "train"), VocFolder)

    def test_two_kinds_of_annotations(self, tmp_path):
        fill(voc(tmp_path), boxes_dot_csv=CSV)
        with pytest.raises(ValueError, match=r"^path: .* found voc: 'Annotations/\*.xml'; csv: 'boxes.csv'; give one"):
            find_source(tmp_path)

    def test_two_files_of_one_kind(self, tmp_path):
        fill(tmp_path, annotations__a_dot_json=COCO, annotations__b_dot_json=COCO)
        with pytest.raises(ValueError, match=r"found coco: 'annotations/a.json', 'annotations/b.json'; give one file"):
            find_source(tmp_path)

    @pytest.mark.parametrize(
        "files", [{"notes_dot_txt": "none"}, {"1_dot_png": None}, {"images__1_dot_png": None, "labels__1_dot_txt": ""}]
    )
    def test_nothing_known_says_what_was_looked_for(self, tmp_path, files):
        fill(tmp_path, **files)
        for path in (tmp_path, tmp_path / "notes.txt")[: 1 + ("notes_dot_txt" in files)]:
            with pytest.raises(ValueError) as caught:
                find_source(path)
            assert str(caught.value).startswith(f"path: expected annotations in {path}, found none; looked for ")
            assert set(re.findall(r"\((\w+)\)", str(caught.value))) == set(FORMATS)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"^path: expected a file or folder of annotations, and there is none"
        ):
            find_source(tmp_path / "none")
