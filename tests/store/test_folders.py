"""Whose folder it is: runs that go on, other runs, strangers, and links."""

import copy
import json
import pickle
from dataclasses import replace

import pytest
from looks import look_at, manifest, tree

from camdebug.records import Loss
from camdebug.store import RecordWriter, disk, load_record, new_run_id


def run(folder, *epochs, finished="completed", last_epoch=-1, **given):
    writer = RecordWriter.open(folder, manifest(**given), last_epoch=last_epoch)
    for epoch in epochs:
        writer.write(look_at(epoch), step=10 * epoch)
    if finished:
        writer.finish(finished)
    return writer


@pytest.mark.parametrize("there", ["absent", "empty", "deep"])
def test_a_new_record_takes_the_folder_itself(tmp_path, there):
    folder = tmp_path / "a" / "b" / "record" if there == "deep" else tmp_path / "record"
    if there == "empty":
        folder.mkdir()
    writer = run(folder, 0, 2)
    assert (writer.folder, writer.moved_from, writer.moved_because, writer.set_aside) == (folder, None, None, ())
    assert load_record(folder).epochs == (0, 2)
    assert sorted(p.name for p in folder.iterdir()) == ["ends", "epochs", "manifest.json", "writer.lock"]
    assert sorted(p.name for p in (folder / "epochs" / "000002").iterdir()) == [
        "look.json",
        "maps.npz",
        "probes.jsonl",
    ]


def test_a_relative_folder_stays_where_it_was_when_the_program_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = RecordWriter.open("record", manifest())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    writer.write(look_at(0), step=0)
    assert load_record(tmp_path / "record").epochs == (0,)


THEIRS = {
    "a file": "holds other files",
    "a folder": "holds other files",
    "a torn manifest": "holds other files",
    "another schema": "holds other files",
    "another run": "holds the record of another run",
    "another probe set": "holds the record of this run on other probes",
    "another method": "holds the record of this run by another method",
    "another layer": "holds the record of this run at another layer",
}


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_is_not_this_runs_is_left_alone_and_the_next_free_folder_is_taken(tmp_path, theirs):
    folder = tmp_path / "record"
    if theirs == "another run":
        run(folder, 0, run_id="theirs")
    elif theirs == "another probe set":
        run(folder, 0, probe_fingerprint="0" * 64)
    elif theirs == "another method":
        run(folder, 0, method="fullgrad")
    elif theirs == "another layer":
        run(folder, 0, layer="body.0")
    elif theirs == "another schema":
        run(folder, 0, schema=2)
    else:
        name = {"a file": "thesis.txt", "a folder": "epochs/x", "a torn manifest": "manifest.json"}[theirs]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text('{"schema": 1, "run_id"', encoding="utf-8")
    before = tree(folder)
    first, second = run(folder, 0), run(folder, 0, 1, run_id="fourth", probe_fingerprint="1" * 64)
    assert [w.folder.name for w in (first, second)] == ["record-1", "record-2"]
    assert [w.moved_from for w in (first, second)] == [folder, folder]
    of_this_run = theirs in ("another probe set", "another method", "another layer")
    because = "holds the record of another run" if of_this_run else THEIRS[theirs]
    assert [w.moved_because for w in (first, second)] == [THEIRS[theirs], because]
    assert tree(folder) == before
    assert load_record(second.folder).epochs == (0, 1)


def test_a_run_that_was_moved_goes_on_where_it_went(tmp_path):
    run(tmp_path / "record", 0, run_id="theirs")
    run(tmp_path / "record", 0, 1)
    again = run(tmp_path / "record", 2, last_epoch=1)
    assert again.folder.name == "record-1"
    assert load_record(again.folder).epochs == (0, 1, 2)


def test_a_resumed_run_sets_aside_what_came_after_its_checkpoint_and_deletes_nothing(tmp_path):
    first = run(tmp_path / "record", 0, 1, 2, 3, finished=None)
    old = tree(first.folder / "epochs")
    again = run(first.folder, 2, finished="interrupted", last_epoch=1)
    third = run(first.folder, 1, last_epoch=0)
    assert (again.set_aside, third.set_aside) == ((2, 3), (1, 2))
    assert load_record(first.folder).epochs == (0, 1)
    aside = tree(first.folder / "superseded")
    assert {k: v for k, v in aside.items() if k.startswith("0001/")} == {
        f"0001/{k}": v for k, v in old.items() if k[:6] in ("000002", "000003")
    }
    assert {k[:11] for k in aside} == {"0001/000002", "0001/000003", "0002/000001", "0002/000002"}


