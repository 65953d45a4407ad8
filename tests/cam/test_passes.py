"""The lean pass: no graph below the target layer, whatever the model and its mode of execution."""

import pytest
import torch
from tiny_nets import METHOD_NAMES, ConvNet, forwards_of, graph_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.passes import in_chunks, run_pass
from camdebug.cam.target.search import find_target_layers


def passed(model, images, score, *, layer=None, chunk_size=32):
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images, layer)
        rows = in_chunks(len(images), chunk_size)
        return list(run_pass(subject, layers, images, [lambda s, r: score(s.matrix, r)], rows=rows))


def test_activation_gradient_and_scores_are_those_of_a_full_graph():
    model, images = ConvNet(flat_side=4), pictures()
    activation, gradient = graph_of(model, model.stage, images, [1, 1, 1])
    (chunk,) = passed(model, images, lambda logits, rows: logits[:, 1], layer="stage")
    torch.testing.assert_close(chunk.view.activation, torch.from_numpy(activation))
    torch.testing.assert_close(chunk.view.gradients[0], torch.from_numpy(gradient))
    torch.testing.assert_close(chunk.scores.matrix.float(), model.eval()(images).detach())
    assert chunk.rows == slice(0, 3)


def test_any_score_of_the_logits_may_be_explained_and_knows_its_rows():
    model, images = ConvNet(), pictures(5)
    weight = torch.tensor([1.0, -2.0, 0.0, 4.0, 8.0])
    plain = passed(model, images, lambda logits, rows: logits[:, 0])
    chunks = passed(model, images, lambda logits, rows: weight[rows] * logits[:, 0], chunk_size=2)
    assert [c.rows for c in chunks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    found = torch.cat([c.view.gradients[0] for c in chunks])
    torch.testing.assert_close(found, plain[0].view.gradients[0] * weight[:, None, None, None])


def test_nothing_below_the_target_layer_has_a_graph_and_everything_above_has():
    model, images = ConvNet(), pictures()
    compute_cams(model, images, target_layer="stage")
    graphs = {}

    def note(name):
        return lambda _module, _inputs, output: graphs.update({name: output.grad_fn})

    for name in ("stem.0", "stem.1", "stem", "stage.0", "relu", "pool", "head"):
        model.get_submodule(name).register_forward_hook(note(name))
    passed(model, images, lambda logits, rows: logits[:, 0], layer="stage")
    assert [name for name, graph in graphs.items() if graph is None] == ["stem.0", "stem.1", "stem", "stage.0"]
    assert all(graphs[name] is not None for name in ("relu", "pool", "head"))


def test_chunks_carry_no_graph():
    (chunk,) = passed(ConvNet(), pictures(), lambda logits, rows: logits[:, 0])
    for tensor in (chunk.scores.matrix, chunk.view.activation, *chunk.view.gradients):
        assert not tensor.requires_grad
        assert tensor.grad_fn is None


def test_a_frozen_model_gives_the_same_maps_as_a_free_one():
    free, frozen = ConvNet(), ConvNet().requires_grad_(False)
    assert torch.equal(compute_cams(frozen, pictures(), 1).maps, compute_cams(free, pictures(), 1).maps)
    assert not any(p.requires_grad for p in frozen.parameters())


class FrozenByItsOwnBlock(nn.Module):
    """The backbone, target layer included, runs inside the model's own no_grad block."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        with torch.no_grad():
            cells = self.net.relu(self.net.stage(self.net.stem(x)))
        return self.net.head(self.net.pool(cells))


def test_a_backbone_inside_the_models_own_no_grad_block_is_explained_all_the_same():
    model, images = FrozenByItsOwnBlock(), pictures(5)
    found = compute_cams(model, images, 1, method=METHOD_NAMES, target_layer="net.relu")
    expected = compute_cams(ConvNet(), images, 1, method=METHOD_NAMES, target_layer="relu")
    for name in METHOD_NAMES:
        assert torch.equal(found[name].maps, expected[name].maps)
    assert compute_cams(model, images, 1).layer == "net.relu"


def test_such_a_backbone_costs_one_lost_forward_in_all_not_one_a_chunk():
    model, images = FrozenByItsOwnBlock(), pictures(5)
    compute_cams(model, images)
    seen = forwards_of(model)
    compute_cams(model, images, chunk_size=2)
    assert seen == [2, 2, 2, 1]


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        x = torch.utils.checkpoint.checkpoint(self.net.stem, x, use_reentrant=True)
        return self.net.head(self.net.pool(self.net.relu(self.net.stage(x))))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_reentrant_checkpoints_below_the_layer_do_no_harm():
    found = compute_cams(Checkpointed(), pictures(), 1)
    assert found.layer == "net.relu"
    assert torch.equal(found.maps, compute_cams(ConvNet(), pictures(), 1).maps)


class FrozenHalf(nn.Module):
    """Of two layers one behind the other, the first runs inside the model's own no_grad block."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 1, 1)
        self.spare, self.fc = nn.Conv2d(3, 2, 1), nn.Linear(5, 3)

    def forward(self, x, *, frozen=True):
        self.spare(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            cells = self.a(x).tanh()
        return self.fc(self.b(cells).tanh().mean((2, 3)))


def seen_at(model, names, *, images, scores=None, chunk_size=32):
    scores = scores or [lambda s, _: s.matrix[:, 1]]
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images, names)
        return list(run_pass(subject, layers, images, scores, rows=in_chunks(len(images), chunk_size)))


def test_of_several_layers_one_that_the_model_has_frozen_has_its_own_gradient_and_not_zeros():
    model, images = FrozenHalf(), pictures()
    (chunk,) = seen_at(model, ["a", "b"], images=images)
    expected = graph_of(OpenHalf(model), model.a, images, [1, 1, 1]), graph_of(model, model.b, images, [1, 1, 1])
    for view, (activation, gradient) in zip(chunk.views, expected, strict=True):
        torch.testing.assert_close(view.activation, torch.from_numpy(activation))
        torch.testing.assert_close(view.gradients[0], torch.from_numpy(gradient))
        assert view.gradients[0].any()


class OpenHalf(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x, frozen=False)


def test_a_layer_without_a_part_in_the_scores_has_zeros_and_costs_one_forward_in_all_not_one_a_chunk():
    model, images = FrozenHalf(), pictures(5)
    with borrowed(model):
        subject = ModelUse().on(model)
        layers = find_target_layers(subject, images, ["b", "spare"], gradient=False)
        seen = forwards_of(model)
        scores = [lambda s, _: s.matrix[:, 1]]
        chunks = list(run_pass(subject, layers, images, scores, rows=in_chunks(5, 2)))
    assert seen == [2, 2, 2, 1]
    for chunk in chunks:
        b, spare = (view.gradients[0] for view in chunk.views)
        assert b.any()
        assert not spare.any()


class Overwrites(nn.Module):
    """A layer that holds its output, which the model overwrites once it has been read."""

    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.held = nn.Conv2d(4, 4, 3, 1, 1), None

        def forward(self, x):
            self.held = self.conv(x)
            return self.held

    def __init__(self, *, overwrite):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.layer, self.head = nn.Conv2d(3, 4, 3, 2, 1), self.Held(), nn.Linear(4, 3)
        self.overwrite = overwrite

    def forward(self, x):
        scores = self.head(self.layer(self.stem(x)).exp().mean((2, 3)))
        if self.overwrite:
            with torch.no_grad():
                self.layer.held.zero_()
        return scores


@pytest.mark.parametrize("names", [["layer"], ["stem", "layer"], ["layer", "stem"]])
def test_what_is_kept_of_a_layer_is_what_was_read_though_the_model_overwrites_it_later(names):
    (found,), (expected,) = (seen_at(Overwrites(overwrite=o), names, images=pictures()) for o in (True, False))
    for view, plain in zip(found.views, expected.views, strict=True):
        assert torch.equal(view.activation, plain.activation)
        assert torch.equal(view.gradients[0], plain.gradients[0])
        assert plain.activation.any()
        assert plain.gradients[0].any()


def test_two_scores_that_are_one_tensor_are_both_explained():
    held = {}

    def score(scores, _rows):
        return held.setdefault(id(scores), scores.matrix[:, 1])

    model, images = ConvNet(), pictures()
    (twice,) = seen_at(model, "stage", images=images, scores=[score, score])
    (once,) = seen_at(model, "stage", images=images)
    assert torch.equal(twice.view.gradients[0], once.view.gradients[0])
    assert torch.equal(twice.view.gradients[1], once.view.gradients[0])


# --- torch.compile


def warmed(how):
    model = ConvNet().eval()  # in train mode the warming up would move the statistics of BatchNorm
    if how == "torch.compile(model)":
        compiled = torch.compile(model, backend="eager")
    elif how == "model.compile()":
        model.compile(backend="eager")
        compiled = model
    else:
        model.stage = torch.compile(model.stage, backend="eager")
        compiled = model
    compiled(pictures())
    with torch.no_grad():
        compiled(pictures())
    return compiled


WAYS = ["torch.compile(model)", "model.compile()", "a compiled part"]


@pytest.fixture
def _dynamo_afterwards_as_before():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_dynamo_afterwards_as_before")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own, of its input
@pytest.mark.parametrize("how", WAYS)
def test_a_warmed_compiled_model_is_explained_like_the_plain_one(how):
    expected = compute_cams(ConvNet(), pictures(), 1, method=METHOD_NAMES)
    found = compute_cams(warmed(how), pictures(), 1, method=METHOD_NAMES)
    for name in METHOD_NAMES:
        assert found[name].layer == "relu"
        assert torch.equal(found[name].maps, expected[name].maps)


@pytest.mark.usefixtures("_dynamo_afterwards_as_before")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own, of its input
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["stage", "_orig_mod.stage"])
def test_layers_of_a_compiled_model_go_by_their_plain_names(how, name):
    expected = compute_cams(ConvNet(), pictures(), 1, target_layer="stage")
    found = compute_cams(warmed(how), pictures(), 1, target_layer=name)
    assert found.layer == "stage"
    assert torch.equal(found.maps, expected.maps)


@pytest.mark.usefixtures("_dynamo_afterwards_as_before")
def test_the_guard_is_needed_in_a_warmed_compiled_model_inner_hooks_do_not_fire():
    model = warmed("torch.compile(model)")
    fired = []
    inner = model._orig_mod.stage
    handle = inner.register_forward_hook(lambda _module, _inputs, output: fired.append(1))
    with torch.no_grad():
        model(pictures())
        assert fired == []
    with borrowed(model):
        model(pictures())
    handle.remove()
    assert fired == [1]
