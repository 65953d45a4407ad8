"""A monitor on models of every kind: it looks, what it records is right, and the training ends with the same bits."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from small_training import (
    CLASSES,
    Case,
    Module,
    differences,
    from_checkpoint,
    lost_epochs,
    monitor,
    ours,
    probes,
    run,
    seed,
    train_loader,
)
from small_training import trainer as quiet_trainer
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

from camdebug import MapOptions, RegionScore, compute_cams, load_record
from camdebug.cam.explain import Recipe
from camdebug.records import Validity


def watched(model, watch, **case):
    """Train with and without the monitor; everything but the monitor must be the same."""
    plain, seen = run(Case(model, **case)), run(Case(model, **case), watch)
    assert differences(plain.state, seen.state) == []
    assert lost_epochs(watch) == []
    assert seen.said == []
    return watch.last_record, seen.model


def assert_maps_of(record, trained, **options):
    """The maps of the last look are those of the trained model, computed on their own."""
    fixed = probes()
    expected = compute_cams(trained.eval(), fixed.images, fixed.labels, chunk_size=5, **options)
    assert record.label_maps.grid == expected.grid
    torch.testing.assert_close(record.label_maps.maps, expected.maps)
    assert expected.maps.flatten(1).std(1).gt(0).any()
    cover = fixed.coverage(expected.grid)
    inside = (expected.maps * cover).sum((1, 2)) / expected.maps.sum((1, 2))
    ok = torch.tensor([validity is Validity.OK for validity in record.scores.validity])
    assert int(ok.sum()) >= len(fixed) // 2
    torch.testing.assert_close(record.scores.inside_mass[ok], inside[ok].double(), rtol=1e-4, atol=1e-6)


class Loss(Module):
    """Its loss takes the scores out of what forward gives."""

    def scores(self, output):
        return output

    def training_step(self, batch, index):
        return F.cross_entropy(self.scores(self(batch[0])), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", F.cross_entropy(self.scores(self(batch[0])), batch[1]))


class GivesDict(Loss):
    def forward(self, x):
        return {"mean": x.mean((2, 3)), "logits": self.net(x)}

    def scores(self, output):
        return output["logits"]


class GivesTuple(Loss):
    def forward(self, x):
        return self.net(x), x

    def scores(self, output):
        return output[0]


@dataclass
class Answer:
    scores: torch.Tensor


class GivesAnObject(Loss):
    def forward(self, x):
        return Answer(self.net(x))

    def scores(self, output):
        return output.scores


def score_of(output, class_idx):
    return output.scores.gather(1, class_idx[:, None])[:, 0]


class TakesAPrompt(Loss):
    def forward(self, x, prompt):
        return self.net(x) * prompt

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0], torch.tensor(2.0)), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", F.cross_entropy(self(batch[0], torch.tensor(2.0)), batch[1]))


def with_prompt(model, images):
    return model(images, torch.tensor(2.0))


class Transformer(Loss):
    """Patches of 4 pixels after a class token."""

    def __init__(self):
        super().__init__()
        self.net = VisionTransformer(16, 4, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES)
        nn.init.normal_(self.net.heads.head.weight, std=0.1)


class Dense(Loss):
    """A class for every pixel."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, CLASSES, 1),
            nn.Upsample(scale_factor=2),
        )

    def scores(self, output):
        return output.mean((2, 3))


