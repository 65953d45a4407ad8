"""A disk that is full or not writable, for real: the kernel refuses. What is ours does not cost what is the user's."""

import resource
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty import assert_said, case_of, undisturbed, watch
from pytorch_lightning.loggers import TensorBoardLogger
from small_training import Memory, Module, differences, hooks_on, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from camdebug.sinks import tensorboard

ROOM = 20_000
"""Bytes that a file may have: all scalars of the training and our texts fit into it, our pictures do not."""


@contextmanager
def full_disk(limit=ROOM):
    """No file grows beyond so many bytes: the kernel answers EFBIG, as it answers ENOSPC on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(autouse=True)
def _quiet_threads(monkeypatch):
    """The writer's thread prints its error and ends; what matters is what reaches the training."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)


def train(folder, *monitors):
    memory, logger = Memory(), TensorBoardLogger(folder, name="", version="0")
    with full_disk():
        outcome = run(case_of(logger=[logger, memory]), *monitors)
    return outcome, {**outcome.state, "logged": memory.of_user()}, logger


def scalars(logger, tag):
    events = EventAccumulator(logger.log_dir).Reload()
    return [(e.step, e.value) for e in events.Scalars(tag)]


def test_a_disk_that_our_pictures_fill_costs_our_pictures_alone(tmp_path):
    _, _, plain = train(tmp_path / "without")
    watching = watch()
    outcome, state, logger = train(tmp_path / "with", watching)

    assert_said(
        outcome.said,
        [
            r"^camdebug: TensorBoard did not take pictures \(OSError: \[Errno 27\] File too large\)",
            r"^camdebug, in sum: TensorBoard did not take pictures \d+ times \(epochs 0 to 1: OSError: \[Errno 27\]",
        ],
    )
    assert differences(undisturbed().state, state) == []
    assert hooks_on(outcome.model) == 0
    assert watching.last_record.epoch == 1
    for tag in ("train_loss_step", "train_loss_epoch", "val_loss"):
        assert scalars(logger, tag) == scalars(plain, tag)
    assert [step for step, _ in scalars(logger, "camdebug/outside_mass")] == [s for s, _ in scalars(plain, "val_loss")]


def test_without_room_kept_our_pictures_end_the_training(tmp_path, monkeypatch):
    """The negative control: the writer's thread dies of our pictures, and the user's next scalar raises."""

    @contextmanager
    def careless(writer):
        yield writer

    monkeypatch.setattr(tensorboard, "room_kept", careless)
    with pytest.raises(OSError, match="File too large"):
        train(tmp_path, watch())


def test_what_does_not_fit_leaves_no_torn_record_behind(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    writer.add_scalar("before", 1.0, 0)
    writer.flush()
    (file,) = tmp_path.iterdir()
    size = file.stat().st_size
    with full_disk(2000), pytest.raises(OSError, match="File too large"), tensorboard.room_kept(writer):
        writer.add_text("ours", "x" * 5000, 0)
    assert file.stat().st_size == size
    writer.add_scalar("after", 2.0, 1)
    writer.close()
    assert set(EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]) == {"before", "after"}


def test_a_writer_that_fails_before_us_is_left_as_it_is(tmp_path):
    """Whatever the user's own disk does to the user's own scalars happens as it would without us."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    with full_disk(2000):
        writer.add_text("the user's", "x" * 5000, 0)
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"), tensorboard.room_kept(writer):
                raise AssertionError("never reached")
        with pytest.raises(OSError, match="File too large"):
            writer.add_scalar("the user's", 1.0, 1)


class FolderBecomesAFile(Module):
    """Once the logger is open. The module logs nothing itself, so nothing of its own fails."""

    def setup(self, stage):
        for logger in self.loggers[:1]:
            shutil.rmtree(logger.log_dir)
            Path(logger.log_dir).touch()

    def log(self, name, *args, **kwargs):
        if name.startswith("camdebug/"):
            super().log(name, *args, **kwargs)


def test_a_log_folder_that_becomes_a_file(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="0")
    without = run(case_of(FolderBecomesAFile, logger=TensorBoardLogger(tmp_path, name="", version="1")))
    outcome = run(case_of(FolderBecomesAFile, logger=logger), watch())
    assert differences(without.state, outcome.state) == []
    assert "TensorBoard did not take facts (NotADirectoryError" in outcome.said[0]
    assert "TensorBoard did not take pictures" in outcome.said[-1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1"]
