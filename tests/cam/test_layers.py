import gc
from weakref import ref

import pytest
import torch
import torchvision
from tiny_nets import ConvNet, forwards_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayerError
from camdebug.cam.target.search import find_target_layer, find_target_layers, remembered_target_layers

# Untrained: where the layer is matters, not what speaks for a class.
pytestmark = pytest.mark.filterwarnings("ignore:camdebug. every map of")


def network(name):
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision.models, name)(weights=None, num_classes=3, **extra)


def found_in(model, size=(16, 16), channels=3):
    heat = compute_cams(model, pictures(1, size, channels=channels), 0)
    return heat.layer, heat.grid


# --- torchvision's families


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid"),
    [
        ("resnet18", (64, 96), "layer4", (2, 3)),
        ("vgg11_bn", (64, 96), "features", (2, 3)),  # not the 7x7 pool, which repeats cells
        ("mobilenet_v3_small", (64, 96), "features", (2, 3)),
        ("convnext_tiny", (64, 96), "features", (2, 3)),
        ("densenet121", (64, 96), "features", (2, 3)),
        ("efficientnet_b0", (64, 96), "features", (2, 3)),
        ("squeezenet1_0", (64, 64), "classifier.2", (3, 3)),
        ("regnet_y_400mf", (64, 96), "trunk_output", (2, 3)),
        ("googlenet", (64, 96), "inception5b", (2, 3)),
        ("inception_v3", (150, 299), "Mixed_7c", (3, 8)),  # no padding: far from the picture's proportions
        ("swin_t", (64, 96), "permute", (2, 3)),
    ],
)
def test_the_last_spatial_stage_of_torchvisions_families_is_found(name, size, layer, grid):
    assert found_in(network(name), size) == (layer, grid)


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid"),
    [
        ("resnet50", 32, "layer3", (2, 2)),  # not layer4.0.bn1, beside its shortcut
        ("regnet_y_400mf", 32, "trunk_output.block3", (2, 2)),  # not block4-0.f.a, beside its shortcut
        ("inception_v3", 96, "Mixed_6e", (4, 4)),  # not one of four branches of Mixed_7a
    ],
)
def test_where_the_last_stage_has_one_cell_no_part_of_a_block_stands_in_for_it(name, size, layer, grid):
    assert found_in(network(name), (size, size)) == (layer, grid)


def test_of_a_vision_transformer_the_last_layer_is_taken_whose_patches_reach_the_class_token():
    model = torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=3)
    assert found_in(model, (32, 32)) == ("encoder.layers.encoder_layer_2.ln_1", (4, 4))


class Tokens(nn.Module):
    """Patches, then a transformer over tokens; ``first`` is the axis of the batch, as in CLIP when it is the second."""

    def __init__(self, below, *, depth, batch_first=True):
        super().__init__()
        self.below, self.batch_first = below, batch_first
        blocks = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.below(x).flatten(2)
        tokens = tokens.permute(0, 2, 1) if self.batch_first else tokens.permute(2, 0, 1)
        return self.head(self.blocks(tokens).mean(1 if self.batch_first else 0))


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_on_patches_is_explained_at_its_last_block_whichever_axis_is_the_batch(batch_first):
    torch.manual_seed(0)
    model = Tokens(nn.Conv2d(3, 8, 4, 4), depth=2, batch_first=batch_first)
    assert found_in(model, (32, 24)) == ("blocks", (8, 6))


def test_a_convolutional_network_with_a_transformer_as_its_head_is_taken():
    net = ConvNet()
    assert found_in(Tokens(nn.Sequential(net.stem, net.stage, net.relu), depth=1)) == ("below", (4, 4))


# --- shapes


