import os

import pytest
import torch
from hypothesis import settings

# For the processes that tests start: beside another worker of pytest their threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("camdebug", deadline=None)  # a slow machine is not a failure
settings.load_profile("camdebug")


_LONG = (
    "tests/test_readme_and_demo.py",
    "tests/callbacks/test_shared_looks.py",
    "tests/callbacks/test_planted_shortcut.py",
    "tests/test_observe_planned.py",
    "tests/test_harmless.py",
    "tests/store/test_killed.py",
)


def pytest_collection_modifyitems(items):
    """Files of few but long tests first: two processes that share files out would wait for whoever begins one last."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.fixture(autouse=True)
def _one_thread():
    """Small nets: more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_weights():
    """Untrained nets do not depend on which tests ran before."""
    torch.manual_seed(0)
