import pickle
import random
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from foreign_looks import facts, look, looked, nothing_global_stays
from tiny_nets import CELLS, ConvNet, hand_net, pictures
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from camdebug.cam.engine import compute_cams
from camdebug.cam.methods.foreign import Foreign, as_maps, foreign, name_of
from camdebug.cam.methods.one_pass import ONE_PASS
from camdebug.cam.methods.registry import check_methods, method_names
from camdebug.cam.model.segmentation import region_score

CLASSES = [0, 1, 2]


def saliency(model, images, class_idx):
    """Gradient of the score times the picture, by a backward into everything."""
    images.requires_grad_()
    model.zero_grad()
    model(images).gather(1, class_idx[:, None]).sum().backward()
    return (images.grad * images).sum(1)


def learnt(model, images):
    F.cross_entropy(model(images), torch.zeros(len(images), dtype=torch.int64)).backward()


def trains(model, images, class_idx):
    optimizer = torch.optim.SGD(model.parameters(), 1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        learnt(model, images)
        optimizer.step()
    return images.sum(1)


def trains_in_train_mode(model, images, class_idx):
    return trains(model.train(), images, class_idx)


def raises(model, images, class_idx):
    trains(model.train(), images, class_idx)
    raise RuntimeError("in the middle")


def is_interrupted(model, images, class_idx):
    trains(model.train(), images, class_idx)
    raise KeyboardInterrupt("in the middle")


def leaves_hooks(model, images, class_idx):
    for module in model.modules():
        module.register_forward_hook(lambda _module, _inputs, output: output * 2)
        module.register_forward_pre_hook(lambda _module, inputs: inputs)
        module.register_full_backward_hook(lambda _module, _inputs, _outputs: None)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.register_hook(lambda gradient: gradient * 2)
        parameter.register_post_accumulate_grad_hook(lambda _parameter: None)
    return images.sum(1)


def leaves_global_hooks(model, images, class_idx):
    register_module_forward_hook(lambda _module, _inputs, output: None)
    return images.sum(1)


def sets_train_mode(model, images, class_idx):
    model.train()
    model(images)
    return images.sum(1)


def turns_gradients_off(model, images, class_idx):
    torch.set_grad_enabled(False)
    return images.sum(1)


def sets_seeds(model, images, class_idx):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    return images.sum(1)


def replaces_a_layer(model, images, class_idx):
    model.stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1))
    model.head[1] = nn.Identity()
    return images.sum(1)


def freezes(model, images, class_idx):
    model.requires_grad_(not next(model.parameters()).requires_grad)
    return images.sum(1)


def overwrites_weights(model, images, class_idx):
    for parameter in model.parameters():
        parameter.data.zero_()
    model.head[1].weight.data = torch.ones(8, 8)
    model.load_state_dict({key: torch.ones_like(value) for key, value in model.state_dict().items()})
    return images.sum(1)


def writes_gradients(model, images, class_idx):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return images.sum(1)


def makes_parameters_anew(model, images, class_idx):
    model.head[1].weight = nn.Parameter(torch.ones(8, 8))
    del model.head[1].bias
    model.register_parameter("more", nn.Parameter(torch.ones(1)))
    model.register_buffer("also", torch.ones(1))
    return images.sum(1)


