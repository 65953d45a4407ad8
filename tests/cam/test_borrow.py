import random
from collections import Counter, deque

import numpy as np
import pytest
import torch
from tiny_nets import ConvNet, forwards_of, pictures
from torch import nn

from camdebug.cam.engine import compute_cams
from camdebug.cam.lending import borrow
from camdebug.cam.lending.borrow import borrowed


class Restless(nn.Module):
    """A forward that changes everything a forward can change."""

    def __init__(self):
        super().__init__()
        self.net = ConvNet()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("best", torch.tensor(float("nan")))
        self.register_buffer("optional", None)
        self.calls = 0
        self.same = 1.5
        self.seen = torch.zeros(2)
        self.sizes = [7]
        self.tally = Counter(a=1)
        self.last = deque([1, 2], maxlen=2)
        self.names = {"x"}

    def forward(self, x):
        self.steps += 1
        self.mean = x.mean((0, 2, 3))
        self.calls += 1
        self.same = float("1.5")  # another object of the same value
        self.seen.add_(1)
        self.sizes.append(len(x))
        self.tally["a"] += 1
        self.last.append(3)
        self.names.add("y")
        self.late = x.shape
        random.random(), np.random.rand()
        return self.net(x + 0 * torch.rand(()))


CHANGED = {"steps", "mean", "calls", "seen", "sizes", "tally", "last", "names", "late"}


def state_of(module):
    found = {name: tensor.clone() for name, tensor in module.state_dict(keep_vars=False).items()}
    plain = (
        module.calls,
        module.same,
        module.seen.tolist(),
        list(module.sizes),
        dict(module.tally),
        list(module.last),
        set(module.names),
        hasattr(module, "late"),
    )
    return found, plain


def assert_same_state(module, before):
    tensors, plain = state_of(module)
    assert plain == before[1]
    assert tensors.keys() == before[0].keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[0][name]) or (tensor.isnan() & before[0][name].isnan()).all(), name


def generators():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def test_without_the_guard_a_forward_changes_all_of_it():
    model, rng = Restless().eval(), generators()
    before = state_of(model)
    model(pictures())
    assert state_of(model)[1][0] == before[1][0] + 1
    assert state_of(model)[0]["steps"].item() == 1
    assert all(a != b for a, b in zip(generators(), rng, strict=True))


def test_everything_a_forward_changed_is_put_back_and_named():
    model, rng = Restless(), generators()
    before, objects = state_of(model), dict(vars(model))
    buffers = dict(model.named_buffers())
    with borrowed(model) as changed:
        model(pictures())
        model(pictures())
        assert changed == []
    assert set(changed) == CHANGED
    assert len(changed) == len(CHANGED)
    assert_same_state(model, before)
    assert generators() == rng
    assert all(vars(model)[k] is v for k, v in objects.items())
    assert all(b is buffers[name] for name, b in model.named_buffers())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_put_back_when_the_block_raises_and_the_error_goes_on(error):
    model, rng = Restless(), generators()
    before = state_of(model)

    def look():
        with borrowed(model):
            model(pictures())
            raise error("inside")

    with pytest.raises(error, match="inside"):
        look()
    assert_same_state(model, before)
    assert generators() == rng
    assert all(m.training for m in model.modules())


def test_a_model_that_changes_nothing_has_no_changes_to_name():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 14 * 14, 2))
    with borrowed(model) as changed:
        model(pictures())
    assert changed == []


