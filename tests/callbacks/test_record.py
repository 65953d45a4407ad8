"""The record on disk beside a training: where it is, what it holds, and what becomes of it when things go wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from small_training import (
    Case,
    Module,
    differences,
    monitor,
    ours,
    probes,
    run,
    seed,
    train_loader,
    trainer,
    val_loader,
)

from camdebug import CAMMonitor
from camdebug.callbacks import trainer_facts
from camdebug.store import disk, load_record

RECORD = "camdebug-record"


def small(**options):
    return monitor(contrast=False, log_probes=1, **{"record": True, **options})


def fit(folder, *callbacks, epochs=2, resume=None, **options):
    seed(1)
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted = trainer(max_epochs=epochs, callbacks=list(callbacks), **{"default_root_dir": folder, **options})
        fitted.fit(Module(), train_loader(), val_loader(), ckpt_path=resume)
    return said


def tree(folder):
    """Every file and its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_record_holds_what_every_look_found_and_how_the_run_ended(tmp_path):
    watching = small()
    assert fit(tmp_path, watching, epochs=3) == []
    record = load_record(tmp_path / RECORD)
    assert (record.epochs, record.notes, record.status) == ((0, 1, 2), (), "completed")
    assert np.array_equal(record.maps(2)["label_maps"], watching.last_record.label_maps.maps.numpy())
    assert [row["outside_mass"] for row in record.probe_rows() if row["epoch"] == 2] == pytest.approx(
        watching.last_record.scores.outside_mass.tolist()
    )
    manifest = record.manifest
    assert (manifest.probe_fingerprint, manifest.layer) == (watching.probes.fingerprint, "net.norm2")
    assert (manifest.class_names, manifest.every_n_epochs) == (watching.probes.class_names, 1)


LOGGERS = {
    "no logger": (lambda folder: False, "camdebug-record"),
    "TensorBoard": (lambda folder: TensorBoardLogger(folder, name="tb"), "tb/version_0/camdebug-record"),
    "CSV, of a named version": (lambda folder: CSVLogger(folder, name="a", version="b"), "a/b/camdebug-record"),
}


@pytest.mark.parametrize("name", LOGGERS)
def test_a_record_lies_where_lightning_would_put_checkpoints(tmp_path, name):
    make, expected = LOGGERS[name]
    fit(tmp_path, small(), epochs=1, logger=make(tmp_path))
    assert load_record(tmp_path / expected).epochs == (0,)
    assert [str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("manifest.json")] == [expected]


def test_a_folder_of_ones_own_is_taken_as_it_is_given(tmp_path):
    fit(tmp_path, small(record=tmp_path / "here" / "it is"), epochs=1)
    assert load_record(tmp_path / "here" / "it is").epochs == (0,)


def test_two_monitors_keep_two_records(tmp_path):
    fit(tmp_path, small(), small(name="second"), epochs=1)
    assert load_record(tmp_path / RECORD).manifest.name == "camdebug"
    assert load_record(tmp_path / "second-record").manifest.name == "second"


@pytest.mark.parametrize("options", [{"fast_dev_run": 1}, {}])
def test_a_trial_run_and_a_monitor_without_a_record_leave_nothing(tmp_path, options):
    assert fit(tmp_path, small(record=bool(options)), epochs=1, **options) == []
    assert list(tmp_path.iterdir()) == []


def test_where_logs_go_elsewhere_people_are_told_how_to_have_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoardLogger, "save_dir", "s3://bucket/logs")
    monkeypatch.setattr(trainer_facts, "logger_step", lambda *args, **options: 0)
    logger = TensorBoardLogger(tmp_path, name="tb")
    fitted = trainer(callbacks=[], logger=logger)
    assert trainer_facts.run_folder(fitted) is None
    watching = small()
    with ours() as said:
        watching._keeper.open(fitted, None, last_epoch=-1)
    assert len(said) == 1
    assert "Pass record= with a folder" in said[0]


def test_the_record_of_another_run_stays_as_it_is_and_the_move_is_said(tmp_path):
    fit(tmp_path, small(), epochs=1)
    before = tree(tmp_path / RECORD)
    said = fit(tmp_path, small(), epochs=2)
    assert len(said) == 1
    assert f"{tmp_path / RECORD}-1, because {tmp_path / RECORD} holds the record of another run." in said[0]
    assert tree(tmp_path / RECORD) == before
    assert load_record(tmp_path / f"{RECORD}-1").epochs == (0, 1)


def test_files_of_somebody_else_stay_as_they_are(tmp_path):
    (tmp_path / RECORD).mkdir()
    (tmp_path / RECORD / "thesis.txt").write_text("do not lose me")
    said = fit(tmp_path, small(), epochs=1)
    assert len(said) == 1
    assert f"because {tmp_path / RECORD} holds other files." in said[0]
    assert tree(tmp_path / RECORD) == {"thesis.txt": b"do not lose me"}
    assert load_record(tmp_path / f"{RECORD}-1").epochs == (0,)


def saver(folder):
    return ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)


def in_two_parts(tmp_path, *, first, second):
    """Train for ``first`` epochs, then from the checkpoint of epoch 1 to ``second``. The record, and what was said."""
    fixed, folder = probes(), tmp_path / "record"
    part = small(probes=fixed, record=folder)
    fit(tmp_path, part, saver(tmp_path), epochs=first, enable_checkpointing=True)
    said = fit(tmp_path, small(probes=fixed, record=folder), epochs=second, resume=tmp_path / "epoch=1.ckpt")
    assert load_record(folder).manifest.run_id == part._keeper.run_id
    return load_record(folder), said


