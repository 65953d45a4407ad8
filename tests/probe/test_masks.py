"""Masks from files through torchvision's readers and transforms.v2, into sets, looks, drawings and records."""

import json
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy.io import savemat
from small_audit import quick
from small_training import Module, monitor, trainer
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import tv_tensors
from torchvision.datasets import (
    Cityscapes,
    CocoDetection,
    OxfordIIITPet,
    SBDataset,
    VOCSegmentation,
    wrap_dataset_for_transforms_v2,
)
from torchvision.transforms import v2

from camdebug import ProbeSet, compute_cams
from camdebug.background.composites import Composites
from camdebug.background.pairing import Pairing
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.dashboard import Dashboard
from camdebug.doctor import examine
from camdebug.doctor.picture import TEXT, draw_examination
from camdebug.doctor.pictures import pictures_of
from camdebug.observe import Observer
from camdebug.render.ink import LIGHT, MARGIN, line_height
from camdebug.store import load_record

TO_TENSOR = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
PLAIN = v2.Compose(TO_TENSOR)
# 8 rows and 12 columns become the middle 8 columns, mirrored: column c shows column 9 - c.
CROPPED = v2.Compose([v2.CenterCrop(8), v2.RandomHorizontalFlip(1.0), *TO_TENSOR])
HEIGHT, WIDTH = 8, 12


def cropped(values):
    return np.asarray(values)[:, 2:10][:, ::-1]