class RefusesModes(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def forward(self, x):
        return self.net(x)

    def train(self, mode=True):
        raise AssertionError("train() must not be called")

    eval = train


def test_modes_are_attributes_set_and_restored_one_by_one_without_calling_train_or_eval():
    model = RefusesModes()
    model.net.stem[1].training = False  # a frozen BatchNorm in a net that trains
    before = {name: m.training for name, m in model.named_modules()}
    assert before[""]
    assert not before["net.stem.1"]
    with borrowed(model):
        assert not any(m.training for m in model.modules())
    assert {name: m.training for name, m in model.named_modules()} == before
    compute_cams(model, pictures())
    assert {name: m.training for name, m in model.named_modules()} == before


def test_batch_norm_in_train_mode_neither_counts_nor_averages_what_it_sees():
    model, images = ConvNet().train(), pictures(4)
    norm = model.stem[1]
    model(images)
    assert norm.num_batches_tracked.item() == 1  # the negative control: an ordinary forward does
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    maps = compute_cams(model, images, 0).maps
    assert norm.num_batches_tracked.item() == 1
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, var)
    assert torch.equal(maps, compute_cams(model.eval(), images, 0).maps)


class TailBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()
        self.register_buffer("centre", torch.zeros(3))

    def forward(self, x):
        scores = self.net(x)
        self.centre.mul_(0.9).add_(scores.mean(0))
        return scores


def test_a_buffer_updated_from_the_graph_is_put_back_as_a_leaf_without_a_graph():
    model = TailBuffer()
    compute_cams(model, pictures())
    assert model.centre.tolist() == [0.0, 0.0, 0.0]
    assert not model.centre.requires_grad
    assert model.centre.grad_fn is None


def test_a_buffer_that_grew_in_place_is_put_back():
    model = nn.Module()
    model.register_buffer("seen", torch.tensor([1.0, 2.0]))
    with borrowed(model) as changed:
        model.seen.data = torch.zeros(5)
    assert changed == ["seen"]
    assert model.seen.tolist() == [1.0, 2.0]


def test_bits_count_minus_zero_is_put_back_and_nan_is_no_change():
    model = nn.Module()
    model.register_buffer("zero", torch.tensor([-0.0]))
    model.register_buffer("nan", torch.tensor([float("nan")]))
    with borrowed(model) as changed:
        model.zero.fill_(0.0)
        model.nan.fill_(float("nan"))
    assert changed == ["zero"]
    assert torch.signbit(model.zero).all()


def test_a_module_added_by_the_forward_is_taken_out_again():
    model = nn.Sequential(nn.ReLU())
    with borrowed(model) as changed:
        model.add_module("late", nn.Linear(1, 1))
    assert changed == ["_modules"]
    assert list(model._modules) == ["0"]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_grad_mode_of_the_caller_is_as_before(mode):
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with borrowed(nn.ReLU()):
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


class Breaks(nn.Module):
    """Raises in the forward, after the target layer, from a chosen call on."""

    def __init__(self, error, from_call):
        super().__init__()
        self.net, self.error, self.from_call = ConvNet(), error, from_call
        self.counted = forwards_of(self)

    def forward(self, x):
        scores = self.net(x)
        if len(self.counted) >= self.from_call:
            raise self.error("broken")
        return scores


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("from_call", [1, 2, 3, 4])
def test_no_hook_is_left_and_nothing_has_changed_whenever_the_model_raises(error, from_call):
    model, rng = Breaks(error, from_call), generators()
    hooks = hooks_of(model)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(error, match="broken"):
        compute_cams(model, pictures(4), chunk_size=2)
    assert hooks_of(model) == hooks
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert generators() == rng


def test_no_hook_is_left_after_a_successful_look():
    model = ConvNet()
    compute_cams(model, pictures())
    assert hooks_of(model) == 0


def test_gradients_that_wait_for_the_optimizer_stay_bit_for_bit_and_none_stays_none():
    model = ConvNet()
    model(pictures()).sum().backward()
    model.stem[0].weight.grad = None
    before = {name: None if p.grad is None else (p.grad, p.grad.clone()) for name, p in model.named_parameters()}
    compute_cams(model, pictures(), method=["gradcam", "hirescam"])
    for name, parameter in model.named_parameters():
        if before[name] is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is before[name][0]
            assert torch.equal(parameter.grad, before[name][1])
    assert before["stem.0.weight"] is None


