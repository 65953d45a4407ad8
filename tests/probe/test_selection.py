import itertools
import random
import struct
import zlib

import pytest

from camdebug.probe.cues import shared_cues, too_few
from camdebug.probe.naming import Naming
from camdebug.probe.selection import STRATA, candidates, drawing_order, seed_of
from camdebug.records import ClassDraw, Origin
from camdebug.sources import AnnotatedObject, Entry

NAMING = Naming(("cat", "dog"), {"cat": 0, "dog": 1})


def never():
    raise AssertionError("a picture was opened")


def entry(number, *objects, size=(100, 100), picture=never):
    return Entry(f"{number}.png", picture, tuple(AnnotatedObject(name, box) for name, box in objects), size=size)


def square(side, name="cat"):
    return name, (0.0, 0.0, float(side), float(side))


def shares(entries):
    return [[candidate.share for candidate in found] for found in candidates(entries, NAMING)]


def test_a_picture_is_a_candidate_once_for_each_class_with_the_share_of_its_boxes():
    entries = [entry(0, square(10), square(20, "dog"), square(30, "dog")), entry(1, square(50))]
    assert shares(entries) == [[0.01, 0.25], [0.13]]


def test_boxes_count_within_the_picture_and_never_beyond_it():
    assert shares([entry(0, ("cat", (-50.0, 50.0, 50.0, 900.0)))])[0] == [0.25]
    assert shares([entry(0, square(90), square(90))])[0] == [1.0]
    assert shares([entry(0, ("cat", (float("nan"), 0.0, 50.0, 50.0)), ("cat", (20.0, 20.0, 10.0, 10.0)))])[0] == [0.0]


def test_ignored_and_unknown_objects_make_no_candidate():
    thing = AnnotatedObject("cat", (0.0, 0.0, 9.0, 9.0), ignored=True)
    assert candidates([Entry("a", never, (thing,), size=(10, 10)), entry(1, square(5, "emu"))], NAMING) == [[], []]


