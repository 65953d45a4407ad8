import copy

import pytest
import torch

from camdebug.measures.similarity import jensen_shannon, spearman
from camdebug.records.steadiness import Similarity
from camdebug.steadiness.memory import Memory, Remembered, compact, read_memory


def maps_of(seed=0):
    return torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(seed))


def memory():
    return Memory(
        Remembered(compact(maps_of()), "hirescam at net.8", -1),
        Remembered(compact(maps_of(1)), "hirescam at net.8", 3),
        Similarity(0.02, 0.9, 4, 0),
        3,
    )


# --- maps in half the memory


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e30])
def test_the_shape_survives_whatever_the_scale(scale):
    maps = maps_of().double() * scale
    small = compact(maps)
    assert small.dtype is torch.float16
    assert small.amax((1, 2)).tolist() == [1.0] * 4
    assert (jensen_shannon(small, maps) < 1e-6).all()
    assert (spearman(small, maps) > 0.99).all()


@pytest.mark.parametrize("bad", [0.0, 1e-9, float("nan"), float("inf")])
def test_a_map_without_evidence_becomes_zero(bad):
    maps = maps_of()
    maps[1] = bad
    small = compact(maps)
    assert (small[1] == 0).all()
    assert torch.equal(small[[0, 2, 3]], compact(maps_of())[[0, 2, 3]])


def test_to_make_them_small_again_changes_nothing():
    assert torch.equal(compact(compact(maps_of())), compact(maps_of()))


# --- there and back


@pytest.mark.parametrize("kept", [memory(), Memory(), Memory(initial=memory().initial)])
def test_a_memory_reads_what_it_wrote(kept):
    state = kept.state_dict()
    found = read_memory(copy.deepcopy(state), 4)
    assert (found.jitter, found.jitter_epoch) == (kept.jitter, kept.jitter_epoch)
    for a, b in ((found.initial, kept.initial), (found.previous, kept.previous)):
        assert (a is None) is (b is None)
        assert a is None or (a.kind, a.epoch, a.maps.tolist()) == (b.kind, b.epoch, b.maps.tolist())


def damaged(**changes):
    state = copy.deepcopy(memory().state_dict())
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = state
        for parent in parents:
            place = place[parent]
        place[key] = value
    return state


@pytest.mark.parametrize(
    "state",
    [
        {"version": 1},
        [1, 2],
        "steadiness",
        damaged(version=2),
        damaged(initial=torch.zeros(4, 3, 3)),
        damaged(initial__maps=torch.zeros(4, 3, 3)),
        damaged(initial__maps=torch.zeros(4, 9).half()),
        damaged(initial__maps=torch.zeros(5, 3, 3).half()),
        damaged(initial__maps=torch.full((4, 3, 3), float("nan")).half()),
        damaged(initial__maps=-torch.ones(4, 3, 3).half()),
        damaged(initial__maps=[[0.0]]),
        damaged(previous__kind=3),
        damaged(previous__epoch="3"),
        damaged(previous__epoch=None),
        damaged(previous__epoch=True),
        damaged(previous__colour="red"),
        damaged(jitter__jensen_shannon=float("nan")),
        damaged(jitter__spearman="high"),
        damaged(jitter__count=-1),
        damaged(jitter={}),
        damaged(jitter_epoch=None),
        damaged(jitter_epoch=2.5),
    ],
)
def test_a_damaged_state_gives_one_clear_error(state):
    with pytest.raises(ValueError, match=r"steadiness: the checkpoint's maps cannot be read \(.+\)"):
        read_memory(state, 4)


def test_the_error_says_what_is_wrong():
    with pytest.raises(ValueError, match="maps of 4 probes, expected 7"):
        read_memory(memory().state_dict(), 7)
