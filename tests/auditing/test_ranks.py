"""Real processes under DDP audit together: what they find is what one alone finds, to the last bit."""

import json
from pathlib import Path

import pytest
from audit_ranks import FAILING, FINE, model_of, options_of
from launch import launch, logs
from small_audit import bits, quick

LIMIT = 200  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What both processes wrote of all their audits."""
    written = tmp_path_factory.mktemp("ranks")
    launch(Path(__file__).with_name("audit_ranks.py"), written, count=2, limit=LIMIT)
    return written


def found(folder, name):
    files = [folder / f"{name} {rank}.json" for rank in range(2)]
    assert all(path.exists() for path in files), logs(folder)
    return [json.loads(path.read_text()) for path in files]


@pytest.mark.parametrize("name", FINE)
def test_two_processes_find_what_one_finds_to_the_last_bit(folder, name):
    alone = json.loads(json.dumps(bits(quick(model_of(name), **options_of(name)))))
    for rank in found(folder, name):
        assert rank["bits"] == alone
        assert rank["same"]
    assert json.loads((folder / f"{name}.json").read_text()) == alone["report"]


def test_the_pictures_are_dealt_out(folder):
    """Five batches of 8, of which three pictures cannot be used. Without Lightning's sampler both measure all."""
    for name, shares in (("heat", [22, 15]), ("no sampler", [37, 37])):
        assert [rank["read"] for rank in found(folder, name)] == shares


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        (FAILING[0], ["PeerError: rank 1: RuntimeError", "RuntimeError: lost on purpose"]),
        (FAILING[1], ["OSError: disk full", "PeerError: rank 0: OSError"]),
        (FAILING[2], ["ValueError: dataset: gives other pictures in other processes"] * 2),
        (FAILING[3], ["PeerError: rank 1: RuntimeError", "RuntimeError: lost on purpose"]),
    ],
)
def test_what_fails_in_one_process_ends_the_audit_in_both_and_none_waits(folder, name, errors):
    for rank, expected in zip(found(folder, name), errors, strict=True):
        assert rank["error"].startswith(expected)
        assert rank["same"]
