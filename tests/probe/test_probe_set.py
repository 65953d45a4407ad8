import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from camdebug import ProbeSet
from camdebug.records import Exclusion
from camdebug.sources import AnnotatedObject, Annotations, Entry

BOX = [2.0, 1.0, 6.0, 5.0]
TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def pictures(count=2, channels=3, dtype=torch.float32):
    return torch.linspace(0, 1, count * channels * 80).reshape(count, channels, 8, 10).to(dtype)


def make(count=2, **changes):
    arguments = {"images": pictures(count), "labels": [k % 2 for k in range(count)], "boxes": [[BOX]] * count}
    return ProbeSet(**{**arguments, "class_names": ["cat", "dog"], **changes})


def message_of(error, **changes):
    with pytest.raises(error) as caught:
        make(**changes)
    return str(caught.value)


class TestContent:
    def test_a_set_holds_what_it_was_given(self):
        probes = make(3, mean=[0.1, 0.2, 0.3], std=[1, 1, 2], source_ids=["a", "b", "c"])
        assert torch.equal(probes.images, pictures(3))
        assert probes.labels.tolist() == [0, 1, 0]
        assert [b.tolist() for b in probes.boxes] == [[BOX]] * 3
        assert [len(b) for b in probes.ignore] == [0, 0, 0]
        assert (probes.class_names, probes.counts, probes.empty_classes) == (("cat", "dog"), (2, 1), ())
        assert (probes.mean, probes.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))
        assert probes.source_ids == ("a", "b", "c")
        assert (probes.exclusions, probes.dropped_boxes, probes.annotated) == ((), (), True)
        assert (probes.image_size, len(probes)) == ((8, 10), 3)
        assert repr(probes) == "ProbeSet(3 pictures of 3x8x10, 2 classes, 3 boxes)"

    def test_several_boxes_a_picture_and_boxes_beyond_the_edge_are_clipped(self):
        probes = make(boxes=[[BOX, [8, 6, 14, 7], [-3, 0, 2, 2]], [BOX]])
        assert probes.boxes[0].tolist() == [BOX, [8, 6, 10, 7], [0, 0, 2, 2]]

    @pytest.mark.parametrize("boxes", [torch.tensor([BOX, BOX]), np.array([[BOX], [BOX]]), [BOX, torch.tensor(BOX)]])
    def test_ways_to_give_one_box_a_picture(self, boxes):
        assert [b.tolist() for b in make(boxes=boxes).boxes] == [[BOX], [BOX]]

    def test_without_boxes_a_set_is_not_annotated(self):
        probes = make(boxes=None)
        assert (probes.annotated, [len(b) for b in probes.boxes]) == (False, [0, 0])
        assert repr(probes).endswith("no boxes)")

    def test_without_names_classes_are_numbered_up_to_the_largest_label_even_of_a_picture_left_out(self):
        images = pictures(2)
        images[1, 0, 0, 0] = torch.nan
        with pytest.warns(UserWarning, match=re.escape("no probe of 2 classes (1, 2)")):
            probes = make(images=images, labels=[0, 2], class_names=None)
        assert probes.class_names == ("0", "1", "2")

    def test_coverage_and_masks_are_those_of_the_probes_boxes(self):
        ignore = [[[0, 4, 10, 8], [0, 0, 2.5, 4]]]
        probes = ProbeSet(pictures(1), [0], [[[0, 0, 5, 4]]], ignore=ignore)
        assert probes.coverage((2, 2)).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
        assert probes.readable((2, 2)).tolist() == [[[1.0, 1.0], [0.0, 0.0]]]
        assert int(probes.object_masks().sum()) == 20
        assert int(probes.annotated_masks().sum()) == 20 + 40

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_floating_types_stay_as_they_are(self, dtype):
        probes = make(images=pictures(dtype=dtype))
        assert torch.equal(probes.images, pictures(dtype=dtype))
        assert probes.images.dtype is dtype
        assert len(probes.fingerprint) == 64

    def test_pictures_of_one_channel(self):
        probes = make(images=pictures(channels=1), mean=0.5, std=torch.tensor([0.25]))
        assert torch.equal(probes.images, pictures(channels=1))
        assert (probes.mean, probes.std) == ((0.5,), (0.25,))

    def test_numpy_arrays_reversed_and_read_only_ones_too(self):
        images = pictures().numpy()
        images.flags.writeable = False
        labels, boxes = np.array([1, 0], dtype=np.uint8), np.array([BOX, BOX], dtype=np.float32)
        for array in (labels, boxes):
            array.flags.writeable = False
        probes = make(images=images[:, ::-1], labels=labels, boxes=boxes)
        assert torch.equal(probes.images, pictures().flip(1))
        assert (probes.labels.tolist(), probes.labels.dtype) == ([1, 0], torch.int64)
        assert probes.boxes[1].tolist() == [BOX]
        probes.images[0] = 0  # would raise, or reach the user, were the memory shared

    def test_lists_of_pictures_and_tv_tensors_become_one_plain_tensor(self):
        for images in (list(tv_tensors.Image(pictures())), tv_tensors.Image(pictures()), list(pictures().numpy())):
            probes = make(images=images)
            assert type(probes.images) is torch.Tensor
            assert torch.equal(probes.images, pictures())

    def test_graphs_and_memory_formats_stay_outside(self):
        images = pictures().to(memory_format=torch.channels_last).requires_grad_()
        probes = make(images=images)
        assert not probes.images.requires_grad
        assert probes.images.is_contiguous()

    def test_a_set_can_be_pickled(self):
        probes = make()
        again = pickle.loads(pickle.dumps(probes))
        assert again.fingerprint == probes.fingerprint
        assert again.class_names == probes.class_names


