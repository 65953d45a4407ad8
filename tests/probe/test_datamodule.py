"""Probes from the dataset behind a LightningDataModule's loader, of either package, which is never iterated."""

import random
import re
import warnings

import lightning.pytorch
import numpy as np
import pytest
import pytorch_lightning
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    random_split,
)

from camdebug import ProbeSet

BOTH = pytest.mark.parametrize("package", [pytorch_lightning, lightning.pytorch])


class Pictures(Dataset):
    """Picture i is filled with ``first + i``."""

    classes = ("cat", "dog")

    def __init__(self, count=8, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = torch.full((3, 8, 8), float(self.first + index))
        return image, {"boxes": torch.tensor([[1.0, 1, 5, 5]]), "labels": torch.tensor([index % 2])}


class Untouchable(DataLoader):
    """A loader that must not be iterated."""

    def __iter__(self):
        raise AssertionError("iterated")


def module_of(loaders, *, package=pytorch_lightning, ready=False, name="val_dataloader", **methods):
    """A datamodule that notes what is called; without ``ready`` there is nothing before ``setup``."""
    calls = []

    def prepare_data(self):
        calls.append("prepare_data")

    def setup(self, stage):
        calls.append(f"setup {stage}")
        self.given = loaders() if callable(loaders) else loaders

    body = {"prepare_data": prepare_data, "setup": setup, name: lambda self: self.given, **methods}
    found = type("Own", (package.LightningDataModule,), body)()
    if ready:
        found.given = loaders
    return found, calls


def shown(probes):
    return sorted(probes.images[:, 0, 0, 0].int().tolist())


def quietly(*given, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProbeSet.from_datamodule(*given, **arguments)


def all_states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


class TestSetup:
    @BOTH
    def test_what_is_not_set_up_yet_is_prepared_and_set_up_once_for_the_stage(self, package):
        given, calls = module_of(Untouchable(Pictures()), package=package)
        probes = ProbeSet.from_datamodule(given)
        assert calls == ["prepare_data", "setup validate"]
        assert probes.fingerprint == ProbeSet.from_dataset(Pictures()).fingerprint
        assert probes.source_ids == ProbeSet.from_dataset(Pictures()).source_ids

    @BOTH
    def test_what_is_set_up_already_stays_as_it_is(self, package):
        given, calls = module_of(Untouchable(Pictures()), package=package, ready=True)
        assert shown(ProbeSet.from_datamodule(given)) == list(range(8))
        assert calls == []

    def test_a_loader_of_nothing_is_not_set_up(self):
        given, calls = module_of(Untouchable(Pictures()))
        given.given = DataLoader(None, sampler=SequentialSampler([]))
        assert shown(ProbeSet.from_datamodule(given)) == list(range(8))
        assert calls == ["prepare_data", "setup validate"]

    def test_the_split_of_a_training_is_kept(self):
        """setup() draws another split each time, so asking again would take pictures that are trained on."""
        given, calls = module_of(lambda: Untouchable(random_split(Pictures(40), [20, 20])[1]))
        torch.manual_seed(3)
        given.setup("fit")
        held_out = sorted(given.given.dataset.indices)
        assert shown(ProbeSet.from_datamodule(given)) == held_out
        assert calls == ["setup fit"]
        given.setup("fit")
        assert sorted(given.given.dataset.indices) != held_out

    def test_other_processes_of_a_machine_do_not_prepare(self, monkeypatch):
        monkeypatch.setenv("LOCAL_RANK", "1")
        given, calls = module_of(Untouchable(Pictures()))
        ProbeSet.from_datamodule(given)
        assert calls == ["setup validate"]

    def test_generators_stay_as_they_are_whatever_setup_draws(self):
        def loaders():
            random.random(), np.random.rand(), torch.rand(1)
            return Untouchable(Pictures(), shuffle=True)

        before = all_states()
        loaders()
        assert all(a != b for a, b in zip(before, all_states(), strict=True))
        before = all_states()
        ProbeSet.from_datamodule(module_of(loaders)[0])
        assert all_states() == before

    @BOTH
    def test_a_module_that_asks_its_trainer_is_told_to_have_one(self, package):
        def loader(self):
            return Untouchable(Pictures(), batch_size=self.trainer.num_devices)

        given, _ = module_of([], package=package, val_dataloader=loader)
        words = (
            "no attribute 'num_devices'), and has no Trainer; where it asks its Trainer for something set datamodule.t"
        )
        with pytest.raises(ValueError, match=re.escape(words)):
            ProbeSet.from_datamodule(given)
        given.trainer = package.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        assert shown(ProbeSet.from_datamodule(given)) == list(range(8))

    def test_another_missing_attribute_is_not_explained_by_the_trainer(self):
        def loader(self):
            return self.nothing

        with pytest.raises(AttributeError, match="nothing"):
            ProbeSet.from_datamodule(module_of([], val_dataloader=loader)[0])

    def test_what_goes_wrong_in_setup_is_not_hidden(self):
        def broken():
            raise OSError("no such disk")

        with pytest.raises(OSError, match="no such disk"):
            ProbeSet.from_datamodule(module_of(broken)[0])


class TestLoaders:
    @pytest.mark.parametrize(
        ("stage", "name"),
        [
            ("fit", "train_dataloader"),
            ("validate", "val_dataloader"),
            ("test", "test_dataloader"),
            ("predict", "predict_dataloader"),
        ],
    )
    def test_each_stage_has_its_loader(self, stage, name):
        given, calls = module_of(Untouchable(Pictures(4, first=60)), name=name)
        assert shown(ProbeSet.from_datamodule(given, stage=stage)) == [60, 61, 62, 63]
        assert calls == ["prepare_data", f"setup {stage}"]

    @BOTH
    def test_a_stage_without_a_loader_is_an_error_that_names_those_that_have_one(self, package):
        given, _ = module_of(Untouchable(Pictures()), package=package, train_dataloader=lambda self: self.given)
        words = 'test_dataloader(), which Own does not define; pass stage="fit" or stage="validate"'
        with pytest.raises(ValueError, match=re.escape(words)):
            ProbeSet.from_datamodule(given, stage="test")
        of_datasets = package.LightningDataModule.from_datasets(val_dataset=Pictures())
        assert shown(ProbeSet.from_datamodule(of_datasets)) == list(range(8))

    @pytest.mark.parametrize("kind", ["list", "dict", "combined"])
    def test_of_several_loaders_one_is_chosen_by_position_or_key(self, kind):
        pair = {"a": Untouchable(Pictures(4)), "b": Untouchable(Pictures(4, first=10))}
        loaders = list(pair.values()) if kind == "list" else pair
        if kind == "combined":
            loaders = lightning.pytorch.utilities.CombinedLoader(pair, "sequential")
        given, _ = module_of(loaders, ready=True)
        assert shown(ProbeSet.from_datamodule(given)) == [0, 1, 2, 3]
        assert shown(ProbeSet.from_datamodule(given, loader=1)) == [10, 11, 12, 13]
        if kind != "list":
            assert shown(ProbeSet.from_datamodule(given, loader="b")) == [10, 11, 12, 13]
        for wrong in (2, -1, "c"):
            with pytest.raises(ValueError, match=re.escape(f"of val_dataloader(), got {wrong!r}")):
                ProbeSet.from_datamodule(given, loader=wrong)

    @pytest.mark.parametrize(
        ("sampler", "expected"),
        [
            (SequentialSampler(range(8)), range(8)),
            (RandomSampler(range(8)), range(8)),
            (SubsetRandomSampler([1, 2, 7]), [1, 2, 7]),
        ],
    )
    def test_a_sampler_that_keeps_to_some_pictures_is_followed(self, sampler, expected):
        given, _ = module_of(Untouchable(Pictures(), sampler=sampler), ready=True)
        assert shown(ProbeSet.from_datamodule(given)) == list(expected)

    def test_a_sampler_that_does_not_say_what_it_takes_is_refused(self):
        given, _ = module_of(
            Untouchable(Pictures(), sampler=WeightedRandomSampler([1.0] * 4 + [0.0] * 4, 4)), ready=True
        )
        with pytest.raises(
            ValueError, match=re.escape("val_dataloader() draws its pictures with a WeightedRandomSampler")
        ):
            ProbeSet.from_datamodule(given)

        class Own(BatchSampler):
            pass

        batches = Own(SequentialSampler(range(8)), 2, False)
        with pytest.raises(ValueError, match="draws its pictures with a Own, which does not say"):
            ProbeSet.from_datamodule(module_of(Untouchable(Pictures(), batch_sampler=batches), ready=True)[0])

    def test_a_subset_is_read_as_it_is(self):
        given, _ = module_of(Untouchable(Subset(Pictures(), [2, 5])), ready=True)
        probes = ProbeSet.from_datamodule(given)
        assert (shown(probes), probes.class_names) == ([2, 5], ("cat", "dog"))


class Stream(IterableDataset):
    def __iter__(self):
        raise AssertionError("iterated")


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "arguments", "error", "words"),
        [
            (
                module_of(DataLoader(Stream()))[0],
                {},
                TypeError,
                "behind val_dataloader(), got the IterableDataset Stream",
            ),
            (module_of([])[0], {}, ValueError, "loader: expected one of none of val_dataloader(), got 0"),
            (module_of([(1, 2)])[0], {}, TypeError, "expected val_dataloader() to give a DataLoader, got tuple"),
            (module_of(Pictures())[0], {}, TypeError, "expected val_dataloader() to give a DataLoader, got Pictures"),
            (DataLoader(Pictures()), {}, TypeError, "datamodule: expected a LightningDataModule with val_dataloader()"),
            (None, {}, TypeError, "got NoneType; for a dataset there is ProbeSet.from_dataset, for"),
            (
                module_of([])[0],
                {"stage": "val"},
                ValueError,
                "stage: expected one of fit, validate, test, predict, got",
            ),
        ],
    )
    def test_what_has_no_dataset_to_read_is_one_clear_error(self, given, arguments, error, words):
        with pytest.raises(error, match=re.escape(words)):
            ProbeSet.from_datamodule(given, **arguments)


