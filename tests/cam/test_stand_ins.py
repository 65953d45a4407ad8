"""Parameters that are kept in unusual places, hooks on them, and trainings in which foreign code runs."""

import copy

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from foreign_looks import facts, look
from small_training import CLASSES, Case, Pictures, differences, run
from tiny_nets import ConvNet, pictures
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, weight_norm

from camdebug.cam.explain import Recipe
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lending.stand_ins import harmless, stand_ins
from camdebug.cam.lending.switches import SWITCHES
from camdebug.cam.lens import Lens
from camdebug.cam.methods.foreign import foreign
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers


class Stage(nn.Module):
    """A spatial stage, and a head of the subclass's."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Conv2d(3, 4, 3, 4, 1)

    def forward(self, x):
        return self.head(self.stage(x))


class Recurrent(Stage):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.last = kind(4, 5, num_layers=2, batch_first=True), nn.Linear(5, 3)

    def head(self, cells):
        return self.last(self.rnn(cells.flatten(2).transpose(1, 2))[0][:, -1])


class Tied(Stage):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(64, 64), nn.Linear(64, 64)
        self.other.weight = self.one.weight

    def head(self, cells):
        return self.other(self.one(cells.flatten(1)))[:, :3]


class Lists(Stage):
    def __init__(self):
        super().__init__()
        self.rows = nn.ParameterList([nn.Parameter(torch.rand(4)) for _ in range(3)])
        self.named = nn.ParameterDict({"bias": nn.Parameter(torch.rand(3))})

    def head(self, cells):
        return torch.stack([cells.mean((2, 3)) @ row for row in self.rows], 1) + self.named["bias"]


class Aliases(Stage):
    """Parameters under other names, in containers, and of a module that is hidden in a list."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)
        vars(self)["again"] = self.last.bias
        self.listed, self.by_name, self.both = [self.last.weight], {"w": self.last.weight}, (self.last.weight, 1.0)
        self.hidden = [nn.Linear(4, 4)]

    def head(self, cells):
        weight = self.listed[0] + self.by_name["w"] + self.both[0] * self.both[1]
        return F.linear(self.hidden[0](cells.mean((2, 3))), weight, self.again)


class Renormed(Stage):
    def __init__(self, norm):
        super().__init__()
        self.last = norm(nn.Linear(4, 3))

    def head(self, cells):
        return self.last(cells.mean((2, 3)))


NETS = {
    "LSTM": lambda: Recurrent(nn.LSTM),
    "GRU": lambda: Recurrent(nn.GRU),
    "tied": Tied,
    "lists": Lists,
    "aliases": Aliases,
    "weight_norm": lambda: Renormed(weight_norm),
    "weight_norm parametrization": lambda: Renormed(parametrizations.weight_norm),
    "spectral_norm": lambda: Renormed(nn.utils.spectral_norm),
    "orthogonal": lambda: Renormed(parametrizations.orthogonal),
}


def net(name):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = NETS[name]()
    model(pictures()).square().sum().backward()
    return model


def trains(model, images, class_idx):
    """A step of training; the map tells the scores before and after."""
    before = model(images)
    before.square().sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    return torch.stack([before, model(images)], 1)


def everything(model):
    """Also of what is no part of ``model.modules()``."""
    hidden = getattr(model, "hidden", [])
    attributes = {name: {k: id(v) for k, v in vars(m).items()} for name, m in model.named_modules()}
    listed = {
        name: [list(map(id, v)) for v in vars(m).values() if type(v) in (list, tuple)]
        for name, m in model.named_modules()
    }
    return facts(model), attributes, listed, [facts(module) for module in hidden]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("name", NETS)
def test_parameters_are_found_wherever_they_are_kept_and_none_is_touched(name):
    model = net(name).eval()
    before = everything(model)
    found = look(model, pictures(), [0, 1, 2], foreign(trains), layer="stage")
    assert everything(model) == before
    # The same step, of the model itself: what stood in for the parameters was a whole model.
    model.zero_grad()
    with torch.enable_grad():
        expected = trains(model, pictures(), None)
    torch.testing.assert_close(found, expected.detach())
    assert everything(model) != before
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3