class TestIndependence:
    @pytest.mark.parametrize("kind", ["tensor", "numpy", "list"])
    def test_later_changes_of_the_users_data_do_not_reach_the_set(self, kind):
        images, labels, boxes = pictures(), torch.tensor([0, 1]), torch.tensor([[BOX], [BOX]], dtype=torch.float64)
        given = {"tensor": (images, labels, boxes), "list": (list(images), labels, list(boxes))}
        given["numpy"] = tuple(v.numpy() for v in given["tensor"])
        probes = make(images=given[kind][0], labels=given[kind][1], boxes=given[kind][2])
        for tensor in (images, labels, boxes):
            tensor.fill_(7)
        assert torch.equal(probes.images, pictures())
        assert probes.labels.tolist() == [0, 1]
        assert probes.boxes[1].tolist() == [BOX]

    def test_a_list_of_pictures_is_copied_once(self, monkeypatch):
        copies = []
        stack = torch.stack
        monkeypatch.setattr(torch, "stack", lambda *a, **k: copies.append(stack(*a, **k)) or copies[-1])
        probes = make(images=list(pictures()))
        assert len(copies) == 1
        assert probes.images.data_ptr() == copies[0].data_ptr()

    def test_construction_does_not_touch_the_generator(self):
        state = torch.get_rng_state()
        make()
        assert torch.equal(torch.get_rng_state(), state)


class TestFingerprint:
    def test_equal_content_in_other_containers_has_an_equal_fingerprint(self):
        same = [
            make(),
            make(images=pictures().clone()),
            make(images=pictures().numpy(), labels=torch.tensor([0, 1], dtype=torch.int32)),
            make(images=pictures().to(memory_format=torch.channels_last)),
            make(boxes=torch.tensor([BOX, BOX]).half(), source_ids=["x", "y"]),
        ]
        assert len({p.fingerprint for p in same}) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"images": pictures() + torch.eye(8, 10) * (torch.arange(8)[:, None] == 7) * 1e-3},
            {"boxes": [[[2.0, 1.0, 6.0, 5.0 + 1e-9]], [BOX]]},
            {"boxes": [[BOX, BOX], [BOX]]},
            {"class_names": ["cat", "Dog"]},
            {"labels": [1, 0]},
            {"ignore": [[BOX], []]},
            {"images": pictures(dtype=torch.float64)},
        ],
        ids=["pixel", "coordinate", "box", "name", "label", "ignored", "dtype"],
    )
    def test_any_other_content_has_another(self, change):
        assert make(**change).fingerprint != make().fingerprint


