"""The heat part of an audit: the right numbers, each picture once, whatever batches, workers and precision."""

import re
import weakref

import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from small_audit import BOXLESS, TINY, UNREADABLE, Annotated, bits, net, quick
from small_training import CLASSES, Module, probes, trainer
from torch import nn

from camdebug import ProbeSet, compute_cams, localisation_scores
from camdebug.auditing import engine, work
from camdebug.auditing.work import NOT_REACHED
from camdebug.probe.boxes import coverage

GOOD = [i for i in range(40) if i not in (UNREADABLE, BOXLESS, TINY)]


def by_hand_net():
    """The map of class 0 is the picture, that of class 1 is the other channel."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2)[:, :, None, None])
    return model


def test_numbers_are_those_worked_out_by_hand():
    images = torch.zeros(3, 2, 2, 2)
    images[0, 0] = torch.tensor([[3.0, 1.0], [0.0, 0.0]])  # three quarters in the box, predicted right
    images[1, 1] = torch.tensor([[0.0, 2.0], [2.0, 4.0]])  # nothing in the box, predicted right
    images[2, 0], images[2, 1] = 5.0, torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # all in the box, predicted wrong
    pictures = ProbeSet(images, [0, 1, 1], torch.tensor([[0, 0, 1, 1]] * 3), class_names=["cat", "dog"])
    report = quick(by_hand_net(), pictures, target_layer="0")
    torch.testing.assert_close(report.pictures.scores.outside_mass, torch.tensor([0.25, 1.0, 0.0]).double())
    assert report.pictures.predicted.tolist() == [0, 1, 0]
    cat, dog = report.classes
    assert (cat.probes, cat.valid, cat.recall, cat.outside_mass, cat.chance_outside_mass) == (1, 1, 1.0, 0.25, 0.75)
    assert (dog.probes, dog.recall, dog.outside_mass) == (2, 0.5, 0.5)
    right, wrong = report.split.overall.right, report.split.overall.wrong
    assert (right.outside_mass, wrong.outside_mass, wrong.chance_outside_mass) == (0.625, 0.0, 0.75)
    assert [(w.source_id, w.correct) for w in report.worst[1]] == [("1", True), ("2", False)]
    assert "25 % (75 %)" in str(report)


def test_rows_are_those_of_compute_cams_and_localisation_scores():
    dataset, model = Annotated(), net()
    labels = torch.arange(40)[GOOD] % CLASSES
    found = compute_cams(model, dataset.images[GOOD], labels, chunk_size=40)
    cover = coverage([dataset.boxes[i : i + 1] for i in GOOD], (16, 16), found.grid)
    expected = localisation_scores(found.maps, cover, labels)
    report = quick(model, dataset)
    assert report.pictures.source_ids == tuple(map(str, GOOD))
    assert report.pictures.predicted.tolist() == found.predicted_class.tolist()
    assert report.pictures.scores.validity == expected.validity
    for name in ("area_fraction", "inside_mass", "outside_mass", "outside_lift", "log_density_ratio"):
        torch.testing.assert_close(
            getattr(report.pictures.scores, name), getattr(expected, name), equal_nan=True, rtol=1e-5, atol=1e-6
        )
    assert bool(report.pictures.scores.calibrated_log_density_ratio.isnan().all())


def test_ignored_regions_count_neither_way():
    images, boxes = torch.ones(2, 2, 2, 2), [torch.tensor([[0, 0, 1, 1]])] * 2
    pictures = ProbeSet(images, [0, 1], boxes, ignore=[torch.tensor([[1, 0, 2, 2]])] * 2, class_names=["a", "b"])
    scores = quick(by_hand_net(), pictures, target_layer="0").pictures.scores
    assert (float(scores.area_fraction[0]), float(scores.outside_mass[0])) == (0.5, 0.5)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_any_batch_size_finds_the_same(batch_size):
    one, other = quick(), quick(batch_size=batch_size)
    assert other.pictures.source_ids == one.pictures.source_ids
    torch.testing.assert_close(
        other.pictures.scores.inside_mass, one.pictures.scores.inside_mass, equal_nan=True, rtol=1e-4, atol=1e-6
    )


def test_workers_change_no_bit():
    assert bits(quick(num_workers=2)) == bits(quick())


def test_both_packages_find_the_same_and_each_imports_only_its_own(monkeypatch):
    imported, real = [], engine.import_module
    monkeypatch.setattr(engine, "import_module", lambda name: imported.append(name) or real(name))
    engine._carrier_class.cache_clear()
    one, other = bits(quick()), bits(quick(package=lightning.pytorch))
    assert "lightning.pytorch" in other["report"].pop("versions")
    assert "pytorch_lightning" in one["report"].pop("versions")
    assert one == other
    assert imported == ["pytorch_lightning", "lightning.pytorch"]


def test_a_picture_that_cannot_be_used_is_counted_with_its_reason_and_ends_nothing():
    class Odd(Annotated):
        def __getitem__(self, i):
            image, target = super().__getitem__(i)
            if i == 30:
                return image, {**target, "labels": target["labels"].repeat(2)}
            if i == 31:
                return image * torch.nan, target
            return (image, {**target, "labels": target["labels"] + 7}) if i == 32 else (image, target)

    report = quick(dataset=Odd())
    reasons = {i: reason for reason, ids in report.left_out.items() for i in ids}
    assert set(reasons) == {"3", "11", "20", "30", "31", "32"}
    assert reasons["3"] == "could not be read (OSError)"
    assert reasons["11"].startswith("no box") or "no object" in reasons["11"]
    assert reasons["20"] == "a picture of (3, 8, 8) torch.float32, not (3, 16, 16) torch.float32 as the first one is"
    assert reasons["30"] == "not of the kind that can be read (it has 1 boxes but 2 labels)"
    assert reasons["31"] == "picture not finite"
    assert "expected a class index (0 to 3" in reasons["32"]
    assert len(report.pictures) == 34
    assert report.size == 40
    assert "Left out: 6 of 40 pictures: " in str(report)


def test_a_label_beyond_the_scores_is_left_out_where_nobody_has_named_the_classes():
    class Unnamed(Annotated):
        classes = None

        def __getitem__(self, i):
            image, target = super().__getitem__(i)
            return (image, {**target, "labels": target["labels"] * 0 + 9}) if i == 5 else (image, target)

    report = quick(dataset=Unnamed(broken=False))
    assert report.left_out == {"label 9 is no class of the model, which gives 4 scores": ("5",)}
    assert [c.name for c in report.classes] == ["0", "1", "2", "3"]


def test_pictures_that_the_trainer_does_not_reach_are_said_to_be_missing():
    report = quick(fitted=trainer(limit_predict_batches=2), dataset=Annotated(broken=False))
    assert report.pictures.source_ids == tuple(map(str, range(16)))
    assert report.left_out == {NOT_REACHED: tuple(map(str, range(16, 40)))}
    with pytest.raises(ValueError, match="limit_predict_batches is 0"):
        quick(fitted=trainer(limit_predict_batches=0))


class Counting(pl.Callback):
    """How many tensors of batches are alive at once; ``hoarding``: it keeps the pictures, as nobody should."""

    def __init__(self, *, hoarding):
        self.most, self.seen, self.kept, self.hoarding = 0, [], [], hoarding

    def note(self, tensor):
        self.seen.append(weakref.ref(tensor))
        self.most = max(self.most, sum(ref() is not None for ref in self.seen))

    def on_predict_batch_start(self, fitted, module, batch, *args):
        self.kept += [batch.images] * self.hoarding
        self.note(batch.images)


class Long(Annotated):
    """So many pictures, the same 40 over and over."""

    def __init__(self, count):
        super().__init__(broken=False)
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return super().__getitem__(i % 40)


def test_what_is_kept_does_not_grow_with_the_number_of_pictures(monkeypatch):
    """Neither pictures nor maps nor scores stay: of each picture six numbers are kept, in one array."""
    measure = work.localisation_scores

    def most(count, *, hoarding=False):
        counting = Counting(hoarding=hoarding)

        def scores_of(maps, cover, labels, readable):
            scores = measure(maps, cover, labels, readable=readable)
            for tensor in (maps, cover, scores.inside_mass, scores.area_fraction):
                counting.note(tensor)
            return scores

        monkeypatch.setattr(work, "localisation_scores", scores_of)
        quick(dataset=Long(count), fitted=trainer(callbacks=counting))
        assert len(counting.seen) == 5 * count / 8
        return counting.most

    assert most(160) == most(40) <= 10
    assert most(160, hoarding=True) > 20


def test_the_precision_of_the_trainer_applies():
    seen = []
    model = net()
    model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    quick(model, fitted=trainer(precision="bf16-mixed"))
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    quick(model, fitted=trainer(precision="64-true"))
    assert set(seen) == {torch.float64}
    assert model.conv1.weight.dtype is torch.float32


def test_a_lightning_module_of_either_package_is_explained_by_its_forward_alone():
    class Theirs(lightning.pytorch.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net(x)

        def predict_step(self, batch, index):
            raise AssertionError("not ours to call")

    plain, found = bits(quick()), bits(quick(Theirs()))
    assert found["report"].pop("layer") == "net." + plain["report"].pop("layer")
    del found["report"]["text"], plain["report"]["text"]
    assert found == plain


def test_a_probe_set_is_audited_like_a_dataset():
    report = quick(dataset=probes(per_class=5))
    assert report.size == len(report.pictures) == 20
    assert [c.probes for c in report.classes] == [5, 5, 5, 5]


def test_what_counts_as_label_can_be_said():
    class Several(Annotated):
        def __getitem__(self, i):
            image, target = super().__getitem__(i)
            boxes = torch.cat([target["boxes"], torch.tensor([[0.0, 0.0, 2.0, 2.0]])])
            return image, {"boxes": boxes, "labels": torch.tensor([i % 4 + 10, (i + 1) % 4 + 10]), "kind": i % 4}

    label_map = {10 + k: k for k in range(4)}
    refused = "objects of several classes (pass label= to say which one counts)"
    with pytest.raises(ValueError, match=re.escape(refused)):
        quick(dataset=Several(broken=False), label_map=label_map)
    report = quick(dataset=Several(broken=False), label_map=label_map, label=lambda target: target["kind"])
    assert report.pictures.labels.tolist() == [i % 4 for i in range(40)]


def test_a_checkpoint_is_audited_like_the_model_it_came_from(tmp_path):
    fitted, model = trainer(), Module()
    fitted.strategy.connect(model)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    loaded = Module.load_from_checkpoint(tmp_path / "model.ckpt")
    assert bits(quick(loaded)) == bits(quick(model))