class Nhwc(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stage = ToNhwc(channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(self.stage(x).mean((1, 2)))


class ToNhwc(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 4, 4)

    def forward(self, x):
        return self.conv(x).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("size", "grid"), [((16, 16), (4, 4)), ((16, 32), (4, 8)), ((24, 16), (6, 4))])
@pytest.mark.parametrize("channels", [5, 6, 12, 64])
def test_channels_last_is_told_from_channels_first(size, grid, channels):
    torch.manual_seed(0)
    model, images = Nhwc(channels), pictures(2, size)
    last = compute_cams(model, images, 0, target_layer="stage")
    first = compute_cams(model, images, 0, target_layer="stage.conv")
    assert last.grid == first.grid == grid
    torch.testing.assert_close(last.maps, first.maps)
    assert last.maps.max() > 0
    assert compute_cams(model, images, 0).layer == "stage"


@pytest.mark.parametrize("size", [(16, 40), (40, 16), (21, 35), (50, 18)])
def test_maps_of_pictures_that_are_not_square_have_their_height_first(size):
    expected = tuple(-(-side // 4) for side in size)
    assert found_in(ConvNet(), size) == ("relu", expected)


def test_a_head_that_flattens_without_any_pool_is_taken():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))
    assert found_in(model) == ("1", (8, 8))


def test_a_block_that_ends_with_its_adaptive_pool_is_not_taken_for_a_stage():
    features = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(7))
    model = nn.Sequential(features, nn.Flatten(), nn.Linear(4 * 49, 3))
    assert found_in(model, (16, 16)) == ("0.1", (4, 4))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 16), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)),
    ],
    ids=["perceptron", "one cell"],
)
def test_a_model_without_a_spatial_layer_is_told_what_was_seen(model):
    with pytest.raises(
        TargetLayerError, match=r"target_layer: found no layer with a spatial output.*Layers seen: .*\(1"
    ):
        found_in(model)


# --- paths


class Branches(nn.Module):
    """A net with another branch; how the two meet is what differs."""

    def __init__(self, join):
        super().__init__()
        self.net, self.join = ConvNet(), join
        self.side = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        stem = self.net.stem(x)
        main = self.net.relu(self.net.stage(stem))
        return self.net.head(self.net.pool(self.join(main, self.side(stem))))


def test_a_branch_that_does_not_reach_the_scores_is_skipped():
    assert found_in(Branches(lambda main, side: main)) == ("net.relu", (4, 4))


def test_a_branch_that_a_constant_zero_switches_off_still_counts_as_a_path():
    assert found_in(Branches(lambda main, side: main + 0 * side))[0] == "net.stem"


def test_where_two_branches_meet_outside_of_any_layer_the_last_one_before_both_is_taken():
    model, images = Branches(lambda main, side: main + side), pictures()
    heat = compute_cams(model, images, 1)
    assert (heat.layer, heat.grid) == ("net.stem", (8, 8))
    halves = [compute_cams(model, images, 1, target_layer=name).maps for name in ("net.relu", "side")]
    assert not torch.allclose(halves[0], halves[1])  # each branch alone explains its own part only


