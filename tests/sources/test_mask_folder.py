"""Masks in files: palettes as indices, binary ones by folder, and what cannot be trusted refused."""

import warnings

import numpy as np
import pytest
from PIL import Image

from camdebug.records import Exclusion
from camdebug.sources import MaskFolder, Source, Unusable
from camdebug.sources.mask_files import values_in
from camdebug.sources.pictures import open_picture

CLASSES = np.array([[0, 0, 1, 1], [0, 2, 2, 255], [0, 2, 2, 0]], dtype=np.uint8)


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    return images, masks


def add(folders, name, mask, *, mask_name=None, mode=None, size=None):
    """A grey picture and its mask, which is an array or a Pillow picture."""
    images, masks = folders
    mask = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask), mode)
    for path, picture in ((images / name, Image.new("L", size or mask.size)), (masks / (mask_name or name), mask)):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def palette(values):
    """Indices shown in colours whose grey values are others."""
    picture = Image.fromarray(values)
    picture.putpalette([200, 30, 7, 0, 0, 0, 90, 90, 90, *[5] * 759])
    return picture


def objects(entry):
    return {found.name: found.mask().astype(int).tolist() for found in entry.objects if not found.ignored}


def ignored(entry):
    return [found.mask().astype(int).tolist() for found in entry.objects if found.ignored]


def reasons(found):
    return {exclusion.source_id: exclusion.reason for exclusion in found.exclusions}