class TestArguments:
    def test_they_are_those_of_from_dataset(self):
        given, _ = module_of(Untouchable(Pictures(30)), ready=True)
        asked = {"per_class": 3, "seed": 5, "class_to_idx": {"x": 0, "y": 1}, "mean": (1.0,) * 3, "std": (2.0,) * 3}
        one, other = quietly(given, **asked), None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = ProbeSet.from_dataset(Pictures(30), **asked)
        assert (one.fingerprint, one.source_ids, one.mean) == (other.fingerprint, other.source_ids, other.mean)
        assert quietly(given, label=lambda t: 0, label_map={0: 0, 1: 0}).counts == (30,)

    def test_the_one_warning_is_at_the_users_line(self):
        given, _ = module_of(Untouchable(Pictures(30)), ready=True)
        with pytest.warns(UserWarning, match="per_class is 3") as caught:
            ProbeSet.from_datamodule(given, per_class=3)
        assert [w.filename for w in caught] == [__file__]

    @BOTH
    def test_batches_that_change_on_the_way_to_the_model_are_said(self, package):
        hook = {"on_after_batch_transfer": lambda self, batch, index: batch}
        given, _ = module_of(Untouchable(Pictures()), package=package, ready=True, **hook)
        with pytest.warns(
            UserWarning, match="changes batches in on_after_batch_transfer, which probes do not go through"
        ):
            ProbeSet.from_datamodule(given)
