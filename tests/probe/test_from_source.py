import hashlib
import json
import random
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.geometry import CenterCrop, Resize
from camdebug.geometry.carrier import Carried, NotCarried
from camdebug.probe.drawing import Limits
from camdebug.probe.from_source import build
from camdebug.probe.suspicion import suspicions
from camdebug.records import ClassDraw, Exclusion
from camdebug.sources import AnnotatedObject, Annotations, Entry, Unusable
from camdebug.sources.coco import CocoJson
from camdebug.sources.voc import VocFolder
from camdebug.store.strict import digest, to_json

NAMES = ("cat", "dog")
TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
SIZE = (20, 30)


def pixels(number, *, size=SIZE):
    """Noise, so that no two are near duplicates; the first pixel says which picture it is."""
    found = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    found[0, 0] = number % 256
    return found


class Book:
    """A source in memory, which counts the pictures that are opened."""

    def __init__(self, *objects, kind="boxes", names=NAMES, declared=SIZE, exclusions=(), size=SIZE):
        self.opened = Counter()
        self.entries = []
        for number, found in enumerate(objects):
            self.add(f"p{number}.png", found, number, declared, size if isinstance(size, tuple) else size[number])
        self.annotations = Annotations(self.entries, tuple(names), kind, f"a book, {len(objects)} pictures", exclusions)

    def add(self, source_id, objects, number, declared, size):
        def picture():
            self.opened[source_id] += 1
            return Image.fromarray(pixels(number, size=size))

        things = tuple(thing if isinstance(thing, AnnotatedObject) else box(*thing) for thing in objects)
        self.entries.append(Entry(source_id, picture, things, size=declared, file=source_id))

    def read(self):
        return self.annotations


def box(name, x0, y0, x1, y1, **more):
    return AnnotatedObject(name, (float(x0), float(y0), float(x1), float(y1)), **more)


def cat(side=10, at=2):
    return box("cat", at, at, at + side, at + side)


def dog(side=10, at=2):
    return box("dog", at, at, at + side, at + side)


