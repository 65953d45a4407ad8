"""The system calls of a write, counted, so that something can happen at any one of them."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

from camdebug.store import disk

CHANGES = ("mkdir", "open", "write", "rename", "replace", "unlink", "rmdir")
"""A kill at any other call leaves what a kill at the next of these leaves."""
CALLS = (*CHANGES, "fsync", "close")


class Interrupted:
    """Stands in for ``os``: ``act(name, arguments)`` happens at the given call, and at all later ones if asked."""

    def __init__(self, at, act, *, onwards=False, calls=CALLS):
        self.at, self.act, self.onwards, self.calls = at, act, onwards, calls
        self.names = []

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self.calls:
            return real

        def call(*args, **options):
            self.names.append(name)
            if self.count == self.at or (self.onwards and self.count > self.at):
                self.act(name, args)
            return real(*args, **options)

        return call

    @property
    def count(self):
        return len(self.names)


@contextmanager
def interrupted(at, act, **options):
    """Let it happen within the block; gives the counter."""
    counter = Interrupted(at, act, **options)
    disk.os = counter
    try:
        yield counter
    finally:
        disk.os = os


def die(name, args):
    """As the kernel ends a process that is out of memory; a write gets half way."""
    if name == "write":
        os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def plain_writer():
    """A writer as people would write it without thinking of kills: files in their place, one after the other."""
    whole = disk.write_folder, disk.write_file

    def write_file(path, data):
        handle = disk.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        disk.os.write(handle, data)
        disk.os.close(handle)

    def write_folder(path, files):
        Path(path).mkdir()
        for name, data in files.items():
            write_file(path / name, data)

    disk.write_folder, disk.write_file = write_folder, write_file
    try:
        yield
    finally:
        disk.write_folder, disk.write_file = whole