KINDS = {
    "a dict": (GivesDict, {}),
    "a tuple": (GivesTuple, {}),
    "an object of its own, with score_fn": (GivesAnObject, {"score_fn": score_of}),
    "another argument, with forward_fn": (TakesAPrompt, {"forward_fn": with_prompt}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_the_scores_does_not_matter(kind):
    model, arguments = KINDS[kind]
    record, trained = watched(model, monitor(**arguments))
    images = probes().images
    with torch.no_grad():
        output = with_prompt(trained.eval(), images) if model is TakesAPrompt else trained.eval()(images)
    scores = trained.scores(output)
    torch.testing.assert_close(record.label_maps.class_score, scores.gather(1, probes().labels[:, None])[:, 0])
    assert record.label_maps.predicted_class.tolist() == scores.argmax(1).tolist()
    assert (record.label_maps.layer, record.label_maps.grid) == ("net.norm2", (8, 8))
    assert_maps_of(record, trained, **arguments)
    assert record.contrasts


def test_a_vision_transformer_is_watched_on_its_tokens():
    record, trained = watched(Transformer, monitor())
    assert record.label_maps.grid == (4, 4)
    assert record.label_maps.layer == "net.encoder.layers.encoder_layer_2.ln_1"
    assert_maps_of(record, trained)
    assert record.contrasts


def test_a_segmentation_network_is_watched():
    record, trained = watched(Dense, monitor())
    with torch.no_grad():
        output = trained.eval()(probes().images)
    labels = probes().labels
    won = output.argmax(1)
    expected = [
        (output[i, k][won[i] == k] if bool((won[i] == k).any()) else output[i, k]).mean()
        for i, k in enumerate(labels.tolist())
    ]
    torch.testing.assert_close(record.label_maps.class_score, torch.stack(expected))


# --- single outputs and several classes in a picture


class SingleLogit(Module):
    def __init__(self):
        super().__init__()
        self.net.head = nn.Linear(8, 1)

    def training_step(self, batch, index):
        return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] % 2).float())

    def validation_step(self, batch, index):
        pass


def test_a_single_logit_stands_for_class_one_and_its_negative_for_class_zero():
    two = probes(classes=2)
    record, trained = watched(SingleLogit, monitor(probes=two))
    with torch.no_grad():
        logit = trained.eval()(two.images)[:, 0]
    torch.testing.assert_close(record.label_maps.class_score, torch.where(two.labels == 1, logit, -logit))
    assert record.label_maps.predicted_class.tolist() == (logit > 0).long().tolist()
    assert record.contrasts


class SeveralClasses(Module):
    def training_step(self, batch, index):
        return F.binary_cross_entropy_with_logits(self(batch[0]), F.one_hot(batch[1], CLASSES).float())

    def validation_step(self, batch, index):
        pass


def test_with_several_classes_in_a_picture_each_probability_stands_for_itself():
    record, _ = watched(SeveralClasses, monitor(task="multilabel"))
    assert record.contrasts
    exclusive, _ = watched(SeveralClasses, monitor())
    ours, theirs = record.contrasts[0], exclusive.contrasts[0]
    assert ours.probes.tolist() == theirs.probes.tolist()
    assert ours.value != theirs.value


# --- methods


def trained_by(model, images, class_idx):
    """What people write: it calls backward on the user's parameters and takes a step."""
    model.train()
    score = model(images)[torch.arange(len(images)), class_idx].sum()
    score.backward()
    for parameter in model.parameters():
        parameter.data.sub_(0.1 * parameter.grad)
    torch.manual_seed(3)
    return images.detach().abs().mean(1) + class_idx[:, None, None]


METHODS = ("fem", "eigencam", "ablationcam", "randomcam", "fullgrad", "guided-gradcam", "gradcam:LayerCAM")


@pytest.mark.parametrize("method", METHODS)
def test_any_method_can_be_watched(method):
    record, trained = watched(Module, monitor(method=method))
    assert (record.label_maps.method, record.label_maps.layer) == (method, "net.norm2")
    assert_maps_of(record, trained, method=method)


def test_maps_of_the_users_own_function_are_watched_and_whatever_it_does_is_undone():
    record, _ = watched(Module, monitor(method=trained_by))
    images, labels = probes().images, probes().labels
    assert record.label_maps.method == "trained_by"
    torch.testing.assert_close(record.label_maps.maps, images.abs().mean(1) + labels[:, None, None])


def test_several_layers_and_smoothing_are_part_of_the_methods_name():
    options = MapOptions(fuse="max", aug_smooth=True)
    layers = ["net.conv1", "net.conv2"]
    record, trained = watched(Module, monitor(target_layer=layers, options=options))
    assert record.label_maps.method == "hirescam (max, aug_smooth)"
    assert record.label_maps.layer == "net.conv1, net.conv2"
    assert record.label_maps.grid == (16, 16)
    assert_maps_of(record, trained, target_layer=layers, options=options)


