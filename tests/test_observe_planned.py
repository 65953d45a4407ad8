"""What a planned look does that others do not, through the observer; and the same without any box."""

from dataclasses import replace

import pytest
import torch
from small_training import Net, probes
from torch.nn import functional as F

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.demo.data import CLASS_NAMES, AnnotatedDigits, draw_scenes, draw_tags
from camdebug.demo.model import small_cnn
from camdebug.observe import Observer, backgrounds
from camdebug.observe import observer as observer_room
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import Level


def _look(observer, model, epoch, looks_left):
    with borrowed(model):
        return observer.look(model, ModelPrecision(model), epoch=epoch, looks_left=looks_left)


@pytest.fixture
def rows(monkeypatch):
    """All classes count as learned; notes the size of every pairing that goes through the model."""
    noted, gather = [], backgrounds.gather_evidence

    def note(lens, fixed, pairing, cover):
        noted.append(len(pairing))
        return gather(lens, fixed, pairing, cover)

    monkeypatch.setattr(backgrounds, "gather_evidence", note)
    monkeypatch.setattr(observer_room, "learned_classes", lambda labels, _: dict.fromkeys(labels.tolist(), True))
    return noted


def test_a_planned_look_puts_four_objects_before_each_pair_and_looks_for_places(rows):
    torch.manual_seed(0)
    observer, model = Observer(probes(classes=3)), Net()
    records = [_look(observer, model, epoch, 8 - epoch) for epoch in range(8)]
    planned = [True, True, True, True, False, True, False, True]
    assert [r.swaps[0].decides for r in records] == planned
    assert rows == [4 * 60 if decides else 60 for decides in planned]
    assert [len(r.places) for r in records] == [3 if decides else 0 for decides in planned]
    assert [r.steadiness.shift is not None for r in records] == [e in (0, 5, 7) for e in range(8)]


def test_a_look_that_the_screen_calls_for_passes_the_panels_as_well(rows, monkeypatch):
    torch.manual_seed(0)
    observer, model, found = Observer(probes(classes=3)), Net(), backgrounds.contrasts
    for epoch in range(4):
        _look(observer, model, epoch, 20 - epoch)
    rows.clear()

    def loud(*args, **options):
        return tuple(_with_p(c, 1e-9) for c in found(*args, **options))

    monkeypatch.setattr(backgrounds, "contrasts", loud)
    record = _look(observer, model, 4, 16)
    assert rows == [60, 4 * 60]
    assert record.swaps[0].decides
    assert "two disjoint panels" in record.verdicts[0].reason


def _with_p(contrast, p_value):
    return replace(contrast, p_value=p_value)


def _watched_without_boxes(strength):
    """Train on digits with a corner tag, and look through a probe set that has no box."""
    torch.manual_seed(0)
    scenes, held_out = draw_scenes(1000, seed=0, held_out=False), draw_scenes(600, seed=0, held_out=True)
    train = AnnotatedDigits(scenes, draw_tags(scenes.label, strength=strength, seed=0))
    seen = AnnotatedDigits(held_out, draw_tags(held_out.label, strength=strength, seed=1))
    first = torch.cat([torch.nonzero(seen.labels == k).flatten()[:40] for k in range(5)])
    observer = Observer(ProbeSet(seen.images[first], seen.labels[first], class_names=CLASS_NAMES))
    net = small_cnn()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for epoch in range(6):
        net.train()
        for batch in torch.randperm(len(train)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(train.images[batch]), train.labels[batch]).backward()
            optimiser.step()
        record = _look(observer, net, epoch, 6 - epoch)
    return record


def test_without_boxes_a_tag_in_the_corner_is_on_watch_and_the_same_tag_at_random_is_not():
    planted, clean = _watched_without_boxes(0.95), _watched_without_boxes(0.0)
    watched = [v for v in planted.verdicts if v.level is Level.WATCH]
    assert len(watched) >= 2
    assert all(v.locked_place for v in watched)
    assert any("bottom right corner" in v.reason or "bottom edge" in v.reason for v in watched)
    assert planted.verdict.reason.startswith("heat stays at one place of the picture for")
    assert {v.level for v in planted.verdicts} <= {Level.WATCH, Level.NOT_MEASURABLE}
    assert {v.level for v in clean.verdicts} == {Level.NOT_MEASURABLE}
    assert len(clean.places) == 5
