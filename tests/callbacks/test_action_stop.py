"""``action="stop"`` ends a training where Lightning itself would, once for each change into *confirmed*."""

import warnings
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from small_training import (
    CLASSES,
    Case,
    Module,
    differences,
    from_checkpoint,
    monitor,
    ours,
    probes,
    run,
    seed,
    train_loader,
    trainer,
    val_loader,
)
from staging import staged

from camdebug import Level
from camdebug.callbacks.messages import Messenger
from camdebug.callbacks.stopper import Stopper

NONE, SUSPECT, CONFIRMED = Level.NO_EVIDENCE, Level.SUSPECT, Level.CONFIRMED
ALL_QUIET = [NONE] * CLASSES
FIRST = [CONFIRMED, *ALL_QUIET[1:]]
FIRST_TWO = [CONFIRMED, CONFIRMED, *ALL_QUIET[2:]]
AT_EPOCH_1 = [ALL_QUIET, FIRST]
WORDS = (
    "camdebug asks Lightning to end the training after epoch 1 (action='stop'): the background is confirmed to matter "
    "for `kind 0`. To train on all the same, resume from the last checkpoint with action='warn'."
)


class LightningStops(pl.Callback):
    """What a stop of Lightning's own at the end of epoch 1 is."""

    def on_train_epoch_end(self, fitted, module):
        fitted.should_stop = fitted.current_epoch == 1


def stopping(story, **options):
    return staged(monitor(action="stop", contrast=False, **options), story)


@pytest.mark.parametrize(
    ("validation", "options"),
    [(True, {}), (False, {}), (True, {"val_check_interval": 0.4}), (True, {"check_val_every_n_epoch": 3})],
)
def test_a_training_ends_with_the_bits_of_one_that_lightning_ended(validation, options):
    case = Case(trainer={"max_epochs": 5, **options}, validation=validation)
    ended = run(Case(trainer=case.trainer, validation=validation, callbacks=lambda: [LightningStops()]))
    outcome = run(case, stopping(AT_EPOCH_1))
    assert (outcome.trainer.current_epoch, outcome.trainer.global_step) == (2, 10)
    assert outcome.said[1:] == [WORDS]
    assert differences(ended.state, outcome.state) == []
    assert "weights.net.head.weight" in differences(run(case).state, outcome.state)


@pytest.mark.versions
def test_it_ends_at_the_end_of_the_epoch_although_the_first_look_comes_in_its_middle():
    outcome = run(Case(trainer={"val_check_interval": 0.4}), stopping([FIRST]))
    assert outcome.trainer.global_step == 5


@pytest.mark.parametrize(
    ("action", "story"), [("warn", AT_EPOCH_1), ("stop", [ALL_QUIET, [SUSPECT, *ALL_QUIET[1:]]]), ("stop", [ALL_QUIET])]
)
def test_nothing_else_ends_it(action, story):
    outcome = run(Case(), staged(monitor(action=action, contrast=False), story))
    assert outcome.trainer.current_epoch == 3
    assert not any("end the training" in text for text in outcome.said)


@pytest.mark.parametrize("patience", [{"min_epochs": 4}, {"min_steps": 20}])
def test_lightnings_own_minimum_comes_first(patience):
    outcome = run(Case(trainer={"max_epochs": 6, **patience}), stopping(AT_EPOCH_1))
    assert outcome.trainer.current_epoch == 4
    assert outcome.said[1:] == [WORDS]


