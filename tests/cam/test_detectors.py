"""Scores of pictures from what a detector found: hand-computed, on torchvision's detectors, beside grad-cam."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from hand_made_lens import maps_of
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from tiny_nets import pictures
from torch import nn
from torchvision.ops import box_iou

from camdebug.cam.explain import explain
from camdebug.cam.fusing import fused
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import check_methods
from camdebug.cam.model.detection import MatchedBoxScore, matched_box_score
from camdebug.cam.model.entries import UnreadableOutputError
from camdebug.cam.model.reading import OutputReader
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers

BOX = [10.0, 10.0, 20.0, 20.0]
HALF = [10.0, 10.0, 20.0, 15.0]  # IoU with BOX 1/2
THIRD = [10.0, 15.0, 20.0, 25.0]  # 1/3


def detected(labels, scores, boxes=None):
    boxes = [BOX] * len(labels) if boxes is None else boxes
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32, requires_grad=True) * 1,
    }


def found_in_three():
    """The best of class 1 is not the first, class 2 has two that are equal, the last picture is empty."""
    return [detected([1, 2, 1, 2], [0.25, 0.5, 0.75, 0.5]), detected([2], [0.125]), detected([], [])]


# --- the best detection of a class


def test_the_score_of_a_class_is_that_of_its_best_detection_and_zero_without_one():
    output = found_in_three()
    found = OutputReader(num_classes=3)(output)
    assert found.table.tolist() == [[0.0, 0.75, 0.5], [0.0, 0.0, 0.125], [0.0, 0.0, 0.0]]
    assert found.link == "identity"
    assert found.predicted.tolist() == [1, 2, 0]
    assert found.probability(torch.tensor([1, 2, 1])).tolist() == [0.75, 0.125, 0.0]
    assert found.margin(torch.tensor([1, 1, 1]), torch.tensor([2, 2, 2])).tolist() == [0.75, 0.0, 0.0]


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(
    ("class_idx", "scores", "gradients"),
    [
        ([1, 1, 1], [0.75, 0.0, 0.0], [[0, 0, 1, 0], [0], []]),
        ([2, 2, 2], [0.5, 0.125, 0.0], [[0, 1, 0, 0], [1], []]),
        ([0, 0, 0], [0.0, 0.0, 0.0], [[0, 0, 0, 0], [0], []]),
    ],
)
def test_the_gradient_is_of_one_detection_and_zero_where_there_is_none(num_classes, class_idx, scores, gradients):
    output = found_in_three()
    found = OutputReader(num_classes=num_classes)(output).of(torch.tensor(class_idx))
    assert found.tolist() == scores
    taken = torch.autograd.grad(found.sum(), [picture["scores"] for picture in output])
    assert [gradient.tolist() for gradient in taken] == gradients


def test_detectors_do_not_tell_how_many_classes_they_know():
    found = OutputReader()(found_in_three())
    assert found.table is None
    assert found.predicted is None
    assert found.device == torch.device("cpu")
    assert found.of(torch.tensor([2, 99, 1])).tolist() == [0.5, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"num_classes: the model's output does not tell how many classes .* pass it"):
        found.kept().of(torch.tensor([1, 1, 1]))


def test_scores_that_are_no_number_stay_so_and_do_not_spoil_a_class_that_is_missing():
    output = [detected([1, 1, 2], [0.5, torch.nan, 0.25])]
    table = OutputReader(num_classes=4)(output).table[0]
    assert table[1].isnan()
    assert table[[0, 2, 3]].tolist() == [0.0, 0.25, 0.0]


def test_detections_are_found_in_containers_too_and_one_picture_needs_no_list():
    output = found_in_three()
    for given in (({}, output), {"predictions": output, "loss": torch.tensor(1.0)}, tuple(output)):
        assert OutputReader(num_classes=3)(given).table.shape == (3, 3)
    assert OutputReader(num_classes=3)(output[0]).table.tolist() == [[0.0, 0.75, 0.5]]


def test_a_half_precision_detector_gives_float32_scores():
    output = [{**picture, "scores": picture["scores"].bfloat16()} for picture in found_in_three()]
    assert OutputReader(num_classes=3)(output).table.dtype is torch.float32
    assert OutputReader()(output).of(torch.tensor([1, 1, 1])).dtype is torch.float32
    assert MatchedBoxScore(torch.tensor(BOX))(output, torch.tensor([1, 1, 1])).dtype is torch.float32


@pytest.mark.parametrize(
    ("labels", "num_classes", "words"),
    [
        ([1, 3], 3, "got 3 and labels from 1 to 3; torchvision's detectors count the background as 0"),
        ([-1, 1], 3, "got 3 and labels from -1 to 1"),
    ],
)
def test_labels_beyond_the_classes_are_named(labels, num_classes, words):
    with pytest.raises(ValueError, match=f"num_classes: expected more than any label.* {words}"):
        OutputReader(num_classes=num_classes)([detected(labels, [0.5, 0.5])])
    assert OutputReader(num_classes=4)([detected([1, 3], [0.5, 0.5])]).table.shape == (1, 4)


def test_classes_of_detectors_do_not_exclude_one_another():
    assert OutputReader(task="multilabel", num_classes=3)(found_in_three()).link == "identity"
    with pytest.raises(
        ValueError, match="task: a detector's classes do not exclude one another; leave 'multiclass' ou"
    ):
        OutputReader(task="multiclass")(found_in_three())


@pytest.mark.parametrize(
    "spoilt",
    [
        {"boxes": torch.rand(2, 5)},
        {"labels": torch.tensor([1])},
        {"scores": torch.rand(2, 2)},
        {"boxes": torch.rand(2, 5, 4), "labels": torch.ones(2, 5), "scores": torch.rand(2, 5)},
        {"scores": torch.tensor([1, 2])},
        {"labels": ["cat", "dog"]},
    ],
)
def test_what_only_looks_like_detections_is_refused(spoilt):
    with pytest.raises(UnreadableOutputError, match=r"got list\(dict\(boxes: .*labels: .*scores: .*pass score_fn="):
        OutputReader()([{**detected([1, 2], [0.5, 0.5]), **spoilt}])


# --- the detection that matches a box


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        ([BOX, HALF, THIRD], [1, 1, 1], 0.25),
        ([THIRD, HALF], [1, 1], 0.5),  # the best match, not the best score
        ([THIRD], [1], 0.0),
        ([BOX, HALF], [2, 1], 0.5),  # the best of its class
        ([BOX], [2], 0.0),
        ([], [], 0.0),
        ([[30.0, 30.0, 40.0, 40.0]], [1], 0.0),
    ],
)
def test_the_box_of_the_class_that_overlaps_best_gives_the_score(boxes, labels, expected):
    output = [detected(labels, [0.25, 0.5, 0.75][: len(labels)], boxes)]
    score = MatchedBoxScore(torch.tensor(BOX))(output, torch.tensor([1]))
    assert score.tolist() == [expected]
    (gradient,) = torch.autograd.grad(score.sum(), output[0]["scores"])
    assert gradient.tolist() == [float(s == expected) for s in [0.25, 0.5, 0.75][: len(labels)]]


def test_what_a_match_is_can_be_said():
    output = [detected([1], [0.5], [THIRD])]
    assert MatchedBoxScore(torch.tensor(BOX), min_iou=0.3)(output, torch.tensor([1])).tolist() == [0.5]
    assert MatchedBoxScore(torch.tensor([BOX]), min_iou=0.34)(output, torch.tensor([1])).tolist() == [0.0]


def test_overlap_is_torchvisions():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, 2, generator=generator).sort(1).values * 30
    boxes, box = corners.flatten(1)[1:], corners.flatten(1)[0]
    iou = box_iou(box[None], boxes)[0]
    assert 5 < (iou > 0).sum() < 199
    for limit in (0.05, 0.2, 0.5):
        best = iou.argmax() if iou.max() >= limit else None
        output = [detected([1] * 199, torch.linspace(0.1, 0.9, 199).tolist(), boxes.tolist())]
        score = MatchedBoxScore(box, min_iou=limit)(output, torch.tensor([1]))
        assert score.tolist() == [0.0 if best is None else output[0]["scores"].tolist()[best]]


def test_boxes_may_differ_where_all_pictures_go_in_one_forward_or_come_with_the_output():
    output = [detected([1, 1], [0.25, 0.5], [BOX, THIRD])] * 2
    boxes, classes = torch.tensor([BOX, THIRD]), torch.tensor([1, 1])
    assert MatchedBoxScore(boxes)(output, classes).tolist() == [0.25, 0.5]
    reader = OutputReader(score_fn=lambda o, k: matched_box_score(o["predictions"], k, o["wanted"]), num_classes=2)
    assert reader({"predictions": output, "wanted": boxes}).table.tolist() == [[0.0, 0.25], [0.0, 0.5]]
    words = r"boxes: expected one for all pictures, or one for each of the 1 pictures of this forward, got 2"
    with pytest.raises(ValueError, match=words):
        MatchedBoxScore(boxes)(output[:1], classes[:1])


def test_beside_a_box_the_table_is_made_when_the_classes_are_counted():
    output = found_in_three()
    reader = OutputReader(score_fn=MatchedBoxScore(torch.tensor(BOX)), num_classes=3)
    assert reader(output).table.tolist() == [[0.0, 0.25, 0.5], [0.0, 0.0, 0.125], [0.0, 0.0, 0.0]]
    assert reader(output).link == "identity"
    assert OutputReader(score_fn=reader.score_fn)(output).table is None
    assert pickle.loads(pickle.dumps(reader))(output).table.tolist() == reader(output).table.tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"boxes": BOX}, TypeError, r"boxes: expected a tensor \(4,\) or \(N, 4\), got list"),
        ({"boxes": torch.ones(2, 5)}, ValueError, r"boxes: expected a shape \(4,\) or \(N, 4\), got \(2, 5\)"),
        ({"boxes": torch.ones(0, 4)}, ValueError, r"boxes: expected a shape .*, got \(0, 4\)"),
        (
            {"boxes": torch.tensor([5.0, 5.0, 2.0, 9.0])},
            ValueError,
            r"boxes: expected left < right .*\[\[5.0, 5.0, 2.0",
        ),
        ({"boxes": torch.tensor(BOX), "min_iou": 0}, ValueError, "min_iou: expected above 0 and up to 1, got 0"),
        ({"boxes": torch.tensor(BOX), "min_iou": 1.5}, ValueError, "min_iou: .* got 1.5"),
    ],
)
def test_a_box_that_is_none_is_refused_at_once(arguments, error, words):
    with pytest.raises(error, match=words):
        MatchedBoxScore(**arguments)


def test_a_box_needs_detections():
    words = "score_fn: a box needs detections from the model, .* got dict\\(logits: shape \\(2, 3\\)\\)"
    with pytest.raises(TypeError, match=words):
        MatchedBoxScore(torch.tensor(BOX))({"logits": torch.rand(2, 3)}, torch.tensor([0, 0]))


# --- torchvision's detectors

IMAGES = pictures(2, (96, 96), seed=3)
DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": {
        "box_score_thresh": 0.0,
        "rpn_score_thresh": 0.0,
        "rpn_post_nms_top_n_test": 30,
        "box_detections_per_img": 30,
    },
    "retinanet_resnet50_fpn": {"score_thresh": 0.0, "topk_candidates": 50},
}
LAYERS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": ["backbone.body.16", "backbone.fpn.layer_blocks.0"],
    "retinanet_resnet50_fpn": ["backbone.body.layer4", "backbone.fpn.layer_blocks.0"],
}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    """Random weights, scaled so that scores neither saturate nor are the same everywhere."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(torchvision.models.detection, request.param)(
            weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=96, **DETECTORS[request.param]
        )
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        entering = model.transform(list(IMAGES))[0].tensors
        model.backbone.train()(entering)
        spread = model.eval().backbone(entering)["0"].std()
        for block in model.backbone.fpn.layer_blocks:
            block[0].weight /= 2 * spread
        for name, parameter in model.named_parameters():
            if name.endswith("cls_logits.bias"):
                parameter.zero_()
    return model, LAYERS[request.param]