def quietly(source, *, transform=TENSOR, class_names=NAMES, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_source(source, transform=transform, class_names=class_names, **arguments)


def warned(source, **arguments):
    with pytest.warns(UserWarning, match="ProbeSet") as caught:
        probes = ProbeSet.from_source(source, **{"transform": TENSOR, "class_names": NAMES, **arguments})
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return probes, str(caught[0].message)


def refused(error, message, source, **arguments):
    with pytest.raises(error, match=re.escape(message)):
        quietly(source, **arguments)


def rows(probes):
    return {
        source_id: (probes.class_names[label], boxes.tolist(), ignore.tolist())
        for source_id, label, boxes, ignore in zip(
            probes.source_ids, probes.labels.tolist(), probes.boxes, probes.ignore, strict=True
        )
    }


class TestRows:
    def test_the_picture_is_the_transforms_and_boxes_are_where_it_put_them(self):
        book = Book([cat()], [dog()])
        probes = quietly(book, transform=v2.Compose([v2.Resize((40, 60)), v2.CenterCrop((20, 20)), TENSOR]))
        assert rows(probes) == {
            "p0.png": ("cat", [[0.0, 0.0, 4.0, 14.0]], []),  # 4..24 doubled, less 20 in x and 10 in y
            "p1.png": ("dog", [[0.0, 0.0, 4.0, 14.0]], []),
        }
        plain = quietly(book)
        assert torch.equal(plain.images[0], TENSOR(Image.fromarray(pixels(0))))

    def test_all_objects_of_the_class_are_the_probes_and_all_others_ignored(self):
        book = Book(
            [cat(), cat(4, 14), dog(3, 0), box("cat", 20, 0, 30, 9, ignored=True), box("emu", 25, 10, 30, 20)], [dog()]
        )
        probes = quietly(book, others="ignore")
        assert rows(probes)["p0.png"] == (
            "cat",
            [[2.0, 2.0, 12.0, 12.0], [14.0, 14.0, 18.0, 18.0]],
            [[0.0, 0.0, 3.0, 3.0], [20.0, 0.0, 30.0, 9.0], [25.0, 10.0, 30.0, 20.0]],
        )

    def test_a_picture_serves_a_second_class_only_when_that_stays_short_otherwise(self):
        # Three cats for two places, one of them with a dog; two dogs are alone.
        book = Book([cat(), dog()], [cat()], [cat()], [dog()], [dog()])
        enough = quietly(book, per_class=2)
        assert enough.counts == (2, 2)
        assert len({name.split(":")[0] for name in enough.source_ids}) == 4
        short = quietly(book, per_class=3)
        assert sorted(short.source_ids) == ["p0.png", "p0.png:dog", "p1.png", "p2.png", "p3.png", "p4.png"]
        assert short.counts == (3, 3)
        assert short.near_duplicates() == ()

    def test_a_class_takes_pictures_of_its_own_before_those_that_serve_another(self):
        book = Book(*[[cat(), dog()]] * 12, *[[dog()]] * 12)
        probes = quietly(book, per_class=12)
        assert probes.counts == (12, 12)
        dogs = {name for name, (found, *_) in rows(probes).items() if found == "dog"}
        assert dogs == {f"p{i}.png" for i in range(12, 24)}

    def test_ids_stay_different_where_a_picture_has_the_name_of_a_second_use(self):
        book = Book([cat(), dog()], [cat()])
        book.entries[1] = replace(book.entries[1], source_id="p0.png:cat")
        book.entries.append(replace(book.entries[1], source_id="p0.png:dog"))
        probes = quietly(book)
        assert len(set(probes.source_ids)) == len(probes) == 4

    def test_masks_are_joined_by_class(self):
        one, two, other = np.zeros((3, *SIZE), dtype=bool)
        one[2:8, 2:8], two[6:12, 6:12], other[10:14, 0:20] = True, True, True
        masks = [("cat", one), ("cat", two), ("dog", other)]
        objects = [AnnotatedObject(name, mask=lambda m=mask: m) for name, mask in masks]
        void = AnnotatedObject("void", (25.0, 0.0, 30.0, 5.0), ignored=True)
        probes = quietly(Book([*objects, void], kind="masks"), class_names=["cat", "emu", "dog"])
        rows = {source_id: row for row, source_id in enumerate(probes.source_ids)}
        row, other_row = rows["p0.png"], rows["p0.png:dog"]
        assert torch.equal(probes.masks[row], torch.from_numpy(one | two))
        assert torch.equal(probes.ignore_masks[row], torch.from_numpy(other))
        assert torch.equal(probes.ignore_masks[other_row], torch.from_numpy(one | two))
        assert probes.ignore[row].tolist() == [[25.0, 0.0, 30.0, 5.0]]
        assert probes.provenance.origins[row].area == pytest.approx((36 + 36 - 4) / 600)

    def test_pictures_without_places_become_probes_without_boxes(self):
        book = Book(*[[AnnotatedObject(name)] for name in ("dog", "cat", "cat")], kind=None)
        probes = quietly(book, class_names=None)
        assert not probes.annotated
        assert (probes.class_names, probes.counts) == (("cat", "dog"), (2, 1))
        assert [origin.area for origin in probes.provenance.origins] == [None] * 3


class TestSelection:
    def test_no_class_gets_more_than_per_class_and_all_sizes_are_drawn(self):
        book = Book(*[[cat(3 + i % 15)] for i in range(60)])
        probes = quietly(book, per_class=10, class_names=["cat"], min_area=0.0)
        sides = [float(boxes[0, 2] - boxes[0, 0]) for boxes in probes.boxes]
        assert len(sides) == 10
        assert [sum(3 + 3 * k <= side < 6 + 3 * k for side in sides) for k in range(5)] == [2] * 5

    def test_a_seed_draws_the_same_probes_whatever_the_order_of_the_files(self):
        book = Book(*[[cat(3 + i % 9), dog(4)][: 1 + i % 2] for i in range(40)])
        first = quietly(book, per_class=8)
        book.annotations = replace(book.annotations, entries=random.Random(0).sample(book.entries, 40))
        again, other = quietly(book, per_class=8), quietly(book, per_class=8, seed=1)
        assert again.source_ids == first.source_ids
        assert again.fingerprint == first.fingerprint
        assert other.fingerprint != first.fingerprint

    def test_only_pictures_that_are_tried_are_opened_and_each_once(self):
        book = Book(*[[cat(3 + i % 9)] for i in range(500)], *[[dog(20, 0)]] * 60)
        probes = quietly(book, per_class=10, max_area=0.6)
        assert probes.counts == (10, 0)
        tried = {c.name: c.tried for c in probes.provenance.classes}
        assert tried == {"cat": 10, "dog": 60}
        assert sum(book.opened.values()) == 70
        assert set(book.opened.values()) == {1}

    def test_areas_are_judged_after_the_transform_and_counted_before_and_after(self):
        # Of 20x30 the middle 10x10 is left: 16x18 of the whole is under a half, and all of the crop.
        large, small, gone = box("cat", 5, 1, 23, 17), box("cat", 10, 5, 11, 6), box("cat", 0, 0, 4, 20)
        good, grown, far = box("cat", 12, 7, 18, 12), box("cat", 13, 8, 16, 11), box("cat", 0, 0, 29, 20)
        book = Book([large], [small], [gone], [good], [grown], [far])
        probes, message = warned(book, transform=v2.Compose([v2.CenterCrop(10), TENSOR]), class_names=["cat"])
        assert sorted(probes.source_ids) == ["p3.png", "p4.png"]
        assert {e.source_id: e.reason for e in probes.exclusions} == {
            "p0.png": "object over 70 % of the picture after the transform",
            "p1.png": "object under 2 % of the picture after the transform",
            "p2.png": "nothing of the object is left after the transform",
            "p5.png": "object over 70 % of the picture after the transform",
        }
        # Before: p1 has 1 and p4 has 9 of 600 pixels, p5 has 580.
        assert probes.provenance.classes == (ClassDraw("cat", 6, 6, 1, 2, 2, 1, 1),)
        assert "ProbeSet left out 4 of 6 pictures: 2 x object over 70 % of the picture after the transform" in message

    def test_overlapping_boxes_count_once(self):
        probes = quietly(Book([cat(16, 0), cat(16, 2)]), class_names=["cat"])
        assert probes.provenance.origins[0].area == pytest.approx((256 + 256 - 196) / 600)

    def test_an_area_that_excludes_one_class_leaves_the_picture_to_the_other(self):
        probes = quietly(Book([cat(10), dog(1)]))
        assert rows(probes)["p0.png"][0] == "cat"
        assert probes.exclusions == (Exclusion("p0.png:dog", "object under 2 % of the picture after the transform"),)


class TestFaults:
    def test_bad_boxes_are_dropped_before_the_transform_could_hide_them(self):
        nan = float("nan")
        faulty = [box("cat", nan, 0, 5, 5), box("cat", 9, 9, 4, 12), box("cat", 3, 3, 3, 9), box("cat", 40, 0, 50, 5)]
        book = Book([cat(), *faulty[:1]], [cat(), *faulty[1:3]], [cat()], [cat()], faulty[3:])
        probes, message = warned(book, transform=v2.Compose([v2.Resize((20, 30)), TENSOR]), class_names=["cat"])
        assert sorted(probes.dropped_boxes, key=lambda e: (e.source_id, e.reason)) == [
            Exclusion("p0.png", "box not finite"),
            Exclusion("p1.png", "box inverted"),
            Exclusion("p1.png", "box of no area"),
        ]
        assert probes.exclusions == (Exclusion("p4.png", "box outside the picture"),)
        assert "dropped 3 unusable boxes of pictures it kept" in message
        assert all(boxes.tolist() == [[2.0, 2.0, 12.0, 12.0]] for boxes in probes.boxes)

    def test_unreadable_pictures_and_the_sources_own_exclusions_are_named_in_the_one_warning(self):
        book = Book([cat()], [cat()], exclusions=(Exclusion("a.xml", "broken XML"),))

        def broken():
            raise Unusable("truncated or damaged picture")

        book.entries[0] = replace(book.entries[0], picture=broken)
        probes, message = warned(book, class_names=["cat"])
        assert probes.exclusions == (
            Exclusion("a.xml", "broken XML"),
            Exclusion("p0.png", "truncated or damaged picture"),
        )
        assert "1 x broken XML (a.xml); 1 x truncated or damaged picture (p0.png)" in message

    def test_a_broken_picture_is_opened_once_for_all_its_classes(self):
        book, opened = Book([cat(), dog()], [cat()], [dog()]), []

        def broken():
            opened.append(1)
            raise Unusable("truncated")

        book.entries[0] = replace(book.entries[0], picture=broken)
        assert quietly(book).exclusions == (Exclusion("p0.png", "truncated"),)
        assert len(opened) == 1

    def test_a_class_whose_boxes_are_all_bad_leaves_the_picture_to_the_other(self):
        probes = quietly(Book([box("cat", 9, 9, 4, 12), dog()], [cat()], [cat()]))
        assert rows(probes)["p0.png"] == ("dog", [[2.0, 2.0, 12.0, 12.0]], [])
        assert probes.exclusions == (Exclusion("p0.png:cat", "box inverted"),)
        assert Exclusion("p0.png", "ignored box inverted") in probes.dropped_boxes

    @pytest.mark.parametrize(
        ("mask", "reason"),
        [
            (lambda: np.zeros((30, 20), bool), "mask of another size than the picture"),
            (lambda: np.zeros(SIZE, bool), "mask of no area"),
            (None, "object without a mask"),
        ],
    )
    def test_a_mask_that_cannot_be_used_leaves_its_picture_out(self, mask, reason):
        good = AnnotatedObject("cat", mask=lambda: np.eye(*SIZE) > 0)
        book = Book([good], [AnnotatedObject("cat", mask=mask)], kind="masks")
        assert quietly(book, class_names=["cat"]).exclusions == (Exclusion("p1.png", reason),)

    @pytest.mark.parametrize(
        ("boxes", "message"),
        [
            ([(9, 9, 5, 5)] * 3, "source: 3 of 4 boxes of a book, 4 pictures end before they begin"),
            ([(0.1, 0.1, 0.9, 0.9)] * 4, "source: all 4 boxes of a book, 4 pictures lie in 0 to 1; expected x1, y1"),
            ([(0, 0, 300, 200)] * 3, "source: 3 of 4 boxes of a book, 4 pictures reach beyond their pictures, such as "
             "[0.0, 0.0, 300.0, 200.0] in one of 20x30 (height x width)"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("declared", [SIZE, None])
    def test_mistakes_of_a_whole_source_are_errors_although_a_transform_would_clamp_them(
        self, boxes, message, declared
    ):
        every = [*boxes, (2, 2, 12, 12)][:4]
        book = Book(*[[box("cat", *b)] for b in every], declared=declared)
        refused(ValueError, message, book, class_names=["cat"])
        assert declared is None or not book.opened  # seen without a picture where sizes are declared
        half = [box("cat", *b) for b in every[:1]] + [cat(), cat(3, 3)]
        assert len(quietly(Book([*half], [cat()], declared=declared), class_names=["cat"], max_area=1.0)) == 2

    def test_pictures_of_several_sizes_after_the_transform_are_one_error_with_the_mend(self):
        book = Book([cat()], [cat()], declared=None, size=[(20, 30), (40, 30)])
        with pytest.raises(
            ValueError, match=r"transform: expected pictures of one size and type, but p\d.png becomes "
        ):
            quietly(book, class_names=["cat"])
        assert len(quietly(book, class_names=["cat"], transform=v2.Compose([v2.Resize((16, 16)), TENSOR]))) == 2

    def test_nothing_left_is_an_error_with_the_reasons(self):
        message = (
            "source: no picture of a book, 2 pictures can be a probe. ProbeSet left out 2 of 2 pictures: 2 x object"
        )
        refused(ValueError, message, Book([cat(2)], [cat(2)]), class_names=["cat"])
        empty = Annotations([], (), "boxes", "a book, 0 pictures", (Exclusion("a.xml", "broken XML"),))
        refused(ValueError, "a book, 0 pictures has none: ProbeSet left out 1 of 1 pictures: 1 x broken XML", empty)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"per_class": 0}, ValueError, "per_class: expected a whole number of at least 1, got 0"),
            ({"per_class": True}, ValueError, "per_class: expected a whole number of at least 1, got True"),
            ({"seed": -1}, ValueError, "seed: expected a whole number of at least 0, got -1"),
            ({"min_area": 0.8}, ValueError, "min_area, max_area: expected shares of the picture, 0 <= min_area < max"),
            ({"max_area": 70}, ValueError, "max_area <= 1, got 0.02 and 70"),
            ({"min_area": "0"}, ValueError, "min_area, max_area: expected shares"),
            ({"exif": "yes"}, ValueError, "exif: expected 'auto', 'apply' or 'ignore', got 'yes'"),
            ({"others": "drop"}, ValueError, "others: expected 'error' or 'ignore', got 'drop'"),
            ({"mean": [0.5]}, ValueError, "mean, std: expected both or neither"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments, error, message):
        refused(error, message, Book([cat()]), **arguments)

    def test_what_is_no_source_is_refused(self):
        refused(TypeError, "source: expected a source of camdebug.sources (one of your own needs read())", [1, 2])


@dataclass(frozen=True)
class Own:
    """A carrier of one's own: passes on, or fails as told."""

    error: Exception | None = None
    fails_at: int = 0
    text: str = "own"
    random: bool = False
    mean: tuple[float, ...] | None = (0.5,)
    std: tuple[float, ...] | None = (0.25,)

    def carry(self, picture, boxes, masks, *, seed):
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        if self.error is not None and (self.fails_at is None or round(float(image[0, 0, 0]) * 255) == self.fails_at):
            raise self.error
        return Carried(image, boxes, masks)


class TestTransform:
    LIMITS = Limits(5, 0, 0.02, 0.7)

    def test_normalisation_is_the_transforms_unless_it_is_given(self):
        normalised = v2.Compose([TENSOR, v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.1])])
        probes = quietly(Book([cat()]), transform=normalised)
        assert (probes.mean, probes.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
        probes = quietly(Book([cat()]), transform=normalised, mean=[0.1] * 3, std=[1.0] * 3)
        assert (probes.mean, probes.std) == ((0.1,) * 3, (1.0,) * 3)

    def test_one_value_stands_for_all_channels(self):
        content = build(Book([cat()]), Own(), limits=self.LIMITS, class_names=["cat"]).content
        assert (content.mean, content.std) == ((0.5,) * 3, (0.25,) * 3)

    def test_a_random_transform_is_fixed_by_the_seed_and_said_aloud(self):
        book = Book(*[[cat(12, 4)] for _ in range(20)])
        flip = v2.Compose([v2.RandomHorizontalFlip(), TENSOR])
        probes, message = warned(book, transform=flip, class_names=["cat"], seed=3)
        assert message.endswith(
            "ProbeSet: the transform is random. Each probe was drawn once with seed 3 and stays as it is; a validation "
            "transform is the better choice."
        )
        assert probes.provenance.random
        lefts = Counter(float(boxes[0, 0]) for boxes in probes.boxes)
        assert set(lefts) == {4.0, 14.0}
        book.annotations = replace(book.annotations, entries=book.entries[::-1])
        assert quietly(book, transform=flip, class_names=["cat"], seed=3).fingerprint == probes.fingerprint

    def test_randomness_that_nobody_declared_is_seen(self):
        class Shady(Own):
            def carry(self, picture, boxes, masks, *, seed):
                carried = Own.carry(self, picture, boxes, masks, seed=seed)
                return replace(carried, image=carried.image + seed % 7)

        assert build(Book([cat()]), Shady(), limits=self.LIMITS, class_names=["cat"]).content.provenance.random
        assert not build(Book([cat()]), Own(), limits=self.LIMITS, class_names=["cat"]).content.provenance.random

    def test_a_failure_for_one_picture_leaves_it_out(self):
        book = Book(*[[cat()] for _ in range(4)])
        content = build(book, Own(RuntimeError("no"), fails_at=2), limits=self.LIMITS, class_names=["cat"]).content
        assert content.exclusions == (Exclusion("p2.png", "the transform failed (RuntimeError)"),)

    @pytest.mark.parametrize("fails_at", [0, 2])
    def test_boxes_that_do_not_follow_in_one_picture_are_an_error_of_the_whole_set(self, fails_at):
        book, lost = Book(*[[cat()] for _ in range(4)]), NotCarried("geometry: did not carry the boxes along")
        with pytest.raises(NotCarried, match=r"^geometry: did not carry"):
            build(book, Own(lost, fails_at=fails_at), limits=self.LIMITS, class_names=["cat"])

    def test_boxes_that_do_not_follow_under_another_seed_are_one_too(self):
        seeds = set()

        class Once(Own):
            def carry(self, picture, boxes, masks, *, seed):
                seeds.add(seed)
                if len(seeds) == 2:
                    raise NotCarried("geometry: did not carry the boxes along")
                return Own.carry(self, picture, boxes, masks, seed=seed)

        with pytest.raises(NotCarried, match=r"^geometry: did not carry"):
            build(Book([cat()]), Once(), limits=self.LIMITS, class_names=["cat"])

    @pytest.mark.parametrize("sizes", [[SIZE, (20, 20)], [(20, 20), SIZE]])
    def test_a_geometry_that_is_right_for_squares_alone_makes_no_set_whatever_comes_first(self, sizes):
        book = Book(*[[cat()] for _ in range(8)], size=sizes * 4, declared=None)
        squeeze = v2.Compose([v2.Resize((20, 20)), TENSOR])
        with pytest.raises(NotCarried, match=r"^geometry: did not carry the boxes along: .* out of one of 20x30;"):
            quietly(book, transform=None, image_transform=squeeze, geometry=[Resize(20), CenterCrop(20)])
        probes = quietly(book, transform=None, image_transform=squeeze, geometry=[Resize((20, 20))])
        assert len(probes.images) == 8

    @pytest.mark.parametrize("count", [1, 30])
    def test_a_transform_that_never_works_is_an_error_with_its_cause(self, count):
        book = Book(*[[cat()] for _ in range(count)])
        for error, kind, message in (
            (RuntimeError("no"), ValueError, r"transform: no picture went through it; it raised RuntimeError: no"),
            (TypeError("transform: expected v2"), TypeError, "^transform: expected v2$"),
        ):
            with pytest.raises(kind, match=message):
                build(book, Own(error, fails_at=None), limits=self.LIMITS, class_names=["cat"])
        assert max(book.opened.values()) == 2  # once for each of the two
        assert len(book.opened) == min(count, 5)

    def test_the_generators_stay_as_they_are(self):
        book = Book(*[[cat()] for _ in range(5)])

        def greedy(picture=book.entries[0].picture):
            random.random(), np.random.rand(), torch.rand(1)
            return picture()

        book.entries[0] = replace(book.entries[0], picture=greedy)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        quietly(book, transform=v2.Compose([v2.RandomHorizontalFlip(), TENSOR]), class_names=["cat"])
        assert (before[0], before[1]) == (random.getstate(), np.random.get_state()[1].tolist())
        assert torch.equal(before[2], torch.get_rng_state())


class TestProvenance:
    def test_each_probe_knows_its_file_size_area_and_pixels(self):
        probes = quietly(Book([cat()], [dog()]), transform=v2.Compose([v2.Resize((8, 8)), TENSOR]), seed=4)
        found = probes.provenance
        assert (found.source, found.seed, found.random) == ("a book, 2 pictures", 4, False)
        assert "Resize(size=[8, 8]" in found.transform
        assert set(found.versions) == {"camdebug", "torch", "torchvision", "pillow", "numpy"}
        origin = found.origins[0]
        assert (origin.file, origin.image_size, origin.area) == ("p0.png", SIZE, pytest.approx(100 / 600))
        assert origin.digest == hashlib.sha256(b"30x20:" + pixels(0).tobytes()).hexdigest()
        assert (tuple(found.thumbnails.shape), found.thumbnails.dtype) == ((2, 32, 32), torch.uint8)
        assert found.classes == tuple(ClassDraw(name, 1, 1, 0, 0, 0, 0, 0) for name in NAMES)

    def test_the_warning_names_cues_duplicates_few_probes_and_empty_classes(self):
        book = Book(*[[cat()] for _ in range(25)], *[[dog()] for _ in range(6)], names=("cat", "dog"))
        for i in range(25):
            book.entries[i] = replace(book.entries[i], file=f"studio/{i}.png")
        book.entries[30] = replace(book.entries[30], picture=lambda: Image.fromarray(pixels(29)))
        _, message = warned(book, class_names=["cat", "dog", "emu"])
        for part in (
            "fewer than 20 probes of 1 of 3 classes (dog: 6 of 6 pictures): it cannot be judged",
            "Backgrounds of `cat` cannot be tested",
            "All 25 probes of `cat` come from the folder studio",
            "1 pair of probes show nearly the same picture (such as ",
            "similarity 1.000; near_duplicates() names all)",
            "ProbeSet has no probe of 1 class (emu)",
        ):
            assert part in message

    def test_a_set_without_faults_warns_of_nothing(self):
        book = Book(*[[cat()] for _ in range(20)], *[[dog()] for _ in range(20)])
        assert len(ProbeSet.from_source(book, transform=TENSOR, class_names=NAMES)) == 40


class Scenes(Book):
    """Pictures of noise with one brighter or darker rectangle, and boxes as some mistake makes them."""

    def __init__(self, mistake, count=40, *, size=(48, 64), names=("cat",)):
        rng, found = np.random.default_rng(0), []
        self.pixels = rng.normal(128, 20, size=(count, *size, 3))
        for image in self.pixels:
            sides = rng.integers([12, 10], [30, 24])
            x0, y0 = rng.integers(0, [size[1], size[0]] - sides)
            x1, y1 = x0 + sides[0], y0 + sides[1]
            image[y0:y1, x0:x1] += rng.choice([-60, 60], size=3)
            found.append([box(name, *mistake(x0, y0, x1, y1)) for name in names])
        super().__init__(*found, names=names, declared=size, size=size)
        for number, entry in enumerate(self.entries):
            self.entries[number] = replace(entry, picture=lambda number=number: self.read_picture(number))

    def read_picture(self, number):
        return Image.fromarray(self.pixels[number].clip(0, 255).astype(np.uint8))


def swap(x0, y0, x1, y1):
    return y0, x0, y1, x1


def fourth(*corners):
    return tuple(v / 4 for v in corners)


SMALL = {
    "crop": v2.Compose([v2.Resize(24), v2.CenterCrop(24), TENSOR]),
    "squash": v2.Compose([v2.Resize((24, 24)), TENSOR]),
}


class TestDoubts:
    """Pictures of 64x48 (width x height)."""

    @pytest.mark.parametrize("transform", SMALL)
    def test_swapped_axes_are_the_first_thing_said_whatever_the_transform(self, transform):
        right = quietly(Scenes(lambda *corners: corners), transform=SMALL[transform], class_names=["cat"])
        assert suspicions(right) == right.provenance.doubts == ()
        with pytest.warns(UserWarning, match="may be wrong") as caught:
            probes = ProbeSet.from_source(Scenes(swap), transform=SMALL[transform], class_names=["cat"])
        (message,) = (str(warning.message) for warning in caught)
        assert re.match(
            r"The boxes may be wrong: read as if x and y were swapped, they fit \d\d of 40 pictures better "
            r"\(p [=<] \S+\), and \d+ of the boxes, impossible as they are, would lie in their pictures\. Look at ",
            message,
        )
        (doubt,) = suspicions(probes)
        assert probes.provenance.doubts == (doubt.sentence,)
        assert message.count("may be wrong") == 1

    def test_boxes_of_smaller_pictures_are_found_although_none_is_large_enough(self):
        limits = {"transform": SMALL["squash"], "class_names": ["cat"]}
        probes, message = warned(Scenes(fourth), min_area=0.01, **limits)
        assert len(probes) < 20
        told = "read as if for about 1"
        assert message.startswith(f"The boxes may be wrong: {told}")
        assert "ProbeSet left out" in message
        size = r"for about (1\d)x(1\d) \(width x height; the pictures are 64x48\)"
        width, height = map(int, re.search(size, message).groups())
        assert (abs(width - 16) <= 2, abs(height - 12) <= 2) == (True, True)
        first = rf"can be a probe\. The boxes may be wrong: {told}.*\. ProbeSet left out 40"
        with pytest.raises(ValueError, match=first):
            quietly(Scenes(fourth), min_area=0.2, **limits)

    def test_a_saved_set_keeps_its_doubts_and_older_ones_have_none(self, tmp_path):
        probes = quietly(Scenes(swap), transform=SMALL["crop"], class_names=["cat"])
        probes.save(tmp_path / "set")
        loaded = ProbeSet.load(tmp_path / "set")
        assert loaded.provenance.doubts == probes.provenance.doubts
        assert loaded.summary().suspicions == probes.provenance.doubts
        for doubts, expected in (((), None), (["x" * 1001], "a doubt is no sentence"), (["\x1b[2J"], "no sentence")):
            manifest = tmp_path / "set" / "probes.json"
            content = json.loads(manifest.read_text())["content"]
            content["set"]["provenance"]["doubts"] = doubts
            if expected is None:
                del content["set"]["provenance"]["doubts"]
            manifest.write_text(json.dumps({"content": content, "sha256": digest(to_json(content))}))
            if expected is None:
                assert ProbeSet.load(tmp_path / "set").provenance.doubts == ()
                continue
            with pytest.raises(ValueError, match=expected):
                ProbeSet.load(tmp_path / "set")

    def test_places_that_go_another_way_than_the_pictures_are_seen_in_what_the_model_gets(self):
        class Turned(Own):
            def carry(self, picture, boxes, masks, *, seed):
                carried = Own.carry(self, picture, boxes, masks, seed=seed)
                return replace(carried, image=carried.image.flip(2))

        book = Scenes(lambda *corners: corners)
        content = build(book, Turned(), limits=Limits(40, 0, 0.02, 0.7), class_names=["cat"]).content
        assert content.provenance.doubts == ()
        assert [doubt.kind for doubt in suspicions(content)] == ["mirrored"]

    def test_boxes_that_all_fit_when_swapped_are_refused_with_that_reason(self):
        book = Book([box("cat", 2, 22, 12, 28)], [box("cat", 2, 22, 12, 30)])
        refused(ValueError, "in one of 20x30 (height x width); they all fit with x and y swapped", book)
        book = Book([box("cat", 2, 22, 12, 28)], [box("cat", 25, 22, 29, 30)])
        refused(ValueError, "they seem to be of another size or format", book)


class TestCounts:
    def test_what_is_left_out_is_counted_as_what_it_is(self):
        _, message = warned(Book([cat(), dog(1)], [cat(1)], [dog()]))
        assert "ProbeSet left out 2 of 4 candidates (a picture and a class each): 2 x object under 2 %" in message
        _, message = warned(Book([cat()], [cat(1)], [dog()]))
        assert "ProbeSet left out 1 of 3 pictures: 1 x object under 2 %" in message

    def test_where_all_pictures_are_missing_the_folder_is_named(self, tmp_path):
        book = Book([cat()], [cat()])
        book.entries[:] = [replace(entry, picture=tmp_path / "a" / entry.source_id) for entry in book.entries]
        where = f"They were looked for in {str(tmp_path / 'a')!r}; say with images= of the source in which folder they"
        refused(ValueError, f"2 x missing file (p1.png, p0.png). {where}", book, class_names=["cat"])
        book.entries[1] = replace(book.entries[1], picture=tmp_path / "b" / "p1.png")
        refused(ValueError, f"looked for in 2 folders, such as {str(tmp_path / 'a')!r}", book, class_names=["cat"])
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "p1.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match=r"1 x not a picture \(p1\.png\); 1 x missing file \(p0\.png\)$"):
            quietly(book, class_names=["cat"])


corner = st.one_of(st.integers(-5, 40), st.sampled_from([0.5, 1e9, -1e9, float("nan"), float("inf")]))
any_box = st.tuples(*[corner] * 4)
good_box = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    st.integers(0, 15), st.integers(0, 8), st.integers(5, 15), st.integers(6, 12),
)  # fmt: skip
thing = st.builds(
    lambda name, corners, ignored: box(name, *corners, ignored=ignored),
    st.sampled_from([*NAMES, "emu"]),
    st.one_of(good_box, good_box, good_box, any_box),
    st.sampled_from([False] * 4 + [True]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(thing, max_size=4), min_size=1, max_size=6), st.integers(1, 3), st.booleans())
