import dataclasses

import pytest
import torch

from camdebug.records import BackgroundContrast, BackgroundSwap, ClassScores, Extent, Level, PlaceLock, Severity
from camdebug.verdict.confirm import confirm
from camdebug.verdict.judge import Judge
from camdebug.verdict.memory import Memory
from camdebug.verdict.run import run_verdict

LEARNED = {0: True, 1: True, 2: True}


def _swap(k=0, gap=0.3, p=1e-6, panels=None, panel_p=(0.01, 0.01), decides=True):
    return BackgroundSwap(
        (k,),
        (40,),
        gap,
        0.05,
        5 * gap,
        0.5,
        p,
        panels or (gap, gap),
        panel_p,
        torch.arange(40),
        torch.zeros(40),
        decides,
    )


def _confirmed(swap, threshold=1e-4):
    return confirm(Memory(), swap, threshold=threshold)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"p": 1e-4}, True),
        ({"p": 1.01e-4}, False),
        ({"gap": 0.0999}, False),
        ({"panels": (0.55, 0.049)}, False),
        ({"panels": (0.55, 0.051)}, True),
        ({"panel_p": (0.01, 0.06)}, False),
        ({"decides": False}, False),
    ],
)
def test_a_planned_look_confirms_with_effect_budget_and_both_panels(change, expected):
    assert _confirmed(_swap(**change)) is expected


def test_it_is_cleared_after_three_looks_running_below_half_the_least_gap():
    memory = Memory()
    gaps = [0.3, 0.04, 0.04, 0.06, 0.04, 0.04, 0.04]
    states = [confirm(memory, _swap(gap=g, decides=g > 0.2), threshold=1e-4) for g in gaps]
    assert states == [True] * 6 + [False]


def test_a_look_without_a_swap_changes_nothing():
    memory = Memory(confirmed=True, quiet_swaps=2)
    assert confirm(memory, None, threshold=1e-4)
    assert memory.quiet_swaps == 2


def _scores(k):
    return ClassScores(k, f"class {k}", 40, 40, 0.9, 0.6, 0.8, 0.75, -1.0, -0.2)


def _contrast(k, p):
    return BackgroundContrast((k,), (40,), 1.0, 0.5, p, torch.arange(40), torch.zeros(40).double(), torch.zeros(2, 2))


def _place(k, p):
    box = (0.75, 0.75, 1.0, 1.0)
    return PlaceLock(k, 40, 0, p, "the bottom right corner", box, 40, 31, 0.34, 0.05, torch.zeros(4, 4))


class Run:
    """Twenty looks, three classes; only the first class has anything to show."""

    def __init__(self, looks=20, **options):
        self.judge, self.looks, self.epoch = Judge([f"class {k}" for k in range(3)], **options), looks, 0

    def look(self, *, p=0.5, swap_p=0.5, gap=0.0, place_p=0.5, learned=LEARNED):
        classes = [_scores(k) for k in range(3)]
        contrasts = [_contrast(0, p), _contrast(1, 0.5), _contrast(2, 0.5)]
        left = self.looks - self.epoch
        look = self.judge.begin(classes, learned, epoch=self.epoch, looks_left=left)
        look = self.judge.call(look, contrasts)
        swaps = [_swap(0, gap, swap_p, decides=look.decides)] + [
            _swap(k, 0.0, 0.5, panel_p=(0.5, 0.5), decides=look.decides) for k in (1, 2)
        ]
        places = [_place(k, place_p if k == 0 else 0.5) for k in range(3)] if look.decides else []
        verdicts = self.judge.judge(look, classes, contrasts, swaps, places)
        self.epoch += 1
        return look, verdicts


def test_looks_are_planned_from_the_first_one_with_all_classes_learned_and_the_last_counts():
    run, decided = Run(), []
    for epoch in range(20):
        look, _ = run.look(learned={0: True, 1: True, 2: epoch >= 4})
        decided += [epoch] * look.decides
    assert decided == [4, 5, 6, 7, 9, 12, 16, 19]


def test_one_class_that_is_never_learned_holds_the_plan_up_for_eight_looks_and_no_longer():
    run, decided, levels, reasons = Run(), [], [], []
    for epoch in range(20):
        look, verdicts = run.look(p=1e-9, swap_p=1e-9, gap=0.4, learned={0: epoch >= 2, 1: True, 2: False})
        decided += [epoch] * look.decides
        levels.append(verdicts[0].level)
        reasons.append(verdicts[0].reason)
        assert verdicts[2].level is Level.NOT_LEARNED
    assert decided[0] == 8
    assert set(levels[2:8]) == {Level.WATCH}
    assert set(levels[8:]) == {Level.CONFIRMED}
    assert "once every class is learned (`class 2` not yet), or in 6 looks whatever is learned" in reasons[2]
    assert "or in 1 looks" in reasons[7]


