"""Alerts reach the log, the dashboards and the user's callable, once for every change of state."""

import copy
import pickle
import warnings
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from small_training import (
    CLASSES,
    Case,
    Memory,
    Module,
    differences,
    from_checkpoint,
    monitor,
    ours,
    probes,
    run,
    train_loader,
    trainer,
    val_loader,
)
from staging import staged

import camdebug
from camdebug import Alert, Level
from camdebug.callbacks import alert_rate, reporter

NONE, WATCH, SUSPECT, CONFIRMED = Level.NO_EVIDENCE, Level.WATCH, Level.SUSPECT, Level.CONFIRMED
BELL = []


def ring(alert):
    BELL.append(alert)


@pytest.fixture(autouse=True)
def _silent_bell():
    BELL.clear()


def first_class(*levels):
    """A story in which nothing but the first class changes."""
    return [[level] + [NONE] * (CLASSES - 1) for level in levels]


class Dashboard:
    """What TensorBoard would be given."""

    def __init__(self, log):
        self.log = log

    def add_text(self, tag, text, *args):
        self.log.append((tag, text))

    def _get_file_writer(self):
        return self

    def add_summary(self, *args):
        pass


def tensorboard(log):
    class TensorBoardLogger(Memory):
        experiment = Dashboard(log)

    return TensorBoardLogger()


def test_the_callable_gets_every_alert_with_all_its_fields():
    story = first_class(NONE, WATCH, SUSPECT, SUSPECT, CONFIRMED, NONE)
    outcome = run(Case(trainer={"max_epochs": 6}), staged(monitor(contrast=False, on_alert=ring), story))
    assert [a.level for a in BELL] == [WATCH, SUSPECT, CONFIRMED, NONE]
    assert [a.epoch for a in BELL] == [1, 2, 4, 5]
    assert [a.step for a in BELL] == [9, 14, 24, 29]
    assert {(a.classes, a.class_names) for a in BELL} == {((0,), ("kind 0",))}
    assert [a.title for a in BELL][::3] == ["camdebug: kind 0 watch", "camdebug: kind 0 no evidence"]
    assert outcome.said == [a.text for a in BELL]


def test_the_callable_comes_after_the_log_line_and_the_dashboards():
    log = []
    outcome = run(
        Case(trainer={"logger": tensorboard(log), "max_epochs": 2}),
        staged(
            monitor(contrast=False, on_alert=lambda alert: log.append(("call", alert.text))), first_class(NONE, WATCH)
        ),
    )
    tags = [tag for tag, _ in log]
    assert tags[-2:] == ["camdebug/alert", "call"]
    assert log[-2][1] == f"**camdebug: kind 0 watch**\n\n{outcome.said[0]}"
    assert tags.count("camdebug/verdict") == 2


def test_titles_begin_with_the_monitors_name():
    run(
        Case(trainer={"max_epochs": 2}),
        staged(monitor(contrast=False, on_alert=ring, name="second"), first_class(NONE, WATCH)),
    )
    assert [a.title for a in BELL] == ["second: kind 0 watch"]


def test_a_long_class_name_leaves_the_level_in_the_title():
    fixed = probes(class_names=["x" * 90, "b", "c", "d"])
    run(
        Case(trainer={"max_epochs": 2}),
        staged(monitor(contrast=False, on_alert=ring, probes=fixed), first_class(NONE, SUSPECT)),
    )
    assert BELL[0].title == f"camdebug: {'x' * 42}... suspect"
    assert len(BELL[0].title) == 63


def test_a_callable_that_fails_is_reported_once_and_training_is_the_same():
    def fail(alert):
        torch.rand(3)
        raise OSError("no network")

    without = run(Case())
    outcome = run(Case(), staged(monitor(contrast=False, on_alert=fail), first_class(WATCH, NONE, WATCH)))
    failed = [text for text in outcome.said if "on_alert" in text]
    assert failed == [
        "camdebug: calling on_alert failed (OSError: no network). Training goes on.",
        "camdebug, in sum: calling on_alert failed 3 times (epochs 0 to 2: OSError: no network).",
    ]
    assert len(outcome.said) == 5
    assert differences(without.state, outcome.state) == []


@pytest.mark.parametrize("guarded", [True, False])
def test_the_generators_are_guarded_while_the_callable_runs(monkeypatch, guarded):
    if not guarded:
        monkeypatch.setattr(reporter, "preserved_rng", nullcontext)
    watching = staged(monitor(contrast=False, on_alert=lambda alert: torch.manual_seed(0)), first_class(WATCH))
    assert ("torch" in differences(run(Case()).state, run(Case(), watching).state)) is not guarded


def test_an_interrupt_inside_the_callable_is_the_users():
    def interrupt(alert):
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(Case(), staged(monitor(contrast=False, on_alert=interrupt), first_class(WATCH)))


def test_other_ranks_call_nothing():
    watching = monitor(on_alert=ring)
    run(Case(trainer={"max_epochs": 1}), watching)
    first, *others = watching.last_record.verdicts
    record = replace(watching.last_record, verdicts=(replace(first, level=WATCH, changed_from=NONE), *others))
    watching._messages.active = False
    watching._reporter.publish(record, step=0)
    assert BELL == []
    watching._messages.active = True
    with pytest.warns(reporter.ShortcutWarning):
        watching._reporter.publish(record, step=0)
    assert [a.level for a in BELL] == [WATCH]