# --- arguments


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "gradcam:NoSuch"}, ValueError, "method: .*NoSuch"),
        ({"method": 3}, TypeError, "method: .*3"),
        ({"options": "signed"}, TypeError, r"options: expected camdebug\.MapOptions, got str"),
        ({"options": MapOptions(sign="signed")}, ValueError, "options: shares of heat take maps of 0 or more"),
        ({"forward_fn": 3}, TypeError, "forward_fn: expected a function"),
        ({"score_fn": 3}, TypeError, "score_fn: expected a function"),
        ({"task": "ranking"}, ValueError, "task: expected .*ranking"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_written(arguments, error, words):
    with pytest.raises(error, match=words):
        monitor(**arguments)


def _fails(output, class_idx):
    raise ValueError("score_fn: not today")


def test_a_score_fn_that_cannot_read_the_output_ends_the_fit_before_its_first_step():
    model = Module()
    with ours(), pytest.raises((ValueError, RuntimeError), match=r"score_fn: .*not today"):
        quiet_trainer(callbacks=[monitor(score_fn=_fails)]).fit(model, train_loader())
    assert model.trainer.global_step == 0


class WithoutRelu(Dense):
    def __init__(self):
        super().__init__()
        self.net[2] = nn.Tanh()


def gives_nothing(model, images, class_idx):
    return None


def gives_pictures(model, images, class_idx):
    return images


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ("cam", ValueError, r"^method: 'cam' needs a linear layer \(nn\.Linear\) that gives the scores"),
        ("guided-backprop", ValueError, r"^method: 'guided-backprop' needs ReLU"),
        (gives_nothing, TypeError, r"^method: expected maps \(1, h, w\), .* from gives_nothing, .*got NoneType$"),
        (gives_pictures, ValueError, r"^method: expected maps \(1, h, w\), .*got shape \(1, 3, 16, 16\); sum it over"),
    ],
)
def test_a_method_that_does_not_fit_the_model_ends_the_fit_before_its_first_step(method, error, words):
    model = WithoutRelu()
    with ours() as said, pytest.raises(error, match=words):
        quiet_trainer(callbacks=[monitor(method=method)]).fit(model, train_loader())
    assert (model.trainer.global_step, said) == (0, [])


def breaks(model, images, class_idx):
    model.train()
    model(images).sum().backward()
    raise RuntimeError("out of luck")


def test_a_method_that_raises_ends_the_fit_before_its_first_step():
    model = Module()
    with ours() as said, pytest.raises(RuntimeError, match=r"method: breaks .*out of luck"):
        quiet_trainer(callbacks=[monitor(method=breaks)]).fit(model, train_loader())
    assert (model.trainer.global_step, said) == (0, [])


def test_a_map_that_fails_for_another_reason_switches_the_monitor_off_and_the_training_has_the_same_bits(monkeypatch):
    maps = Recipe.maps

    def unlucky(self, lens, images, class_idx):
        maps(self, lens, images, class_idx)
        raise RuntimeError("out of luck")

    watching = monitor(method="layercam")
    plain = run(Case())
    monkeypatch.setattr(Recipe, "maps", unlucky)
    seen = run(Case(), watching)
    assert differences(plain.state, seen.state) == []
    assert seen.said == [
        "camdebug is off in this run: it cannot explain this model (RuntimeError: out of luck). Training goes on "
        "without it."
    ]
    assert watching.last_record is None


def test_the_methods_map_is_tried_on_one_picture_before_the_first_step():
    sizes = []

    def noting(model, images, class_idx):
        sizes.append((len(images), model.trainer.global_step, class_idx.tolist()))
        return images.abs().mean(1)

    with ours():
        quiet_trainer(callbacks=[monitor(method=noting)], max_epochs=1).fit(Module(), train_loader())
    assert sizes[0] == (1, 0, [0])
    assert sizes[1][0] == 5


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (lambda model, images: images, r"custom.*\(model, images\)"),
        (_fails, r"_fails\(output, class_idx\)"),
    ],
)
def test_a_method_that_cannot_take_model_pictures_and_classes_is_refused_where_it_is_written(function, shown):
    with pytest.raises(TypeError, match=rf"^method: expected a function \(model, images, class_idx\) .* got {shown}$"):
        monitor(method=function)
    assert monitor(method=max)._observer.method == "max"  # what is built in may not tell what it takes


