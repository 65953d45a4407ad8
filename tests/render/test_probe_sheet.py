"""Sheets of probes: pictures as the model receives them, annotations where they are, and everything said in full."""

import numpy as np
import pytest
import torch
from PIL import Image

from camdebug import ProbeSet
from camdebug.records import Origin, Provenance
from camdebug.render import probe_sheet, probe_sheet_layout
from camdebug.render.annotated import draw_annotations, outline_mask
from camdebug.render.ink import DARK, LIGHT, MARGIN, PAPER, WRONG, printable
from camdebug.render.picture import find_colours
from camdebug.render.probe_sheet import FRAME, draw_probe_sheet
from camdebug.render.probe_sheet_layout import GAP
from camdebug.render.probe_sheet_words import covered, identity, middle_cut, opening

GREY = (128, 128, 128)


def grey_set(count=1, size=(16, 16), **changes):
    """Pictures of mid grey; black and white in two corners fix the range of values."""
    images = torch.full((count, 3, *size), 128 / 255)
    images[:, :, 0, 0], images[:, :, 0, 1] = 0.0, 1.0
    arguments = {"labels": [0] * count, "boxes": torch.tensor([[4.0, 2, 12, 10]] * count), **changes}
    return ProbeSet(images, **arguments)


def written(monkeypatch, probes, **options):
    """All lines of text of a sheet, in the order in which they were written."""
    lines = []
    original = probe_sheet.write

    def noted(pen, at, text, size, **style):
        assert text == printable(text)
        assert size >= 11
        assert at[0] + probe_sheet.text_width(text, size, style.get("bold", False)) <= pen.im.size[0]
        assert at[1] + size <= pen.im.size[1]
        lines.append(text)
        original(pen, at, text, size, **style)

    monkeypatch.setattr(probe_sheet, "write", noted)
    draw_probe_sheet(probes, **options)
    return lines


def tile_of(sheet, size, number=0):
    """The picture in the first row: found as the grey area below the text."""
    image = np.asarray(sheet)
    left = MARGIN + number * (max(size, 200) + GAP)
    column = image[:, left + size - 2]
    top = int((column == GREY).all(1).nonzero()[0][0])
    return image[top : top + size, left : left + size]


class TestPictures:
    def test_boxes_are_where_they_should_be(self):
        tile = tile_of(draw_probe_sheet(grey_set()), 208)  # 13 times 16
        x1, y1, x2, y2 = 4 * 13, 2 * 13, 12 * 13 - 1, 10 * 13 - 1
        for y, x in ((y1, x1), (y1, x2), (y2, x1), (y2, x2), (y1, 100), (100, x1)):
            assert tuple(tile[y, x]) == LIGHT
            inside = min(max(y, y1 + 1), y2 - 1), min(max(x, x1 + 1), x2 - 1)
            assert tuple(tile[inside]) == DARK
        assert tuple(tile[y1 - 1, x1 - 1]) == tuple(tile[100, 100]) == GREY

    def test_colours_are_restored_with_the_statistics_of_the_set(self):
        mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
        shown = torch.tensor([0.8, 0.6, 0.2])
        images = ((shown - torch.tensor(mean)) / torch.tensor(std))[None, :, None, None].expand(1, 3, 8, 8)
        image = np.asarray(draw_probe_sheet(ProbeSet(images, [0], mean=mean, std=std)))
        assert (image == (204, 153, 51)).all(2).sum() == 200 * 200

    def test_pictures_of_one_and_of_five_channels_are_grey(self):
        for channels in (1, 5):
            images = torch.linspace(0, 1, channels)[None, :, None, None].expand(1, channels, 8, 8)
            value = round(255 * float(images.mean()))
            image = np.asarray(draw_probe_sheet(ProbeSet(images, [0])))
            assert (image == value).all(2).sum() >= 200 * 200

    def test_large_pictures_are_made_smaller(self):
        tile = tile_of(draw_probe_sheet(grey_set(size=(512, 512), boxes=torch.tensor([[64.0, 128, 256, 384]]))), 320)
        assert tuple(tile[80, 40]) == tuple(tile[239, 159]) == LIGHT
        assert tuple(tile[79, 40]) == GREY

    def test_a_box_that_cannot_be_judged_is_framed(self):
        boxes = torch.tensor([[4.0, 4, 6, 6], [0, 0, 16, 12], [4, 2, 12, 10]])  # 1.6, 75 and 25 %
        image = np.asarray(draw_probe_sheet(grey_set(3, boxes=boxes), sort="index"))
        framed = [(image[:, MARGIN + n * (208 + GAP) - FRAME] == WRONG).all(1).sum() for n in range(3)]
        assert framed == [208 + 2 * FRAME, 208 + 2 * FRAME, 0]

    def test_ignored_boxes_are_dashed_and_fainter(self):
        ignore = [torch.tensor([[0.0, 12, 16, 16]])]
        tile = tile_of(draw_probe_sheet(grey_set(ignore=ignore)), 208)
        line = tile[12 * 13, 20:188].astype(int).mean(1)
        dash = round(0.6 * 255 + 0.4 * 128)
        assert set(line.tolist()) == {128.0, float(dash)}
        assert 0.4 < (line == dash).mean() < 0.6

    def test_masks_have_their_own_outline(self):
        mask = torch.zeros(1, 16, 16, dtype=torch.bool)
        mask[0, 4:12, 2:6] = mask[0, 8:12, 2:14] = True  # an L
        tile = tile_of(draw_probe_sheet(grey_set(boxes=None, masks=mask)), 208)
        assert tuple(tile[4 * 13, 3 * 13]) == tuple(tile[5 * 13, 6 * 13 - 1]) == tuple(tile[8 * 13, 10 * 13]) == LIGHT
        assert tuple(tile[4 * 13 + 1, 3 * 13]) == tuple(tile[8 * 13 + 1, 10 * 13]) == DARK
        # The upper right corner of the box around it lies outside.
        assert tuple(tile[4 * 13, 14 * 13 - 1]) == tuple(tile[5 * 13, 10 * 13]) == GREY

    def test_ignored_masks_are_dashed(self):
        mask, ignore = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
        mask[0, :8], ignore[0, 12:] = True, True
        image = np.full((16, 16, 3), 128, np.uint8)
        draw_annotations(image, grey_set(boxes=None, masks=mask, ignore_masks=ignore), 0)
        assert [tuple(v) for v in image[12, 3:9:5].tolist()] == [(128,) * 3, (204,) * 3]
        assert tuple(image[0, 5]) == LIGHT

    def test_a_mask_of_one_pixel_of_a_large_picture_is_still_drawn(self):
        mask = torch.zeros(512, 512, dtype=torch.bool)
        mask[100, 300] = True
        image = np.zeros((64, 64, 3), np.uint8)
        outline_mask(image, mask)
        assert np.argwhere(image.any(2)).tolist() == [[12, 37]]