def test_whatever_the_boxes_are_a_set_holds_what_it_should_or_says_why_not(objects, per_class, declared):
    book = Book(*objects, declared=SIZE if declared else None)
    limits = Limits(per_class, 0, 0.05, 0.6)
    try:
        content = build(book, Own(), limits=limits, class_names=NAMES, others="ignore").content
    except ValueError as error:
        if not re.match("source: |class_names: ", str(error)):
            raise
        return
    assert len(set(content.source_ids)) == len(content.source_ids)
    assert max(Counter(content.labels.tolist()).values()) <= per_class
    assert all(0.05 <= origin.area <= 0.6 for origin in content.provenance.origins)
    for boxes in (*content.boxes, *content.ignore):
        assert bool((boxes[:, :2] < boxes[:, 2:]).all())
        assert bool(((boxes >= 0) & (boxes <= torch.tensor([30, 20, 30, 20]))).all())


VOC = """<annotation><filename>{name}</filename><size><width>30</width><height>20</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>
</bndbox></object>"""


def test_a_folder_of_pascal_voc_becomes_a_set(tmp_path):
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    for i in range(6):
        Image.fromarray(pixels(i)).save(tmp_path / "JPEGImages" / f"ä {i}.png")
        names = ["cat", "dog"][: 1 + i % 2]
        objects = "".join(
            OBJECT.format(name=n, x0=2 + 14 * k, y0=4, x1=12 + 14 * k, y1=14) for k, n in enumerate(names)
        )
        text = VOC.format(name=f"ä {i}.png", objects=objects)
        (tmp_path / "Annotations" / f"{i}.xml").write_text(text, encoding="utf-8")
    (tmp_path / "JPEGImages" / "ä 0.png").write_bytes(b"\x89PNG broken")
    probes = quietly(VocFolder(tmp_path), per_class=3, transform=v2.Compose([v2.Resize((40, 60)), TENSOR]))
    assert probes.counts == (3, 3)
    found = rows(probes)["JPEGImages/ä 1.png"]
    assert found[0] == "dog"
    assert found[1:] == ([[32.0, 8.0, 52.0, 28.0]], [[4.0, 8.0, 24.0, 28.0]])
    expected = torch.from_numpy(pixels(1)).permute(2, 0, 1)
    expected = v2.functional.resize(expected, [40, 60]) / 255
    row = probes.source_ids.index("JPEGImages/ä 1.png")
    assert float((probes.images[row] - expected).abs().max()) < 2 / 255
    assert [e.source_id for e in probes.exclusions] == ["JPEGImages/ä 0.png"]


