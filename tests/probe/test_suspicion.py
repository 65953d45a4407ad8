"""Boxes that fit better when read another way are doubted, right ones and unreadable ones never."""

import re
import warnings
from itertools import permutations
from math import erfc

import numpy as np
import pytest
import torch
from PIL import Image

from camdebug import ProbeSet
from camdebug.probe.box_fit import fits, pooled, shrink
from camdebug.probe.fit_matrix import LEAST_PICTURES, FitMatrix, fit_matrix, sample_of
from camdebug.probe.naming import Naming
from camdebug.probe.selection import Candidate
from camdebug.probe.suspicion import SURE, SURE_WITH_RESCUED, doubts_as_annotated, suspicions
from camdebug.probe.tried import Tried
from camdebug.records import Origin, Provenance
from camdebug.sources import AnnotatedObject, Entry

HEIGHT, WIDTH = 48, 64


def scenes(count=24, *, size=(HEIGHT, WIDTH), boxes=None, seed=0, strength=3.0):
    """Noise with one brighter or darker rectangle a picture, and the boxes around them."""
    rng = np.random.default_rng(seed)
    height, width = size
    images = rng.normal(size=(count, 3, height, width))
    if boxes is None:
        sides = rng.integers([width // 8, height // 8], [width // 2, height // 2], size=(count, 2))
        corners = rng.integers(0, [width, height] - sides)
        boxes = np.concatenate([corners, corners + sides], 1)
    for image, (x1, y1, x2, y2) in zip(images, boxes, strict=True):
        image[:, y1:y2, x1:x2] += strength * rng.choice([-1, 1], size=(3, 1, 1))
    return torch.from_numpy(images).float(), torch.from_numpy(np.asarray(boxes)).double()


def quiet(*arguments, **changes):
    """A set without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet(*arguments, **changes)


def found(images, boxes, **changes):
    return suspicions(quiet(images, [0] * len(images), boxes[:, None], **changes))


def top_left(count=32, seed=0):
    """Boxes a little wider and higher than their first corner lies from that of the picture.

    So they stay boxes, but small ones, when their sides are read as corners.
    """
    rng = np.random.default_rng(seed)
    corners = rng.integers(8, 40, size=(count, 2))
    return np.concatenate([corners, 2 * corners + rng.integers(6, 12, size=(count, 2))], 1)


class TestFound:
    def test_boxes_as_they_should_be_are_not_doubted(self):
        assert found(*scenes()) == ()

    def test_swapped_axes(self):
        images, boxes = scenes(size=(64, 64))
        (doubt,) = found(images, boxes[:, [1, 0, 3, 2]])
        assert (doubt.kind, doubt.pictures) == ("swapped", 24)
        assert doubt.better >= 22
        assert doubt.p_value == 1e-50
        assert str(doubt) == (
            f"The boxes may be wrong: read as if x and y were swapped, they fit {doubt.better} of 24 pictures better "
            f"(p < 1e-50). Look at probes.preview()"
        )

    def test_mirrored_boxes(self):
        images, boxes = scenes()
        x1, y1, x2, y2 = boxes.T
        (doubt,) = found(images, torch.stack([WIDTH - x2, y1, WIDTH - x1, y2], 1))
        assert (doubt.kind, doubt.told) == ("mirrored", "they were mirrored left to right")
        (doubt,) = found(images, torch.stack([x1, HEIGHT - y2, x2, HEIGHT - y1], 1))
        assert (doubt.kind, doubt.told) == ("upside down", "they were upside down")

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            ("xywh", lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1)),
            ("cxcywh", lambda x1, y1, x2, y2: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)),
        ],
    )
    def test_sides_given_in_place_of_the_second_corner(self, kind, given):
        images, boxes = scenes(32, size=(96, 96), boxes=top_left() if kind == "xywh" else centred_wide(32))
        doubts = found(images, torch.stack(given(*boxes.T), 1))
        assert doubts[0].kind == kind

    def test_boxes_of_smaller_pictures(self):
        images, boxes = scenes()
        (doubt,) = found(images, boxes / 2)
        assert doubt.kind == "scaled"
        size = r"for about (\d+)x(\d+) \(width x height; the pictures are 64x48\)"
        width, height = map(int, re.fullmatch(size, doubt.told).groups())
        assert abs(height - 24) <= 3
        assert abs(width - 32) <= 4

    def test_where_the_size_before_the_transform_is_known_it_is_tried(self):
        # Pictures of 96x128 were halved; their boxes were halved once more.
        images, boxes = scenes()
        probes = quiet(images, [0] * 24, (boxes / 2)[:, None])
        probes.provenance = Provenance(
            "", "", 0, False, {}, (Origin("", (96, 128), 0.1, ""),) * 24, torch.zeros(24, 32, 32), ()
        )
        told = {doubt.told for doubt in suspicions(probes)}
        assert "the transform's scale had been applied to them twice" in told
        probes.provenance = None
        assert "the transform's scale had been applied to them twice" not in {d.told for d in suspicions(probes)}

    def test_masks_are_judged_by_the_boxes_around_them(self):
        images, boxes = scenes(size=(64, 64))
        masks = torch.zeros(24, 64, 64, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
        assert suspicions(quiet(images, [0] * 24, masks=masks)) == ()
        (doubt,) = suspicions(quiet(images, [0] * 24, masks=masks.mT))
        assert doubt.kind == "swapped"

    def test_of_a_large_set_some_pictures_are_looked_at(self):
        images, boxes = scenes(150, size=(24, 24))
        (doubt,) = found(images, boxes[:, [1, 0, 3, 2]])
        assert (doubt.kind, doubt.pictures) == ("swapped", 64)


def centred_wide(count=24, seed=0):
    """Boxes in the first quarter, wider and higher than their centres lie from the corner."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 6, size=(count, 2))
    return np.concatenate([corners, corners + rng.integers(13, 42, size=(count, 2))], 1)


class TestSilent:
    def test_noise_under_any_boxes(self):
        for seed in range(8):
            images, boxes = scenes(seed=seed, strength=0.0)
            assert found(images, boxes) == ()

    def test_too_few_pictures(self):
        images, boxes = scenes(LEAST_PICTURES - 1, size=(64, 64), strength=30.0)
        assert found(images, boxes[:, [1, 0, 3, 2]]) == ()

    def test_objects_in_the_middle_look_alike_in_every_reading(self):
        middle = np.array([[24, 16, 40, 32]] * 24)
        assert found(*scenes(boxes=middle)) == ()

    def test_what_all_pictures_have_at_one_place_is_no_evidence(self):
        # Boxes at one place, and a bright tag where they would be if mirrored.
        images, boxes = scenes(strength=0.0, boxes=np.array([[2, 10, 14, 30]] * 24))
        images[:, :, 10:30, WIDTH - 14 : WIDTH - 2] += 5
        assert found(images, boxes) == ()

    def test_equal_boxes_leave_nothing_but_rounding(self):
        for seed in range(4):
            images, boxes = scenes(50, size=(16, 16), boxes=np.array([[2, 2, 10, 11]] * 50), strength=0.0, seed=seed)
            assert found(images, boxes) == ()
            given = fit_matrix(sample_of(quiet(images, [0] * 50, boxes[:, None])), boxes.numpy())
            assert given.p_value == 1.0

    def test_loose_boxes_are_not_wrong_ones(self):
        images, boxes = scenes()
        loose = boxes + torch.tensor([-4, -4, 4, 4])
        assert found(images, loose.clamp(min=0).minimum(torch.tensor([WIDTH, HEIGHT] * 2))) == ()

    def test_objects_with_a_mirrored_twin(self):
        images, boxes = scenes()
        both = torch.maximum(images, images.flip(3))
        x1, y1, x2, y2 = boxes.T
        assert found(both, torch.stack([WIDTH - x2, y1, WIDTH - x1, y2], 1)) == ()

    def test_objects_with_a_brighter_mirrored_twin(self):
        images, boxes = scenes(strength=2.0)
        brighter, _ = scenes(strength=3.0)
        x1, y1, x2, y2 = boxes.T
        both = images + brighter.flip(3)
        assert found(both, boxes) == ()
        # Boxes on neither of the two, but on one of them when turned upside down.
        assert found(both, torch.stack([x1, HEIGHT - y2, x2, HEIGHT - y1], 1))[0].kind == "upside down"

    @pytest.mark.parametrize("value", [0.0, 1e38])
    def test_pictures_that_show_nothing_or_cannot_be_computed_with(self, value):
        _, boxes = scenes()
        images = torch.full((24, 3, HEIGHT, WIDTH), value)
        images[:, 0, 0, 0] = -value
        assert found(images, boxes) == ()

    def test_one_pixel(self):
        assert found(torch.rand(20, 1, 1, 1), torch.tensor([[0.0, 0, 1, 1]] * 20)) == ()

    def test_sets_without_annotations(self):
        images, _ = scenes()
        assert suspicions(ProbeSet(images, [0] * 24)) == ()

    def test_a_tag_at_a_place_of_its_own_for_each_class(self):
        # Faint objects at one place a class, and a bright tag where their mirrored boxes would be.
        labels = [0, 1] * 16
        places = np.array([[4, 6, 16, 18], [10, 26, 26, 40]])[labels]
        images, boxes = scenes(32, boxes=places, strength=0.1)
        for image, (x1, y1, x2, y2) in zip(images, places, strict=True):
            image[:, y1:y2, WIDTH - x2 : WIDTH - x1] += 5
        assert suspicions(quiet(images, labels, boxes[:, None])) == ()
        # The same in one class: now the tags tell boxes apart as objects would.
        assert next(d.kind for d in suspicions(quiet(images, [0] * 32, boxes[:, None]))) == "mirrored"

    def test_the_sample_has_enough_of_a_class(self):
        images, boxes = scenes(200, size=(12, 12))
        (few,) = (sample_of(quiet(images, [i % 50 for i in range(200)], boxes[:, None])),)
        assert [len(group) for group in few.groups] == [64]  # four of each of 50 classes: together
        many = sample_of(quiet(images, [i % 20 for i in range(200)], boxes[:, None]))
        assert [len(group) for group in many.groups] == [8] * 8
        assert sorted(i % 20 for i in many.rows[:8]) == [0] * 8


class TestWarning:
    def test_a_set_says_it_in_its_one_warning(self):
        images, boxes = scenes(size=(64, 64))
        images[3, 0, 0, 0] = torch.nan
        with pytest.warns(UserWarning, match="may be wrong") as caught:
            ProbeSet(images, [0] * 24, boxes[:, [1, 0, 3, 2]])
        (warning,) = caught
        assert re.fullmatch(
            r"The boxes may be wrong: read as if x and y were swapped, they fit \d+ of 23 pictures better "
            r"\(p [=<] \S+\)\. Look at probes\.preview\(\)\. "
            r"ProbeSet left out 1 of 24 pictures: 1 x picture not finite \(3\)\.",
            str(warning.message),
        )
        assert warning.filename == __file__

    def test_nothing_global_is_touched(self):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        images, boxes = scenes()
        kept = images.clone()
        found(images, boxes)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()
        assert torch.equal(images, kept)

    def test_boxes_beyond_the_picture_that_fit_when_swapped_are_refused_with_that_reason(self):
        _, boxes = scenes()
        high = torch.tensor([[10.0, 40, 30, 60]] * 2)  # 64 wide, 48 high
        with pytest.raises(ValueError, match="they all fit with x and y swapped; expected x1, y1, x2, y2"):
            ProbeSet(torch.zeros(2, 3, 48, 64), [0, 0], high)
        with pytest.raises(ValueError, match="they seem to belong to the pictures before resizing"):
            ProbeSet(torch.zeros(2, 3, 48, 64), [0, 0], high * 4)
        assert len(boxes) == 24


def tried(images, boxes, *, sizes=None, after=(96, 96), class_idx=0):
    """Pictures of ``scenes`` as they would be read, each stretched to a size of its own where sizes are given."""
    kept = Tried(after=after)
    naming = Naming(("cat",), {"cat": class_idx})
    for i, (image, corners) in enumerate(zip(images, np.asarray(boxes), strict=True)):
        pixels = (128 + 25 * image.permute(1, 2, 0)).clamp(0, 255).byte().numpy()
        picture = Image.fromarray(pixels)
        if sizes is not None:
            picture = picture.resize(sizes[i], Image.Resampling.NEAREST)
        things = (AnnotatedObject("cat", tuple(map(float, corners))),)
        kept.see(Candidate(Entry(f"{i}", lambda: None, things), class_idx, None), picture, naming)
    return kept


class TestAsAnnotated:
    """Pictures of 64x48 (width x height), where a swap is no swap once they are squeezed into a square."""

    def test_boxes_as_they_should_be_are_not_doubted(self):
        images, boxes = scenes(32)
        assert doubts_as_annotated(tried(images, boxes)) == ()
        assert doubts_as_annotated(Tried()) == ()

    def test_swapped_axes_also_where_they_leave_the_picture(self):
        images, boxes = scenes(32)
        (doubt,) = doubts_as_annotated(tried(images, boxes[:, [1, 0, 3, 2]]))
        beyond = int((boxes[:, 2] > 48 + 1.96).sum())  # the slack is a pixel and 2 % of the side
        assert (doubt.kind, doubt.pictures) == ("swapped", 32)
        assert beyond >= 5
        assert doubt.sentence.endswith(
            f"), and {beyond} of the boxes, impossible as they are, would lie in their pictures"
        )

    def test_impossible_boxes_ask_for_less_evidence(self):
        # Twelve pictures of faint objects.
        images, boxes = scenes(12, strength=0.13, seed=6)
        (doubt,) = doubts_as_annotated(tried(images, boxes[:, [1, 0, 3, 2]]))
        assert SURE.sure < doubt.p_value < SURE_WITH_RESCUED.sure
        assert "impossible" in doubt.sentence

    @pytest.mark.parametrize("kind", ["xywh", "cxcywh"])
    def test_sides_in_place_of_the_second_corner_although_many_end_before_they_begin(self, kind):
        images, boxes = scenes(32)
        x1, y1, x2, y2 = boxes.T
        first = (x1, y1) if kind == "xywh" else ((x1 + x2) / 2, (y1 + y2) / 2)
        doubts = doubts_as_annotated(tried(images, torch.stack([*first, x2 - x1, y2 - y1], 1)))
        assert doubts[0].kind == kind

    @pytest.mark.parametrize(
        ("factors", "told"),
        [
            ((96 / 256, 96 / 192), "96x96"),
            ((96 / 192, 96 / 192), "128x96"),
            ((96 / 256, 96 / 256), "96x72"),
            ((416 / 256, 416 / 192), "416x416"),
        ],
    )
    def test_boxes_of_a_common_size_or_of_what_the_transform_makes_are_named_by_it(self, factors, told):
        images, boxes = scenes(40)
        given = boxes * 4 * torch.tensor(factors * 2)
        (doubt,) = doubts_as_annotated(tried(images, given, sizes=[(256, 192)] * 40))
        assert (doubt.kind, doubt.told) == ("scaled", f"for {told} (width x height; the pictures are 256x192)")

    def test_boxes_in_the_crop_that_the_model_sees(self):
        images, boxes = scenes(40, boxes=inner(40))
        given = (boxes * 4 - torch.tensor([32.0, 0, 32, 0])) / 2  # of 256x192 the middle 192, halved
        doubts = doubts_as_annotated(tried(images, given, sizes=[(256, 192)] * 40))
        assert doubts[0].told == "for 96x96 in their middle (width x height; the pictures are 256x192)"

    def test_pictures_of_several_sizes(self):
        images, boxes = scenes(40)
        sizes = [(64, 48), (128, 96), (96, 96), (60, 90)] * 10
        stretch = torch.tensor([[w / 64, h / 48, w / 64, h / 48] for w, h in sizes])
        assert doubts_as_annotated(tried(images, boxes * stretch, sizes=sizes)) == ()
        (doubt,) = doubts_as_annotated(tried(images, (boxes * stretch)[:, [1, 0, 3, 2]], sizes=sizes))
        assert doubt.kind == "swapped"
        (doubt,) = doubts_as_annotated(tried(images, boxes * 224 / torch.tensor([64, 48, 64, 48]), sizes=sizes))
        assert doubt.told == "for 224x224 (width x height; the pictures are of several sizes)"
        (doubt,) = doubts_as_annotated(tried(images, boxes * stretch / 2, sizes=sizes))
        assert re.fullmatch(
            r"for about [45]\d % x [45]\d % of their size \(width x height; the pictures are of several sizes\)",
            doubt.told,
        )

    def test_noise_under_any_boxes(self):
        for seed in range(4):
            images, boxes = scenes(seed=seed, strength=0.0)
            assert doubts_as_annotated(tried(images, boxes)) == ()

    def test_loose_boxes_around_objects_near_the_middle(self):
        # Larger by 1.4 from the corner of the picture, their first corners would lie on those of the objects.
        rng = np.random.default_rng(1)
        centres = np.array([32, 24]) + rng.normal(size=(64, 2)) * [3, 2.4]
        sides = np.array([32, 24]) * rng.uniform(0.8, 1.2, size=(64, 2))
        loose = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
        objects = np.concatenate([centres - sides / 2.8, centres + sides / 2.8], 1).round().astype(int)
        images, _ = scenes(64, boxes=objects)
        assert doubts_as_annotated(tried(images, loose)) == ()
        # Boxes of three quarters of the size are found out.
        doubts = doubts_as_annotated(tried(images, 0.75 * objects))
        assert [doubt.kind for doubt in doubts] == ["scaled"]

    def test_64_pictures_of_a_class_are_kept_and_boxes_that_are_no_numbers_are_not(self):
        images, boxes = scenes(80, size=(12, 16))
        boxes[:10, 0], boxes[10:14, 3] = torch.nan, torch.inf
        sample = tried(images, boxes).sample()
        assert (len(sample.rows), len(sample.boxes)) == (64, 64)
        assert np.array_equal(sample.boxes, boxes[14:78].numpy())


def inner(count):
    """Boxes within the middle 48 columns of 64."""
    rng = np.random.default_rng(3)
    sides = rng.integers(8, 26, size=(count, 2))
    corners = rng.integers([8, 0], [56, 48] - sides)
    return np.concatenate([corners, corners + sides], 1)


class TestStatistics:
    def test_the_variance_over_permutations_is_exact(self):
        values = np.random.default_rng(0).normal(size=(5, 5)) ** 3
        centred = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
        traces = [sum(centred[i, p[i]] for i in range(5)) for p in permutations(range(5))]
        assert np.mean(traces) == pytest.approx(0, abs=1e-12)
        expected = 0.5 * (1 - torch.erf(torch.tensor(np.trace(centred) / np.std(traces) / 2**0.5))).item()
        assert FitMatrix((centred,)).p_value == pytest.approx(expected, rel=1e-9)

    def test_pictures_are_exchanged_within_their_class_alone(self):
        blocks = tuple(np.random.default_rng(seed).normal(size=(4, 4)) for seed in (1, 2))
        blocks = tuple(b - b.mean(0) - b.mean(1, keepdims=True) + b.mean() for b in blocks)
        parts = [[sum(b[i, p[i]] for i in range(4)) for p in permutations(range(4))] for b in blocks]
        sigma = np.std([first + second for first in parts[0] for second in parts[1]])
        z = sum(np.trace(b) for b in blocks) / sigma
        assert FitMatrix(blocks).p_value == pytest.approx(0.5 * (1 - torch.erf(torch.tensor(z / 2**0.5))).item())

    def test_a_few_pictures_do_not_decide(self):
        # One box of 50 differs from all others, and fits its own picture alone: one chance in 50, and no less.
        fit = np.zeros((50, 50))
        fit[0, 0] = 1.0
        lone = FitMatrix((fit - fit.mean(0) - fit.mean(1, keepdims=True) + fit.mean(),))
        assert lone.p_value < 1e-11
        assert lone.p_value_of_most > 0.3
        every = FitMatrix((np.eye(10) - 1 / 10,))  # a trace of 9, and a variance of 1 over permutations
        assert every.p_value == pytest.approx(0.5 * erfc(9 / 2**0.5))
        assert every.p_value_of_most == pytest.approx(0.5 * erfc(8.1 / 2**0.5))

    def test_a_matrix_of_zeros_is_no_evidence(self):
        assert FitMatrix((np.zeros((4, 4)),)).p_value == 1.0

    def test_fit_is_the_change_across_the_sides_and_the_difference_of_inside_and_surround(self):
        image = torch.zeros(1, 1, 12, 10)
        image[0, 0, 4:8, 3:7] = 1.0
        pictures = shrink(image, [0])
        pixels = (image[0, 0].double() - image.double().mean()) / image.double().std(correction=0)
        step = float(pixels[5, 5] - pixels[0, 0])
        ((values,),) = fits(pictures, np.array([[3.0, 4, 7, 8]]), np.array([[0]]))
        # On each side every pixel of the line changes by one step, in one of the three lines that count.
        assert values[0] == pytest.approx(step / 3, abs=1e-5)
        # The ring is 1.5 cells wide, rounded to even: from 2 to 8 across and 2 to 10 down, without the object.
        assert values[1] == pytest.approx(step, abs=1e-5)

    def test_fit_elsewhere_is_less_and_outside_is_none(self):
        image = torch.zeros(1, 1, 12, 10)
        image[0, 0, 4:8, 3:7] = 1.0
        boxes = np.array([[3.0, 4, 7, 8], [5, 6, 9, 10], [20, 2, 30, 6], [4, 4, 4, 8]])
        values = fits(shrink(image, [0]), boxes, np.zeros((4, 1), dtype=np.int64))
        assert (values[0] > values[1]).all()
        assert np.isnan(values[2:]).all()

    def test_boxes_of_one_picture_count_together(self):
        values = np.array([[[1.0, 2.0]], [[3.0, 6.0]], [[np.nan, np.nan]], [[5.0, 5.0]]])
        means = pooled(values, np.array([0, 0, 0, 2]), 3)
        assert means[[0, 2]].tolist() == [[[2.0, 4.0]], [[5.0, 5.0]]]
        assert np.isnan(means[1]).all()