class TestExclusions:
    def test_one_warning_at_the_users_line_counts_and_names_everything(self):
        images = pictures(5)
        images[3, 1, 2, 2] = torch.inf
        boxes = [[BOX, [1, 1, 1, 4]], [[3, 3, 2, 4]], [], [BOX], [[12, 1, 14, 4]]]
        with pytest.warns(UserWarning, match="left out") as caught:
            probes = make(5, images=images, labels=[0] * 5, boxes=boxes, source_ids=list("abcde"))
        assert [str(w.message) for w in caught] == [
            "ProbeSet left out 4 of 5 pictures: 1 x box inverted (b); 1 x no box (c); 1 x picture not finite (d); "
            "1 x box outside the picture (e). ProbeSet dropped 1 unusable box of pictures it kept (a: box of no "
            "area). ProbeSet has no probe of 1 class (dog): it stays unmeasured."
        ]
        assert caught[0].filename == __file__
        assert probes.source_ids == ("a",)
        assert [e.source_id for e in probes.exclusions] == list("bcde")
        assert Exclusion("a", "box of no area") in probes.dropped_boxes

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ([2, 2, 2, 5], "box of no area"),
            ([5, 2, 2, 5], "box inverted"),
            ([11, 2, 14, 5], "box outside the picture"),
            ([-4, 2, 0, 5], "box outside the picture"),
            ([2, 2, float("nan"), 5], "box not finite"),
            ([2, 2, float("inf"), 5], "box not finite"),
        ],
    )
    def test_a_bad_box_beside_a_good_one_is_dropped_and_named(self, box, reason):
        with pytest.warns(UserWarning, match=f"dropped 1 unusable box.*7: {reason}"):
            probes = make(boxes=[[BOX, box], [BOX]], source_ids=["7", "8"])
        assert probes.dropped_boxes == (Exclusion("7", reason),)
        assert [b.tolist() for b in probes.boxes] == [[BOX], [BOX]]

    def test_an_ignored_region_that_fell_out_of_the_picture_is_not_worth_a_word_but_a_mistake_is(self):
        probes = make(ignore=[[[0, 0, 0, 3], [20, 1, 30, 4], [30, 1, 40, 4]], []])
        assert (len(probes.ignore[0]), probes.dropped_boxes) == (0, ())
        with pytest.warns(UserWarning, match="0: ignored box inverted"):
            make(ignore=[[[5, 0, 2, 3]], []])

    def test_many_exclusions_are_counted_and_five_are_named(self):
        with pytest.warns(UserWarning, match=re.escape("8 of 10 pictures: 8 x no box (2, 3, 4, 5, 6, ...)")):
            make(10, boxes=[[BOX], [BOX], *[[]] * 8])

    def test_nothing_left_is_an_error_that_says_why(self):
        assert "left out 2 of 2 pictures: 2 x no box (0, 1). No picture is left" in message_of(
            ValueError, boxes=[[], []]
        )

    def test_a_set_without_fault_warns_of_nothing(self, recwarn):
        make()
        assert len(recwarn) == 0


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            (
                {"images": pictures()[0]},
                ValueError,
                "images: expected a shape (N, C, H, W) with no zero, got (3, 8, 10)",
            ),
            ({"images": pictures()[:0]}, ValueError, "got (0, 3, 8, 10)"),
            ({"images": []}, ValueError, "images: expected at least one picture"),
            ({"images": "cats.png"}, TypeError, "images: expected a tensor (N, C, H, W), got str"),
            ({"images": (pictures() * 255).to(torch.uint8)}, TypeError, "got torch.uint8; scale and normalise"),
            ({"images": [Image.new("RGB", (10, 8))] * 2}, TypeError, "got Image at picture 0; transforms.v2.ToImage()"),
            ({"images": [pictures()[0], pictures()[0, :, 1:]]}, ValueError, "picture 1 is (3, 7, 10) torch.float32"),
            ({"images": [pictures()[0], pictures()[0].byte()]}, ValueError, "picture 1 is (3, 8, 10) torch.uint8"),
            ({"labels": [0]}, ValueError, "labels: expected one for each of the 2 images, got shape (1,)"),
            ({"labels": [0, 2]}, ValueError, "labels: expected 0 to 1, got 2 at picture 1"),
            ({"labels": [-1, 5]}, ValueError, "got -1 at picture 0 and 1 more"),
            ({"labels": [0.0, 1.0]}, TypeError, "labels: expected class indices (integers), got torch.float32"),
            ({"labels": [True, False]}, TypeError, "got torch.bool"),
            ({"labels": ["cat", "dog"]}, TypeError, "labels: expected class indices (integers), got ['cat', 'dog']"),
            ({"labels": [0, 10**9], "class_names": None}, ValueError, "(without class_names), got 1000000000"),
            ({"boxes": [[BOX]]}, ValueError, "boxes: expected boxes for each of the 2 images, got 1"),
            ({"boxes": torch.zeros(2, 5)}, ValueError, "boxes: expected (N, 4) or (N, k, 4), got (2, 1, 5)"),
            ({"boxes": [[[1, 2, 3]], [BOX]]}, ValueError, "boxes: expected (k, 4) xyxy for picture 0, got (1, 3)"),
            ({"boxes": [["left"], [BOX]]}, TypeError, "boxes: expected (k, 4) xyxy for picture 0, got ['left']"),
            ({"boxes": 5}, TypeError, "boxes: expected a tensor or a sequence of (k, 4) boxes, got int"),
            ({"ignore": [[BOX]]}, ValueError, "ignore: expected boxes for each of the 2 images, got 1"),
            ({"class_names": "cd"}, TypeError, "class_names: expected a sequence of strings"),
            ({"class_names": [1, 2]}, TypeError, "one for each class, got [1, 2]"),
            ({"class_names": 2}, TypeError, "got 2"),
            ({"class_names": []}, ValueError, "class_names: expected at least one name"),
            ({"class_names": ["a", "b", "a"]}, ValueError, "expected different names, got a more than once"),
            ({"source_ids": ["a"]}, ValueError, "source_ids: expected one for each of the 2 images, got 1"),
            ({"mean": [0, 0, 0]}, ValueError, "mean, std: expected both or neither"),
            ({"mean": [0], "std": [1, 1, 1]}, ValueError, "mean: expected 3 finite values, one a channel, got [0]"),
            ({"mean": [0, 0, 0], "std": [1, 0, 1]}, ValueError, "std: expected values above 0, got [1.0, 0.0, 1.0]"),
            ({"mean": [0, 0, 0], "std": [1, float("nan"), 1]}, ValueError, "std: expected 3 finite values"),
        ],
    )
    def test_a_wrong_argument_is_named_with_what_was_expected_and_received(self, changes, error, words):
        assert words in message_of(error, **changes)

    def test_coordinates_in_0_to_1(self):
        message = message_of(ValueError, boxes=[[[0.1, 0.2, 0.5, 1.0]], [[0, 0, 1, 1]]])
        assert message.startswith("boxes: all coordinates lie in 0 to 1; expected xyxy in pixels of the 8x10 picture")

    def test_boxes_of_no_area_at_the_corner_do_not_pass_for_0_to_1(self):
        probes = make(ignore=[[[0, 0, 0, 1]], [[0, 0, 1, 0]]])
        assert [len(b) for b in probes.ignore] == [0, 0]
        with pytest.raises(ValueError, match="ignore: all coordinates lie in 0 to 1"):
            make(ignore=[[[0, 0, 1, 1]], [[0, 0, 1, 0]]])

    def test_boxes_of_width_and_height(self):
        message = message_of(ValueError, boxes=[[[6, 5, 2, 3], BOX], [[7, 4, 3, 3]]])
        assert message == (
            "boxes: 2 of 3 end before they begin; expected x1, y1, x2, y2 in pixels, these look like x, y, width, "
            "height (torchvision.ops.box_convert converts them)"
        )

    def test_boxes_of_the_picture_before_resizing(self):
        message = message_of(ValueError, boxes=[[[40, 20, 120, 80]], [[0, 0, 640, 480]]])
        assert "boxes: 2 of 2 boxes reach beyond the 8x10 picture (largest x 640, largest y 480)" in message
        assert "tv_tensors.BoundingBoxes" in message

    @pytest.mark.parametrize("whole", [True, False])
    def test_bounding_boxes_are_refused_because_their_format_would_be_lost(self, whole):
        boxes = tv_tensors.BoundingBoxes([BOX, BOX], format="XYWH", canvas_size=(8, 10))
        message = message_of(TypeError, boxes=boxes if whole else [boxes[:1], tv_tensors.wrap(boxes[:1], like=boxes)])
        assert "boxes: got tv_tensors.BoundingBoxes; pass plain xyxy pixels" in message


