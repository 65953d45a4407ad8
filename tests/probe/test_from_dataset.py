import inspect
import random
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.records import Exclusion
from camdebug.sources import VocFolder

BOX = [2.0, 1.0, 6.0, 5.0]


def picture(index, *, size=(8, 10)):
    return torch.full((3, *size), float(index))


def target(labels, boxes=None):
    return {"boxes": torch.tensor([BOX] * len(labels) if boxes is None else boxes), "labels": torch.tensor(labels)}


class Pictures(Dataset):
    """A user's dataset: picture i is filled with the value i; its label is i % 2 unless told otherwise."""

    def __init__(self, count=12, *, targets=None, images=None, transform=None, broken=(), error=None):
        self.count, self.targets, self.images = count, targets or {}, images or {}
        self.transform, self.broken, self.error = transform, broken, error or OSError("truncated")
        self.reads = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.reads.append(index)
        if index in self.broken:
            raise self.error
        sample = self.images.get(index, picture(index)), self.targets.get(index, target([index % 2]))
        return self.transform(*sample) if self.transform else sample


class Named(Pictures):
    classes = ("cat", "dog")


def quietly(dataset, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_dataset(dataset, **arguments)


def content(probes):
    """Index, class and boxes of each probe, in the order of the dataset."""
    rows = zip(probes.images[:, 0, 0, 0].tolist(), probes.labels.tolist(), probes.boxes, strict=True)
    return sorted((int(value), label, boxes.tolist()) for value, label, boxes in rows)


class TestSelection:
    def test_every_picture_is_taken_with_its_label_and_boxes_when_there_are_few(self):
        probes = ProbeSet.from_dataset(Named(4))
        assert content(probes) == [(0, 0, [BOX]), (1, 1, [BOX]), (2, 0, [BOX]), (3, 1, [BOX])]
        assert sorted(probes.source_ids) == ["0", "1", "2", "3"]
        assert [str(int(v)) for v in probes.images[:, 0, 0, 0]] == list(probes.source_ids)

    @pytest.mark.parametrize("per_class", [1, 3])
    def test_no_class_gets_more_than_per_class(self, per_class):
        probes = quietly(Named(40), per_class=per_class)
        assert probes.counts == (per_class, per_class)

    def test_reading_stops_when_every_class_is_full(self):
        dataset = Named(1000)
        probes = quietly(dataset, per_class=3)
        drawn, again = dataset.reads[:-4], dataset.reads[-4:]
        assert again == [int(i) for i in probes.source_ids[:4]]  # the look for randomness
        last = max(drawn.index(int(i)) for i in probes.source_ids)
        assert last == len(drawn) - 1 < 30
        assert len(set(drawn)) == len(drawn)

    def test_without_names_the_whole_dataset_must_be_read(self):
        dataset = Pictures(50)
        assert quietly(dataset, per_class=3).class_names == ("0", "1")
        assert sorted(dataset.reads[:-4]) == list(range(50))

    def test_reading_stops_when_every_class_of_the_label_map_is_full(self):
        dataset = Pictures(1000)
        probes = quietly(dataset, per_class=3, label_map={1: 2}, class_names=["a", "b", "c"])
        assert probes.counts == (0, 0, 3)
        assert len(dataset.reads) < 40

    def test_the_seed_decides_alone(self):
        first = quietly(Named(60), per_class=5, seed=1)
        random.seed(9), np.random.seed(9), torch.manual_seed(9)
        same = quietly(Named(60), per_class=5, seed=1)
        other = quietly(Named(60), per_class=5, seed=2)
        assert same.source_ids == first.source_ids
        assert same.fingerprint == first.fingerprint
        assert set(other.source_ids) != set(first.source_ids)
        assert other.fingerprint != first.fingerprint

    def test_a_picture_that_cannot_serve_gives_its_place_to_another(self):
        images = {i: torch.full((3, 8, 10), torch.nan) for i in range(0, 20, 4)}
        with pytest.warns(UserWarning, match="picture not finite"):
            probes = ProbeSet.from_dataset(Named(40, images=images), per_class=15)
        assert probes.counts == (15, 15)

    def test_samples_may_come_from_one_buffer_that_is_used_again(self):
        buffer = torch.zeros(3, 8, 10)
        dataset = Named(4, transform=lambda image, target: (buffer.copy_(image), target))
        assert [row[0] for row in content(ProbeSet.from_dataset(dataset))] == [0, 1, 2, 3]

    def test_pictures_of_a_tv_tensor_become_plain(self):
        dataset = Named(4, transform=lambda image, target: (tv_tensors.Image(image), target))
        probes = ProbeSet.from_dataset(dataset)
        assert type(probes.images) is torch.Tensor
        assert all(type(b) is torch.Tensor for b in probes.boxes)

    def test_a_list_of_samples_is_a_dataset(self):
        samples = [(picture(i), target([i % 2])) for i in range(4)]
        assert content(ProbeSet.from_dataset(samples)) == content(ProbeSet.from_dataset(Named(4)))

    def test_mean_and_std_are_passed_on(self):
        probes = ProbeSet.from_dataset(Named(4), mean=(0.5,) * 3, std=(2,) * 3)
        assert (probes.mean, probes.std) == ((0.5,) * 3, (2.0,) * 3)


def all_states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def shaken(image, target):
    return image + random.random() + np.random.rand() + torch.rand(()), target


class TestRandomness:
    def test_reading_the_dataset_by_hand_moves_all_generators(self):
        before = all_states()
        Named(4, transform=shaken)[0]
        assert all(a != b for a, b in zip(before, all_states(), strict=True))

    def test_construction_moves_none(self):
        before = all_states()
        quietly(Named(8, transform=shaken))
        assert all_states() == before

    def test_a_random_transform_is_frozen_by_the_seed_and_said_once(self):
        with pytest.warns(UserWarning, match="transform is random. Each probe was drawn once with seed 3") as caught:
            first = ProbeSet.from_dataset(Named(8, transform=shaken), seed=3)
        assert len(caught) == 1
        torch.manual_seed(77)
        assert quietly(Named(8, transform=shaken), seed=3).fingerprint == first.fingerprint
        assert quietly(Named(8, transform=shaken), seed=4).fingerprint != first.fingerprint

    def test_a_transform_that_seldom_acts_is_found_too(self):
        flip = v2.RandomHorizontalFlip(0.5)
        images = {i: torch.arange(240.0).reshape(3, 8, 10) for i in range(8)}
        found = 0
        for seed in range(8):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                ProbeSet.from_dataset(Named(8, images=images, transform=lambda i, t: (flip(i), t)), seed=seed)
            found += any("random" in str(w.message) for w in caught)
        assert found >= 6

    def test_a_fixed_transform_is_not_called_random(self, recwarn):
        ProbeSet.from_dataset(Named(8))
        assert len(recwarn) == 0


class TestBoxes:
    @pytest.mark.parametrize(
        ("style", "values"),
        [("XYXY", [2, 1, 6, 4]), ("XYWH", [2, 1, 4, 3]), ("CXCYWH", [4, 2.5, 4, 3])],
    )
    def test_formats_of_bounding_boxes_are_converted(self, style, values):
        boxes = tv_tensors.BoundingBoxes([values], format=style, canvas_size=(8, 10), dtype=torch.float32)
        probes = ProbeSet.from_dataset([(picture(0), {"boxes": boxes, "labels": [0]})])
        assert probes.boxes[0].tolist() == [[2, 1, 6, 4]]

    def test_whole_number_centres_are_not_rounded(self):
        boxes = tv_tensors.BoundingBoxes(torch.tensor([[4, 3, 3, 3]]), format="CXCYWH", canvas_size=(8, 10))
        probes = quietly([(picture(0), {"boxes": boxes, "labels": [0]})])
        assert probes.boxes[0].tolist() == [[2.5, 1.5, 5.5, 4.5]]

    def test_boxes_follow_resize_crop_and_flip(self):
        transform = v2.Compose([v2.Resize((16, 20)), v2.CenterCrop((16, 16)), v2.RandomHorizontalFlip(1.0)])
        boxes = tv_tensors.BoundingBoxes([[1, 1, 4, 3]], format="XYWH", canvas_size=(8, 10))
        dataset = Named(1, targets={0: {"boxes": boxes, "labels": torch.tensor([0])}}, transform=transform)
        # xyxy 1 1 5 4, doubled 2 2 10 8, two columns cut 0 2 8 8, mirrored in 16 columns
        assert quietly(dataset).boxes[0].tolist() == [[8, 2, 16, 8]]

    @pytest.mark.parametrize(("dtype", "said"), [(torch.int64, 1), (torch.float32, 0)])
    def test_boxes_that_the_transform_may_have_cut_to_whole_pixels_are_said(self, dtype, said, recwarn):
        boxes = tv_tensors.BoundingBoxes([[1, 1, 4, 3]], format="XYXY", canvas_size=(8, 10), dtype=dtype)
        dataset = Named(2, targets={i: {"boxes": boxes, "labels": torch.tensor([i])} for i in range(2)})
        dataset.transform = v2.Resize((4, 5))
        found = ProbeSet.from_dataset(dataset).boxes[0].tolist()
        assert found == ([[0, 0, 2, 1]] if said else [[0.5, 0.5, 2, 1.5]])
        assert sum("cuts to whole pixels; make them float before it" in str(w.message) for w in recwarn) == said
        assert len(recwarn) == said

    def test_boxes_that_did_not_follow_the_picture_are_an_error(self):
        boxes = tv_tensors.BoundingBoxes([[2, 1, 4, 3]], format="XYXY", canvas_size=(8, 10))
        dataset = Named(1, targets={0: {"boxes": boxes, "labels": torch.tensor([0])}})
        dataset.transform = lambda image, target: (v2.functional.resize(image, [4, 5]), target)
        with pytest.raises(
            ValueError, match=r"boxes of dataset\[0\] are for a picture of 8x10, but the picture is 4x5"
        ):
            ProbeSet.from_dataset(dataset)

    @pytest.mark.parametrize(
        ("box", "words"),
        [
            ([0.1, 0.2, 0.5, 0.6], "dataset: boxes: all coordinates lie in 0 to 1"),
            ([20.0, 10.0, 60.0, 50.0], "dataset: boxes: 4 of 4 boxes reach beyond the 8x10 picture"),
        ],
    )
    def test_plain_boxes_on_another_scale_are_an_error(self, box, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            ProbeSet.from_dataset(Named(4, targets={i: target([0], [box]) for i in range(4)}))

    @pytest.mark.parametrize(("upright", "refused"), [(2, True), (3, False)])
    def test_boxes_of_width_and_height_are_an_error_that_says_how_to_convert_them(self, upright, refused):
        wide = {i: target([0], [BOX if i < upright else [6, 5, 2, 3]]) for i in range(6)}
        if refused:
            words = "dataset: boxes: 4 of 6 end before they begin; expected x1, y1, x2, y2 in pixels, these look like x"
            with pytest.raises(ValueError, match=re.escape(words)):
                ProbeSet.from_dataset(Named(6, targets=wide))
        else:
            assert len(quietly(Named(6, targets=wide))) == 3

    def test_lists_and_arrays_and_no_boxes_at_all(self):
        read_only = np.array([BOX], dtype=np.float32)
        read_only.flags.writeable = False
        samples = [
            (picture(0), {"boxes": [BOX, [0, 0, 3, 3]], "labels": [0, 0]}),
            (picture(1), {"boxes": read_only, "labels": np.array([0])}),
            (picture(2), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}),
            (picture(3), {}),
        ]
        with pytest.warns(UserWarning, match=re.escape("1 x no object of a known class (2)")) as caught:
            probes = ProbeSet.from_dataset(samples)
        assert "1 x no 'boxes' in the target, which has nothing (3)" in str(caught[0].message)
        assert content(probes) == [(0, 0, [BOX, [0, 0, 3, 3]]), (1, 0, [BOX])]


def rows_of(probes):
    return zip(probes.source_ids, probes.labels.tolist(), probes.boxes, probes.ignore, strict=True)


MIXED = {0: target([0, 1, 0], [BOX, [5, 4, 9, 8], [0, 0, 2, 2]])}


class TestSeveralClasses:
    def test_a_picture_of_several_classes_is_a_probe_of_each_that_is_short_and_the_others_are_ignored(self):
        probes = ProbeSet.from_dataset(Named(5, targets=MIXED))
        rows = {key: (k, b.tolist(), i.tolist()) for key, k, b, i in rows_of(probes) if key.startswith("0")}
        cat, dog = [BOX, [0, 0, 2, 2]], [[5, 4, 9, 8]]
        first, second = ((0, cat, dog), (1, dog, cat)) if rows["0"][0] == 0 else ((1, dog, cat), (0, cat, dog))
        assert rows == {"0": first, f"0:{probes.class_names[second[0]]}": second}
        assert probes.source_ids[-1] == f"0:{probes.class_names[second[0]]}"
        assert sorted(row[0] for row in content(probes)) == [0, 0, 1, 2, 3, 4]
        assert probes.pictures.tolist()[-1] == probes.source_ids.index("0")

    @pytest.mark.parametrize("seed", range(8))
    def test_a_picture_stands_for_one_class_where_that_is_enough(self, seed):
        targets = {i: target([0, 1]) if i < 4 else target([0]) for i in range(8)}
        probes = quietly(Named(8, targets=targets), per_class=4, seed=seed)
        # all four with a dog are needed for dogs, so the four of cats alone are needed for cats
        assert content(probes) == [(i, 1, [BOX]) for i in range(4)] + [(i, 0, [BOX]) for i in range(4, 8)]
        assert sorted(probes.source_ids) == [str(i) for i in range(8)]

    @pytest.mark.parametrize("seed", range(4))
    def test_it_stands_for_a_second_class_only_while_that_is_short(self, seed):
        targets = {i: target([0, 1], [BOX, [0, 0, 2, 2]]) for i in range(6)}
        probes = quietly(Named(6, targets=targets), per_class=4, seed=seed)
        assert probes.counts == (4, 4)
        assert sum(":" in key for key in probes.source_ids) == 2
        assert len(set(probes.source_ids)) == 8
        assert len(set(probes.pictures.tolist())) == 6

    def test_of_a_picture_of_several_classes_what_cannot_be_used_is_named_by_its_class(self):
        probes = quietly(Named(3, targets={0: target([0, 1], [BOX, [4, 4, 2, 6]])}))
        assert [(e.source_id, e.reason) for e in probes.exclusions] == [("0:dog", "box inverted")]
        assert [row[:2] for row in content(probes)] == [(0, 0), (1, 1), (2, 0)]

    def test_crowds_are_ignored_and_never_a_class_of_their_own(self):
        sample = {**target([0, 0, 1], [BOX, [0, 0, 2, 2], [5, 4, 9, 8]]), "iscrowd": [0, 1, 1]}
        probes = quietly(Named(1, targets={0: sample}))
        assert content(probes) == [(0, 0, [BOX])]
        assert probes.ignore[0].tolist() == [[0, 0, 2, 2], [5, 4, 9, 8]]

    def test_crowds_that_a_transform_no_longer_lets_tell_apart_leave_the_picture_out(self):
        sample = {**target([0, 0]), "iscrowd": [0, 1, 0]}
        probes = quietly(Named(3, targets={0: sample, 2: {**target([0]), "iscrowd": [0, 0]}}))
        assert [e.source_id for e in probes.exclusions] == ["0"]
        assert "iscrowd" in probes.exclusions[0].reason

    def test_label_says_which_class_counts_and_the_others_are_ignored_regions(self):
        probes = quietly(Named(1, targets=MIXED), label=lambda t: t["labels"][1])
        assert content(probes) == [(0, 1, [[5, 4, 9, 8]])]
        assert probes.ignore[0].tolist() == [BOX, [0, 0, 2, 2]]

    def test_label_map_renumbers_and_what_it_does_not_know_is_ignored(self):
        probes = quietly(Named(1, targets=MIXED), label_map={0: 1}, class_names=["none", "cat"])
        assert content(probes) == [(0, 1, [BOX, [0, 0, 2, 2]])]
        assert probes.ignore[0].tolist() == [[5, 4, 9, 8]]

    def test_label_map_can_join_classes(self):
        probes = ProbeSet.from_dataset(Named(1, targets=MIXED), label_map={0: 0, 1: 0})
        assert (len(probes.boxes[0]), len(probes.ignore[0]), probes.class_names) == (3, 0, ("0",))

    @pytest.mark.parametrize(
        ("label_map", "names"),
        [
            ({1: 1, 0: 0}, ("cat", "dog")),
            ({0: 1, 1: 0}, ("0", "1")),
            ({0: 0}, ("0",)),
            ({0: 0, 1: 1, 2: 2}, ("0", "1", "2")),
        ],
    )
    def test_names_of_the_dataset_hold_under_a_map_that_leaves_every_label(self, label_map, names):
        assert quietly(Named(4), label_map=label_map).class_names == names
        assert quietly(Named(4), label_map=label_map, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")

    def test_classes_that_are_no_names_do_not_disturb_a_map(self):
        dataset = Pictures(4)
        dataset.classes = [0, 1]
        assert quietly(dataset, label_map={0: 0, 1: 1}).class_names == ("0", "1")

    def test_label_gives_the_class_where_boxes_have_no_labels_whatever_the_map(self):
        sample = (picture(0), {"boxes": torch.tensor([BOX]), "species": 1})
        for label_map in (None, {5: 0, 6: 1}):
            probes = quietly([sample], label=lambda t: t["species"], label_map=label_map)
            assert content(probes) == [(0, 1, [BOX])]

    def test_label_may_pass_a_picture_over(self):
        probes = quietly(Named(6), label=lambda t: None if t["labels"][0] == 1 else 0)
        assert probes.counts == (3,)
        assert {e.reason for e in probes.exclusions} == {"label= gave None"}

    def test_an_object_that_the_crop_left_out_is_not_a_second_class(self):
        cropped = {0: target([0, 1], [BOX, [0, 3, 0, 7]])}
        probes = quietly(Named(1, targets=cropped))
        assert content(probes) == [(0, 0, [BOX])]

    def test_no_box_with_the_pictures_label_is_an_exclusion(self):
        probes = quietly(Named(4), label=lambda t: 0)
        assert {(e.source_id, e.reason) for e in probes.exclusions} == {
            ("1", "no box with the label of the picture"),
            ("3", "no box with the label of the picture"),
        }


class TestExclusions:
    def test_everything_is_in_one_warning_at_the_users_line(self):
        dataset = Named(
            9,
            targets={0: target([]), 1: {}, 2: target([0], [[3, 3, 3, 5]]), 4: target([0, 0], [BOX, [3, 3, 2, 5]])},
            images={3: torch.full((3, 8, 10), torch.inf)},
            broken=[5],
            transform=None,
        )
        line = inspect.currentframe().f_lineno + 2
        with pytest.warns(UserWarning, match="left out") as caught:
            probes = ProbeSet.from_dataset(dataset, class_names=["cat", "dog", "bird"])
        assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
        message = str(caught[0].message)
        assert message.startswith("ProbeSet left out 5 of 9 pictures: ")
        for part in (
            "1 x no object of a known class (0)",
            "1 x no 'boxes' in the target, which has nothing (1)",
            "1 x box of no area (2)",
            "1 x picture not finite (3)",
            "1 x could not be read (OSError) (5)",
            "ProbeSet dropped 1 unusable box of pictures it kept (4: box inverted)",
            "ProbeSet has no probe of 1 class (bird): it stays unmeasured.",
        ):
            assert part in message
        assert sorted(e.source_id for e in probes.exclusions) == ["0", "1", "2", "3", "5"]
        assert probes.dropped_boxes == (Exclusion("4", "box inverted"),)
        assert [row[0] for row in content(probes)] == [4, 6, 7, 8]

    def test_keyboard_interrupt_passes(self):
        with pytest.raises(KeyboardInterrupt):
            ProbeSet.from_dataset(Named(6, broken=[3], error=KeyboardInterrupt()))

    @pytest.mark.parametrize("count", [5, 500])
    def test_a_dataset_that_fails_from_the_start_is_an_error_with_its_cause_and_soon(self, count):
        dataset = Named(count, broken=range(count))
        with pytest.raises(ValueError, match=r"dataset: none of the first \d+ pictures could be read") as caught:
            ProbeSet.from_dataset(dataset)
        assert caught.value.__cause__ is dataset.error
        assert "OSError('truncated')" in str(caught.value)
        assert len(dataset.reads) == min(count, 20)

    def test_nothing_usable_is_an_error_that_counts_the_reasons(self):
        dataset = Named(3, targets={0: target([0], [[3, 3, 3, 5]]), 1: {}, 2: {}})
        with pytest.raises(
            ValueError, match=re.escape("none of its 3 pictures can be a probe: 2 x no 'boxes'")
        ) as error:
            ProbeSet.from_dataset(dataset)
        assert "ProbeSet(images, labels)" not in str(error.value)

    def test_a_dataset_without_any_boxes_is_told_what_it_has_and_what_to_do(self):
        dataset = Named(3, targets={i: {"labels": torch.tensor([0]), "area": 3} for i in range(3)})
        with pytest.raises(ValueError, match="none of its 3 pictures") as error:
            ProbeSet.from_dataset(dataset)
        assert str(error.value).endswith(
            "3 x no 'boxes' in the target, which has 'labels', 'area'. Without boxes pass ProbeSet(images, labels)"
        )

    @pytest.mark.parametrize("key", ["bbox", "BBoxes", "box"])
    def test_boxes_under_another_key_are_hinted_at(self, key):
        dataset = Named(2, targets={i: {key: [BOX], "category_id": [0]} for i in range(2)})
        with pytest.raises(ValueError, match="none of its 2 pictures") as error:
            ProbeSet.from_dataset(dataset)
        assert f"which has '{key}', 'category_id'; give '{key}' as 'boxes', x1, y1, x2, y2 in pixels" in str(
            error.value
        )
        assert "torchvision.ops.box_convert" in str(error.value)

    def test_fewer_probes_a_class_than_can_be_judged_are_said_in_the_same_warning(self):
        with pytest.warns(
            UserWarning, match="per_class is 19, and fewer than 20 probes of a class cannot be"
        ) as caught:
            ProbeSet.from_dataset(Named(4, targets={1: {}}), per_class=19)
        assert len(caught) == 1
        assert "left out 1 of 4" in str(caught[0].message)
        ProbeSet.from_dataset(Named(4), per_class=20)  # warnings are errors here


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(picture(0), target([0]))])

    def __len__(self):
        return 1


