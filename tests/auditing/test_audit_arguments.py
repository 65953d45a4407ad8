"""A wrong argument is refused by name before anything runs."""

import re

import pytest
import torch
from small_audit import Annotated, net, quick
from small_training import probes, trainer

from camdebug import audit
from camdebug.auditing.engine import package_of


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected a whole number, 1 or more, got 0"),
        ({"num_workers": -1}, ValueError, "num_workers: expected a whole number, 0 or more, got -1"),
        ({"per_class": 2.5}, ValueError, "per_class: expected a whole number, 0 or more, got 2.5"),
        ({"seed": -1}, ValueError, "seed: "),
        ({"alpha": 1.0}, ValueError, "alpha: expected a share between 0 and 1, got 1.0"),
        ({"method": "gradcamm"}, ValueError, "method: "),
        ({"probes": "mine"}, TypeError, "probes: expected a camdebug.ProbeSet, got str"),
        (
            {"probes": probes(2), "class_names": list("abcd")},
            ValueError,
            "probes: expected the classes of the dataset, ('a', 'b', 'c', 'd'), got ('kind 0', ",
        ),
        ({"dataset": torch.utils.data.DataLoader(Annotated())}, TypeError, "dataset: expected a map-style dataset"),
        (
            {"dataset": probes(per_class=2), "class_names": ["a"]},
            ValueError,
            "class_names: expected None with a ProbeSet",
        ),
        ({"model": lambda x: x}, TypeError, "model: expected a torch.nn.Module, got function"),
        (
            {"class_names": [f"kind {k}" for k in range(7)]},
            ValueError,
            "class_names: there are 7 classes, but the model",
        ),
        ({"target_layer": "conv9"}, ValueError, "target_layer: "),
    ],
)
def test_a_wrong_argument_is_named(options, error, text):
    with pytest.raises(error, match="^" + re.escape(text)):
        quick(**options)


def test_what_is_no_trainer_is_refused():
    with pytest.raises(
        TypeError, match=r"^trainer: expected a Trainer of pytorch_lightning or lightning.pytorch, got str"
    ):
        audit("mine", net(), Annotated())


def test_a_trainer_of_the_users_own_class_belongs_to_its_package():
    import pytorch_lightning as pl

    class Mine(pl.Trainer):
        pass

    assert package_of(Mine(accelerator="cpu", logger=False, enable_checkpointing=False)) == "pytorch_lightning"


@pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"])
def test_a_strategy_that_shards_the_model_is_refused_before_it_starts(name, monkeypatch):
    fitted = trainer()
    fitted.strategy.__class__ = type(name, (type(fitted.strategy),), {})
    monkeypatch.setattr(type(fitted), "predict", lambda *args, **options: pytest.fail("it has started"))
    with pytest.raises(ValueError, match=f"^trainer: {name} .*; for an audit use 'ddp' or one device"):
        quick(fitted=fitted)


def test_processes_that_are_spawned_are_refused():
    with pytest.raises(ValueError, match=r"^trainer: .*does not come back when they are spawned or forked"):
        quick(fitted=trainer(strategy="ddp_spawn", devices=2))


def test_a_dataset_without_any_usable_picture_says_why():
    class Broken(Annotated):
        def __getitem__(self, i):
            raise OSError("gone")

    with pytest.raises(
        ValueError, match=r"none of its first 20 pictures can be audited: 20 x could not be read \(OSError"
    ):
        quick(dataset=Broken())


def test_boxes_from_before_a_resize_are_refused_at_once():
    class Stale(Annotated):
        def __getitem__(self, i):
            image, target = super().__getitem__(i)
            return image, {**target, "boxes": target["boxes"] * 10}

    with pytest.raises(ValueError, match=r"dataset: boxes: .* reach beyond the 16x16 picture"):
        quick(dataset=Stale(broken=False))
