import gc
import weakref

import pytest
import torch
from tiny_nets import METHOD_NAMES, ConvNet, forwards_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.options import MapOptions
from camdebug.cam.target.layers import TargetLayerError
from camdebug.cam.target.search import find_target_layers

# --- one pass


def test_five_methods_cost_one_forward_a_chunk_and_the_search_for_the_layer_two_of_one_picture():
    model, images = ConvNet(), pictures(7)
    seen = forwards_of(model)
    compute_cams(model, images, method=METHOD_NAMES, chunk_size=3)
    assert seen == [1, 1, 3, 3, 1]
    del seen[:]
    compute_cams(model, images, 1, method=METHOD_NAMES, chunk_size=3)
    assert seen == [3, 3, 1]


def test_several_choices_of_class_share_the_pass_too():
    model, images = ConvNet(), pictures(5)
    labels = torch.tensor([0, 1, 2, 0, 1])
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images)
        seen = forwards_of(model)
        found = explain(Lens(subject, layers, 5), images, [labels, None], check_methods("hirescam"))
    assert seen == [5]
    for choice, heat in zip((labels, None), found, strict=True):
        assert torch.equal(heat["hirescam"].maps, compute_cams(model, images, choice).maps)
    assert found[0]["hirescam"].class_idx.tolist() == labels.tolist()
    assert torch.equal(found[1]["hirescam"].class_idx, found[0]["hirescam"].predicted_class)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 6, 100])
def test_chunk_size_changes_no_map_and_no_score(chunk_size):
    model, images = ConvNet(flat_side=4), pictures(7)
    classes = [0, 1, 2, 0, 1, 2, 0]
    whole = compute_cams(model, images, classes, method=METHOD_NAMES, chunk_size=7)
    parts = compute_cams(model, images, classes, method=METHOD_NAMES, chunk_size=chunk_size)
    for name in METHOD_NAMES:
        torch.testing.assert_close(parts[name].maps, whole[name].maps, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(parts[name].class_score, whole[name].class_score, atol=1e-6, rtol=1e-5)


def test_a_method_alone_and_in_a_sequence_gives_the_same_bits_in_the_order_asked_for():
    model, images = ConvNet(), pictures()
    several = compute_cams(model, images, method=["layercam", "gradcam", "layercam"])
    assert list(several) == ["layercam", "gradcam"]
    assert torch.equal(several["gradcam"].maps, compute_cams(model, images, method="gradcam").maps)


def test_by_default_each_picture_is_explained_for_its_predicted_class():
    model, images = ConvNet(flat_side=4), pictures(8) * torch.linspace(-3, 3, 8)[:, None, None, None]
    scores = model.eval()(images).detach()
    found = compute_cams(model, images)
    assert len(set(found.class_idx.tolist())) > 1, "the net must predict several classes"
    assert found.class_idx.tolist() == scores.argmax(1).tolist()
    assert found.correct.all()
    torch.testing.assert_close(found.class_score, scores.amax(1))
    assert torch.equal(found.maps, compute_cams(model, images, found.class_idx).maps)


def test_of_equal_scores_the_first_is_the_prediction_and_the_one_that_is_explained():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 4))
    with torch.no_grad():
        model[2].weight[1:] = model[2].weight[1]
        model[2].bias.copy_(torch.tensor([-9.0, 1.0, 1.0, 1.0]))
    found = compute_cams(model, pictures())
    assert found.class_idx.tolist() == found.predicted_class.tolist() == [1, 1, 1]


# --- input


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_grad_mode_of_the_caller_changes_nothing(mode):
    model, images = ConvNet(), pictures()
    expected = compute_cams(model, images, 1).maps
    with mode():
        found = compute_cams(model, images, 1)
    assert torch.equal(found.maps, expected)
    assert not found.maps.is_inference()
    assert not found.class_idx.is_inference()


def test_inference_tensors_and_graph_tensors_are_taken_as_pictures():
    model, images = ConvNet(), pictures()
    expected = compute_cams(model, images, 1).maps
    with torch.inference_mode():
        made_inside = images * 1
        classes = torch.ones(3, dtype=torch.int32)
    assert made_inside.is_inference()
    assert classes.is_inference()
    assert torch.equal(compute_cams(model, made_inside, classes).maps, expected)
    graph = (images.clone().requires_grad_() * 1) + 0
    found = compute_cams(model, graph, 1)
    assert torch.equal(found.maps, expected)
    assert not found.maps.requires_grad
    assert not found.class_score.requires_grad


class WritesToItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        return self.net(x.sub_(0.5).relu_())


def test_pictures_are_not_written_to_even_when_the_model_works_in_place():
    model, images = WritesToItsInput().eval(), pictures()
    before = images.clone()
    compute_cams(model, images)
    assert torch.equal(images, before)
    with torch.no_grad():
        model(images)
    assert not torch.equal(images, before), "the negative control: the model does write"


def test_integer_pictures_and_other_formats_are_cast_to_the_models():
    model, images = ConvNet(), (pictures() * 4).to(torch.uint8)
    signed = MapOptions(sign="signed")
    expected = compute_cams(model, images.float(), 1, options=signed).maps
    assert expected.abs().max() > 1e-3
    for cast in (torch.uint8, torch.float64, torch.int64):
        assert torch.equal(compute_cams(model, images.to(cast), 1, options=signed).maps, expected)


# --- number formats


def test_a_double_model_gives_float32_maps_of_the_same_values():
    model, images = ConvNet(), pictures()
    expected = compute_cams(model, images, 1)
    found = compute_cams(model.double(), images, 1)
    assert found.maps.dtype is found.class_score.dtype is torch.float32
    torch.testing.assert_close(found.maps, expected.maps, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_bfloat16_model_gives_float32_maps_close_to_those_of_the_float_model(method):
    model, images = ConvNet(), pictures()
    expected = compute_cams(model, images, 1, method=method).maps
    found = compute_cams(model.bfloat16(), images, 1, method=method).maps
    assert found.dtype is torch.float32
    # bf16 has 8 bits; XGrad-CAM divides by sums that cancel
    assert (found - expected).abs().max() < (0.5 if method == "xgradcam" else 0.15) * expected.max()


@pytest.mark.parametrize("cast", [torch.float32, torch.float64, torch.bfloat16])
def test_autocast_of_the_caller_is_used_whatever_the_format_of_the_pictures(cast):
    model, images = ConvNet(), pictures()
    expected = compute_cams(model, images, 1)
    formats = []
    model.stage[0].register_forward_hook(lambda _m, _i, output: formats.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        found = compute_cams(model, images.to(cast), 1)
    assert set(formats) == {torch.bfloat16}
    assert found.maps.dtype is torch.float32
    assert (found.maps - expected.maps).abs().max() < 0.15 * expected.maps.max()


def test_a_look_inside_the_callers_autocast_block_leaves_no_casts_without_a_graph_behind():
    images = pictures()

    def gradients(*, look):
        model = ConvNet().eval()
        with torch.autocast("cpu", torch.bfloat16):
            if look:
                compute_cams(model, images)
            loss = model(images).sum()
        loss.backward()
        return [p.grad for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(look=True), gradients(look=False), strict=True))


# --- the layer that was found is remembered


def test_a_layer_found_before_is_found_again_when_the_model_is_edited():
    model, images = ConvNet(), pictures()
    assert compute_cams(model, images).layer == "relu"
    model.relu = nn.Identity()
    assert compute_cams(model, images).layer == "relu"
    model.pool = nn.Sequential(nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1))
    assert compute_cams(model, images).layer == "pool.0"
    model.pool = nn.AdaptiveAvgPool2d(1)
    assert compute_cams(model, images).layer == "relu"


def test_a_layer_found_for_one_size_is_not_used_for_another():
    model = ConvNet()
    assert compute_cams(model, pictures(size=(16, 16))).grid == (4, 4)
    assert compute_cams(model, pictures(size=(24, 16))).grid == (6, 4)
    assert compute_cams(model, pictures(size=(4, 4))).layer == "stem"  # the last stage has one cell there


def test_a_moved_or_recast_model_keeps_its_layer_and_needs_no_new_search():
    model, images = ConvNet(), pictures()
    compute_cams(model, images)
    seen = forwards_of(model)
    assert compute_cams(model.double(), images).layer == "relu"
    assert seen == [3]


