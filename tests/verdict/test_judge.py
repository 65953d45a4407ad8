import io

import pytest
import torch

from camdebug.records import BackgroundContrast, ClassScores, Extent, Level
from camdebug.verdict.judge import Judge

LEARNED = {0: True, 1: True, 2: True}


def _scores(k: int, probes: int = 40) -> ClassScores:
    return ClassScores(k, f"class {k}", probes, probes, 0.9, 0.6, 0.8, 0.75, -1.0, -0.2)


def _contrast(k: int, value: float, p: float, n: int = 40, se: float = 0.5) -> BackgroundContrast:
    return BackgroundContrast(
        (k,), (n,), value, se, p, torch.arange(n), torch.linspace(-1, 1, n).double(), torch.zeros(2, 2)
    )


def _look(judge, values, *, epoch, learned=LEARNED, n=40):
    """``values``: (value, p) for each of three classes; ten looks are planned, from epoch 0."""
    contrasts = [_contrast(k, v, p, n) for k, (v, p) in enumerate(values)]
    return _judged(judge, [_scores(k) for k in range(3)], contrasts, learned, epoch=epoch, looks_left=10 - epoch)


def _judged(judge, classes, contrasts, learned, *, epoch, looks_left, swaps=()):
    look = judge.begin(classes, learned, epoch=epoch, looks_left=looks_left)
    return judge.judge(look, classes, contrasts, swaps)


QUIET, LOUD = (0.0, 0.5), (3.0, 1e-6)


def _judge() -> Judge:
    return Judge(["class 0", "class 1", "class 2"])


def test_one_look_makes_a_watch_and_two_running_make_a_suspect():
    judge = _judge()
    first = _look(judge, [LOUD, QUIET, QUIET], epoch=3)
    second = _look(judge, [LOUD, QUIET, QUIET], epoch=4)
    assert [v.level for v in first] == [Level.WATCH, Level.NO_EVIDENCE, Level.NO_EVIDENCE]
    assert [v.level for v in second] == [Level.SUSPECT, Level.NO_EVIDENCE, Level.NO_EVIDENCE]
    assert (second[0].since_epoch, second[0].changed_from) == (4, Level.WATCH)
    assert second[1].changed_from is None


def test_a_pause_between_two_loud_looks_keeps_it_a_watch():
    judge = _judge()
    for epoch, values in enumerate((LOUD, (1.0, 0.2), LOUD)):
        verdict = _look(judge, [values, QUIET, QUIET], epoch=epoch)[0]
    assert verdict.level is Level.WATCH


def test_the_share_of_the_budget_decides():
    share = 0.6 * 0.05 / (3 * 10)
    assert _look(_judge(), [(3.0, share * 0.99), QUIET, QUIET], epoch=0)[0].level is Level.WATCH
    assert _look(_judge(), [(3.0, share * 1.01), QUIET, QUIET], epoch=0)[0].level is Level.NO_EVIDENCE


def test_nothing_is_suspected_before_all_classes_are_learned():
    judge, learned = _judge(), {0: True, 1: True, 2: False}
    for epoch in range(3):
        verdicts = _look(judge, [LOUD, QUIET, LOUD], epoch=epoch, learned=learned)
    assert [v.level for v in verdicts] == [Level.WATCH, Level.NO_EVIDENCE, Level.NOT_LEARNED]
    assert "nothing to judge" in verdicts[2].reason


def test_a_class_with_too_few_probes_to_be_judged_holds_nobody_up():
    judge, learned = _judge(), {0: True, 1: True, 2: False}
    for epoch in range(2):
        verdicts = _judged(
            judge,
            [_scores(0), _scores(1), _scores(2, probes=5)],
            [_contrast(0, *LOUD), _contrast(1, *QUIET), _contrast(2, *QUIET, n=5)],
            learned,
            epoch=epoch,
            looks_left=10 - epoch,
        )
    assert [v.level for v in verdicts] == [Level.SUSPECT, Level.NO_EVIDENCE, Level.NOT_MEASURABLE]


def test_a_raised_level_is_cleared_only_after_three_quiet_looks_running():
    judge = _judge()
    for epoch in (0, 1):
        _look(judge, [LOUD, QUIET, QUIET], epoch=epoch)
    levels = [
        _look(judge, [v, QUIET, QUIET], epoch=2 + i)[0].level
        for i, v in enumerate([QUIET] * 2 + [(1.4, 0.01)] + [QUIET] * 3)
    ]
    assert levels == [Level.SUSPECT] * 5 + [Level.NO_EVIDENCE]


