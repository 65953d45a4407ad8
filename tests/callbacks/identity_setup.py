"""What configurations of the identity matrix do around a training: contexts, compiling, checkpoints, tuning."""

import os
import warnings
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory

import identity_data as data
import small_training
import torch
from pytorch_lightning.tuner import Tuner


@contextmanager
def quiet(*texts):
    """What Lightning says of this configuration."""
    with warnings.catch_warnings():
        for text in texts:
            warnings.filterwarnings("ignore", text)
        yield


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def coarse_products():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def deterministic():
    torch.use_deterministic_algorithms(True)
    return nullcontext()  # the fixture of the tests switches it off again


def compiled(module):
    return torch.compile(module, backend="aot_eager")


def compiled_in_place(module):
    module.compile(backend="aot_eager")
    return module


def part_compiled(module, **options):
    module.net = torch.compile(module.net, **{"backend": "aot_eager", **options})
    return module


def by_inductor(module):
    return part_compiled(module, backend="inductor")


def part_compiled_in_place(module):
    module.net.compile(backend="aot_eager")
    return module


def warmed(module):
    part_compiled_in_place(module)
    module(torch.zeros(8, 3, 16, 16))
    with torch.no_grad():
        module(torch.zeros(16, 3, 16, 16))
    return module


@contextmanager
def in_a_folder():
    before = os.getcwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def save_first_epoch(trainer, module):
    earlier = small_training.trainer(max_epochs=1)
    earlier.fit(module, **data.usual())
    earlier.save_checkpoint("first.ckpt")
    return {"ckpt_path": "first.ckpt"}


def find_rate(trainer, module):
    Tuner(trainer).lr_find(module, num_training=16)


def find_batch_size(trainer, module):
    Tuner(trainer).scale_batch_size(module, steps_per_trial=1, init_val=2, max_trials=1)