class Keeps(ConvNet):
    """Gradients of many kinds: sparse, of a hidden module, of a plain tensor, of a frozen weight, and none."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 3, sparse=True)
        self.hidden = [nn.Linear(3, 3)]
        self.scale = torch.ones(1, requires_grad=True)

    def forward(self, x):
        scores = super().forward(x) * self.scale + self.table(torch.zeros(len(x), dtype=torch.int64))
        return self.hidden[0](scores)

    def leaves(self):
        return [*self.parameters(), *self.hidden[0].parameters(), self.scale]


def backward(model):
    """Adds to every gradient, as a ``score_fn`` of the user's may."""
    with torch.enable_grad():
        model(pictures()).square().sum().backward()


def waiting():
    model = Keeps()
    backward(model)
    model.stem[1].bias.grad = None
    model.stem[0].weight.requires_grad_(False)
    return model


def gradients_of(model):
    return [None if p.grad is None else (p.grad, p.grad.to_dense().clone()) for p in model.leaves()]


def assert_same_gradients(model, before):
    for parameter, kept in zip(model.leaves(), before, strict=True):
        if kept is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is kept[0]
            assert torch.equal(parameter.grad.to_dense(), kept[1])


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_a_backward_within_the_block_adds_nothing_to_gradients_that_wait(error):
    model = waiting()
    before, inside = gradients_of(model), []

    def look():
        with borrowed(model):
            inside.extend(p.grad for p in model.leaves())
            backward(model)
            inside.append(model.table.weight.grad)
            if error:
                raise error("stop")

    if error:
        with pytest.raises(error, match="stop"):
            look()
    else:
        look()
    assert inside[:-1] == [None] * len(model.leaves())
    assert inside[-1].is_sparse
    assert_same_gradients(model, before)
    assert {None if b is None else b[0].layout for b in before} == {None, torch.strided, torch.sparse_coo}


def test_without_the_guard_such_a_backward_changes_gradients_that_wait():
    model = waiting()
    before = gradients_of(model)
    backward(model)
    with pytest.raises(AssertionError):
        assert_same_gradients(model, before)


def test_a_loan_within_a_loan_gives_gradients_back_as_well():
    model = waiting()
    before = gradients_of(model)
    with borrowed(model):
        backward(model)
        outer = gradients_of(model)
        with borrowed(model):
            backward(model)
        assert_same_gradients(model, outer)
    assert_same_gradients(model, before)


def test_gradients_that_are_views_of_a_bucket_stay_views_of_it():
    model = ConvNet()
    bucket = torch.arange(sum(p.numel() for p in model.parameters())).float()
    for parameter, part in zip(model.parameters(), bucket.split([p.numel() for p in model.parameters()]), strict=True):
        parameter.grad = part.view_as(parameter)
    expected = bucket.clone()
    with borrowed(model):
        backward(model)
    assert torch.equal(bucket, expected)
    bucket += 1
    assert next(model.parameters()).grad.flatten()[:2].tolist() == [1.0, 2.0]


def test_a_gradient_that_torch_would_not_take_back_is_left_where_it_is():
    model = ConvNet()
    model(pictures()).sum().backward()
    weight = model.head[1].weight
    weight.data = weight.data.half()
    grad, before = weight.grad, weight.grad.clone()
    with borrowed(model):
        assert weight.grad is grad
        assert model.head[1].bias.grad is None
    assert weight.grad is grad
    assert torch.equal(grad, before)
    with pytest.raises(RuntimeError, match="grad"):
        weight.grad = grad.clone()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_score_function_that_calls_backward_changes_nothing_under_accumulation(accumulated):
    def meddles(output, class_idx):
        score = output.gather(1, class_idx[:, None])[:, 0]
        if score.requires_grad:
            called.append(score.sum().backward(retain_graph=True))
        return score

    weights, called = [], []
    for looks in (False, True):
        model = ConvNet()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(accumulated):
            model(pictures()).square().sum().backward()
            if looks:
                compute_cams(model, pictures(), [0, 1, 2], score_fn=meddles)
        optimizer.step()
        weights.append([p.detach().clone() for p in model.parameters()])
    assert len(called) >= accumulated
    assert all(map(torch.equal, *weights))