def sets_switches(model, images, class_idx):
    torch.set_default_dtype(torch.float64), torch.set_num_threads(torch.get_num_threads() + 1)
    torch.use_deterministic_algorithms(True), torch.set_autocast_enabled("cpu", True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    return images.sum(1)


HOSTILE = [
    *(saliency, trains, trains_in_train_mode, raises, is_interrupted, leaves_hooks, leaves_global_hooks),
    *(sets_train_mode, turns_gradients_off, sets_seeds, replaces_a_layer, freezes, overwrites_weights),
    *(writes_gradients, makes_parameters_anew, sets_switches),
]
ENDS = {raises: RuntimeError, is_interrupted: KeyboardInterrupt}


def in_training():
    """In training mode, one BatchNorm frozen, one weight frozen, gradients waiting but for one."""
    model = ConvNet().train()
    model.stem[1].eval()
    model.stem[0].weight.requires_grad_(False)
    learnt(model, pictures())
    model.stage[0].bias.grad = None
    return model


def after(model, function):
    """What is there when it was called, whether it raised or not."""
    if function in ENDS:
        with pytest.raises(ENDS[function], match="in the middle"):
            look(model, pictures(), CLASSES, foreign(function), layer="relu")
    else:
        look(model, pictures(), CLASSES, foreign(function), layer="relu")
    return facts(model)


@pytest.mark.parametrize("function", HOSTILE)
def test_whatever_a_callable_does_the_training_is_as_it_was(function):
    model = in_training()
    before = facts(model)
    found = after(model, function)
    assert [key for key in before if before[key] != found[key]] == []


@pytest.mark.parametrize("function", HOSTILE)
def test_without_protection_each_of_them_changes_something(function):
    model = in_training()
    before = facts(model)
    with nothing_global_stays():
        try:
            function(model, pictures(), torch.tensor(CLASSES))
        except (RuntimeError, KeyboardInterrupt):
            assert function in ENDS
        assert facts(model) != before


@pytest.mark.parametrize("function", [f for f in HOSTILE if f not in ENDS])
def test_the_next_pictures_are_looked_at_as_if_it_had_not_been_there(function):
    model, plain = in_training(), ONE_PASS["gradcam"]
    alone = looked(model, pictures(4), [0, 1, 2, 0], plain, layer="relu", chunk_size=2)
    beside = looked(model, pictures(4), [0, 1, 2, 0], foreign(function), plain, layer="relu", chunk_size=2)
    assert torch.equal(alone["gradcam"], beside["gradcam"])


def test_maps_are_those_of_the_callable_on_the_same_model_in_evaluation_mode():
    model, twin, images = in_training(), ConvNet().eval(), pictures()
    twin.load_state_dict(model.state_dict())
    expected = saliency(twin, images.clone(), torch.tensor(CLASSES))
    found = look(model, images, CLASSES, foreign(saliency), chunk_size=2)
    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 1e-2
    assert found.dtype == torch.float32


def test_maps_worked_out_by_hand():
    # gradient of class 1 times the picture: channel 0 is -(1, 2, 0, 1), channel 1 is (2 * 0, 2 * 1) off the diagonal
    found = look(hand_net(), torch.tensor([CELLS]), [1], foreign(saliency))
    assert found.tolist() == [[[-1.0, -2.0], [2.0, -1.0]]]


def test_a_step_of_training_is_seen_by_the_callable_and_by_nobody_else():
    model, scores = in_training(), []

    def notes(model, images, class_idx):
        scores.append(model(images).detach())
        trains(model, images, class_idx)
        scores.append(model(images).detach())
        return images.sum(1)

    look(model, pictures(), CLASSES, foreign(notes))
    look(model, pictures(), CLASSES, foreign(notes))
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    assert torch.equal(scores[0], scores[2])
    assert torch.equal(scores[1], scores[3])


def test_a_frozen_model_has_gradients_inside():
    model, seen = ConvNet().requires_grad_(False), []

    def notes(model, images, class_idx):
        learnt(model, images)
        seen.extend(p.grad.abs().max().item() for p in model.parameters())
        return images.sum(1)

    look(model, pictures(), CLASSES, foreign(notes))
    assert len(seen) == 12
    assert max(seen) > 0
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_it_may_write_to_its_pictures_and_classes_and_to_what_it_has_returned():
    kept = []

    def writes(model, images, class_idx):
        images.zero_(), class_idx.fill_(7)
        kept.append(torch.ones(len(images), 2, 2))
        return kept[-1]

    def reads(model, images, class_idx):
        return images.sum(1) + class_idx[:, None, None]

    def meddles(model, images, class_idx):
        kept[-1].zero_()
        return images.sum(1)

    methods = [foreign(f) for f in (writes, reads, meddles)]
    images = pictures()
    found = looked(ConvNet(), images, CLASSES, *methods)
    assert found["writes"].tolist() == torch.ones(3, 2, 2).tolist()
    assert torch.equal(found["reads"], images.sum(1) + torch.tensor(CLASSES)[:, None, None])


def test_noise_is_the_same_in_every_look_whatever_was_drawn_before():
    def noisy(model, images, class_idx):
        return images.sum(1) * torch.rand(()) + np.random.rand() + random.random()

    model, images = ConvNet(), pictures(4)
    first = look(model, images, [0] * 4, foreign(noisy), chunk_size=2)
    torch.rand(3), np.random.rand(), random.random()
    again = look(model, images, [0] * 4, foreign(noisy), chunk_size=2)
    assert torch.equal(first, again)
    assert not torch.allclose(first[:2] - images[:2].sum(1), first[2:] - images[2:].sum(1))


class Halves:
    """A precision that computes in bfloat16."""

    def convert(self, images):
        return images

    @contextmanager
    def context(self):
        with torch.autocast("cpu", torch.bfloat16):
            yield


def test_it_runs_in_the_precision_of_the_training_and_maps_are_float32():
    seen = []

    def notes(model, images, class_idx):
        scores = model(images)
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), scores.dtype))
        return scores[:, :1, None].expand(-1, 2, 2)

    found = look(ConvNet(), pictures(), CLASSES, foreign(notes), precision=Halves())
    assert seen == [(True, True, torch.bfloat16)]
    assert found.dtype == torch.float32


