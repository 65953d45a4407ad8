import itertools

import numpy as np
import pytest
import torch
from torch import nn

from camdebug import ProbeSet
from camdebug.background.composites import Composites
from camdebug.background.contrast import contrasts
from camdebug.background.evidence import gather_evidence
from camdebug.background.pairing import Pairing, pair
from camdebug.background.sign_flip import exact_p_value, sign_flip_p_value, smallest_attainable_p, tilted_p_value
from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.lens import Lens
from camdebug.cam.model.outputs import ClassScores
from camdebug.cam.model.subject import ModelUse
from camdebug.cam.target.search import find_target_layers


def _exact_p(values: np.ndarray) -> float:
    """Slow oracle: every combination of signs."""
    sums = [float(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    return float(np.mean([s >= values.sum() - 1e-9 for s in sums]))


def test_the_margin_is_the_logit_minus_that_of_the_other_donors_class():
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.25, 3.0]])
    assert ClassScores(logits).margin(torch.tensor([1, 0]), torch.tensor([2, 1])).tolist() == [3.0, 0.25]


@pytest.mark.parametrize("count", [1, 2, 7, 12])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.3, 1.0])
def test_p_values_of_few_are_those_of_full_enumeration(shift, count):
    values = np.random.default_rng(int(10 * shift) + 50).normal(shift, 1, count)
    assert sign_flip_p_value(torch.from_numpy(values), smallest_p=1e-4, seed=0) == pytest.approx(_exact_p(values))
    whole = np.round(values)  # with ties
    assert sign_flip_p_value(torch.from_numpy(whole), smallest_p=1e-4, seed=0) == pytest.approx(_exact_p(whole))


@pytest.mark.parametrize("count", [36, 60])
@pytest.mark.parametrize("mean", [0.0, 0.25, 0.4])
def test_p_values_of_many_agree_with_plain_flips(count, mean):
    values = np.random.default_rng(3).normal(mean, 1, count)
    found = sign_flip_p_value(torch.from_numpy(values), smallest_p=1e-6, seed=0)
    signs = np.random.default_rng(9).integers(0, 2, size=(100_000, count)) * 2.0 - 1
    expected = (signs @ values >= values.sum() - 1e-9).mean()
    draws = 999 if expected > 0.02 else 2000
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / draws) + 2 / draws)


@pytest.mark.parametrize(("mean", "below"), [(0.5, 1e-2), (0.9, 1e-4), (1.3, 1e-6), (2.5, 1e-9)])
@pytest.mark.parametrize("count", [31, 38])
def test_tilted_flips_tell_small_p_values_of_many_as_full_enumeration_does(mean, below, count):
    values = np.random.default_rng(2).normal(mean, 1, count)
    exact = exact_p_value(values)
    assert exact < below
    found = sign_flip_p_value(torch.from_numpy(values), smallest_p=1e-6, seed=0)
    assert found == pytest.approx(exact, rel=0.1 if exact > 1e-7 else 0.5)


def test_what_hundreds_of_thousands_of_fair_flips_would_not_resolve_is_told():
    half = torch.full((30,), 1.0)
    found = sign_flip_p_value(torch.cat([half, 1.4 * half]).double(), smallest_p=1e-9, seed=0)
    assert 0.5**60 <= found < 1e-15  # 0.5**60 is 8.7e-19


@pytest.mark.parametrize(("level", "smallest"), [(0.01, 1e-3), (0.01, 1e-6), (0.05, 1e-3)])
def test_no_more_than_its_share_of_random_signs_is_called_unlikely(level, smallest):
    rng, sizes, runs = np.random.default_rng(0), np.random.default_rng(1).exponential(1, 34), 4000
    sides = torch.from_numpy(rng.choice([-1.0, 1.0], size=(runs, 34)) * sizes)
    called = np.mean([sign_flip_p_value(s, smallest_p=smallest, seed=n) <= level for n, s in enumerate(sides)])
    assert called == pytest.approx(level, abs=3 * np.sqrt(level / runs))


def test_the_observed_signs_count_so_that_no_p_value_is_zero_and_most_lie_near_the_truth():
    values = np.ones(35)
    found = [tilted_p_value(values, smallest_p=1e-3, rng=np.random.default_rng(n)) for n in range(20)]
    assert min(found) >= 0.5**35
    assert np.mean(found) == pytest.approx(0.5**35, rel=0.5)


def test_a_p_value_is_never_zero_and_resolves_the_smallest_one_asked_for():
    p = sign_flip_p_value(torch.full((40,), 2.0), smallest_p=1e-4, seed=0)
    assert 0 < p < 1e-4


def test_a_p_value_of_more_values_than_its_power_of_two_can_tell_is_not_zero_either():
    assert 0 < sign_flip_p_value(torch.ones(1200), smallest_p=1e-300, seed=0) < 1e-250


