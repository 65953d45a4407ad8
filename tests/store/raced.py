"""Processes that open one folder at once, or one in the midst of the other."""

import errno
import os
from contextlib import nullcontext
from unittest.mock import patch

from interrupted import interrupted
from looks import look_at, manifest, tree
from processes import child, outcome, state_of

from camdebug.store import RecordWriter, disk, load_record


def race(folder, ids):
    """All open the same folder when the pipe closes, and write when all have opened."""
    waiting, starting = os.pipe()
    done, ending = os.pipe()

    def work_of(run_id):
        def work(report):
            os.close(starting)
            os.close(ending)
            os.read(waiting, 1)
            writer = RecordWriter.open(folder, manifest(run_id=run_id))
            report(f"{writer.folder.name} {'-' if writer.moved_from is None else writer.moved_from.name}")
            os.read(done, 1)
            for epoch in range(2):
                writer.write(look_at(epoch), step=epoch)

        return work

    racers = [child(work_of(run_id)) for run_id in ids]
    os.close(starting)
    heard = [os.read(reading, 1) for _, reading in racers]
    os.close(ending)
    ends = [outcome(*racer, letter) for racer, letter in zip(racers, heard, strict=True)]
    said = [lines[0].split() for _, lines in ends]
    names = sorted(p.name for p in folder.parent.iterdir())
    return {
        "codes": [code for code, _ in ends],
        "folders": [words[0] for words in said],
        "moved_from": [words[1] for words in said],
        "ids": [load_record(folder.parent / words[0]).manifest.run_id for words in said],
        "epochs": [state_of(folder.parent / name)["epochs"] for name in names],
        "names": names,
    }


def open_while_opening(folder, *, locks=True):
    """At every call of an opening, another process opens the same folder for the same run. Then both write."""
    found = []
    with nullcontext() if locks else patch.object(disk, "lock", lambda path: True):
        for at in range(1, 1000):
            both = two_openings(folder / f"{at}" / "record", at)
            if len(both) < 2:
                return found
            found.append(both)
    raise AssertionError("the opening has no end")


def two_openings(folder, at):
    """What became of the one that is interrupted, and of the one that opens then, if there is such a call."""
    waiting, going_on = os.pipe()
    other = []

    def opens(report):
        os.close(going_on)
        disk.os = os
        for said in opens_and_writes(folder):
            report(said)
            os.read(waiting, 1)

    def let_other_open(name, args):
        process, reading = child(opens)
        other.append((process, reading, os.read(reading, 1)))

    folder.parent.mkdir(parents=True)
    first = opens_and_writes(folder)
    with interrupted(at, let_other_open):
        opened = next(first)
    os.close(going_on)
    ends = [outcome(*racer) for racer in other]
    os.close(waiting)
    return [[opened, *first], *(lines for _, lines in ends)]


def opens_and_writes(folder):
    """The folder's name and, when asked again, that an epoch is in it; or what went wrong instead."""
    try:
        writer = RecordWriter.open(folder, manifest())
        yield writer.folder.name
        writer.write(look_at(0), step=0)
        yield "wrote"
        writer.finish("completed")
    except OSError as error:
        yield errno.errorcode[error.errno]


def another_run(folder):
    """The tree of a record before and after two other runs ask for its folder, one of them while it is written."""
    writer = RecordWriter.open(folder, manifest())
    writer.write(look_at(0), step=0)
    before = tree(folder)

    def work(report):
        for run_id in ("other", "run"):
            other = RecordWriter.open(folder, manifest(run_id=run_id))
            other.write(look_at(0), step=0)
            report(f"{other.folder.name} {other.moved_because}")

    code, said = outcome(*child(work))
    return {"code": code, "said": said, "touched": before != tree(folder)}