@pytest.fixture
def coco(tmp_path):
    """Three pictures: a cat beside a dog, a crowd of cats beside a cat, and an emu."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(3)]
    for i in range(3):
        Image.fromarray(pixels(i)).save(tmp_path / f"{i}.png")
    crowd = {"size": [20, 30], "counts": [0, 200, 400]}  # columns first: the left third
    places = [(0, 1, 2, 2, 8, 10, 0), (0, 2, 14, 4, 6, 6, 0), (1, 1, 20, 5, 8, 8, 0), (2, 3, 1, 1, 9, 9, 0)]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [x, y, w, h],
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            "area": w * h,
            "iscrowd": 0,
        }
        for number, (image, category, x, y, w, h, _) in enumerate(places)
    ]
    annotations.append(
        {
            "id": 9,
            "image_id": 1,
            "category_id": 1,
            "bbox": [0, 0, 10, 20],
            "segmentation": crowd,
            "area": 200,
            "iscrowd": 1,
        }
    )
    categories = [{"id": k, "name": name} for k, name in ((1, "cat"), (2, "dog"), (3, "emu"))]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def test_a_coco_file_becomes_a_set_of_boxes_with_crowds_ignored(coco):
    source = CocoJson(coco, coco.parent)
    refused(ValueError, "1 annotated name not among the model's classes: 'emu', 1 object. Say", source)
    assert rows(quietly(source, others="ignore")) == {
        "0.png": ("dog", [[14.0, 4.0, 20.0, 10.0]], [[2.0, 2.0, 10.0, 12.0]]),
        "0.png:cat": ("cat", [[2.0, 2.0, 10.0, 12.0]], [[14.0, 4.0, 20.0, 10.0]]),
        "1.png": ("cat", [[20.0, 5.0, 28.0, 13.0]], [[0.0, 0.0, 10.0, 20.0]]),
    }


def test_a_coco_file_becomes_a_set_of_masks(coco):
    probes = quietly(CocoJson(coco, coco.parent, use="masks"), others="ignore")
    cat, crowd = torch.zeros(2, *SIZE, dtype=torch.bool)
    cat[5:13, 20:28], crowd[:, :10] = True, True
    row = probes.source_ids.index("1.png")
    assert torch.equal(probes.masks[row], cat)
    assert torch.equal(probes.ignore_masks[row], crowd)


def test_a_path_is_read_by_what_is_there(coco, tmp_path):
    folder = tmp_path / "sorted"
    for i, name in enumerate(("cat", "cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(folder / name / f"{i}.png")
    for path in (folder, str(folder)):
        probes = quietly(path, class_names=None)
        assert (probes.class_names, probes.counts) == (("cat", "dog"), (2, 1))
        assert sorted(probes.leaks_into(folder).exact) == [(name, name) for name in sorted(probes.source_ids)]
    with pytest.raises(FileNotFoundError, match="path: expected a file or folder of annotations, and there is none at"):
        quietly(tmp_path / "missing")
