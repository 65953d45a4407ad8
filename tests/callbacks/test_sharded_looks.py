"""Real processes under FSDP2: looks see the gathered weights, to the last bit, and leave the shards as they are."""

import functools
import json

import pytest
from launch import launch, logs
from sharded_looks import CONTROL, LATE, MORE, NO_ROOM, ROUNDS

LIMIT = 120
REFUSED = {
    "a part is not sharded": "net.conv1.weight is not covered by any fully_shard, so each process trains its own",
    "tensor_parallel_size=2": "ModelParallelStrategy is supported with tensor_parallel_size=1 only",
}
SHORT, SHORT_AT_START = "rank 1 cannot hold its first look's weights", "rank 1 cannot hold the weights at fit start"
LOST = {"rank 1 fails between two units": [0, 1], "rank 1 loses its second look": [1], SHORT: [0]}
LOOKS = {"rank 1 fails between two units": 0, SHORT: 1}
CHECKED = {"no validation": 0, "rank 1 loses its second look": 1}
EACH = [
    pytest.param(count, name, marks=[pytest.mark.slow] * ((count, which) != (2, "")))
    for (count, which), names in ROUNDS.items()
    for name in names
]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Where so many processes wrote that go through a case; they are started once for each round."""

    @functools.cache
    def launched(count, *which):
        folder = tmp_path_factory.mktemp(f"{count} ranks")
        launch("sharded_looks.py", folder, count=count, limit=LIMIT, arguments=which)
        return folder

    return lambda count, name: launched(count, *(("more",) if name in MORE else ()))


@pytest.fixture
def found(folder_of):
    """What every rank found in a case."""

    def of(count, name):
        folder = folder_of(count, name)
        files = [folder / f"{name} {rank}.json" for rank in range(count)]
        assert all(path.exists() for path in files), logs(folder)
        return [json.loads(path.read_text()) for path in files]

    return of


@pytest.mark.parametrize(("count", "name"), EACH)
def test_a_sharded_training_ends_with_the_same_bits_on_every_rank(found, count, name):
    for rank in found(count, name):
        assert rank["differences"] == []
        assert rank["lost"] == LOST.get(name, [])


@pytest.mark.parametrize(("count", "name"), [case for case in EACH if case.values[1] not in {*REFUSED, SHORT_AT_START}])
def test_every_rank_finds_what_one_alone_finds_on_the_gathered_weights(found, count, name):
    ranks = found(count, name)
    looks = LOOKS.get(name, 2)
    for rank in ranks:
        assert rank["inside"] == ["Parameter"]
        assert rank["looks"] == looks
        assert rank["checked"] == CHECKED.get(name, looks)
        assert rank["unlike"] == []
        assert rank["metrics"] == ranks[0]["metrics"]
    assert len(ranks[0]["metrics"]) > 20 or not looks


@pytest.fixture
def said_of(folder_of):
    """What every rank printed in a case, of two."""

    def of(name):
        said = [(folder_of(2, name) / f"log {rank}").read_text() for rank in range(2)]
        return [text.split(f"\ncase {name}:\n", 1)[-1].split("\ncase ", 1)[0] for text in said]

    return of


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_what_is_not_whole_on_any_rank_is_refused_once_and_told(found, said_of, name, words):
    assert [rank["looks"] for rank in found(2, name)] == [0, 0]
    said, other = said_of(name)
    assert said.count("camdebug is off in this run") == 1
    assert f"{words}. Look at a checkpoint afterwards, with compute_cams" in said
    assert "camdebug is off" not in other


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_no_rank_gathers_for_a_look_whose_weights_one_of_them_cannot_hold(found, count):
    for rank in found(count, SHORT):
        assert [begun > 0 for begun in rank["begun"]] == [True, True, False, True]  # layer, initial maps, looks


def test_weights_that_one_rank_cannot_hold_at_fit_start_switch_all_off_by_one_message(found, said_of):
    assert [(rank["begun"], rank["looks"]) for rank in found(2, SHORT_AT_START)] == [([0], 0)] * 2
    said, other = said_of(SHORT_AT_START)
    assert said.count("camdebug is off in this run") == said.count("CamdebugWarning") == 1
    assert f"OutOfMemoryError: {NO_ROOM}" in said
    assert "camdebug is off" not in other


def test_if_memory_were_taken_weight_by_weight_the_ranks_would_part(found, folder_of):
    folder = folder_of(2, LATE)
    assert all((folder / f"{CONTROL} {rank}.json").exists() for rank in range(2)), logs(folder)
    told = [path.read_text() for path in sorted(folder.glob(f"{LATE} *.json"))]
    assert sum(NO_ROOM in text for text in told) < 2


def test_if_fsdp2_gathered_weights_within_a_look_the_training_would_break(found):
    assert all("weights.net.head.weight" in rank["differences"] for rank in found(2, CONTROL))
