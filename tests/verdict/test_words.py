from dataclasses import replace

import pytest
import torch

from camdebug.numerals import number
from camdebug.records import (
    BackgroundContrast,
    BackgroundSwap,
    ClassScores,
    ClassVerdict,
    EpochRecord,
    Extent,
    Heatmaps,
    Level,
    LocalisationScores,
    Severity,
)
from camdebug.verdict import words
from camdebug.verdict.alerts import alerts_of
from camdebug.verdict.run import run_verdict

HEAT = torch.zeros(0, 1, 1)
NONE = torch.zeros(0)


def _record(verdicts, contrasts):
    maps = Heatmaps(HEAT, NONE.long(), NONE, NONE.long(), NONE, "hirescam", "layer4")
    scores = LocalisationScores(*[NONE.double()] * 6, ())
    classes = tuple(ClassScores(v.class_idx, v.name, 40, 40, 0.9, 0.62, 0.84, 0.74, -1.2, 0.1) for v in verdicts)
    return EpochRecord(
        4, maps, maps, scores, classes, tuple(contrasts), (), tuple(verdicts), run_verdict(tuple(verdicts))
    )


def _verdict(k, name, level, before=None):
    return ClassVerdict(
        k,
        name,
        level,
        "Because.",
        3,
        severity=Severity.STRONG if level is Level.CONFIRMED else None,
        background_evidence=Extent(2.1, 2.1, 4),
        swap_gap=Extent(0.22, 0.31, 2),
        p_value=2e-4,
        budget=5e-4,
        worst_probes=(12, 33, 7),
        changed_from=before,
    )


def _contrast(*classes, value=2.1, p=0.0002):
    counts = (40,) * len(classes)
    return BackgroundContrast(
        classes, counts, value, 0.3, p, torch.arange(40), torch.zeros(40).double(), torch.zeros(2, 2)
    )


def _report(verdicts):
    return words.run_report(run_verdict(verdicts), verdicts, _record(verdicts, []).classes, epoch=4)


def _tag(contrast):
    return f"camdebug/cue_map/{contrast.classes}"


def _place_tag(class_idx):
    return f"camdebug/place/{class_idx}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.84, "0.84"), (1.84, "1.8"), (12.4, "12"), (123.0, "123"), (0.00042, "0.00042"), (-0.031, "-0.031"),
     (0.00002, "2e-05"), (0.999, "1.0"), (54321.0, "5.4e+04")],
)  # fmt: skip
def test_numbers_have_two_digits_and_are_never_a_row_of_zeros(value, text):
    assert number(value) == text


def test_the_tested_sentence_has_value_chance_count_p_and_budget():
    assert words.tested(_contrast(0), 0.0005) == (
        "Its evidence is 2.1 logits stronger on backgrounds of its own class than on those of other classes "
        "(chance 0; 40 pairs of backgrounds; p = 0.00020 of a budget of 0.00050)."
    )
    assert "0.50 logits weaker" in words.tested(_contrast(0, value=-0.5), 0.0005)


def test_an_alert_names_class_numbers_worst_probes_and_what_to_do_next():
    record = _record([_verdict(0, "kangaroo", Level.SUSPECT, Level.WATCH)], [_contrast(0)])
    (alert,) = alerts_of(record, _tag, _place_tag)
    assert alert.title == "camdebug: kangaroo suspect"
    assert alert.text.startswith("camdebug · epoch 4 · class `kangaroo`: SUSPECT. Because.")
    for part in ("62 % (uniform = 84 %)", "#12, #33, #7", "camdebug/cue_map/(0,)"):
        assert part in alert.text


def test_only_changes_that_touch_an_alert_level_are_told_and_clearing_is():
    verdicts = [
        _verdict(0, "a", Level.SUSPECT),
        _verdict(1, "b", Level.NO_EVIDENCE, Level.NOT_LEARNED),
        _verdict(2, "c", Level.NO_EVIDENCE, Level.SUSPECT),
    ]
    found = alerts_of(_record(verdicts, [_contrast(k) for k in range(3)]), _tag, _place_tag)
    assert [a.title for a in found] == ["camdebug: c no evidence"]
    assert found[0].text.endswith("It was suspect before.")


def test_a_pair_gets_one_alert_that_names_both_classes():
    verdicts = [_verdict(k, n, Level.WATCH, Level.NO_EVIDENCE) for k, n in enumerate(("cat", "dog"))]
    (alert,) = alerts_of(_record(verdicts, [_contrast(0, 1)]), _tag, _place_tag)
    assert "cat or dog" in alert.text
    assert "may sit on either" in alert.text
    assert "camdebug/cue_map/(0, 1)" in alert.text


def test_titles_fit_a_notification_and_pipes_do_not_break_the_table():
    long = _verdict(0, "x" * 200 + "|y", Level.WATCH, Level.NO_EVIDENCE)
    record = _record([long], [_contrast(0)])
    assert len(alerts_of(record, _tag, _place_tag)[0].title) < 64
    row = next(
        line
        for line in _report(record.verdicts).splitlines()
        if "xxx|" in line.replace("\\|", "|") and line.startswith("| x")
    )
    assert row.replace("\\|", "").count("|") == 8