class TestValues:
    @pytest.mark.parametrize("as_picture", [palette, Image.fromarray])
    def test_each_value_is_the_object_of_a_class_whatever_colour_shows_it(self, folders, as_picture):
        add(folders, "a/1.png", as_picture(CLASSES))
        source = MaskFolder(*folders, values={1: "cat", 2: "dog", 3: "cow"})
        found = source.read()
        assert isinstance(source, Source)
        (entry,) = found.entries
        assert objects(entry) == {
            "cat": [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
            "dog": [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]],
        }
        assert ignored(entry) == [[[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]]
        assert all(item.mask().dtype == bool and item.box is None for item in entry.objects)
        assert (found.names, found.kind, found.source) == (("cat", "dog", "cow"), "masks", "masks, 1 pictures")
        assert (entry.source_id, entry.file, entry.size) == ("a/1.png", "a/1.png", (3, 4))

    def test_a_trimap_has_one_class_and_a_border_to_ignore(self, folders):
        add(folders, "1.jpg", np.array([[1, 3, 2, 2]], np.uint8), mask_name="1.png")
        (entry,) = MaskFolder(*folders, values={1: "pet"}, ignore=(3,)).read().entries
        assert (objects(entry), ignored(entry)) == ({"pet": [[1, 0, 0, 0]]}, [[[0, 1, 0, 0]]])

    def test_several_values_of_one_name_are_one_object_and_names_alone_count(self, folders):
        add(folders, "1.png", np.array([[1, 2, 255, 7]], np.uint8))
        (entry,) = MaskFolder(*folders, values={1: "cat", 2: "cat"}, ignore=()).read().entries
        assert (objects(entry), ignored(entry)) == ({"cat": [[1, 1, 0, 0]]}, [])

    def test_255_is_an_object_where_it_has_a_name(self, folders):
        add(folders, "1.png", np.array([[0, 255]], np.uint8))
        (entry,) = MaskFolder(*folders, values={255: "polyp"}).read().entries
        assert (objects(entry), ignored(entry)) == ({"polyp": [[0, 1]]}, [])

    def test_values_of_sixteen_bits(self, folders):
        add(folders, "1.png", np.array([[0, 1000, 40000]], np.uint16))
        (entry,) = MaskFolder(*folders, values={1000: "cat", 40000: "dog"}).read().entries
        assert objects(entry) == {"cat": [[0, 1, 0]], "dog": [[0, 0, 1]]}

    def test_colours_as_values(self, folders):
        colours = np.array([[[255, 0, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]]], np.uint8)
        add(folders, "1.png", colours)
        values = {(255, 0, 0): "cat", (0, 0, 255): "dog"}
        (entry,) = MaskFolder(*folders, values=values, ignore=[(255, 255, 255)]).read().entries
        assert (objects(entry), ignored(entry)) == ({"cat": [[1, 0, 0, 0]], "dog": [[0, 1, 0, 0]]}, [[[0, 0, 0, 1]]])

    def test_a_picture_with_none_of_the_classes_has_no_object(self, folders):
        add(folders, "1.png", np.array([[0, 1]], np.uint8))
        add(folders, "2.png", np.array([[0, 0]], np.uint8))
        found = MaskFolder(*folders, values={1: "cat"}).read()
        assert [len(entry.objects) for entry in found.entries] == [1, 0]

    @pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
    def test_the_fast_way_to_know_the_values_agrees_with_the_slow_one(self, tmp_path, mode):
        values = np.random.default_rng(0).integers(0, 2 if mode == "1" else 200, (9, 7))
        kind = {"1": bool, "I;16": np.uint16}.get(mode, np.uint8)
        picture = palette(values.astype(np.uint8)) if mode == "P" else Image.fromarray(values.astype(kind))
        assert picture.mode == mode
        picture.save(tmp_path / "1.png")
        assert values_in(tmp_path / "1.png") == (frozenset(np.unique(values).tolist()), (9, 7))


class TestBinary:
    MASK = np.array([[0, 0, 1], [0, 1, 1]], dtype=np.uint8)

    def test_the_class_is_the_first_folder_and_masks_are_read_when_asked_for(self, folders):
        add(folders, "dog/deep/1.jpg", self.MASK * 255, mask_name="dog/deep/1.png")
        add(folders, "cat/1.png", self.MASK)
        found = MaskFolder(*folders).read()
        assert [(entry.source_id, objects(entry), entry.size) for entry in found.entries] == [
            ("cat/1.png", {"cat": self.MASK.tolist()}, (2, 3)),
            ("dog/deep/1.jpg", {"dog": self.MASK.tolist()}, (2, 3)),
        ]
        assert (found.names, found.kind, found.exclusions) == (("cat", "dog"), "masks", ())
        (folders[1] / "cat" / "1.png").write_bytes(b"changed")
        with pytest.raises(Unusable, match=r"^mask is not a picture$"):
            found.entries[0].objects[0].mask()

    def test_a_class_name_for_all(self, folders):
        add(folders, "a/1.png", self.MASK)
        found = MaskFolder(*folders, class_name="polyp").read()
        assert (found.names, objects(found.entries[0])) == (("polyp",), {"polyp": self.MASK.tolist()})

    @pytest.mark.parametrize(
        "mask",
        [
            Image.fromarray(MASK.astype(bool)),
            palette(MASK),
            Image.fromarray(np.stack([MASK * 255] * 3, 2)),
            Image.fromarray(np.stack([MASK * 9] * 3 + [MASK * 0 + 255], 2), "RGBA"),
            Image.fromarray(MASK.astype(np.uint16) * 65535),
        ],
        ids=["bits", "palette", "grey in colours", "opaque", "16 bits"],
    )
    def test_masks_of_two_values_in_any_way_of_saving_them(self, folders, mask):
        add(folders, "cat/1.png", mask)
        assert objects(MaskFolder(*folders).read().entries[0]) == {"cat": self.MASK.tolist()}

    @pytest.mark.parametrize(
        ("mask", "reason"),
        [
            (np.array([[0, 1, 2]], np.uint8), "mask is not binary"),
            (np.array([[3, 5, 5]], np.uint8), "mask is not binary"),
            (np.zeros((1, 3), np.uint8), "mask without an object"),
            (np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8), "mask in colours; as values= give colours, "),
            (Image.new("LA", (2, 1), (255, 128)), "mask in colours; as values= give colours, "),
        ],
        ids=["three", "no background", "empty", "colours", "transparent"],
    )
    def test_masks_that_are_not_of_one_object(self, folders, mask, reason):
        add(folders, "cat/0.png", self.MASK)
        add(folders, "cat/1.png", mask)
        found = MaskFolder(*folders).read()
        with pytest.raises(Unusable, match=f"^{reason}"):
            found.entries[1].objects[0].mask()

    def test_a_mask_of_soft_edges_is_not_binary(self, folders):
        soft = np.zeros((32, 32), np.uint8)
        soft[5:20, 7:21] = 255
        add(folders, "cat/0.png", self.MASK)
        add(folders, "cat/1.jpg", soft)
        with pytest.raises(
            Unusable, match=r"^mask is not binary; pass threshold= where it is grey or lossy, values= where"
        ):
            MaskFolder(*folders).read().entries[1].objects[0].mask()

    @pytest.mark.parametrize("colours", [1, 3])
    def test_a_mask_saved_as_jpeg_is_cut_at_a_threshold(self, folders, colours):
        exact = np.zeros((64, 48), np.uint8)
        exact[16:40, 8:32] = 255
        noisy = np.clip(exact.astype(int) + np.random.default_rng(0).integers(-40, 41, exact.shape), 0, 255)
        add(folders, "cat/1.jpg", np.stack([noisy.astype(np.uint8)] * 3, 2) if colours == 3 else noisy.astype(np.uint8))
        (entry,) = MaskFolder(*folders, threshold=127).read().entries
        assert np.array_equal(objects(entry)["cat"], exact == 255)

    @pytest.mark.parametrize(
        ("mask", "threshold", "expected"),
        [
            (np.array([[0, 127, 128, 255]], np.uint8), 127, [[0, 0, 1, 1]]),
            (np.array([[0, 127, 128, 255]], np.uint8), 0, [[0, 1, 1, 1]]),
            (np.array([[0, 1000, 1001]], np.uint16), 1000, [[0, 0, 1]]),
            (Image.fromarray(np.array([[False, True]])), 127, [[0, 1]]),
            (palette(np.array([[0, 1, 2]], np.uint8)), 80, [[0, 0, 1]]),
            (np.array([[[255, 255, 0], [0, 0, 255]]], np.uint8), 127, [[1, 0]]),
        ],
        ids=["grey", "at 0", "16 bits", "two levels", "palette by its brightness", "colours by theirs"],
    )
    def test_the_object_is_what_lies_above_a_threshold(self, folders, mask, threshold, expected):
        add(folders, "cat/1.png", mask)
        assert objects(MaskFolder(*folders, threshold=threshold).read().entries[0]) == {"cat": expected}

    def test_nothing_above_a_threshold_is_no_object(self, folders):
        add(folders, "cat/1.png", self.MASK)
        with pytest.raises(Unusable, match=r"^mask without an object above threshold=$"):
            MaskFolder(*folders, threshold=1).read().entries[0].objects[0].mask()

    def test_floating_masks_are_no_colours(self, folders):
        add(folders, "cat/1.tiff", Image.fromarray(self.MASK.astype(np.float32)))
        add(folders, "cat/2.png", self.MASK)
        with pytest.raises(Unusable, match=r"^mask of floating pixels; save it in 8 or 16 bits$"):
            MaskFolder(*folders).read().entries[0].objects[0].mask()
        assert reasons(MaskFolder(*folders, values={1: "cat"}).read()) == {
            "cat/1.tiff": "mask of floating pixels; save it in 8 or 16 bits"
        }


