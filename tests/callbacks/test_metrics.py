"""Names and values of what is logged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import CLASSES, Case, monitor, run

from camdebug.callbacks.metrics import chance_level, metrics_of
from camdebug.records import BackgroundSwap, Level

SLUGS = {k: f"kind-{k}" for k in range(CLASSES)}


@pytest.fixture(scope="module")
def record():
    watching = monitor()
    run(Case(trainer={"max_epochs": 1}), watching)
    return watching.last_record


def test_means_over_classes_and_values_of_each_class(record):
    metrics = metrics_of(record, name="camdebug", slugs=SLUGS)
    each = [c.outside_mass for c in record.classes]
    assert metrics["camdebug/outside_mass"] == pytest.approx(sum(each) / CLASSES)
    assert [metrics[f"camdebug/class/kind-{k}/outside_mass"] for k in range(CLASSES)] == each
    assert metrics["camdebug/background_evidence"] == pytest.approx(sum(c.value for c in record.contrasts) / CLASSES)
    assert metrics["camdebug/swap_gap"] == pytest.approx(np.mean([s.gap for s in record.swaps]))
    assert metrics["camdebug/worst_swap_gap"] == max(s.gap for s in record.swaps)


def swap(*classes, gap):
    nothing = torch.zeros(0)
    return BackgroundSwap(
        classes=classes,
        counts=(20,) * len(classes),
        gap=gap,
        standard_error=0.1,
        margin_gap=gap,
        margin_standard_error=0.1,
        p_value=0.5,
        panel_gaps=(gap, gap),
        panel_p_values=(0.5, 0.5),
        recipients=nothing.long(),
        falls=nothing.double(),
        decides=True,
    )


def with_swaps(record, *swaps):
    return metrics_of(replace(record, swaps=swaps), name="camdebug", slugs=SLUGS)


def test_the_swap_gap_is_the_mean_the_worst_one_is_beside_it_and_each_class_has_its_own(record):
    metrics = with_swaps(record, swap(0, gap=-0.1), swap(1, gap=0.3), swap(2, gap=float("nan")))
    assert metrics["camdebug/worst_swap_gap"] == 0.3
    gaps = {key: value for key, value in metrics.items() if key.endswith("/swap_gap")}
    assert gaps == {
        "camdebug/swap_gap": pytest.approx(0.1),
        "camdebug/class/kind-0/swap_gap": -0.1,
        "camdebug/class/kind-1/swap_gap": 0.3,
    }


def test_both_classes_of_a_pair_have_its_swap_gap(record):
    metrics = with_swaps(record, swap(0, 1, gap=0.25))
    keys = ("swap_gap", "class/kind-0/swap_gap", "class/kind-1/swap_gap")
    assert [metrics[f"camdebug/{key}"] for key in keys] == [0.25] * 3


@pytest.mark.parametrize("swaps", [[], [swap(0, gap=float("nan"))]])
def test_without_a_finite_swap_there_is_no_swap_gap(record, swaps):
    assert not any(key.endswith("swap_gap") for key in with_swaps(record, *swaps))


@pytest.mark.parametrize("level", [Level.WATCH, Level.SUSPECT, Level.CONFIRMED])
def test_classes_are_counted_by_level(record, level):
    raised = [replace(v, level=level) for v in record.verdicts[:3]]
    metrics = metrics_of(replace(record, verdicts=(*raised, record.verdicts[3])), name="camdebug", slugs=SLUGS)
    counts = {k: metrics[f"camdebug/{k.value}_classes"] for k in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED)}
    assert counts == {k: 3.0 if k.rank <= level.rank else 0.0 for k in counts}


def test_a_class_that_gets_worse_lowers_no_count(record):
    def counts(*levels):
        verdicts = tuple(replace(v, level=level) for v, level in zip(record.verdicts, levels, strict=True))
        metrics = metrics_of(replace(record, verdicts=verdicts), name="x", slugs=SLUGS)
        return [metrics[f"x/{level}_classes"] for level in ("watch", "suspect", "confirmed")]

    assert counts(Level.WATCH, Level.SUSPECT, Level.NO_EVIDENCE, Level.NOT_LEARNED) == [2, 1, 0]
    assert counts(Level.WATCH, Level.CONFIRMED, Level.NO_EVIDENCE, Level.NOT_LEARNED) == [2, 1, 1]


def with_reliance(record, *values):
    verdicts = tuple(replace(v, reliance=value) for v, value in zip(record.verdicts, values, strict=True))
    metrics = metrics_of(replace(record, verdicts=verdicts), name="camdebug", slugs=SLUGS)
    return {key: value for key, value in metrics.items() if key.endswith("reliance")}


def test_reliance_is_the_mean_the_worst_one_is_beside_it_and_each_class_has_its_own(record):
    assert with_reliance(record, 1.5, None, -0.5, float("nan")) == {
        "camdebug/reliance": 0.5,
        "camdebug/worst_reliance": 1.5,
        "camdebug/class/kind-0/reliance": 1.5,
        "camdebug/class/kind-2/reliance": -0.5,
    }
    assert with_reliance(record, None, None, None, None) == {}


def test_a_class_without_finite_evidence_does_not_hide_the_others(record):
    broken = replace(record.contrasts[0], value=float("nan"))
    metrics = metrics_of(replace(record, contrasts=(broken, *record.contrasts[1:])), name="camdebug", slugs=SLUGS)
    rest = [c.value for c in record.contrasts[1:]]
    assert metrics["camdebug/background_evidence"] == pytest.approx(sum(rest) / len(rest))


def test_what_cannot_be_measured_has_no_metric(record):
    blank = tuple(replace(c, outside_mass=None, recall=None, probes=0) for c in record.classes)
    metrics = metrics_of(replace(record, classes=blank, contrasts=()), name="x", slugs=SLUGS)
    gone = {"x/outside_mass", "x/background_evidence", "x/class/kind-0/outside_mass", "x/class/kind-0/recall"}
    assert not gone & set(metrics)
    assert all(torch.isfinite(torch.tensor(v)) for v in metrics.values())


@pytest.mark.parametrize(
    ("metric", "level"),
    [
        ("camdebug/outside_mass", 0.8),
        ("camdebug/class/cat/outside_mass", 0.8),
        ("camdebug/chance_outside_mass", 0.8),
        ("camdebug/outside_lift", 1.0),
        ("camdebug/log_density_ratio", 0.0),
        ("camdebug/suspect_classes", 0.0),
        ("camdebug/confirmed_classes", 0.0),
        ("camdebug/swap_gap", 0.0),
        ("camdebug/class/cat/swap_gap", 0.0),
        ("camdebug/reliance", 0.0),
        ("camdebug/worst_reliance", 0.0),
        ("camdebug/class/cat/reliance", 0.0),
    ],
)
def test_chance_levels(metric, level):
    assert chance_level(metric, chance_outside_mass=0.8) == level
