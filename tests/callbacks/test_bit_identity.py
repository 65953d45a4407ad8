"""A training ends with the same bits with and without the monitor, in every configuration of ``identity_cases``.

``test_identity_guards.py`` shows that each guard is needed.
"""

import pytest
import torch
from identity_cases import CASES, GROUPS
from identity_run import PROBES, with_monitor, without
from small_training import Case, differences, run


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.use_deterministic_algorithms(False)
    torch._dynamo.reset()


SLOW = {"a part compiled by inductor"}
WITH_OLD_LIGHTNING = {
    *("default", "sanity check", "accumulation, validation in the middle", "no validation loader"),
    *("validation by iterations, more than an epoch", "bf16-mixed", "manual optimisation, own accumulation"),
    *("stochastic weight averaging", "max_steps"),
}


def marks(name):
    return [pytest.mark.slow] * (name in SLOW) + [pytest.mark.versions] * (name in WITH_OLD_LIGHTNING)


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in CASES])
def test_a_training_ends_with_the_same_bits(name):
    case = CASES[name]
    plain, watched = without(name), with_monitor(name)
    assert plain.said == []
    assert differences(plain.state, watched.state) == []
    assert watched.hooks == plain.hooks
    assert watched.process == plain.process
    assert len(watched.said) == bool(case.says), watched.said
    assert all(case.says in text for text in watched.said)
    assert ("camdebug/outside_mass" in watched.metrics) == case.looks


def test_pictures_of_the_probes_are_the_same_afterwards():
    before = PROBES().images.clone()
    with_monitor("writes to its input")
    assert torch.equal(PROBES().images, before)


@pytest.mark.versions
def test_two_runs_with_another_seed_differ_so_that_the_comparison_means_something():
    case = Case(trainer={"max_epochs": 1})
    longer = Case(trainer={"max_epochs": 1, "limit_train_batches": 4})
    assert differences(run(case).state, run(case).state) == []
    assert {"weights.net.head.weight", "torch", "logged"} <= set(differences(run(case).state, run(longer).state))


def test_every_configuration_has_a_name_of_its_own():
    assert len(CASES) == sum(map(len, GROUPS.values()))
