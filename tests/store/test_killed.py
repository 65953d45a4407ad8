"""Real processes that are killed, limited and raced: what is on the disk is whole up to the last whole epoch."""

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEFAULT = [
    "broken", "new", "resumed", "plain", "random", "full disk", "race", "race of one run", "opening while opening",
    "opening without locks", "reader", "worker", "worker with the lock", "another run",
]  # fmt: skip
SLOW = ["new, all calls", "resumed, all calls", "random long"]


def play(folder, scenarios, limit=230):
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    surroundings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(HERE / "killed.py"), str(folder), *scenarios]
    with (folder / "said").open("w") as said, suppress(subprocess.TimeoutExpired):
        subprocess.run(command, env=surroundings, timeout=limit, stdout=said, stderr=subprocess.STDOUT)
    return Found(folder)


@dataclass
class Found:
    """What came out of each scenario. One that failed, or was not reached, fails the tests that ask for it alone."""

    folder: Path

    def __getitem__(self, scenario):
        file, said = self.folder / f"{scenario}.json", (self.folder / "said").read_text()
        found = json.loads(file.read_text()) if file.exists() else {"failed": "It did not end."}
        assert "failed" not in found, f"{scenario}: {found['failed']}\n{said[-3000:]}"
        return found["found"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return play(tmp_path_factory.mktemp("killed"), DEFAULT)


def check_new(kills, least):
    assert len(kills) > least
    assert [kill["code"] for kill in kills] == [-9] * (len(kills) - 1) + [0]
    for kill in kills:
        assert kill["epochs"] in (kill["returned"], [*kill["returned"], len(kill["returned"])])
        assert kill["notes"] == []
        assert kill["error"] is None or "manifest.json cannot be read (No such file" in kill["error"]
        assert not (kill["error"] and kill["returned"])
    assert {tuple(kill["epochs"]) for kill in kills} == {(), (0,), (0, 1)}


def check_resumed(kills, least):
    """Epochs 2 and 3 came after the checkpoint; they are set aside, the last one first, and 2 is written anew."""
    assert len(kills) > least
    assert [kill["code"] for kill in kills] == [-9] * (len(kills) - 1) + [0]
    assert all(kill["error"] is None and kill["notes"] == [] for kill in kills)
    stages = [(0, 1, 2, 3), (0, 1, 2), (0, 1), (0, 1, 2)]
    seen = [tuple(kill["epochs"]) for kill in kills]
    assert [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]] == stages
    assert all(2 in kill["epochs"] for kill in kills if kill["returned"])


def check_goes_on(kills):
    for kill in kills:
        last = max(kill["epochs"], default=-1)
        assert kill["then"] == {"error": None, "epochs": [*range(last + 2)], "notes": [], "whole": True}
        assert (kill["moved"], kill["left"], kill["status"]) == (False, [], "completed")


def test_a_run_that_is_killed_at_any_moment_leaves_every_epoch_that_it_had_written(found):
    check_new(found["new"], 30)


def test_a_run_that_is_killed_while_it_resumes_loses_no_epoch_of_its_checkpoint(found):
    check_resumed(found["resumed"], 20)


@pytest.mark.parametrize("kills", ["new", "resumed", "random"])
def test_after_a_kill_at_any_moment_the_same_run_goes_on_in_the_same_folder(found, kills):
    check_goes_on(found[kills])


def test_a_writer_without_drafts_leaves_torn_epochs_and_torn_manifests(found):
    """The same kills and the same reader: it is the writer that keeps the record whole."""
    assert any(kill["notes"] for kill in found["plain"])
    assert any("look.json is no readable JSON" in note for kill in found["plain"] for note in kill["notes"])
    assert any(kill["error"] and "manifest.json is no readable JSON" in kill["error"] for kill in found["plain"])


def check_random(kills):
    for kill in kills:
        assert kill["code"] == -9
        assert kill["epochs"] in (kill["returned"], [*kill["returned"], len(kill["returned"])])
        assert (kill["error"], kill["notes"], kill["whole"]) == (None, [], True)


def test_kills_at_random_moments_leave_whole_epochs(found):
    check_random(found["random"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_call_and_many_random_moments(tmp_path):
    slowly = play(tmp_path, SLOW, limit=1100)
    check_new(slowly["new, all calls"], 60)
    check_resumed(slowly["resumed, all calls"], 45)
    check_random(slowly["random long"])
    assert len(slowly["random long"]) == 150
    for scenario in SLOW:
        check_goes_on(slowly[scenario])


def test_when_files_may_not_grow_an_epoch_is_lost_whole_and_later_ones_are_written(found):
    full = found["full disk"]
    assert full["said"] == [str(errno.EFBIG), "000000"]
    assert (full["code"], full["epochs"], full["notes"]) == (0, [0, 2], [])


def test_runs_that_open_one_folder_at_once_get_one_each(found):
    for race in found["race"]:
        assert race["codes"] == [0, 0, 0]
        assert sorted(race["folders"]) == race["names"] == ["record", "record-1", "record-2"]
        assert race["ids"] == ["a", "b", "c"]
        assert race["epochs"] == [[0, 1]] * 3
        assert [m == "-" for m in race["moved_from"]] == [name == "record" for name in race["folders"]]


def test_one_run_that_is_started_twice_at_once_gets_two_folders(found):
    for race in found["race of one run"]:
        assert race["codes"] == [0, 0]
        assert sorted(race["folders"]) == race["names"] == ["record", "record-1"]
        assert race["epochs"] == [[0, 1]] * 2


def test_whenever_one_run_is_opened_while_it_is_being_opened_both_get_a_folder(found):
    both = [["record", "wrote"], ["record-1", "wrote"]]
    assert len(found["opening while opening"]) > 10
    assert all(sorted(ends) == both for ends in found["opening while opening"])
    assert [both[1], both[0]] in found["opening while opening"]  # the second one overtakes


def test_without_locks_one_run_that_is_started_twice_gets_one_folder_for_both(found):
    ends = found["opening without locks"]
    assert [["record", "ENOTEMPTY"], ["record", "wrote"]] in ends  # both have an epoch 0
    assert [["ENOENT"], ["record", "wrote"]] in ends  # the second one took what the first was writing for a leftover


def test_a_scenario_that_goes_wrong_takes_no_other_with_it(found):
    """It is the first one that is played."""
    with pytest.raises(AssertionError, match=r"^broken: Traceback(.|\n)*ZeroDivisionError"):
        found["broken"]
    with pytest.raises(AssertionError, match=r"^none of these: It did not end"):
        found["none of these"]


def test_another_runs_record_is_never_touched(found):
    assert found["another run"]["said"] == [
        "another run-1 holds the record of another run",
        "another run-2 is in use by another process",
    ]
    assert (found["another run"]["code"], found["another run"]["touched"]) == (0, False)


def test_a_worker_that_outlives_its_training_does_not_keep_the_folder(found):
    assert found["worker"]["moved"] is False
    assert found["worker"]["then"]["epochs"] == [0, 1]
    assert found["worker with the lock"]["moved"] is True


def test_a_reader_meets_no_error_while_a_writer_writes_and_epochs_only_grow(found):
    seen = found["reader"]
    assert len(seen) > 30  # the writer waited for it
    assert len({len(epochs) for epochs, _, _ in seen}) > 10
    assert seen[-1][0] == list(range(30))
    assert [len(epochs) for epochs, _, _ in seen] == sorted(len(epochs) for epochs, _, _ in seen)
    for epochs, notes, rows in seen:
        assert epochs == list(range(len(epochs)))
        assert notes == []
        assert rows == 2 * len(epochs)