@pytest.mark.parametrize("count", [30, 50])
def test_p_values_are_seeded_and_touch_no_global_generator(count):
    values, before = torch.randn(count, generator=torch.Generator().manual_seed(0)) + 0.5, torch.get_rng_state()
    assert sign_flip_p_value(values, smallest_p=0.01, seed=5) == sign_flip_p_value(values, smallest_p=0.01, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_values_of_zero_have_no_say():
    values = np.concatenate([np.random.default_rng(0).normal(1.0, 1, 20), np.zeros(15)])
    found = sign_flip_p_value(torch.from_numpy(values), smallest_p=1e-6, seed=0)
    assert found == pytest.approx(exact_p_value(values[:20]), rel=0.1)
    assert sign_flip_p_value(torch.zeros(40), smallest_p=1e-6, seed=0) == 1


def _false_alarms(draw_pairing, *, classes: int, repeats: int = 300) -> float:
    """Share of worlds in which a test at .05 fires though backgrounds matter in themselves, but not by class."""
    rng, labels, fired = np.random.default_rng(0), torch.arange(classes).repeat_interleave(20), 0
    for world in range(repeats):
        effect = torch.from_numpy(rng.standard_normal(len(labels)))
        pairing = draw_pairing(labels, world)
        towards = torch.where(labels[pairing.recipients] == 0, 1.0, -1.0)
        cells = torch.stack([towards * effect[pairing.same], towards * effect[pairing.other]], 1)[:, :, None, None]
        found = contrasts(cells, pairing, labels, smallest_p=0.005, seed=world)
        fired += min(c.p_value for c in found) <= 0.05 / len(found)
    return fired / repeats


def _ours(labels, world):
    return pair(labels, torch.ones(len(labels), dtype=torch.bool), seed=world, draw=0)


def _shared_donors(labels, world):
    """What public code does: the same few donors behind everybody."""
    ours = _ours(labels, world)
    of = {int(k): torch.nonzero(labels == k).flatten() for k in labels.unique()}
    same = torch.stack([of[int(labels[i])][n % 3] for n, i in enumerate(ours.recipients)])
    other = torch.stack([of[(int(labels[i]) + 1) % len(of)][n % 3] for n, i in enumerate(ours.recipients)])
    return Pairing(ours.recipients, same, other, ours.donors)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_error_rate_holds_when_backgrounds_matter_but_not_by_class(classes):
    assert _false_alarms(_ours, classes=classes) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_shared_donors_would_void_the_error_rate():
    assert _false_alarms(_shared_donors, classes=4) > 0.3


def test_pooling_both_classes_of_a_pair_would_void_the_error_rate():
    rng, labels, fired = np.random.default_rng(1), torch.arange(2).repeat_interleave(20), 0
    for world in range(300):
        effect = torch.from_numpy(rng.standard_normal(40))
        pairing = _ours(labels, world)
        towards = torch.where(labels[pairing.recipients] == 0, 1.0, -1.0)
        pooled = towards * (effect[pairing.same] - effect[pairing.other])
        fired += sign_flip_p_value(pooled, smallest_p=0.005, seed=world) <= 0.05
    assert fired / 300 > 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def _linear_world():
    """A net whose only stage is a 2x2 grid of block means, read by a linear head after average pooling."""
    net = nn.Sequential(nn.AvgPool2d(4), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        net[4].weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, 2.0]]))
        net[4].bias.copy_(torch.tensor([0.7, -0.4]))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[4.0, 0.0, 8.0, 4.0]])] * 2
    return net, ProbeSet(images, [0, 0, 1, 1], boxes)


def _measure(net, probes, pairing, chunk_size=32):
    with borrowed(net):
        subject = ModelUse().on(net)
        layers = find_target_layers(subject, probes.images, "1")
        cover = probes.coverage(layers[0].grid)
        return gather_evidence(Lens(subject, layers, chunk_size), probes, pairing, cover)


def test_evidence_outside_the_box_is_what_a_linear_head_reads_there():
    net, probes = _linear_world()
    pairing = pair(probes.labels, torch.ones(4, dtype=torch.bool), seed=0, draw=0)
    evidence, composites = _measure(net, probes, pairing), Composites(probes, pairing)[0:8]
    weight = net[4].weight.detach()
    for row, recipient in enumerate(pairing.recipients.tolist()):
        y = int(probes.labels[recipient])
        direction = (weight[y] - weight[1 - y]) / 4  # of the margin of two classes, per cell of four
        cells = torch.nn.functional.avg_pool2d(composites[2 * row], 4)
        expected = (direction[:, None, None] * cells).sum(0) * (1 - probes.coverage((2, 2))[recipient])
        torch.testing.assert_close(evidence.outside[row, 0], expected.double(), atol=1e-6, rtol=1e-5)