# What it returns

ONES = np.ones((2, 3, 4), dtype=np.float64)


@pytest.mark.parametrize(
    "returned",
    [
        *(ONES, ONES[:, ::-1], ONES.astype(">f4"), ONES.astype(np.uint8), ONES.astype(bool), torch.ones(2, 3, 4)),
        *(torch.ones(2, 3, 4, dtype=torch.bfloat16, requires_grad=True), torch.ones(2, 3, 4).to_sparse()),
        torch.ones(2, 3, 4, dtype=torch.int64),
    ],
)
def test_tensors_and_arrays_of_any_real_numbers_become_float32_without_a_graph(returned):
    found = as_maps(returned, torch.zeros(2, 3, 8, 8), "mine")
    assert found.tolist() == torch.ones(2, 3, 4).tolist()
    assert (found.dtype, found.requires_grad, found.is_contiguous()) == (torch.float32, False, True)


def test_numbers_that_are_none_are_handed_on():
    found = as_maps(torch.tensor([[[float("nan"), float("inf")]]]), torch.zeros(1, 3, 8, 8), "mine")
    assert str(found.tolist()) == "[[[nan, inf]]]"


def test_volumes_have_maps_of_three_axes_and_signals_of_one():
    assert as_maps(torch.ones(2, 3, 4, 5), torch.zeros(2, 1, 8, 8, 8), "mine").shape == (2, 3, 4, 5)
    assert as_maps(torch.ones(2, 3), torch.zeros(2, 1, 8), "mine").shape == (2, 3)
    with pytest.raises(ValueError, match=r"expected maps \(2, d, h, w\), one for each picture, from mine; got shape"):
        as_maps(torch.ones(2, 3, 4), torch.zeros(2, 1, 8, 8, 8), "mine")


@pytest.mark.parametrize(
    ("returned", "error", "came"),
    [
        (None, TypeError, ", a tensor or an array; got NoneType"),
        ([[1.0]], TypeError, ", a tensor or an array; got list"),
        (np.array(["a"]), TypeError, "; got an array of <U1"),
        (ONES * 1j, TypeError, "; got an array of complex128"),
        (torch.ones(2, 3, 4) * 1j, TypeError, "; got a tensor of torch.complex64"),
        (ONES[0], ValueError, "; got shape (3, 4)"),
        (ONES[:1], ValueError, "; got shape (1, 3, 4)"),
        (
            *(ONES[:, None], ValueError),
            "; got shape (2, 1, 3, 4); leave out the axis of channels with squeeze(1)",
        ),
        (ONES[:, :0], ValueError, "; got shape (2, 0, 4)"),
        (torch.ones(2, 3, 8, 8), ValueError, "; got shape (2, 3, 8, 8); sum it over channels"),
    ],
)
def test_what_is_no_map_for_each_picture_is_refused_in_words(returned, error, came):
    with pytest.raises(error) as told:
        as_maps(returned, torch.zeros(2, 3, 8, 8), "mine")
    assert str(told.value) == f"method: expected maps (2, h, w), one for each picture, from mine{came}"


# Names


class Explainer:
    def attribute(self, model, images, class_idx):
        return images.sum(1)

    __call__ = attribute


