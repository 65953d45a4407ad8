"""Folders of pictures, beside what torchvision's ImageFolder makes of them."""

import os

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from camdebug.records import Exclusion
from camdebug.sources import PictureFolder, Source
from camdebug.sources.pictures import open_picture


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(path, format="PNG")
    return root


def ids(found):
    return [entry.source_id for entry in found.entries]


def reasons(found):
    return {exclusion.source_id: exclusion.reason for exclusion in found.exclusions}


class TestAsImageFolder:
    NAMES = (
        "dog/2.png",
        "dog/10.jpg",
        "dog/a/1.JPEG",
        "dog/a b/1.png",
        "dog/a/b/x.webp",
        "Cat/ü.bmp",
        "cat/z.tiff",
        "Cat/.tif.ppm.pgm",
        "10/1.tif",
        "9/1.Ppm",
    )

    def test_classes_pictures_and_their_order_are_those_of_torchvision(self, tmp_path):
        root = fill(tmp_path, *(name for name in self.NAMES if "/." not in name))
        (root / "dog" / "notes.txt").write_text("no picture")
        reference = ImageFolder(root)
        found = PictureFolder(root).read()
        assert isinstance(PictureFolder(root), Source)
        assert list(found.names) == reference.classes
        assert [(str(entry.picture), entry.objects[0].name) for entry in found.entries] == [
            (path, reference.classes[label]) for path, label in reference.samples
        ]
        assert len(found.entries) == 9
        assert (found.kind, found.source, found.exclusions) == (None, "folders of pictures, 9 pictures", ())
        assert all(len(e.objects) == 1 and e.objects[0].box is e.objects[0].mask is None for e in found.entries)
        assert open_picture(found.entries[0]).size == (4, 3)

    def test_links_to_folders_and_pictures_elsewhere_are_followed_as_torchvision_does(self, tmp_path):
        fill(tmp_path / "elsewhere", "1.png", "deep/2.png")
        root = fill(tmp_path / "root", "dog/3.png")
        (root / "cat").symlink_to(tmp_path / "elsewhere")
        (root / "dog" / "4.png").symlink_to(tmp_path / "elsewhere" / "1.png")
        found = PictureFolder(root).read()
        assert [str(entry.picture) for entry in found.entries] == [path for path, _ in ImageFolder(root).samples]
        assert ids(found) == ["cat/1.png", "cat/deep/2.png", "dog/3.png", "dog/4.png"]


class TestPassedOver:
    def test_hidden_files_and_folders(self, tmp_path):
        root = fill(tmp_path, "cat/1.png", "cat/._1.png", "cat/.cache/2.png", ".hidden/3.png")
        found = PictureFolder(root).read()
        assert (ids(found), found.names) == (["cat/1.png"], ("cat",))
        assert reasons(found) == {"cat/._1.png": "hidden file", "cat/.cache": "hidden folder"}

    def test_links_that_lead_in_circles_end(self, tmp_path):
        root = fill(tmp_path, "cat/1.png", "cat/deep/2.png", "dog/3.png")
        (root / "cat" / "deep" / "again").symlink_to(root / "cat")
        (root / "cat" / "all").symlink_to(root)
        (root / "dog" / "itself").symlink_to(root / "dog" / "itself")
        (root / "dog" / "itself.png").symlink_to(root / "dog" / "itself.png")
        found = PictureFolder(root).read()
        assert ids(found) == ["cat/1.png", "cat/deep/2.png", "dog/3.png"]
        assert reasons(found) == {
            "cat/deep/again": "link to a folder that is read already",
            "cat/all": "link to a folder that is read already",
            "dog/itself.png": "link that leads back to itself",
        }

    def test_a_folder_met_twice_in_a_class_is_read_under_its_own_name(self, tmp_path):
        root = fill(tmp_path, "cat/real/1.png")
        (root / "cat" / "a_link").symlink_to(root / "cat" / "real")
        found = PictureFolder(root).read()
        assert ids(found) == ["cat/real/1.png"]
        assert reasons(found) == {"cat/a_link": "link to a folder that is read already"}

    def test_what_is_no_file_and_what_lies_in_no_class(self, tmp_path):
        root = fill(tmp_path, "cat/1.png", "beside.png")
        (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
        os.mkfifo(root / "cat" / "pipe.png")
        found = PictureFolder(root).read()
        assert ids(found) == ["cat/1.png"]
        assert reasons(found) == {
            "beside.png": "picture in no class folder",
            "cat/gone.png": "link to a missing file",
            "cat/pipe.png": "neither file nor folder",
        }

    def test_a_class_without_pictures_keeps_its_name(self, tmp_path):
        root = fill(tmp_path, "cat/1.png")
        (root / "dog").mkdir()
        found = PictureFolder(root).read()
        assert found.names == ("cat", "dog")
        assert found.exclusions == (Exclusion("dog", "class folder without pictures"),)

    def test_names_that_are_no_text_can_be_written_anywhere(self, tmp_path):
        fill(tmp_path, "cat/1.png")
        raw = os.fsencode(tmp_path) + b"/cat/\xe9.png"
        os.rename(tmp_path / "cat" / "1.png", raw)
        found = PictureFolder(tmp_path).read()
        assert ids(found) == ["cat/\\udce9.png"]
        assert found.entries[0].file.encode() == b"cat/\\udce9.png"
        assert open_picture(found.entries[0]).size == (4, 3)


class TestErrors:
    def test_a_folder_that_is_none(self, tmp_path):
        fill(tmp_path, "1.png")
        with pytest.raises(NotADirectoryError, match=r"^root: expected a folder, got the file .*1.png$"):
            PictureFolder(tmp_path / "1.png").read()
        with pytest.raises(FileNotFoundError, match=r"^root: expected a folder, and there is none at .*none$"):
            PictureFolder(tmp_path / "none").read()

    def test_a_folder_without_class_folders(self, tmp_path):
        with pytest.raises(ValueError, match=r"^root: expected a folder for each class in .*, it has no folders$"):
            PictureFolder(fill(tmp_path, "1.png")).read()

    def test_class_folders_without_any_picture(self, tmp_path):
        (tmp_path / "cat").mkdir()
        with pytest.raises(ValueError, match=r"^root: expected pictures .* 1 x class folder without pictures \(cat\)$"):
            PictureFolder(tmp_path).read()

    def test_parts_of_a_data_set_are_no_classes(self, tmp_path):
        root = fill(tmp_path, "train/cat/1.png", "Val/cat/2.png")
        with pytest.raises(ValueError, match=r"^root: .* parts of a data set \('Val', 'train'\); .* such as .*/train$"):
            PictureFolder(root).read()
        assert PictureFolder(root / "train").read().names == ("cat",)

    @pytest.mark.parametrize("part", ["train", "valid", "Val", "test"])
    def test_one_part_alone_is_no_class_either(self, tmp_path, part):
        with pytest.raises(ValueError, match=rf"^root: .* parts of a data set \('{part}'\)"):
            PictureFolder(fill(tmp_path, f"{part}/1.png")).read()