def test_the_report_puts_alarms_first_and_ends_with_its_limits():
    verdicts = [_verdict(0, "a", Level.NO_EVIDENCE), _verdict(1, "b", Level.SUSPECT)]
    text = _report(verdicts)
    assert text.splitlines()[0] == "**Epoch 4: the background seems to matter for `b` (suspect).**"
    assert text.index("| b | suspect") < text.index("| a | no evidence")
    assert "| a | no evidence | 3 | 0.22 (peak 0.31 at epoch 2) | 2.1 logits | 62 % (84 %) | -1.2 |" in text
    assert text.index("* `b` · suspect: Because.") < text.index("* `a` · no evidence: Because.")
    assert text.endswith(words.LIMITS)
    assert "clean" not in text.replace("is not clean", "")


def test_the_headline_counts_only_what_can_be_judged():
    mixed = [_verdict(0, "a", Level.NO_EVIDENCE), _verdict(1, "b", Level.NOT_MEASURABLE)]
    none = [_verdict(0, "a", Level.NOT_MEASURABLE)]
    assert "in the 1 of 2 that can be judged" in _report(mixed)
    assert "no class can be judged with these probes" in _report(none)


def test_without_alarms_the_report_says_no_evidence_and_before_learning_that_there_is_nothing_to_judge():
    quiet, blank = [_verdict(0, "a", Level.NO_EVIDENCE)], [_verdict(0, "a", Level.NOT_LEARNED)]
    assert "no evidence that a class leans" in _report(quiet)
    assert "nothing to judge yet" in _report(blank)


def _swap(gap, *, decides):
    falls = torch.zeros(20)
    return BackgroundSwap((0,), (20,), gap, 0.05, 1.5, 0.3, 4e-4, (0.30, 0.33), (0.01, 0.02), falls, falls, decides)


def test_the_swap_sentence_has_effect_control_panels_p_and_budget():
    assert words.swapped(_swap(0.31, decides=True), 0.0031) == (
        "Putting other classes' backgrounds behind the same objects lowers their probability by 0.31 (same-class "
        "backgrounds as control, chance 0; 0.30 and 0.33 on two disjoint panels of 20 pairs of backgrounds; "
        "p = 0.00040 of a budget of 0.0031)."
    )


def test_a_swap_at_an_unplanned_look_says_that_nothing_is_concluded():
    text = words.swapped(_swap(-0.02, decides=False), 0.0031)
    assert "raises their probability by 0.020" in text
    assert text.endswith("this is no planned look, so it cannot confirm).")
    assert "p =" not in text


def test_a_confirmed_alert_says_how_severe_it_is():
    record = _record([_verdict(0, "kangaroo", Level.CONFIRMED, Level.SUSPECT)], [_contrast(0)])
    (alert,) = alerts_of(record, _tag, _place_tag)
    assert alert.text.startswith("camdebug · epoch 4 · class `kangaroo`: CONFIRMED, strong. Because.")
    report = _report(record.verdicts)
    assert report.splitlines()[0] == "**Epoch 4: the background matters for `kangaroo` (confirmed).**"
    assert "| kangaroo | confirmed (strong) | 3 | 0.22 (peak 0.31 at epoch 2) | 2.1 logits |" in report


def test_the_limits_say_what_confirmed_means_and_what_no_alert_does_not():
    for part in ("No alert is not clean", "predictions depend on which class", "lower bound", "unseen in training"):
        assert part in words.LIMITS


def test_an_alert_on_a_fixed_place_points_to_its_map_also_without_boxes():
    locked = replace(_verdict(3, "cat", Level.WATCH, Level.NOT_MEASURABLE), locked_place=True)
    (alert,) = alerts_of(_record([locked], []), _tag, _place_tag)
    assert "Next: look at camdebug/place/3 for where the cue sits" in alert.text
    (both,) = alerts_of(_record([locked], [_contrast(3)]), _tag, _place_tag)
    assert "Next: look at camdebug/place/3 and camdebug/cue_map/(3,) for where" in both.text


def test_a_place_of_one_class_of_a_pair_is_told_of_that_class_alone():
    cat = replace(_verdict(0, "cat", Level.WATCH, Level.NO_EVIDENCE), locked_place=True, place_only=True)
    dog = _verdict(1, "dog", Level.WATCH, Level.NO_EVIDENCE)
    first, second = alerts_of(_record([cat, dog], [_contrast(0, 1)]), _tag, _place_tag)
    assert (first.classes, second.classes) == ((0,), (1,))
    assert "may sit on either" not in first.text
    assert "Next: look at camdebug/place/0 for where" in first.text
    assert "may sit on either" in second.text


@pytest.mark.parametrize(
    ("probes", "said"),
    [(0, "It has no probe."), (5, "it has 5 probes, and that takes 20."), (40, "That takes 20 probes")],
)
def test_why_a_class_was_not_tested_names_what_is_missing(probes, said):
    assert said in words.not_tested(ClassScores(0, "a", probes, 0, None), 20, once=False)
