"""Datasets of pictures with a class alone: no more of them is read than is needed, and names settle the numbers."""

import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision import transforms as v1
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.background.pairing import pair
from camdebug.probe.classes import model_classes, near_matches
from camdebug.probe.hints import Hints
from camdebug.probe.lenders import lendable
from camdebug.probe.places import Places
from camdebug.probe.reading import Sample

TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def folder(tmp_path):
    """Folders of seven cats, five dogs and two eels; the grey value of each tells it apart."""
    for number, (name, count) in enumerate({"cat": 7, "dog": 5, "eel": 2}.items()):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (12, 10), (20 * number + i,) * 3).save(tmp_path / name / f"{i}.png")
    return tmp_path


class Counted(ImageFolder):
    """A folder that notes what is opened."""

    def __init__(self, root, **given):
        self.opened = []
        super().__init__(str(root), **given)
        self.loader = self.load

    def load(self, path):
        self.opened.append(path)
        return Image.open(path).convert("RGB")


def quietly(dataset, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_dataset(dataset, **arguments)


def values(probes):
    """Grey value and class of each probe."""
    return sorted(zip((probes.images[:, 0, 0, 0] * 255).round().int().tolist(), probes.labels.tolist(), strict=True))


class TestFolder:
    def test_every_picture_with_its_class_and_the_folders_names(self, folder):
        probes = ProbeSet.from_dataset(ImageFolder(str(folder), TO_TENSOR))
        expected = [(i, 0) for i in range(7)] + [(20 + i, 1) for i in range(5)] + [(40, 2), (41, 2)]
        assert values(probes) == expected
        assert probes.class_names == ("cat", "dog", "eel")
        assert not probes.annotated
        assert probes.masks is None
        assert all(boxes.shape == (0, 4) for boxes in probes.boxes)

    def test_only_pictures_that_become_probes_are_opened(self, folder):
        dataset = Counted(folder, transform=TO_TENSOR)
        probes = quietly(dataset, per_class=3)
        assert probes.counts == (3, 3, 2)
        drawn, again = dataset.opened[:8], dataset.opened[8:]
        assert sorted(drawn) == sorted(dataset.samples[int(i)][0] for i in probes.source_ids)
        assert again == [dataset.samples[int(i)][0] for i in probes.source_ids[:4]]  # the look for randomness

    def test_without_the_list_of_classes_all_pictures_are_opened_and_the_same_are_drawn(self, folder):
        counted, plain = Counted(folder, transform=TO_TENSOR), Counted(folder, transform=TO_TENSOR)

        class Bare(Dataset):
            classes = tuple(plain.classes)

            def __len__(self):
                return len(plain)

            def __getitem__(self, index):
                return plain[index]

        known, unknown = quietly(counted, per_class=3), quietly(Bare(), per_class=3)
        assert known.fingerprint == unknown.fingerprint
        assert known.source_ids == unknown.source_ids
        assert len(plain.opened) == 14 + 4  # the eels are never enough
        assert len(counted.opened) == 8 + 4

    def test_parts_and_wholes_know_their_classes_too(self, folder):
        dataset = Counted(folder, transform=TO_TENSOR)
        joined = ConcatDataset([Subset(dataset, [0, 7, 8]), Subset(dataset, [12, 1, 2])])
        probes = quietly(joined, per_class=1)
        assert probes.counts == (1, 1, 1)
        assert len(dataset.opened) == 3 + 3

    def test_transforms_of_the_first_version_will_do(self, folder):
        transform = v1.Compose([v1.Resize((6, 6)), v1.ToTensor()])
        probes = quietly(ImageFolder(str(folder), transform), per_class=2)
        assert probes.images.shape == (6, 3, 6, 6)

    def test_pictures_that_are_no_tensors_are_an_error_that_says_what_to_add(self, folder):
        with pytest.raises(TypeError, match=re.escape("got Image; add transforms.v2.ToImage()")):
            ProbeSet.from_dataset(ImageFolder(str(folder)))

    def test_a_broken_file_gives_its_place_to_another(self, folder):
        for i in (0, 1, 2):
            (folder / "cat" / f"{i}.png").write_bytes(b"none")
        probes = quietly(ImageFolder(str(folder), TO_TENSOR), per_class=4)
        assert [value for value, label in values(probes) if label == 0] == [3, 4, 5, 6]
        assert {e.source_id for e in probes.exclusions} <= {"0", "1", "2"}

    def test_cifar_knows_its_classes_and_names(self, tmp_path):
        dataset = CIFAR10.__new__(CIFAR10)
        dataset.data = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
        dataset.targets = [i % 4 for i in range(40)]
        dataset.classes, dataset.class_to_idx = list("abcd"), {name: k for k, name in enumerate("abcd")}
        dataset.transform, dataset.target_transform = TO_TENSOR, None
        probes = quietly(dataset, per_class=5)
        assert probes.class_names == ("a", "b", "c", "d")
        assert probes.counts == (5, 5, 5, 5)
        assert all(value % 4 == label for value, label in values(probes))


class TestNames:
    def test_names_in_another_order_renumber_the_folders(self, folder):
        dataset = ImageFolder(str(folder), TO_TENSOR)
        probes = quietly(dataset, class_names=["eel", "dog", "cat"])
        assert probes.counts == (2, 5, 7)
        same = quietly(dataset, class_to_idx={"cat": 2, "eel": 0, "dog": 1})
        assert same.fingerprint == probes.fingerprint

    def test_folders_that_the_model_does_not_know_are_not_opened(self, folder):
        dataset = Counted(folder, transform=TO_TENSOR)
        probes = quietly(dataset, class_names=["dog"])
        assert (probes.counts, probes.class_names) == ((5,), ("dog",))
        assert len(dataset.opened) == 5 + 4

    def test_a_model_may_know_more_classes_than_there_are_folders(self, folder):
        dataset = ImageFolder(str(folder), TO_TENSOR)
        with pytest.warns(UserWarning, match=re.escape("ProbeSet has no probe of 1 class (ape)")):
            probes = ProbeSet.from_dataset(dataset, class_names=["ape", "cat", "dog", "eel"])
        assert probes.counts == (0, 7, 5, 2)

    def test_an_unknown_name_is_an_error_that_lists_what_is_near(self, folder):
        dataset = ImageFolder(str(folder), TO_TENSOR)
        with pytest.raises(ValueError, match=re.escape("(0: cat, 1: dog, 2: eel), got Cats (near: cat), zebra; for")):
            ProbeSet.from_dataset(dataset, class_names=["Cats", "dog", "zebra"])

    def test_names_of_ones_own_go_with_a_label_map(self, folder):
        probes = quietly(ImageFolder(str(folder), TO_TENSOR), class_names=["Tier"], label_map={0: 0, 1: 0})
        assert (probes.counts, probes.class_names) == ((12,), ("Tier",))

    def test_a_target_transform_makes_the_folders_numbers_mean_something_else(self, folder):
        dataset = Counted(folder, transform=TO_TENSOR, target_transform=lambda k: 2 - k)
        probes = quietly(dataset, class_names=["EEL", "DOG", "CAT"], per_class=3)
        assert probes.counts == (2, 3, 3)
        assert all(value // 20 == 2 - label for value, label in values(probes))

    @pytest.mark.parametrize(
        ("given", "error", "words"),
        [
            ({"class_names": ["a"], "class_to_idx": {"a": 0}}, ValueError, "expected one of them, got both"),
            ({"class_to_idx": ["a"]}, TypeError, "class_to_idx: expected {class name: class index}, got ['a']"),
            ({"class_to_idx": {}}, TypeError, "class_to_idx: expected {class name: class index}, got {}"),
            ({"class_to_idx": {"a": "0"}}, TypeError, "class_to_idx: expected whole numbers as indices"),
            ({"class_to_idx": {"a": 0, "b": 2}}, ValueError, "expected each index of 0 to 1 once, got [0, 2]"),
            ({"class_to_idx": {"a": 0, "b": 0}}, ValueError, "expected each index of 0 to 1 once, got [0, 0]"),
            ({"class_to_idx": {1: 0}}, TypeError, "class_to_idx: expected a sequence of strings"),
        ],
    )
    def test_a_wrong_argument(self, folder, given, error, words):
        with pytest.raises(error, match=re.escape(words)):
            ProbeSet.from_dataset(ImageFolder(str(folder), TO_TENSOR), **given)

    def test_names_of_both_arguments_are_the_same(self):
        assert model_classes(["b", "a"], None) == model_classes(None, {"a": 1, "b": 0}) == ("b", "a")
        assert model_classes(None, None) is None

    @pytest.mark.parametrize(
        ("name", "known", "text"),
        [
            ("Dog", ["cat", "dog"], " (near: dog)"),
            ("tooth-brush", ["toothbrush", "brush"], " (near: toothbrush, brush)"),
            ("zebra", ["cat", "dog"], ""),
            ("cat", [], ""),
        ],
    )
    def test_near_matches(self, name, known, text):
        assert near_matches(name, known) == text


def test_a_list_of_classes_that_is_wrong_is_not_believed():
    class Liar(Dataset):
        classes = ("cat", "dog")
        targets = [0] * 12

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return torch.full((3, 4, 4), float(index)), index % 2

    probes = quietly(Liar(), per_class=4)
    assert probes.counts == (4, 4)
    assert all(int(image[0, 0, 0]) % 2 == label for image, label in zip(probes.images, probes.labels, strict=True))


class Listed(Dataset):
    """Pictures of the classes 0, 1, 2 in turn, in boxes or alone, with what else the dataset has."""

    def __init__(self, *, in_boxes=False, **attributes):
        vars(self).update(attributes)
        self.in_boxes = in_boxes

    def __len__(self):
        return 30

    def __getitem__(self, index):
        target = {**BOXED, "labels": [index % 3]} if self.in_boxes else index % 3
        return torch.full((3, 4, 4), float(index)), target


@pytest.mark.parametrize("in_boxes", [True, False])
@pytest.mark.parametrize(
    "attributes",
    [
        {"labels": [7] * 30},
        {"labels": [9 if i % 3 == 2 else i % 3 for i in range(30)]},
        {"targets": [10 * (i % 3) for i in range(30)], "target_transform": lambda k: k // 10},
        {"targets": [i % 2 for i in range(30)], "target_transform": lambda k: k},
    ],
)
def test_a_list_that_means_something_else_keeps_no_class_from_its_probes(attributes, in_boxes):
    label_map = {0: 1, 1: 0, 2: 2}
    probes = quietly(Listed(in_boxes=in_boxes, **attributes), label_map=label_map, per_class=10)
    assert probes.counts == (10, 10, 10)
    assert all(
        label_map[int(v) % 3] == k for v, k in zip(probes.images[:, 0, 0, 0], probes.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize(("kind", "label", "agree"), [(None, 0, True), (None, 1, False), ("boxes", 0, False)])
def test_a_class_that_was_foretold_is_that_of_a_picture_with_a_class_alone(kind, label, agree):
    nothing = torch.zeros(0, 4)
    sample = Sample(torch.zeros(3, 4, 4), label, nothing, nothing, kind=kind)
    assert Hints([frozenset([0])], of_objects=False).agree(0, [sample]) is agree


def test_parts_of_which_one_names_its_labels_need_a_map():
    both = ConcatDataset([Listed(class_to_idx={"a": 0, "b": 1, "c": 2}), Listed()])
    with pytest.raises(ValueError, match=r"expected parts with the same categories.*; pass label_map="):
        ProbeSet.from_dataset(both, class_names=["a", "b", "c"])
    assert quietly(both, label_map={0: 2, 1: 1, 2: 0}, per_class=4).class_names == ("0", "1", "2")


@pytest.mark.parametrize("changed", ["target_transform", "label"])
def test_names_of_the_folders_are_not_those_of_changed_labels(folder, changed):
    merge = {"target_transform": None, "label": None} | {changed: lambda k: int(k > 0)}
    dataset = ImageFolder(str(folder), TO_TENSOR, target_transform=merge["target_transform"])
    probes = quietly(dataset, label=merge["label"])
    assert (probes.class_names, probes.counts) == (("0", "1"), (7, 7))


@pytest.mark.parametrize(
    "as_target", [int, np.int64, torch.tensor, lambda k: np.array([k]), lambda k: torch.tensor([k])]
)
def test_a_class_may_be_a_number_of_any_kind(as_target):
    samples = [(torch.full((3, 4, 4), float(i)), as_target(i % 3)) for i in range(6)]
    probes = quietly(samples)
    assert probes.labels.tolist() == [int(v) % 3 for v in probes.images[:, 0, 0, 0]]


@pytest.mark.parametrize("target", [True, 1.0, "1", None, (1, 2), np.array([1, 2]), torch.tensor(1.0)])
def test_what_is_no_class_is_an_error(target):
    with pytest.raises(
        TypeError, match=re.escape(f"from dataset[0], got {type(target).__name__}; a class index alone")
    ):
        ProbeSet.from_dataset([(torch.rand(3, 4, 4), target)])


def test_label_gives_the_class_of_a_target_that_is_one():
    samples = [(torch.full((3, 4, 4), float(i)), i) for i in range(6)]
    probes = quietly(samples, label=lambda k: None if k == 5 else k // 3)
    assert sorted(zip(probes.images[:, 0, 0, 0].tolist(), probes.labels.tolist(), strict=True)) == [
        (0.0, 0),
        (1.0, 0),
        (2.0, 0),
        (3.0, 1),
        (4.0, 1),
    ]


BOXED = {"boxes": torch.tensor([[1.0, 1, 3, 3]]), "labels": [0]}
MASKED = {"masks": torch.ones(1, 4, 4), "labels": [0]}


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ((BOXED, 1), "one kind of annotation throughout"),
        ((MASKED, 1), "one kind of annotation throughout"),
        ((BOXED, MASKED), "levels of boxes and masks differ and are never pooled"),
    ],
)
def test_kinds_of_annotation_are_never_mixed(targets, words):
    samples = [(torch.rand(3, 4, 4), target) for target in targets]
    with pytest.raises(ValueError, match=words):
        ProbeSet.from_dataset(samples)
    quietly([samples[0], samples[0]])


def test_a_class_alone_is_not_what_was_asked_for():
    with pytest.raises(TypeError, match=re.escape("annotation: expected masks from dataset[0], got int")):
        ProbeSet.from_dataset([(torch.rand(3, 4, 4), 1)], annotation="masks")
    with pytest.raises(ValueError, match=re.escape('annotation: expected "boxes", "masks" or None, got \'mask\'')):
        ProbeSet.from_dataset([(torch.rand(3, 4, 4), 1)], annotation="mask")


def boxed(*labels):
    return [(torch.full((1, 4, 4), float(i)), {**BOXED, "labels": [k]}) for i, k in enumerate(labels)]


class TestBalance:
    def test_a_class_that_stays_short_of_what_can_be_judged_is_named(self):
        with pytest.warns(UserWarning, match=re.escape("fewer than 20 probes of 1 of 3 classes (b: 2): it")):
            ProbeSet.from_dataset(boxed(*[0] * 20, *[2] * 20, 1, 1), class_names=["a", "b", "c"])

    def test_a_class_whose_donors_are_too_few_is_named(self):
        with pytest.warns(UserWarning, match="Backgrounds of `a` cannot be tested: fewer than 20 pictures") as w:
            ProbeSet.from_dataset(boxed(*[0] * 20, *[1] * 19), class_names=["a", "b"])
        assert "(b: 19): it cannot be judged" in str(w[0].message)
        assert len(w) == 1

    def test_pictures_of_both_classes_lend_to_neither(self):
        both = [
            (torch.full((1, 4, 4), float(i)), {"boxes": BOXED["boxes"].expand(2, 4), "labels": [0, 1]})
            for i in range(45)
        ]
        with pytest.warns(UserWarning, match="Backgrounds of `a`, `b` cannot be tested: fewer than 20"):
            probes = ProbeSet.from_dataset(both, class_names=["a", "b"])
        assert probes.counts == (40, 40)
        assert lendable(probes.labels.tolist(), probes.pictures.tolist()) == {0: 5, 1: 5}

    def test_what_can_be_lent_is_what_the_pairing_finds(self):
        rng = np.random.default_rng(2)
        for _ in range(20):
            pictures = np.sort(rng.integers(0, 30, 40))
            labels = np.concatenate(
                [rng.permutation(3)[:n] for n in np.unique(pictures, return_counts=True)[1].clip(max=3)]
            )
            pictures = np.concatenate(
                [[i] * min(n, 3) for i, n in zip(*np.unique(pictures, return_counts=True), strict=True)]
            )
            given = torch.from_numpy(labels), torch.ones(len(labels), dtype=torch.bool)
            found = pair(*given, seed=0, draw=0, pictures=torch.from_numpy(pictures))
            lent = lendable(labels.tolist(), pictures.tolist())
            for k in range(3):
                pairs = int((torch.from_numpy(labels)[found.recipients] == k).sum())
                own = len({p for p, label in zip(pictures, labels, strict=True) if label == k})
                assert pairs == (min(own, lent[k]) if min(own, lent[k]) > 1 else 0)

    def test_names_are_shown_in_one_line(self):
        with pytest.warns(UserWarning, match=re.escape("(b [31mc: 2): it cannot be judged")):
            ProbeSet.from_dataset(boxed(*[0] * 20, *[2] * 20, 1, 1), class_names=["a", "b\n\x1b[31mc", "d"])

    def test_enough_of_both_is_not_worth_a_word(self):
        ProbeSet.from_dataset(boxed(*[0] * 20, *[1] * 20), class_names=["a", "b"])  # warnings are errors here


def best_filling(pictures, per_class):
    """Slow oracle: the most places that any choice of one class a picture fills."""
    if not pictures:
        return 0
    first, rest = pictures[0], pictures[1:]
    ways = [best_filling(rest, per_class)]
    for k in first:
        if per_class[k]:
            fewer = tuple(n - (j == k) for j, n in enumerate(per_class))
            ways.append(1 + best_filling(rest, fewer))
    return max(ways)


@pytest.mark.parametrize("seed", range(25))
def test_no_other_choice_of_classes_fills_more_places(seed):
    rng = np.random.default_rng(seed)
    per_class = int(rng.integers(1, 3))
    pictures = [tuple(rng.permutation(3)[: rng.integers(1, 4)].tolist()) for _ in range(6)]
    places = Places(per_class)
    for number, classes in enumerate(pictures):
        opened, before = places.is_open(classes), len(places.taken)
        assert places.take(number, classes) == opened == (len(places.taken) == before + 1)
        assert sum(places.counts.values()) == best_filling(pictures[: number + 1], (per_class,) * 3)
    assert all(k in pictures[i] for i, k in places.taken.items())
    assert all(list(places.taken.values()).count(k) == places.counts[k] <= per_class for k in range(3))