class TestNothingOfAnotherKind:
    @pytest.mark.parametrize(
        ("ids", "error", "words"),
        [
            (["s", "s"], ValueError, "source_ids: expected a different id for each picture, got 's' 2 times"),
            (["1", 1], ValueError, "source_ids: expected a different id for each picture, got '1' 2 times"),
            ("ab", TypeError, "source_ids: expected a sequence of ids, one for each image, got 'ab'"),
            (5, TypeError, "source_ids: expected a sequence of ids, one for each image, got 5"),
            ({"a", "b"}, TypeError, "source_ids: expected a sequence of ids"),
            (["a", None], TypeError, "source_ids: expected an id for each image, got None at picture 1"),
            (["a"], ValueError, "source_ids: expected one for each of the 2 images, got 1"),
        ],
    )
    def test_ids(self, ids, error, words):
        assert message_of(error, source_ids=ids).startswith(words)

    def test_ids_of_an_array_are_ids(self):
        assert make(source_ids=np.array(["a", "b"])).source_ids == ("a", "b")
        assert make(source_ids=torch.tensor([4, 7])).source_ids == ("4", "7")

    @pytest.mark.parametrize("values", ["abc", [[1], [1, 2], [3]], [1j, 0, 0], [None] * 3, [True] * 3])
    def test_statistics(self, values):
        assert message_of(TypeError, mean=values, std=[1] * 3).startswith("mean: expected real numbers, one a channel")
        assert message_of(TypeError, mean=[0] * 3, std=values).startswith("std: expected real numbers, one a channel")

    @pytest.mark.parametrize(
        ("images", "words"),
        [
            (lambda: np.array([None, "x"]), "images: expected an array of numbers, got one of dtype object"),
            (lambda: np.array(["a"]), "images: expected an array of numbers, got one of dtype <U1"),
            (lambda: pictures().to_sparse(), "got a sparse one"),
            (lambda: pictures().to("meta"), "got a meta one"),
            (lambda: [pictures()[0], pictures()[0].to("meta")], "got a meta one"),
            (lambda: torch.nested.nested_tensor([pictures()[0]], layout=torch.jagged), "got a nested one"),
        ],
    )
    def test_images(self, images, words):
        assert words in message_of(TypeError, images=images())

    @pytest.mark.parametrize("name", ["labels", "boxes", "ignore"])
    def test_other_tensors(self, name):
        values = torch.zeros(2, dtype=torch.int64) if name == "labels" else torch.ones(2, 4)
        assert message_of(TypeError, **{name: values.to("meta")}).startswith(f"{name}: expected a plain dense tensor")
        assert message_of(TypeError, **{name: values.to_sparse()}).endswith("got a sparse one")


