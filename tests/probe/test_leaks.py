import json
import random

import datasets as hf
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset
from torchvision import datasets
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.probe.leaks import Leaks
from camdebug.sources import AnnotatedObject, Annotations, Entry
from camdebug.sources.voc import VocFolder

TENSOR = v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
ORIENTATION = 0x0112


def scene(number, *, size=(48, 64)):
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    fine = rng.integers(-20, 21, (*size, 3))
    return Image.fromarray(np.clip(np.array(coarse).astype(int) + fine, 0, 255).astype(np.uint8))


def book(numbers, *, opened=None):
    """A source in memory."""

    def picture(number):
        return lambda: (opened.append(number) if opened is not None else None, scene(number))[1]

    thing = (AnnotatedObject("cat", (8.0, 8.0, 40.0, 40.0)),)
    entries = [Entry(f"p{i}.png", picture(i), thing, size=(48, 64)) for i in numbers]
    return Annotations(entries, ("cat",), "boxes", f"a book, {len(entries)} pictures")


@pytest.fixture
def probes(recwarn):
    return ProbeSet.from_source(book(range(4)), transform=TENSOR, class_names=["cat"], per_class=20)


@pytest.fixture
def tensors():
    """A set whose origin nobody knows."""
    return ProbeSet(
        torch.stack([TENSOR(scene(i)) for i in range(4)]), [0] * 4, source_ids=[f"p{i}.png" for i in range(4)]
    )


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        value = self.rows[index]
        if isinstance(value, Exception):
            raise value
        return value() if callable(value) else value


def class_folder(root, pictures):
    """An ImageFolder's files: name to picture."""
    for name, picture in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=60) if path.suffix == ".jpg" else picture.save(path)
    return root


