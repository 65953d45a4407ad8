"""Real files on disk, read by torchvision's own datasets."""

import json
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset
from torchvision.datasets import CocoDetection, VOCDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.probe.boxes import coverage
from camdebug.sources import CocoJson, VocFolder

WIDTH, HEIGHT = 80, 40
TO_TENSOR = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
PLAIN = v2.Compose(TO_TENSOR)
# A picture of 40x80 becomes 20x40, of which x 10 to 30 are kept and mirrored: (x, y) -> (30 - x / 2, y / 2).
SHRUNK = v2.Compose([v2.Resize(20), v2.CenterCrop(20), v2.RandomHorizontalFlip(1.0), *TO_TENSOR])
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
# file, boxes xywh with their category
PICTURES = [
    ("a.jpg", [(30, 10, 20, 20, 17)]),
    ("b.png", [(24, 0, 16, 8, 18), (40, 20, 10, 10, 18)]),
    ("c.jpg", [(30, 10, 20, 20, 17), (50, 4, 6, 6, 90)]),
    ("d.png", []),
    ("e.jpg", [(22, 2, 10, 10, 18), (34, 2, 30, 30, 17)]),
]


def save_picture(path, number):
    """Left half of one grey, right half of another: a flip shows."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (40 * number, 0, 0))
    image.paste((255, 255, 255), (WIDTH // 2, 0, WIDTH, HEIGHT))
    image.save(path, quality=95)


@pytest.fixture
def coco(tmp_path, capsys):
    """A function that reads real COCO files with the given transforms."""
    images, annotations = [], []
    for number, (name, objects) in enumerate(PICTURES):
        save_picture(tmp_path / name, number)
        images.append({"id": 100 + number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for x, y, w, h, category in objects:
            box = {"bbox": [x, y, w, h], "category_id": category, "area": w * h, "iscrowd": 0, "segmentation": []}
            annotations.append({"id": len(annotations) + 1, "image_id": 100 + number, **box})
    listing = tmp_path / "instances.json"
    listing.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    return lambda **given: CocoDetection(str(tmp_path), str(listing), **given)


@pytest.fixture
def voc(tmp_path):
    """A function that reads a real Pascal VOC folder; objects are (name, xmin, ymin, xmax, ymax)."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)

    def make(pictures, **given):
        for number, objects in enumerate(pictures):
            save_picture(root / "JPEGImages" / f"p{number}.jpg", number)
            tree = ElementTree.Element("annotation")
            for name, *corners in objects:
                node = ElementTree.SubElement(tree, "object")
                ElementTree.SubElement(node, "name").text = name
                box = ElementTree.SubElement(node, "bndbox")
                for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                    ElementTree.SubElement(box, key).text = str(value)
            ElementTree.ElementTree(tree).write(root / "Annotations" / f"p{number}.xml")
        (root / "ImageSets/Main/train.txt").write_text("\n".join(f"p{n}" for n in range(len(pictures))))
        return VOCDetection(str(tmp_path), year="2012", image_set="train", **given)

    return make


