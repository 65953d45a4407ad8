"""What answers from memory must be right, or known to be wrong: every model gives the scores of whole forwards."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from tiny_nets import forwards_of, pictures
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from camdebug.cam.explain import explain
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods import tail as tail_module
from camdebug.cam.methods.perturbation import AblationCAM
from camdebug.cam.methods.registry import MapOptions
from camdebug.cam.methods.tail import tail_of
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.layers import TargetLayer, TargetLayerError
from camdebug.cam.target.layout import Layout, tensor_in, with_tensor


def conv(a, b, stride=1):
    return nn.Conv2d(a, b, 3, stride, 1)


class Base(nn.Module):
    """``stem`` and ``before`` run before ``target``; ``after`` and ``head`` behind it."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.before, self.target, self.after = conv(3, 4, 2), conv(4, 4), conv(4, 4), conv(4, 4)
            self.head = nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(4 * 64, 3))
            self.extra()
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.3)

    def extra(self):
        pass

    def forward(self, x):
        return self.head(self.after(self.target(self.before(self.stem(x)))))


class Functional(Base):
    def forward(self, x):
        x = F.relu((x - x.mean((2, 3), keepdim=True)) * 2)
        return self.head(F.relu(self.after(F.relu(self.target(F.gelu(self.before(self.stem(x))))))))


class Residual(Base):
    def forward(self, x):
        x = self.stem(x)
        return self.head(self.after(x + self.target(self.before(x))))


class Joined(Base):
    """Rows of one picture must be as many before the layer as behind it, or they cannot be joined."""

    def extra(self):
        self.after = conv(8, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.after(torch.cat([x, self.target(self.before(x))], 1)))


class BatchRead(Base):
    def forward(self, x):
        count = x.shape[0]
        x = self.after(self.target(self.before(self.stem(x))))
        return self.head(x.view(count, 4, 64))


class InPlace(Base):
    def forward(self, x):
        x.mul_(2)
        x = self.stem(x)
        y = self.target(self.before(x))
        x += 1
        y += x
        return self.head(F.relu_(self.after(F.relu_(y))))


class Reused(Base):
    """One module before, twice, and behind the layer."""

    def forward(self, x):
        x = self.before(self.before(self.stem(x)))
        return self.head(self.after(self.before(self.target(x))))


class CalledTwice(Base):
    def forward(self, x):
        return self.head(self.after(self.target(self.before(self.before(self.stem(x))))))


class Unused(Base):
    def extra(self):
        self.never = nn.Linear(2, 2)


Pair = namedtuple("Pair", "cells more")