def test_a_size_that_is_not_declared_is_read_from_the_header_alone(tmp_path):
    path = tmp_path / "a.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 40, 20, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))
    # No pixels follow: whoever decoded it would fail.
    path.write_bytes(path.read_bytes() + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    found = candidates([entry(0, square(10), size=None, picture=path)], NAMING)
    assert found[0][0].share == 100 / 800
    assert shares([entry(0, square(10), size=None, picture=tmp_path / "missing.png")])[0] == [None]
    assert shares([entry(0, square(10), size=None)])[0] == [None]


class TestOrder:
    ENTRIES = tuple(entry(i, square(side)) for i, side in enumerate(range(1, 101)))

    def order(self, entries=ENTRIES, *, seed=0):
        return [c.entry.source_id for c in drawing_order(candidates(entries, NAMING)[0], seed=seed)]

    def test_any_first_few_come_from_all_sizes_alike(self):
        strata = [int(name.removesuffix(".png")) // (100 // STRATA) for name in self.order()]
        for count in range(1, 101):
            per_stratum = [strata[:count].count(k) for k in range(STRATA)]
            assert max(per_stratum) - min(per_stratum) <= 1

    def test_pictures_of_one_size_are_in_no_order_of_their_names(self):
        order = self.order([entry(i, square(5)) for i in range(50)])
        assert sorted(order) != order
        assert len(set(order)) == 50

    def test_every_picture_comes_once(self):
        assert sorted(self.order()) == sorted(e.source_id for e in self.ENTRIES)

    @pytest.mark.parametrize("count", [0, 1, 2, 4, 7])
    def test_few_pictures_are_all_drawn(self, count):
        assert sorted(self.order(self.ENTRIES[:count])) == sorted(e.source_id for e in self.ENTRIES[:count])

    def test_the_order_of_the_files_does_not_matter_and_the_seed_does(self):
        shuffled = random.Random(1).sample(self.ENTRIES, 100)
        assert self.order(shuffled) == self.order()
        assert self.order(seed=1) != self.order()

    def test_each_round_begins_with_another_size(self):
        first = {int(self.order(seed=seed)[0].removesuffix(".png")) // (100 // STRATA) for seed in range(20)}
        assert len(first) > 1

    def test_pictures_of_unknown_size_take_their_turn(self):
        unknown = [entry(i, square(5), size=None) for i in range(100, 120)]
        order = self.order([*self.ENTRIES, *unknown])
        assert [sum(int(name[:-4]) >= 100 for name in order[:n]) for n in (6, 12, 60)] == [1, 2, 10]

    def test_a_picture_keeps_its_seed_wherever_it_stands(self):
        seeds = [seed_of(s, name) for s, name in itertools.product((0, 1), ("a", "b", "ä\udcff"))]
        assert len(set(seeds)) == 6
        assert all(0 <= seed < 2**32 for seed in seeds)


def origins(*files, sizes=None):
    sizes = sizes or [(10, 10)] * len(files)
    return [Origin(file, size, 0.1, "") for file, size in zip(files, sizes, strict=True)]


def cues(files, *, sizes=None, names=(("cat",), ("dog",))):
    """Of six cats and as many dogs."""
    return shared_cues(origins(*files, sizes=sizes), [0] * 6 + [1] * 6, names)


class TestCues:
    def test_a_folder_of_one_class_alone_is_told(self):
        told = cues([f"studio/{i}.png" for i in range(6)] + [f"{'ab'[i % 2]}/{i}.png" for i in range(6)])
        assert told == [
            "all 6 probes of `cat` come from the folder studio, and none of another class does: the folder's look "
            "may pass for the class"
        ]

    def test_a_folder_that_another_class_shares_is_not(self):
        files = [f"studio/{i}.png" for i in range(6)] + [f"studio/{i}.png" for i in range(6, 12)]
        assert cues(files) == []
        assert cues([*files[:5], "garden/5.png", *(f"b{i}/{i}.png" for i in range(6))]) == []

    def test_folders_named_after_the_class_are_how_pictures_are_sorted(self):
        sorted_by_class = [f"val/Cat/{i}.png" for i in range(6)] + [f"val/hound/{i}.png" for i in range(6)]
        assert cues(sorted_by_class, names=(("cat",), ("dog", "hound"))) == []
        with_a_cue = [f"cat/studio/{i}.png" for i in range(6)] + [f"dog/{i}.png" for i in range(6)]
        assert "all 6 probes of `cat` come from the folder studio, all 6 probes of `dog`" in cues(with_a_cue)[0]

    def test_a_size_or_kind_of_file_of_one_class_alone_is_told(self):
        told = cues(["a.png"] * 6 + ["a.png", "b.jpg"] * 3, sizes=[(480, 640)] * 6 + [(10, 10), (20, 20)] * 3)
        assert [sentence.split(",")[0] for sentence in told] == [
            "all 6 probes of `cat` were 640x480 pixels (width x height)"
        ]
        (kind,) = cues(["a.PNG"] * 6 + ["b.jpg", "c.tif"] * 3)
        assert kind.startswith("all 6 probes of `cat` are .png files, and none of another class is: the traces of")

    def test_few_probes_and_a_class_alone_share_by_chance_or_with_nobody(self):
        few = origins("studio/0.png", "studio/1.png", "a/0.png", "b/0.png")
        assert shared_cues(few, [0, 0, 1, 1], [["cat"], ["dog"]]) == []
        assert shared_cues(origins(*["studio/0.png"] * 6), [0] * 6, [["cat"]]) == []


class TestBalance:
    CLASSES = tuple(ClassDraw(name, 50, 45, 0, 0, 0, 0, 0) for name in ("cat", "dog", "emu"))

    LONE = (
        "backgrounds of {} cannot be tested: fewer than 20 pictures of other classes, that do not show it as well, can "
        "lend theirs"
    )

    def told(self, *counts, per_class=40, pictures=None):
        labels = [k for k, count in enumerate(counts) for _ in range(count)]
        return too_few(self.CLASSES, labels, pictures or range(len(labels)), per_class=per_class)

    def test_classes_that_cannot_be_judged_are_named(self):
        assert self.told(40, 12, 0) == [
            "ProbeSet has fewer than 20 probes of 1 of 3 classes (dog: 12 of 50 pictures): it cannot be judged",
            self.LONE.format("`cat`"),
        ]

    def test_pictures_that_show_both_classes_are_no_donors(self):
        assert self.told(40, 40, pictures=[*range(40), *range(40)]) == [self.LONE.format("`cat`, `dog`")]
        assert self.told(40, 40, pictures=[*range(40), *range(20, 60)]) == []

    def test_enough_of_all_is_no_news(self):
        assert self.told(20, 20, per_class=20) == []
        assert self.told(20, 19, 19, per_class=20)[0].startswith("ProbeSet has fewer than 20")

    def test_a_per_class_that_is_too_small_is_told_instead(self):
        assert self.told(5, 5, 5, per_class=5) == [
            "ProbeSet: per_class is 5, and fewer than 20 probes of a class cannot be judged; 40 are recommended"
        ]
