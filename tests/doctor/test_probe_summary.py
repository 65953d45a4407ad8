"""What a set can show: counts, areas, exclusions, what is missing, and what to do next, to the word."""

import json
import warnings
from dataclasses import replace

import pytest
import torch

from camdebug import ProbeSet
from camdebug.doctor.probe_summary import ClassSummary, Reason, Spread
from camdebug.observe import Observer
from camdebug.records import ClassDraw, Origin, Provenance
from camdebug.verdict.judge import Judge
from camdebug.verdict.power import smallest_gap

LOOK = 'Look once at probes.preview("probes.png"), and keep the set with probes.save(folder).'


def quiet(*arguments, **changes):
    """A set without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet(*arguments, **changes)


def probes(counts, *, areas=(0.25,), size=10, names=None, **changes):
    """So many probes of each class; boxes over the whole width, of the areas in turn."""
    total = sum(counts)
    labels = [k for k, count in enumerate(counts) for _ in range(count)]
    boxes = torch.tensor([[[0.0, 0, size, size * areas[i % len(areas)]]] for i in range(total)])
    images = torch.rand(total, 1, size, size, generator=torch.Generator().manual_seed(0))
    names = names or [chr(ord("a") + k) for k in range(len(counts))]
    return quiet(images, labels, changes.pop("boxes", boxes), class_names=names, **changes)


def drawn(found, *, before=0.1, classes=(), digests=None):
    """The same set as if it had been drawn from files."""
    digests = digests or [str(i) for i in range(len(found))]
    origins = tuple(Origin(f"{d}.png", (20, 30), before, d) for d in digests)
    thumbnails = torch.randint(0, 256, (len(found), 32, 32), generator=torch.Generator().manual_seed(0))
    found.provenance = Provenance(
        "COCO, 9 pictures", "Compose(\n  Resize()\n)", 0, False, {}, origins, thumbnails.to(torch.uint8), classes
    )
    return found


@pytest.fixture(autouse=True)
def _simulations_only_where_they_are_asked_for(request, monkeypatch):
    if request.cls is not TestOutlook:
        monkeypatch.setattr(Observer, "smallest_gaps", lambda self, looks: {"cat": 0.123})
        monkeypatch.setattr(Observer, "smallest_effect", lambda self, looks: f"So much in {looks} looks.")


class TestOutlook:
    def test_what_can_be_found_is_what_an_observer_says_for_the_planned_looks(self):
        found = probes([24, 30])
        few = found.summary(epochs=3)
        observer = Observer(found)
        gaps = [c.smallest_gap for c in few.classes]
        pairs, tests = [24, 24], 2  # as many as there are donors of the other class
        share = Judge(found.class_names).confirm_threshold(tests=tests, looks_left=3)
        assert gaps == [smallest_gap(count, share) for count in pairs]
        assert few.outlook == observer.smallest_effect(3)
        assert few.outlook.startswith("With 24 pairs of backgrounds a class, a fall in probability of 0.")


class TestFacts:
    def test_a_class_is_described_by_counts_and_areas(self):
        found = probes([5, 0], areas=(0.01, 0.1, 0.3, 0.5, 0.8)).summary()
        assert found.classes == (
            ClassSummary(
                name="a",
                probes=5,
                pictures=5,
                usable=3,
                too_small=1,
                too_large=1,
                area=Spread(pytest.approx(0.01), pytest.approx(0.3), pytest.approx(0.8)),
                area_before=None,
                draw=None,
                judged=False,
                smallest_gap=None,
                missing=17,
                missing_donors=20,
                missing_recommended=37,
                places=False,
            ),
            ClassSummary("b", 0, 0, 0, 0, 0, None, None, None, False, None, 20, 17, 40, False),
        )
        assert (found.probes, found.pictures, found.image_size, found.annotation) == (5, 5, (10, 10), "boxes")
        assert (found.source, found.transform, found.epochs) == (None, None, None)

    def test_twenty_probes_and_twenty_donors_are_enough_and_one_less_is_not(self):
        def judged(*counts):
            return [c.judged for c in probes(counts).summary().classes]

        assert judged(20, 20) == [True, True]
        assert judged(20, 19) == [False, False]
        assert judged(20, 19, 1) == [True, False, False]

    def test_a_picture_that_shows_the_class_too_is_no_donor(self):
        images = torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(2))
        boxes = torch.tensor([[2.0, 2, 6, 6]]).repeat(54, 1)
        shown = torch.cat([torch.arange(30), torch.arange(6, 30)])  # six pictures of the first class alone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ProbeSet(images[shown], [0] * 30 + [1] * 24, boxes).summary()
        assert [(c.missing, c.missing_donors, c.judged) for c in found.classes] == [(0, 20, False), (0, 14, False)]
        assert "that do not show it, to lend 20 backgrounds: `0` 20, `1` 14" in " ".join(str(found).split())

    def test_donors_are_counted_over_all_other_classes(self):
        classes = probes([30, 5, 6]).summary().classes
        assert [c.missing_donors for c in classes] == [9, 0, 0]
        assert [c.missing for c in classes] == [0, 15, 14]
        assert [c.missing_recommended for c in classes] == [10, 35, 34]
        assert [c.places for c in classes] == [True, False, False]

    def test_pictures_are_counted_once_by_what_they_show(self):
        found = probes([2, 1])
        found.images[1] = found.images[0]
        summary = found.summary()
        assert (summary.probes, summary.pictures, summary.near_duplicates) == (3, 2, 1)
        assert [c.pictures for c in summary.classes] == [1, 1]
        assert drawn(probes([2, 1]), digests=["x", "y", "x"]).summary().pictures == 2

    def test_exclusions_and_dropped_boxes_are_grouped_by_reason(self):
        boxes = [[[0.0, 0, 5, 5]]] * 3 + [[[2.0, 2, 2, 5]], [[9, 9, 3, 3]], [[2, 2, 2, 5], [0, 0, 4, 4]]]
        summary = probes([6], boxes=boxes).summary()
        assert summary.left_out == (Reason("box of no area", 1), Reason("box inverted", 1))
        assert summary.dropped_boxes == (Reason("box of no area", 1),)

    def test_masks_and_sets_without_annotations(self):
        masks = torch.zeros(4, 10, 10, dtype=torch.bool)
        masks[:, :5] = True
        found = probes([4], boxes=None, masks=masks).summary()
        assert (found.annotation, found.classes[0].area) == ("masks", Spread(0.5, 0.5, 0.5))
        bare = probes([24], boxes=None).summary()
        assert (bare.annotation, bare.classes[0].area, bare.classes[0].usable) == ("none", None, 0)
        assert bare.classes[0].places
        assert bare.next == ("Annotate the objects, if backgrounds shall be tested.",)

    def test_doubts_about_boxes_come_with_it(self):
        torch.manual_seed(0)
        images = torch.rand(24, 3, 32, 32)
        corners = torch.randint(1, 14, (24, 2))
        boxes = torch.cat([corners, corners + torch.randint(6, 17, (24, 2))], 1)
        for image, (x1, y1, x2, y2) in zip(images, boxes.tolist(), strict=True):
            image[:, y1:y2, x1:x2] += 2
        right, wrong = (quiet(images, [0] * 24, b[:, None]).summary() for b in (boxes, boxes[:, [1, 0, 3, 2]]))
        assert right.suspicions == ()
        assert wrong.suspicions[0].startswith("The boxes may be wrong: read as if x and y were swapped, they fit 2")
        assert wrong.next[0] == 'Look at the boxes, with probes.preview("probes.png"), before anything else.'
        assert LOOK not in wrong.next
        assert f"doubt     {wrong.suspicions[0]}"[:60] in str(wrong)

    @pytest.mark.parametrize("epochs", [0, -1, 2.0, True, "3"])
    def test_epochs_are_a_whole_number(self, epochs):
        with pytest.raises(ValueError, match=r"^epochs: expected a whole number of at least 1, or None, got"):
            probes([2]).summary(epochs=epochs)


class TestNext:
    def test_nothing_is_missing(self):
        found = probes([40, 40]).summary(epochs=5)
        assert found.next == (LOOK,)
        assert "missing   nothing: every class can become suspect and confirmed" in str(found)

    def test_what_is_missing_is_counted(self):
        found = probes([20, 25, 3]).summary()
        assert found.next == (
            "Add probes with objects of 2 to 70 % of the picture, at least 17 of `c`.",
            "For smaller effects add up to the recommended 40 a class: 20 of `a`, 15 of `b`.",
            LOOK,
        )

    def test_other_classes_must_lend(self):
        assert probes([40]).summary().next[0] == "Add another class: backgrounds of other classes are needed."
        step = "Add pictures of other classes alone, which lend their backgrounds; or cut objects out"
        assert any(said.startswith(step) for said in probes([40, 12]).summary().next)

    def test_alike_probes_are_named(self):
        found = probes([40, 40])
        found.images[1] = found.images[0]
        summary = found.summary()
        assert "alike     1 pair of probes shows nearly the same picture" in str(summary)
        assert "Leave one of each pair out, with probes.without(j for _, j, _ in probes.near_" in summary.next[0]

    def test_crops_are_mended_by_their_own_arguments(self):
        draw = ClassDraw("a", 90, 60, 0, 30, 0, 0, 0)
        found = drawn(probes([40, 40]), classes=(draw,))
        found.provenance = replace(found.provenance, source="214 crops of COCO, 9 pictures")
        assert found.summary().next[0].endswith("30 after). Take a larger side= or context= of ObjectCrops.")

    def test_what_only_files_of_one_class_share_is_said_after_saving_too(self, tmp_path):
        found = drawn(probes([20, 20], names=["cat", "dog"]))
        origins = [replace(o, image_size=(30, 20 + (i >= 20))) for i, o in enumerate(found.provenance.origins)]
        assert found.summary().cues == ()
        found.provenance = replace(found.provenance, origins=tuple(origins))
        found.save(tmp_path / "set")
        for each in (found, ProbeSet.load(tmp_path / "set")):
            summary = each.summary()
            assert summary.cues == (
                "all 20 probes of `cat` were 20x30 pixels (width x height), all 20 probes of `dog` were 21x30 pixels "
                "(width x height), and none of another class was: the traces of that size may pass for the class",
            )
            assert summary.next[0].startswith("Take pictures of all classes from the same folders")
            assert "cue       All 20 probes of `cat` were 20x30" in str(summary)

    def test_folders_are_no_cue_where_they_are_the_annotation(self):
        found = drawn(probes([20, 20], boxes=None, names=["cat", "dog"]))
        origins = [
            replace(o, file=f"{('kitten', 'puppy')[i >= 20]}/{i}.png") for i, o in enumerate(found.provenance.origins)
        ]
        found.provenance = replace(found.provenance, origins=tuple(origins))
        assert found.summary().cues == ()
        inner = [replace(o, file=o.file.replace("kitten/", "kitten/studio/")) for o in origins]
        found.provenance = replace(found.provenance, origins=tuple(inner))
        assert "from the folder studio" in found.summary().cues[0]

    def test_a_transform_that_makes_objects_too_large_or_too_small(self):
        def told(**tally):
            draw = {"offered": 90, "tried": 60, "gone": 0, "too_large_before": 0, "too_large_after": 0}
            draw |= {"too_small_before": 0, "too_small_after": 0, **tally}
            return drawn(probes([40, 40]), classes=(ClassDraw("a", **draw),)).summary().next[0]

        assert told(too_large_before=8, too_large_after=16) == (
            "Objects are too large (`a` 8 of 60 before the transform, 16 after). Resize whole pictures, in place of a "
            "crop; or, for ObjectCrops, take a larger side= or context=."
        )
        assert told(too_small_before=29, too_small_after=30) == (
            "Objects are too small (`a` 29 of 60 before the transform, 30 after). Let the model see larger pictures, "
            "or crops around the objects (camdebug.sources.ObjectCrops)."
        )
        assert told(too_large_before=9, too_large_after=16) == LOOK
        assert told(too_large_before=1, too_large_after=4) == LOOK


class TestWords:
    def test_a_set_of_tensors(self):
        found = probes([40, 22], areas=(0.1, 0.25, 0.3), names=["cat", "\u732b"]).summary(epochs=10)
        lines = str(found).splitlines()
        assert lines[:6] == [
            "camdebug probes: 2 of 2 classes can be judged; 62 probes of 62 pictures, 10x10 pixels, boxes.",
            "",
            "class  probes  pictures  usable  < 2 %  > 70 %  finds  area, %: least / median / most",
            "cat        40        40      40      0       0   0.12                    10 / 25 / 30",
            "\u732b         22        22      22      0       0      -                    10 / 25 / 30",
            "(finds: the smallest fall in probability that is likely to be confirmed)",
        ]
        assert lines[7:9] == [
            "missing   nothing: every class can become suspect and confirmed",
            "places    heat at a fixed place can be tested in 2 of 2 classes, where maps have cells enough",
        ]
        assert lines[9] == "power     Planned: 10 looks. So much in 10 looks."
        assert "power     Looks are not planned yet. So much in None looks." in str(probes([20, 20]).summary())
        assert lines[-1] == f"          2. {LOOK}"
        assert max(map(len, lines)) <= 110

    def test_a_set_from_files(self):
        draw = ClassDraw("a", 90, 61, 2, 3, 4, 14, 5)
        lines = str(drawn(probes([40, 40]), classes=(draw,)).summary()).splitlines()
        assert lines[1] == "COCO, 9 pictures, through Compose( Resize() )"
        start = lines.index("Objects of the pictures that were tried, before -> after the transform:")
        assert lines[start + 1 : start + 4] == [
            "class     tried    < 2 %  > 70 %  nothing left  area before, %: least / median / most",
            "a      61 of 90  4 -> 14  2 -> 3             5                           10 / 10 / 10",
            "",
        ]

    def test_what_was_left_out(self):
        boxes = [[[0.0, 0, 5, 5]]] * 4 + [[[2.0, 2, 2, 5]], [[2.0, 2, 2, 5]], [[9, 9, 3, 3]]]
        text = str(probes([7], boxes=boxes).summary())
        assert "left out  3 pictures: 2 x box of no area; 1 x box inverted" in text

    def test_ignored_boxes_are_explained(self):
        boxes, ignore = [[[0.0, 0, 5, 5]]] * 3, [torch.tensor([[5.0, 5, 2, 2]]), *[torch.zeros(0, 4)] * 2]
        text = " ".join(str(probes([3], boxes=boxes, ignore=ignore).summary()).split())
        assert "1 box of pictures that were kept: 1 x ignored box inverted (ignored: of other objects in the" in text

    def test_many_classes_without_a_probe_are_one_line(self):
        few = str(probes([3, *[0] * 5]).summary()).splitlines()
        assert [line[0] for line in few[3:9]] == list("abcdef")
        found = drawn(probes([3, *[0] * 6]), classes=(ClassDraw("c", 9, 4, 0, 0, 0, 4, 0),))
        lines = str(found.summary()).splitlines()
        start = lines.index("no probe of 6 classes: `b`, `c`, `d`, `e`, `f`, ...")
        assert lines[start - 1].startswith("a ")
        assert found.summary().next[0].endswith("17 of `a`, 20 of `b`, 20 of `c`, 20 of `d`, 20 of `e`, ...")
        assert any(line.split()[:4] == ["c", "4", "of", "9"] for line in lines)  # why it is empty stays to be seen

    def test_sizes_have_the_width_first(self):
        images = torch.rand(2, 1, 10, 12)
        assert "12x10 pixels (width x height), nothing" in str(quiet(images, [0, 0]).summary())

    def test_without_annotations_what_places_take_is_missing_too(self):
        text = " ".join(str(quiet(torch.rand(3, 1, 10, 10), [0, 0, 1]).summary()).split())
        assert "boxes or masks, for suspect and confirmed; probes, of which heat at a fixed place takes 20 a " in text

    def test_names_are_shortened_in_tables_and_sentences(self):
        long = "<b>" + "n" * 200
        lines = str(probes([3, 3], names=[long, "a\x1b[2Jb"]).summary()).splitlines()
        assert lines[3].startswith("<b>" + "n" * 22 + "...  ")
        assert lines[4].startswith("a[2Jb  ")
        assert max(map(len, lines)) <= 110

    def test_many_classes_are_cut_in_words_alone(self):
        found = probes([1] * 60, names=[str(k) for k in range(60)]).summary()
        assert "and 10 more classes (to_dict() has all)" in str(found)
        assert len(found.to_dict()["classes"]) == 60


def test_it_is_json_of_plain_values():
    found = drawn(probes([3, 2]), classes=(ClassDraw("a", 9, 4, 0, 0, 0, 0, 0),)).summary(epochs=4)
    plain = json.loads(found.to_json())
    assert plain == found.to_dict()
    assert plain["schema"] == 1
    assert plain["classes"][0]["draw"]["tried"] == 4
    assert plain["classes"][0]["area_before"] == {"least": 0.1, "median": 0.1, "most": 0.1}
    assert plain["classes"][1]["draw"] is None
    assert plain["epochs"] == 4