class Nested(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        cells = self.inner(x)
        return OrderedDict(
            cells=Pair(cells, [cells * 2, None]), shape=(8, "px"), second=cells.flatten(2).permute(2, 0, 1)
        )


class NestedOutput(Base):
    """A module before the layer returns a dict of tuples, one tensor with the batch second."""

    def extra(self):
        self.before = Nested(self.before)

    def forward(self, x):
        found = self.before(self.stem(x))
        cells = found["cells"].cells + found["cells"].more[0]
        second = found["second"].permute(1, 2, 0).reshape(cells.shape)
        return self.head(self.after(self.target(cells) * second))


class Boxed:
    def __init__(self, cells):
        self.cells = cells


class Box(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return Boxed(self.inner(x))


class OddOutput(Base):
    """A module before the layer returns what nobody can slice."""

    def extra(self):
        self.before = Box(self.before)

    def forward(self, x):
        return self.head(self.after(self.target(self.before(self.stem(x)).cells)))


class Position(nn.Module):
    def forward(self, x):
        return torch.linspace(0, 1, 64).view(8, 8)


class NoBatch(Base):
    def extra(self):
        self.position = Position()

    def forward(self, x):
        return self.head(self.after(self.target(self.before(self.stem(x)) + self.position(x)) * self.position(x)))


class Keeping(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.kept = inner, None

    def forward(self, x):
        self.kept = self.inner(x)
        return self.kept


class SideEffect(Base):
    """A module before the layer keeps what it gives in an attribute, which is read behind the layer."""

    def extra(self):
        self.before = Keeping(self.before)

    def forward(self, x):
        y = self.target(self.before(self.stem(x)))
        return self.head(self.after(y * self.before.kept))


class Counting(Base):
    """Wrong from memory: what is behind the layer depends on how often a module before it has computed."""

    def extra(self):
        self.stem = Counted(self.stem)

    def forward(self, x):
        y = self.target(self.before(self.stem(x)))
        return self.head(self.after(y * self.stem.calls.pop(0)))


class Counted(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, []

    def forward(self, x):
        self.calls.append(2.0)
        return self.inner(x)


class Hidden(Base):
    """The layer runs inside a module that is not above it in the tree."""

    def extra(self):
        self.runner = Runner([self.before, self.target])

    def forward(self, x):
        return self.head(self.after(self.runner(self.stem(x))))


class Runner(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x * self.scale


class Checkpointed(Base):
    def forward(self, x):
        x = checkpoint(lambda x: self.before(self.stem(x)), x, use_reentrant=False)
        return self.head(checkpoint(lambda x: self.after(self.target(x)), x, use_reentrant=False))


class InTuple(Base):
    """The layer gives tokens first ``(L, N, C)`` in a tuple."""

    def extra(self):
        self.target = TokensFirst(self.target)

    def forward(self, x):
        x = self.target(self.before(self.stem(x)))[0]
        return self.head(self.after(x.permute(1, 2, 0).reshape(-1, 4, 8, 8)))


class TokensFirst(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).flatten(2).permute(2, 0, 1), None


class Transformer(Base):
    def extra(self):
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.before = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.after = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.target = nn.LayerNorm(4)

    def forward(self, x):
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.after(self.target(self.before(tokens))))


FROM_MEMORY = [
    Base, Functional, Residual, CalledTwice, Unused, NestedOutput, NoBatch, InTuple, Transformer, Checkpointed, InPlace,
]  # fmt: skip
IN_FULL_ROWS = [Joined, BatchRead]
PARTLY = [Reused, OddOutput, Hidden]
BY_FULL_FORWARDS = [SideEffect, Counting]
EVERY = [*FROM_MEMORY, *IN_FULL_ROWS, *PARTLY, *BY_FULL_FORWARDS]
LAYOUTS = {
    InTuple: Layout("tokens", (8, 8), batch_axis=1),
    Transformer: Layout("tokens", (8, 8)),
}


def layer_of(net):
    return TargetLayer(net.get_submodule("target"), "target", LAYOUTS.get(type(net), Layout("NCHW", (8, 8))), "test")


def tail_for(net, images, *, subject=None, rows=None, class_idx=None):
    subject = subject or ModelUse().on(net)
    rows = rows or slice(0, len(images))
    idx = torch.zeros(len(images), dtype=torch.int64) if class_idx is None else class_idx
    return tail_of(subject, layer_of(net), subject.converted(images), rows, idx)


def others(tail, which):
    """Other outputs of the layer: every row unlike the rest."""
    output = tail.unchanged(which)
    return output * torch.rand(output.shape, generator=torch.Generator().manual_seed(3)).to(output)


def truth(net, images, output, which):
    """A whole forward of an ``eval()`` model with nothing but the layer's output replaced."""
    handle = net.target.register_forward_hook(lambda _m, _i, came: with_tensor(came, output.clone()))
    try:
        return net(images[which].clone())
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", EVERY, ids=lambda k: k.__name__)
@pytest.mark.parametrize("count", [1, 3, 4, 8])  # 4 and 8 are also numbers of channels and cells
def test_scores_are_those_of_whole_forwards_with_another_output(kind, count):
    net, images = kind().eval(), pictures(count)
    with borrowed(net):
        tail = tail_for(net, images)
        for which in (torch.full((5,), count - 1), torch.arange(count).flip(0).repeat(2)):
            output = others(tail, which)
            expected = truth(net, images, output, which)
            found = tail(which, output)
            assert isinstance(found, ClassScores)
            torch.testing.assert_close(found.matrix, expected, atol=1e-5, rtol=1e-4)
            assert not torch.allclose(expected, truth(net, images, tail.unchanged(which), which), atol=1e-3)


@pytest.mark.parametrize("kind", EVERY, ids=lambda k: k.__name__)
def test_the_fastest_way_that_is_right_is_taken(kind):
    net = kind().eval()
    with borrowed(net):
        way = tail_for(net, pictures(3)).way
    expected = {**dict.fromkeys(IN_FULL_ROWS, "each"), **dict.fromkeys(BY_FULL_FORWARDS, "none")}.get(kind, "one")
    assert way == expected


@pytest.mark.parametrize("kind", BY_FULL_FORWARDS + IN_FULL_ROWS, ids=lambda k: k.__name__)
def test_without_the_test_of_the_memory_scores_would_be_wrong(kind, monkeypatch):
    net, images = kind().eval(), pictures(3)
    monkeypatch.setattr(tail_module, "_holds", lambda *_: True)
    with borrowed(net):
        tail = tail_for(net, images)
        which = torch.full((3,), 1)
        output = others(tail, which)
        try:
            found = tail(which, output).matrix
        except (RuntimeError, IndexError):
            return
        expected = truth(net, images, output, which)  # afterwards: a whole forward sets right what is kept
        assert found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_memory_that_is_trusted_blindly_makes_a_wrong_map_and_a_tested_one_the_right(trusted, monkeypatch):
    net, images = Counting().eval(), pictures(3)
    if trusted:
        monkeypatch.setattr(tail_module, "_holds", lambda *_: True)
        net.stem.calls = _Endless()  # lest the wrong way ends in an error
    with borrowed(net):
        lens = Lens(ModelUse().on(net), (layer_of(net),), 32)
        options = MapOptions(sign="signed")
        found = explain(lens, images, [torch.zeros(3, dtype=torch.int64)], [AblationCAM()], options)[0]["ablationcam"]
        which, expected = torch.arange(3), 0
        cells = tail_for(net, images).output
        for channel in range(4):
            without = cells.clone()
            without[:, channel] = 0
            fall = (truth(net, images, cells, which) - truth(net, images, without, which))[:, 0]
            expected = expected + fall[:, None, None] * cells[:, channel]
    right = torch.allclose(found.maps, expected, atol=1e-5, rtol=1e-3)
    assert right is not trusted


class _Endless(list):
    def pop(self, _index):
        return super().pop(0) if self else 0.5


@pytest.mark.parametrize("kind", [Base, Functional, Residual, Joined, NestedOutput], ids=lambda k: k.__name__)
def test_layers_before_the_target_run_exactly_once(kind):
    net, images = kind().eval(), pictures(3)
    calls = []
    parts = [net.stem, getattr(net.before, "inner", net.before), net.target]
    for part in parts:
        part._conv_forward = (lambda own, p: lambda *a: (calls.append(p), own(*a))[1])(part._conv_forward, part)
    with borrowed(net):
        tail = tail_for(net, images)
        for picture in range(3):
            tail(torch.full((4,), picture), others(tail, torch.full((4,), picture)))
    assert [calls.count(part) for part in parts] == [1, 1, 1]


def test_a_tail_of_whole_forwards_runs_them_each_time():
    net = SideEffect().eval()
    with borrowed(net):
        tail = tail_for(net, pictures(3))
        seen = forwards_of(net.before.inner)
        tail(torch.tensor([1, 1, 2]), tail.unchanged(torch.tensor([1, 1, 2])))
    assert seen == [3]
    assert not tail.memory.outputs


def state_of(net):
    return [
        (name, sorted(vars(m)), list(m._forward_hooks.values()), list(m._forward_pre_hooks.values()))
        for name, m in net.named_modules()
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("at", ["stem", "target", "after"])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_nothing_stays_behind_when_a_forward_is_cut_short(error, at, number):
    """Without ``borrowed``, which would tidy up as well."""
    net, calls = Base().eval(), []

    def stop(_module, _inputs, _output):
        calls.append(at)
        if len(calls) == number:
            raise error("stop")

    net.get_submodule(at).register_forward_hook(stop)
    own = net.before.forward = net.before.forward  # a forward of its own, as libraries set it
    before = state_of(net)
    stopped = False
    with torch.no_grad():
        try:
            tail = tail_for(net, pictures(3))
            which = torch.zeros(2, dtype=torch.int64)
            tail(which, tail.unchanged(which))
        except error:
            stopped = True
    assert stopped or (error is ValueError and number == 2)  # in the test of the memory an error means that it fails
    assert state_of(net) == before
    assert net.before.forward is own


def test_a_shortage_of_memory_is_no_reason_to_run_everything(monkeypatch):
    net, calls = Base().eval(), []

    def shortage(_module, _inputs, _output):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")

    net.after.register_forward_hook(shortage)
    with borrowed(net), pytest.raises(torch.OutOfMemoryError):
        tail_for(net, pictures(3))


@pytest.mark.parametrize("at", ["stem", "before", "target", "after"])
def test_the_users_own_hooks_still_do_what_they_do(at):
    net, images, seen = Residual().eval(), pictures(3), []
    net.get_submodule(at).register_forward_hook(lambda _m, _i, out: seen.append(len(out)) or out * 3)
    net.get_submodule(at).register_forward_pre_hook(lambda _m, inputs: (inputs[0] + 1,))
    with borrowed(net):
        tail = tail_for(net, images)
        which = torch.full((5,), 2)
        output = others(tail, which)
        seen.clear()
        found = tail(which, output).matrix
        assert len(seen) == 1
        torch.testing.assert_close(found, truth(net, images, output, which), atol=1e-5, rtol=1e-4)
    assert tail.way == "one"
    assert len(net.get_submodule(at)._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["torch.compile(model)", "model.compile()", "a compiled part"])
def test_compiled_models_answer_from_memory_too(how):
    net, images = Residual().eval(), pictures(3)
    model = torch.compile(net, backend="eager") if how == "torch.compile(model)" else net
    if how == "model.compile()":
        net.compile(backend="eager")
    if how == "a compiled part":
        net.before = torch.compile(net.before, backend="eager")
    with torch.no_grad():
        model(images)
    with borrowed(model):
        tail = tail_for(net, images, subject=ModelUse().on(model))
        seen = []
        net.stem._conv_forward = (lambda own: lambda *a: (seen.append(1), own(*a))[1])(net.stem._conv_forward)
        which = torch.full((5,), 2)
        output = others(tail, which)
        found = tail(which, output).matrix
        assert (tail.way, seen) == ("one", [])
    with torch.no_grad():
        plain = Residual().eval()
        torch.testing.assert_close(found, truth(plain, images, output, which), atol=1e-5, rtol=1e-4)


class TwoInputs(Base):
    def forward(self, x, scale):
        return self.head(self.after(self.target(self.before(self.stem(x))) * scale[:, None, None, None]))


def test_other_inputs_and_another_way_to_run_go_with_their_pictures():
    net, images, scales = TwoInputs().eval(), pictures(5), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    use = ModelUse(outputs=lambda out: ClassScores(out["scores"]), forward_fn=lambda m, x, s: {"scores": m(x, s)})
    with borrowed(net):
        tail = tail_for(net, images[2:], subject=use.on(net, None, scales), rows=slice(2, 5))
        for which in (torch.full((4,), 1), torch.tensor([2, 0, 1, 1])):
            output = others(tail, which)
            handle = net.target.register_forward_hook(lambda _m, _i, _o, output=output: output)
            expected = net(images[2:][which], scales[2:][which])
            handle.remove()
            torch.testing.assert_close(tail(which, output).matrix, expected, atol=1e-5, rtol=1e-4)
    assert tail.way == "one"


def test_scores_without_a_table_are_tested_by_the_class_that_is_asked_for():
    for kind, way in ((Base, "one"), (SideEffect, "none")):
        net = kind().eval()
        use = ModelUse(outputs=lambda out: ClassScores(None, pick=lambda k: out.gather(1, k[:, None])[:, 0]))
        with borrowed(net):
            idx = torch.tensor([0, 2, 1])
            tail = tail_for(net, pictures(3), subject=use.on(net), class_idx=idx)
            which = torch.tensor([2, 1])
            output = others(tail, which)
            expected = truth(net, pictures(3), output, which)[range(2), idx[which]]
            torch.testing.assert_close(tail(which, output).of(idx[which]), expected, atol=1e-5, rtol=1e-4)
        assert tail.way == way


@pytest.mark.parametrize("kind", [Base, Joined, SideEffect], ids=lambda k: k.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, "autocast"])
def test_number_formats_do_not_make_a_memory_fail(kind, dtype):
    net, images = kind().eval(), pictures(6)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "autocast")
    if dtype != "autocast":
        net = net.to(dtype)
    with borrowed(net), mixed:
        tail = tail_for(net, images)
        which = torch.full((7,), 3)
        output = others(tail, which)
        entering = images if dtype == "autocast" else images.to(dtype)
        expected = truth(net, entering, output, which).float()
        tolerance = 1e-5 if dtype is torch.float64 else 0.05
        torch.testing.assert_close(tail(which, output).matrix, expected, atol=tolerance, rtol=tolerance)
    assert tail.way == {Base: "one", Joined: "each", SideEffect: "none"}[kind]


def test_a_diverged_model_is_still_answered_from_memory():
    net = Base().eval()
    with torch.no_grad():
        net.head[-1].bias[1] = float("nan")
        net.head[-1].bias[2] = float("inf")
    with borrowed(net):
        assert tail_for(net, pictures(3)).way == "one"


class TargetTwice(Base):
    def forward(self, x):
        return self.head(self.after(self.target(self.target(self.before(self.stem(x))))))


def test_a_layer_that_runs_twice_is_refused():
    net = TargetTwice().eval()
    with borrowed(net), pytest.raises(TargetLayerError, match="target_layer: 'target' ran 2 times"):
        tail_for(net, pictures(2))


def test_rows_at_a_time_come_from_the_largest_tensor_that_is_made_for_each_row(monkeypatch):
    monkeypatch.setattr(tail_module, "MOST_ELEMENTS", 7680)
    net, full = Base().eval(), SideEffect().eval()
    with borrowed(net), borrowed(full):
        assert tail_for(net, pictures(3)).rows_at_a_time == 7680 // (4 * 8 * 8)
        assert tail_for(full, pictures(3)).rows_at_a_time == 7680 // (3 * 16 * 16)


def test_a_tensor_output_is_kept_as_it_was_although_the_model_writes_to_it():
    net, images = InPlace().eval(), pictures(3)
    with borrowed(net):
        seen = []
        net.target.register_forward_hook(lambda _m, _i, out: seen.append(tensor_in(out).clone()))
        tail = tail_for(net, images)
    torch.testing.assert_close(tail.output, seen[0])
