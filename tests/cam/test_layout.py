from collections import namedtuple

import pytest
import torch
from tiny_nets import pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.subject import ModelUse
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
