"""What fails in a dashboard costs neither looks nor metrics nor the other dashboards."""

import pytest
from small_training import Case, Memory, differences, monitor, run

from camdebug.callbacks import reporter


@pytest.mark.parametrize("broken", ["Dashboard", "sinks_for", "alerts_of", "run_report"])
def test_what_fails_in_reporting_costs_neither_looks_nor_metrics(monkeypatch, broken):
    def fail(*args, **kwargs):
        raise OSError(f"no {broken}")

    monkeypatch.setattr(reporter, broken, fail)
    outcome = run(Case(), monitor())
    first, *closing = outcome.said
    assert f"OSError: no {broken}" in first
    at_each_look = broken in ("alerts_of", "run_report")
    assert [f"3 times (epochs 0 to 2: OSError: no {broken})" in text for text in closing] == [True] * at_each_look
    assert len(outcome.memory.of("camdebug/outside_mass")) == 3


def test_a_logger_that_fails_is_reported_once():
    class Broken:
        def add_text(self, *args):
            raise OSError("disk full")

        _get_file_writer = add_text

    class TensorBoardLogger(Memory):
        experiment = Broken()

    without = run(Case())
    with_broken = TensorBoardLogger()
    outcome = run(Case(trainer={"logger": with_broken}), monitor())
    first, closing = outcome.said
    assert "TensorBoard did not take facts (OSError: disk full)" in first
    assert "TensorBoard did not take a text 3 times (epochs 0 to 2: OSError: disk full)" in closing
    assert "TensorBoard did not take pictures" in closing
    kept = {k: v for k, v in outcome.state.items() if k != "logged"}
    assert differences({k: without.state[k] for k in kept}, kept) == []
    assert len(with_broken.of("camdebug/outside_mass")) == 3