class TestText:
    def test_a_set_says_what_it_is(self, monkeypatch):
        probes = ProbeSet(
            torch.rand(3, 3, 8, 8),
            [1, 0, 1],
            [[[0.0, 0, 4, 4]], [[0.0, 0, 1, 1]], [[0.0, 0, 4, 4], [4, 4, 8, 6]]],
            class_names=["cat", "dog"],
            source_ids=["0", "a/b.png", "c.png"],
        )
        assert written(monkeypatch, probes) == [
            "3 probes in 2 classes",
            "As the model receives them, 8x8 pixels. Pixels lie in [0, 1] and are shown as they are.",
            "Double line: box of the object. Framed in red: objects below 2 or above 70 % of the picture, which",
            "cannot be judged.",
            "cat",
            "1 probe",
            "#1  a/b.png",
            "too small: 1.6 %",
            "dog",
            "2 probes",
            "#0",
            "25 % of the picture",
            "#2  c.png",
            "38 % of the picture, 2 boxes",
        ]

    def test_a_legend_explains_what_there_is_and_nothing_else(self):
        def said(**changes):
            probes = grey_set(2, class_names=["cat"], **changes)
            return " ".join(text for text, _, _ in opening(probes, 2, find_colours(probes.images)))

        plain = said(source_ids=["a.png", "b.png"])
        assert "Double line: box of the object." in plain
        assert not any(words in plain for words in ("Framed", "Dashed", "folder", "Behind"))
        crops = said(source_ids=["val/one/a.png#0", "val/one/a.png#1"])
        assert "Names stand without the folder that all share, val/one/. Behind a name #0, #1, ...: which ob" in crops
        assert "Behind a colon: the class" in said(source_ids=["a.png:cat", "b.png"])
        assert "folder" not in said(source_ids=["a/1.png", "ab/2.png"])

    def test_a_shared_folder_is_left_out_of_names(self, monkeypatch):
        lines = written(monkeypatch, grey_set(2, source_ids=["val/x/a.png", "val/y/b.png"]))
        assert [line for line in lines if line.startswith("#")] == ["#0  x/a.png", "#1  y/b.png"]

    def test_sizes_have_the_width_first(self, monkeypatch):
        lines = written(monkeypatch, ProbeSet(torch.rand(1, 3, 8, 12), [0]))
        assert lines[1].startswith("As the model receives them, 12x8 pixels (width x height). Pixels")

    def test_where_it_comes_from_and_which_classes_are_empty(self):
        with pytest.warns(UserWarning, match="no probe of 1 class"):
            probes = grey_set(class_names=["cat", "dog"])
        origin = Origin("", (8, 8), 0.1, "")
        probes.provenance = Provenance(
            "YOLO, 9 pictures", "Compose(\n  Resize()\n)", 0, False, {}, (origin,), torch.zeros(1, 32, 32), ()
        )
        texts = [text for text, _, _ in opening(probes, 1, find_colours(probes.images))]
        assert texts[3:] == ["YOLO, 9 pictures, through Compose( Resize() )", "No probe of 1 of 2 classes: dog"]

    def test_without_annotations_nothing_is_said_about_areas(self, monkeypatch):
        lines = written(monkeypatch, ProbeSet(torch.rand(1, 3, 8, 8), [0]))
        assert lines[2:] == ["Nothing is annotated.", "0", "1 probe", "#0"]

    @pytest.mark.parametrize(
        "name", ["\U0001fa78 blood", "x" * 200, "<b>&amp;</b>", "a\nb\x1b[2J", "\u202eright", "", "a `tick`"]
    )
    def test_any_name_and_any_source_fits(self, monkeypatch, name):
        probes = grey_set(class_names=[name], source_ids=[f"{name}/{'y' * 300}/1.png"])
        lines = written(monkeypatch, probes)
        assert "1 probe" in lines
        assert lines[-2].startswith("#0")
        assert lines[-2].endswith(".png")

    def test_a_source_is_shortened_in_its_middle(self):
        assert middle_cut("0123456789", 10) == "0123456789"
        assert middle_cut("0123456789", 9) == "012...789"
        assert middle_cut("0123456789", 8) == "01...789"
        assert middle_cut("0123456789", 1) == "...9"
        assert identity(grey_set(source_ids=["folder/long-name.png"]), 0, 12) == "#0  fold...e.png"

    def test_areas_have_two_digits(self):
        probes = grey_set(boxes=torch.tensor([[0.0, 0, 2, 4]]))
        assert covered(probes, 0, 0.03125) == "3.1 % of the picture"
        assert covered(probes, 0, 0.71) == "too large: 71 %"
        assert covered(probes, 0, 0.0199) == "too small: 2.0 %"

    def test_a_doubt_about_the_boxes_stands_on_top_in_a_band_of_its_own(self, monkeypatch):
        rng = np.random.default_rng(0)
        images, boxes = torch.rand(24, 3, 32, 32), rng.integers(1, 14, size=(24, 2))
        boxes = np.concatenate([boxes, boxes + rng.integers(6, 17, size=(24, 2))], 1)
        for image, (x1, y1, x2, y2) in zip(images, boxes, strict=True):
            image[:, y1:y2, x1:x2] += 2
        right = ProbeSet(images, [0] * 24, boxes[:, None])
        with pytest.warns(UserWarning, match="x and y were swapped"):
            wrong = ProbeSet(images, [0] * 24, boxes[:, None, [1, 0, 3, 2]])
        assert written(monkeypatch, right)[0] == "24 probes in 1 class"
        assert written(monkeypatch, wrong)[0].startswith("The boxes may be wrong: read as if x and y were swapped")
        assert tuple(np.asarray(draw_probe_sheet(wrong))[0, 0]) == WRONG
        assert tuple(np.asarray(draw_probe_sheet(right))[0, 0]) == PAPER