def quietly(dataset, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_dataset(dataset, **arguments)


def by_id(probes):
    rows = zip(probes.source_ids, probes.labels.tolist(), probes.boxes, probes.ignore, strict=True)
    return {key: (label, boxes.tolist(), ignore.tolist()) for key, label, boxes, ignore in sorted(rows)}


def by_class(probes):
    """Boxes and ignored ones by picture and class."""
    rows = zip(probes.source_ids, probes.labels.tolist(), probes.boxes, probes.ignore, strict=True)
    return {(key.split(":")[0], label): (boxes.tolist(), ignore.tolist()) for key, label, boxes, ignore in rows}


class TestCoco:
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_boxes_follow_resize_crop_and_flip(self, coco, wrapped):
        dataset = coco(transforms=SHRUNK)
        if wrapped:
            dataset = wrap_dataset_for_transforms_v2(dataset)
        probes = quietly(dataset, class_names=["cat", "dog"])
        assert by_class(probes) == {
            ("0", 0): ([[5, 5, 15, 15]], []),
            ("1", 1): ([[10, 0, 18, 4], [5, 10, 10, 15]], []),
            ("2", 0): ([[5, 5, 15, 15]], [[2, 2, 5, 5]]),
            # x 22 to 32 and 34 to 64 become 19 to 14 and 13 to -2
            ("4", 0): ([[0, 1, 13, 16]], [[14, 1, 19, 6]]),
            ("4", 1): ([[14, 1, 19, 6]], [[0, 1, 13, 16]]),
        }
        first = probes.images[probes.source_ids.index("0")]
        assert first.shape == (3, 20, 20)
        assert float(first[:, :, :8].min()) > 0.95  # the white right half is on the left now
        assert float(first[:, :, 12:].max()) < 0.05

    def test_exclusions_are_named(self, coco):
        with pytest.warns(UserWarning, match="left out 1 of 6") as caught:
            ProbeSet.from_dataset(coco(transforms=PLAIN), class_names=["cat", "dog"])
        assert len(caught) == 1
        assert "1 x no object of a known class (3)" in str(caught[0].message)

    def test_objects_that_the_model_does_not_know_are_said_with_their_names(self, coco):
        words = "objects of 1 annotated class that the model does not have are ignored regions (toothbrush: 1)"
        with pytest.warns(UserWarning, match=re.escape(words)):
            ProbeSet.from_dataset(coco(transforms=PLAIN), class_names=["cat", "dog"])
        with pytest.warns(UserWarning, match="left out 1 of 7") as caught:
            ProbeSet.from_dataset(coco(transforms=PLAIN), class_names=["cat", "dog", "toothbrush"])
        assert "does not have" not in str(caught[0].message)

    def test_names_are_matched_with_categories_in_the_users_order(self, coco):
        probes = quietly(coco(transforms=PLAIN), class_names=["toothbrush", "dog", "cat"])
        assert sorted(by_class(probes)) == [("0", 2), ("1", 1), ("2", 0), ("2", 2), ("4", 1), ("4", 2)]
        assert probes.class_names == ("toothbrush", "dog", "cat")

    def test_label_map_gives_numbers_and_the_categories_give_names(self, coco):
        probes = quietly(coco(transforms=PLAIN), label_map={17: 1, 18: 1, 90: 2})
        assert probes.class_names == ("0", "cat+dog", "toothbrush")
        assert sorted(by_class(probes)) == [("0", 1), ("1", 1), ("2", 1), ("2", 2), ("4", 1)]

    def test_names_of_ones_own_go_with_a_label_map(self, coco):
        probes = quietly(coco(transforms=PLAIN), class_names=["Katze", "Hund"], label_map={17: 0, 18: 1})
        assert sorted(by_class(probes)) == [("0", 0), ("1", 1), ("2", 0), ("4", 0), ("4", 1)]

    def test_label_says_which_object_counts(self, coco):
        probes = quietly(
            coco(transforms=PLAIN), class_names=["cat", "dog"], label=lambda t: 0 if 17 in t.get("labels", []) else 1
        )
        assert by_id(probes)["4"] == (0, [[34, 2, 64, 32]], [[22, 2, 32, 12]])

    def test_category_ids_are_not_taken_for_class_indices(self, coco):
        with pytest.raises(ValueError, match=re.escape("(17: cat, 18: dog, 90: toothbrush). Names are matched")):
            ProbeSet.from_dataset(coco(transforms=PLAIN))

    def test_a_name_that_is_no_category(self, coco):
        with pytest.raises(ValueError, match=r"class_names: expected names of the dataset's categories .* got Hund"):
            ProbeSet.from_dataset(coco(transforms=PLAIN), class_names=["cat", "Hund"])

    def test_labels_that_a_transform_renumbered_are_not_matched_by_name(self, coco):
        def renumber(image, target):
            return PLAIN(image), {**target, "labels": target["labels"] - 17} if "labels" in target else target

        dataset = coco(transforms=renumber)
        with pytest.raises(ValueError, match=r"to be its category ids .* pass label_map="):
            ProbeSet.from_dataset(dataset, class_names=["cat", "dog"])
        probes = quietly(dataset, class_names=["cat", "dog"], label_map={0: 0, 1: 1})
        assert sorted(by_class(probes)) == [("0", 0), ("1", 1), ("2", 0), ("4", 0), ("4", 1)]

    def test_categories_numbered_from_0_need_no_names(self, coco, tmp_path):
        dataset = coco(transforms=PLAIN)
        listing = json.loads((tmp_path / "instances.json").read_text())
        new = {17: 0, 18: 1, 90: 2}
        listing["categories"] = [{**c, "id": new[c["id"]]} for c in CATEGORIES]
        listing["annotations"] = [{**a, "category_id": new[a["category_id"]]} for a in listing["annotations"]]
        (tmp_path / "instances.json").write_text(json.dumps(listing))
        dataset = CocoDetection(str(tmp_path), str(tmp_path / "instances.json"), transforms=PLAIN)
        assert quietly(dataset).class_names == ("cat", "dog", "toothbrush")

    def test_pil_pictures_are_an_error_that_says_what_to_add(self, coco):
        with pytest.raises(TypeError, match=re.escape("got Image; add transforms.v2.ToImage()")):
            ProbeSet.from_dataset(coco(), class_names=["cat", "dog"])

    def test_a_transform_of_the_picture_alone_is_an_error(self, coco):
        dataset = coco(transform=v2.Compose([*TO_TENSOR, v2.Resize(20)]))
        with pytest.raises(ValueError, match="for a picture of 40x80, but the picture is 20x40"):
            ProbeSet.from_dataset(dataset, class_names=["cat", "dog"])

    def test_pictures_of_different_sizes_are_an_error(self, coco, tmp_path):
        Image.new("RGB", (50, 50)).save(tmp_path / "a.jpg")
        with pytest.raises(ValueError, match=r"add a Resize or a crop to its transforms.v2"):
            ProbeSet.from_dataset(coco(transforms=PLAIN), class_names=["cat", "dog"])

    def test_a_truncated_file_is_a_named_exclusion(self, coco, tmp_path):
        whole = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "c.jpg").write_bytes(b"no picture")
        probes = quietly(coco(transforms=PLAIN), class_names=["cat", "dog"])
        reasons = {e.source_id: e.reason for e in probes.exclusions}
        assert reasons["0"] == "could not be read (OSError)"
        assert reasons["2"] == "could not be read (UnidentifiedImageError)"
        assert sorted(by_class(probes)) == [("1", 1), ("4", 0), ("4", 1)]