def test_a_lazy_model_is_refused_because_a_look_would_draw_its_weights():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"model: 0.weight is not initialised yet .a lazy module.*one forward first"):
        compute_cams(model, pictures())
    assert isinstance(model[0].weight, nn.UninitializedParameter)


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
def test_torchscript_is_refused_in_words():
    scripted = torch.jit.trace(ConvNet().eval(), pictures())
    with pytest.raises(TypeError, match="model: it is TorchScript, which takes no hooks"):
        compute_cams(scripted, pictures())


def test_what_is_no_module_is_refused_in_words():
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got function"):
        compute_cams(lambda x: x, pictures())


class WritesItsWeights(nn.Module):
    """Rescales its own parameters in every forward, in the three ways that are met."""

    def __init__(self):
        super().__init__()
        self.swapped, self.in_place, self.behind_the_back = (nn.Linear(2, 2) for _ in range(3))

    def forward(self, x):
        self.swapped.weight.data = torch.renorm(self.swapped.weight.data, 2, 0, 0.1)
        with torch.no_grad():
            self.in_place.weight.mul_(0.5)
        self.behind_the_back.weight.data.clamp_(-0.01, 0.01)
        return self.behind_the_back(self.in_place(self.swapped(x)))


def test_parameters_that_a_forward_writes_to_are_put_back_and_named():
    model = WritesItsWeights()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    held = {name: p.data_ptr() for name, p in model.named_parameters()}
    with borrowed(model, copied=None) as changed:
        model(torch.rand(1, 2))
    assert changed == ["swapped.weight", "in_place.weight", "behind_the_back.weight"]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.data_ptr() == held[name]
        assert parameter.requires_grad
        assert parameter.is_leaf


def test_without_a_copy_a_swapped_parameter_is_put_back_but_one_written_in_place_is_not():
    model = WritesItsWeights()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with borrowed(model, copied=["behind_the_back.weight"]):
        model(torch.rand(1, 2))
    same = {name: torch.equal(p, before[name]) for name, p in model.named_parameters()}
    assert [name for name, equal in same.items() if not equal] == ["in_place.weight"]


def test_generators_of_the_models_own_go_back_too():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.torch_rng = torch.Generator().manual_seed(1)
            self.numpy_rng = np.random.default_rng(1)
            self.python_rng = random.Random(1)

        def forward(self, x):
            return x + torch.rand((), generator=self.torch_rng) + self.numpy_rng.random() + self.python_rng.random()

    model, twin = Noisy(), Noisy()
    with borrowed(model) as changed:
        model(torch.zeros(1))
    assert changed == ["torch_rng", "numpy_rng", "python_rng"]
    assert torch.equal(model(torch.zeros(1)), twin(torch.zeros(1)))


class WithBadBuffer(ConvNet):
    """One part of it cannot be put back."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))
        self.train()

    def forward(self, x):
        self.steps += 1
        return super().forward(x)


def test_what_cannot_be_put_back_keeps_nothing_else_from_it(monkeypatch):
    model = WithBadBuffer()
    flags = {name: module.training for name, module in model.named_modules()}
    monkeypatch.setattr(borrow, "restore_dict", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError), borrowed(model):
        model(pictures())
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert float(model.steps) == 0


def test_a_sparse_buffer_is_put_back_and_does_no_harm():
    class Sparse(ConvNet):
        def __init__(self):
            super().__init__()
            self.register_buffer("graph", torch.eye(3).to_sparse())

        def forward(self, x):
            self.graph.values().mul_(2) if self.graph.is_coalesced() else None
            self.other = torch.sparse.mm(self.graph, torch.ones(3, 1))
            return super().forward(x)

    model = Sparse()
    model.graph = model.graph.coalesce()
    with borrowed(model) as changed:
        model(pictures())
    assert set(changed) == {"graph", "other"}
    assert torch.equal(model.graph.to_dense(), torch.eye(3))
    assert all(module.training for module in model.modules())
