from collections import namedtuple

import pytest
import torch
from tiny_nets import forwards_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayerError
from camdebug.cam.target.layout import Layout, tensor_in, with_tensor
from camdebug.cam.target.search import find_target_layer

CELLS = torch.arange(24.0).reshape(2, 3, 2, 2)
AROUND = {
    "channels first": (Layout("NCHW", (2, 2)), CELLS),
    "channels last": (Layout("NHWC", (2, 2)), CELLS.movedim(1, 3)),
    "tokens": (Layout("tokens", (2, 2)), CELLS.flatten(2).mT),
    "after one token, before two": (
        Layout("tokens", (2, 2), first=1),
        torch.cat([torch.full((2, 1, 3), -1.0), CELLS.flatten(2).mT, torch.full((2, 2, 3), -2.0)], 1),
    ),
    "tokens before the batch": (Layout("tokens", (2, 2), batch_axis=1), CELLS.flatten(2).permute(2, 0, 1)),
}


@pytest.mark.parametrize(("layout", "output"), AROUND.values(), ids=AROUND)
def test_cells_are_read_and_written_where_they_are_and_all_else_stays(layout, output):
    assert torch.equal(layout.cells(output), CELLS)
    assert torch.equal(layout.with_cells(output, CELLS), output)
    doubled = layout.with_cells(output, CELLS * 2)
    assert torch.equal(layout.cells(doubled), CELLS * 2)
    changed = (doubled != output).sum()
    assert changed == (CELLS != 0).sum()


def test_what_a_layer_gives_is_its_tensor_or_the_first_of_several():
    tensor, other = torch.ones(1), torch.zeros(1)
    pair = namedtuple("pair", "hidden weights")(tensor, other)
    for output in (tensor, (tensor, other), [tensor, None], pair):
        assert tensor_in(output) is tensor
        assert tensor_in(with_tensor(output, other)) is other
        assert type(with_tensor(output, other)) is type(output)
    for output in ((), {"hidden": tensor}, None, (None, tensor)):
        assert tensor_in(output) is None


class Tuples(nn.Module):
    """A net whose stage gives a tuple, as layers with attention weights do, or a list."""

    class Stage(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.conv, self.kind = nn.Conv2d(3, 4, 4, 4), kind

        def forward(self, x):
            return self.kind([self.conv(x), x.mean()])

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.stage, self.head = self.Stage(kind), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.stage(x)[0].mean((2, 3)))


@pytest.mark.parametrize("kind", [tuple, list])
def test_layers_that_give_several_things_are_explained_by_the_first(kind):
    model, images = Tuples(kind), pictures(2)
    heat = compute_cams(model, images, 1)
    assert (heat.layer, heat.grid) == ("stage", (4, 4))
    expected = compute_cams(model, images, 1, target_layer="stage.conv").maps
    assert torch.equal(heat.maps, expected)
    assert expected.max() > 0


class Ambiguous(nn.Module):
    """An output ``(N, 8, 12, 16)`` of a picture 64x96: its shape may be read as 8x12 cells or as 12x16 cells."""

    def __init__(self, *, channels_last):
        super().__init__()
        torch.manual_seed(0)
        self.last = channels_last
        self.conv = nn.Conv2d(
            3, 16 if channels_last else 8, 8 if channels_last else (5, 6), 8 if channels_last else (5, 6)
        )
        self.act, self.head = nn.GELU(), nn.Linear(16 if channels_last else 8, 3)

    def forward(self, x):
        cells = self.conv(x)
        cells = self.act(cells.permute(0, 2, 3, 1) if self.last else cells)
        return self.head(cells.mean((1, 2) if self.last else (2, 3)))


@pytest.mark.parametrize(("channels_last", "layout"), [(True, "NHWC, 8x12 cells"), (False, "NCHW, 12x16 cells")])
def test_where_the_shape_may_be_read_either_way_a_change_of_the_picture_decides(channels_last, layout):
    model = Ambiguous(channels_last=channels_last)
    with borrowed(model):
        found = find_target_layer(ModelUse().on(model), pictures(1, (64, 96)))
    assert (found.name, str(found.layout)) == ("act", layout)


