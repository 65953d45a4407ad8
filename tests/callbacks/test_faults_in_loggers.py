"""Loggers that raise, hang up, are closed, disabled or none at all cost their own pictures, never the training."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
from faulty import assert_said, case_of, raising, undisturbed, watch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from small_training import Memory, Module, differences, hooks_on, run

from camdebug.callbacks import metric_log
from camdebug.dashboard import board

KEY = "camdebug/outside_mass"


def logged_to(*loggers, said=(), model=Module, watching=None):
    """Train under a monitor with these loggers beside one that works. What the working one got is compared as well."""
    memory = Memory()
    watching = watching or watch(log_probes=2)
    outcome = run(case_of(model, logger=[*loggers, memory]), watching)
    assert_said(outcome.said, said)
    without = undisturbed(model)
    assert differences(without.state, {**outcome.state, "logged": memory.of_user()}) == []
    assert len(memory.of(KEY)) == 2
    assert hooks_on(outcome.model) == 0
    assert watching.last_record.epoch == 1
    return outcome


class Writer:
    """As much of a ``SummaryWriter`` as camdebug uses."""

    def __init__(self):
        self.texts, self.events = [], 0

    def add_text(self, tag, text, step):
        self.texts.append(tag)

    def _get_file_writer(self):
        return self

    def add_summary(self, summary, step):
        self.events += 1


class Board(Memory):
    """Counts as TensorBoard."""

    def __init__(self, **faults):
        super().__init__()
        self.experiment = Writer()
        for name, error in faults.items():
            setattr(self.experiment, name, raising(error))


TensorBoardLogger_ = type("TensorBoardLogger", (Board,), {})


class Unopenable(TensorBoardLogger_):
    """Lightning opens a logger before anything is trained, and ends there if that fails. This one is lost later."""

    opened = 0

    @property
    def experiment(self):
        self.opened += 1
        if self.opened > 2:
            raise OSError("no such host")
        return self.__dict__["experiment"]

    @experiment.setter
    def experiment(self, writer):
        self.__dict__["experiment"] = writer


FULL = OSError(28, "No space left on device")
EVERYWHERE = [
    r"^camdebug: TensorBoard did not take facts \(OSError: no such host\)\. Training and the other dashboards go on",
    r"^camdebug, in sum: TensorBoard did not take a text 2 times \(epochs 0 to 1: OSError: no such host\); "
    r"TensorBoard did not take pictures \d+ times \(epochs 0 to 1: OSError: no such host\)\.$",
]
LOGGERS = {
    "pictures raise": (
        lambda: TensorBoardLogger_(add_summary=FULL),
        [
            r"^camdebug: TensorBoard did not take pictures \(OSError: \[Errno 28\] No space left on device\)",
            r"^camdebug, in sum: TensorBoard did not take pictures \d+ times \(epochs 0 to 1: OSError: \[Errno 28\]",
        ],
    ),
    "texts raise": (
        lambda: TensorBoardLogger_(add_text=ValueError("no text")),
        [
            r"^camdebug: TensorBoard did not take facts \(ValueError: no text\)",
            r"^camdebug, in sum: TensorBoard did not take a text 2 times \(epochs 0 to 1: ValueError: no text\)\.$",
        ],
    ),
    "opening raises": (Unopenable, EVERYWHERE),
}


@pytest.mark.parametrize("fault", LOGGERS)
def test_a_board_that_raises(fault):
    make, said = LOGGERS[fault]
    logged_to(make(), said=said)


def test_one_board_of_several_raises_and_the_others_get_everything():
    good, broken = TensorBoardLogger_(), Unopenable()
    logged_to(broken, good, said=EVERYWHERE)
    assert good.experiment.texts == ["camdebug/facts", "camdebug/verdict", "camdebug/verdict"]
    assert good.experiment.events > 2


class Refuses(Memory):
    """Takes all but what is ours."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def log_metrics(self, metrics, step=None):
        if any(name.startswith("camdebug/") for name in metrics):
            raise self.error
        super().log_metrics(metrics, step)


class CannotSave(Memory):
    unsaved = 0

    def log_metrics(self, metrics, step=None):
        self.unsaved = sum(name.startswith("camdebug/") for name in metrics)

    def save(self):
        if self.unsaved:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("logger", "why"),
    [
        (lambda: Refuses(ValueError("metric names: a to z")), "ValueError: metric names: a to z"),
        (lambda: Refuses(BrokenPipeError("gone")), "BrokenPipeError: gone"),
        (lambda: Refuses(ConnectionResetError("reset by peer")), "ConnectionResetError: reset by peer"),
        (lambda: Refuses(TypeError()), "TypeError"),
        (CannotSave, r"OSError: \[Errno 28\] No space left on device"),
    ],
    ids=["names are refused", "the pipe is broken", "the server hangs up", "an error without words", "saving fails"],
)
def test_a_logger_that_does_not_take_our_metrics(logger, why):
    made = logger()
    what = f"logging metrics to {type(made).__name__} failed"
    said = [
        rf"^camdebug: {what} \({why}\)\. Training goes on\.$",
        rf"in sum: {what} 2 times \(epochs 0 to 1: {why}\)\.$",
    ]
    logged_to(made, said=said)