def test_tied_parameters_share_one_copy_and_names_lead_to_it():
    model, seen = net("aliases"), []
    with borrowed(model), stand_ins(model):
        copy = model.last.weight
        seen = [model.listed[0], model.by_name["w"], model.both[0]]
        assert all(one is copy for one in seen)
        assert model.again is model.last.bias
    assert model.last.weight is not copy
    assert model.listed[0] is model.last.weight
    tied = net("tied")
    with borrowed(tied), stand_ins(tied):
        assert tied.one.weight is tied.other.weight
        assert tied.one.weight.requires_grad
    with borrowed(tied), stand_ins(tied, requires_grad=False):
        assert not tied.one.weight.requires_grad


def test_what_libraries_note_on_parameters_is_on_the_copies():
    model = ConvNet()
    model.stem[0].weight.no_decay = True
    with borrowed(model), stand_ins(model):
        assert model.stem[0].weight.no_decay


def test_hooks_on_real_parameters_do_not_fire():
    model, fired = ConvNet(), []
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: fired.append("tensor"))
        parameter.register_post_accumulate_grad_hook(lambda parameter: fired.append("accumulated"))
    look(model, pictures(), [0, 1, 2], foreign(trains))
    assert fired == []
    trains(model, pictures(), None)
    assert set(fired) == {"tensor", "accumulated"}


def test_gradients_do_not_reach_a_parameter_that_the_callable_holds():
    model = ConvNet().eval()
    held, fired = model.head[1].weight, []
    held.register_post_accumulate_grad_hook(fired.append)

    def holds(model, images, class_idx):
        scores = model(images) + images.new_ones(len(images), 8) @ held[:, :3]
        scores.sum().backward()
        return images.sum(1)

    look(model, pictures(), [0, 1, 2], foreign(holds))
    assert held.grad is None
    assert held.requires_grad
    assert fired == []
    with torch.enable_grad():
        holds(model, pictures(), None)
    assert held.grad is not None
    assert len(fired) == 1


def test_whole_numbers_cannot_be_copied_so_but_go_back_too():
    model = ConvNet()
    model.register_parameter("counts", nn.Parameter(torch.tensor([1, 2]), requires_grad=False))
    held = model.counts

    def counts(model, images, class_idx):
        model.counts.data.add_(1)
        return images.sum(1)

    look(model, pictures(), [0, 1, 2], foreign(counts))
    assert model.counts is held
    assert held.tolist() == [1, 2]


def adds(model):
    """In the way that counts as a change."""
    with torch.no_grad():
        model.head[1].weight.add_(0.5)


def adds_behind_the_back(model):
    """Autograd notices nothing."""
    model.head[1].weight.data.add_(0.5)


def swaps(model):
    model.head[1].weight.data = torch.ones(8, 8)


def writes_nan(model):
    model.head[1].weight.data[0, 0] = float("nan")


def steps(model):
    """With gradients that it made itself."""
    model.requires_grad_(True)
    with torch.enable_grad():
        model(pictures()).square().sum().backward()
    torch.optim.SGD([model.head[1].weight], 0.1).step()


def on_a_real_model(write, *, then=None):
    """A callable that leaves alone what it is given, and writes to the training's own."""
    model = ConvNet()
    model(pictures()).sum().backward()
    twin = copy.deepcopy(model)
    weight = model.head[1].weight
    twin.head[1].weight = weight
    twin.head[1].bias.data.zero_()

    def meddler(_model, images, class_idx):
        write(twin)
        if then:
            raise then("in the middle")
        return images.sum(1)

    return model, weight, meddler


@pytest.mark.parametrize("write", [adds, adds_behind_the_back, swaps, writes_nan, steps])
def test_what_is_written_to_a_parameter_that_it_held_is_put_back_and_told(write):
    model, weight, meddler = on_a_real_model(write)
    before, place = facts(model), weight.data_ptr()
    with pytest.raises(RuntimeError) as told:
        look(model, pictures(), [0, 1, 2], foreign(meddler))
    assert str(told.value) == (
        "method: meddler wrote to the training's own parameters (head.1.weight); they have been put back, but it "
        "would do so at each look: let it work on the model it is given, and keep no optimizer and no parameters in it"
    )
    assert facts(model) == before
    assert weight.data_ptr() == place
    meddler(model, pictures(), None)
    assert facts(model) != before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_it_is_put_back_as_well_when_the_callable_raises_afterwards(error):
    model, _, meddler = on_a_real_model(adds_behind_the_back, then=error)
    before = facts(model)
    with pytest.raises(error, match="in the middle"):
        look(model, pictures(), [0, 1, 2], foreign(meddler))
    assert facts(model) == before


