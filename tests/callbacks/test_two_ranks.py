"""Two real processes (gloo) that train together end together, whatever happens to a look of one of them."""

import json

import pytest
import torch
from launch import launch, logs

LIMIT = 150  # seconds
STOPPED = ["both confirm", "rank 1 alone confirms"]
LOST = ["look of rank 0 fails", "look of rank 1 fails"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What both ranks wrote of all their trainings."""
    written = tmp_path_factory.mktemp("ranks")
    launch("two_ranks.py", written, count=2, limit=LIMIT)
    return written


def facts(folder, name):
    found = [folder / f"{name} {rank}.json" for rank in range(2)]
    assert all(path.exists() for path in found), logs(folder)
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


@pytest.mark.parametrize("name", LOST)
def test_looks_that_one_rank_loses_are_lost_by_both_and_stop_nothing(folder, name):
    assert [found["epochs"] for found in facts(folder, name)] == [4, 4]
    for rank in range(2):
        ours, others = weights(folder, name, rank), weights(folder, "action warn", rank)
        assert all(torch.equal(ours[key], others[key]) for key in others)


def test_with_action_warn_both_go_on(folder):
    assert [found["epochs"] for found in facts(folder, "action warn")] == [4, 4]
    longer, shorter = weights(folder, "action warn", 0), weights(folder, "lightning stops", 0)
    assert torch.equal(longer["net.head.weight"], weights(folder, "action warn", 1)["net.head.weight"])
    assert not torch.equal(longer["net.head.weight"], shorter["net.head.weight"])


def test_rank_zero_says_why(folder):
    facts(folder, "action warn")
    said, other = ((folder / f"log {rank}").read_text() for rank in range(2))
    assert said.count("camdebug asks Lightning to end the training after epoch 1 (action='stop'): ") == 2
    assert said.count("the background is confirmed to matter for `kind 0`.") == 1
    assert said.count("the background is confirmed to matter for a class on another rank.") == 1
    assert said.count("camdebug lost its look at epoch 0: PeerError: rank 1: ZeroDivisionError: division by zero") == 1
    assert said.count("camdebug lost its look at epoch 0: ZeroDivisionError: division by zero") == 1
    assert "camdebug asks" not in other


def test_other_probes_in_one_process_end_the_fit_in_both_before_its_first_step(folder):
    found = facts(folder, "other probes")
    assert found[0] == found[1]
    assert found[0]["raised"].startswith("probes: the checkpoint was made with another probe set (")
    assert found[0]["steps"] == 0
