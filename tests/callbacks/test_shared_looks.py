"""Two and three real processes under DDP share every look: what they find is what one alone finds, to the last bit."""

import json
import math

import pytest
from launch import launch, logs
from shared_looks import CASES, CONTROL

LIMIT = 240


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory):
    """For each case what every rank found."""
    folder = tmp_path_factory.mktemp("shared")
    launch("shared_looks.py", folder, count=request.param, limit=LIMIT)

    def of(name):
        files = [folder / f"{name} {rank}.json" for rank in range(request.param)]
        assert all(path.exists() for path in files), logs(folder)
        return [json.loads(path.read_text()) for path in files]

    return of


@pytest.mark.parametrize("name", CASES)
def test_the_training_has_the_same_bits_and_every_rank_finds_what_one_alone_finds(found, name):
    for rank in found(name):
        assert rank["looks"] == 4
        assert rank["unlike"] == []
        assert rank["differences"] == []


@pytest.mark.parametrize("name", CASES)
def test_every_rank_has_the_same_metrics(found, name):
    first, *others = [rank["metrics"] for rank in found(name)]
    assert len(first) > 20
    assert all(other == first for other in others)


def test_with_buffers_of_its_own_a_rank_would_find_something_else(found):
    assert any(rank["unlike"] for rank in found(CONTROL))


def test_the_forwards_are_shared_out_and_every_rank_makes_as_many(found):
    ranks = found("ddp")
    for shared, alone in ranks[0]["forwards"]:
        assert shared < alone
        assert math.isclose(shared, alone / len(ranks), rel_tol=0.1)
    assert all(rank["forwards"] == ranks[0]["forwards"] for rank in ranks)


def test_a_look_that_one_rank_loses_is_lost_by_all_and_the_next_one_is_whole(found):
    for rank in found("rank 1 loses its second look"):
        assert rank["lost"] == [1]


def test_processes_that_lightning_spawns_share_looks_as_well(tmp_path):
    launch("spawned.py", tmp_path, count=1, limit=120)
    written = [tmp_path / name for name in ("spawned 0.json", "spawned 1.json", "differences.json")]
    assert all(path.exists() for path in written), logs(tmp_path)
    first, second, unlike = (json.loads(path.read_text()) for path in written)
    assert unlike == []
    assert (first.pop("rank"), second.pop("rank")) == (0, 1)
    assert first == second
    assert (first["epoch"], first["maps"]) == (1, [80, 8, 8])