def test_a_resumed_run_goes_on_in_its_record(tmp_path):
    record, said = in_two_parts(tmp_path, first=2, second=4)
    assert (record.epochs, len(record.starts), said) == ((0, 1, 2, 3), 2, [])


def test_a_resumed_run_whose_logs_begin_anew_begins_its_record_anew_and_says_so(tmp_path, capsys):
    """As those of a TensorBoardLogger do, which counts versions."""
    fixed = probes()
    logs = {"enable_checkpointing": True, "logger": TensorBoardLogger(tmp_path, name="tb")}
    fit(tmp_path, small(probes=fixed, verbose=True), saver(tmp_path), epochs=2, **logs)
    assert "begun anew" not in capsys.readouterr().out
    logs = {"logger": TensorBoardLogger(tmp_path, name="tb")}
    again = small(probes=fixed, verbose=True)
    assert fit(tmp_path, again, epochs=3, resume=tmp_path / "epoch=1.ckpt", **logs) == []
    first, second = (load_record(tmp_path / "tb" / f"version_{n}" / RECORD) for n in (0, 1))
    assert (first.epochs, second.epochs) == ((0, 1), (2,))
    assert first.manifest.run_id == second.manifest.run_id
    assert f"Record: {second.folder}, begun anew; earlier looks stay where they are." in capsys.readouterr().out


def test_a_run_resumed_from_before_sets_aside_what_came_after_and_says_so(tmp_path):
    record, said = in_two_parts(tmp_path, first=4, second=3)
    assert len(said) == 1
    assert "set aside what the record held of epochs 2 to 3" in said[0]
    assert record.epochs == (0, 1, 2)
    assert len(list((record.folder / "superseded").rglob("look.json"))) == 2


def test_the_training_has_the_same_bits_with_a_record(tmp_path):
    without = run(Case())
    outcome = run(Case(), monitor(record=tmp_path / "record"))
    assert differences(without.state, outcome.state) == []
    assert outcome.said == []
    assert load_record(tmp_path / "record").epochs == (0, 1, 2)


@pytest.mark.parametrize("folder", ["/dev/null/record", "/proc/record"])
def test_a_folder_that_cannot_be_made_costs_the_record_alone(folder):
    without, outcome = run(Case()), run(Case(), monitor(record=folder))
    assert differences(without.state, outcome.state) == []
    assert len(outcome.said) == 1
    assert "opening the record failed" in outcome.said[0]


@pytest.mark.parametrize("broken", ["run_folder", "is_a_trial"])
def test_a_trainer_that_cannot_say_where_its_logs_are_costs_the_record_alone(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(trainer_facts, broken, lambda fitted: 1 / 0)
    said = fit(tmp_path, small(), epochs=1)
    assert len(said) == 1
    assert "opening the record failed (ZeroDivisionError" in said[0]


def test_a_disk_that_is_full_for_a_while_costs_those_epochs_alone(tmp_path, monkeypatch):
    real, watching = disk.write_folder, monitor(record=tmp_path / "record")

    def full(path, files):
        if watching._schedule.last_epoch == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, files)

    monkeypatch.setattr(disk, "write_folder", full)
    without, outcome = run(Case()), run(Case(), watching)
    assert differences(without.state, outcome.state) == []
    assert len(outcome.said) == 1
    assert "writing the record failed (OSError: [Errno 28] No space left on device)" in outcome.said[0]
    assert load_record(tmp_path / "record").epochs == (0, 2)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted"), (RuntimeError, "failed")]
)
def test_a_run_that_ends_early_says_how_in_its_record(tmp_path, error, status):
    class Ends(Callback):
        def on_train_epoch_start(self, fitted, module):
            if fitted.current_epoch == 1:
                raise error("enough")

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((error, SystemExit)):
            fit(tmp_path, small(), Ends(), epochs=3)
    finally:
        signal.signal(signal.SIGINT, handler)
    record = load_record(tmp_path / RECORD)
    assert (record.epochs, record.status) == ((0,), status)


_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pytorch_lightning.callbacks import Callback
from small_training import Module, monitor, train_loader, trainer, val_loader

class Killed(Callback):
    def on_train_batch_end(self, fitted, *args):
        if fitted.global_step == 12:  # in the third epoch of five steps
            os.kill(os.getpid(), signal.SIGKILL)

watching = monitor(contrast=False, log_probes=1, record=True)
fitted = trainer(max_epochs=9, callbacks=[watching, Killed()], default_root_dir={folder!r})
fitted.fit(Module(), train_loader(), val_loader())
"""


def test_a_training_that_is_killed_leaves_every_whole_epoch_readable(tmp_path):
    here = Path(__file__).parent
    script = _KILLED.format(tests=str(here), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    record = load_record(tmp_path / RECORD)
    assert (record.epochs, record.status, record.notes) == ((0, 1), None, ())
    assert all(json.dumps(record.look(epoch)) for epoch in record.epochs)


@pytest.mark.parametrize("wrong", [None, 3, "", ["a"]])
def test_what_is_no_folder_is_refused_by_name(wrong):
    with pytest.raises(TypeError, match=r"^record: expected True, False or the path of a folder, got "):
        CAMMonitor(probes(per_class=1), record=wrong)
