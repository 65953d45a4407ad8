import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from camdebug import ProbeSet
from camdebug.cam.explain import Recipe
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.methods.registry import check_methods
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers
from camdebug.demo.data import CLASS_NAMES, boxes_of, draw_scenes, draw_tags, paint
from camdebug.demo.model import small_cnn
from camdebug.measures.similarity import similarity
from camdebug.steadiness.check import Steadiness
from camdebug.steadiness.perturbed import Perturbed, directions, shifted

PROBES = 60


def pictures(count, *, held_out):
    scenes = draw_scenes(count, seed=0, held_out=held_out)
    return paint(scenes, draw_tags(scenes.label, strength=0.0, seed=1)), torch.from_numpy(scenes.label), scenes


def train(net, epochs):
    images, labels, _ = pictures(500, held_out=False)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(25):
            optimiser.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()


@pytest.fixture(scope="module")
def probes():
    images, labels, scenes = pictures(PROBES, held_out=True)
    return ProbeSet(images, labels, boxes_of(scenes)[:, None], class_names=CLASS_NAMES)


@pytest.fixture(scope="module")
def nets():
    """Untrained, after three epochs, and after one more."""
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = small_cnn()
    found = [net]
    for epochs in (3, 1):
        later = small_cnn()
        later.load_state_dict(found[-1].state_dict())
        train(later, epochs)
        found.append(later)
    return found


class Look:
    """Maps of a net, and what a check of them needs."""

    def __init__(self, net, probes, images=None, method="hirescam"):
        self.net, self.probes = net, probes
        self.subject = ModelUse().on(net)
        self.recipe = Recipe(check_methods(method)[0])
        images = probes.images if images is None else images
        with borrowed(net):
            self.layers = find_target_layers(self.subject, images)
            (self.maps,) = self.recipe.maps(Lens(self.subject, self.layers, 32), images, [probes.labels])
        self.boxes = probes.coverage(self.maps.grid), probes.readable(self.maps.grid)

    def checked_by(self, steadiness, *, epoch=0, full=False, boxes=True, chunk_size=32):
        boxes = self.boxes if boxes else None
        lens = Lens(self.subject, self.layers, chunk_size)
        with borrowed(self.net):
            return steadiness.check(lens, self.recipe, self.maps, epoch=epoch, boxes=boxes, full=full)


@pytest.fixture(scope="module")
def looks(nets, probes):
    return [Look(net, probes) for net in nets]


@pytest.fixture(scope="module")
def reports(looks, probes):
    """Of the looks after three epochs and after four, both full."""
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    return [look.checked_by(steadiness, epoch=epoch, full=True) for look, epoch in zip(looks[1:], (2, 3), strict=True)]


# --- a small net that has learned something


def test_a_pixel_changes_a_map_far_less_than_another_probe_of_the_class_does(reports):
    for report in reports:
        assert 0 < report.jitter.jensen_shannon < 0.5 * report.other_probes.jensen_shannon
        assert report.jitter.spearman > 0.5 > report.other_probes.spearman
        assert report.jitter.count + report.jitter.left_out == PROBES


def test_what_should_not_matter_changes_maps_less_than_another_probe_does(reports):
    for report in reports:
        for found in (report.shift, report.lighting, report.noise):
            assert 0 < found.jensen_shannon < 0.5 * report.other_probes.jensen_shannon
        assert report.noise.jensen_shannon < report.jitter.jensen_shannon


def test_an_epoch_of_training_changes_maps_more_than_a_pixel_and_less_than_three_from_the_start(reports):
    report = reports[1]
    assert report.jitter.jensen_shannon < report.drift.jensen_shannon < report.initial.jensen_shannon
    assert (report.since_epoch, report.jitter_epoch) == (2, 3)
    assert reports[0].drift is None
    assert reports[0].drift_by_class == ()


def test_the_drift_of_the_classes_adds_up_to_that_of_all(reports):
    report = reports[1]
    assert len(report.drift_by_class) == len(CLASS_NAMES)
    assert sum(own.count for own in report.drift_by_class) == report.drift.count
    total = sum(own.count * own.jensen_shannon for own in report.drift_by_class)
    assert total / report.drift.count == pytest.approx(report.drift.jensen_shannon)


def test_trained_maps_follow_the_object_and_untrained_ones_do_not(looks, probes):
    untrained, trained = (look.checked_by(Steadiness(probes)).following for look in looks[:2])
    assert not untrained.follows
    assert trained.follows
    assert trained.own > 1.5 * trained.uniform
    assert trained.own > trained.others + 0.05


def test_a_net_that_was_not_trained_has_its_initial_maps(looks, probes):
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    report = looks[0].checked_by(steadiness)
    assert report.initial.jensen_shannon == 0.0
    assert report.initial.spearman == pytest.approx(1.0)
    assert report.initial_chance.jensen_shannon > 0.02
    assert report.initial_chance == report.other_probes


def test_a_net_that_did_not_change_does_not_drift(looks, probes):
    steadiness = Steadiness(probes)
    looks[1].checked_by(steadiness, epoch=4)
    report = looks[1].checked_by(steadiness, epoch=5)
    assert report.drift.jensen_shannon == 0.0
    assert report.since_epoch == 4