class BestOfClass:
    """For grad-cam: as FasterRCNNBoxScoreTarget, but the score alone, and without a box the best of the class."""

    def __init__(self, label, box=None):
        self.label, self.box = label, box

    def __call__(self, output):
        of_class = output["labels"] == self.label
        if self.box is None:
            return output["scores"][of_class].max()
        overlap = box_iou(self.box[None], output["boxes"])[0] * of_class
        assert overlap.max() >= 0.5
        return output["scores"][overlap.argmax()]


def compare(model, layer, images, classes, reader, targets):
    found = maps_of(model, images, classes, reader, layer, ("gradcam", "hirescam"))
    for name, kind in (("gradcam", GradCAM), ("hirescam", HiResCAM)):
        with kind(model=model, target_layers=[model.get_submodule(layer)]) as cam:
            theirs = cam(input_tensor=images, targets=targets)
        ours = found[name].maps.numpy()
        assert ours.max() > 0, f"{name} of {layer} shows nothing to compare"
        np.testing.assert_allclose(scale_cam_image(scale_cam_image(ours, (96, 96))), theirs, atol=2e-4, rtol=0)
    return found["hirescam"]


def test_maps_of_detectors_are_grad_cams_own_for_the_same_detections(detector):
    model, layers = detector
    with torch.no_grad():
        output = model(IMAGES)
    assert all(set(found["labels"].tolist()) >= {1, 2} for found in output), "each class must be found"
    classes = torch.tensor([2, 1])
    best = [found["scores"][found["labels"] == k].max() for found, k in zip(output, classes, strict=True)]
    for layer in layers:
        heat = compare(model, layer, IMAGES, classes, OutputReader(), [BestOfClass(2), BestOfClass(1)])
        torch.testing.assert_close(heat.class_score, torch.stack(best))
        assert heat.predicted_class is None
    box = output[0]["boxes"][output[0]["labels"] == 2][-1]
    reader = OutputReader(score_fn=MatchedBoxScore(box), num_classes=4)
    heat = compare(model, layers[0], IMAGES[:1], classes[:1], reader, [BestOfClass(2, box)])
    assert 0 < heat.class_score < best[0], "another detection than the best one"