# --- a run that goes on with another method


@pytest.mark.parametrize(
    ("second", "because"),
    [
        ({}, None),
        ({"method": "fullgrad"}, "by another method"),
        ({"target_layer": "net.conv1"}, "at another layer"),
    ],
)
def test_looks_by_another_method_or_layer_do_not_go_on_in_the_record_of_the_first(tmp_path, second, because):
    def fit(epochs, *, resumed, **options):
        seed(1)
        fitted = quiet_trainer(callbacks=[monitor(record=tmp_path / "record", **options)], max_epochs=epochs)
        with ours() as said:
            fitted.fit(Module(), train_loader(), **(from_checkpoint(tmp_path / "c.ckpt") if resumed else {}))
        fitted.save_checkpoint(tmp_path / "c.ckpt")
        return said

    assert fit(2, resumed=False) == []
    said = fit(3, resumed=True, **second)
    if because is None:
        assert said == []
        assert load_record(tmp_path / "record").epochs == (0, 1, 2)
        return
    assert said == [
        f"camdebug keeps the record of this run in {tmp_path / 'record-1'}, because {tmp_path / 'record'} holds the "
        f"record of this run {because}. Nothing there was changed."
    ]
    first, other = (load_record(tmp_path / name) for name in ("record", "record-1"))
    assert (first.epochs, other.epochs) == ((0, 1), (2,))
    for record in (first, other):
        for epoch in record.epochs:
            maps = record.record(epoch).label_maps
            assert (maps.method, maps.layer) == (record.manifest.method, record.manifest.layer)


# --- processes that are spawned


def plain_forward(model, images):
    return model(images)


def plain_score(output, class_idx):
    return output.gather(1, class_idx[:, None])[:, 0]


LOCAL = {
    "method": lambda model, images, class_idx: images.abs().mean(1),
    "forward_fn": lambda model, images: model(images),
    "score_fn": lambda output, class_idx: output.gather(1, class_idx[:, None])[:, 0],
}


@pytest.mark.parametrize("name", LOCAL)
def test_a_function_that_cannot_be_pickled_switches_the_monitor_off_in_spawned_processes(name):
    watching = monitor(**{name: LOCAL[name]})
    spawned = pickle.loads(pickle.dumps(watching))
    plain, seen = run(Case()), run(Case(), spawned)
    assert differences(plain.state, seen.state) == []
    assert len(seen.said) == 1
    assert seen.said[0].startswith(
        f"camdebug is off in this run: {name}: with ddp_spawn it must be a function at the top of a module ("
    )
    assert spawned.last_record is None
    assert pickle.loads(pickle.dumps(spawned))._observer.lost == spawned._observer.lost


@pytest.mark.parametrize("name", LOCAL)
def test_in_a_copy_such_a_function_stays_and_looks(name):
    copied = copy.deepcopy(monitor(**{name: LOCAL[name]}))
    assert run(Case(), copied).said == []
    assert copied.last_record.label_maps.grid == ((16, 16) if name == "method" else (8, 8))


def test_functions_from_the_top_of_a_module_are_pickled():
    watching = monitor(method="gradcam:GradCAM", forward_fn=plain_forward, score_fn=plain_score)
    found = pickle.loads(pickle.dumps(watching))._observer
    assert (found.lost, found.use, found.method) == (None, watching._observer.use, "gradcam:GradCAM")
    assert (found.use.forward_fn, found.use.outputs.num_classes) == (plain_forward, CLASSES)
    spawned = pickle.loads(pickle.dumps(monitor(method=gives_pictures)))._observer
    assert (spawned.lost, spawned.recipe.method.function) == (None, gives_pictures)


def test_a_region_for_each_picture_is_refused_since_looks_read_other_pictures_too():
    regions = torch.ones(80, 16, 16)
    with pytest.raises(ValueError, match="score_fn: a region or a box for each picture is for compute_cams"):
        monitor(score_fn=RegionScore(regions))
    assert monitor(score_fn=RegionScore(regions[0])).probes
