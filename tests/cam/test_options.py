"""What is done to maps: sign, several layers, smoothing over copies, the classes of highest score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_nets import CELLS, WEIGHTS, ConvNet, forwards_of, hand_net, pictures
from torch import nn

from camdebug import MapOptions, RegionScore, compute_cams, compute_top_cams
from camdebug.cam.fusing import fused, resized
from camdebug.cam.methods.one_pass import ONE_PASS
from camdebug.cam.methods.perturbation import ScoreCAM

CELL = torch.tensor([CELLS])


# --- sign


def test_the_three_signs_of_a_map_by_hand():
    # class 0: 1*1 - 2*1 | 0 + 0 ; 0 + 0 | 1*1 + 0
    signed = compute_cams(hand_net(), CELL, 0, options=MapOptions(sign="signed")).maps
    assert signed.tolist() == [[[-1.0, 0.0], [0.0, 1.0]]]
    assert compute_cams(hand_net(), CELL, 0, options=MapOptions(sign="absolute")).maps.tolist() == [
        [[1.0, 0.0], [0.0, 1.0]]
    ]
    assert compute_cams(hand_net(), CELL, 0).maps.tolist() == [[[0.0, 0.0], [0.0, 1.0]]]


def test_signed_evidence_of_a_linear_head_adds_up_to_the_score():
    heat = compute_cams(hand_net(), CELL, 1, options=MapOptions(sign="signed"))
    assert heat.maps.sum().item() == heat.class_score.item() == -2.0


# --- several layers


def test_maps_of_layers_are_put_on_the_finest_grid_each_by_its_peak():
    fine, coarse = torch.tensor([[[0.0, 4.0], [2.0, 0.0]]]), torch.tensor([[[5.0]]])
    assert fused([fine, coarse], "mean").tolist() == [[[0.5, 1.0], [0.75, 0.5]]]
    assert fused([fine, coarse], "max").tolist() == [[[1.0, 1.0], [1.0, 1.0]]]


def test_the_greatest_of_signed_maps_is_what_is_furthest_from_zero():
    assert fused([torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 1.5]])], "max").tolist() == [[1.0, -1.0]]


def test_an_empty_map_stays_empty_and_takes_nothing_from_the_others():
    assert fused([torch.zeros(1, 2, 2), torch.tensor([[[0.0, 2.0], [0.0, 0.0]]])], "mean").tolist() == [
        [[0.0, 0.5], [0.0, 0.0]]
    ]


def test_several_layers_come_from_the_one_pass():
    model, images = ConvNet(flat_side=4), pictures(5)
    seen = forwards_of(model)
    both = compute_cams(model, images, 1, target_layer=["stem", "relu"])
    assert seen[-1] == 5
    assert sum(n == 5 for n in seen) == 1
    single = [compute_cams(model, images, 1, target_layer=name).maps for name in ("stem", "relu")]
    assert both.layer == "stem, relu"
    assert both.grid == (8, 8)
    torch.testing.assert_close(both.maps, fused(single, "mean"), atol=1e-6, rtol=1e-5)
    top = compute_cams(model, images, 1, target_layer=["stem", "relu"], options=MapOptions(fuse="max"))
    torch.testing.assert_close(top.maps, fused(single, "max"), atol=1e-6, rtol=1e-5)


def test_behind_another_layer_the_gradient_of_the_first_goes_on_through_the_second():
    """Cut off at the second layer, the first would have none."""
    model, images = ConvNet(), pictures()
    found = compute_cams(model, images, 0, target_layer=["stem", "stage"], method="gradcam")
    alone = compute_cams(model, images, 0, target_layer="stem", method="gradcam")
    assert alone.maps.max() > 0
    second = compute_cams(model, images, 0, target_layer="stage", method="gradcam")
    torch.testing.assert_close(found.maps, fused([alone.maps, second.maps], "mean"), atol=1e-6, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 10.0))
def test_fusing_does_not_depend_on_scale_and_resizing_keeps_constants(rank, side, factor, scale):
    maps = torch.rand(2, *[side] * rank, generator=torch.Generator().manual_seed(side))
    other = torch.rand(2, *[side * factor] * rank, generator=torch.Generator().manual_seed(rank))
    torch.testing.assert_close(fused([maps * scale, other], "mean"), fused([maps, other], "mean"))
    constant = torch.full((1, *[side] * rank), scale)
    torch.testing.assert_close(
        resized(constant, [side * factor] * rank), torch.full((1, *[side * factor] * rank), scale)
    )


# --- smoothing over copies


def test_smoothing_is_the_mean_over_six_copies_turned_back():
    model, images = ConvNet(flat_side=4), pictures(4)
    expected = []
    for mirrored in (False, True):
        for factor in (0.9, 1.0, 1.1):
            copy = images * factor
            maps = compute_cams(model, copy.flip(-1) if mirrored else copy, [0, 1, 2, 0]).maps
            expected.append(maps.flip(-1) if mirrored else maps)
    found = compute_cams(model, images, [0, 1, 2, 0], options=MapOptions(aug_smooth=True))
    torch.testing.assert_close(found.maps, torch.stack(expected).mean(0), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found.maps, expected[1])


def test_smoothed_maps_of_a_net_that_cannot_tell_left_from_right_mirror_with_the_picture():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    images = pictures(2)
    options = MapOptions(aug_smooth=True, sign="signed")
    here = compute_cams(net, images, 1, options=options).maps
    there = compute_cams(net, images.flip(-1), 1, options=options).maps
    torch.testing.assert_close(there, here.flip(-1))


class Left:
    """A score of the left half, where the picture lies."""

    def __call__(self, output, class_idx):
        return output[:, :, :, :8].mean((2, 3)).gather(1, class_idx[:, None])[:, 0]


def test_what_belongs_to_the_left_stays_there():
    """Mirrored copies would put the right half's evidence into the map."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.5)
    images = pictures(2)
    found = compute_cams(net, images, 1, score_fn=Left(), options=MapOptions(aug_smooth=True, sign="absolute"))
    assert found.maps[:, :, :8].sum() > 0.01
    assert found.maps[:, :, 8:].abs().max() == 0
    copies = [
        compute_cams(net, images * f, 1, score_fn=Left(), options=MapOptions(sign="absolute")).maps
        for f in (0.9, 1, 1.1)
    ]
    torch.testing.assert_close(found.maps, torch.stack(copies).mean(0))