def quietly(dataset, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_dataset(dataset, **arguments)


def by_class(probes):
    rows = zip(probes.source_ids, probes.labels.tolist(), probes.masks, probes.ignore_masks, strict=True)
    return {(key.split(":")[0], k): (mask.numpy(), ignored.numpy()) for key, k, mask, ignored in rows}


def save(path, values=None, *, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if values is None else values
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.fromarray(values).convert("L")
        image.putpalette([value for k in range(256) for value in (k, 255 - k, 7)])
    image.save(path)


def blocks(*, of, else_=0):
    """A map of ids; ``of`` gives rows and columns to each."""
    values = np.full((HEIGHT, WIDTH), else_, np.uint8)
    for number, (rows, columns) in of.items():
        values[slice(*rows), slice(*columns)] = number
    return values


TRIMAPS = [
    blocks(of={3: ((1, 6), (2, 9)), 1: ((2, 5), (3, 8))}, else_=2),
    blocks(of={3: ((0, 4), (5, 12)), 1: ((1, 3), (6, 11))}, else_=2),
    blocks(of={1: ((3, 7), (0, 2))}, else_=2),  # cut away by the crop
]


@pytest.fixture
def pets(tmp_path):
    """A function that reads real files of Oxford's pets: an Abyssinian cat, a beagle, a cat at the edge."""
    root = tmp_path / "oxford-iiit-pet"
    for name, trimap in zip(("Abyssinian_1", "beagle_1", "Abyssinian_2"), TRIMAPS, strict=True):
        save(root / "images" / f"{name}.jpg")
        save(root / "annotations" / "trimaps" / f"{name}.png", trimap)
    (root / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1 1\nbeagle_1 2 2 1\nAbyssinian_2 1 1 1\n")
    return lambda *types, **given: OxfordIIITPet(str(tmp_path), target_types=types, **given)


class TestPets:
    @pytest.mark.parametrize("wrapped", [False, True])
    @pytest.mark.parametrize("types", [("category", "segmentation"), ("segmentation", "category")])
    def test_the_pet_is_the_object_and_its_border_is_ignored(self, pets, types, wrapped):
        dataset = pets(*types, transforms=CROPPED)
        found = quietly(wrap_dataset_for_transforms_v2(dataset) if wrapped else dataset)
        assert found.class_names == ("Abyssinian", "Beagle")
        rows = by_class(found)
        assert sorted(rows) == [("0", 0), ("1", 1)]
        for (key, _), (mask, ignored) in rows.items():
            assert (mask == (cropped(TRIMAPS[int(key)]) == 1)).all()
            assert (ignored == (cropped(TRIMAPS[int(key)]) == 3)).all()
        assert [(e.source_id, e.reason) for e in found.exclusions] == [("2", "mask of no area")]
        # columns 3 to 8 less 2, mirrored in 8
        assert found.boxes[found.source_ids.index("0")].tolist() == [[2, 2, 7, 5]]

    def test_cats_and_dogs_have_names_of_their_own(self, pets):
        found = quietly(pets("binary-category", "segmentation", transforms=PLAIN))
        assert (found.class_names, found.counts) == (("Cat", "Dog"), (2, 1))

    def test_without_trimaps_they_are_pictures_with_a_class(self, pets):
        found = quietly(Subset(pets("category", transforms=PLAIN), [0, 1]))
        assert (found.masks, found.annotated, found.counts) == (None, False, (1, 1))

    def test_trimaps_without_a_class_are_an_error_that_says_what_to_pass(self, pets):
        with pytest.raises(ValueError, match=re.escape('target_types=("category", "segmentation")')):
            ProbeSet.from_dataset(pets("segmentation", transforms=PLAIN))

    def test_a_transform_of_the_picture_alone_is_an_error(self, pets):
        dataset = pets("category", "segmentation", transform=v2.Compose([v2.Resize(4), *TO_TENSOR]))
        with pytest.raises(ValueError, match=r"masks of dataset\[\d\] are for a picture of 8x12, but .* is 4x6"):
            ProbeSet.from_dataset(dataset)


# a dog, two cats, one of them touching a bus, and void
VOC_MAP = blocks(of={12: ((0, 3), (0, 4)), 8: ((4, 8), (2, 6)), 6: ((4, 8), (6, 9)), 255: ((0, 8), (9, 10))})
VOC_MAP[0:2, 10:12] = 8


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    save(root / "JPEGImages" / "a.jpg")
    save(root / "SegmentationClass" / "a.png", VOC_MAP, mode="P")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    return VOCSegmentation(str(tmp_path), year="2012", image_set="train", transforms=PLAIN)


@pytest.fixture
def boundaries(tmp_path):
    save(tmp_path / "img" / "a.jpg")
    (tmp_path / "cls").mkdir()
    savemat(tmp_path / "cls" / "a.mat", {"GTcls": {"Segmentation": VOC_MAP}})
    (tmp_path / "train.txt").write_text("a\n")
    return SBDataset(str(tmp_path), image_set="train", mode="segmentation", transforms=PLAIN)


@pytest.mark.parametrize("kind", ["voc", "boundaries"])
def test_each_known_class_of_a_voc_map_is_a_probe_and_all_else_but_background_is_ignored(kind, request):
    dataset = request.getfixturevalue(kind)
    rows = by_class(quietly(dataset, class_names=["dog", "cat"]))
    assert sorted(rows) == [("0", 0), ("0", 1)]
    for class_idx, number in ((0, 12), (1, 8)):
        mask, ignored = rows["0", class_idx]
        assert (mask == (number == VOC_MAP)).all()
        assert (ignored == ((number != VOC_MAP) & (VOC_MAP != 0))).all()
    with pytest.raises(ValueError, match=re.escape("got Dog (near: dog)")):
        ProbeSet.from_dataset(dataset, class_names=["Dog", "cat"])


def test_of_cityscapes_stuff_is_background_and_what_is_never_evaluated_is_ignored(tmp_path):
    # road, sky, car, person, truck, ego vehicle
    ids = blocks(of={7: ((4, 8), (0, 12)), 23: ((0, 2), (0, 12))}, else_=11)
    ids[3:6, 1:5], ids[3:7, 6:8], ids[3:6, 9:11], ids[7] = 26, 24, 27, 1
    save(tmp_path / "leftImg8bit" / "train" / "ulm" / "u_0_0_leftImg8bit.png")
    save(tmp_path / "gtFine" / "train" / "ulm" / "u_0_0_gtFine_labelIds.png", ids)
    save(tmp_path / "gtFine" / "train" / "ulm" / "u_0_0_gtFine_instanceIds.png", ids)
    for target_type in ("semantic", "instance"):
        dataset = Cityscapes(str(tmp_path), target_type=target_type, transforms=PLAIN)
        rows = by_class(quietly(dataset, class_names=["person", "car"]))
        assert sorted(rows) == [("0", 0), ("0", 1)]
        for class_idx, number in ((0, 24), (1, 26)):
            mask, ignored = rows["0", class_idx]
            assert (mask == (ids == number)).all()
            assert (ignored == (np.isin(ids, [24, 26, 27, 1]) & (ids != number))).all()
    road = by_class(quietly(dataset, class_names=["road"]))["0", 0]
    assert (road[0] == (ids == 7)).all()  # stuff that is asked for is an object


@pytest.fixture
def coco(tmp_path, capsys):
    """A cat as two polygons, a dog as run lengths, and a crowd of dogs."""
    square = [[2, 1, 5, 1, 5, 4, 2, 4], [7, 5, 9, 5, 9, 7, 7, 7]]
    dog, crowd = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    dog[4:7, 3:6], crowd[0:3, 9:12] = 1, 1

    def runs(mask):
        flat = mask.flatten(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
        counts = np.diff([0, *edges, len(flat)]).tolist()
        return {"counts": counts, "size": [HEIGHT, WIDTH]}

    save(tmp_path / "a.png")
    objects = [(17, square, 0, [2, 1, 7, 6]), (18, runs(dog), 0, [3, 4, 3, 3]), (18, runs(crowd), 1, [9, 0, 3, 3])]
    listing = {
        "images": [{"id": 5, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": k, "segmentation": s, "iscrowd": c, "bbox": b, "area": 9}
            for i, (k, s, c, b) in enumerate(objects, start=1)
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(listing))
    cat = np.zeros((HEIGHT, WIDTH), bool)
    cat[1:4, 2:5], cat[5:7, 7:9] = True, True
    dataset = CocoDetection(str(tmp_path), str(tmp_path / "all.json"), transforms=CROPPED)
    return dataset, cat, dog.astype(bool), crowd.astype(bool)


class TestCoco:
    def test_polygons_and_run_lengths_become_masks_and_crowds_are_ignored(self, coco):
        dataset, cat, dog, crowd = coco
        rows = by_class(quietly(dataset, annotation="masks", class_names=["cat", "dog"]))
        assert sorted(rows) == [("0", 0), ("0", 1)]
        assert (rows["0", 0][0] == cropped(cat)).all()
        assert (rows["0", 0][1] == cropped(dog | crowd)).all()
        assert (rows["0", 1][0] == cropped(dog)).all()
        assert (rows["0", 1][1] == cropped(cat | crowd)).all()

    def test_without_annotation_it_is_boxes_that_are_read_and_crowds_are_ignored_too(self, coco):
        found = quietly(coco[0], class_names=["cat", "dog"])
        assert found.masks is None
        row = found.labels.tolist().index(1)
        assert found.boxes[row].tolist() == [[4, 4, 7, 7]]  # columns 3 to 6 less 2, mirrored in 8
        assert found.ignore[row].tolist() == [[1, 1, 8, 7], [0, 0, 1, 3]]


def masks_of(*corners):
    masks = torch.zeros(len(corners), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


IMAGE = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
TWO = masks_of((0, 0, 3, 3), (6, 2, 10, 8))


class TestTargets:
    def test_masks_with_labels_make_a_set_of_masks(self):
        third = masks_of((4, 0, 5, 8))
        target = {"masks": torch.cat([TWO, third]), "labels": [0, 1, 0], "ignore_masks": masks_of((11, 0, 12, 8))[0]}
        rows = by_class(quietly([(IMAGE, target)], class_names=["a", "b"]))
        assert (rows["0", 0][0] == (TWO[0] | third[0]).numpy()).all()
        assert (rows["0", 0][1] == (TWO[1] | target["ignore_masks"]).numpy()).all()
        assert (rows["0", 1][0] == TWO[1].numpy()).all()

    @pytest.mark.parametrize(("annotation", "masks"), [(None, False), ("boxes", False), ("masks", True)])
    def test_where_there_are_both_the_caller_says_which_and_boxes_come_first(self, annotation, masks):
        target = {"boxes": torch.tensor([[0.0, 0, 4, 4]]), "masks": TWO[:1], "labels": [0]}
        found = quietly([(IMAGE, target)], annotation=annotation)
        assert (found.masks is not None) == masks
        assert found.boxes[0].tolist() == ([[0, 0, 3, 3]] if masks else [[0, 0, 4, 4]])

    def test_label_counts_alone_and_the_others_are_ignored(self):
        target = {"masks": TWO, "labels": [0, 1]}
        found = quietly([(IMAGE, target)], label=lambda t: 1, class_names=["a", "b"])
        assert found.source_ids == ("0",)
        assert torch.equal(found.masks[0], TWO[1])
        assert torch.equal(found.ignore_masks[0], TWO[0])

    @pytest.mark.parametrize("masks", [TWO.numpy(), TWO.to(torch.uint8), list(TWO), tv_tensors.Mask(TWO)])
    def test_masks_come_as_people_have_them(self, masks):
        found = quietly([(IMAGE, {"masks": masks, "labels": [0, 0]})])
        assert torch.equal(found.masks[0], TWO.any(0))
        assert found.masks.dtype is torch.bool

    @pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (1, HEIGHT, WIDTH)])
    def test_a_map_of_ids_is_read_by_a_label_map(self, shape):
        target = torch.from_numpy(VOC_MAP).reshape(shape).long()
        rows = by_class(quietly([(IMAGE, target)], label_map={12: 0, 8: 1}, class_names=["dog", "cat"]))
        assert (rows["0", 1][0] == (VOC_MAP == 8)).all()
        assert (rows["0", 1][1] == np.isin(VOC_MAP, [6, 12, 255])).all()
        zero = by_class(quietly([(IMAGE, target)], label_map={0: 0}))["0", 0]
        assert (zero[0] == (VOC_MAP == 0)).all()

    @pytest.mark.parametrize(
        ("target", "error", "words"),
        [
            ({"masks": TWO[:, :4], "labels": [0, 1]}, ValueError, "masks of dataset[0] are for a picture of 4x12, but"),
            ({"masks": TWO[0], "labels": [0]}, ValueError, "expected masks (k, H, W) from dataset[0], got a shape (8,"),
            ({"masks": TWO * 255, "labels": [0, 1]}, ValueError, "masks of dataset[0] to be bool, or 0 and 1 alone"),
            ({"masks": TWO, "labels": [0]}, ValueError, "dataset[0] has 2 masks but 1 labels"),
            ({"masks": "RLE", "labels": [0]}, TypeError, "expected masks (k, H, W) from dataset[0], got 'RLE'"),
            ({"masks": TWO}, TypeError, "has no 'labels'; pass label="),
            (
                {"masks": TWO, "labels": [0, 1], "ignore_masks": TWO[:, :4]},
                ValueError,
                "of 4x12, but the picture is 8x12",
            ),
            ({"boxes": [[0, 0, 3, 3]], "labels": [0]}, ValueError, "1 x no 'masks' in the target, which has 'boxes',"),
            ({"mask": TWO, "labels": [0]}, ValueError, "give 'mask' as 'masks', (k, height, width), one for each"),
            (torch.from_numpy(VOC_MAP), ValueError, "label_map: expected {id: class index} for the map of class ids"),
            (torch.zeros(4, WIDTH).long(), ValueError, "label_map: expected"),
        ],
    )
    def test_what_cannot_be_read_is_one_clear_error(self, target, error, words):
        with pytest.raises(error, match=re.escape(words)):
            ProbeSet.from_dataset([(IMAGE, target)], annotation="masks")

    def test_a_map_that_did_not_follow_the_picture_is_an_error(self):
        target = torch.zeros(4, WIDTH).long()
        with pytest.raises(ValueError, match=r"map of class ids of .* for a picture of 4x12, but the picture is 8x12"):
            ProbeSet.from_dataset([(IMAGE, target)], label_map={1: 0})


def half_masks():
    """Per class 20 pictures of 16 px, the object an L of 48 pixels, a region of 16 ignored."""
    count, source = 80, torch.Generator().manual_seed(4)
    masks, ignored = torch.zeros(2, count, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 4:8], masks[:, 8:12, 8:12] = True, True
    ignored[:, 12:16, 12:16] = True
    return ProbeSet(
        torch.randn(count, 3, 16, 16, generator=source),
        torch.arange(count) % 4,
        masks=masks,
        ignore_masks=ignored,
        class_names=[f"kind {k}" for k in range(4)],
    )


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 4))


def looked(probes, model):
    with borrowed(model):
        return Observer(probes, target_layer="2").look(model, ModelPrecision(model), epoch=0, looks_left=None)


def examined(probes, masks):
    return examine(net(), ProbeSet(probes.images, probes.labels, masks=masks), target_layer="2")


class TestThroughout:
    def test_mass_outside_is_what_the_mask_leaves_in_each_cell(self):
        probes, model = half_masks(), net()
        record = looked(probes, model)
        maps = record.label_maps.maps.double()  # on 4x4 cells of 4x4 pixels
        object_cells = torch.zeros(4, 4, dtype=torch.bool)
        object_cells[1, 1] = object_cells[2, 1] = object_cells[2, 2] = True
        readable = torch.ones(4, 4, dtype=torch.bool)
        readable[3, 3] = False
        inside, total = maps[:, object_cells].sum(1), maps[:, readable].sum(1)
        known = total > 0
        assert int(known.sum()) > 40
        torch.testing.assert_close(record.scores.outside_mass[known], 1 - (inside / total)[known])
        assert record.scores.area_fraction.tolist() == [pytest.approx(3 / 15)] * 80
        assert len(record.contrasts) == 4

    def test_composites_keep_the_pixels_of_masks_and_no_others(self):
        images = torch.arange(3.0)[:, None, None, None].expand(3, 3, HEIGHT, WIDTH)
        masks = masks_of((0, 0, 3, 3), (6, 2, 10, 8), (4, 4, 8, 6))
        masks[0, 1, 1] = False  # a hole
        ignored = masks_of((0, 7, 2, 8), (0, 0, 0, 0), (11, 0, 12, 1))
        probes = ProbeSet(images, [0, 0, 1], masks=masks, ignore_masks=ignored)
        row = Pairing(*(torch.tensor([i]) for i in (0, 1, 2, 0)))
        kept = (masks | ignored).any(0)
        assert not kept[1, 1]
        for shown, donor in zip(Composites(probes, row)[0:2], (1.0, 2.0), strict=True):
            assert torch.equal(shown, torch.where(kept, 0.0, donor).expand(3, HEIGHT, WIDTH))

    def test_one_pixel_of_a_mask_makes_another_set(self):
        one = half_masks()
        masks, ignored = one.masks.clone(), one.ignore_masks.clone()
        masks[5, 9, 9] = False  # within, so that the box around it stays
        ignored[5, 12, 12] = False

        def again(masks, ignored):
            return ProbeSet(one.images, one.labels, masks=masks, ignore_masks=ignored, class_names=one.class_names)

        assert again(one.masks, one.ignore_masks).fingerprint == one.fingerprint
        other = again(masks, one.ignore_masks)
        assert all(torch.equal(a, b) for a, b in zip(other.boxes, one.boxes, strict=True))
        assert len({one.fingerprint, other.fingerprint, again(one.masks, ignored).fingerprint}) == 3

    @pytest.mark.filterwarnings("ignore:.*in eval mode at the start.*")
    def test_a_training_is_watched_drawn_and_recorded(self, tmp_path):
        probes = half_masks()
        loader = DataLoader(TensorDataset(probes.images, probes.labels), batch_size=20)
        torch.manual_seed(0)
        watched = monitor(probes=probes, record=tmp_path / "record", contrast=False)
        fitted = trainer(pl, callbacks=[watched], max_epochs=1)
        fitted.fit(Module(), loader, loader)
        read = load_record(tmp_path / "record").record(0)
        scores = read.scores
        assert scores.area_fraction.tolist() == [pytest.approx(48 / 240)] * 80
        torch.testing.assert_close(scores.outside_mass, watched.last_record.scores.outside_mass, equal_nan=True)

    def test_the_doctor_judges_them_by_their_pixels_and_draws_their_edge(self):
        probes = half_masks()
        report = examine(net(), probes, target_layer="2")
        assert report.problems == ()
        small = probes.masks.clone()
        small[:, :8] = False
        small[:, 8:12, 5:11] = False  # 8 pixels at the ends of a box of 8x4: 3 %, and then 1.6 %
        assert not any("cannot be judged" in p for p in examined(probes, small).problems)
        small[:, 8:10] = False
        assert any("cannot be judged" in p for p in examined(probes, small).problems)
        image = np.asarray(draw_examination(pictures_of(probes), torch.zeros(12, 4, 4)))
        tile = image[2 * line_height(TEXT) :, MARGIN:][:208, :208]  # 13 times 16 pixels
        first, last = 4 * 13, 12 * 13 - 1
        for y, x in ((first, 70), (70, first), (last, 70), (last, 130), (130, last)):  # of the L
            assert tuple(tile[y, x]) == LIGHT
        for y, x in ((first, 130), (70, last)):  # of the box around it
            assert tuple(tile[y, x]) != LIGHT

    def test_the_board_shows_each_with_the_box_around(self):
        probes, model, shown = half_masks(), net(), []
        sink = SimpleNamespace(name="list", pictures=lambda pictures, *, step: shown.extend(pictures))
        sink.text = sink.alert = sink.facts = lambda *args, **kwargs: None
        board = Dashboard(probes, [0, 5], [sink])
        board.publish(looked(probes, model), step=1, verdict_text="")
        assert board.problems == []
        overlays = [p for p in shown if "/overlays/" in p.tag or p.boxes]
        assert len(overlays) >= 2
        boxes = [(b.left, b.top, b.right, b.bottom) for p in overlays[:2] for b in p.boxes]
        left = boxes[0][0] - 4 * 13  # of the picture in its frame
        assert boxes == [(left + 4 * 13, 4 * 13, left + 12 * 13, 12 * 13)] * 2


class Masked:
    """Twelve pictures of two classes with the same L; one of a class alone and one without an object."""

    def __init__(self, *, both=False):
        self.both, self.probes = both, half_masks()

    def __len__(self):
        return 14

    def __getitem__(self, index):
        image = self.probes.images[index]
        if index == 12:
            return image, 1
        mask = self.probes.masks[index] & (index != 13)
        return image, {"masks": mask[None], "ignore_masks": self.probes.ignore_masks[index], "labels": [index % 4]}


class TestAudit:
    def test_heat_of_a_dataset_of_masks_is_that_of_its_probes(self):
        dataset, model = Masked(), net()
        report = quick(model, dataset, target_layer="2", per_class=2)
        assert report.left_out == {"a class alone, without boxes or masks": ("12",), "mask of no area": ("13",)}
        found = compute_cams(model, dataset.probes.images[:12], dataset.probes.labels[:12], target_layer="2")
        maps = found.maps.double()
        inside = maps[:, 1, 1] + maps[:, 2, 1] + maps[:, 2, 2]
        expected = 1 - inside / (maps.sum((1, 2)) - maps[:, 3, 3])
        known = expected.isfinite()
        torch.testing.assert_close(report.pictures.scores.outside_mass[known], expected[known])
        assert report.look.probes == (2, 2, 2, 2)

    def test_the_same_pictures_as_a_set_give_the_same_numbers(self):
        dataset, model = Masked(), net()
        one = quick(model, Subset(dataset, range(12)), target_layer="2", class_names=dataset.probes.class_names)
        p = dataset.probes
        rows = slice(0, 12)
        twelve = ProbeSet(
            p.images[rows],
            p.labels[rows],
            masks=p.masks[rows],
            ignore_masks=p.ignore_masks[rows],
            class_names=p.class_names,
        )
        other = quick(model, twelve, target_layer="2")
        assert torch.equal(one.pictures.scores.inside_mass, other.pictures.scores.inside_mass)
        assert torch.equal(one.pictures.scores.area_fraction, other.pictures.scores.area_fraction)
