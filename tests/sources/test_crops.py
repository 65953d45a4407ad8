"""Crops of objects: positions by hand, pixels against Pillow's own crop."""

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from camdebug.records import Exclusion
from camdebug.sources import AnnotatedObject, Annotations, Entry, ObjectCrops, Unusable
from camdebug.sources.pictures import open_picture


class Written:
    """A source of one picture of 60x40 (width by height), every pixel with a colour of its own."""

    def __init__(self, folder, objects, *, kind="boxes", size=(40, 60)):
        self.folder, self.objects, self.kind, self.size = folder, objects, kind, size

    def read(self):
        path = self.folder / "one.png"
        x, y = np.meshgrid(np.arange(60), np.arange(40))
        Image.fromarray(np.stack([x, y, x + y], -1).astype(np.uint8)).save(path)
        objects = tuple(AnnotatedObject(name, box) for name, box in self.objects)
        entry = Entry("one.png", path, objects, self.size, "one.png")
        return Annotations([entry], ("cell",), self.kind, "one picture", (Exclusion("two.png", "missing"),))


def corner_and_size(crop):
    pixels = np.asarray(open_picture(crop))
    return (int(pixels[0, 0, 0]), int(pixels[0, 0, 1])), pixels.shape[:2]


def test_a_square_of_twice_the_longer_side_lies_around_the_box(tmp_path):
    found = ObjectCrops(Written(tmp_path, [("cell", (20.0, 10.0, 30.0, 16.0))])).read()
    (crop,) = found.entries
    assert corner_and_size(crop) == ((15, 3), (20, 20))
    assert (crop.size, crop.source_id, crop.file) == ((20, 20), "one.png#0", "one.png")
    assert crop.objects[0].box == (5.0, 7.0, 15.0, 13.0)
    assert found.source == "1 crops of one picture"
    assert found.exclusions == (Exclusion("two.png", "missing"),)


@pytest.mark.parametrize(
    ("box", "corner", "size", "moved"),
    [
        ((0.0, 0.0, 10.0, 10.0), (0, 0), (20, 20), (0.0, 0.0, 10.0, 10.0)),
        ((52.0, 30.0, 60.0, 40.0), (40, 20), (20, 20), (12.0, 10.0, 20.0, 20.0)),
        ((10.0, 0.0, 40.0, 40.0), (0, 0), (40, 60), (10.0, 0.0, 40.0, 40.0)),
    ],
    ids=["moved inwards", "at the far corner", "cut where the picture is too small"],
)
def test_at_the_border_the_square_stays_in_the_picture(tmp_path, box, corner, size, moved):
    (crop,) = ObjectCrops(Written(tmp_path, [("cell", box)])).read().entries
    assert corner_and_size(crop) == (corner, size)
    assert crop.objects[0].box == moved


def test_other_objects_in_the_square_are_ignored_and_those_beyond_it_are_not_there(tmp_path):
    own, near, far = (20.0, 10.0, 30.0, 16.0), (28.0, 12.0, 40.0, 18.0), (50.0, 30.0, 58.0, 38.0)
    crops = ObjectCrops(Written(tmp_path, [("cell", own), ("cell", near), ("other", far)])).read().entries
    assert [(o.name, o.box, o.ignored) for o in crops[0].objects] == [
        ("cell", (5.0, 7.0, 15.0, 13.0), False),
        ("cell", (13.0, 9.0, 25.0, 15.0), True),
    ]
    assert [o.ignored for o in crops[1].objects] == [True, False]


def test_no_more_than_asked_for_of_a_class_come_from_one_picture(tmp_path):
    objects = [("a", (1.0, 1.0, 9.0, 9.0)), ("a", (11.0, 1.0, 19.0, 9.0)), ("b", (21.0, 1.0, 29.0, 9.0))]
    crops = ObjectCrops(Written(tmp_path, objects), most=1).read().entries
    assert [crop.source_id for crop in crops] == ["one.png#0", "one.png#2"]
    assert len(ObjectCrops(Written(tmp_path, objects)).read().entries) == 3


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5.0, 5.0, 5.0, 9.0), "box that cannot be cut out"),
        ((9.0, 5.0, 5.0, 9.0), "box that cannot be cut out"),
        ((70.0, 5.0, 80.0, 9.0), "box that cannot be cut out"),
        ((float("nan"), 5.0, 8.0, 9.0), "box that cannot be cut out"),
        ((5.0, 5.0, 7.0, 7.0), "crop below 8 pixels"),
    ],
)
def test_a_box_that_cannot_be_cut_out_is_left_out_with_the_reason(tmp_path, box, reason):
    found = ObjectCrops(Written(tmp_path, [("cell", box), ("cell", (20.0, 10.0, 30.0, 16.0))])).read()
    assert found.exclusions[1:] == (Exclusion("one.png#0", reason),)
    assert [crop.source_id for crop in found.entries] == ["one.png#1"]