@pytest.mark.parametrize("save_on_train_epoch_end", [True, False])
@pytest.mark.parametrize(
    ("story", "epochs"),
    [
        ([*AT_EPOCH_1, FIRST], 6),  # the same old state goes on
        ([*AT_EPOCH_1, FIRST, FIRST_TWO], 4),  # another class is news
        ([*AT_EPOCH_1, ALL_QUIET, FIRST, FIRST], 4),  # and so is the same one after it was cleared
    ],
)
def test_a_resumed_training_ends_for_news_only(tmp_path, save_on_train_epoch_end, story, epochs):
    fixed = probes()
    saver = ModelCheckpoint(
        tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=save_on_train_epoch_end
    )
    with ours():
        trainer(max_epochs=6, callbacks=[stopping(story, probes=fixed), saver], enable_checkpointing=True).fit(
            Module(), train_loader(), val_loader()
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch=0.ckpt", "epoch=1.ckpt"]
    seed(4)
    with ours():
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
        resumed = trainer(max_epochs=6, callbacks=stopping(story, probes=fixed))
        resumed.fit(Module(), train_loader(), val_loader(), **from_checkpoint(tmp_path / "epoch=1.ckpt"))
    assert resumed.current_epoch == epochs


def test_a_second_training_with_the_same_monitor_is_another_one():
    watching = stopping(AT_EPOCH_1)
    for _ in range(2):
        assert run(Case(trainer={"max_epochs": 4}), watching).trainer.current_epoch == 2


def test_what_was_noted_in_a_training_that_failed_does_not_end_the_next():
    class Fails(Module):
        def on_validation_epoch_end(self):
            raise RuntimeError("the user's own")

    watching = stopping([FIRST])
    with ours(), pytest.raises(RuntimeError, match="the user's own"):
        trainer(callbacks=watching).fit(Fails(), train_loader(), val_loader())
    assert run(Case(), staged(watching, [ALL_QUIET])).trainer.current_epoch == 3


def test_many_classes_are_counted_and_reporting_that_fails_does_not_hide_the_stop(monkeypatch):
    from camdebug.callbacks import reporter

    monkeypatch.setattr(reporter, "alerts_of", lambda *args, **kwargs: 1 / 0)
    outcome = run(Case(), stopping([[CONFIRMED] * CLASSES]))
    assert outcome.trainer.current_epoch == 1
    assert "for `kind 0`, `kind 1`, `kind 2`, `kind 3`. To" in outcome.said[-1]


class Ranks:
    """A trainer of several ranks; the others want to stop at the epochs given."""

    def __init__(self, world_size, others=()):
        self.world_size, self.others = world_size, others
        self.strategy, self.should_stop, self.current_epoch, self.asked = self, False, 0, []

    def reduce_boolean_decision(self, decision, all=True):
        self.asked.append((self.current_epoch, decision, all))
        return decision or self.current_epoch in self.others


def noted(*names):
    verdicts = [SimpleNamespace(name=n, level=CONFIRMED, changed_from=SUSPECT) for n in names]
    return SimpleNamespace(verdicts=verdicts)


def test_every_rank_joins_the_decision_of_every_epoch_with_or_without_a_look():
    ranks, stopper = Ranks(2, others=[2]), Stopper("stop", Messenger())
    with ours() as said:
        for ranks.current_epoch in range(3):
            stopper.decide(ranks)
    assert ranks.asked == [(0, False, False), (1, False, False), (2, False, False)]
    assert ranks.should_stop
    assert said == [WORDS.replace("`kind 0`", "a class on another rank").replace("epoch 1", "epoch 2")]


def test_a_rank_that_was_told_tells_the_others_once():
    ranks, stopper = Ranks(2), Stopper("stop", Messenger())
    stopper.note(noted("cat"))
    with ours() as said:
        stopper.decide(ranks)
        ranks.should_stop = False
        stopper.decide(ranks)
    assert [decision for _, decision, _ in ranks.asked] == [True, False]
    assert not ranks.should_stop
    assert len(said) == 1


@pytest.mark.parametrize(("action", "world_size"), [("warn", 2), ("stop", 1)])
def test_without_need_nobody_is_asked(action, world_size):
    ranks, stopper = Ranks(world_size), Stopper(action, Messenger())
    stopper.note(noted("cat"))
    with ours():
        stopper.decide(ranks)
    assert ranks.asked == []
    assert ranks.should_stop == (action == "stop")


def test_a_record_or_a_trainer_of_an_unknown_kind_ends_nothing():
    stopper = Stopper("stop", Messenger())
    with ours() as said:
        stopper.note(SimpleNamespace())
        stopper.decide(SimpleNamespace(current_epoch=0))
    assert [text.split(" failed ")[0] for text in said] == [
        "camdebug: noting who is confirmed",
        "camdebug: ending the training",
    ]


def test_more_than_five_classes_are_counted():
    stopper = Stopper("stop", Messenger())
    stopper.note(noted(*"abcdefg"))
    with ours() as said:
        stopper.decide(Ranks(1))
    assert "`a`, `b`, `c`, `d`, `e` and 2 more. To" in said[0]
