"""Processes that are forked, and what they left."""

import os
import traceback

from camdebug.store import RecordError, load_record


def child(work):
    """Fork; the child does ``work(report)`` and ends. Gives its id and the pipe that it reports through."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    code = 1
    try:
        work(lambda text: os.write(writing, f"{text}\n".encode()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def outcome(process, reading, heard=b""):
    """How a child ended (its exit code, or minus the signal), and what it reported, in lines."""
    with os.fdopen(reading, "rb") as pipe:
        said = heard + pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode().splitlines()


def state_of(folder):
    """What a reader finds."""
    try:
        record = load_record(folder)
    except RecordError as error:
        return {"error": str(error), "epochs": [], "notes": []}
    whole = all(len(record.record(epoch).label_maps) == 40 for epoch in record.epochs)
    return {"error": None, "epochs": list(record.epochs), "notes": list(record.notes), "whole": whole}