# Odd sizes, so that hardly a corner falls on a whole pixel; an odd crop of an even size, which v2 puts elsewhere.
ODD = {
    "resized": v2.Compose([v2.Resize((17, 37)), *TO_TENSOR]),
    "cropped": v2.Compose(
        [v2.ToImage(), v2.Resize(23), v2.CenterCrop((49, 21)), v2.RandomHorizontalFlip(1.0), *TO_TENSOR]
    ),
}


def from_files(source, transform, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ProbeSet.from_source(source, transform=transform, min_area=0, max_area=1, **arguments)
    return {(Path(key.split(":")[0]).name, *rest): value for (key, *rest), value in places(found).items()}


def places(probes):
    """Boxes, then ignored ones, by source id and class."""
    rows = zip(probes.source_ids, probes.labels.tolist(), probes.boxes, probes.ignore, strict=True)
    return {(key, label): torch.cat([boxes, ignore]) for key, label, boxes, ignore in rows}


class TestFractionsOfAPixel:
    @pytest.mark.parametrize("transform", ODD.values(), ids=ODD)
    @pytest.mark.parametrize("form", ["bare", "wrapped", "part", "parts", "digits"])
    def test_boxes_of_coco_are_those_of_its_own_reader(self, coco, tmp_path, transform, form):
        if form == "digits":
            listing = json.loads((tmp_path / "instances.json").read_text())
            moved = [{**a, "bbox": [v + 0.3 for v in a["bbox"]]} for a in listing["annotations"]]
            (tmp_path / "instances.json").write_text(json.dumps({**listing, "annotations": moved}))
        names = ["cat", "dog", "toothbrush"]
        expected = from_files(CocoJson(tmp_path / "instances.json", tmp_path), transform, class_names=names)
        dataset = coco(transforms=transform)
        dataset = wrap_dataset_for_transforms_v2(dataset) if form == "wrapped" else dataset
        dataset = Subset(dataset, range(5)) if form in ("part", "parts") else dataset
        dataset = ConcatDataset([dataset]) if form == "parts" else dataset
        found = places(quietly(dataset, class_names=names))
        found = {(PICTURES[int(key.split(":")[0])][0], label): boxes for (key, label), boxes in found.items()}
        assert sorted(found) == sorted(expected)
        for key, boxes in found.items():
            torch.testing.assert_close(boxes, expected[key], rtol=0, atol=1e-9)

    @pytest.mark.parametrize("transform", ODD.values(), ids=ODD)
    @pytest.mark.parametrize("names", [["dog", "cat", "person"], ["WBC", "RBC"]])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_boxes_of_voc_are_those_of_its_own_reader(self, voc, tmp_path, transform, names, wrapped):
        own = "RBC" in names
        objects = [[("RBC", 31, 11, 49, 30), ("WBC", 50, 5, 57, 11)], [("WBC", 25, 1, 41, 8)]] if own else VOC_PICTURES
        dataset = voc(objects, transforms=transform)
        dataset = wrap_dataset_for_transforms_v2(dataset) if wrapped and not own else dataset
        found = places(quietly(dataset, class_names=names))
        expected = from_files(VocFolder(tmp_path / "VOCdevkit" / "VOC2012"), transform, class_names=names)
        found = {(f"p{key.split(':')[0]}.jpg", label): boxes for (key, label), boxes in found.items()}
        assert sorted(found) == sorted(expected)
        for key, boxes in found.items():
            torch.testing.assert_close(boxes, expected[key], rtol=0, atol=1e-9)

    def test_a_transform_of_ones_own_gets_boxes_that_are_not_cut_to_whole_pixels(self, voc):
        probes = quietly(voc([[("cat", 31, 11, 49, 30)]], transforms=lambda *pair: SHRUNK(*pair)), class_names=["cat"])
        assert probes.boxes[0].tolist() == [[5.5, 5.5, 14.5, 15]]  # (x, y) -> (30 - x / 2, y / 2)

    @pytest.mark.parametrize("transform", ODD.values(), ids=ODD)
    def test_heat_in_the_box_is_that_of_the_object(self, tmp_path, capsys, transform):
        """The law of the geometry: the picture's light in the carried box is that of the carried object."""
        x, y, w, h = 35, 9, 32, 23
        v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        inside = [(2 * (u - x) / w - 1) / 0.5, (2 * (v - y) / h - 1) / 0.5]  # far from the rim, for the filter
        heat = np.where(np.maximum(*map(abs, inside)) < 1, 200.0, 0.0).astype(np.uint8)
        rest = np.zeros_like(heat)
        rest[:, 20:28] = 90
        masses = []
        for values in (heat, heat + rest):
            Image.fromarray(values).save(tmp_path / "a.png")
            box = {"id": 1, "image_id": 1, "bbox": [x, y, w, h], "category_id": 1, "area": w * h, "iscrowd": 0}
            listing = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [box]}
            listing["categories"] = [{"id": 1, "name": "a"}]
            (tmp_path / "one.json").write_text(json.dumps(listing))
            dataset = CocoDetection(str(tmp_path), str(tmp_path / "one.json"), transforms=transform)
            probes = quietly(dataset, class_names=["a"])
            picture = probes.images[0, 0].double()
            cover = coverage([probes.boxes[0]], probes.image_size, probes.image_size)[0]
            masses.append((float((picture * cover).sum()), float(picture.sum())))
        (own, whole), (found, _) = masses
        assert own == pytest.approx(whole, rel=1e-5)
        assert found == pytest.approx(whole, rel=1e-5)


