"""Names and values of what is logged."""

from dataclasses import replace

import pytest
import torch
from small_training import CLASSES, Case, monitor, run

from camdebug.callbacks.metrics import chance_level, metrics_of, missing

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
    assert metrics["camdebug/suspect_classes"] == metrics["camdebug/watch_classes"] == 0.0


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
    ],
)
def test_chance_levels(metric, level):
    assert chance_level(metric, chance_outside_mass=0.8) == level


def test_only_names_of_ours_can_be_missing():
    names = ["camdebug/b", "camdebug/a", "camdebugger/a", "val_loss", "camdebug/have"]
    assert missing(names, {"camdebug/have": 1.0}, name="camdebug") == ["camdebug/a", "camdebug/b"]
