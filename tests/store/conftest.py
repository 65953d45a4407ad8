import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """No test cuts the power; that the store waits is tested by its calls."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