class TestPairs:
    MASK = TestBinary.MASK

    def test_names_pair_by_relative_path_and_suffix(self, folders):
        add(folders, "cat/1.jpeg", self.MASK, mask_name="cat/1_mask.gif")
        found = MaskFolder(*folders, suffix="_mask").read()
        assert [entry.source_id for entry in found.entries] == ["cat/1.jpeg"]

    def test_pictures_and_masks_in_one_folder(self, tmp_path):
        add((tmp_path, tmp_path), "cat/1.png", self.MASK, mask_name="cat/1_m.png")
        found = MaskFolder(tmp_path, tmp_path, suffix="_m").read()
        assert [(entry.source_id, objects(entry)) for entry in found.entries] == [
            ("cat/1.png", {"cat": self.MASK.tolist()})
        ]
        assert found.exclusions == ()
        with pytest.raises(ValueError, match=r"^masks: expected another folder than images="):
            MaskFolder(tmp_path, tmp_path).read()

    def test_what_has_no_partner_or_several_is_named(self, folders):
        images, masks = folders
        add(folders, "cat/1.png", self.MASK)
        add(folders, "cat/2.png", self.MASK)
        Image.new("L", (3, 2)).save(images / "cat" / "2.jpg")
        Image.new("L", (3, 2)).save(images / "cat" / "3.jpg")
        Image.new("L", (3, 2)).save(masks / "cat" / "4.png")
        found = MaskFolder(*folders).read()
        assert [entry.source_id for entry in found.entries] == ["cat/1.png"]
        assert found.exclusions == (
            Exclusion("cat/2.jpg", "several files of one name"),
            Exclusion("cat/2.png", "several files of one name"),
            Exclusion("cat/3.jpg", "picture without a mask"),
            Exclusion("cat/2.png", "mask without a picture"),
            Exclusion("cat/4.png", "mask without a picture"),
        )

    def test_masks_whose_names_lack_the_suffix(self, folders):
        add(folders, "cat/1.png", self.MASK, mask_name="cat/1_m.png")
        add(folders, "cat/2.png", self.MASK)
        found = MaskFolder(*folders, suffix="_m").read()
        assert set(found.exclusions) == {
            Exclusion("cat/2.png", "mask without suffix= in its name"),
            Exclusion("cat/2.png", "picture without a mask"),
        }

    def test_a_mask_of_another_size_refuses_its_picture(self, folders):
        add(folders, "cat/1.png", self.MASK, size=(2, 3))
        with pytest.raises(Unusable, match=r"^annotated for a picture of another size"):
            open_picture(MaskFolder(*folders).read().entries[0])

    @pytest.mark.parametrize("values", [None, {1: "cat"}])
    def test_masks_that_cannot_be_read_are_left_out(self, folders, values):
        add(folders, "cat/1.png", self.MASK)
        for name, content in (("empty", b""), ("text", b"no picture")):
            add(folders, f"cat/{name}.png", self.MASK)
            (folders[1] / "cat" / f"{name}.png").write_bytes(content)
        found = MaskFolder(*folders, values=values).read()
        assert [entry.source_id for entry in found.entries] == ["cat/1.png"]
        text = "mask is not a picture" if values else "not a picture"
        assert reasons(found) == {"cat/empty.png": "empty file", "cat/text.png": text}

    def test_classes_in_masks_that_do_not_keep_values(self, folders):
        add(folders, "1.png", self.MASK)
        add(folders, "2.jpg", self.MASK)
        add(folders, "3.png", np.zeros((2, 3, 3), np.uint8))
        add(folders, "4.png", Image.effect_noise((64, 64), 50))
        cut = folders[1] / "4.png"
        cut.write_bytes(cut.read_bytes()[:200])
        assert reasons(MaskFolder(*folders, values={1: "cat"}).read()) == {
            "2.jpg": "mask saved as JPEG, which does not keep values; of one class pass threshold=",
            "3.png": "mask in colours; as values= give colours, {(255, 0, 0): name}",
            "4.png": "truncated or damaged mask",
        }

    def test_a_picture_bomb_for_a_mask_is_not_decoded(self, folders, monkeypatch):
        add(folders, "1.png", self.MASK)
        add(folders, "2.png", np.zeros((30, 40), np.uint8))
        monkeypatch.setattr("camdebug.sources.mask_files.MOST_PIXELS", 1000)
        found = MaskFolder(*folders, values={1: "cat"}).read()
        assert reasons(found) == {"2.png": "mask of more than 0 million pixels"}

    def test_large_masks_of_which_pillow_warns_are_read_without_a_word(self, folders, monkeypatch):
        add(folders, "cat/1.png", self.MASK)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
        with pytest.warns(Image.DecompressionBombWarning):
            Image.open(folders[1] / "cat" / "1.png").close()
        filters = list(warnings.filters)
        for values in (None, {1: "cat"}):
            (entry,) = MaskFolder(*folders, values=values).read().entries
            assert objects(entry) == {"cat": self.MASK.tolist()}
        assert warnings.filters == filters