def test_without_a_row_of_our_own_such_a_logger_would_end_the_training(monkeypatch):
    """The negative control: handed over to Lightning, our metrics end what would have ended well."""
    monkeypatch.setattr(metric_log.MetricLog, "_send", lambda *args, **kwargs: None)
    log = Module.log
    monkeypatch.setattr(Module, "log", lambda self, *args, **kwargs: log(self, *args, **{**kwargs, "logger": True}))
    with pytest.raises(BrokenPipeError):
        run(case_of(logger=Refuses(BrokenPipeError("gone"))), watch())


class Foreign(Memory):
    """Answers to every name."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self


class DrawsNumbers(Memory):
    def log_metrics(self, metrics, step=None):
        if any(name.startswith("camdebug/") for name in metrics):
            torch.rand(9)
        super().log_metrics(metrics, step)


@pytest.mark.parametrize("logger", [Foreign, DrawsNumbers])
def test_a_logger_that_is_strange(logger):
    logged_to(logger())


def test_no_logger_at_all():
    outcome = run(case_of(logger=False), watch())
    assert outcome.said == []
    assert differences(run(case_of(logger=False)).state, outcome.state) == []


def test_a_csv_file_has_the_users_rows_as_without_us(tmp_path):
    def rows(*monitors):
        logger = CSVLogger(tmp_path, name=str(len(monitors)), version="0")
        outcome = run(case_of(logger=logger), *monitors)
        with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
            return outcome, list(csv.DictReader(file))

    plain, users = rows()
    watched, both = rows(watch())
    ours = [row for row in both if row[KEY]]
    rest = [{k: v for k, v in row.items() if not k.startswith("camdebug/")} for row in both if not row[KEY]]
    assert watched.said == []
    assert differences(plain.state, watched.state) == []
    assert rest == users
    assert [row["epoch"] for row in ours] == ["0", "1"]


# Drawing


def test_a_drawing_that_fails_costs_its_pictures(monkeypatch):
    undisturbed()
    monkeypatch.setattr(board, "draw_overlays", raising(ZeroDivisionError("no ink")))
    logger = TensorBoardLogger_()
    why = r"drawing overlays failed( 2 times)? \((epochs 0 to 1: )?ZeroDivisionError: no ink\)"
    logged_to(logger, said=[f"^camdebug: {why}. Training goes on", f"in sum: {why}"])
    assert logger.experiment.texts.count("camdebug/verdict") == 2


def test_a_film_that_cannot_be_saved_does_not_cost_the_checkpoint(monkeypatch):
    undisturbed()
    watching = watch(log_probes=2)
    logged_to(TensorBoardLogger_(), watching=watching)
    monkeypatch.setattr(board.Film, "state_dict", raising(ZeroDivisionError("no film")))
    assert set(watching.state_dict()) == set(watch().state_dict())


# Real ones


class ClosesItsWriter(Module):
    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.loggers[0].experiment.close()


class DeletesItsEvents(Module):
    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            for file in Path(self.loggers[0].log_dir).glob("events*"):
                file.unlink()


@pytest.mark.parametrize("model", [ClosesItsWriter, DeletesItsEvents])
def test_a_tensorboard_whose_files_are_closed_or_deleted(tmp_path, model):
    undisturbed_by(model, tmp_path / "without")
    logger = TensorBoardLogger(tmp_path / "with", name="", version="0")
    memory, watching = Memory(), watch(log_probes=2)
    outcome = run(case_of(model, logger=[logger, memory]), watching)
    assert outcome.said == []
    assert watching.last_record.epoch == 1
    assert differences(undisturbed().state, {**outcome.state, "logged": memory.of_user()}) == []
    assert list(Path(logger.log_dir).glob("events*"))


def undisturbed_by(model, folder):
    """What the model does to its logger does not end the training without us either."""
    assert run(case_of(model, logger=[TensorBoardLogger(folder, name="", version="0")])).said == []


class FinishesItsRun(Module):
    """Logs nothing itself, so nothing of its own fails after that."""

    def log(self, name, *args, **kwargs):
        if name.startswith("camdebug/"):
            super().log(name, *args, **kwargs)

    def on_train_epoch_start(self):
        import wandb

        if self.current_epoch == 1:
            wandb.finish()


@pytest.fixture
def quiet_wandb(monkeypatch, tmp_path):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield tmp_path
    wandb.finish()
    wandb.teardown()
    shutil.rmtree(tmp_path, ignore_errors=True)


def wandb_logger(folder, **options):
    return WandbLogger(project="faults", save_dir=str(folder), **options)


def test_a_wandb_run_that_the_user_finishes_in_mid_training(quiet_wandb):
    without = run(case_of(FinishesItsRun, logger=False))
    watching = watch(log_probes=2)
    outcome = run(case_of(FinishesItsRun, logger=wandb_logger(quiet_wandb, mode="offline")), watching)
    first, second, closing = outcome.said
    assert "W&B did not take a text (" in first
    assert "logging metrics to WandbLogger failed (" in second
    assert closing.startswith("camdebug, in sum: W&B did not take pictures")
    assert differences(without.state, outcome.state) == []
    assert watching.last_record.epoch == 1


def test_a_wandb_that_is_disabled(quiet_wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    undisturbed()
    logged_to(wandb_logger(quiet_wandb))
    assert not list(quiet_wandb.rglob("*.wandb"))
