"""Two and three real processes exchange, fail and run out of memory: all learn of it, and none waits."""

import json

import pytest
from launch import launch, logs

from camdebug.callbacks.ranks import Ranks

LIMIT = 100


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request, tmp_path_factory):
    """For each scene what every rank found; all ranks are at the same exchange after it."""
    folder = tmp_path_factory.mktemp("exchange")
    launch("ranks_at_work.py", folder, count=request.param, limit=LIMIT)

    def of(scene):
        files = [folder / f"{scene} {rank}.json" for rank in range(request.param)]
        assert all(path.exists() for path in files), logs(folder)
        read = [json.loads(path.read_text()) for path in files]
        assert all(r["together"] == [scene] * request.param for r in read)
        return [r["found"] for r in read]

    return of


def told_by(outcomes, scene, failed, error="ValueError"):
    """The failed ranks raise their own error, the others that of the first of them."""
    for rank, found in enumerate(outcomes(scene)):
        if rank in failed:
            assert found == ["ValueError", f"mine of {rank}"]
        else:
            assert found == ["PeerError", f"rank {failed[0]}: {error}: mine of {failed[0]}"]


def test_pieces_come_in_the_order_of_ranks(outcomes):
    found = outcomes("nobody_fails")
    count = len(found)
    expected = [[f"first of {r}" for r in range(count)], [{"second": r} for r in range(count)]]
    assert found == [expected] * count


@pytest.mark.parametrize(
    ("scene", "failed"),
    [
        ("before_the_first_exchange", [1]),
        ("between_exchanges", [0]),
        ("after_the_last_exchange", [1]),
        ("inner_failure_goes_through_the_outer_attempt", [1]),
    ],
)
def test_what_fails_in_one_fails_in_all_and_says_where(outcomes, scene, failed):
    told_by(outcomes, scene, failed)


def test_of_two_failures_the_first_exchange_settles(outcomes):
    found = outcomes("two_at_different_places")
    assert found[1] == ["ValueError", "mine of 1"]
    assert found[0] == ["PeerError", "rank 1: ValueError: mine of 1"]


def test_whoever_leaves_while_others_exchange_fails_with_them(outcomes):
    found = outcomes("one_leaves_while_others_exchange")
    assert found == [["PeerError", "the processes have gone different ways"]] * len(found)


def test_memory_that_runs_out_in_one_runs_out_in_all(outcomes):
    found = outcomes("one_runs_out_of_memory")
    assert {kind for kind, _ in found} == {"OutOfMemoryError"}
    assert found[0][1] == "rank 1: OutOfMemoryError: mine of 1"


def test_another_failure_overrules_it_everywhere(outcomes):
    found = outcomes("one_runs_out_of_memory_and_one_fails")
    assert found[0] == ["ValueError", "mine of 0"]
    assert all(other == ["PeerError", "rank 0: ValueError: mine of 0"] for other in found[1:])


def test_all_try_again_as_often_as_one_needs(outcomes):
    assert set(outcomes("tries_again_together")) == {3}


def test_a_look_never_communicates_through_synchronised_norms(outcomes):
    first, *others = outcomes("one_alone_looks_at_synchronised_norms")
    assert first == [2, 6, 6]
    assert set(others) == {None}


def test_what_a_failed_pass_held_is_let_go_before_the_others_are_told(outcomes):
    found = outcomes("what_a_failed_pass_held_is_let_go_before_the_others_are_told")
    assert found == [[True]] * len(found)


def test_buffers_are_rank_zeros_inside_and_ones_own_after_it(outcomes):
    for rank, (inside, mean, batches) in enumerate(outcomes("buffers")):
        assert inside == [[0.0] * 3, 10]
        assert (mean, batches) == ([float(rank)] * 3, 10 + rank)


def test_buffers_are_given_back_after_a_failure(outcomes):
    assert outcomes("buffers_are_given_back_after_a_failure") == [[float(r)] for r in range(len(outcomes("buffers")))]


def test_equal_buffers_are_compared_and_stay(outcomes):
    assert all(sent == ["str"] for sent in outcomes("equal_buffers_do_not_travel"))


def test_a_failing_process_still_makes_one_exchange_for_which_the_others_wait(monkeypatch):
    made = []
    monkeypatch.setattr("camdebug.callbacks.ranks._gather", lambda mine, count: made.append(mine.failed) or [mine])
    monkeypatch.setattr(Ranks, "rank", 7)
    monkeypatch.setattr(Ranks, "count", 1)
    with pytest.raises(ValueError, match="mine"), Ranks().attempt():
        raise ValueError("mine")
    assert made == ["rank 7: ValueError: mine"]
