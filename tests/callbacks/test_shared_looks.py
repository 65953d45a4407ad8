"""Two and three real processes under DDP share every look: what they find is what one alone finds, to the last bit."""

import functools
import json
import math

import pytest
from launch import launch, logs
from shared_looks import CONTROL, MORE, ROUNDS

LIMIT = 200
EACH = [
    pytest.param(count, name, marks=[pytest.mark.slow] * (which == "more"))
    for (count, which), names in ROUNDS.items()
    for name in names
    if name not in CONTROL
]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Where so many processes wrote; they are started once for each round."""

    @functools.cache
    def launched(count, *which):
        folder = tmp_path_factory.mktemp(f"{count} ranks")
        launch("shared_looks.py", folder, count=count, limit=LIMIT, arguments=which)
        return folder

    return launched


@pytest.fixture
def found(folder_of):
    """What every rank found in a case."""

    def of(count, name):
        folder = folder_of(count, *(("more",) if name in MORE else ()))
        files = [folder / f"{name} {rank}.json" for rank in range(count)]
        assert all(path.exists() for path in files), logs(folder)
        return [json.loads(path.read_text()) for path in files]

    return of


@pytest.mark.parametrize(("count", "name"), EACH)
def test_the_training_has_the_same_bits_and_every_rank_finds_what_one_alone_finds(found, count, name):
    for rank in found(count, name):
        assert rank["looks"] == rank["expected"]
        assert rank["unlike"] == []
        assert rank["differences"] == []


@pytest.mark.parametrize(("count", "name"), EACH)
def test_every_rank_has_the_same_metrics(found, count, name):
    first, *others = [rank["metrics"] for rank in found(count, name)]
    assert len(first) > 15
    assert all(other == first for other in others)


def test_with_buffers_of_its_own_a_rank_would_find_something_else(found):
    assert any(rank["unlike"] for rank in found(2, *CONTROL))


@pytest.mark.parametrize("count", [2, 3])
def test_the_forwards_are_shared_out_and_every_rank_makes_as_many(found, count):
    ranks = found(count, "ddp")
    for shared, alone in ranks[0]["forwards"]:
        assert shared < alone
        assert math.isclose(shared, alone / len(ranks), rel_tol=0.15)  # chunks are whole
    assert all(rank["forwards"] == ranks[0]["forwards"] for rank in ranks)


@pytest.mark.parametrize("count", [2, 3])
def test_what_planned_looks_intervene_with_is_shared_out_as_well(found, count):
    plain, planned = found(count, "ddp"), found(count, "planned looks")
    for rank in planned:
        assert rank["decided"] == [True]
        assert rank["forwards"] == planned[0]["forwards"]
    assert all(shared > 2 * plain[0]["forwards"][0][0] for shared, _ in planned[0]["forwards"])


@pytest.mark.slow
def test_all_ranks_plan_as_rank_zero_does(found):
    first, second = found(2, "rank 1 expects that this look is the last one")
    assert first["decided"] == second["decided"]
    assert first["forwards"] == second["forwards"]


def test_if_one_rank_runs_out_of_memory_all_take_smaller_chunks(found):
    assert [rank["chunk_size"] for rank in found(2, "rank 1 runs out of memory")] == [2, 2]
    assert [rank["lost"] for rank in found(2, "rank 1 runs out of memory")] == [[], []]


@pytest.mark.parametrize("count", [2, 3])
def test_a_look_that_one_rank_loses_is_lost_by_all_and_the_next_one_is_whole(found, count):
    for rank in found(count, "rank 1 loses its second look"):
        assert rank["lost"] == [1]


def test_lightning_recommends_nothing_for_our_metrics_that_are_alike_everywhere(folder_of):
    said = (folder_of(2) / "log 0").read_text()
    assert "self.log('val_loss', ..., sync_dist=True)" in said
    assert "self.log('camdebug/" not in said


def test_a_rank_that_starts_elsewhere_is_told(folder_of):
    assert (folder_of(2) / "log 0").read_text().count("camdebug starts afresh: not every process") == 1


def test_processes_that_lightning_spawns_share_looks_as_well(tmp_path):
    launch("spawned.py", tmp_path, count=1, limit=LIMIT)
    written = [tmp_path / name for name in ("spawned 0.json", "spawned 1.json", "differences.json")]
    assert all(path.exists() for path in written), logs(tmp_path)
    first, second, unlike = (json.loads(path.read_text()) for path in written)
    assert unlike == []
    assert (first.pop("rank"), second.pop("rank")) == (0, 1)
    assert first == second
    assert (first["epoch"], first["maps"]) == (1, [80, 8, 8])
    said = (tmp_path / "log 0").read_text()
    assert said.count("camdebug cannot call on_alert in this process: it could not be pickled") == 1