def test_a_class_that_is_not_found_has_an_empty_map_and_is_no_error(detector):
    model, layers = detector
    heat = maps_of(model, IMAGES, torch.tensor([5, 1]), OutputReader(num_classes=6), layers[0])["hirescam"]
    assert heat.maps[0].count_nonzero() == 0
    assert heat.class_score[0] == 0
    assert heat.maps[1].count_nonzero() > 0
    assert (heat.predicted_class < 4).all()


def test_a_detector_that_finds_nothing_at_all_is_no_error_either(detector, monkeypatch):
    model, layers = detector
    monkeypatch.setattr(getattr(model, "roi_heads", model), "score_thresh", 1.0)
    assert [len(found["scores"]) for found in model(IMAGES)] == [0, 0]
    for reader in (
        OutputReader(),
        OutputReader(num_classes=4),
        OutputReader(score_fn=MatchedBoxScore(torch.tensor(BOX))),
    ):
        heat = maps_of(model, IMAGES, torch.tensor([1, 2]), reader, layers[0])["hirescam"]
        assert heat.maps.shape[0] == 2
        assert heat.maps.count_nonzero() == heat.class_score.count_nonzero() == 0


def test_several_levels_of_a_pyramid_are_seen_in_one_pass(detector):
    model, (_, level) = detector
    images, classes = IMAGES[:1], torch.tensor([1])
    levels = [level, f"{level[:-1]}{int(level[-1]) + 1}"]
    alone = [maps_of(model, images, classes, OutputReader(), name)["hirescam"].maps for name in levels]
    with borrowed(model):
        subject = ModelUse(outputs=OutputReader()).on(model)
        lens = Lens(subject, find_target_layers(subject, images, levels), 8)
        together = explain(lens, images, [classes], check_methods("hirescam"))[0]["hirescam"]
    assert alone[0].max() > 0
    torch.testing.assert_close(together.maps, fused(alone, "mean"))
    assert together.grid == alone[0].shape[1:]
