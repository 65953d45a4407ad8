"""One look, without any trainer: layer, maps, contrasts, verdicts and their memory."""

import copy
import io

import pytest
import torch
from small_training import Net, probes

from camdebug.cam.lending.borrow import borrowed
from camdebug.cam.model.precision import ModelPrecision
from camdebug.observe import Observer, backgrounds
from camdebug.observe import observer as observer_room
from camdebug.probe.probe_set import ProbeSet
from camdebug.verdict.judge import Judge


def net():
    torch.manual_seed(0)
    return Net()


def greys(count):
    """So many pictures of 16 px, no two alike."""
    return torch.arange(float(count))[:, None, None, None].expand(count, 3, 16, 16) / count


def look(observer, model, epoch=0, looks_left=None):
    with borrowed(model):
        return observer.look(model, ModelPrecision(model), epoch=epoch, looks_left=looks_left)


def test_a_look_gives_maps_scores_contrasts_and_verdicts_of_all_probes():
    record = look(Observer(probes(), chunk_size=5), net(), epoch=3)
    assert record.epoch == 3
    assert record.label_maps.maps.shape == (80, 8, 8)
    assert torch.equal(record.predicted_maps.class_idx, record.label_maps.predicted_class)
    assert [c.classes for c in record.contrasts] == [(0,), (1,), (2,), (3,)]
    assert [v.class_idx for v in record.verdicts] == [0, 1, 2, 3]


def test_chunks_do_not_change_what_is_found():
    one, other = (look(Observer(probes(), chunk_size=size), net()) for size in (3, 100))
    torch.testing.assert_close(one.label_maps.maps, other.label_maps.maps)
    for a, b in zip(one.contrasts, other.contrasts, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-5)


def test_the_same_seed_and_epoch_give_the_same_look_and_another_epoch_other_donors():
    fixed = probes()
    same, again, other = (look(Observer(fixed), net(), epoch=epoch) for epoch in (1, 1, 2))
    assert [c.value for c in same.contrasts] == [c.value for c in again.contrasts]
    assert [c.value for c in same.contrasts] != [c.value for c in other.contrasts]


@pytest.mark.parametrize("without", ["contrast", "boxes"])
def test_without_contrast_or_boxes_nothing_is_contrasted_and_no_class_can_be_judged(without):
    fixed = probes(per_class=25)
    if without == "boxes":
        fixed = ProbeSet(fixed.images, fixed.labels)
    observer = Observer(fixed, contrast=without != "contrast")
    assert observer.testable_classes == []
    assert look(observer, net()).contrasts == ()


def test_classes_with_enough_usable_boxes_can_be_judged_if_there_are_two():
    def testable(counts):
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        boxes = torch.tensor([[2.0, 2, 9, 9]]).repeat(len(labels), 1)
        names = [f"c{k}" for k in range(len(counts))]
        return Observer(ProbeSet(greys(len(labels)), labels, boxes, class_names=names)).testable_classes

    assert testable([20, 19, 25]) == ["c0", "c2"]
    assert testable([20, 19]) == []


def test_boxes_that_are_too_small_or_too_large_do_not_count():
    labels = torch.arange(80) % 2
    boxes = torch.tensor([[0.0, 0, 8, 8]]).repeat(80, 1)
    boxes[:21] = torch.tensor([0.0, 0, 2, 2])  # 4 of 256 pixels, 1.6 %
    boxes[21:42] = torch.tensor([0.0, 0, 16, 13])
    observer = Observer(ProbeSet(greys(80), labels, boxes))
    assert observer.testable_classes == []


@pytest.mark.parametrize(("classes", "tests"), [(2, 2), (3, 3)])
@pytest.mark.parametrize("looks_left", [1, 7, None])
def test_the_p_value_that_can_be_resolved_is_the_one_that_the_judge_asks_for(monkeypatch, classes, tests, looks_left):
    """With two classes the judge sees one p-value, doubled: half its budget must be resolved in each class."""
    resolved, asked = [], []
    contrasts = backgrounds.contrasts

    def note_resolved(*args, smallest_p, **kwargs):
        resolved.append(smallest_p)
        return contrasts(*args, smallest_p=smallest_p, **kwargs)

    class Noting(Judge):
        def judge(self, look, classes, contrasts, swaps, places):
            asked.append(self.screen_threshold(tests=len(contrasts), looks_left=look.looks_left))
            return super().judge(look, classes, contrasts, swaps, places)

    monkeypatch.setattr(backgrounds, "contrasts", note_resolved)
    monkeypatch.setattr(observer_room, "Judge", Noting)
    observer = Observer(probes(classes=classes), alpha=0.1)
    look(observer, net(), looks_left=looks_left)
    look(observer, net(), epoch=1, looks_left=looks_left)
    corrections = 1 if classes > 2 else 2
    assert len(resolved) == 2
    assert resolved == pytest.approx([max(a / corrections, 1e-6) for a in asked])
    assert asked[0] == pytest.approx(0.06 / (looks_left or 2) / (classes if classes > 2 else 1))
    assert resolved[0] == pytest.approx(0.06 / (looks_left or 2) / tests)


@pytest.mark.parametrize("gives", ["logits", "probabilities"])
def test_scores_that_look_like_probabilities_are_noticed(gives):
    model = net()
    if gives == "probabilities":
        model.register_forward_hook(lambda module, inputs, output: output.softmax(1))
    observer = Observer(probes())
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
    assert observer.gives_probabilities is (gives == "probabilities")


def test_more_classes_than_scores_are_refused_by_name():
    model = net()
    with borrowed(model), pytest.raises(ValueError, match=r"^probes: have 5 classes, but the model gives 4 scores"):
        Observer(probes(classes=5)).prepare(model, ModelPrecision(model))