class TestStoredPictures:
    def test_the_same_pixels_and_nearly_the_same_are_told_apart(self, probes, tmp_path):
        changed = {"a/copy.png": scene(1), "a/encoded.jpg": scene(2), "b/mirror.png": ImageOps.mirror(scene(3))}
        class_folder(tmp_path, {**changed, "b/other.png": scene(9)})
        cropping = v2.Compose([v2.RandomCrop(8), v2.ToImage()])
        leaks = probes.leaks_into(datasets.ImageFolder(tmp_path, transform=cropping))
        assert leaks.exact == (("p1.png", "a/copy.png"),)
        assert sorted(leaks.near) == [("p2.png", "a/encoded.jpg"), ("p3.png", "b/mirror.png")]
        assert (leaks.probes, leaks.compared, leaks.unread) == (4, 4, 0)
        assert leaks
        assert str(leaks) == (
            "1 of 4 probes is trained on (p1.png: a/copy.png); 2 of 4 probes look nearly the same as a picture that "
            f"is trained on ({leaks.near[0][0]}: {leaks.near[0][1]}, {leaks.near[1][0]}: {leaks.near[1][1]}); 4 "
            "training pictures compared, by a hash of their pixels and by small grey copies; a crop of a picture is "
            "not recognised. Take them out with probes.without(leaks.found), or out of the training."
        )

    def test_none_found_is_never_called_clean(self, probes):
        leaks = probes.leaks_into(book(range(10, 20)))
        assert (leaks.exact, leaks.near, bool(leaks)) == ((), (), False)
        assert str(leaks).startswith("None of 4 probes was found among 10 training pictures, by a hash of their pixels")
        assert "clean" not in str(leaks)

    def test_sources_annotations_and_folders_are_read_by_themselves(self, probes, tmp_path):
        opened = []
        assert probes.leaks_into(book([7, 2], opened=opened)).exact == (("p2.png", "p2.png"),)
        assert opened == [7, 2]
        for folder in ("Annotations", "JPEGImages"):
            (tmp_path / folder).mkdir()
        scene(3).save(tmp_path / "JPEGImages" / "x.png")
        (tmp_path / "Annotations" / "x.xml").write_text("<annotation><filename>x.png</filename></annotation>")
        assert probes.leaks_into(VocFolder(tmp_path)).exact == (("p3.png", "JPEGImages/x.png"),)

    def test_subsets_and_parts_are_followed(self, probes, tmp_path):
        one = datasets.ImageFolder(class_folder(tmp_path / "one", {f"a/{i}.png": scene(i) for i in range(4)}))
        two = datasets.ImageFolder(class_folder(tmp_path / "two", {f"a/{i}.png": scene(10 + i) for i in range(4)}))
        both = ConcatDataset([two, Subset(one, [3, 0])])
        assert probes.leaks_into(Subset(both, [0, 1, 2, 4])).exact == (("p3.png", "a/3.png"),)

    def test_datasets_of_coco_and_voc_are_read_from_their_files(self, probes, tmp_path):
        scene(0).save(tmp_path / "0.png")
        scene(8).save(tmp_path / "8.png")
        images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (8, 0)]
        (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        coco = datasets.CocoDetection(tmp_path, tmp_path / "coco.json")
        coco.coco.imgToAnns.clear()
        assert probes.leaks_into(coco).exact == (("p0.png", "0.png"),)
        assert probes.leaks_into(datasets.wrap_dataset_for_transforms_v2(coco)).exact == (("p0.png", "0.png"),)
        root = tmp_path / "VOCdevkit" / "VOC2012"
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        scene(1).save(root / "JPEGImages" / "x.jpg", format="PNG")
        (root / "ImageSets" / "Main" / "train.txt").write_text("x\n")
        voc = datasets.VOCDetection(tmp_path)
        assert probes.leaks_into(voc).exact == (("p1.png", "VOCdevkit/VOC2012/JPEGImages/x.jpg"),)

    def test_a_table_of_hugging_face_is_read_by_its_column_of_pictures(self, probes):
        features = hf.Features({"label": hf.Value("int64"), "photo": hf.Image()})
        rows = {"label": [0, 1], "photo": [{"path": None, "bytes": _png(scene(i))} for i in (9, 2)]}
        table = hf.Dataset.from_dict(rows, features=features).with_format("torch")
        assert probes.leaks_into(table).exact == (("p2.png", "row 1"),)

    def test_a_picture_that_lies_in_its_file_is_found_upright(self, probes, tmp_path):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        (tmp_path / "a").mkdir()
        scene(2).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a" / "x.png", exif=exif)
        assert probes.leaks_into(datasets.ImageFolder(tmp_path)).exact == (("p2.png", "a/x.png"),)
        entry = Entry("x.png", tmp_path / "a" / "x.png", (AnnotatedObject("cat"),))
        source = Annotations([entry], ("cat",), None, "pictures, 1 picture")
        assert probes.leaks_into(source).exact == (("p2.png", "x.png"),)

    def test_a_damaged_file_is_counted_and_a_source_of_nothing_else_is_an_error(self, probes, tmp_path):
        class_folder(tmp_path, {"a/0.png": scene(0), "a/1.png": scene(1)})
        (tmp_path / "a" / "0.png").write_bytes(b"\x89PNG")
        leaks = probes.leaks_into(datasets.ImageFolder(tmp_path))
        assert (leaks.exact, leaks.compared, leaks.unread) == ((("p1.png", "a/1.png"),), 1, 1)
        assert "1 training picture compared, 1 more could not be read" in str(leaks)
        (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG")
        with pytest.raises(ValueError, match="train_dataset: none of its 2 pictures could be read; the first raised "):
            probes.leaks_into(datasets.ImageFolder(tmp_path))


class TestRowsOfADataset:
    def test_rows_as_the_model_receives_them_are_compared_with_the_set(self, probes, tensors):
        rows = Rows([(TENSOR(scene(i)), {"boxes": None}) for i in (8, 1)])
        for found in (probes, tensors):
            leaks = found.leaks_into(rows)
            assert (leaks.exact, leaks.near) == ((("p1.png", "dataset[1]"),), ())
            assert "as dataset[i] gave them this once; crops and augmentation may hide a picture" in str(leaks)

    @pytest.mark.parametrize(
        "row",
        [
            lambda picture: (picture, 0),
            lambda picture: {"label": 0, "image": picture},
            lambda picture: picture,
            lambda picture: [v2.functional.pil_to_tensor(picture), 0],
            lambda picture: np.array(picture).transpose(2, 0, 1),
            lambda picture: (np.array(picture), 0),
            lambda picture: torch.from_numpy(np.array(picture)),
            lambda picture: np.dstack([picture, np.full((48, 64), 7, np.uint8)]),
        ],
    )
    def test_stored_pixels_are_known_in_any_form(self, probes, row):
        assert probes.leaks_into(Rows([row(scene(5)), row(scene(3))])).exact == (("p3.png", "dataset[1]"),)

    def test_grey_pictures_without_channels_are_known_too(self):
        grey = [scene(i).convert("L") for i in range(3)]
        stored = [Entry(f"p{i}.png", lambda p=p: p, (AnnotatedObject("cat"),)) for i, p in enumerate(grey)]
        source = Annotations(stored, ("cat",), None, "a book")
        with pytest.warns(UserWarning, match="ProbeSet"):
            probes = ProbeSet.from_source(source, transform=TENSOR)
        leaks = probes.leaks_into(Rows([np.array(grey[2]), torch.from_numpy(np.array(scene(5).convert("L"))), [3]]))
        assert (leaks.exact, leaks.near, leaks.unread) == ((("p2.png", "dataset[0]"),), (), 1)

    def test_floating_pictures_with_the_channels_last_are_near(self, probes):
        leaks = probes.leaks_into(Rows([np.array(scene(i)) / np.float32(255) for i in (8, 1)]))
        assert (leaks.exact, leaks.near) == ((), (("p1.png", "dataset[1]"),))

    def test_another_lighting_is_near(self, tensors):
        leaks = tensors.leaks_into(Rows([(0.5 * TENSOR(scene(2)) - 1, 0), (TENSOR(scene(6)), 0)]))
        assert (leaks.exact, leaks.near) == ((), (("p2.png", "dataset[0]"),))

    def test_sets_of_tensors_meet_an_image_folder_by_files_and_by_rows(self, tensors, tmp_path):
        class_folder(tmp_path, {f"a/{i}.png": scene(i) for i in (1, 9)})
        leaks = tensors.leaks_into(datasets.ImageFolder(tmp_path, transform=TENSOR))
        assert leaks.exact == (("p1.png", "a/1.png"),)
        random_crop = v2.Compose([v2.ToImage(), v2.RandomCrop(8), v2.ToDtype(torch.float32, scale=True)])
        leaks = tensors.leaks_into(datasets.ImageFolder(tmp_path, transform=random_crop))
        assert (leaks.exact, leaks.near) == ((), (("p1.png", "a/1.png"),))

    def test_generators_stay_as_they_are_and_rows_come_once_in_order(self, tensors):
        reads = []

        def row(index):
            def read():
                reads.append(index)
                random.random(), np.random.rand()
                return torch.rand(3, 16, 16), 0

            return read

        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        first = tensors.leaks_into(Rows([row(i) for i in range(5)]))
        assert reads == [0, 1, 2, 3, 4]
        assert (before[0], before[1]) == (random.getstate(), np.random.get_state()[1].tolist())
        assert torch.equal(before[2], torch.get_rng_state())
        assert tensors.leaks_into(Rows([row(i) for i in range(5)])) == first

    def test_rows_that_fail_or_have_no_picture_are_counted(self, tensors):
        rows = Rows([OSError("gone"), {"text": "x"}, torch.zeros(5), (TENSOR(scene(0)), 0)])
        leaks = tensors.leaks_into(rows)
        assert (leaks.exact, leaks.compared, leaks.unread) == ((("p0.png", "dataset[3]"),), 1, 3)
        with pytest.raises(ValueError, match=r"none of its 1 pictures could be read; the first raised OSError: gone"):
            tensors.leaks_into(Rows([OSError("gone")]))

    def test_many_rows_are_compared_in_parts(self, tensors):
        rows = [(torch.rand(3, 16, 16), 0) for _ in range(700)]
        rows[650] = (TENSOR(scene(3)), 0)
        assert tensors.leaks_into(Rows(rows)).exact == (("p3.png", "dataset[650]"),)

    def test_what_has_no_rows_is_refused(self, tensors):
        class Stream(IterableDataset):
            def __iter__(self):
                yield from ()

        with pytest.raises(TypeError, match=r"train_dataset: expected a map-style .* got Stream$"):
            tensors.leaks_into(Stream())
        with pytest.raises(TypeError, match=r"got DataLoader; pass the dataset itself, not its DataLoader$"):
            tensors.leaks_into(DataLoader(Rows([1])))
        with pytest.raises(ValueError, match="train_dataset: expected at least one picture, got none"):
            tensors.leaks_into(Rows([]))


def ship(number):
    """Sky, sea and a ship, ``(1, 64, 64)``: most of any two is the same."""
    rng = np.random.default_rng(number)
    top, left = rng.uniform(28, 36), rng.uniform(0, 54)

    def within(low, high):
        return np.clip(np.minimum(np.arange(64) + 1 - low, high - np.arange(64)), 0, 1)

    picture = 0.8 - 0.5 * within(top, 64)[:, None] + 0.02 * rng.normal(size=(64, 64))
    picture *= 1 - np.outer(within(top - 5, top), within(left, left + 10))
    return torch.from_numpy(picture.astype(np.float32))[None]


class TestPicturesThatLookAlike:
    @pytest.fixture
    def ships(self):
        return ProbeSet(torch.stack([ship(i) for i in range(20)]), [0] * 20)

    def test_different_ships_are_not_accused(self, ships):
        others = Rows([ship(i) for i in range(1000, 1300)])
        leaks = ships.leaks_into(others)
        assert (leaks.exact, leaks.near, bool(leaks)) == ((), (), False)
        assert leaks.possible  # some stand at the same place
        assert "possibly" in str(leaks)
        assert len(ships.leaks_into(others, threshold=0.95).near) > 5 * len(leaks.possible)

    def test_the_same_ships_are(self, ships):
        brighter = Rows([0.7 * ship(i) + 0.2 for i in (3, 5)] + [ship(7)])
        leaks = ships.leaks_into(brighter)
        assert leaks.exact == (("7", "dataset[2]"),)
        assert {("3", "dataset[0]"), ("5", "dataset[1]")} <= {*leaks.near}


def test_the_record_says_the_same_of_one_probe_met_twice():
    leaks = Leaks((("a", "x"), ("a", "y")), (), 3, 10, 0, "by hand")
    assert str(leaks) == (
        "1 of 3 probes is trained on (a: x, a: y); 10 training pictures compared, by hand. Take them out with "
        "probes.without(leaks.found), or out of the training."
    )
    assert leaks.found == ("a",)


def _png(picture):
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
