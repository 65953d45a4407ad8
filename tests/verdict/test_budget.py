import pytest
from hypothesis import given
from hypothesis import strategies as st

from camdebug.verdict.budget import ErrorBudget


def test_with_a_plan_every_look_may_spend_the_same():
    budget = ErrorBudget(0.05)
    for left in range(20, 0, -1):
        part = budget.per_test(tests=5, looks_left=left)
        assert part == pytest.approx(0.05 / 100)
        budget.spend(tests=5, per_test=part)
    assert budget.spent == pytest.approx(0.05)


def test_without_a_plan_the_parts_shrink_and_never_add_up_to_more_than_alpha():
    budget, parts = ErrorBudget(0.05), []
    for _ in range(200):
        parts.append(budget.per_test(tests=1, looks_left=None))
        budget.spend(tests=1, per_test=parts[-1])
    assert parts[:3] == [pytest.approx(0.05 / 2), pytest.approx(0.05 / 6), pytest.approx(0.05 / 12)]
    assert budget.spent == pytest.approx(0.05 * 200 / 201)


@given(st.lists(st.one_of(st.none(), st.integers(-2, 50)), max_size=60), st.integers(1, 20))
def test_whatever_the_plans_the_whole_run_never_spends_more_than_alpha(plans, tests):
    budget = ErrorBudget(0.05)
    for looks_left in plans:
        budget.spend(tests=tests, per_test=budget.per_test(tests=tests, looks_left=looks_left))
    assert budget.spent <= 0.05 + 1e-12