class TwoStreams(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = ConvNet(seed=0), ConvNet(seed=1)

    def forward(self, x):
        return self.a(x) + self.b(x)


class Pyramid(nn.Module):
    """Scores from maps of two sizes, each behind a layer of its own, as feature pyramids have them."""

    def __init__(self, *, join=True):
        super().__init__()
        self.net, self.join = ConvNet(), join
        self.levels = nn.ModuleList([nn.Conv2d(6, 4, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1)])
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        fine = self.net.stem(x)
        found = [level(m) for level, m in zip(self.levels, (fine, self.net.stage(fine)), strict=True)]
        pooled = [m.mean((2, 3)) for m in found]
        return self.head(sum(pooled) if self.join else pooled[0])


def test_of_a_pyramid_the_last_layer_before_it_is_taken_and_its_levels_are_named_to_be_passed_together():
    model, images = Pyramid(), pictures(1)
    with borrowed(model):
        subject = ModelUse().on(model)
        layer = find_target_layer(subject, images)
        levels = find_target_layers(subject, images, ["levels.0", "levels.1"])
        plain = find_target_layer(ModelUse().on(Pyramid(join=False)), images)
    assert (layer.name, layer.grid) == ("net.stem", (8, 8))
    assert layer.reason.endswith("; only together do later ones carry all: target_layer=['levels.0', 'levels.1']")
    assert [(level.name, level.grid) for level in levels] == [("levels.0", (8, 8)), ("levels.1", (4, 4))]
    assert (plain.name, plain.reason) == ("levels.0", "last spatial stage, NCHW, 8x8 cells")


def test_streams_that_share_no_layer_are_refused_and_either_may_be_asked_for():
    with pytest.raises(TargetLayerError, match=r"no single layer .* carries all .* such as 'b.relu' or 'b.stage'"):
        found_in(TwoStreams())
    expected = compute_cams(ConvNet(seed=0), pictures(), 1)
    assert torch.equal(compute_cams(TwoStreams(), pictures(), 1, target_layer="a.relu").maps, expected.maps)


class Side(nn.Module):
    """Two convolutions beside each other from the picture on."""

    def __init__(self):
        super().__init__()
        self.sides = nn.ModuleList([nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(3, 4, 3, 2, 1)])
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(sum(side(x).relu().mean((2, 3)) for side in self.sides))


def test_where_no_single_layer_carries_all_the_refusal_names_those_that_do_together():
    with pytest.raises(
        TargetLayerError,
        match=r"such as 'sides.1' or 'sides.0'; only together .*: target_layer=\['sides.0', 'sides.1'\]",
    ):
        found_in(Side())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()
        self.block = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        x = self.net.relu(self.net.stage(self.net.stem(x)))
        return self.net.head(self.net.pool(self.block(self.block(x))))


def test_a_layer_that_runs_twice_is_refused_by_name_and_skipped_by_the_search():
    with pytest.raises(TargetLayerError, match=r"target_layer: 'block' runs 2 times in a forward.*mixed up"):
        compute_cams(Twice(), pictures(), target_layer="block")
    assert found_in(Twice())[0] == "net.relu"


# --- the same layer for every method


METHODS = ("hirescam", "eigencam", "ablationcam")


class Aux(nn.Module):
    """A head beside the scores that runs last and that nobody reads; ``join`` says what the scores are made of."""

    def __init__(self, join):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.a, self.b = (nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()) for _ in range(2))
        self.fa, self.fb, self.join = nn.Linear(4, 3), nn.Linear(4, 3), join

    def forward(self, x):
        stem = self.stem(x)
        return self.join(self.fa(self.a(stem).mean((2, 3))), self.fb(self.b(stem).mean((2, 3))))


def first_of(a, _b):
    return a


def sum_of(a, b):
    return a + b


@pytest.mark.parametrize(("join", "layer"), [(first_of, "a"), (sum_of, "stem")])
def test_methods_that_take_no_gradient_explain_the_layer_that_those_explain_that_do(join, layer):
    assert {compute_cams(Aux(join), pictures(1), 0, method=name).layer for name in METHODS} == {layer}


def test_without_any_gradient_layers_that_no_score_feels_are_passed_over_and_the_plain_score_is_had_once():
    model, images = Aux(lambda a, b: a.detach()), pictures(1)
    seen = forwards_of(model)
    with borrowed(model):
        subject = ModelUse().on(model)
        with pytest.raises(TargetLayerError, match="has a gradient path"):
            find_target_layer(subject, images)
        with_gradient = len(seen)
        assert find_target_layer(subject, images, gradient=False).name == "a"
    # what it has cost to see that there is no gradient, the plain score; b, b.1, b.0, and a
    assert len(seen) == with_gradient * 2 + 1 + 4


def test_that_a_deep_network_has_no_gradient_at_all_is_seen_in_three_forwards():
    model, images = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(9)], nn.Flatten(), nn.Linear(12, 3)), pictures(1)
    model.register_forward_hook(lambda _module, _inputs, out: out.detach())
    seen = forwards_of(model)
    with borrowed(model):
        subject = ModelUse().on(model.requires_grad_(False))
        with pytest.raises(TargetLayerError, match="has a gradient path"):
            find_target_layer(subject, images[..., :2, :2])
        assert seen == [1] * 3
        assert find_target_layer(subject, images[..., :2, :2], gradient=False).name == "8"
    assert seen == [1] * (3 + 3 + 2)