class TestErrors:
    @pytest.mark.parametrize(
        ("dataset", "error", "words"),
        [
            (DataLoader(Pictures(4)), TypeError, "got DataLoader; pass the dataset itself, not its DataLoader"),
            (Stream(), TypeError, "expected a map-style dataset (with __len__ and __getitem__), got Stream"),
            (iter([]), TypeError, "expected a map-style dataset"),
            ("a/folder", TypeError, "got str; ProbeSet.from_source(...) takes that"),
            (VocFolder("."), TypeError, "got VocFolder; ProbeSet.from_source(...) takes that"),
            (
                LightningDataModule(),
                TypeError,
                "got LightningDataModule; ProbeSet.from_datamodule(...) takes that",
            ),
            ([], ValueError, "dataset: expected at least one picture, got an empty dataset"),
            ([picture(0)], TypeError, "dataset: expected (image, target) from dataset[0], got Tensor"),
            ([(picture(0), "cat")], TypeError, "from dataset[0], got str; a class index alone, or a mask of class ids"),
            ([(Image.new("RGB", (10, 8)), target([0]))], TypeError, "got Image; add transforms.v2.ToImage()"),
            ([(picture(0).byte(), target([0]))], TypeError, "dataset: dataset[0]: expected floating pictures"),
            ([(picture(0)[0], target([0]))], ValueError, "expected a picture (C, H, W) from dataset[0]"),
            ([(picture(0), target([0], [BOX, BOX]))], ValueError, "dataset[0] has 2 boxes but 1 labels"),
            ([(picture(0), target([0.5]))], TypeError, "expected whole numbers as labels of dataset[0]"),
            ([(picture(0), {"boxes": [BOX], "labels": ["cat"]})], TypeError, "expected whole numbers as labels"),
            ([(picture(0), {"boxes": [BOX]})], TypeError, "has no 'labels'; pass label="),
            ([(picture(0), {"boxes": torch.ones(4, 3), "labels": [0] * 3})], ValueError, "got a shape (4, 3)"),
            ([(picture(0), {"boxes": [["a"]], "labels": [0]})], TypeError, "expected (k, 4) boxes from dataset[0]"),
            ([(picture(0), target([-1]))], ValueError, "expected a class index (0 or more), got -1 as label of"),
        ],
    )
    def test_a_dataset_of_another_kind(self, dataset, error, words):
        with pytest.raises(error, match=re.escape(words)):
            ProbeSet.from_dataset(dataset)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"per_class": 0}, ValueError, "per_class: expected a whole number of at least 1, got 0"),
            ({"per_class": 2.5}, ValueError, "per_class: expected a whole number of at least 1, got 2.5"),
            ({"seed": -1}, ValueError, "seed: expected a whole number of at least 0, got -1"),
            ({"class_names": "ab"}, TypeError, "class_names: expected a sequence of strings"),
            (
                {"class_names": ["a"]},
                ValueError,
                "expected a class index (0 to 0, one of the 1 classes), got 1 as label",
            ),
            (
                {"label": lambda t: 2, "class_names": ["a", "b"]},
                ValueError,
                "one of the 2 classes), got 2 as label= of dataset[",
            ),
            ({"label": lambda t: "cat"}, TypeError, "label: expected a class index or None for dataset["),
            (
                {"label": "labels"},
                TypeError,
                "label: expected a callable that takes a target and gives a class index, got",
            ),
            ({"label_map": {}}, TypeError, "label_map: expected {annotation label: class index}, got {}"),
            ({"label_map": [0, 1]}, TypeError, "label_map: expected {annotation label: class index}"),
            ({"label_map": {"cat": 0}}, TypeError, "label_map: expected whole numbers"),
            (
                {"label_map": {0: -1}},
                ValueError,
                "label_map: expected class indices 0 to 99999 (without class_names), got -1",
            ),
            (
                {"label_map": {0: 10**9}},
                ValueError,
                "expected class indices 0 to 99999 (without class_names), got 1000",
            ),
            ({"label_map": {0: 2}, "class_names": ["a", "b"]}, ValueError, "class indices 0 to 1, got 2"),
        ],
    )
    def test_a_wrong_argument(self, arguments, error, words):
        with pytest.raises(error, match=re.escape(words)):
            ProbeSet.from_dataset(Named(4), **arguments)

    @pytest.mark.parametrize("classes", [3, [0, 1], {"cat": 0}])
    def test_classes_of_the_dataset_that_are_no_names(self, classes):
        dataset = Pictures(4)
        dataset.classes = classes
        with pytest.raises(TypeError, match=re.escape("dataset.classes (pass class_names= instead)")):
            ProbeSet.from_dataset(dataset)
        assert ProbeSet.from_dataset(dataset, class_names=["a", "b"]).class_names == ("a", "b")

    def test_pictures_of_different_sizes_are_an_error_that_names_two_and_reads_no_further(self):
        dataset = Named(100, images={i: picture(i, size=(9, 10)) for i in range(0, 100, 2)})
        with pytest.raises(ValueError, match=r"dataset\[\d+\] is \(3, \d, 10\).* and dataset\[\d+\] is \(3, \d, 10\)"):
            ProbeSet.from_dataset(dataset)
        assert len(dataset.reads) < 20
