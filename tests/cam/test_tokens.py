import pytest
import torch
from tiny_nets import forwards_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import MapOptions, check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayerError
from camdebug.cam.target.search import find_target_layer
from camdebug.cam.target.tokens import TokenGrid, measure

# Untrained: where the layer is matters, not what speaks for a class.
pytestmark = pytest.mark.filterwarnings("ignore:camdebug. every map of")

SIGNED = MapOptions(sign="signed")
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Patches(nn.Module):
    """Patches as tokens with ``before`` and ``after`` others around them, mixed by attention; the mean is read."""

    def __init__(self, *, rank=2, patch=4, before=0, after=0, batch_first=True, order=None, overlap=0, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.embed = CONVS[rank](channels, 8, patch + overlap, patch, overlap // 2)
        self.others = nn.Parameter(torch.randn(before + after, 8))
        self.before, self.batch_first, self.order = before, batch_first, order
        self.start = nn.Identity()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.head = nn.Linear(8, 3)

    def sequence(self, x):
        cells = self.embed(x)
        tokens = (cells if self.order is None else self.order(cells)).flatten(2).transpose(1, 2)
        others = self.others.expand(len(x), -1, -1)
        tokens = torch.cat([others[:, : self.before], tokens, others[:, self.before :]], 1)
        return self.start(tokens if self.batch_first else tokens.transpose(0, 1))

    def forward(self, x):
        return self.head(self.block(self.sequence(x)).mean(1 if self.batch_first else 0))


def grids_of(model, images):
    with borrowed(model):
        return measure(ModelUse().on(model), images[:1])


def layer_of(model, images, **options):
    with borrowed(model):
        return find_target_layer(ModelUse().on(model), images, **options)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (5, 0), (0, 2), (2, 1)])
@pytest.mark.parametrize("size", [(16, 16), (12, 28), (64, 8)])
def test_cells_among_tokens_are_found_wherever_the_others_stand(batch_first, before, after, size):
    model = Patches(before=before, after=after, batch_first=batch_first)
    h, w = size[0] // 4, size[1] // 4
    found = layer_of(model, pictures(1, size))
    assert (found.name, found.layout.kind, found.layout.batch_axis) == ("block", "tokens", 0 if batch_first else 1)
    assert (found.layout.first, found.grid) == (before, (h, w))
    assert grids_of(model, pictures(1, size)).grids == {before + h * w + after: TokenGrid(before, (h, w))}


@pytest.mark.parametrize(
    ("rank", "size", "grid"), [(1, (40,), (10,)), (2, (12, 20), (3, 5)), (3, (8, 12, 20), (2, 3, 5))]
)
@pytest.mark.parametrize("channels", [1, 7])
def test_sequences_pictures_and_volumes_of_any_number_of_channels_have_their_axes_in_order(rank, size, grid, channels):
    model = Patches(rank=rank, before=1, channels=channels)
    images = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(4))
    found = layer_of(model, images)
    assert (found.layout.kind, found.layout.first, found.grid) == ("tokens", 1, grid)


@pytest.mark.parametrize("overlap", [2, 4])
def test_patches_that_overlap_are_told_by_where_the_change_is_strongest(overlap):
    assert layer_of(Patches(overlap=overlap, before=1), pictures(1, (16, 24))).grid == (4, 6)


def test_a_margin_that_no_patch_covers_does_not_matter():
    assert layer_of(Patches(before=1), pictures(1, (19, 26))).grid == (4, 6)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_picture_of_one_colour_is_changed_as_well_as_any(value):
    assert layer_of(Patches(before=1), torch.full((1, 3, 12, 20), value)).grid == (3, 5)


def test_a_model_in_bfloat16_is_measured_as_well():
    assert layer_of(Patches(before=1).bfloat16(), pictures(1, (12, 20))).grid == (3, 5)


# --- an order that is not that of the picture