def test_a_value_above_half_the_threshold_does_not_count_as_quiet():
    judge = _judge()
    for epoch in (0, 1):
        _look(judge, [LOUD, QUIET, QUIET], epoch=epoch)
    half = 0.5 * 3.09 / 2  # standard error times half the normal quantile at .6/600
    above = [_look(judge, [(half + 0.02, 0.1), QUIET, QUIET], epoch=2 + i)[0].level for i in range(5)]
    below = [_look(judge, [(half - 0.02, 0.1), QUIET, QUIET], epoch=7 + i)[0].level for i in range(3)]
    assert above == [Level.SUSPECT] * 5
    assert below[-1] is Level.NO_EVIDENCE


def test_peak_and_present_are_both_kept():
    judge = _judge()
    for epoch, value in enumerate((1.0, 4.0, 2.0)):
        verdict = _look(judge, [(value, 1e-6), QUIET, QUIET], epoch=epoch)[0]
    assert verdict.background_evidence == Extent(2.0, 4.0, 1)


def test_a_test_on_too_few_finite_probes_is_said_so_and_carries_no_number():
    verdict = _look(_judge(), [LOUD, QUIET, QUIET], epoch=0, n=19)[0]
    assert verdict.level is Level.NOT_MEASURABLE
    assert verdict.background_evidence.present is None
    assert "finite in only 19 of 40 probes" in verdict.reason


def test_a_look_that_overflows_clears_nothing():
    judge = _judge()
    for epoch in (0, 1):
        _look(judge, [LOUD, QUIET, QUIET], epoch=epoch)
    assert _look(judge, [QUIET, QUIET, QUIET], epoch=2, n=3)[0].level is Level.SUSPECT
    assert _look(judge, [QUIET, QUIET, QUIET], epoch=3)[0].level is Level.SUSPECT


def test_a_class_without_a_contrast_is_not_measurable():
    (verdict,) = _judged(Judge(["only"]), [_scores(0)], [], {0: True}, epoch=0, looks_left=5)
    assert verdict.level is Level.NOT_MEASURABLE
    assert verdict.reason.startswith("Its background was not tested")


def _pair(value: float, p: float, counts=(40, 40)) -> BackgroundContrast:
    return BackgroundContrast(
        (0, 1), counts, value, 0.5, p, torch.arange(80), torch.zeros(80).double(), torch.zeros(2, 2)
    )


def test_two_classes_share_one_contrast_and_one_level():
    judge = Judge(["a", "b"])
    for epoch in (0, 1):
        verdicts = _judged(
            judge, [_scores(0), _scores(1)], [_pair(2.0, 1e-6)], {0: True, 1: True}, epoch=epoch, looks_left=5
        )
    assert [v.level for v in verdicts] == [Level.SUSPECT, Level.SUSPECT]


def test_a_pair_speaks_for_its_own_classes_only_and_counts_each_apart():
    judge = _judge()
    for epoch in (0, 1):
        verdicts = _judged(
            judge, [_scores(k) for k in range(3)], [_pair(2.0, 1e-6, (40, 12))], LEARNED, epoch=epoch, looks_left=5
        )
    assert [v.level for v in verdicts] == [Level.SUSPECT, Level.NOT_MEASURABLE, Level.NOT_MEASURABLE]


def test_memory_survives_a_checkpoint_loaded_with_weights_only():
    judge = _judge()
    _look(judge, [LOUD, QUIET, QUIET], epoch=0)
    file = io.BytesIO()
    torch.save(judge.state_dict(), file)
    file.seek(0)
    other = _judge()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert _look(other, [LOUD, QUIET, QUIET], epoch=1)[0].level is Level.SUSPECT
    assert other.screen_threshold(tests=3, looks_left=8) == pytest.approx(judge.screen_threshold(tests=3, looks_left=9))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"names": ["x"]},
        {"memory": [{}]},
        {"memory": [{"level": "odd"}] * 3},
        {"memory": None},
        {"screening": ["x", 0]},
        {"confirming": []},
        {"plan": {"measured": -1, "calls": 0}},
        {"plan": None},
    ],
)
def test_a_state_that_is_not_ours_is_refused_and_changes_nothing(change):
    judge = _judge()
    before = judge.state_dict()
    with pytest.raises(ValueError):
        judge.load_state_dict({**before, **change})
    with pytest.raises(ValueError):
        judge.load_state_dict({})
    assert judge.state_dict() == before
