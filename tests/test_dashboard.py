import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from camdebug.dashboard import Dashboard, strips_due
from camdebug.dashboard import board as dashboard_module
from camdebug.probe.probe_set import ProbeSet
from camdebug.records import (
    BackgroundContrast,
    ClassVerdict,
    EpochRecord,
    Heatmaps,
    Level,
    LocalisationScores,
    PlaceLock,
    RunVerdict,
    Validity,
)
from camdebug.render.colour import density, paint_heat, upsample

torch.set_num_threads(1)
NAMES = ("grey wolf", "<b>dog</b>", "cat \U0001f408")


class Recorder:
    """A sink that remembers, and fails when told to."""

    def __init__(self, name="recorder", broken=False):
        self.name, self.broken, self.shown, self.texts, self.alerts, self.known = name, broken, [], [], [], {}

    def _work(self):
        if self.broken:
            raise ConnectionError("no route")

    def pictures(self, pictures, *, step):
        self._work()
        self.shown += [(step, p) for p in pictures]

    def text(self, tag, markdown, *, step):
        self._work()
        self.texts.append((tag, markdown, step))

    def alert(self, title, text, *, step):
        self._work()
        self.alerts.append((title, text, step))

    def facts(self, facts):
        self._work()
        self.known |= facts

    def tags(self, group, step=None):
        return [p.tag for s, p in self.shown if f"/{group}/" in p.tag and step in (None, s)]

    def steps(self, group):
        return sorted({s for s, p in self.shown if f"/{group}/" in p.tag})