class TestWhatIsRead:
    @pytest.mark.parametrize(("transforms", "reads"), [(PLAIN, 6), (lambda i, t: PLAIN(i, t), 11)])
    def test_pictures_without_a_class_that_is_short_are_not_opened(self, coco, monkeypatch, transforms, reads):
        opened, load = [], CocoDetection._load_image
        monkeypatch.setattr(CocoDetection, "_load_image", lambda self, key: opened.append(key) or load(self, key))
        dataset = ConcatDataset([Subset(coco(transforms=transforms), [1, 2, 0, 3, 4]) for _ in range(3)])
        probes = quietly(dataset, class_names=["cat", "dog", "toothbrush", "ape"], per_class=2)
        assert probes.counts == (2, 2, 2, 0)
        assert len(opened) == reads + 4  # the look for randomness
        assert probes.source_ids == ("2", "11", "10", "0", "4", "6")

    def test_annotations_that_a_transform_renumbers_are_no_hint(self, coco):
        def swap(image, target):
            return PLAIN(image), {**target, "labels": 35 - target["labels"]} if "labels" in target else target

        probes = quietly(coco(transforms=swap), label_map={17: 0, 18: 1}, per_class=2)
        assert sorted(
            (key.split(":")[0], k) for key, k in zip(probes.source_ids, probes.labels.tolist(), strict=True)
        ) == [("0", 1), ("1", 0), ("2", 1), ("4", 0)]

    def test_pictures_of_voc_are_chosen_by_their_xml(self, voc, monkeypatch):
        dataset = voc([[("cat", 1, 1, 9, 9)]] * 20 + [[("dog", 1, 1, 9, 9)]], transforms=PLAIN)
        opened = []
        Path(dataset.annotations[3]).write_text("<annotation>")
        monkeypatch.setattr(Image, "open", lambda path, real=Image.open: opened.append(str(path)) or real(path))
        probes = quietly(dataset, class_names=["cat", "dog"], per_class=2)
        assert probes.counts == (2, 1)
        # the two cats, the dog, the one with a broken XML, which might be a dog; three again for randomness
        assert len(opened) == 2 + 1 + 1 + 3
        assert [e.reason for e in probes.exclusions] == ["could not be read (ParseError)"]