def test_neither_are_sequences_turned_round_in_time():
    net = nn.Sequential(nn.Conv1d(2, 3, 3, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(30, 2))
    series = torch.rand(2, 2, 8, generator=torch.Generator().manual_seed(0))
    found = compute_cams(net, series, 1, target_layer="1", options=MapOptions(aug_smooth=True, sign="signed"))
    signed = MapOptions(sign="signed")
    copies = [compute_cams(net, series * f, 1, target_layer="1", options=signed).maps for f in (0.9, 1.0, 1.1)]
    torch.testing.assert_close(found.maps, torch.stack(copies).mean(0))


def test_the_class_of_the_copies_is_that_of_the_plain_picture():
    """A brighter copy may be taken for another class; its map must not be mixed in."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight.copy_(torch.tensor([[1.0] * 4, [2.0] * 4]))
        net[2].bias.copy_(torch.tensor([4.2, 0.0]))
    image = torch.ones(1, 1, 2, 2)  # 8.2 against 8 as it is, 8.6 against 8.8 when brighter
    assert compute_cams(net, image * 1.1).predicted_class.tolist() == [1]
    found = compute_cams(net, image, options=MapOptions(aug_smooth=True))
    assert found.class_idx.tolist() == [0]
    torch.testing.assert_close(found.maps, torch.ones(1, 2, 2))
    assert found.class_score.item() == pytest.approx(8.2)


# --- the classes of highest score


def test_the_three_highest_classes_come_in_order_from_one_pass():
    model, images = ConvNet(classes=5), pictures(4)
    compute_cams(model, images)
    seen = forwards_of(model)
    found = compute_top_cams(model, images, 3)
    assert seen == [4]
    scores = model.eval()(images).detach()
    order = scores.argsort(1, descending=True)
    for place, heat in enumerate(found):
        assert heat.class_idx.tolist() == order[:, place].tolist()
        torch.testing.assert_close(heat.maps, compute_cams(model, images, order[:, place]).maps)
        torch.testing.assert_close(heat.class_score, scores.gather(1, order[:, place, None])[:, 0])
        assert heat.predicted_class.tolist() == order[:, 0].tolist()


def test_more_classes_than_there_are_cannot_be_explained():
    with pytest.raises(ValueError, match="k: expected at most the model's 3 classes, got 4"):
        compute_top_cams(ConvNet(), pictures(), 4)


# --- arguments


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sign": "both"}, ValueError, "sign: expected one of 'positive', 'signed', 'absolute', got 'both'"),
        ({"fuse": "sum"}, ValueError, "fuse: expected one of 'mean', 'max', got 'sum'"),
        ({"aug_smooth": 1}, TypeError, "aug_smooth: expected True or False, got 1"),
        ({"eigen_smooth": "yes"}, TypeError, "eigen_smooth: expected True or False, got 'yes'"),
    ],
)
def test_a_wrong_option_is_named(options, error, words):
    with pytest.raises(error, match=words):
        MapOptions(**options)


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (torch.zeros(1), TypeError, "inputs: expected a list of tensors, got Tensor"),
        ([torch.zeros(2, 3)], ValueError, r"inputs: expected tensors with one row for each of 1 images, got \(2, 3\)"),
        ([3], ValueError, "inputs: expected tensors .* got int"),
    ],
)
def test_wrong_inputs_are_named(inputs, error, words):
    with pytest.raises(error, match=words):
        compute_cams(hand_net(), CELL, inputs=inputs)


# --- models with several inputs


class WithAge(nn.Module):
    """Scores from a picture and a number: the number scales what the picture says."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet(classes=3)

    def forward(self, images, ages):
        return self.net(images) * ages[:, None]


@pytest.mark.parametrize("chunk_size", [1, 2, 5])
def test_each_picture_meets_its_own_row_of_the_other_inputs(chunk_size):
    model, images, ages = WithAge(), pictures(5), torch.tensor([1.0, 2.0, 0.5, 4.0, 8.0])
    found = compute_cams(model, images, 1, inputs=[ages], chunk_size=chunk_size, method="hirescam")
    plain = compute_cams(model.net, images, 1)
    torch.testing.assert_close(found.maps, plain.maps * ages[:, None, None])
    torch.testing.assert_close(found.class_score, plain.class_score * ages)


def test_a_forward_fn_runs_the_model_its_own_way():
    model, images = WithAge(), pictures(3)
    found = compute_cams(model, images, 1, forward_fn=lambda net, x: net(x, torch.full((len(x),), 2.0)))
    torch.testing.assert_close(found.maps, 2 * compute_cams(model.net, images, 1).maps)
    with pytest.raises(TypeError, match=r"forward_fn: expected a function .*, got str"):
        compute_cams(model, images, 1, forward_fn="net")


def test_whole_numbers_among_the_inputs_stay_whole_numbers():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = ConvNet(), nn.Embedding(4, 1)

        def forward(self, images, which):
            return self.net(images) * self.scale(which)

    model = Embedded().double()
    found = compute_cams(model, pictures(2), 0, inputs=[torch.tensor([0, 3])], options=MapOptions(sign="signed"))
    scale = model.scale.weight.detach()[[0, 3], 0].float()
    plain = compute_cams(model.net, pictures(2), 0, options=MapOptions(sign="signed"))
    np.testing.assert_allclose(found.maps, plain.maps * scale[:, None, None], rtol=1e-5, atol=1e-7)


# --- methods with options of their own


def test_a_method_with_options_of_its_own_is_taken_as_it_is():
    model, images = ConvNet(flat_side=4), pictures(2)
    several = compute_cams(model, images, 1, method=["scorecam", ScoreCAM(top_k=2), ONE_PASS["fem"]])
    assert list(several) == ["scorecam", "scorecam-top2", "fem"]
    assert torch.equal(several["scorecam-top2"].maps, compute_cams(model, images, 1, method=ScoreCAM(top_k=2)).maps)
    assert not torch.equal(several["scorecam-top2"].maps, several["scorecam"].maps)


def one(model, images, class_idx):
    return images.sum(1)


def test_two_methods_of_one_name_are_refused_and_one_asked_for_twice_is_made_once():
    def other(model, images, class_idx):
        return images.mean(1)

    other.__name__ = "one"
    with pytest.raises(ValueError, match="method: two different ones are called 'one'"):
        compute_cams(ConvNet(), pictures(), 1, method=[one, other])
    assert list(compute_cams(ConvNet(), pictures(), 1, method=[one, one])) == ["one"]


def test_smoothing_by_components_is_for_methods_that_add_up_channels():
    with pytest.raises(ValueError, match="eigen_smooth: scorecam adds up no weighted channels"):
        compute_cams(ConvNet(), pictures(), 1, method="scorecam", options=MapOptions(eigen_smooth=True))
    plain = compute_cams(ConvNet(flat_side=4), pictures(), 1, method="gradcam").maps
    smooth = compute_cams(ConvNet(flat_side=4), pictures(), 1, method="gradcam", options=MapOptions(eigen_smooth=True))
    assert not torch.allclose(smooth.maps, plain)


# --- sequences


def test_one_picture_without_a_batch_is_not_taken_for_sequences():
    with pytest.raises(ValueError, match=r"images: .* got \(3, 16, 16\), read as sequences .* pass images\[None\]"):
        compute_cams(ConvNet(), pictures()[0])
    gray = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"pass images\[None\]"):
        compute_cams(gray, torch.rand(1, 8, 8))