def probe_set(per_class=2, names=NAMES, size=32, annotated=True):
    count = per_class * len(names)
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0]]).expand(count, 4) if annotated else None
    return ProbeSet(images, [i // per_class for i in range(count)], boxes, class_names=names)


def record(probes, epoch, *, contrasts=(), verdicts=()):
    count = len(probes)
    maps = torch.rand(count, 4, 4, generator=torch.Generator().manual_seed(epoch))
    maps[1] = 0
    flat = torch.zeros(count)
    predicted = probes.labels.clone()
    predicted[0] = 1
    heat = Heatmaps(maps, probes.labels, flat, predicted, flat, "hirescam", "layer4")
    outside = torch.full((count,), 0.6, dtype=torch.float64)
    area = torch.full((count,), 0.25, dtype=torch.float64)
    validity = [Validity.OK if probes.annotated else Validity.NO_BOX] * count
    scores = LocalisationScores(area, 1 - outside, outside, outside, outside, outside, tuple(validity))
    run_verdict = RunVerdict(Level.NO_EVIDENCE, "because", ())
    return EpochRecord(epoch, heat, heat, scores, (), tuple(contrasts), (), tuple(verdicts), run_verdict)


def contrast(*classes, peak=0.3):
    cue = torch.zeros(4, 4)
    cue[3, 3] = peak
    counts = (1,) * len(classes)
    return BackgroundContrast(classes, counts, peak, 0.1, 0.0004, torch.tensor([0]), torch.tensor([peak]).double(), cue)


def verdict(level, changed_from=None, class_idx=0):
    return ClassVerdict(class_idx, NAMES[class_idx], level, "because", 0, changed_from=changed_from)


def run(epochs, probes=None, sink=None, **options):
    probes, sink = probes or probe_set(), sink or Recorder()
    shown = Dashboard(probes, [0, 1, 4], [sink], **options)
    for epoch in epochs:
        shown.publish(record(probes, epoch), step=10 * epoch, verdict_text=f"epoch {epoch}")
    return shown, sink


# what is shown


def test_a_look_logs_everything_under_its_tag_and_step():
    probes, sink = probe_set(), Recorder()
    shown = Dashboard(probes, [0, 1, 4], [sink])
    shown.publish(record(probes, 0, contrasts=[contrast(0), contrast(2)]), step=7, verdict_text="all is well")
    assert sink.tags("probe", 7) == [
        "camdebug/probe/0-grey-wolf",
        "camdebug/probe/1-grey-wolf",
        "camdebug/probe/4-cat",
    ]
    assert sink.tags("filmstrip", 7) == [t.replace("/probe/", "/filmstrip/") for t in sink.tags("probe")]
    assert sink.tags("cue_map", 7) == ["camdebug/cue_map/grey-wolf", "camdebug/cue_map/cat"]
    assert sink.tags("mean_map", 7) == [f"camdebug/mean_map/{s}" for s in ("grey-wolf", "b-dog-b", "cat")]
    assert sink.texts == [("camdebug/verdict", "all is well", 7)]
    assert shown.problems == []


def test_overlays_hold_the_heat_of_their_own_probe():
    probes, sink = probe_set(annotated=False), Recorder()
    look = record(probes, 3)
    Dashboard(probes, [2, 4], [sink]).publish(look, step=0, verdict_text="")
    for index, (_, logged) in zip((2, 4), sink.shown, strict=False):
        plain = (probes.images[index] * 255).round().byte().permute(1, 2, 0).numpy().repeat(7, 0).repeat(7, 1)
        heat = upsample(density(look.label_maps.maps[[index]]), (224, 224))
        assert np.array_equal(logged.image[:224, :224], paint_heat(plain, heat)[0])


def test_strips_and_class_maps_follow_their_own_probe_and_class():
    probes = probe_set(annotated=False)

    def logged(index):
        look, sink = record(probes, 3), Recorder()
        if index is not None:
            look.label_maps.maps[index] = torch.eye(4)
        Dashboard(probes, [2, 4], [sink]).publish(look, step=0, verdict_text="")
        return {p.tag.removeprefix("camdebug/"): p.image for _, p in sink.shown}

    def changed_by(index):
        before, after = logged(None), logged(index)
        return {tag for tag in before if not np.array_equal(before[tag], after[tag])}

    assert changed_by(0) == {"mean_map/grey-wolf"}
    assert changed_by(2) == {"probe/2-b-dog-b", "filmstrip/2-b-dog-b", "mean_map/b-dog-b"}
    assert changed_by(4) == {"probe/4-cat", "filmstrip/4-cat", "mean_map/cat"}


def test_captions_say_what_was_found_and_on_which_scale():
    _, sink = run([5])
    wrong, empty, right = [p.caption for _, p in sink.shown[:3]]
    assert wrong.startswith(
        "epoch 5, #0 grey wolf -> <b>dog</b> (wrong), outside .60 (chance .75)  D .60 (chance 0); heat ="
    )
    assert "no heat" in empty
    assert "(right)" in right
    assert all("scale 0 to 6" in caption for caption in (wrong, empty, right))


def test_boxes_are_handed_on_in_pixels_of_the_logged_picture():
    _, sink = run([0])
    (box,) = sink.shown[0][1].boxes
    assert (box.left, box.top, box.right, box.bottom, box.label) == (28.0, 28.0, 140.0, 140.0, "grey wolf")


def test_pictures_of_a_group_have_one_size_as_wandb_wants_it():
    probes = probe_set(names=("a", "b" * 200, "c " * 90))
    sink = Recorder()
    look = record(probes, 0, contrasts=[contrast(0), contrast(1)])
    Dashboard(probes, range(6), [sink]).publish(look, step=0, verdict_text="")
    for group in ("probe", "filmstrip", "cue_map", "mean_map"):
        assert len({p.image.shape for _, p in sink.shown if p.group.endswith(group)}) == 1


def test_two_classes_share_one_cue_map():
    probes, sink = probe_set(names=NAMES[:2]), Recorder()
    Dashboard(probes, [0], [sink]).publish(record(probes, 0, contrasts=[contrast(0, 1)]), step=0, verdict_text="")
    assert sink.tags("cue_map") == ["camdebug/cue_map/pair"]
    (picture,) = [p for _, p in sink.shown if "cue_map" in p.tag]
    assert picture.caption.startswith("cue map: grey wolf / <b>dog</b>; owed to its backgrounds at epoch 0")
    assert "+.30 logits (chance 0), p < .001" in picture.caption


def test_a_set_without_boxes_is_drawn():
    shown, sink = run([0], probe_set(annotated=False))
    assert shown.problems == []
    assert all("no box" in p.caption or "no heat" in p.caption for _, p in sink.shown[:3])
    assert sink.shown[0][1].boxes == ()


def test_few_of_many_classes_get_maps_and_those_on_alert_besides():
    names = tuple(f"class {k}" for k in range(9))
    probes, sink = probe_set(per_class=1, names=names), Recorder()
    alert = ClassVerdict(7, "class 7", Level.SUSPECT, "because", 0)
    look = record(probes, 0, verdicts=[alert], contrasts=[contrast(0), contrast(7), contrast(8)])
    Dashboard(probes, [0], [sink], max_classes=2).publish(look, step=0, verdict_text="")
    assert sink.tags("mean_map") == [f"camdebug/mean_map/class-{k}" for k in (0, 1, 7)]
    assert sink.tags("cue_map") == [f"camdebug/cue_map/class-{k}" for k in (0, 7)]


def test_prefix_and_slugs_are_the_callers():
    _, sink = run([0], prefix="second", slugs=("a", "b", "c"))
    assert sink.tags("probe") == ["second/probe/0-a", "second/probe/1-a", "second/probe/4-c"]
    assert sink.texts[0][0] == "second/verdict"


def test_an_index_outside_the_set_is_refused():
    with pytest.raises(ValueError, match="logged: expected indices of the 6 probes"):
        Dashboard(probe_set(), [6], [])


# how often


def test_strips_become_rare_and_overlays_do_not():
    _, sink = run(range(25))
    assert sink.steps("probe") == [10 * e for e in range(25)]
    assert sink.steps("filmstrip") == sink.steps("mean_map") == [*range(0, 100, 10), 190]
    assert [n for n in range(1, 400) if strips_due(n)] == [*range(1, 11), 20, 40, 80, 160, 320]


@pytest.mark.parametrize(
    ("before", "now", "drawn"),
    [
        (Level.NO_EVIDENCE, Level.SUSPECT, True),
        (Level.WATCH, Level.NO_EVIDENCE, True),
        (Level.NOT_LEARNED, Level.NO_EVIDENCE, False),
        (None, Level.SUSPECT, False),
    ],
)
def test_strips_are_drawn_when_an_alert_begins_or_ends(before, now, drawn):
    shown, sink = run(range(12))
    shown.publish(record(probe_set(), 12, verdicts=[verdict(now, before)]), step=999, verdict_text="")
    assert (999 in sink.steps("filmstrip")) == drawn


def test_a_place_is_drawn_when_it_is_found_even_if_the_class_is_on_alert_already():
    shown, sink = run(range(12))
    alert = verdict(Level.SUSPECT)
    for step, locked in ((997, False), (998, True), (999, True)):
        one = dataclasses.replace(alert, locked_place=locked)
        shown.publish(record(probe_set(), step, verdicts=[one]), step=step, verdict_text="")
    assert [step for step in (997, 998, 999) if step in sink.steps("filmstrip")] == [998]


def test_the_final_look_draws_strips_and_leaves_nothing_to_finish():
    shown, sink = run(range(12))
    shown.publish(record(probe_set(), 12), step=120, verdict_text="", final=True)
    shown.finish(step=121)
    assert sink.steps("filmstrip")[-1] == 120


def test_finish_draws_what_is_stale_once():
    shown, sink = run(range(12))
    shown.finish(step=500)
    shown.finish(step=501)
    assert sink.steps("filmstrip")[-1] == sink.steps("mean_map")[-1] == 500
    fresh, other = run(range(3))
    fresh.finish(step=500)
    assert 500 not in other.steps("filmstrip")
    Dashboard(probe_set(), [0], [Recorder()]).finish(step=0)


# failures


def test_a_broken_sink_is_reported_once_and_the_other_gets_everything():
    broken, good = Recorder("broken", broken=True), Recorder("good")
    probes = probe_set()
    shown = Dashboard(probes, [0], [broken, good])
    shown.facts({"layer": "layer4"})
    for epoch in (0, 1):
        shown.publish(record(probes, epoch), step=epoch, verdict_text="")
    shown.alert("title", "words", step=1)
    assert {problem.source for problem in shown.problems} == {"broken"}
    assert str(shown.problems[0]).startswith("broken did not take facts (ConnectionError: no route)")
    assert good.steps("probe") == good.steps("filmstrip") == [0, 1]
    assert good.alerts == [("title", "words", 1)]
    assert good.known == {"layer": "layer4"}


def test_a_drawing_that_fails_is_reported_once_and_the_rest_is_logged(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr(dashboard_module, "draw_overlays", fail)
    shown, sink = run([0, 1])
    assert [str(p) for p in shown.problems] == ["drawing overlays failed (RuntimeError: no ink). Training goes on"] * 2
    assert sink.steps("probe") == []
    assert sink.steps("filmstrip") == [0, 10]


def test_without_sinks_nothing_is_drawn_but_film_is_kept(monkeypatch):
    monkeypatch.setattr(dashboard_module, "draw_overlays", None)
    probes = probe_set()
    shown = Dashboard(probes, [0], [])
    shown.publish(record(probes, 0), step=0, verdict_text="")
    assert shown.problems == []
    assert [shot["epoch"] for shot in shown.state_dict()["film"]] == [0]


# state


def through_a_checkpoint(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_resumed_run_shows_what_an_unbroken_one_shows():
    probes = probe_set()
    _, unbroken = run(range(22), probes)
    first, _ = run(range(15), probes)
    sink = Recorder()
    resumed = Dashboard(probes, [0, 1, 4], [sink])
    resumed.load_state_dict(through_a_checkpoint(first.state_dict()))
    for epoch in range(15, 22):
        resumed.publish(record(probes, epoch), step=10 * epoch, verdict_text="")
    assert sink.steps("filmstrip") == [190]
    for tag in sink.tags("filmstrip"):
        (ours,), theirs = ([p.image for s, p in r.shown if (s, p.tag) == (190, tag)] for r in (sink, unbroken))
        assert np.array_equal(ours, theirs[0])


def test_the_state_stays_small_in_long_runs():
    probes = probe_set()
    shown = Dashboard(probes, [0, 1, 4], [])
    for epoch in range(200):
        shown.publish(record(probes, epoch), step=epoch, verdict_text="")
    film = shown.state_dict()["film"]
    assert len(film) == 24
    assert (film[0]["epoch"], film[-1]["epoch"]) == (0, 199)
    assert film[0]["density"].dtype is torch.float16
    assert film[0]["density"].untyped_storage().nbytes() == 3 * 4 * 4 * 2


def test_the_cue_scale_is_kept_over_a_resume():
    probes = probe_set()
    shown = Dashboard(probes, [0], [Recorder()])
    shown.publish(record(probes, 0, contrasts=[contrast(0, peak=2.5)]), step=0, verdict_text="")
    shown.publish(record(probes, 1, contrasts=[contrast(0, peak=0.5)]), step=1, verdict_text="")
    assert shown.state_dict()["cue_scale"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"fingerprint": "another"},
        {"logged": [0, 1, 5]},
        {"logged": torch.tensor([0, 1, 4])},
        {"looks": "many"},
        {"looks": -1},
        {"cue_scale": float("nan")},
        {"film": None},
        {"film": [{"epoch": 0}]},
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change):
    shown, _ = run(range(3))
    good = shown.state_dict()
    with pytest.raises(ValueError, match="expected"):
        shown.load_state_dict({**good, **change})
    assert shown.state_dict()["looks"] == 3
    assert [s["epoch"] for s in shown.state_dict()["film"]] == [0, 1, 2]
    shown.load_state_dict(good)


@pytest.mark.parametrize("junk", [None, [], {}, "state"])
def test_junk_is_no_state(junk):
    with pytest.raises(ValueError, match="dashboard state"):
        run([])[0].load_state_dict(junk)


# the whole way to a dashboard


def test_a_run_is_found_in_its_tensorboard_file(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from camdebug.sinks import sinks_for

    writer = SummaryWriter(str(tmp_path))
    logger = type("TensorBoardLogger", (SimpleNamespace,), {})(experiment=writer)
    probes = probe_set()
    shown = Dashboard(probes, [0, 4], sinks_for([logger]))
    for epoch in range(12):
        shown.publish(record(probes, epoch, contrasts=[contrast(1)]), step=epoch, verdict_text=f"epoch {epoch}")
    shown.finish(step=12)
    writer.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "tensors": 0}).Reload()
    assert shown.problems == []
    assert [e.step for e in events.Images("camdebug/probe/4-cat")] == list(range(12))
    assert [e.step for e in events.Images("camdebug/filmstrip/0-grey-wolf")] == [*range(10), 12]
    assert [e.step for e in events.Images("camdebug/cue_map/b-dog-b")] == [*range(10), 12]
    assert [e.step for e in events.Tensors("camdebug/verdict/text_summary")] == list(range(12))


def test_probe_records_are_left_as_they_were():
    probes = probe_set()
    look = record(probes, 0)
    before = dataclasses.replace(look.label_maps, maps=look.label_maps.maps.clone())
    Dashboard(probes, [0, 1], [Recorder()]).publish(look, step=0, verdict_text="")
    assert torch.equal(before.maps, look.label_maps.maps)


def test_the_place_where_heat_is_locked_is_drawn_with_its_numbers():
    probes, sink = probe_set(), Recorder()
    place = PlaceLock(0, 20, 0, 1e-6, "the bottom right corner", (0.75, 0.75, 1.0, 1.0), 20, 18, 0.34, 0.05, None)
    locked = dataclasses.replace(verdict(Level.WATCH, Level.NO_EVIDENCE), locked_place=True)
    look = dataclasses.replace(record(probes, 0, verdicts=[locked]), places=(place,))
    Dashboard(probes, [0], [sink]).publish(look, step=0, verdict_text="")
    (picture,) = [p for _, p in sink.shown if p.tag.startswith("camdebug/place/")]
    for part in ("heat at a fixed place", "the bottom right corner: 34 % of the heat, rolled round 5 %"):
        assert part in picture.caption
    unlocked = dataclasses.replace(look, verdicts=(dataclasses.replace(locked, locked_place=False),))
    other = Recorder()
    Dashboard(probes, [0], [other]).publish(unlocked, step=0, verdict_text="")
    assert not other.tags("place")
