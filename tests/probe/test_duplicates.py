import io
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from camdebug import ProbeSet
from camdebug.probe.duplicates import Similarities
from camdebug.probe.local_look import mismatches
from camdebug.probe.thumbnails import digest_of, thumbnail_of, thumbnails_of
from camdebug.records import Origin, Provenance


def scene(number, *, size=(96, 128)):
    """A picture with large and small shapes, as photographs have."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    fine = rng.integers(-20, 21, (*size, 3))
    return Image.fromarray(np.clip(np.array(coarse).astype(int) + fine, 0, 255).astype(np.uint8))


def alike(number):
    """Pictures of one place: most of each is in all of them."""
    return Image.blend(scene(999), scene(number), 0.2)


def encoded(picture, quality=50):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


CHANGED = {
    "jpeg": encoded,
    "half": lambda p: p.resize((64, 48)),
    "larger": lambda p: p.resize((150, 113)),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.1),
    "pale": lambda p: ImageEnhance.Contrast(p).enhance(0.5),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
}


def provenance(pictures, ids):
    origins = tuple(Origin(name, (p.height, p.width), 0.1, digest_of(p)) for name, p in zip(ids, pictures, strict=True))
    thumbnails = torch.stack([thumbnail_of(p) for p in pictures])
    return Provenance("a test", "none", 0, False, {}, origins, thumbnails, ())


def probe_set(pictures, *, ids=None, labels=None, known=True):
    """Of pictures of any size; the model's are squares of 16."""
    ids = ids or [f"{i}.png" for i in range(len(pictures))]
    small = torch.stack([torch.from_numpy(np.array(p.resize((16, 16)))).permute(2, 0, 1) / 255 for p in pictures])
    probes = ProbeSet(
        small, labels or [0] * len(pictures), source_ids=ids, class_names=["cat", "dog"][: 1 + bool(labels)]
    )
    if known:
        vars(probes)["provenance"] = provenance(pictures, ids)
    return probes


def rows(probes, **arguments):
    return [(i, j) for i, j, _ in probes.near_duplicates(**arguments)]


def test_a_thumbnail_is_the_mean_of_the_areas():
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None], 96, 0)
    found = thumbnail_of(Image.fromarray(ramp)).tolist()
    assert found[0] == found[31]
    assert all(value in (2 * k, 2 * k + 1) for k, value in enumerate(found[0]))  # halves round either way
    model = thumbnails_of(torch.from_numpy(ramp).float()[None, None])
    assert model[0, 0].tolist() == [2 * k + 0.5 for k in range(32)]


def test_the_models_pictures_are_weighed_as_grey():
    image = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).reshape(3, 3, 1, 1).expand(3, 3, 4, 4)
    assert thumbnails_of(image)[:, 5, 5].tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert thumbnails_of(torch.tensor([float("nan"), 1.0]).reshape(1, 2, 1, 1))[0, 0, 0] == 0.5


class TestInsideTheSet:
    @pytest.mark.parametrize("change", CHANGED)
    def test_a_changed_copy_is_found_and_nothing_else(self, change):
        pictures = [scene(i) for i in range(12)]
        probes = probe_set([*pictures, CHANGED[change](pictures[3])])
        (found,) = probes.near_duplicates()
        assert found[:2] == (3, 12)
        assert 0.95 <= found[2] <= 1

    def test_different_pictures_are_not(self):
        assert rows(probe_set([scene(i) for i in range(60)])) == []

    def test_pictures_that_look_alike_ask_for_more(self):
        pictures = [alike(i) for i in range(60)]
        assert len(rows(probe_set(pictures), threshold=0.95)) > 5
        copies = [*pictures, ImageEnhance.Brightness(pictures[7]).enhance(0.9)]
        assert rows(probe_set(copies)) == [(7, 60)]

    def test_pictures_without_contrast_are_the_same_only_if_equal(self):
        flat = [Image.new("RGB", (40, 40), (value,) * 3) for value in (10, 200, 10)]
        noisy = [np.full((40, 40, 3), value, np.uint8) for value in (90, 120)]
        for picture in noisy:
            picture[:5, :5] += 1  # the same, and too faint to say anything
        pictures = [*flat, *map(Image.fromarray, noisy)]
        assert probe_set(pictures).near_duplicates(threshold=0.1) == ((0, 2, 1.0),)

    def test_equal_pixels_have_the_similarity_one(self):
        assert probe_set([scene(0), scene(1), scene(0)]).near_duplicates() == ((0, 2, 1.0),)

    def test_two_classes_in_one_picture_are_no_pair_but_two_files_are(self):
        pictures = [scene(0), scene(0), scene(0)]
        probes = probe_set(pictures, ids=["a.png", "a.png:dog", "b.png"], labels=[0, 1, 1])
        assert rows(probes) == [(0, 2), (1, 2)]

    def test_equal_pictures_of_one_class_are_a_pair_whatever_their_ids_say(self):
        pictures = [scene(0), scene(0), scene(1), scene(1)]
        probes = probe_set(pictures, ids=["a", "a:cat", "b", "b:dog"], labels=[0, 0, 0, 1], known=False)
        assert rows(probes) == [(0, 1)]

    def test_an_object_more_makes_another_picture(self):
        harbour = np.array(scene(0, size=(64, 64)).resize((8, 8)).resize((64, 64), Image.Resampling.BICUBIC))
        with_ship = harbour.copy()
        with_ship[30:36, 20:32] = 0
        copy = encoded(Image.fromarray(harbour))
        probes = probe_set([*map(Image.fromarray, (harbour, with_ship)), copy, scene(3), scene(4)])
        assert rows(probes, threshold=0.9) == [(0, 1), (0, 2), (1, 2)]
        assert rows(probes) == [(0, 2)]

    def test_without_files_the_sets_own_pictures_are_compared(self):
        pictures = [scene(i) for i in range(8)]
        probes = probe_set([*pictures, encoded(pictures[2]), pictures[5]], known=False)
        assert probes.near_duplicates(threshold=0.97) == ((2, 8, pytest.approx(0.99, abs=0.02)), (5, 9, 1.0))

    def test_a_single_probe_has_no_pair(self):
        assert rows(probe_set([scene(0)])) == []

    @pytest.mark.parametrize("threshold", [0, 1.5, True, "high", float("nan")])
    def test_a_wrong_threshold_is_refused(self, threshold):
        with pytest.raises(ValueError, match=r"threshold: expected a similarity above 0 and at most 1, or None, got "):
            probe_set([scene(0)]).near_duplicates(threshold=threshold)


