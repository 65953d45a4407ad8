"""Which names are metrics of ours, why some can have no value, and what is said of them."""

import pytest
import torch
from small_training import CLASSES, Case, Memory, Module, monitor, ours, probes, run, train_loader, trainer, val_loader

from camdebug.callbacks.known_metrics import KnownMetrics
from camdebug.callbacks.metric_log import MetricLog
from camdebug.callbacks.metrics import metrics_of
from camdebug.probe.probe_set import ProbeSet

NAMES = [f"kind {k}" for k in range(CLASSES)]


def known(given=None, *, contrast=True, tested=NAMES):
    return KnownMetrics("camdebug", given or probes(), contrast=contrast, tested=tested)


def without_boxes():
    annotated = probes()
    return ProbeSet(annotated.images, annotated.labels, class_names=annotated.class_names)


def one_class_empty():
    with pytest.warns(UserWarning, match="no probe of 1 class"):
        return probes(class_names=[*NAMES, "rare"])


def test_all_metrics_of_a_look_are_known_and_no_others():
    watching = monitor()
    run(Case(trainer={"max_epochs": 1}), watching)
    found = set(metrics_of(watching.last_record, name="camdebug", slugs=watching._reporter.slugs))
    assert found | {"camdebug/seconds"} == set(known()._why)  # of the whole look, known only after it
    assert {known().why_never(name) for name in found} == {None}
    assert "camdebug/swapgap" not in known()
    assert "other/swap_gap" not in known()


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("camdebug/swapgap", "camdebug/swap_gap"),
        ("camdebug/confirmed_clases", "camdebug/confirmed_classes"),
        ("camdebug/class/kind 2/recall", "camdebug/class/kind-2/recall"),
        ("camdebug/xyz", None),
    ],
)
def test_the_name_that_was_meant_is_found(name, closest):
    assert known().closest(name) == closest


@pytest.mark.parametrize(
    ("metric", "settings", "why"),
    [
        ("swap_gap", {"contrast": False}, "pass contrast=True"),
        ("worst_swap_gap", {"contrast": False}, "pass contrast=True"),
        ("class/kind-1/reliance", {"contrast": False}, "pass contrast=True"),
        ("outside_mass", {"contrast": False}, None),
        ("outside_mass", {"given": without_boxes}, "it needs boxes; give the probe set some"),
        ("class/kind-1/log_density_ratio", {"given": without_boxes}, "it needs boxes"),
        ("background_evidence", {"given": without_boxes}, "it needs boxes"),
        ("worst_reliance", {"given": without_boxes}, "it needs boxes"),
        ("class/kind-1/recall", {"given": without_boxes}, None),
        ("confirmed_classes", {"given": without_boxes}, None),
        ("seconds", {"given": without_boxes}, None),
        ("reliance", {"tested": []}, "no class has a background to test; that takes 20 probes of a class with boxes"),
        ("reliance", {"tested": NAMES[:1]}, None),
        ("class/kind-1/swap_gap", {"tested": NAMES[:1]}, "`kind 1` has no background to test; that takes 20 probes"),
        ("class/kind-1/outside_lift", {"tested": NAMES[:1]}, None),
        ("class/rare/outside_mass", {"given": one_class_empty}, "`rare` has no probe; add some"),
        ("class/rare/recall", {"given": one_class_empty}, "`rare` has no probe; add some"),
        ("class/rare/swap_gap", {"given": one_class_empty}, "`rare` has no probe; add some"),
    ],
)
def test_why_a_metric_can_have_no_value_in_a_run(metric, settings, why):
    if "given" in settings:
        settings = {**settings, "given": settings["given"]()}
    said = known(**settings).why_never(f"camdebug/{metric}")
    assert said is None if why is None else why in said


def fit(callbacks, memory, *, contrast=True):
    """With a monitor whose metrics are known, as ``CAMMonitor`` makes it."""
    watching = monitor(contrast=contrast)
    watching._metrics = MetricLog.of(
        watching.probes,
        name="camdebug",
        contrast=contrast,
        tested=watching._observer.testable_classes,
        messages=watching._messages,
    )
    with ours() as said:
        fitted = trainer(callbacks=[watching, *callbacks], max_epochs=3, logger=memory)
        try:
            fitted.fit(Module(), train_loader(), val_loader())
        except RuntimeError as error:
            return str(error), said
    return None, said


def test_a_misspelt_metric_is_said_and_lightning_ends_the_training():
    from pytorch_lightning.callbacks import EarlyStopping

    memory = Memory()
    error, said = fit([EarlyStopping("camdebug/swapgap")], memory)
    assert "conditioned on metric `camdebug/swapgap` which is not available" in error
    assert said == [
        "camdebug has no metric camdebug/swapgap, but a monitor waits for it. Did you mean camdebug/swap_gap? Unless "
        "you log it yourself, Lightning will miss it."
    ]
    assert memory.of("camdebug/swapgap") == []


def test_a_metric_under_our_name_that_the_training_logs_itself_is_left_to_it():
    from pytorch_lightning.callbacks import Callback, EarlyStopping

    class Logs(Callback):
        def on_validation_epoch_end(self, fitted, module):
            module.log("camdebug/own", torch.tensor(float(fitted.current_epoch)))

    memory = Memory()
    error, said = fit([Logs(), EarlyStopping("camdebug/own", patience=9)], memory)
    assert error is None
    assert len(said) == 1
    assert [value for _, value in memory.of("camdebug/own")] == [0.0, 1.0, 2.0]


def test_a_metric_that_these_settings_never_give_stands_at_chance_and_why_is_said_once():
    from pytorch_lightning.callbacks import EarlyStopping

    memory = Memory()
    error, said = fit([EarlyStopping("camdebug/swap_gap", patience=9)], memory, contrast=False)
    assert error is None
    assert [value for _, value in memory.of("camdebug/swap_gap")] == [0.0] * 3
    assert said == [
        "camdebug: camdebug/swap_gap will have no value in this run, although a monitor waits for it: it needs swapped "
        "backgrounds; pass contrast=True. It stays at its chance level 0, so that monitor cannot tell epochs apart."
    ]
