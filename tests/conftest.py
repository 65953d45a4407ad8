import pytest
import torch
from hypothesis import settings

settings.register_profile("camdebug", deadline=None)  # a slow machine is not a failure
settings.load_profile("camdebug")


@pytest.fixture(autouse=True)
def _one_thread():
    """Small nets: more threads would only wait for each other."""
    torch.set_num_threads(1)