def named(name):
    def function(model, images, class_idx):
        return images.sum(1)

    function.__name__ = name
    return function


A_LAMBDA = lambda model, images, class_idx: images.sum(1)  # noqa: E731
LINE = A_LAMBDA.__code__.co_firstlineno
FROM_A_LONG_FILE = eval(compile("\n" * 1233 + "lambda *given: given[1].sum(1)", f"/a/{'b' * 99}\n.py", "eval"))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (saliency, "saliency"),
        (A_LAMBDA, f"custom (test_foreign.py:{LINE})"),
        (partial(partial(saliency), class_idx=None), "saliency"),
        (partial(A_LAMBDA), f"custom (test_foreign.py:{LINE})"),
        (FROM_A_LONG_FILE, f"custom ({'b' * 46}:1234)"),
        (Explainer(), "Explainer"),
        (Explainer().attribute, "attribute"),
        (partial(Explainer()), "Explainer"),
        (named("../x\n\x1b[31m\u202e" + "y" * 99), "../x [31m" + "y" * 51),
        (named("\x1b"), "custom"),
    ],
)
def test_a_method_has_the_name_of_its_function(function, name):
    assert name_of(function) == name
    assert len(name) <= 60
    assert foreign(function) == Foreign(function, name)
    assert not foreign(function).layered


def test_two_lambdas_have_two_names_for_their_maps_must_not_be_compared():
    first = lambda model, images, class_idx: images.sum(1)  # noqa: E731
    second = lambda model, images, class_idx: images.mean(1)  # noqa: E731
    assert name_of(first) != name_of(second)
    assert [method.name for method in check_methods([first, second])] == [name_of(first), name_of(second)]


@pytest.mark.parametrize("name", ["hirescam", "scorecam", "gradcam:GradCAM", method_names()[-1]])
def test_a_function_that_is_called_as_a_known_method_is_refused(name):
    with pytest.raises(ValueError, match=f"method: the function is called '{name}', .* give the function another name"):
        check_methods(named(name))
    assert check_methods(named("my_" + name))[0].name == "my_" + name


# What it raises


def wants_more(model, images, class_idx, more):
    return images.sum(1)


def has_a_bug(model, images, class_idx):
    raise KeyError("nothing\nat all")


def asks_us_wrongly(model, images, class_idx):
    return compute_cams(model, images, class_idx, method="nocam").maps


@pytest.mark.parametrize(
    ("function", "error", "text", "cause"),
    [
        (
            *(wants_more, TypeError),
            "method: wants_more raised TypeError: wants_more() missing 1 required positional argument: 'more'",
            TypeError,
        ),
        (has_a_bug, RuntimeError, "method: has_a_bug raised KeyError: 'nothing\\nat all'", KeyError),
        (raises, RuntimeError, "method: raises raised RuntimeError: in the middle", RuntimeError),
        (asks_us_wrongly, ValueError, "method: expected one of gradcam", None),
    ],
)
def test_what_a_callable_raises_is_told_under_its_name(function, error, text, cause):
    with pytest.raises(error) as told:
        look(ConvNet(), pictures(), CLASSES, foreign(function))
    assert str(told.value).startswith(text)
    assert type(told.value.__cause__) is (cause or type(None))
    if function is has_a_bug:  # reports point to the user's own line
        assert told.traceback[-1].path.name == "test_foreign.py"


SHORTAGES = [torch.OutOfMemoryError("out of memory"), MemoryError("too much"), RuntimeError("CUDA out of memory")]
UNCHANGED = [*SHORTAGES, KeyboardInterrupt("now"), SystemExit(3)]


@pytest.mark.parametrize("error", UNCHANGED, ids=lambda error: type(error).__name__)
def test_shortages_of_memory_and_interrupts_go_on_as_they_are(error):
    def fails(*_given):
        raise error

    model, images = ConvNet(), pictures()
    for options in ({"method": fails}, {"forward_fn": fails, "target_layer": "relu"}, {"score_fn": fails}):
        with pytest.raises(type(error)) as told:
            compute_cams(model, images, CLASSES, **options)
        assert told.value is error