def test_a_diverged_parameter_that_nobody_wrote_to_is_told_to_nobody():
    model = ConvNet()
    model.head[1].weight.data[0, 0] = float("nan")
    before = facts(model)
    look(model, pictures(), [0, 1, 2], foreign(lambda model, images, class_idx: images.sum(1)))
    assert facts(model) == before


def test_a_parameter_without_memory_is_left_as_it_is():
    model = ConvNet()
    model.extra = nn.Linear(2, 2, device="meta")
    held = model.extra.weight
    look(model, pictures(), [0, 1, 2], foreign(lambda model, images, class_idx: images.sum(1)))
    assert model.extra.weight is held
    assert held.is_meta
    assert held.requires_grad


def test_what_is_put_back_does_not_count_as_a_change_of_the_parameter():
    """A graph that waits for its backward would refuse one."""
    model, weight, meddler = on_a_real_model(adds_behind_the_back)
    loss = model(pictures()).square().sum()
    version = weight._version
    with pytest.raises(RuntimeError, match="wrote to the training's own"):
        look(model, pictures(), [0, 1, 2], foreign(meddler))
    assert weight._version == version
    loss.backward()


def test_a_step_of_the_trainings_optimizer_finds_no_gradients_and_moves_nothing():
    model = ConvNet()
    model(pictures()).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)

    def meddler(model, images, class_idx):
        optimizer.step()
        return images.sum(1)

    before = facts(model)
    look(model, pictures(), [0, 1, 2], foreign(meddler))
    assert facts(model) == before
    assert not optimizer.state
    meddler(model, pictures(), None)
    assert facts(model) != before


def test_gradients_that_it_throws_away_by_an_optimizer_it_held_are_put_back():
    model = ConvNet()
    model(pictures()).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def clears(model, images, class_idx):
        optimizer.zero_grad()
        return images.sum(1)

    before = facts(model)
    look(model, pictures(), [0, 1, 2], foreign(clears))
    assert facts(model) == before


def test_parameters_made_in_inference_mode_are_left_as_they_are():
    with torch.inference_mode():
        model = ConvNet()
    before = facts(model)
    with harmless(model, name="mine", seed=0):
        learns = model.head[1].weight
        assert learns.requires_grad
        assert not learns.is_inference()
    assert facts(model) == before
    held = model.head[1].weight
    with pytest.raises(RuntimeError, match="wrote to"), harmless(model, name="mine", seed=0), torch.inference_mode():
        held.add_(1)
    assert facts(model) == before


# Switches


