import os

import pytest
import torch
from hypothesis import settings

# For the processes that tests start: beside another worker of pytest their threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("camdebug", deadline=None)  # a slow machine is not a failure
settings.load_profile("camdebug")


@pytest.fixture(autouse=True)
def _one_thread():
    """Small nets: more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_weights():
    """Untrained nets do not depend on which tests ran before."""
    torch.manual_seed(0)