@pytest.mark.parametrize("name", ["eigencam", "hirescam"])
def test_a_model_that_runs_but_cannot_be_differentiated_is_explained_by_methods_that_need_no_gradient(name):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x * 2

    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    model[3].register_forward_hook(lambda _module, _inputs, out: Doubled.apply(out))
    if name == "eigencam":
        assert compute_cams(model, pictures(1), 0, method=name).layer == "1"
    else:
        with pytest.raises(NotImplementedError, match="backward"):
            compute_cams(model, pictures(1), 0, method=name)


# --- maps of scores


class Maps(nn.Module):
    """Scores of pixels, brought to the size of the picture; ``end`` is what is done to them."""

    def __init__(self, end):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.mix, self.scores = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 1)
        self.act, self.end = nn.ReLU(), end

    def forward(self, x):
        return self.end(self.scores(self.act(self.mix(self.stem(x)))), x)


ENDS = {
    "as they are": (lambda maps, _: maps, "act"),
    "enlarged": (lambda maps, x: {"out": nn.functional.interpolate(maps, size=x.shape[2:], mode="bilinear")}, "act"),
    "probabilities": (lambda maps, _: maps.softmax(1), "act"),
    "pooled": (lambda maps, _: maps.mean((2, 3)), "scores"),  # a classifier whose last stage has a channel a class
}


@pytest.mark.parametrize(("end", "layer"), ENDS.values(), ids=ENDS)
def test_maps_of_scores_are_not_explained_by_themselves_but_by_the_layer_before_them(end, layer):
    for name in METHODS:
        assert compute_cams(Maps(end), pictures(1), 0, method=name).layer == layer


def test_where_nothing_else_has_cells_the_maps_of_scores_are_taken():
    assert found_in(nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1))) == ("0", (8, 8))


@pytest.mark.parametrize(
    ("name", "layer", "grid"),
    [
        ("fcn_resnet50", "classifier.3", (8, 12)),  # not aux_classifier, which runs last
        ("deeplabv3_mobilenet_v3_large", "classifier.3", (4, 6)),
        ("lraspp_mobilenet_v3_large", "backbone.4", (8, 12)),  # behind it two paths lead to the scores
    ],
)
def test_of_torchvisions_networks_for_segmentation_no_map_of_scores_is_taken(name, layer, grid):
    options = {} if name.startswith("lraspp") else {"aux_loss": True}
    make = getattr(torchvision.models.segmentation, name)
    model = make(weights=None, weights_backbone=None, num_classes=3, **options)
    for method in ("hirescam", "eigencam"):
        heat = compute_cams(model, pictures(1, (64, 96)), 0, method=method)
        assert (heat.layer, heat.grid) == (layer, grid)


# --- asked for by name or module


class Held(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.held = nn.Conv2d(3, 4, 3, 2, 1), None

    def forward(self, x):
        self.held = self.conv(x)
        return self.held


class Skip(nn.Module):
    """A skip connection from what a layer returns, or from where the layer, or a hook of the user's, has stored it."""

    def __init__(self, source):
        super().__init__()
        torch.manual_seed(0)
        self.source, self.hooked = source, {}
        self.layer, self.next, self.head = Held(), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 3)
        if source == "hook":
            self.layer.register_forward_hook(lambda _m, _i, out: self.hooked.update(out=out))

    def forward(self, x):
        out = self.layer(x)
        skip = {"returned": out, "attribute": self.layer.held, "hook": self.hooked.get("out")}[self.source]
        return self.head((self.next(out.relu()) + skip).tanh().mean((2, 3)))


@pytest.mark.parametrize("source", ["attribute", "hook"])
def test_a_layer_whose_output_is_read_from_where_it_is_stored_is_refused_for_half_its_gradient_would_be_missing(source):
    words = r"target_layer: the model reads the output of 'layer' not only as .* but also from where it is stored"
    with pytest.raises(TargetLayerError, match=words):
        compute_cams(Skip(source), pictures(), 1, target_layer="layer")
    assert compute_cams(Skip(source), pictures(), 1, target_layer="layer", method="eigencam").layer == "layer"


