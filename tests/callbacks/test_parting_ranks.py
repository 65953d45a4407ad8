"""One of two real processes is interrupted or killed within a look: the other ends just as it would without us."""

import json

import pytest
from launch import launch, logs

LIMIT = 120
LEFT_ALONE = ["rank 1 is interrupted", "rank 1 is killed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the processes wrote that lived to write."""
    written = tmp_path_factory.mktemp("parting")
    launch("parting_ranks.py", written, count=2, limit=LIMIT)
    return written


def ending(folder, name, kind, rank):
    path = folder / f"{name} {kind} {rank}.json"
    assert path.exists(), logs(folder)
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_whoever_is_left_alone_in_a_look_ends_with_the_same_error_and_the_same_bits(folder, name):
    watched, control = (ending(folder, name, kind, 0) for kind in ("watched", "control"))
    assert watched.pop("lost") == [1]
    assert control.pop("lost") == []
    assert watched == control
    assert (watched["ended"], watched["epochs"]) == ("RuntimeError", 2)


@pytest.mark.parametrize(("name", "rank"), [(LEFT_ALONE[0], 1), *(("all are interrupted", rank) for rank in range(2))])
def test_an_interrupt_in_a_look_ends_a_rank_at_once_with_the_same_bits(folder, name, rank):
    watched, control = (ending(folder, name, kind, rank) for kind in ("watched", "control"))
    assert watched == control
    assert (watched["ended"], watched["epochs"], watched["lost"]) == ("SystemExit", 1, [])


def test_a_rank_that_was_killed_wrote_nothing(folder):
    ending(folder, LEFT_ALONE[1], "control", 0)
    assert not list(folder.glob(f"{LEFT_ALONE[1]} * 1.json"))


def test_the_lost_look_is_told_once(folder):
    ending(folder, "all are interrupted", "watched", 0)
    assert (folder / "log 0").read_text().count("camdebug lost its look at epoch 1: ") == len(LEFT_ALONE)