ORDERS = {
    "column by column": lambda cells: cells.transpose(2, 3),
    "from below": lambda cells: cells.flip(2),
    "from the right": lambda cells: cells.flip(3),
    "shuffled": lambda c: c.flatten(2)[
        ..., torch.randperm(c[0, 0].numel(), generator=torch.Generator().manual_seed(0))
    ],
    "window by window": lambda c: c.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2),
    "corners right, others shuffled": lambda c: torch.cat(
        [c.flatten(2)[..., :6], c.flatten(2)[..., 6:-6].flip(2), c.flatten(2)[..., -6:]], 2
    ),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_tokens_in_another_order_than_row_by_row_are_refused(order):
    images = pictures(1, (24, 24))
    with pytest.raises(TargetLayerError, match=r"target_layer: the tokens of 'block', .*not row by row"):
        layer_of(Patches(order=order), images)
    with pytest.raises(TargetLayerError, match=r"target_layer: the tokens of 'start', .*not row by row"):
        layer_of(Patches(order=order), images, target_layer="start")
    assert layer_of(Patches(order=lambda cells: cells), images).grid == (6, 6)


class Queries(nn.Module):
    """Tokens are read by other ones that belong to no place, as object detectors do."""

    def __init__(self):
        super().__init__()
        self.below = Patches(before=1)
        self.asked = nn.Parameter(torch.randn(1, 7, 8))
        self.read = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.below.block(self.below.sequence(x))
        read, _ = self.read(self.asked.expand(len(x), -1, -1), tokens, tokens)
        return self.head(read.mean(1))


def test_tokens_that_stand_for_no_place_are_passed_over():
    found = layer_of(Queries(), pictures(1, (12, 20)))
    assert (found.name, found.layout.first, found.grid) == ("below.block", 1, (3, 5))
    with pytest.raises(TargetLayerError, match=r"or tokens .* of the picture's patches, got \(1, 7, 8\) from 'read'"):
        layer_of(Queries(), pictures(1, (12, 20)), target_layer="read")


class Blurred(nn.Module):
    """A second stage of fewer tokens, whose change is strongest a cell away from where it ought to be."""

    def __init__(self, away):
        super().__init__()
        self.below, self.away = Patches(), away
        self.mix, self.merge = nn.LayerNorm(8), nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        cells = self.mix(self.below.sequence(x)).transpose(1, 2).unflatten(2, (8, 12))
        merged = nn.functional.avg_pool2d(cells, 2)
        moved = nn.functional.pad(merged, (0, self.away, 0, 0), mode="replicate")[..., self.away :]
        return self.head(self.merge((merged * 0.3 + moved).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("away", [0, 1])
def test_a_later_stage_that_is_blurred_is_read_like_the_earlier_ones(away):
    found = layer_of(Blurred(away), pictures(1, (32, 48)))
    assert (found.name, found.layout.kind, found.grid) == ("merge", "tokens", (4, 6))


# --- what the scores feel


class ClassToken(nn.Module):
    def __init__(self, *, zero_head=False, norm_first=False):
        super().__init__()
        self.below = Patches(before=1)
        layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first) for _ in range(3)]
        self.blocks, self.head = nn.Sequential(*layers), nn.Linear(8, 3)
        if zero_head:
            nn.init.zeros_(self.head.weight)

    def forward(self, x):
        return self.head(self.blocks(self.below.sequence(x))[:, 0])


@pytest.mark.parametrize("gradient", [True, False])
def test_behind_the_last_attention_only_the_class_token_is_read_so_the_block_before_is_taken(gradient):
    found = layer_of(ClassToken(), pictures(1, (12, 20)), gradient=gradient)
    assert (found.name, found.layout.first, found.grid) == ("blocks.1", 1, (3, 5))
    assert found.reason == "last layer whose patch tokens reach the scores, 3x5 tokens after 1 other"
    assert layer_of(Patches(before=1), pictures(1, (12, 20)), gradient=gradient).name == "block"


def test_at_a_later_layer_the_map_is_empty_indeed():
    model, images = ClassToken(), pictures(2, (12, 20))
    assert compute_cams(model, images, 0, target_layer="blocks.2", method="gradcam").maps.abs().max() == 0
    assert compute_cams(model, images, 0, target_layer="blocks.1", method="layercam").maps.abs().max() > 0