def test_what_forward_fn_and_score_fn_raise_is_told_under_their_names():
    model, images = ConvNet(), pictures()

    def fails(model, images):
        raise ValueError("not so")

    with pytest.raises(RuntimeError, match=r"^forward_fn: raised ValueError: not so$") as told:
        compute_cams(model, images, CLASSES, forward_fn=fails)
    assert str(told.value.__cause__) == "not so"
    with pytest.raises(TypeError, match=r"^score_fn: raised TypeError: .*takes 0 positional arguments but 2 were"):
        compute_cams(model, images, CLASSES, score_fn=lambda: None)
    with pytest.raises(RuntimeError, match=r"^score_fn: raised ValueError: foo: bar$"):
        compute_cams(model, images, CLASSES, score_fn=lambda output, class_idx: refuses())
    found = compute_cams(model, images, CLASSES, forward_fn=lambda model, images: model(images))
    assert torch.equal(found.maps, compute_cams(model, images, CLASSES).maps)


def refuses(text="foo: bar"):
    """A text like ours, but not ours."""
    raise ValueError(text)


@pytest.mark.parametrize(
    ("score_fn", "error", "text"),
    [
        (
            lambda output, class_idx: region_score(output, class_idx, None),
            TypeError,
            r"^score_fn: a region needs maps of scores",
        ),
        (lambda output, class_idx: refuses("score_fn: not so"), ValueError, r"^score_fn: not so$"),
        (lambda output, class_idx: None, TypeError, r"^score_fn: expected scores of shape \(\d,\)"),
    ],
)
def test_errors_of_ours_that_name_an_argument_are_not_told_twice(score_fn, error, text):
    with pytest.raises(error, match=text):
        compute_cams(ConvNet(), pictures(), CLASSES, score_fn=score_fn)


class Masked(ConvNet):
    def forward(self, images, mask):
        return super().forward(images * mask[:, None, None, None])


class BrokenInside(ConvNet):
    def forward(self, images):
        return Masked.forward(self, images)


def test_a_model_that_takes_more_than_pictures_is_told_what_to_pass():
    with pytest.raises(TypeError) as told:
        compute_cams(Masked(), pictures(), CLASSES, target_layer="relu")
    assert str(told.value) == (
        "model: its forward takes more than pictures (Masked.forward() missing 1 required positional argument: "
        "'mask'); pass inputs=[...] or forward_fn="
    )
    assert type(told.value.__cause__) is TypeError
    compute_cams(Masked(), pictures(), CLASSES, inputs=[torch.ones(3)])
    with pytest.raises(TypeError, match=r"^Masked.forward\(\) missing 1 required positional argument"):
        compute_cams(BrokenInside(), pictures(), CLASSES, target_layer="relu")


def test_it_can_be_pickled_if_the_callable_can():
    assert pickle.loads(pickle.dumps(foreign(torch.add))) == foreign(torch.add)


# captum

CAPTUM = ("LayerGradCam", "IntegratedGradients", "Occlusion", "Saliency", "GuidedBackprop")


def by_captum(name):
    attr = pytest.importorskip("captum.attr")

    def method(model, images, class_idx):
        if name == "LayerGradCam":
            return attr.LayerGradCam(model, model.stage).attribute(images, class_idx, attr_dim_summation=False).sum(1)
        if name == "Occlusion":
            explainer = attr.Occlusion(model)
            return explainer.attribute(images, (3, 8, 8), strides=(3, 4, 4), target=class_idx).sum(1)
        return getattr(attr, name)(model).attribute(images, target=class_idx).sum(1)

    return method


@pytest.mark.filterwarnings("ignore:.*Setting (forward, )?backward hooks.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*required_grads has been set automatically.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients.*:UserWarning")
@pytest.mark.parametrize("name", CAPTUM)
def test_captum_gives_what_it_gives_outside_and_nothing_is_changed(name):
    method, model, images = by_captum(name), in_training(), pictures()
    for relu in (model.stem[2], model.relu):
        relu.inplace = False  # captum cannot hook those that work in place
    before, twin = facts(model), ConvNet().eval()
    twin.stem[2].inplace = twin.relu.inplace = False
    twin.load_state_dict(model.state_dict())
    found = look(model, images, CLASSES, Foreign(method, name))
    assert facts(model) == before
    expected = method(twin, images.clone(), torch.tensor(CLASSES)).detach().float()
    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 1e-3