def test_with_more_classes_margins_are_over_the_donors_class_and_probabilities_over_all():
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(4), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    labels = torch.arange(4).repeat_interleave(2)
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(8, 1)
    probes = ProbeSet(torch.rand(8, 3, 8, 8), labels, boxes, class_names=list("abcd"))
    pairing = pair(labels, torch.ones(8, dtype=torch.bool), seed=0, draw=0)
    evidence = _measure(net, probes, pairing)
    with torch.no_grad():
        logits = net(Composites(probes, pairing)[0:16]).double()
    for row, (recipient, other) in enumerate(zip(pairing.recipients.tolist(), pairing.other.tolist(), strict=True)):
        own, against = int(labels[recipient]), int(labels[other])
        for arm in (0, 1):
            z = logits[2 * row + arm]
            assert float(evidence.margins[row, arm]) == pytest.approx(float(z[own] - z[against]), abs=1e-6)
            assert float(evidence.probabilities[row, arm]) == pytest.approx(float(z.softmax(0)[own]), abs=1e-6)
    direction = net[4].weight.detach()[labels[pairing.recipients]] - net[4].weight.detach()[labels[pairing.other]]
    cells = torch.nn.functional.avg_pool2d(Composites(probes, pairing)[0:16], 4).reshape(8, 2, 3, 2, 2)
    by_cell = (direction[:, None, :, None, None] * cells).sum(2) / 4
    expected = by_cell * (1 - probes.coverage((2, 2))[pairing.recipients])[:, None]
    torch.testing.assert_close(evidence.outside, expected.double(), atol=1e-6, rtol=1e-5)


def test_chunks_change_nothing():
    net, probes = _linear_world()
    pairing = pair(probes.labels, torch.ones(4, dtype=torch.bool), seed=0, draw=0)
    chunked, whole = _measure(net, probes, pairing, chunk_size=3), _measure(net, probes, pairing)
    torch.testing.assert_close(chunked.outside, whole.outside, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(chunked.margins, whole.margins, atol=1e-6, rtol=1e-6)


def test_predictions_of_the_composites_come_with_their_evidence():
    net, probes = _linear_world()
    pairing = pair(probes.labels, torch.ones(4, dtype=torch.bool), seed=0, draw=0)
    evidence = _measure(net, probes, pairing)
    wanted = probes.labels[pairing.recipients].repeat_interleave(2)
    with torch.no_grad():
        probability = net(Composites(probes, pairing)[0:8]).softmax(1)[torch.arange(8), wanted]
    torch.testing.assert_close(evidence.probabilities.flatten(), probability.double(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(evidence.margins, torch.logit(evidence.probabilities), atol=1e-6, rtol=1e-5)


def test_two_classes_give_one_contrast_for_the_pair_at_twice_the_smaller_p():
    labels = torch.tensor([0] * 12 + [1] * 12)
    pairing = pair(labels, torch.ones(24, dtype=torch.bool), seed=0, draw=0)
    own = (labels[pairing.recipients] == 0).double() + 0.1 * torch.randn(24, generator=torch.Generator().manual_seed(0))
    evidence = torch.stack([own, torch.zeros(24, dtype=torch.float64)], 1)[:, :, None, None]
    (found,) = contrasts(evidence, pairing, labels, smallest_p=1e-4, seed=0)
    alone = sign_flip_p_value(own[labels[pairing.recipients] == 0].double(), smallest_p=1e-4, seed=0)
    assert found.classes == (0, 1)
    assert found.counts == (12, 12)
    assert found.p_value == pytest.approx(2 * alone)
    assert found.value == pytest.approx(float(own.mean()))


def test_rows_that_are_not_finite_are_left_out_and_the_cue_map_is_their_mean():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    pairing = pair(labels, torch.ones(9, dtype=torch.bool), seed=0, draw=0)
    evidence = torch.zeros(9, 2, 1, 2, dtype=torch.float64)
    evidence[:, 0, 0, 1] = torch.arange(9).double()
    evidence[0, 0, 0, 0] = float("nan")
    rows = labels[pairing.recipients]
    for contrast in contrasts(evidence, pairing, labels, smallest_p=0.01, seed=0):
        mine = [n for n in range(9) if int(rows[n]) in contrast.classes and n != 0]
        assert contrast.probes.tolist() == sorted(pairing.recipients[mine].tolist())
        by_probe = dict(zip(pairing.recipients[mine].tolist(), mine, strict=True))
        assert contrast.differences.tolist() == [by_probe[i] for i in contrast.probes.tolist()]
        assert contrast.value == pytest.approx(np.mean(mine))
        assert contrast.cue_map.tolist() == [[0.0, pytest.approx(np.mean(mine))]]


@pytest.mark.parametrize("rows", [5, 20, 40])
def test_the_smallest_attainable_p_is_attained_by_equal_differences_and_never_undercut(rows):
    found = sign_flip_p_value(torch.ones(rows), smallest_p=1e-12, seed=0)
    assert found >= smallest_attainable_p(rows)
    assert found == pytest.approx(smallest_attainable_p(rows), rel=0.1 if rows > 30 else 1e-9)


def test_the_evidence_of_a_row_is_summed_once_however_many_classes_there_are(monkeypatch):
    labels = torch.arange(6).repeat_interleave(4)
    pairing = pair(labels, torch.ones(24, dtype=torch.bool), seed=0, draw=0)
    summed, real = [], torch.Tensor.sum

    def counted(tensor, *args, **options):
        summed.append(tuple(tensor.shape))
        return real(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "sum", counted)
    found = contrasts(torch.rand(24, 2, 3, 3).double(), pairing, labels, smallest_p=0.01, seed=0)
    assert len(found) == 6
    assert summed.count((24, 3, 3)) == 1