def test_sequences_have_maps_on_their_own_axis():
    net = nn.Sequential(nn.Conv1d(2, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2)[:, :, None])
        net[2].weight.copy_(torch.tensor(WEIGHTS).flatten(1))
    found = compute_cams(net, torch.tensor([CELLS]).flatten(2), 0, target_layer="0", options=MapOptions(sign="signed"))
    assert found.maps.tolist() == [[-1.0, 0.0, 0.0, 1.0]]


def test_volumes_have_maps_with_a_depth():
    net = nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    volume = torch.zeros(1, 1, 3, 4, 4)
    volume[0, 0, 2, 1, 3] = 5.0
    with torch.no_grad():
        net[0].weight.fill_(1.0), net[0].bias.zero_(), net[4].weight.fill_(24.0)
    found = compute_cams(net, volume, 1)
    assert found.grid == (3, 4, 4)
    assert found.maps[0, 2, 1, 3].item() == pytest.approx(5.0)
    assert found.maps.sum().item() == pytest.approx(5.0)


@pytest.mark.parametrize("options", [None, {"sign": "signed"}])
def test_options_are_an_object(options):
    with pytest.raises(TypeError, match=rf"options: expected camdebug\.MapOptions, got {type(options).__name__}"):
        compute_cams(hand_net(), CELL, 0, options=options)
    with pytest.raises(TypeError, match=r"options: expected camdebug\.MapOptions"):
        compute_top_cams(hand_net(), CELL, 1, options=options)


# --- regions and boxes of each picture


LEFT = torch.zeros(16, 16, dtype=torch.bool).index_fill_(1, torch.arange(8), True)


@pytest.mark.parametrize("method", ["hirescam", "smooth-gradcam++", "ablationcam", "fullgrad"])
@pytest.mark.parametrize("chunk_size", [1, 2, 32])
def test_each_picture_has_its_own_region_whatever_the_chunks_and_the_search_for_the_layer(method, chunk_size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    images = pictures(3)
    regions = torch.stack([LEFT, ~LEFT, LEFT])
    options = {"method": method, "chunk_size": chunk_size, "options": MapOptions(sign="absolute")}
    found = compute_cams(net, images, 1, score_fn=RegionScore(regions), **options)
    for i, region in enumerate(regions):
        alone = compute_cams(net, images, 1, score_fn=RegionScore(region), **options)
        torch.testing.assert_close(found.maps[i], alone.maps[i], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found.class_score[i], alone.class_score[i])


def test_regions_of_other_pictures_are_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    with pytest.raises(ValueError, match="score_fn: has a region or a box for each of 2 pictures, got 3 images"):
        compute_cams(net, pictures(3), 1, score_fn=RegionScore(torch.stack([LEFT, ~LEFT])))