def opposite(value):
    """Another setting of a switch."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return "ieee" if value == "tf32" else "tf32"
    return tuple(not one for one in value)


TO = {
    "default device": torch.device("meta"),
    "default dtype": torch.float64,
    "threads": torch.get_num_threads() + 1,
    "numpy errors": {"divide": "raise", "over": "ignore", "under": "warn", "invalid": "raise"},
    "float32 matmul": "medium",
    **{f"autocast dtype {kind}": torch.float32 for kind in ("cpu", "cuda")},
}


def settings():
    return {name: read() for name, (read, _) in SWITCHES.items()}


def put_back(before):
    for name, (_, switch) in SWITCHES.items():
        switch(before[name])


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_that_a_callable_sets_is_put_back(name):
    read, switch = SWITCHES[name]
    before, seen = settings(), []
    other = TO[name] if name in TO else opposite(before[name])

    def meddler(model, images, class_idx):
        switch(other)
        seen.append(read())
        return images.sum(1)

    look(ConvNet(), pictures(), [0, 1, 2], foreign(meddler))
    assert settings() == before
    assert seen == [other]
    assert other != before[name]


def test_switches_that_were_set_before_stay_set():
    before = settings()
    try:
        torch.set_default_device("cpu"), torch.backends.mkldnn.set_flags(False), np.seterr(all="raise")
        torch.set_flush_denormal(True), torch.set_float32_matmul_precision("high"), torch.set_anomaly_enabled(True)
        set_before = settings()

        def meddler(model, images, class_idx):
            torch.set_default_device("meta"), torch.backends.mkldnn.set_flags(True), np.seterr(all="ignore")
            torch.set_flush_denormal(False), torch.set_float32_matmul_precision("medium")
            torch.set_anomaly_enabled(False)
            return images.sum(1)

        look(ConvNet(), pictures(), [0, 1, 2], foreign(meddler))
        found = settings()
    finally:
        put_back(before)
    assert found == set_before
    assert settings() == before
    changed = {name for name in before if before[name] != set_before[name]}
    assert {"default device", "mkldnn.enabled", "numpy errors", "denormal numbers", "float32 matmul"} <= changed


def test_a_precision_that_was_set_in_the_newer_way_stays_although_the_older_cannot_be_read():
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has one way only")
    matmul, before = torch.backends.cuda.matmul, settings()
    try:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = "tf32"
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            torch.get_float32_matmul_precision()

        def meddler(model, images, class_idx):
            matmul.fp32_precision = "ieee"
            return images.sum(1)

        look(ConvNet(), pictures(), [0, 1, 2], foreign(meddler))
        assert matmul.fp32_precision == "tf32"
    finally:
        put_back(before)
    assert settings() == before


# Trainings


@pytest.fixture
def alone_in_a_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def gradients_of_a_ddp_step(between, sent):
    """``sent`` gets an entry for each all-reduce that DDP begins."""

    def reduce(state, bucket):
        sent.append(bucket.index())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    model = ConvNet()
    ddp = DistributedDataParallel(model)
    ddp.register_comm_hook(None, reduce)
    loss = F.cross_entropy(ddp(pictures()), torch.tensor([0, 1, 2]))
    between(model)
    sent.append("between")
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.usefixtures("alone_in_a_group")
def test_under_ddp_no_reduction_begins_between_forward_and_backward():
    sent, sent_without = [], []
    without = gradients_of_a_ddp_step(lambda model: None, sent_without)
    found = gradients_of_a_ddp_step(lambda model: look(model, pictures(), [0, 1, 2], foreign(trains)), sent)
    assert sent == sent_without == ["between", 0]
    assert all(torch.equal(found[name], without[name]) for name in without)


@pytest.mark.usefixtures("alone_in_a_group")
def test_gradients_in_the_buckets_of_ddp_stay_there_while_a_look_calls_backward():
    found = []
    for looked_at in (False, True):
        model = ConvNet()
        ddp = DistributedDataParallel(model, gradient_as_bucket_view=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            for _ in range(2):
                F.cross_entropy(ddp(pictures()), torch.tensor([0, 1, 2])).backward()
                held = [p.grad for p in model.parameters()]
                if looked_at:
                    with borrowed(model), torch.enable_grad():
                        model(pictures()).square().sum().backward()
                    assert all(p.grad is grad for p, grad in zip(model.parameters(), held, strict=True))
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *found))


@pytest.mark.usefixtures("alone_in_a_group")
def test_an_unprotected_backward_begins_one_and_then_the_trainings_own_gradients_are_not_shared():
    sent = []

    def meddles(model):
        F.cross_entropy(model(pictures()), torch.tensor([0, 1, 2])).backward()

    gradients_of_a_ddp_step(meddles, sent)
    assert sent == [0, "between"]


class Looks(pl.Callback):
    """A look with a callable after each batch's backward and after each epoch, protected or not."""

    def __init__(self, protected):
        self.protected, self.maps = protected, []

    def on_after_backward(self, fitted, module):
        self.look(module)

    def on_train_epoch_end(self, fitted, module):
        self.look(module)

    def look(self, module):
        images, class_idx = Pictures(augment=False).x[:CLASSES], torch.arange(CLASSES)
        if not self.protected:
            with torch.enable_grad():
                self.maps.append(trains(module, images, class_idx))
            return
        with borrowed(module):
            subject = ModelUse().on(module)
            lens = Lens(subject, find_target_layers(subject, images, "net.norm2"), 3)
            self.maps.append(Recipe(foreign(trains)).maps(lens, images, [class_idx])[0].maps)


ACCUMULATES = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}


@pytest.mark.parametrize("options", [{}, ACCUMULATES], ids=["plain", "accumulating"])
def test_a_training_in_which_foreign_code_trains_is_bit_for_bit_the_same(options):
    looks = Looks(protected=True)
    assert differences(run(Case(trainer=options)).state, run(Case(trainer=options), looks).state) == []
    assert len(looks.maps) == 3 * (5 + 1)
    assert not torch.equal(looks.maps[0], looks.maps[-1])


def test_without_protection_the_same_code_spoils_the_training():
    found = differences(run(Case()).state, run(Case(), Looks(protected=False)).state)
    assert "weights.net.conv1.weight" in found
    assert "optimizer.0.0.momentum_buffer" in found