class TestTheUsersDatasetStaysAsItIs:
    def test_torchvisions_wrapper_takes_the_transforms_away(self, coco):
        dataset = coco(transforms=SHRUNK)
        wrap_dataset_for_transforms_v2(dataset)
        assert dataset.transforms is None

    def test_from_dataset_does_not(self, coco):
        dataset = coco(transforms=SHRUNK)
        image, target = dataset[0]
        quietly(dataset, class_names=["cat", "dog"])
        assert dataset.transforms is SHRUNK
        assert type(dataset) is CocoDetection
        image_again, target_again = dataset[0]
        assert torch.equal(image_again, image)
        assert target_again == target

    def test_nor_does_it_with_a_subset(self, coco):
        dataset = coco(transforms=SHRUNK)
        subset = Subset(dataset, [1, 2])
        probes = quietly(subset, class_names=["cat", "dog"])
        assert by_id(probes) == {
            "0": (1, [[10, 0, 18, 4], [5, 10, 10, 15]], []),
            "1": (0, [[5, 5, 15, 15]], [[2, 2, 5, 5]]),
        }
        assert subset.dataset is dataset
        assert dataset.transforms is SHRUNK


class TestConcatenation:
    def test_parts_of_the_same_categories_are_read_as_one(self, coco):
        both = ConcatDataset([coco(transforms=PLAIN), coco(transforms=PLAIN)])
        probes = quietly(both, class_names=["cat", "dog"])
        part = [(0, 0), (1, 1), (2, 0), (4, 0), (4, 1)]
        assert sorted((int(i), k) for i, k in by_class(probes)) == part + [(i + 5, k) for i, k in part]

    def test_parts_of_different_categories_are_refused(self, coco, voc):
        both = ConcatDataset([coco(transforms=PLAIN), voc([[("cat", 1, 1, 9, 9)]], transforms=PLAIN)])
        with pytest.raises(ValueError, match="expected parts with the same categories"):
            ProbeSet.from_dataset(both, class_names=["cat", "dog"])