@pytest.mark.parametrize("zero_head", [True, False])
def test_where_a_norm_alone_reads_the_patches_they_are_explained_behind_it_because_before_it_hirescam_is_zero(
    zero_head,
):
    found = layer_of(ClassToken(norm_first=True, zero_head=zero_head), pictures(1, (12, 20)))
    assert (found.name, found.layout.first, found.grid) == ("blocks.2.norm1", 1, (3, 5))
    model, images = ClassToken(norm_first=True), pictures(2, (12, 20))
    with torch.no_grad():
        model.head.weight.mul_(100)
    maps = {name: signed(model, images, name) for name in ("blocks.1", "blocks.2.norm1")}
    assert maps["blocks.1"].abs().max() < 1e-3 * maps["blocks.2.norm1"].abs().max()
    assert maps["blocks.2.norm1"].abs().max() > 0.1


def signed(model, images, layer):
    with borrowed(model):
        lens = Lens(ModelUse().on(model), (layer_of(model, images, target_layer=layer),), 2)
        found = explain(lens, images, [torch.zeros(2, dtype=torch.int64)], check_methods("hirescam"), SIGNED)
    return found[0]["hirescam"].maps


def test_a_head_that_still_is_zero_changes_nothing_and_is_handed_back_as_it_was():
    model = ClassToken(zero_head=True)
    weight, parameters = model.head.weight, list(model.parameters())
    assert layer_of(model, pictures(1, (12, 20))).name == "blocks.1"
    assert model.head.weight is weight
    assert not weight.any()
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["hirescam", "eigencam", "ablationcam"])
def test_while_the_head_is_zero_every_method_explains_the_layer_it_will_explain_later(name):
    for zero_head in (True, False):
        model = ClassToken(zero_head=zero_head, norm_first=True)
        assert compute_cams(model, pictures(1, (12, 20)), 0, method=name).layer == "blocks.2.norm1"


class LastStep(nn.Module):
    """Reads a sequence at its last step, or at all of them."""

    def __init__(self, kind, *, last=True):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv1d(3, 8, 4, 4), last
        self.steps = {
            "lstm": lambda: nn.LSTM(8, 8, batch_first=True),
            "transformer": lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
            ),
            "linear": lambda: nn.Linear(8, 8),
        }[kind]()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        found = self.steps(self.conv(x).transpose(1, 2))
        found = found[0] if isinstance(found, tuple) else found
        return self.head(found[:, -1] if self.last else found.mean(1))


@pytest.mark.parametrize(("kind", "layer"), [("lstm", "conv"), ("transformer", "steps.layers.0")])
@pytest.mark.parametrize("name", ["hirescam", "eigencam"])
def test_of_a_sequence_read_at_its_last_step_the_layer_is_taken_of_which_more_than_one_step_is_felt(kind, layer, name):
    heat = compute_cams(LastStep(kind), SERIES, 0, method=name)
    assert (heat.layer, heat.grid) == (layer, (16,))
    at = "steps" if kind == "lstm" else "steps.layers.1"
    assert compute_cams(LastStep(kind, last=False), SERIES, 0, method=name).layer == "steps"
    one = compute_cams(LastStep(kind), SERIES, 0, target_layer=at, method="layercam")
    assert set(one.maps.nonzero()[:, 1].tolist()) <= {15}  # at the later layer but one step has a gradient


SERIES = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0))


def test_where_a_single_step_is_all_that_is_felt_anywhere_the_last_such_layer_is_taken():
    heat = compute_cams(LastStep("linear"), SERIES, 0, method="layercam")
    assert heat.layer == "steps"
    assert set(heat.maps.nonzero()[:, 1].tolist()) <= {15}


# --- cost and harm


def test_measuring_takes_one_picture_at_a_time_so_models_that_know_no_batches_are_measured_too():
    model = ClassToken()
    seen = forwards_of(model)
    layer_of(model, pictures(5, (12, 20)))
    # 1 with a graph, 7 to measure; the last block's norm, the last block and the one before it are tried, and that one
    # once more with what reads it
    assert seen == [1] * 12


def test_a_model_that_draws_random_numbers_is_measured_and_the_generators_are_as_before():
    class Noisy(Patches):
        def sequence(self, x):
            return super().sequence(x + torch.randn(x.shape) * 3)

    torch.manual_seed(3)
    state = torch.get_rng_state()
    model = Noisy(before=1)
    torch.set_rng_state(state)
    assert layer_of(model, pictures(1, (12, 20))).grid == (3, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())