def numbered(counts, size=4):
    """So many probes of each class, of growing area."""
    total = sum(counts)
    boxes = torch.tensor([[0.0, 0, size, size * (i + 1) / total] for i in range(total)])
    labels = [k for k, count in enumerate(counts) for _ in range(count)]
    return ProbeSet(torch.rand(total, 1, size, size), labels, boxes)


def drawn(monkeypatch, probes, **options):
    """Rows of the probes that are drawn."""
    return [int(text[1:]) for text in written(monkeypatch, probes, **options) if text.startswith("#")]


class TestChoice:
    def test_up_to_64_probes_are_all_drawn(self, monkeypatch):
        assert sorted(drawn(monkeypatch, numbered([60, 4]))) == list(range(64))

    def test_of_more_some_of_each_class_are_drawn_and_how_many_is_said(self, monkeypatch):
        probes = numbered([66, 4])
        lines = written(monkeypatch, probes)
        assert lines[0] == "70 probes in 2 classes, 64 of them shown, evenly over their areas"
        assert "66 probes, 60 shown" in lines
        assert "4 probes" in lines
        assert {66, 67, 68, 69, 0, 65} <= set(drawn(monkeypatch, probes))

    def test_per_class_takes_the_smallest_the_largest_and_evenly_between(self, monkeypatch):
        assert drawn(monkeypatch, numbered([9, 2]), per_class=3) == [0, 4, 8, 9, 10]
        assert drawn(monkeypatch, numbered([9]), per_class=1) == [4]

    def test_all_are_drawn_when_asked_for(self, monkeypatch):
        assert len(drawn(monkeypatch, numbered([60, 20]), per_class="all")) == 80

    def test_a_sheet_never_grows_too_large(self, monkeypatch):
        monkeypatch.setattr(probe_sheet_layout, "MOST_PIXELS", 2_000_000)
        probes = numbered([40, 40, 1])
        sheet = draw_probe_sheet(probes, per_class="all")
        assert 1_000_000 < sheet.width * sheet.height < 2_300_000
        lines = written(monkeypatch, probes, per_class="all")
        shown = sum(line.startswith("#") for line in lines)
        assert lines[0] == f"81 probes in 3 classes, {shown} of them shown, evenly over their areas"
        assert 10 < shown < 81

    def test_order_by_index_or_by_area(self, monkeypatch):
        probes = ProbeSet(torch.rand(3, 1, 4, 4), [0] * 3, torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 3, 3]]))
        assert drawn(monkeypatch, probes) == [1, 2, 0]
        assert drawn(monkeypatch, probes, sort="index") == [0, 1, 2]

    def test_small_classes_stand_side_by_side(self, monkeypatch):
        places = {}
        original = probe_sheet.write

        def noted(pen, at, text, size, **style):
            places.setdefault(text, at)
            original(pen, at, text, size, **style)

        monkeypatch.setattr(probe_sheet, "write", noted)
        step = 200 + GAP
        sheet = draw_probe_sheet(numbered([1, 2, 4, 3]), columns=4)
        alone = draw_probe_sheet(numbered([4]), columns=4)
        heads = [places[str(k)] for k in range(4)]
        assert [x for x, _ in heads] == [MARGIN, MARGIN + step, MARGIN, MARGIN]
        assert heads[0][1] == heads[1][1] < heads[2][1] < heads[3][1]
        row = heads[2][1] - heads[0][1]
        assert sheet.height - alone.height == 2 * row

    def test_many_classes_of_one_probe_are_no_long_column(self):
        assert draw_probe_sheet(numbered([1] * 60)).height < draw_probe_sheet(numbered([60])).height * 1.5

    def test_columns(self):
        probes = numbered([6])
        wide, high = (draw_probe_sheet(probes, columns=columns) for columns in (6, 4))
        assert wide.width == 2 * MARGIN + 6 * 200 + 5 * GAP
        assert high.width == 2 * MARGIN + 4 * 200 + 3 * GAP
        assert high.height > wide.height

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"per_class": 0}, 'per_class: expected a whole number of at least 1, or "all", got 0'),
            ({"per_class": "some"}, "per_class: expected .*, got 'some'"),
            ({"per_class": True}, "per_class: expected .*, got True"),
            ({"columns": 41}, "columns: expected a whole number of 1 to 40, got 41"),
            ({"columns": 2.0}, "columns: expected a whole number of 1 to 40, got 2.0"),
            ({"sort": "size"}, 'sort: expected "area" or "index", got \'size\''),
        ],
    )
    def test_wrong_arguments_are_named(self, options, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            grey_set().preview(**options)


class TestFile:
    def test_the_file_holds_what_is_returned(self, tmp_path):
        image = grey_set().preview(tmp_path / "probes.png")
        assert [path.name for path in tmp_path.iterdir()] == ["probes.png"]
        with Image.open(tmp_path / "probes.png") as stored:
            assert stored.format == "PNG"
            assert np.array_equal(np.asarray(stored), np.asarray(image))

    def test_an_earlier_file_gives_way_only_to_a_whole_one(self, tmp_path, monkeypatch):
        path = tmp_path / "probes.png"
        path.write_bytes(b"earlier")

        def fails(*_, **__):
            raise OSError("disk full")

        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", fails)
            with pytest.raises(OSError, match="disk full"):
                grey_set().preview(path)
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("probes.png", b"earlier")]
        grey_set().preview(str(path))
        assert path.read_bytes()[:4] == b"\x89PNG"

    def test_names_and_folders_are_checked_before_anything_is_drawn(self, tmp_path):
        with pytest.raises(ValueError, match=r"^path: expected a name that ends in \.png, got 'probes.jpg'$"):
            grey_set().preview(tmp_path / "probes.jpg")
        with pytest.raises(FileNotFoundError, match=r"^path: there is no folder"):
            grey_set().preview(tmp_path / "none" / "probes.png")
        assert list(tmp_path.iterdir()) == []

    def test_the_set_stays_as_it_is(self):
        probes = grey_set()
        before = probes.images.clone(), probes.fingerprint
        probes.preview()
        assert torch.equal(probes.images, before[0])
        assert probes.fingerprint == before[1]
