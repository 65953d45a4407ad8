"""A first look that is also the last: it decides, and spends the error budget once."""

import pytest
import torch

from camdebug.records import BackgroundContrast, BackgroundSwap, ClassScores, Level, PlaceLock
from camdebug.verdict.judge import Judge

NAMES = [f"class {k}" for k in range(3)]
LEARNED = {0: True, 1: True, 2: True}
CLASSES = [ClassScores(k, name, 40, 40, 0.9, 0.6, 0.8, 0.75, -1.0) for k, name in enumerate(NAMES)]
ALPHA = 0.05


def contrast(k, p):
    return BackgroundContrast(
        (k,), (40,), 3.0, 0.5, p, torch.arange(40), torch.linspace(-1, 1, 40).double(), torch.zeros(2, 2)
    )


def swap(k, p, *, decides):
    rows = torch.arange(40)
    return BackgroundSwap(
        (k,), (40,), 0.3, 0.02, 1.0, 0.1, p, (0.3, 0.3), (0.001, 0.001), rows, torch.full((40,), 0.3), decides
    )


def place(k, p):
    return PlaceLock(k, 40, 0, p, "the top left corner", (0.0, 0.0, 0.2, 0.2), 40, 39, 0.3, 0.02, torch.zeros(4, 4))


def judged(judge, *, screening=0.5, confirming=0.5, placing=0.5, learned=LEARNED):
    """Class 0 has these p-values, the others say nothing."""
    look = judge.begin(CLASSES, learned, epoch=0, looks_left=1)
    found = [(contrast(k, screening if k == 0 else 0.5)) for k in range(3)]
    swapped = [swap(k, confirming if k == 0 else 0.5, decides=look.decides) for k in range(3)]
    places = [place(k, placing if k == 0 else 0.5) for k in range(3)] if look.decides else []
    return judge.judge(look, CLASSES, found, swapped, places)


def spent(judge):
    return sum(judge.state_dict()[part][0] for part in ("screening", "confirming", "placing"))


@pytest.mark.parametrize("once", [True, False])
def test_an_argument_that_an_audit_does_not_have_is_not_advised_there(once):
    judge = Judge(NAMES, alpha=ALPHA, once=once)
    verdicts = judge.judge(judge.begin(CLASSES, LEARNED, epoch=0, looks_left=1), CLASSES, [], [], [])
    assert all("was not tested. That takes 20 probes" in v.reason for v in verdicts)
    assert ["contrast=True" in v.reason for v in verdicts] == [not once] * 3


def test_it_spends_alpha_over_all_classes_and_not_more():
    judge = Judge(NAMES, alpha=ALPHA, once=True)
    judged(judge)
    assert spent(judge) == pytest.approx(ALPHA)


@pytest.mark.parametrize(
    ("part", "share", "level"),
    [
        ("screening", 0.6 * ALPHA / 3, Level.WATCH),
        ("confirming", 0.2 * ALPHA / 3, Level.CONFIRMED),
        ("placing", 0.2 * ALPHA / 3, Level.WATCH),
    ],
)
def test_each_test_has_its_share_of_the_whole_budget(part, share, level):
    assert judged(Judge(NAMES, alpha=ALPHA, once=True), **{part: share * 0.99})[0].level is level
    assert judged(Judge(NAMES, alpha=ALPHA, once=True), **{part: share * 1.01})[0].level is Level.NO_EVIDENCE


def test_a_look_of_a_training_keeps_a_share_for_looks_that_may_be_called():
    p = 0.2 * ALPHA / 3 * 0.99
    assert judged(Judge(NAMES, alpha=ALPHA), confirming=p)[0].level is Level.NO_EVIDENCE


def test_a_class_that_was_never_learned_keeps_no_other_from_being_confirmed():
    learned = {0: True, 1: True, 2: False}
    verdicts = judged(Judge(NAMES, alpha=ALPHA, once=True), confirming=1e-6, learned=learned)
    assert [v.level for v in verdicts] == [Level.CONFIRMED, Level.NO_EVIDENCE, Level.NOT_LEARNED]
    waiting = judged(Judge(NAMES, alpha=ALPHA), confirming=1e-6, learned=learned)
    assert waiting[0].level is Level.NO_EVIDENCE


def test_it_never_says_suspect_and_announces_no_other_look():
    verdict = judged(Judge(NAMES, alpha=ALPHA, once=True), screening=1e-9)[0]
    assert verdict.level is Level.WATCH
    assert "will test it" not in verdict.reason


def test_it_names_no_epoch():
    reason = judged(Judge(NAMES, alpha=ALPHA, once=True), placing=1e-9)[0].reason
    assert "The top left corner held more heat" in reason
    assert "epoch" not in reason
    assert "At epoch 0 the top left corner" in judged(Judge(NAMES, alpha=ALPHA), placing=1e-9)[0].reason