def test_the_layer_inside_has_the_whole_gradient_as_one_has_whose_output_is_read_as_it_is_returned():
    whole = compute_cams(Skip("returned"), pictures(), 1, target_layer="layer").maps
    assert torch.equal(compute_cams(Skip("attribute"), pictures(), 1, target_layer="layer.conv").maps, whole)
    assert whole.max() > 0


def test_a_layer_that_hands_on_what_others_read_too_is_no_such_layer():
    class Tapped(ConvNet):
        def __init__(self):
            super().__init__()
            self.tap = nn.Identity()

        def forward(self, x):
            cells = self.stem(x)
            return self.head(self.pool(self.relu(self.stage(self.tap(cells) + cells.sigmoid()))))

    assert compute_cams(Tapped(), pictures(), 1, target_layer="tap").maps.max() > 0


class Several(nn.Module):
    """A layer with two entries, the first or the second of which are read, and the second made of the first or not."""

    class Layer(nn.Module):
        def __init__(self, *, second):
            super().__init__()
            self.a, self.b, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1), second

        def forward(self, xs):
            first = self.a(xs[0])
            return {"of it": (first, first.tanh()), "beside": (first, self.b(xs[0])), "handed on": (xs[0], first)}[
                self.second
            ]

    def __init__(self, second):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.layer, self.head = nn.Conv2d(3, 3, 1), self.Layer(second=second), nn.Linear(4, 3)

    def forward(self, x):
        first, second = self.layer([self.stem(x)])
        return self.head((first.exp().mean() * second).mean((2, 3)))


@pytest.mark.parametrize(("second", "refused"), [("of it", True), ("beside", False), ("handed on", False)])
def test_of_a_layer_with_several_entries_the_first_has_its_whole_gradient_or_is_refused(second, refused):
    if refused:
        with pytest.raises(TargetLayerError, match=r"target_layer: .* or from what comes with it"):
            compute_cams(Several(second), pictures(), 1, target_layer="layer")
    else:
        assert compute_cams(Several(second), pictures(), 1, target_layer="layer").layer == "layer"


def test_layers_that_give_no_tensor_are_told_from_those_that_do_not_run():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x):
            return {"cells": self.conv(x)}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = Named(), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.layer(x)["cells"].mean((2, 3)))

    with pytest.raises(TargetLayerError, match=r"target_layer: expected a layer that gives a tensor, .* got dict from"):
        compute_cams(Net(), pictures(), target_layer="layer")
    with pytest.raises(TypeError, match=r"target_layer: expected a dotted name .*, got an empty list"):
        compute_cams(Net(), pictures(), target_layer=[])


