"""`pytest -m versions` is what must hold with every supported Lightning. This file keeps that selection honest."""

import os
import warnings

import lightning
import lightning.fabric
import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from small_training import Module, looks_taken, monitor, ours, seed, train_loader, trainer, val_loader

pytestmark = pytest.mark.versions
PACKAGES = (pytorch_lightning, lightning, lightning.pytorch, lightning.fabric)


def test_the_lightning_that_is_tested_is_the_one_that_was_asked_for():
    """A layer of old packages that is not found would let the newest ones pass in their place."""
    asked = os.environ.get("CAMDEBUG_EXPECT_LIGHTNING", pytorch_lightning.__version__)
    assert [package.__version__ for package in PACKAGES] == [asked] * len(PACKAGES)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Of a training under watch, and of the same one without."""
    folder = tmp_path_factory.mktemp("saved")
    paths = {"watched": folder / "watched.ckpt", "plain": folder / "plain.ckpt"}
    for path, callbacks in zip(paths.values(), ([monitor()], []), strict=True):
        seed(1)
        fitted = trainer(max_epochs=1, callbacks=callbacks)
        with ours():
            fitted.fit(Module(), train_loader(), val_loader())
            fitted.save_checkpoint(path)
    return paths


@pytest.mark.parametrize("strict", [True, False])
def test_a_checkpoint_with_our_state_loads_wherever_one_without_it_does(checkpoints, strict):
    watched, plain = (torch.load(path, weights_only=strict) for path in checkpoints.values())
    (ours_alone,) = set(watched["callbacks"]) - set(plain["callbacks"])
    assert ours_alone == monitor().state_key
    assert all(torch.equal(watched["state_dict"][key], plain["state_dict"][key]) for key in plain["state_dict"])


@pytest.mark.parametrize("saved", ["watched", "plain"])
def test_a_training_resumes_and_a_module_loads_by_lightnings_own_default(checkpoints, saved):
    """Before 2.6 Lightning cannot be asked for ``weights_only``: 2.2 leaves it to torch, 2.5 loads anything."""
    loaded = Module.load_from_checkpoint(checkpoints[saved])
    watching = monitor()
    fitted = trainer(max_epochs=2, callbacks=watching)
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted.fit(loaded, train_loader(), val_loader(), ckpt_path=checkpoints[saved])
    assert said == []
    assert looks_taken(watching.state_dict()) == {"watched": 2, "plain": 1}[saved]