def test_boxes_are_laid_on_the_grid_once(monkeypatch):
    fixed = probes()
    calls = []
    coverage = ProbeSet.coverage
    monkeypatch.setattr(ProbeSet, "coverage", lambda self, grid: calls.append(grid) or coverage(self, grid))
    observer, model = Observer(fixed), net()
    for epoch in range(3):
        look(observer, model, epoch=epoch)
    assert calls.count((8, 8)) <= 2  # once for the object, once for what may be read


def test_boxes_are_laid_once_on_the_grid_of_the_maps_and_once_on_the_layers(monkeypatch):
    def at_full_size(model, images, class_idx):
        return images.abs().mean(1)

    fixed = probes()
    observer, model = Observer(fixed, method=at_full_size), net()
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
    calls = []
    coverage = ProbeSet.coverage
    monkeypatch.setattr(ProbeSet, "coverage", lambda self, grid: calls.append(tuple(grid)) or coverage(self, grid))
    for epoch in range(3):
        record = look(observer, model, epoch=epoch)
    assert record.label_maps.grid == observer.grid == (16, 16)
    assert sorted(calls) == sorted([*2 * [(8, 8)], *2 * [(16, 16)]])


def test_state_goes_on_elsewhere_and_only_with_the_same_probes():
    fixed = probes()
    observer, model = Observer(fixed), net()
    look(observer, model)
    look(observer, model, epoch=1)
    other = Observer(probes())
    other.load_state_dict(observer.state_dict())
    file, again = io.BytesIO(), io.BytesIO()
    torch.save(other.state_dict(), file)
    torch.save(observer.state_dict(), again)
    assert file.getvalue() == again.getvalue()
    assert other.state_dict()["judge"]["screening"][1] == 2
    with pytest.raises(ValueError, match=r"^probes: the checkpoint was made with another probe set"):
        Observer(probes(seed=3)).load_state_dict(observer.state_dict())


def test_forgetting_leaves_no_verdicts_and_no_layer():
    observer = Observer(probes())
    look(observer, net())
    observer.forget()
    assert observer.layer is None
    assert observer.state_dict() == Observer(probes()).state_dict()


def test_a_layer_that_was_replaced_after_the_start_is_found_anew():
    observer, model = Observer(probes()), net()
    look(observer, model)
    replaced = observer.layer.module
    look(observer, net())
    assert observer.layer.module is not replaced


def test_a_copy_holds_no_part_of_the_model():
    observer = Observer(probes())
    model = net()
    with borrowed(model):
        observer.prepare(model, ModelPrecision(model))
    assert copy.deepcopy(observer).layer is None
    assert observer.layer is not None


def test_memory_that_runs_out_halves_the_chunks_until_one_picture():
    class Greedy(Net):
        def __init__(self, most):
            super().__init__()
            self.most, self.sizes = most, []

        def forward(self, x):
            sizes.append(len(x))
            if len(x) > self.most:
                raise torch.OutOfMemoryError("too many")
            return super().forward(x)

    for most, expected in ((3, {8, 4, 2}), (1, {8, 4, 2, 1})):
        sizes = []
        observer = Observer(probes(), chunk_size=8, contrast=False)
        model = Greedy(most)
        look(observer, model)
        assert expected <= set(sizes)
        sizes.clear()
        look(observer, model, epoch=1)
        assert max(sizes) <= most  # remembered
    with pytest.raises(torch.OutOfMemoryError):
        look(Observer(probes(), chunk_size=8), Greedy(0))


def test_a_budget_that_no_test_can_reach_is_said_before_the_training():
    observer = Observer(probes(), alpha=0.05)
    assert observer.out_of_reach(20) is None
    said = observer.out_of_reach(100_000)
    assert said is not None
    assert "each test may spend 6.2e-07" in said  # a swap's share, which is larger than a contrast's here
    assert "20 probes of a class cannot give a p-value below 9.5e-07" in said
    assert Observer(probes(), contrast=False).out_of_reach(100_000) is None


def test_a_look_has_swaps_places_splits_and_steadiness_and_full_checks_only_where_planned():
    observer, model = Observer(probes(classes=3)), net()
    with borrowed(model):
        observer.remember_initial(model, ModelPrecision(model))
    first = look(observer, model, looks_left=5)
    assert {s.classes[0] for s in first.swaps} == {0, 1, 2}
    assert not any(s.decides for s in first.swaps)  # an untrained net has learned nothing
    assert first.places == ()
    assert first.steadiness.shift is None
    assert first.steadiness.initial.jensen_shannon == pytest.approx(0, abs=1e-3)  # float16
    assert first.right_against_wrong.overall.right.probes + first.right_against_wrong.overall.wrong.probes == len(
        observer.probes
    )
    assert first.verdict.level is first.verdicts[0].level


def test_a_look_that_runs_out_of_memory_counts_once():
    class Greedy(Net):
        armed = True

        def forward(self, x):
            if self.armed and len(x) == 8:
                self.armed = False
                raise torch.OutOfMemoryError("once")
            return super().forward(x)

    observer, plain = Observer(probes(), chunk_size=8), Observer(probes(), chunk_size=8)
    look(observer, Greedy())
    look(plain, net())
    assert observer.state_dict()["judge"]["screening"] == plain.state_dict()["judge"]["screening"]
    assert observer.state_dict()["judge"]["plan"] == plain.state_dict()["judge"]["plan"]


def test_a_spent_error_budget_is_said():
    observer = Observer(probes(), alpha=0.05)
    judge = observer._judge
    judge._screening.spent, judge._confirming.spent = 0.03, 0.005
    assert observer.out_of_reach(5) is None  # a swap may still confirm
    judge._confirming.spent = 0.01
    assert "have spent the whole error budget" in observer.out_of_reach(5)