def test_at_one_side_for_all_the_square_does_not_depend_on_the_box(tmp_path):
    objects = [("a", (20.0, 10.0, 24.0, 12.0)), ("b", (30.0, 10.0, 46.0, 30.0))]
    crops = ObjectCrops(Written(tmp_path, objects), side=12).read().entries
    assert [corner_and_size(crop) for crop in crops] == [((16, 5), (12, 12)), ((32, 14), (12, 12))]
    assert crops[1].objects[0].box == (-2.0, -4.0, 14.0, 16.0)


def test_without_a_declared_size_the_picture_is_asked(tmp_path):
    (crop,) = ObjectCrops(Written(tmp_path, [("cell", (52.0, 30.0, 60.0, 40.0))], size=None)).read().entries
    assert corner_and_size(crop) == ((40, 20), (20, 20))


@pytest.mark.parametrize(
    ("name", "value"),
    [("context", 0.5), ("context", float("nan")), ("side", 0.5), ("most", 0), ("least_side", 0), ("exif", "yes")],
)
def test_a_wrong_option_is_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        ObjectCrops(Written(tmp_path, []), **{name: value})


class Turned(Written):
    """The same picture stored lying, with the tag that says so, and boxes as it is looked at."""

    def read(self):
        found = super().read()
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(self.folder / "one.png") as upright:
            upright.transpose(Image.Transpose.ROTATE_90).save(self.folder / "one.png", exif=exif)
        return found


@pytest.mark.parametrize(("exif", "corner"), [("apply", (0, 0)), ("ignore", (59, 0))])
@pytest.mark.parametrize("by_function", [False, True])
def test_pictures_are_turned_before_they_are_cut(tmp_path, exif, corner, by_function):
    source = Turned(tmp_path, [("cell", (2.0, 2.0, 8.0, 8.0))], size=None)
    whole = source.read()
    if by_function:
        content = whole.entries[0].picture.read_bytes()
        whole = replace(whole, entries=[replace(whole.entries[0], picture=lambda: Image.open(io.BytesIO(content)))])
    source.read = lambda: whole
    crops = ObjectCrops(source, exif=exif, side=60).read().entries
    assert corner_and_size(crops[0]) == (corner, (40, 60) if exif == "apply" else (60, 40))
    # What from_source is told of tags has nothing left to turn.
    assert open_picture(crops[0], exif="apply").size == open_picture(crops[0]).size


def test_pictures_that_were_annotated_either_way_name_the_option_of_the_crops(tmp_path):
    (crop,) = ObjectCrops(Turned(tmp_path, [("cell", (2.0, 2.0, 18.0, 18.0))], size=None)).read().entries
    with pytest.raises(Unusable, match=r"; pass exif='apply' or 'ignore' to ObjectCrops$"):
        open_picture(crop, exif="apply")


def test_masks_cannot_be_cut_out(tmp_path):
    with pytest.raises(ValueError, match=r"^source: expected boxes to cut out, got masks"):
        ObjectCrops(Written(tmp_path, [], kind="masks")).read()


def test_crops_become_probes_whose_boxes_lie_where_the_objects_are(tmp_path):
    from camdebug import ProbeSet

    objects = [("a", (4.0, 4.0, 12.0, 12.0)), ("b", (40.0, 20.0, 48.0, 28.0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two probes are few
        probes = ProbeSet.from_source(ObjectCrops(Written(tmp_path, objects)), class_names=["a", "b"])
    assert [(b[0] / 16).tolist() for b in probes.boxes] == [[0.25, 0.25, 0.75, 0.75]] * 2
    assert probes.labels.tolist() == [0, 1]