class Oblong(nn.Module):
    """Cells as high as two or four of their widths; read with channels last, some of these outputs look squarer."""

    def __init__(self, stride, channels, *, channels_last):
        super().__init__()
        torch.manual_seed(0)
        self.last = channels_last
        self.conv, self.act, self.head = nn.Conv2d(1, channels, 3, stride, 1), nn.GELU(), nn.Linear(channels, 3)

    def forward(self, x):
        cells = self.conv(x)
        cells = self.act(cells.permute(0, 2, 3, 1) if self.last else cells)
        return self.head(cells.mean((1, 2) if self.last else (2, 3)))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("stride", "channels", "grid"),
    [((8, 4), 8, (8, 16)), ((4, 2), 18, (16, 32)), ((8, 2), 16, (8, 32)), ((4, 8), 8, (16, 8))],
)
def test_channels_are_not_taken_for_rows_where_that_would_make_squarer_cells(stride, channels, grid, channels_last):
    model, images = Oblong(stride, channels, channels_last=channels_last), pictures(1, (64, 64), channels=1)
    with borrowed(model):
        asked = find_target_layer(ModelUse().on(model), images, "act")
        found = find_target_layer(ModelUse().on(model), images) if stride != (8, 2) else asked
    assert (asked.grid, asked.layout.kind) == (grid, "NHWC" if channels_last else "NCHW")
    assert found.layout == asked.layout
    heat = compute_cams(model, images, 0, target_layer="act")
    torch.testing.assert_close(heat.maps, by_hand(model, images), atol=1e-7, rtol=1e-4)
    assert heat.maps.max() > 1e-4


def by_hand(model, images):
    """HiResCAM where the head is linear behind a mean over the cells."""
    with torch.no_grad():
        cells = torch.nn.functional.gelu(model.conv(images))
    weights = model.head.weight[0][:, None, None] / cells[0, 0].numel()
    return (weights * cells).sum(1).clamp_min(0).detach()


def test_a_block_of_convolutions_with_square_cells_is_not_measured_and_costs_no_more_forwards():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU()), nn.Flatten(), nn.Linear(128, 3))
    seen = forwards_of(model)
    with borrowed(model):
        assert find_target_layer(ModelUse().on(model), pictures(1)).layout == Layout("NCHW", (4, 4))
    assert seen == [1, 1]


def test_a_grid_of_one_row_is_taken_when_it_is_asked_for_and_a_pooled_one_is_not():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, second = nn.Conv2d(1, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 8, (16, 1))
    model = nn.Sequential(first, second, nn.AdaptiveAvgPool2d((1, 4)), nn.Flatten())
    nn.init.ones_(second.bias)
    images = pictures(2, (16, 64), channels=1)
    assert compute_cams(model, images, 0).grid == (16, 64)
    heat = compute_cams(model, images, 0, target_layer="1")
    with torch.no_grad():
        cells = model[:2](images)
    assert heat.grid == (1, 64)
    expected = torch.zeros(2, 1, 64)
    expected[..., :16] = cells[:, 0, :, :16].clamp_min(0) / 16
    torch.testing.assert_close(heat.maps, expected)
    with pytest.raises(TargetLayerError, match=r"target_layer: expected an output .* got \(1, 8, 1, 4\) from '2'"):
        compute_cams(model, images, 0, target_layer="2")


@pytest.mark.parametrize("channels_last", [True, False])
def test_sequences_tell_time_from_channels_by_a_change_of_the_input(channels_last):
    class Series(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = nn.Conv1d(2, 6, 5, 4, 2), nn.GELU(), nn.Linear(6, 3)

        def forward(self, x):
            cells = self.conv(x)
            cells = self.act(cells.transpose(1, 2) if channels_last else cells)
            return self.head(cells.mean(1 if channels_last else 2))

    torch.manual_seed(0)
    model = Series()
    series = torch.rand(1, 2, 24, generator=torch.Generator().manual_seed(0))  # 6 cells of 6 channels
    with borrowed(model):
        subject = ModelUse().on(model)
        found = find_target_layer(subject, series)
        conv = find_target_layer(subject, series, "conv")
    assert (found.name, found.grid, found.layout.kind) == ("act", (6,), "tokens" if channels_last else "NCHW")
    assert (conv.grid, conv.layout.kind) == ((6,), "NCHW")