def test_nothing_learned_is_not_waited_for():
    run = Run(looks=30)
    for _ in range(20):
        look, _ = run.look(learned=dict.fromkeys(range(3), False))
    assert not look.plan_started
    assert not run.look(learned={0: True, 1: False, 2: False})[0].decides


def test_a_class_that_is_unlearned_again_takes_no_planned_look_from_the_others():
    run, decided = Run(), []
    for epoch in range(20):
        look, _ = run.look(learned={0: True, 1: True, 2: epoch % 2 == 0})
        decided += [epoch] * look.decides
    assert decided == [0, 1, 2, 3, 5, 8, 12, 17, 19]


def test_the_screen_calls_nobody_before_the_plan_has_started():
    run = Run()
    assert not run.look(p=1e-9, learned={0: True, 1: True, 2: False})[0].called
    assert run.judge._plan.calls == 3


def test_the_budget_of_confirmation_is_a_fifth_of_alpha_over_classes_and_looks_that_may_decide():
    run = Run(alpha=0.05)
    share = 0.01 / (3 * (8 + 1 + 3))  # looks 0, 1, 2, 3, 5, 8, 12 and 17, the last one, three calls
    assert run.judge.confirm_threshold(tests=3, looks_left=20) == pytest.approx(share)
    assert Run().look(swap_p=share * 0.99, gap=0.3)[1][0].level is Level.CONFIRMED
    assert Run().look(swap_p=share * 1.01, gap=0.3)[1][0].level is Level.NO_EVIDENCE


@pytest.mark.parametrize("calls", [False, True])
def test_a_run_never_spends_more_than_alpha(calls):
    run, spent = Run(alpha=0.05), 0.0
    for epoch in range(20):
        measured = run.judge._plan.count(everything_learned=True)
        confirming = run.judge.confirm_threshold(tests=3, looks_left=20 - epoch, measured=measured)
        screening = run.judge.screen_threshold(tests=3, looks_left=20 - epoch)
        look, _ = run.look(p=1e-9 if calls else 0.5)
        spent += 3 * screening + 2 * 3 * confirming * look.decides  # the swap's part, and as much for places
    assert 0.045 < spent <= 0.05 + 1e-12
    state = run.judge.state_dict()
    booked = {name: state[name][0] for name in ("screening", "confirming", "placing")}
    assert sum(booked.values()) == pytest.approx(spent)
    assert booked["placing"] == pytest.approx(booked["confirming"])


def test_the_screen_calls_for_a_decision_out_of_turn_three_times_at_most():
    run, decided = Run(), []
    for epoch in range(19):
        look, _ = run.look(p=1e-9)
        decided += [(epoch, look.called)] * look.decides
    planned = (0, 1, 2, 3, 5, 8, 12, 17)
    assert [e for e, called in decided if called] == [4, 6, 7]
    assert [e for e, called in decided if not called] == list(planned)


def test_nothing_is_called_for_what_is_confirmed_already():
    run = Run()
    run.look(p=1e-9, swap_p=1e-9, gap=0.3)
    assert not any(run.look(p=1e-9, swap_p=1e-9, gap=0.3)[0].called for _ in range(10))


def test_a_look_that_begins_twice_or_is_lost_is_not_counted():
    run = Run()
    classes = [_scores(k) for k in range(3)]
    for _ in range(3):
        run.judge.begin(classes, LEARNED, epoch=0, looks_left=20)
    assert run.look()[0].measured == 1


def test_a_confirmed_class_has_severity_first_epoch_peak_and_present():
    run = Run()
    run.look(p=1e-9)
    run.look(p=1e-9, swap_p=1e-9, gap=0.45)
    _, verdicts = run.look(p=1e-9, swap_p=1e-9, gap=0.25)
    found = verdicts[0]
    assert (found.level, found.severity) == (Level.CONFIRMED, Severity.STRONG)
    assert (found.first_epoch, found.since_epoch) == (0, 1)
    assert found.swap_gap == Extent(0.25, 0.45, 1)
    assert found.reason.startswith(
        "Putting other classes' backgrounds behind the same objects lowers their probability by 0.25"
    )
    assert run_verdict(verdicts).level is Level.CONFIRMED
    assert run_verdict(verdicts).classes == (0,)
    assert run_verdict(verdicts).first_epoch == 0


def test_a_peak_is_taken_from_planned_looks_only():
    run = Run()
    for gap in (0.1, 0.1, 0.1, 0.1, 0.9):  # the fifth look is not planned
        _, verdicts = run.look(gap=gap)
    assert verdicts[0].swap_gap.present == 0.9
    assert verdicts[0].swap_gap.peak == 0.1


