"""When a look happens, and what of the trainer decides it."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from small_training import (
    Memory,
    Mixin,
    Module,
    Spy,
    Stream,
    looks_taken,
    monitor,
    ours,
    train_loader,
    trainer,
    val_loader,
)
from torch.utils.data import DataLoader

from camdebug.callbacks import trainer_facts as facts


def looks(options=None, *, every=1, loader=None, validation=True, others=()):
    watching = monitor(every_n_epochs=every, contrast=False)
    spy = Spy(watching)
    with ours() as said:
        fitted = trainer(callbacks=[watching, spy, *others], **{"max_epochs": 3, **(options or {})})
        fitted.fit(Module(), train_loader() if loader is None else loader, val_loader() if validation else None)
    assert said == []
    return spy.looks


@pytest.mark.versions
def test_a_look_follows_the_validation_of_every_epoch():
    assert looks() == [(0, "val", 5), (1, "val", 10), (2, "val", 15)]


@pytest.mark.versions
def test_the_sanity_check_is_ignored():
    assert looks({"num_sanity_val_steps": 2, "max_epochs": 1}) == [(0, "val", 5)]


@pytest.mark.versions
@pytest.mark.parametrize("options", [{"limit_val_batches": 0}, {}])
def test_without_validation_looks_take_the_train_hook(options):
    assert looks(options, validation=bool(options)) == [(0, "train", 5), (1, "train", 10), (2, "train", 15)]


@pytest.mark.versions
def test_of_several_validations_the_very_first_and_then_the_last_of_each_epoch_are_followed_by_a_look():
    assert looks({"val_check_interval": 0.4}) == [(0, "val", 2), (1, "val", 9), (2, "val", 14)]


@pytest.mark.parametrize(("epochs", "expected"), [(1, [0]), (4, [0, 2, 3]), (5, [0, 2, 4])])
def test_every_second_epoch_and_the_last_one(epochs, expected):
    assert [epoch for epoch, *_ in looks({"max_epochs": epochs}, every=2)] == expected


def test_epochs_without_a_validation_take_the_train_hook():
    options = {"check_val_every_n_epoch": 2, "max_epochs": 4}
    assert [(e, hook) for e, hook, _ in looks(options)] == [(0, "train"), (1, "val"), (2, "train"), (3, "val")]


@pytest.mark.versions
def test_validation_by_iterations():
    options = {"check_val_every_n_epoch": None, "val_check_interval": 7}
    assert looks(options) == [(0, "train", 5), (1, "val", 7), (2, "val", 14)]


def test_a_stream_without_a_length():
    assert looks({"max_epochs": 2}, loader=DataLoader(Stream(), batch_size=8)) == [(0, "val", 5), (1, "val", 10)]


def test_a_stream_with_several_validations_cannot_know_the_last():
    options = {"max_epochs": 2, "val_check_interval": 2}
    assert looks(options, loader=DataLoader(Stream(), batch_size=8)) == [(0, "val", 2), (1, "val", 7)]


@pytest.mark.parametrize("every", [1, 9])
def test_the_epoch_that_max_steps_cuts_short_is_the_last(every):
    assert looks({"max_steps": 7, "max_epochs": -1}, every=every) == [(0, "val", 5), (1, "train", 7)]


def test_an_epoch_in_which_somebody_stops_the_training_is_the_last():
    class Stop(Callback):
        def on_train_batch_end(self, fitted, *args):
            fitted.should_stop = fitted.global_step == 6

    assert looks(every=9, others=[Stop()]) == [(0, "val", 5), (1, "val", 6)]


def test_fast_dev_run_has_one_look():
    assert looks({"fast_dev_run": 2}) == [(0, "val", 2)]


@pytest.mark.versions
def test_validate_test_and_predict_are_ignored():
    watching, memory = monitor(contrast=False), Memory()
    fitted = trainer(max_epochs=1, callbacks=watching, logger=memory)
    with ours() as said:
        fitted.fit(Module(), train_loader(), val_loader())
        record, rows = watching.last_record, len(memory.of("camdebug/outside_mass"))
        for run in (fitted.validate, fitted.test, fitted.predict):
            run(Module(), val_loader(), **({} if run == fitted.predict else {"verbose": False}))
    assert said == []
    assert watching.last_record is record
    assert rows == len(memory.of("camdebug/outside_mass")) == 1


@pytest.mark.versions
def test_a_second_training_starts_afresh():
    watching = monitor()
    for _ in range(2):
        spy = Spy(watching)
        spy.last = watching.last_record
        with ours() as said:
            trainer(max_epochs=2, callbacks=[watching, spy]).fit(Module(), train_loader(), val_loader())
        assert said == []
        assert [epoch for epoch, *_ in spy.looks] == [0, 1]
        assert looks_taken(watching.state_dict()) == 2


@pytest.mark.versions
def test_a_training_that_is_continued_goes_on():
    watching = monitor()
    spy = Spy(watching)
    fitted, model = trainer(max_epochs=2, callbacks=[watching, spy]), Module()
    with ours():
        fitted.fit(model, train_loader(), val_loader())
        fitted.fit_loop.max_epochs = 3
        fitted.fit(model, train_loader(), val_loader())
    assert [epoch for epoch, *_ in spy.looks] == [0, 1, 2]
    assert looks_taken(watching.state_dict()) == 3


def test_a_monitor_that_was_off_is_not_off_in_the_next_training():
    class NoForward(Mixin, pl.LightningModule):
        forward = pl.LightningModule.forward

    watching = monitor()
    with ours() as said:
        trainer(max_epochs=1, limit_train_batches=0, callbacks=watching).fit(NoForward(), train_loader())
    assert "camdebug is off in this run" in said[0]
    with ours() as said:
        trainer(max_epochs=1, callbacks=watching).fit(Module(), train_loader(), val_loader())
    assert said == []
    assert watching.last_record is not None


def plans(every=1, *, model=None, loader=None, others=(), **options):
    """What ``looks_left`` said before the training, and at every look that was taken."""
    planned = []

    class Plans(Callback):
        def on_train_start(self, fitted, module):
            planned.append(facts.looks_left(fitted, every))

    watching = monitor(every_n_epochs=every, contrast=False)
    real = watching._observer.look

    def look(*args, looks_left, **options):
        planned.append(looks_left)
        return real(*args, looks_left=looks_left, **options)

    watching._observer.look = look
    with ours() as said:
        fitted = trainer(callbacks=[watching, Plans(), *others], **options)
        fitted.fit(model or Module(), train_loader() if loader is None else loader, val_loader())
    assert said == []
    return planned[0], planned[1:]


EPOCHS_ALONE = [
    {"max_epochs": epochs, "every": every}
    for epochs, every in [(1, 1), (10, 1), (10, 4), (10, 3), (10, 9), (10, 20), (2, 2), (7, 2), (8, 2)]
]
STEPS = [  # an epoch has five batches
    {"max_epochs": -1, "max_steps": 5},
    {"max_epochs": -1, "max_steps": 17},
    {"max_epochs": -1, "max_steps": 25, "every": 2},
    {"max_epochs": -1, "max_steps": 17, "every": 2},
    {"max_epochs": 9, "max_steps": 17},
    {"max_epochs": 2, "max_steps": 17},
    {"max_epochs": 9, "max_steps": 21, "every": 2},
    {"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 2},
    {"max_epochs": -1, "max_steps": 9, "accumulate_grad_batches": 2},
    {"max_epochs": -1, "max_steps": 10, "accumulate_grad_batches": 2, "every": 2},
    {"max_epochs": 3, "max_steps": 10, "accumulate_grad_batches": 2},
    {"max_epochs": -1, "max_steps": 17, "limit_val_batches": 0},
    {"max_epochs": -1, "max_steps": 17, "val_check_interval": 0.4},
    {"max_epochs": -1, "max_steps": 10, "val_check_interval": 0.4, "accumulate_grad_batches": 2},
    {"max_epochs": -1, "max_steps": 17, "check_val_every_n_epoch": 2},
]


@pytest.mark.parametrize("options", EPOCHS_ALONE + STEPS)
def test_looks_left_counts_the_looks_that_are_indeed_taken(options):
    before, at_looks = plans(**options)
    assert at_looks == list(range(len(at_looks), 0, -1))
    assert before == len(at_looks)


def test_steps_of_a_stream_cannot_be_planned_but_its_last_look_is_known():
    stream = DataLoader(Stream(), batch_size=8)
    assert plans(max_epochs=-1, max_steps=12, loader=stream) == (None, [None, None, 1])
    assert plans(max_epochs=4, max_steps=12, loader=stream) == (4, [4, 3, 1])


def test_steps_of_a_manual_optimization_cannot_be_planned_but_its_last_look_is_known():
    class TwoSteps(Module):
        automatic_optimization = False

        def training_step(self, batch, index):
            for _ in range(2):
                self.optimizers().step()

    assert plans(max_epochs=-1, max_steps=17, model=TwoSteps()) == (None, [None, 1])


class Stop(Callback):
    """Asks to stop in the first epoch."""

    def on_train_batch_end(self, fitted, *args):
        fitted.should_stop = True


def test_the_look_of_an_epoch_in_which_somebody_stops_the_training_is_the_last():
    assert plans(max_epochs=9, others=[Stop()]) == (9, [1])


@pytest.mark.parametrize("least", [{"min_epochs": 3}, {"min_steps": 11}])
def test_a_call_to_stop_that_lightning_does_not_hear_yet_is_not_the_end(least):
    assert plans(max_epochs=9, others=[Stop()], **least)[1] == [9, 8, 1]


@pytest.mark.parametrize("unplanned", [None, -1])
def test_an_endless_training_has_no_plan(unplanned):
    fake = SimpleNamespace(
        current_epoch=3,
        max_epochs=unplanned,
        max_steps=-1,
        global_step=9,
        should_stop=False,
        num_training_batches=5,
    )
    assert facts.looks_left(fake, 1) is None
    assert not facts.is_last_epoch(fake)