class TestMismatch:
    def test_shift_and_curve_are_explained_and_a_spot_is_not(self):
        picture = thumbnails_of(torch.from_numpy(np.array(scene(0).convert("L"))).float()[None, None])
        picture = torch.nn.functional.avg_pool2d(picture, 5, 1, 2) / 255
        curved, spotted = picture**1.3, picture.clone()
        shifted = 0.9 * picture + 0.1 * picture.roll(1, 2)
        spotted[:, 10:13, 20:23] += 2 * picture.std()
        found = [mismatches(*(p - p.mean() for p in (picture, other)), side=32) for other in (curved, shifted, spotted)]
        assert found[0] < 0.1
        assert found[1][:] < 0.2
        assert 1.0 < found[2] < 2.1

    def test_it_is_measured_in_no_more_detail_than_there_is(self):
        rng = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, 16, 16, generator=rng).repeat_interleave(2, 1).repeat_interleave(2, 2)
        fine = coarse + 0.3 * torch.rand(1, 32, 32, generator=rng)
        pair = coarse - coarse.mean(), fine - fine.mean()
        assert 2 * mismatches(*pair, side=16) < mismatches(*pair, side=32) * 1.5


class TestThreshold:
    def test_it_is_eight_spreads_above_the_median_of_what_was_met(self):
        rng = np.random.default_rng(0)
        base = rng.normal(size=(32, 32))
        thumbnails = torch.from_numpy(np.stack([base + 0.25 * rng.normal(size=(32, 32)) for _ in range(80)]))
        similarities = Similarities(thumbnails)
        similarities.compare(thumbnails, range(80), later_only=True)
        values = thumbnails.flatten(1).numpy()
        z = np.arctanh(np.corrcoef(values)[np.triu_indices(80, 1)])
        middle, upper = np.quantile(z, [0.5, 0.84])
        assert similarities.threshold == pytest.approx(max(0.95, np.tanh(middle + 8 * (upper - middle))), abs=2e-3)
        assert similarities.threshold > 0.951

    def test_it_stays_within_bounds(self):
        different = Similarities(torch.rand(5, 32, 32))
        assert different.threshold == pytest.approx(0.95)
        same = torch.stack([thumbnail_of(alike(i % 2)) for i in range(20)])
        equal = Similarities(same)
        equal.compare(same, range(20), later_only=True)
        assert equal.threshold <= 0.998

    def test_parts_give_what_the_whole_gives(self):
        thumbnails = torch.stack([thumbnail_of(scene(i % 9)) for i in range(12)])
        whole, parts = Similarities(thumbnails[:4]), Similarities(thumbnails[:4])
        whole.compare(thumbnails, range(12))
        for start in range(0, 12, 5):
            parts.compare(thumbnails[start : start + 5], range(12)[start : start + 5])
        assert [p[:2] for p in sorted(whole.pairs())] == [(0, 0), (0, 9), (1, 1), (1, 10), (2, 2), (2, 11), (3, 3)]
        assert sorted(p[:2] for p in parts.pairs()) == [p[:2] for p in sorted(whole.pairs())]


def test_digests_tell_shapes_and_pixels_apart():
    tall, wide = Image.new("RGB", (2, 3)), Image.new("RGB", (3, 2))
    assert re.fullmatch("[0-9a-f]{64}", digest_of(tall))
    assert digest_of(tall) != digest_of(wide)
    assert digest_of(tall) == digest_of(Image.new("L", (2, 3)))
