"""Two real processes (gloo) that train together end together, whatever happens to a look of one of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
LIMIT = 150  # seconds; a rank that waits for the other waits much longer
STOPPED = ["both confirm", "look of rank 0 fails", "look of rank 1 fails", "rank 1 alone confirms"]


def start(rank, port, folder):
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    surroundings = {
        **os.environ,
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "always",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with open(folder / f"log {rank}", "w") as log:
        return subprocess.Popen(
            [sys.executable, str(HERE / "two_ranks.py"), str(folder)],
            env=surroundings,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What both ranks wrote of all their trainings."""
    written = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks, end = [start(rank, port, written) for rank in range(2)], time.monotonic() + LIMIT
    try:
        for rank in ranks:
            rank.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # the files that are missing say which training hung
    finally:
        for rank in ranks:
            if rank.poll() is None:
                os.killpg(rank.pid, signal.SIGKILL)
            rank.wait()
    return written


def facts(folder, name):
    found = [folder / f"{name} {rank}.json" for rank in range(2)]
    assert all(path.exists() for path in found), [(folder / f"log {r}").read_text()[-2000:] for r in range(2)]
    return [json.loads(path.read_text()) for path in found]


def weights(folder, name, rank):
    return torch.load(folder / f"{name} {rank}.pt", weights_only=True)


@pytest.mark.parametrize("name", STOPPED)
def test_both_ranks_end_at_the_same_epoch_with_the_bits_of_a_training_that_lightning_ended(folder, name):
    # 40 pictures in batches of 8 are 3 steps an epoch when two share them
    assert facts(folder, name) == [{"rank": rank, "epochs": 2, "steps": 6} for rank in range(2)]
    for rank in range(2):
        ours, lightnings = weights(folder, name, rank), weights(folder, "lightning stops", rank)
        assert all(torch.equal(ours[key], lightnings[key]) for key in lightnings)


def test_with_action_warn_both_go_on(folder):
    assert [found["epochs"] for found in facts(folder, "action warn")] == [4, 4]
    longer, shorter = weights(folder, "action warn", 0), weights(folder, "lightning stops", 0)
    assert torch.equal(longer["net.head.weight"], weights(folder, "action warn", 1)["net.head.weight"])
    assert not torch.equal(longer["net.head.weight"], shorter["net.head.weight"])


def test_rank_zero_says_why(folder):
    facts(folder, "action warn")
    said, other = ((folder / f"log {rank}").read_text() for rank in range(2))
    assert said.count("camdebug asks Lightning to end the training after epoch 1 (action='stop'): ") == 4
    assert said.count("the background is confirmed to matter for `kind 0`.") == 2
    assert said.count("the background is confirmed to matter for a class on another rank.") == 2
    assert "camdebug asks" not in other