def test_a_class_that_flaps_does_not_flood():
    story = first_class(*[WATCH, NONE] * 4)
    outcome = run(Case(trainer={"max_epochs": 8}), staged(monitor(contrast=False, on_alert=ring), story))
    assert [(a.level, a.epoch) for a in BELL] == [(WATCH, 0), (NONE, 1), (WATCH, 2), (NONE, 3)]
    assert len(outcome.said) == 4


def test_a_look_that_alarms_everywhere_sends_a_few_alerts_and_a_summary(monkeypatch):
    monkeypatch.setattr(alert_rate, "MOST_NAMED", 1)
    outcome = run(Case(trainer={"max_epochs": 1}), staged(monitor(contrast=False, on_alert=ring), [WATCH]))
    assert [a.class_names for a in BELL] == [("kind 0",), ("kind 1", "kind 2", "kind 3")]
    assert outcome.said == [a.text for a in BELL]


def test_a_class_that_fell_silent_stays_silent_in_a_resumed_training(tmp_path):
    story, fixed = first_class(WATCH, NONE, WATCH, NONE, WATCH, SUSPECT), probes()
    watched = staged(monitor(contrast=False, on_alert=ring, probes=fixed), story)
    saver = ModelCheckpoint(tmp_path, filename="{epoch}")
    run(Case(trainer={"max_epochs": 4, "enable_checkpointing": True}, callbacks=lambda: [saver]), watched)
    resumed = staged(monitor(contrast=False, on_alert=ring, probes=fixed), story)
    with ours() as said:
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        fitted = trainer(max_epochs=6, callbacks=resumed)
        fitted.fit(Module(), train_loader(), val_loader(), **from_checkpoint(tmp_path / "epoch=3.ckpt"))
    assert [(a.level, a.epoch) for a in BELL] == [(WATCH, 0), (NONE, 1), (WATCH, 2), (NONE, 3), (SUSPECT, 5)]
    assert said == [BELL[-1].text]


def loaded(state):
    resumed = monitor()
    with ours() as said:
        resumed.load_state_dict(state)
    return resumed.state_dict(), said


def test_a_state_without_counts_of_alerts_is_taken_over():
    state = monitor().state_dict() | {"last_epoch": 3}
    del state["alerts"]
    resumed, said = loaded(state)
    assert (resumed["last_epoch"], resumed["alerts"], said) == (3, {"told": {}}, [])


def test_counts_that_cannot_be_used_cost_only_themselves():
    resumed, said = loaded(monitor().state_dict() | {"last_epoch": 3, "alerts": {"told": "many"}})
    assert (resumed["last_epoch"], resumed["alerts"]) == (3, {"told": {}})
    assert len(said) == 1
    assert "going on with the alerts of the checkpoint failed (ValueError: alerts: " in said[0]


def test_the_callable_is_no_part_of_a_checkpoint():
    outcome = run(
        Case(trainer={"max_epochs": 1}),
        watching := staged(monitor(contrast=False, on_alert=lambda alert: None), first_class(WATCH)),
    )
    assert len(outcome.said) == 1
    assert watching.state_dict()["alerts"] == {"told": {0: {"highest": "watch", "repeats": 0}}}
    assert set(watching.state_dict()) == {
        "version",
        "last_epoch",
        "metrics",
        "observer",
        "dashboard",
        "alerts",
        "run_id",
    }


def test_a_function_of_a_module_follows_a_pickled_monitor():
    double = pickle.loads(pickle.dumps(monitor(on_alert=warnings.warn_explicit)))
    assert double._reporter._on_alert._call is warnings.warn_explicit
    assert run(Case(trainer={"max_epochs": 1}), double).said == []


def test_a_lambda_stays_behind_with_a_warning_and_harms_nothing():
    double = pickle.loads(pickle.dumps(monitor(on_alert=lambda alert: BELL.append(alert))))
    outcome = run(Case(trainer={"max_epochs": 2}), staged(double, first_class(NONE, WATCH)))
    assert BELL == []
    lost, alert = outcome.said
    assert lost.startswith("camdebug cannot call on_alert in this process: it could not be pickled (")
    assert "`kind 0`: WATCH" in alert


def test_a_deep_copy_keeps_even_a_lambda():
    double = copy.deepcopy(monitor(on_alert=lambda alert: BELL.append(alert)))
    run(Case(trainer={"max_epochs": 2}), staged(double, first_class(NONE, WATCH)))
    assert [a.level for a in BELL] == [WATCH]


def test_alert_is_public_and_frozen():
    assert "Alert" in camdebug.__all__
    alert = Alert("title", "text", WATCH, (0,), ("cat",), 3, 14)
    with pytest.raises(AttributeError):
        alert.level = NONE


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"on_alert": 3}, TypeError, r"on_alert: expected a callable that takes one camdebug.Alert, or None, got int"),
        ({"on_alert": "print"}, TypeError, r"on_alert: .* got str"),
        ({"action": "halt"}, ValueError, r"action: expected one of 'warn', 'stop', got 'halt'"),
        ({"action": None}, ValueError, r"action: "),
        ({"action": ["stop"]}, ValueError, r"action: "),
    ],
)
def test_wrong_arguments_are_refused_at_construction(options, error, words):
    with pytest.raises(error, match=f"^{words}"):
        monitor(**options)
