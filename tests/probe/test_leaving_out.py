"""Probes left out by hand, what is asked of the wrong method, and what the counts of a drawing are against."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import TensorDataset

from camdebug import CAMMonitor, ProbeSet
from camdebug.geometry.steps import Resize
from camdebug.measures.localisation import MAX_AREA, MIN_AREA
from camdebug.probe.boxes import JUDGED_AREA
from camdebug.records import Exclusion
from camdebug.sources import AnnotatedObject, Annotations, Entry


def boxed():
    """Four probes of two classes, each picture of its own value and with a box of its own."""
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8) / 4
    boxes = [[[0.0, 0, 2 + i, 4]] for i in range(4)]
    return ProbeSet(images, [0, 0, 1, 1], boxes, class_names=["cat", "dog"], source_ids=["a", "b", "c", "d"])


def from_files(*sides, min_area=0.0):
    """Pictures of 100 by 100 pixels with a square object of these sides."""
    from PIL import Image

    def picture(number):
        noise = torch.randint(0, 256, (100, 100, 3), generator=torch.Generator().manual_seed(number))
        return lambda: Image.fromarray(noise.to(torch.uint8).numpy())

    entries = [
        Entry(f"{i}.png", picture(i), (AnnotatedObject("cat", (0.0, 0.0, side, side)),), size=(100, 100))
        for i, side in enumerate(sides)
    ]
    source = Annotations(entries, ("cat",), "boxes", f"a book, {len(entries)} pictures")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_source(source, geometry=[Resize((20, 20))], class_names=["cat"], min_area=min_area)


class TestWithout:
    def test_the_rest_stays_as_it_was_and_what_goes_is_an_exclusion(self):
        probes = boxed()
        before = probes.fingerprint
        rest = probes.without([2, "a"])
        assert rest.source_ids == ("b", "d")
        assert rest.images[:, 0, 0, 0].tolist() == [0.25, 0.75]
        assert (rest.labels.tolist(), rest.class_names) == ([0, 1], ("cat", "dog"))
        assert [boxes.tolist() for boxes in rest.boxes] == [[[0.0, 0, 3, 4]], [[0.0, 0, 5, 4]]]
        assert rest.exclusions == (Exclusion("a", "left out by hand"), Exclusion("c", "left out by hand"))
        assert (probes.fingerprint, len(probes)) == (before, 4)
        assert rest.fingerprint != before
        assert probes.without([]).fingerprint == before

    def test_masks_and_a_reason(self):
        masks = torch.zeros(2, 8, 8, dtype=torch.bool)
        masks[0, :4], masks[1, :2] = True, True
        ignored = torch.zeros(2, 8, 8, dtype=torch.bool)
        ignored[1, 6:] = True
        probes = ProbeSet(torch.rand(2, 1, 8, 8), [0, 0], masks=masks, ignore_masks=ignored)
        rest = probes.without(0, reason="blurred")
        assert torch.equal(rest.masks, masks[1:])
        assert torch.equal(rest.ignore_masks, ignored[1:])
        assert rest.exclusions == (Exclusion("0", "blurred"),)

    def test_provenance_and_a_saved_set_keep_up(self, tmp_path):
        rest = from_files(50, 40, 30, 20).without("1.png")
        areas = {"0.png": 0.25, "2.png": 0.09, "3.png": 0.04}
        assert {i: o.area for i, o in zip(rest.source_ids, rest.provenance.origins, strict=True)} == areas
        assert len(rest.provenance.thumbnails) == 3
        rest.save(tmp_path / "set")
        again = ProbeSet.load(tmp_path / "set")
        assert (again.fingerprint, again.exclusions) == (rest.fingerprint, rest.exclusions)

    def test_the_second_of_each_near_duplicate_goes(self):
        probes = from_files(50, 40, 30)
        probes.provenance.thumbnails[2] = probes.provenance.thumbnails[0]
        assert probes.without(j for _, j, _ in probes.near_duplicates()).source_ids == probes.source_ids[:2]

    @pytest.mark.parametrize(
        ("which", "error", "message"),
        [
            (["A"], ValueError, r"probes: expected source ids of the set \(a, b, c, d\), got 'A'"),
            ([4], ValueError, "probes: expected indices of 0 to 3, got 4"),
            ([-1], ValueError, "probes: expected indices of 0 to 3, got -1"),
            ([True], TypeError, "probes: expected indices or source ids, got True"),
            (1.5, TypeError, "probes: expected indices or source ids, got 1.5"),
            (range(4), ValueError, "probes: expected some to stay, got all 4 to be left out"),
        ],
    )
    def test_what_is_not_there_cannot_go(self, which, error, message):
        with pytest.raises(error, match=f"^{message}"):
            boxed().without(which)


class TestWays:
    DATAMODULE = SimpleNamespace(val_dataloader=list, setup=print, prepare_data=print)
    SOURCE = SimpleNamespace(read=list)

    @pytest.mark.parametrize(
        ("given", "way"), [(DATAMODULE, "from_datamodule"), (SOURCE, "from_source"), ("smears", "from_source")]
    )
    def test_from_dataset_names_the_right_one(self, given, way):
        with pytest.raises(
            TypeError, match=rf"^dataset: expected a map-style .*; ProbeSet\.{way}\(\.\.\.\) takes that$"
        ):
            ProbeSet.from_dataset(given)

    @pytest.mark.parametrize(
        ("given", "way"),
        [(DATAMODULE, "from_datamodule"), (TensorDataset(torch.zeros(2, 1)), "from_dataset")],
    )
    def test_from_source_names_the_right_one(self, given, way):
        with pytest.raises(TypeError, match=rf"^source: expected a source .*; ProbeSet\.{way}\(\.\.\.\) takes that$"):
            ProbeSet.from_source(given, geometry=[Resize(8)])

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("probes", r"from_source\(\.\.\.\), or load a saved one with ProbeSet\.load"),
            (SOURCE, "from_source"),
            (DATAMODULE, "from_datamodule"),
            ([], "from_dataset"),
        ],
    )
    def test_a_monitor_names_the_right_one(self, given, words):
        with pytest.raises(
            TypeError, match=rf"^probes: expected a camdebug.ProbeSet, got \w+; build one with .*{words}"
        ):
            CAMMonitor(given)


class TestCounts:
    def test_objects_are_counted_against_what_can_be_judged_whatever_is_drawn(self):
        assert JUDGED_AREA == (MIN_AREA, MAX_AREA) == (0.02, 0.7)
        probes = from_files(*[10] * 6, 90, 30)
        (draw,) = probes.provenance.classes
        assert len(probes) == 7  # all but the largest
        assert (draw.tried, draw.too_small_before, draw.too_small_after) == (8, 6, 6)
        assert (draw.too_large_before, draw.too_large_after) == (1, 1)
        assert probes.summary().next[0].startswith("Objects are too small (`cat` 6 of 8 before the transform, 6 after)")

    def test_with_the_default_limits_it_is_the_same(self):
        (draw,) = from_files(*[10] * 6, 90, 30, min_area=0.02).provenance.classes
        assert (draw.too_small_before, draw.too_small_after, draw.too_large_after) == (6, 6, 1)