class OwnCoco(CocoDetection):
    """A user's reader on top of torchvision's, with labels that are class indices already."""

    def __getitem__(self, index):
        image, objects = super().__getitem__(index)
        boxes = torch.tensor([o["bbox"] for o in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return PLAIN(image), {"boxes": boxes, "labels": torch.tensor([o["category_id"] - 17 for o in objects])}


def test_a_subclass_with_a_reader_of_its_own_is_read_as_it_is(coco, tmp_path):
    dataset = OwnCoco(str(tmp_path), str(tmp_path / "instances.json"))
    probes = quietly(Subset(dataset, [0, 1]), class_names=["cat", "dog"])
    assert by_id(probes) == {"0": (0, [[30, 10, 50, 30]], []), "1": (1, [[24, 0, 40, 8], [40, 20, 50, 30]], [])}


VOC_PICTURES = [
    [("dog", 30, 10, 50, 30)],
    [("cat", 24, 0, 40, 8), ("cat", 40, 20, 50, 30)],
    [("cat", 24, 0, 40, 8), ("person", 50, 4, 56, 10)],
    [("cat", 24, 0, 40, 8), ("dog", 30, 10, 50, 30)],
]


class TestVoc:
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_boxes_follow_resize_crop_and_flip_and_names_are_matched(self, voc, wrapped):
        dataset = voc(VOC_PICTURES, transforms=SHRUNK)
        if wrapped:
            dataset = wrap_dataset_for_transforms_v2(dataset)
        probes = quietly(dataset, class_names=["dog", "cat"])
        assert by_class(probes) == {
            ("0", 0): ([[5, 5, 15, 15]], []),
            ("1", 1): ([[10, 0, 18, 4], [5, 10, 10, 15]], []),
            ("2", 1): ([[10, 0, 18, 4]], [[2, 2, 5, 5]]),
            ("3", 0): ([[5, 5, 15, 15]], [[10, 0, 18, 4]]),
            ("3", 1): ([[10, 0, 18, 4]], [[5, 5, 15, 15]]),
        }
        assert probes.exclusions == ()

    def test_numbers_of_the_wrapper_are_not_taken_for_class_indices(self, voc):
        with pytest.raises(ValueError, match=re.escape("(1: aeroplane, 2: bicycle, 3: bird, 4: boat, 5: bottle, ...)")):
            ProbeSet.from_dataset(voc(VOC_PICTURES, transforms=PLAIN))

    def test_label_map_takes_the_wrappers_numbers(self, voc):
        probes = quietly(voc(VOC_PICTURES, transforms=PLAIN), label_map={8: 0, 12: 1})
        assert probes.class_names == ("cat", "dog")
        assert sorted(by_class(probes)) == [("0", 1), ("1", 0), ("2", 0), ("3", 0), ("3", 1)]

    def test_a_picture_without_objects_is_left_out(self, voc):
        probes = quietly(voc([*VOC_PICTURES, []], transforms=PLAIN), class_names=["dog", "cat"])
        assert [e.source_id for e in probes.exclusions] == ["4"]

    def test_a_folder_with_classes_of_its_own_is_read_by_their_names(self, voc):
        own = [[("RBC", 30, 10, 50, 30), ("dog", 50, 4, 56, 10)], [("WBC", 24, 0, 40, 8)], [("dog", 1, 1, 9, 9)]]
        dataset = voc(own, transforms=SHRUNK)
        with pytest.raises(KeyError, match="RBC"):
            wrap_dataset_for_transforms_v2(dataset)[0]
        probes = quietly(voc(own, transforms=SHRUNK), class_names=["WBC", "RBC"])
        assert by_id(probes) == {"0": (1, [[5, 5, 15, 15]], [[2, 2, 5, 5]]), "1": (0, [[10, 0, 18, 4]], [])}
        assert [(e.source_id, e.reason) for e in probes.exclusions] == [("2", "no object of a known class")]

    def test_a_name_that_no_xml_has_is_an_error_that_lists_what_is_near(self, voc):
        own = [[("RBC", 30, 10, 50, 30)], [("WBC", 24, 0, 40, 8)], [("Platelets", 1, 1, 9, 9)]]
        words = "names of the annotated classes (Platelets, RBC, WBC), got Platelet (near: Platelets); for names"
        with pytest.raises(ValueError, match=re.escape(words)):
            ProbeSet.from_dataset(voc(own, transforms=PLAIN), class_names=["RBC", "WBC", "Platelet"])
        more = ["RBC", "WBC", "Platelets", "Parasite"]
        assert quietly(voc(own, transforms=PLAIN), class_names=more).counts == (1, 1, 1, 0)
        with pytest.warns(
            UserWarning,
            match=re.escape("1 annotated class that the model does not have are ignored regions (Platelets: 1)"),
        ):
            ProbeSet.from_dataset(voc(own, transforms=PLAIN), class_names=["WBC", "RBC"])

    def test_our_categories_are_those_of_torchvision(self):
        from torchvision.tv_tensors._dataset_wrapper import VOC_DETECTION_CATEGORIES

        from camdebug.probe.torchvision_sets import VOC_CATEGORIES

        assert list(VOC_CATEGORIES) == VOC_DETECTION_CATEGORIES[1:]