def test_a_cleared_confirmation_falls_back_to_what_the_screen_says():
    run = Run()
    run.look(p=1e-9, swap_p=1e-9, gap=0.3)
    levels = [run.look(p=1e-9, gap=0.0)[1][0].level for _ in range(3)]
    assert levels == [Level.CONFIRMED, Level.CONFIRMED, Level.SUSPECT]


def test_a_swap_that_does_not_decide_says_so():
    run = Run()
    for _ in range(5):
        _, verdicts = run.look(gap=0.05)
    assert "no planned look, so it cannot confirm" in verdicts[0].reason


def test_a_class_that_stands_confirmed_says_on_what_at_the_looks_between():
    run = Run()
    run.look(p=1e-9, swap_p=1e-9, gap=0.45)
    for _ in range(4):
        look, verdicts = run.look(p=1e-9, swap_p=1e-9, gap=0.25)
    assert not look.decides
    first = "It is confirmed since epoch 0, with a fall of 0.25 at the last planned look."
    assert verdicts[0].reason.startswith(first)


def test_heat_at_a_fixed_place_is_a_watch_until_a_planned_look_no_longer_finds_it():
    run, share = Run(), 0.01 / (3 * 12)
    _, quiet = run.look(place_p=1.01 * share)
    assert quiet[0].level is Level.NO_EVIDENCE
    seen = [run.look(place_p=p)[1] for p in (0.9 * share, 0.04, 0.9, 0.9, 0.9)]  # epoch 4 is not planned
    assert [v[0].level for v in seen] == [Level.WATCH] * 2 + [Level.NO_EVIDENCE] * 3
    assert "At epoch 1 the bottom right corner held more heat in 31 of 40 pictures" in seen[0][0].reason
    assert "34 % (rolled 5 %" in seen[0][0].reason
    assert seen[2][0].reason.endswith("Its heat no longer stays at one place.")
    assert [v[0].place_only for v in seen] == [True, True, True, False, False]
    assert [v.level for v in seen[0][1:]] == [Level.NO_EVIDENCE] * 2


def test_between_planned_looks_a_place_stays_on_watch():
    run = Run()
    for _ in range(4):
        run.look(place_p=1e-9)
    look, verdicts = run.look()
    assert not look.decides
    assert verdicts[0].level is Level.WATCH


def test_a_place_is_watched_without_boxes_but_not_before_the_class_is_learned():
    for learned, expected in ((True, Level.WATCH), (False, Level.NOT_MEASURABLE)):
        judge = Judge(["only"])
        judge._plan.measured = 1
        look = judge.begin([_scores(0)], {0: True}, epoch=0, looks_left=5)
        look = dataclasses.replace(look, learned={0: learned}, decides=True)
        (verdict,) = judge.judge(look, [_scores(0)], [], [], [_place(0, 1e-9)])
        assert verdict.level is expected
        assert verdict.reason.startswith("Its background was not tested")


def test_a_place_at_a_look_that_does_not_decide_is_no_evidence():
    judge = Judge(["only"])
    look = dataclasses.replace(judge.begin([_scores(0)], {0: True}, epoch=0, looks_left=5), decides=False)
    (verdict,) = judge.judge(look, [_scores(0)], [], [], [_place(0, 1e-9)])
    assert verdict.level is Level.NOT_MEASURABLE


def test_a_place_takes_nothing_from_a_higher_level():
    run = Run()
    _, verdicts = run.look(p=1e-9, swap_p=1e-9, gap=0.3, place_p=1e-9)
    assert verdicts[0].level is Level.CONFIRMED
    assert "the bottom right corner" in verdicts[0].reason


def test_state_goes_on_in_another_judge():
    run, other = Run(), Run()
    run.look(p=1e-9, swap_p=1e-9, gap=0.3)
    other.judge.load_state_dict(run.judge.state_dict())
    other.epoch = 1
    (look, verdicts), (expected_look, expected) = other.look(gap=0.2), run.look(gap=0.2)
    assert look == expected_look
    assert verdicts == expected
    assert verdicts[0].level is Level.CONFIRMED
    assert other.judge.state_dict() == run.judge.state_dict()


def test_what_the_screen_raises_is_told_when_a_swap_will_test_it():
    run, reasons = Run(looks=20), []
    for _ in range(20):
        reasons.append(run.look(p=1e-9)[1][0].reason)
    said = [r.split("A background swap will test it ")[1].split(".")[0] if "will test" in r else "" for r in reasons]
    soon = "at the next look"
    assert said[:9] == [soon, soon, soon, "in 2 looks", soon, "in 3 looks", "in 2 looks", soon, "in 4 looks"]
    assert said[-2:] == ["at the next look", ""]
    run = Run()
    assert "will test" not in run.look(p=1e-9, swap_p=1e-9, gap=0.3)[1][0].reason