class TestErrors:
    def message(self, *args, **options):
        with pytest.raises((ValueError, TypeError)) as caught:
            MaskFolder(*args, **options).read()
        return str(caught.value)

    def test_binary_masks_without_a_class(self, folders):
        add(folders, "1.png", TestBinary.MASK)
        message = self.message(*folders)
        assert message.endswith("1 x picture in no class folder (pass class_name= or values=) (1.png)")

    def test_masks_of_classes_taken_for_binary_ones_say_which_values_they_have(self, folders):
        add(folders, "cat/1.png", CLASSES)
        assert self.message(*folders) == (
            "masks: expected two values in a mask, 0 for background, but 1.png has 0, 1, 2, 255; pass "
            "threshold=127 where they are shades of one object, values={value: class name} where they are classes"
        )

    def test_values_that_no_mask_has(self, folders):
        add(folders, "1.png", np.array([[0, 255]], np.uint8))
        assert self.message(*folders, values={1: "cat"}) == (
            "values: none of the 1 masks has one of those that are named; 1.png has 0, 255"
        )
        assert self.message(*folders, values={(9, 8, 7): "cat"}).endswith("1.png has (0, 0, 0), (255, 255, 255)")

    def test_values_of_bits_are_numbers_in_messages_too(self, folders):
        add(folders, "1.png", Image.fromarray(np.array([[False, True]])))
        assert self.message(*folders, values={2: "cat"}).endswith("; 1.png has 0, 1")

    def test_names_that_never_agree(self, folders):
        add(folders, "a.png", TestBinary.MASK, mask_name="a_mask.png")
        message = self.message(*folders)
        assert message.startswith("masks: no mask has the name of a picture; in ")
        assert "'a.png'" in message
        assert "'a_mask.png'; pass suffix=" in message

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"ignore": (1,)}, "ignore: expected values= as well"),
            ({"values": {1: "cat"}, "class_name": "cat"}, "class_name: expected it without values="),
            ({"values": {1: "cat"}, "threshold": 9}, "threshold: expected it without values="),
            ({"threshold": 0.5}, "threshold: expected a number of 0 to 65534, or None, got 0.5"),
            ({"values": {}}, "values: expected {value: class name}, got {}"),
            ({"values": ["cat"]}, "values: expected {value: class name}, got ['cat']"),
            ({"values": {1: 2}}, "values: expected {value: class name}, got {1: 2}"),
            ({"values": {-1: "cat"}}, "values: expected numbers of 0 to 65535, or colours alone, got -1"),
            ({"values": {(1, 2, 3): "cat", 4: "dog"}}, "values: expected colours of three numbers of 0 to 255, got 4"),
            (
                {"values": {(1, 2, 300): "cat"}},
                "values: expected colours of three numbers of 0 to 255, got (1, 2, 300)",
            ),
            ({"values": {1: "cat"}, "ignore": (1,)}, "ignore: expected other values than values= names, got [1]"),
        ],
    )
    def test_wrong_arguments(self, folders, options, message):
        assert self.message(*folders, **options).startswith(message)

    def test_folders_that_are_not_there(self, folders):
        with pytest.raises(FileNotFoundError, match=r"^masks: expected a folder"):
            MaskFolder(folders[0], folders[0] / "none").read()
        with pytest.raises(FileNotFoundError, match=r"^images: expected a folder"):
            MaskFolder(folders[0] / "none", folders[0]).read()
