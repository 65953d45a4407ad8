"""The README's table of what is proven is the one that the tests make."""

import doctest
import sys
from pathlib import Path

import pytest

_ROOT = str(Path(__file__).parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from tests import harmless  # noqa: E402


@pytest.fixture(scope="module")
def made():
    return harmless.current()


def test_the_tables_are_the_ones_that_the_tests_make(made):
    short, long = made
    text = harmless.README.read_text(encoding="utf-8")
    assert harmless.in_readme(text) == short, "run: python -m tests.harmless"
    assert harmless.NAMES.read_text(encoding="utf-8") == long, "run: python -m tests.harmless"


def test_the_tables_have_enough_of_everything(made):
    from identity_cases import CASES

    rows = harmless.by_row(harmless.collected())
    faults = [row for row in rows if "faults" in row.what or "memory" in row.what or "interrupts" in row.what]
    assert len(CASES) >= 40
    assert len(rows[harmless.SAME_BITS]) == len(CASES)
    assert sum(len(rows[row]) for row in faults) >= 25
    assert all(rows.values()), [row.what for row, tests in rows.items() if not tests]
    assert all(f"untested | {what}" in made[0] for what in harmless.NOT_TRIED)


def test_names_become_sentences():
    assert doctest.testmod(harmless).failed == 0