def test_every_start_and_every_end_is_kept_with_what_was_lost(tmp_path):
    run(tmp_path / "record", 0, finished=None, weights="current")
    assert load_record(tmp_path / "record").status is None
    second = RecordWriter.open(tmp_path / "record", manifest(weights="averaged"), last_epoch=0)
    losses = [Loss("the look at epoch 1", "RuntimeError: no \ud800 five", (1, None)), Loss("the end", "x" * 10_000)]
    second.finish("interrupted", losses)
    assert load_record(tmp_path / "record").status == "interrupted"
    run(tmp_path / "record", finished=None, last_epoch=0)
    record = load_record(tmp_path / "record")
    assert record.status is None
    assert {number: start.weights for number, start in record.starts.items()} == {
        1: "current",
        2: "averaged",
        3: "current",
    }
    assert list(record.ends) == [2]
    assert record.ends[2].losses == tuple(losses)
    assert record.manifest == record.starts[1]


def test_a_run_goes_on_without_its_whole_history(tmp_path):
    """Resumed into another folder: the record begins at a later epoch."""
    writer = run(tmp_path / "new", 5, 6, last_epoch=4)
    assert load_record(writer.folder).epochs == (5, 6)


@pytest.mark.parametrize("part", ["epochs", "starts", "ends", "superseded"])
def test_a_record_with_a_link_in_it_is_not_gone_on_with(tmp_path, part):
    """What follows the link would be written outside the folder."""
    run(tmp_path / "record", finished=None)
    (tmp_path / "outside").mkdir()
    if (tmp_path / "record" / part).exists():
        (tmp_path / "record" / part).rmdir()
    (tmp_path / "record" / part).symlink_to(tmp_path / "outside")
    disk.unlock(tmp_path / "record" / "writer.lock")
    writer = run(tmp_path / "record", 0)
    assert (writer.folder.name, writer.moved_because) == ("record-1", "holds other files")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("target", ["record of the run", "empty folder", "nothing"])
def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path, target):
    if target == "record of the run":
        run(tmp_path / "outside", 0)
    elif target == "empty folder":
        (tmp_path / "outside").mkdir()
    before = tree(tmp_path)
    (tmp_path / "record").symlink_to(tmp_path / "outside")
    writer = run(tmp_path / "record", 0)
    assert (writer.folder.name, writer.moved_because) == ("record-1", "is a link")
    outside = {k: v for k, v in tree(tmp_path).items() if k.startswith("outside")}
    assert outside == before


def test_drafts_that_are_links_are_removed_and_what_they_lead_to_stays(tmp_path):
    writer = run(tmp_path / "record", 0)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "thesis.txt").write_text("mine", encoding="utf-8")
    (writer.folder / "epochs" / ".x.draft").symlink_to(tmp_path / "outside")
    run(tmp_path / "record", last_epoch=0)
    assert not (writer.folder / "epochs" / ".x.draft").is_symlink()
    assert (tmp_path / "outside" / "thesis.txt").exists()


def test_a_lock_that_is_a_link_is_an_error_and_makes_no_file_elsewhere(tmp_path):
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "writer.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"writer\.lock"):
        run(tmp_path / "record", 0)
    assert not (tmp_path / "elsewhere").exists()


def test_a_copy_of_a_writer_writes_to_the_same_record(tmp_path):
    writer = RecordWriter.open(tmp_path / "record", manifest())
    for epoch, other in enumerate((writer, copy.deepcopy(writer), pickle.loads(pickle.dumps(writer)))):
        other.write(look_at(epoch), step=0)
    assert load_record(writer.folder).epochs == (0, 1, 2)


def test_without_locks_the_one_that_makes_the_folder_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "lock", lambda path: False)
    assert run(tmp_path / "record", 0).folder.name == "record"
    assert run(tmp_path / "record", 0, run_id="other").folder.name == "record-1"
    assert run(tmp_path / "record", 1, last_epoch=0).folder.name == "record"
    (tmp_path / "found").mkdir()  # another process may have made it, and be about to write
    writer = run(tmp_path / "found", 0)
    assert (writer.folder.name, writer.moved_because) == ("found-1", "may be in use by another process")


def test_a_look_of_no_possible_epoch_is_refused(tmp_path):
    writer = RecordWriter.open(tmp_path / "record", manifest())
    with pytest.raises(ValueError, match=r"^epoch: expected 0 or more, got -1"):
        writer.write(replace(look_at(0), epoch=-1), step=0)


def test_ids_of_runs_differ_and_move_no_generator():
    import random

    before = random.getstate()
    assert len({new_run_id() for _ in range(100)}) == 100
    assert random.getstate() == before


def test_writing_moves_no_generator(tmp_path):
    import random

    import numpy as np
    import torch

    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    run(tmp_path / "record", 0)
    load_record(tmp_path / "record").record(0)
    assert (random.getstate(), str(np.random.get_state())) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_manifest_is_plain_json_that_other_tools_read(tmp_path):
    run(tmp_path / "record", 0)
    found = json.loads((tmp_path / "record" / "manifest.json").read_text("ascii"))
    assert found["schema"] == 1
    assert found["class_names"] == ["cat", "dog"]
    assert load_record(tmp_path / "record").manifest.run_id == "run"