def test_remembering_the_layer_keeps_no_model_alive():
    model = ConvNet()
    model.relu.owner = [model]  # as a submodule with a way back to its owner
    compute_cams(model, pictures())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


# --- errors name the argument


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"images": [1]}, TypeError, r"images: expected a tensor \(N, C, H, W\), got list"),
        ({"images": torch.rand(3, 8, 8)}, ValueError, r"images: expected a shape \(N, C, H, W\).*got \(3, 8, 8\)"),
        ({"images": torch.rand(0, 3, 8, 8)}, ValueError, r"images: .*no zero, got \(0, 3, 8, 8\)"),
        ({"class_idx": 3}, ValueError, r"class_idx: expected 0 to 2 for the model's 3 scores, got 3"),
        ({"class_idx": -1}, ValueError, "class_idx: expected 0 or more, got -1"),
        ({"class_idx": [0, 1]}, ValueError, r"class_idx: .*one for each of 3 images, got shape \(2,\)"),
        ({"class_idx": 1.0}, TypeError, r"class_idx: expected class indices \(integers\), got torch.float32"),
        ({"class_idx": True}, TypeError, r"class_idx: expected class indices \(integers\), got torch.bool"),
        ({"class_idx": "cat"}, TypeError, r"class_idx: expected class indices \(integers\), got 'cat'"),
        ({"class_idx": [[0], [1, 2]]}, TypeError, "class_idx: expected class indices"),
        ({"method": "cornercam"}, ValueError, "method: expected one of gradcam, .*; got 'cornercam'"),
        ({"method": ["gradcam", 3]}, TypeError, r"method: expected a name, or a function .*, got 3"),
        ({"method": [["gradcam"]]}, TypeError, r"method: expected a name, or a function .*, got \['gradcam'\]"),
        ({"method": []}, TypeError, r"method: expected a name or a sequence of names .*; got \[\]"),
        ({"method": None}, TypeError, "method: expected a name or a sequence"),
        ({"chunk_size": 0}, ValueError, "chunk_size: expected a whole number above 0, got 0"),
        ({"chunk_size": 2.0}, ValueError, "chunk_size: .* got 2.0"),
        ({"chunk_size": True}, ValueError, "chunk_size: .* got True"),
        (
            {"target_layer": 4},
            TypeError,
            "target_layer: expected a dotted name or a module of the model, or a list of them, got int",
        ),
    ],
)
def test_errors_name_the_argument_what_it_should_be_and_what_came(arguments, error, words):
    given = {"images": pictures(), **arguments}
    with pytest.raises(error, match=words):
        compute_cams(ConvNet(), **given)


class Answers(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.net, self.answer = ConvNet(), answer

    def forward(self, x):
        return self.answer(self.net(x))


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (lambda s: "three", "str"),
        (lambda s: {}, "dict"),
        (lambda s: s.sum(), r"shape \(\)"),
        (lambda s: s.argmax(1), r"shape \(1,\) int64"),
        (lambda s: s[:, :, None], r"shape \(1, 3, 1\)"),
    ],
)
def test_a_model_that_gives_no_class_scores_is_told_so(answer, came):
    with pytest.raises(TypeError, match=rf"model: expected class scores \(N, K\) with K >= 2.*got {came}"):
        compute_cams(Answers(answer), pictures())


def test_a_row_of_scores_is_needed_for_each_picture():
    """Without a batch axis, ``squeeze()`` of a chunk of one looks like as many pictures as classes."""
    with pytest.raises(
        ValueError, match="model: expected a row of scores for each of 1 pictures from its forward, got 3"
    ):
        compute_cams(Answers(lambda s: s.squeeze()), pictures(1), target_layer="net.stage")


def test_scores_that_do_not_depend_on_the_layer_are_told_so():
    with pytest.raises(TargetLayerError, match="no layer with a spatial output has a gradient path to the scores"):
        compute_cams(Answers(lambda s: s.detach()), pictures())
    with pytest.raises(TargetLayerError, match=r"target_layer: no gradient path leads from 'net.stage' to the scores"):
        compute_cams(Answers(lambda s: s.detach()), pictures(), target_layer="net.stage")