class Reentrant(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        cells = torch.utils.checkpoint.checkpoint(self.net.stage, self.net.stem(x), use_reentrant=True)
        return self.net.head(self.net.pool(self.net.relu(cells)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("name", ["net.stage", "net.stage.0", "net.stem"])
def test_a_layer_in_or_below_a_reentrant_checkpoint_is_refused_with_the_reason(name):
    with pytest.raises(TargetLayerError, match=r"target_layer: .*checkpointed with use_reentrant=True.*=False"):
        compute_cams(Reentrant(), pictures(), 1, target_layer=name)
    found = compute_cams(Reentrant(), pictures(), 1)
    assert found.layer == "net.relu"
    assert torch.equal(found.maps, compute_cams(ConvNet(), pictures(), 1).maps)


@pytest.mark.parametrize("name", ["stem", "stem.0", "stage.1", "relu"])
def test_name_and_module_ask_for_the_same_layer(name):
    model, images = ConvNet(), pictures()
    by_name = compute_cams(model, images, 1, target_layer=name)
    by_module = compute_cams(model, images, 1, target_layer=model.get_submodule(name))
    assert by_name.layer == by_module.layer == name
    assert torch.equal(by_name.maps, by_module.maps)


def test_a_layer_with_two_names_may_be_asked_for_by_either():
    model = ConvNet()
    model.alias = model.stage
    expected = compute_cams(model, pictures(), 1, target_layer="stage").maps
    assert torch.equal(compute_cams(model, pictures(), 1, target_layer="alias").maps, expected)


def test_a_layer_with_oblong_cells_is_not_found_but_given_when_asked_for():
    torch.manual_seed(0)
    oblong = nn.Conv2d(3, 4, 3, (8, 1), 1)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), oblong, nn.Flatten(), nn.Linear(4 * 2 * 16, 3))
    assert found_in(model) == ("0", (16, 16))
    assert compute_cams(model, pictures(1), 0, target_layer="1").grid == (2, 16)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("stag", "the model has no layer 'stag'; did you mean stage"),
        ("stem.9", "the model has no layer 'stem.9'; did you mean stem.*"),
        ("", "the model has no layer ''; did you mean"),
        (nn.ReLU(), "this ReLU is not a part of the model"),
        (
            "head.1",
            r"expected an output \(N, C, h, w\) with more than one cell, or tokens .*, got \(1, 8\) from 'head.1'",
        ),
        (
            "pool",
            r"expected an output \(N, C, h, w\) with more than one cell, or tokens .*, got \(1, 8, 1, 1\) from 'pool'",
        ),
        ("spare", "'spare' does not run in the model's forward"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_words(asked, words):
    model = ConvNet()
    model.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(TargetLayerError, match="target_layer: " + words):
        compute_cams(model, pictures(), target_layer=asked)


def test_a_model_without_any_layer_has_no_near_matches():
    class Bare(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(TargetLayerError, match="the model has no layer 'stage'; it has none"):
        compute_cams(Bare(), pictures(), target_layer="stage")


def test_the_search_looks_at_one_picture_only():
    model = ConvNet()
    seen = forwards_of(model)
    compute_cams(model, pictures(6), target_layer="stage")
    assert seen == [1, 1, 6]


# --- without gradients


class Hard(nn.Module):
    """Scores without any gradient."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        return self.net(x).detach().round()


def test_where_no_gradient_is_needed_scores_that_have_none_are_no_hindrance():
    model, images = Hard(), pictures(1)
    with borrowed(model):
        subject = ModelUse().on(model)
        with pytest.raises(TargetLayerError, match="no layer with a spatial output has a gradient path"):
            find_target_layer(subject, images)
        with pytest.raises(TargetLayerError, match="no gradient path leads from 'net"):
            find_target_layers(subject, images, "net.stage")
        found = find_target_layer(subject, images, gradient=False)
        asked = find_target_layers(subject, images, ["net.stage", "net.relu"], gradient=False)
    assert (found.name, found.grid) == ("net.relu", (4, 4))
    assert [layer.name for layer in asked] == ["net.stage", "net.relu"]


def test_a_search_without_gradients_is_not_remembered_for_methods_that_need_them():
    model, images = Hard(), pictures(1)
    with borrowed(model):
        subject = ModelUse().on(model)
        assert remembered_target_layers(subject, images, None, gradient=False)[0].name == "net.relu"
        with pytest.raises(TargetLayerError, match="gradient path"):
            remembered_target_layers(subject, images, None)


def of_a(output, class_idx):
    return output["a"].gather(1, class_idx[:, None])[:, 0]


def of_both(output, class_idx):
    return (output["a"] + output["b"]).gather(1, class_idx[:, None])[:, 0]


class Scored:
    """A score that is a method, of an object that is made for each use of it."""

    def of_both(self, output, class_idx):
        return of_both(output, class_idx)


def test_what_is_remembered_is_for_one_score_and_one_way_of_running_the_model():
    model, images = Aux(lambda a, b: {"a": a, "b": b}), pictures()
    assert compute_cams(model, images, 0, score_fn=of_a).layer == "a"
    assert compute_cams(model, images, 0, score_fn=of_both).layer == "stem"
    assert compute_cams(model, images, 0, score_fn=Scored().of_both).layer == "stem"
    for name in "ab":
        heat = compute_cams(model, images, 0, forward_fn=lambda net, x, name=name: net(x)[name])
        assert heat.layer == name
    assert compute_cams(model, images, 0, score_fn=of_a).layer == "a"


class Weighted(nn.Module):
    """Scores of as many branches as the second input has columns."""

    def __init__(self):
        super().__init__()
        self.net = Aux(lambda a, b: (a, b))

    def forward(self, x, weight):
        return sum(weight[:, i, None] * scores for i, scores in enumerate(self.net(x)[: weight.shape[1]]))


def test_what_is_remembered_is_for_other_inputs_of_one_shape():
    model, images = Weighted(), pictures()
    for columns, layer in ((1, "net.a"), (2, "net.stem"), (1, "net.a")):
        assert compute_cams(model, images, 0, inputs=[torch.ones(3, columns)]).layer == layer


def used(model, **use):
    """The number of forwards of three uses, the pictures' own ones left out."""
    seen = forwards_of(model)
    counts = []
    for _ in range(3):
        before = len(seen)
        compute_cams(model, pictures(), 1, **use)
        counts.append(len(seen) - before - 1)
    return counts


@pytest.mark.parametrize(
    ("use", "first"),
    [
        ({}, 2),
        ({"target_layer": "stage"}, 2),
        ({"target_layer": ["stage", "relu"]}, 3),
        ({"score_fn": lambda out, k: out.gather(1, k[:, None])[:, 0]}, 2),
        ({"forward_fn": lambda net, x: net(x)}, 2),
    ],
)
def test_a_search_is_made_once_for_each_way_of_asking(use, first):
    model = ConvNet()
    assert used(model, **use) == [first, 0, 0]
    compute_cams(model, pictures(size=(24, 24)), 1, **use)
    assert used(model, **use) == [0, 0, 0]  # other questions in between do not matter


def test_a_search_with_gradients_serves_methods_that_need_none():
    model = ConvNet()
    assert used(model, method="hirescam") == [2, 0, 0]
    assert used(model, method="eigencam") == [0, 0, 0]


def test_a_module_asks_like_its_name_and_a_replaced_one_asks_anew():
    model = ConvNet()
    assert used(model, target_layer=model.stage) == [2, 0, 0]
    model.stage[1] = nn.BatchNorm2d(8)
    assert used(model, target_layer=model.stage) == [2, 0, 0]


def test_a_function_made_for_each_call_is_a_new_one_each_time_and_what_has_no_weak_reference_is_not_remembered():
    class Slotted:
        __slots__ = ()

        def __call__(self, output, class_idx):
            return output.gather(1, class_idx[:, None])[:, 0]

    model = ConvNet()
    seen = forwards_of(model)
    for _ in range(12):
        compute_cams(model, pictures(), 1, score_fn=lambda out, k: out.gather(1, k[:, None])[:, 0])
    assert len(seen) == 36
    assert used(model, score_fn=Slotted()) == [2, 2, 2]


def test_no_memory_keeps_a_model_alive_nor_a_function_that_holds_it():
    model = ConvNet()

    def score(output, class_idx, held=model):
        return held.head(held.pool(output)).gather(1, class_idx[:, None])[:, 0]

    def run(net, x):
        return net.relu(net.stage(net.stem(x)))

    compute_cams(model, pictures(), 1, score_fn=score, forward_fn=run, target_layer=[model.stage, "stem"])
    gone = [ref(model), ref(score), ref(model.stage)]
    del model, score
    gc.collect()
    assert [held() for held in gone] == [None] * 3


def test_the_search_costs_two_forwards_of_one_picture_and_asking_for_several_layers_one_and_a_gradient_of_each():
    model, images = ConvNet(), pictures(6)
    seen = forwards_of(model)
    with borrowed(model):
        subject = ModelUse().on(model)
        find_target_layer(subject, images)
        assert seen == [1, 1]
        find_target_layers(subject, images, ["stem.0", "stage", "relu"])
        assert seen == [1] * 6
        find_target_layer(subject, images, gradient=False)
        assert seen == [1] * 8
        find_target_layers(subject, images, ["stem.0", "stage", "relu"], gradient=False)
    assert seen == [1] * 9
