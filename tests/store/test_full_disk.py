"""A disk that is full, read-only or broken at any call of a write: an error, and a record as it was."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from interrupted import interrupted
from looks import look_at, manifest, tree

from camdebug.records import Loss
from camdebug.store import RecordWriter, arrays, disk, load_record


def no_space(name, args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_to_grow(name, args):
    """What is there can still be removed."""
    if name in ("mkdir", "open", "write", "fsync", "rename", "replace"):
        no_space(name, args)


@pytest.fixture
def writer(tmp_path):
    opened = RecordWriter.open(tmp_path / "record", manifest())
    opened.write(look_at(0), step=0)
    yield opened
    opened.finish("completed")


def drafts(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith(disk.DRAFT)]


def calls_of(work):
    with interrupted(0, None) as counter:
        work()
    return counter.count


@pytest.mark.parametrize(("act", "onwards"), [(no_space, False), (no_space_to_grow, True)])
def test_wherever_space_runs_out_earlier_epochs_stay_and_later_ones_follow(tmp_path, act, onwards):
    writer = RecordWriter.open(tmp_path / "record", manifest())
    calls = calls_of(lambda: writer.write(look_at(0), step=0))
    assert calls >= 15
    before = tree(writer.folder)
    last = calls if act is no_space else calls - 1  # which closes a file
    for at in range(1, last + 1):
        with interrupted(at, act, onwards=onwards), pytest.raises(OSError) as stopped:
            writer.write(look_at(at), step=at)
        assert stopped.value.errno == errno.ENOSPC
        whole = load_record(writer.folder)
        assert whole.notes == ()
        assert {k: v for k, v in tree(writer.folder).items() if k in before} == before
        there = at in whole.epochs  # the disk failed only after the epoch was in place
        assert there is (at > calls - 3)
        if not there:
            writer.write(look_at(at), step=at)
        before = tree(writer.folder)
    assert load_record(writer.folder).epochs == tuple(range(last + 1))
    assert drafts(writer.folder) == []


def test_a_draft_that_cannot_be_removed_is_ignored_and_removed_on_resuming(writer):
    with interrupted(5, no_space, onwards=True), pytest.raises(OSError):
        writer.write(look_at(1), step=1)
    assert len(drafts(writer.folder)) == 1
    assert (load_record(writer.folder).epochs, load_record(writer.folder).notes) == ((0,), ())
    again = RecordWriter.open(writer.folder, manifest(), last_epoch=0)
    assert drafts(again.folder) == []


def test_wherever_opening_fails_there_is_an_error_and_a_later_one_succeeds(tmp_path):
    calls = calls_of(lambda: RecordWriter.open(tmp_path / "first", manifest()).finish("completed"))
    failed = []
    for at in range(1, calls):
        folder = tmp_path / f"{at}"
        with interrupted(at, no_space) as counter, suppress(OSError):
            RecordWriter.open(folder, manifest())
        failed.append(counter.count >= at)
        writer = RecordWriter.open(folder, manifest())
        writer.write(look_at(0), step=0)
        writer.finish("completed")
        assert writer.moved_from is None
        assert load_record(folder).epochs == (0,)
    assert sum(failed) >= 10  # the others are calls of finish


def test_an_epoch_is_on_the_disk_before_it_has_its_name_and_its_name_before_write_returns(writer):
    """What a loss of power would leave cannot be tested here; the order of the calls can."""
    with interrupted(0, None) as counter:
        writer.write(look_at(1), step=1)
    file = ["open", "write", "fsync", "close"]
    folder = ["open", "fsync", "close"]
    assert counter.names == ["mkdir", *file, *file, *file, *folder, "rename", *folder]


def test_writes_that_take_a_part_at_a_time_are_completed(tmp_path):
    def some(handle, data, write=os.write):
        return write(handle, bytes(data[:700]))

    writer = RecordWriter.open(tmp_path / "record", manifest())
    with interrupted(0, None) as counter:
        counter.write = some
        writer.write(look_at(0), step=0)
    assert load_record(writer.folder).epochs == (0,)


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(NotADirectoryError, match=r"Not a directory: '.*file.*'"):
        RecordWriter.open(tmp_path / "file" / "record", manifest())
    if Path("/proc/self").is_dir():  # a folder in which nobody may make anything, root included
        with pytest.raises(OSError, match=r"'/proc/camdebug/?.*'"):
            RecordWriter.open("/proc/camdebug/record", manifest())


def test_a_file_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "record").write_text("mine", encoding="utf-8")
    writer = RecordWriter.open(tmp_path / "record", manifest())
    assert (writer.folder, writer.moved_from) == (tmp_path / "record-1", tmp_path / "record")
    assert writer.moved_because == "is no folder"
    assert (tmp_path / "record").read_text(encoding="utf-8") == "mine"


def test_what_could_not_be_read_back_is_not_written(writer, monkeypatch):
    monkeypatch.setattr(disk, "MOST_BYTES", 15_000)  # the probes take more
    with pytest.raises(OSError, match="would be larger than 15000 bytes") as refused:
        writer.write(look_at(1), step=1)
    assert refused.value.errno == errno.EFBIG
    monkeypatch.undo()
    monkeypatch.setattr(arrays, "MOST_BYTES", 10_000)
    with pytest.raises(OSError, match="would take more than 10000 bytes"):
        writer.write(look_at(1), step=1)
    monkeypatch.undo()
    assert load_record(writer.folder).epochs == (0,)
    assert drafts(writer.folder) == []


def test_an_interrupt_by_the_keyboard_leaves_no_draft(writer):
    def interrupt(name, args):
        raise KeyboardInterrupt

    with interrupted(6, interrupt), pytest.raises(KeyboardInterrupt):
        writer.write(look_at(1), step=1)
    assert drafts(writer.folder) == []
    assert load_record(writer.folder).epochs == (0,)


def test_an_epoch_is_written_once(writer):
    before = tree(writer.folder)
    with pytest.raises(OSError):
        writer.write(look_at(0), step=9)
    assert tree(writer.folder) == before


def test_an_end_that_cannot_be_written_still_unlocks(tmp_path):
    writer = RecordWriter.open(tmp_path / "record", manifest())
    with interrupted(1, no_space), pytest.raises(OSError):
        writer.finish("completed", [Loss("the look at epoch 3", "no space", (3,))])
    assert load_record(writer.folder).status is None
    assert not any(os.path.samestat(os.fstat(h), os.stat(writer.folder / "writer.lock")) for h in disk._held.values())