CAT = AnnotatedObject("cat", (2.0, 1.0, 6.0, 5.0))


def annotated(thing=CAT, *, kind="boxes", **changes):
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)) for _ in range(2)]
    entries = [
        Entry(**{"source_id": f"{i}", "picture": lambda p=p: p, "objects": (thing,), **changes})
        for i, p in enumerate(photos)
    ]
    return Annotations(entries, ("cat",), kind, "a book")


def built(annotations):
    return ProbeSet.from_source(annotations, transform=TENSOR, class_names=["cat"])


class TestSourcesOfOnesOwn:
    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"source_id": "same"}, ValueError, "source: expected a different id for each picture, got 'same' 2 times"),
            ({"source_id": 3}, TypeError, "source: expected ids that are strings, got 3 at entry 0"),
            ({"size": ("8", "10")}, TypeError, "source: expected the size of 0 as two whole numbers, height and width"),
            ({"size": 8}, TypeError, "source: expected the size of 0 as two whole numbers"),
            ({"thing": AnnotatedObject(None)}, TypeError, "source: expected objects with the name of a class in 0"),
            ({"objects": ("cat",)}, TypeError, "source: expected objects with the name of a class in 0, got 'cat'"),
        ],
    )
    def test_what_is_wrong_is_named(self, changes, error, words):
        with pytest.raises(error) as caught:
            built(annotated(**changes))
        assert str(caught.value).startswith(words)

    @pytest.mark.parametrize("kind", ["polygons", None])
    def test_boxes_are_never_passed_over(self, kind):
        with pytest.raises(ValueError, match=r"^kind: expected 'boxes'"):
            annotated(kind=kind)
        assert annotated(AnnotatedObject("cat"), kind=None).kind is None

    def test_a_mask_that_fails_leaves_out_its_picture_alone(self):
        def mask(fails):
            return np.full((8, 10), 1 / (0 if fails else 1)) > 0

        objects = [
            (AnnotatedObject("cat", mask=lambda fails=fails: np.pad(mask(fails)[2:, 3:], ((2, 0), (3, 0)))),)
            for fails in (True, False)
        ]
        good = annotated()
        entries = [Entry(e.source_id, e.picture, o) for e, o in zip(good.entries, objects, strict=True)]
        with pytest.warns(UserWarning, match=r"1 x mask could not be read \(ZeroDivisionError\) \(0\)"):
            probes = built(Annotations(entries, ("cat",), "masks", "a book"))
        assert probes.source_ids == ("1",)
