"""Two real processes under FSDP2: looks see the gathered weights, to the last bit, and leave the shards as they are."""

import functools
import json

import pytest
from launch import launch, logs
from sharded_looks import CASES, CONTROL, MORE

LIMIT = 120
REFUSED = {
    "a part is not sharded": "each process trains a net.conv1.weight of its own, because no fully_shard covers it",
    "tensor_parallel_size=2": "ModelParallelStrategy is supported with tensor_parallel_size=1 only",
}
LOST = {"rank 1 fails between two units": [0, 1], "rank 1 loses its second look": [1]}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MORE]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Where the processes that go through a case wrote; they are started once for the usual and once for more cases."""

    @functools.cache
    def launched(more):
        folder = tmp_path_factory.mktemp("sharded")
        launch("sharded_looks.py", folder, count=2, limit=LIMIT, arguments=("more",) * more)
        return folder

    return lambda name: launched(name in MORE)


@pytest.fixture
def found(folder_of):
    """What both ranks found in a case."""

    def of(name):
        files = [folder_of(name) / f"{name} {rank}.json" for rank in range(2)]
        assert all(path.exists() for path in files), logs(folder_of(name))
        return [json.loads(path.read_text()) for path in files]

    return of


@pytest.mark.parametrize("name", [*CASES, *SLOW])
def test_a_sharded_training_ends_with_the_same_bits_on_every_rank(found, name):
    for rank in found(name):
        assert rank["differences"] == []
        assert rank["lost"] == LOST.get(name, [])


@pytest.mark.parametrize("name", [*(name for name in CASES if name not in REFUSED), *SLOW])
def test_every_rank_finds_what_one_alone_finds_on_the_gathered_weights(found, name):
    ranks = found(name)
    looks = 0 if name == "rank 1 fails between two units" else 2
    for rank in ranks:
        assert rank["inside"] == ["Parameter"]
        assert rank["looks"] == looks
        assert rank["checked"] == (0 if name == "no validation" else looks - len(LOST.get(name, [])) * bool(looks))
        assert rank["unlike"] == []
    first, second = (rank["metrics"] for rank in ranks)
    assert first == second
    assert len(first) > 20 or not looks


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_what_is_not_whole_on_any_rank_is_refused_once_and_told(found, folder_of, name, words):
    assert [rank["looks"] for rank in found(name)] == [0, 0]
    said, other = ((folder_of(name) / f"log {rank}").read_text() for rank in range(2))
    assert said.count("camdebug is off in this run") == len(REFUSED)
    assert f"{words}. Look at a checkpoint afterwards, with compute_cams" in said
    assert "camdebug is off" not in other


def test_if_fsdp2_gathered_weights_within_a_look_the_training_would_break(found):
    assert all("mixed torch.Tensor and DTensor" in rank for rank in found(CONTROL))