def test_the_floor_is_that_of_maps_made_from_shifted_pictures(reports, looks, nets, probes):
    one_pixel = Perturbed(probes.images, shifted(directions(PROBES, seed=0)))[0:PROBES]
    moved = Look(nets[1], probes, images=one_pixel)
    expected = similarity(looks[1].maps.maps, moved.maps.maps)
    assert reports[0].jitter.jensen_shannon == pytest.approx(expected.jensen_shannon, rel=1e-3)
    assert reports[0].jitter.count == expected.count


# --- passes, chunks, generators


@pytest.mark.parametrize(("full", "chunks"), [(False, []), (True, 4 * [25, 25, 10])])
def test_a_full_check_costs_four_passes_and_another_none(looks, probes, full, chunks):
    sizes = []
    handle = looks[1].net.register_forward_pre_hook(lambda _net, inputs: sizes.append(len(inputs[0])))
    report = looks[1].checked_by(Steadiness(probes), full=full, chunk_size=25)
    handle.remove()
    assert sizes == chunks
    for found in (report.jitter, report.shift, report.lighting, report.noise):
        assert (found is not None) is full


def test_between_full_checks_the_last_floor_is_shown_with_its_epoch(looks, probes):
    steadiness = Steadiness(probes)
    full = looks[1].checked_by(steadiness, epoch=2, full=True)
    free = looks[2].checked_by(steadiness, epoch=3)
    assert (free.jitter, free.jitter_epoch) == (full.jitter, 2)
    assert free.shift is free.lighting is free.noise is None


def test_the_size_of_the_chunks_changes_nothing(looks, probes, reports):
    report = looks[1].checked_by(Steadiness(probes), full=True, chunk_size=11)
    for kind in ("jitter", "shift", "lighting", "noise"):
        expected = getattr(reports[0], kind)
        assert getattr(report, kind).jensen_shannon == pytest.approx(expected.jensen_shannon, rel=1e-3)


def test_global_generators_are_left_alone(looks, probes):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    looks[1].checked_by(Steadiness(probes, seed=5), full=True)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


class Mute(torch.nn.Module):
    def forward(self, x):
        return None


def test_a_check_that_fails_remembers_nothing_and_can_be_made_again(looks, probes, reports):
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    looks[1].checked_by(steadiness, epoch=2, full=True)
    failing = Look(looks[2].net, probes)
    failing.net = Mute()
    failing.subject = ModelUse().on(failing.net)
    with pytest.raises(TypeError, match="model: expected class scores"):
        failing.checked_by(steadiness, epoch=3, full=True)
    assert looks[2].checked_by(steadiness, epoch=3, full=True) == reports[1]


# --- what cannot be compared


def test_without_boxes_only_the_maps_are_compared(looks, probes):
    assert looks[1].checked_by(Steadiness(probes), boxes=False).following is None
    bare = ProbeSet(probes.images, probes.labels, class_names=CLASS_NAMES)
    report = looks[1].checked_by(Steadiness(bare))
    assert report.following is None
    assert report.other_probes.jensen_shannon > 0.1


def test_maps_of_another_method_or_layer_are_not_compared(looks, nets, probes):
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    looks[1].checked_by(steadiness)
    report = Look(nets[1], probes, method="layercam").checked_by(steadiness)
    assert report.drift is report.initial is report.initial_chance is None
    assert report.drift_by_class == ()


def test_a_net_without_heat_is_counted_and_nothing_is_made_up(probes):
    net = small_cnn()
    torch.nn.init.zeros_(net[-1].weight)
    steadiness = Steadiness(probes)
    look = Look(net, probes)
    steadiness.remember(look.maps)
    look.checked_by(steadiness)
    report = look.checked_by(steadiness, full=True)
    for found in (report.drift, report.jitter, report.shift, report.initial, report.other_probes):
        assert (found.jensen_shannon, found.spearman, found.count, found.left_out) == (None, None, 0, PROBES)
    assert report.following is None


def test_maps_of_other_pictures_or_classes_are_refused(looks, nets, probes):
    rows = [probes.labels.tolist().index(k) for k in range(5)]
    steadiness = Steadiness(ProbeSet(probes.images[rows], probes.labels[rows], class_names=CLASS_NAMES))
    with pytest.raises(ValueError, match="maps: expected one for the label of each of the 5 probes, got 60 maps"):
        steadiness.remember(looks[0].maps)
    other = ProbeSet(probes.images, (probes.labels + 1) % 5, class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match="maps of other classes"):
        looks[0].checked_by(Steadiness(other))


# --- what a run remembers


def test_a_run_that_goes_on_from_a_checkpoint_reports_the_same(looks, probes, tmp_path):
    first = Steadiness(probes)
    first.remember(looks[0].maps)
    looks[1].checked_by(first, epoch=2, full=True)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Steadiness(probes)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.remembers_initial
    assert looks[2].checked_by(second, epoch=3) == looks[2].checked_by(first, epoch=3)


@pytest.mark.parametrize("state", [None, {}])
def test_from_a_checkpoint_that_has_none_it_starts_anew(looks, probes, state):
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    looks[1].checked_by(steadiness)
    steadiness.load_state_dict(state)
    assert not steadiness.remembers_initial
    report = looks[2].checked_by(steadiness)
    assert report.drift is report.initial is None


def test_a_new_run_forgets(looks, probes):
    steadiness = Steadiness(probes)
    steadiness.remember(looks[0].maps)
    looks[1].checked_by(steadiness, full=True)
    steadiness.forget()
    report = looks[2].checked_by(steadiness)
    assert report.drift is report.initial is report.jitter is report.jitter_epoch is None
