"""Writers in processes of their own that are killed, limited or raced. What became of their records goes to a file.

Started as ``python killed.py FOLDER SCENARIO ...``; a process without threads, so that it can fork safely.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path

from interrupted import CALLS, CHANGES, die, interrupted, plain_writer
from looks import look_at, manifest
from processes import child, outcome, state_of
from raced import another_run, open_while_opening, race

from camdebug.store import RecordWriter, disk, load_record


def new_run(folder, count=2):
    def work(report):
        writer = RecordWriter.open(folder, manifest())
        for epoch in range(count):
            writer.write(look_at(epoch), step=epoch)
            report(epoch)
        writer.finish("completed")

    return work


def resumed_run(folder):
    """From the checkpoint of epoch 1, where four epochs are there."""

    def work(report):
        writer = RecordWriter.open(folder, manifest(), last_epoch=1)
        writer.write(look_at(2), step=2)
        report(2)

    return work


def kill_at_every_call(folder, make, start, *, calls=CHANGES, plain=False):
    """Until a run gets through: kill it one call later each time, read what is there, and go on with the same run."""
    found = []
    for at in range(1, 1000):
        record = folder / f"{at}" / "record"
        record.parent.mkdir(parents=True)
        if start is not None:
            shutil.copytree(start, record)
        work = make(record)

        def dies(report, at=at, work=work):
            with plain_writer() if plain else nullcontext(), interrupted(at, die, calls=calls):
                work(report)

        code, said = outcome(*child(dies))
        after = {"code": code, "returned": [int(epoch) for epoch in said], **state_of(record)}
        found.append({**after, **({} if plain else goes_on(record, after["epochs"]))})
        if code == 0:
            return found
    raise AssertionError("no run got through")


def goes_on(record, epochs):
    """A run with the same id resumes after the last whole epoch."""
    next_epoch = max(epochs, default=-1) + 1
    writer = RecordWriter.open(record, manifest(), last_epoch=next_epoch - 1)
    writer.write(look_at(next_epoch), step=0)
    writer.finish("completed")
    left = [str(p.relative_to(record)) for p in record.rglob("*") if p.name.endswith(".draft")]
    moved = writer.moved_from is not None
    return {"then": state_of(record), "moved": moved, "left": left, "status": load_record(record).status}


def kill_at_random(folder, rounds):
    found, dice = [], random.Random(rounds)
    for number in range(rounds):
        record = folder / f"{number}"
        process, reading = child(new_run(record, count=10**4))
        heard = b"".join(os.read(reading, 1) for _ in range(dice.randrange(1, 12)))
        select.select([], [], [], dice.random() * 0.02)  # the moment
        os.kill(process, signal.SIGKILL)
        code, said = outcome(process, reading, heard)
        state = state_of(record)
        found.append({"code": code, "returned": list(map(int, said)), **state, **goes_on(record, state["epochs"])})
        shutil.rmtree(record)
    return found


def full_disk(folder):
    """The kernel lets files grow to 3000 bytes, and later to any size again."""

    def work(report):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        writer = RecordWriter.open(folder, manifest())
        writer.write(look_at(0), step=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, most))
        try:
            writer.write(look_at(1), step=1)
        except OSError as error:
            report(error.errno)
        report("-".join(sorted(p.name for p in (folder / "epochs").iterdir())))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        writer.write(look_at(2), step=2)

    code, said = outcome(*child(work))
    return {"code": code, "said": said, **state_of(folder)}


def read_while_writing(folder, count=30):
    """What one reader sees from before the first epoch to after the last. The writer waits for it after each."""
    going_on, having_read = os.pipe()
    os.set_blocking(having_read, False)

    def work(report):
        os.close(having_read)
        writer = RecordWriter.open(folder, manifest())
        report("opened")
        for epoch in range(count):
            writer.write(look_at(epoch), step=epoch)
            os.read(going_on, 1 << 16)  # all that was read since

    process, reading = child(work)
    os.read(reading, 1)
    seen, over = [], False
    while not over:
        over = os.waitpid(process, os.WNOHANG)[0] == process
        record = load_record(folder)
        rows = len(record.verdict_rows())
        seen.append([list(record.epochs), list(record.notes), rows])
        with suppress(BlockingIOError):
            os.write(having_read, b".")
    for end in (reading, going_on, having_read):
        os.close(end)
    return seen


def worker_outlives(folder, *, closes=True):
    """A worker that the training forked lives on for a while after the training was killed."""
    holding, letting_go = os.pipe()

    def training(report):
        writer = RecordWriter.open(folder, manifest())
        writer.write(look_at(0), step=0)
        if not closes:
            disk._held.clear()
        if os.fork() == 0:
            os.close(letting_go)
            report("worker")
            os.read(holding, 1)
            os._exit(0)
        signal.pause()

    process, reading = child(training)
    os.read(reading, 1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    found = goes_on(folder, [0])
    os.close(letting_go)
    os.close(reading)
    return found


def four_epochs(folder):
    new_run(folder, count=4)(lambda _: None)
    return folder


def main(folder, scenarios):
    start = four_epochs(folder / "start" / "record")
    do = {
        "new": lambda at: kill_at_every_call(at, new_run, None),
        "resumed": lambda at: kill_at_every_call(at, resumed_run, start),
        "new, all calls": lambda at: kill_at_every_call(at, new_run, None, calls=CALLS),
        "resumed, all calls": lambda at: kill_at_every_call(at, resumed_run, start, calls=CALLS),
        "plain": lambda at: kill_at_every_call(at, new_run, None, plain=True),
        "random": lambda at: kill_at_random(at, 6),
        "random long": lambda at: kill_at_random(at, 150),
        "full disk": full_disk,
        "race": lambda at: [race(at / f"{n}" / "record", ["a", "b", "c"]) for n in range(6)],
        "race of one run": lambda at: [race(at / f"{n}" / "record", ["a", "a"]) for n in range(6)],
        "opening while opening": open_while_opening,
        "opening without locks": lambda at: open_while_opening(at, locks=False),
        "worker with the lock": lambda at: worker_outlives(at, closes=False),
        "reader": read_while_writing,
        "worker": worker_outlives,
        "another run": another_run,
        "broken": lambda at: 1 / 0,
    }
    for scenario in scenarios:
        try:
            found = {"found": do[scenario](folder / scenario)}
        except Exception:
            found = {"failed": traceback.format_exc()}
        (folder / f"{scenario}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    os.fsync = lambda handle: None  # a kill loses nothing that the kernel has, and hundreds of runs would wait long
    main(Path(sys.argv[1]), sys.argv[2:])
