"""Start a script in several real processes; what they find they write to files, and only that is judged."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def launch(script, folder, *, count, limit, arguments=()):
    """Run ``script FOLDER ARGUMENTS`` in ``count`` processes for at most ``limit`` seconds; then the files tell.

    A process that waits for another waits much longer than any limit here.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks, end = (
        [_start([script, folder, *arguments], rank, count, port) for rank in range(count)],
        time.monotonic() + limit,
    )
    try:
        for rank in ranks:
            rank.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # the files that are missing say where it hung
    finally:
        for rank in ranks:
            if rank.poll() is None:
                os.killpg(rank.pid, signal.SIGKILL)
            rank.wait()


def logs(folder):
    """The end of what each process printed."""
    return [path.read_text()[-2000:] for path in sorted(folder.glob("log *"))]


def _start(command, rank, count, port):
    script, folder, *arguments = map(str, command)
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    surroundings = {
        **os.environ,
        "LOCAL_RANK": str(rank),
        "RANKS": str(count),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "always",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with open(Path(folder) / f"log {rank}", "w") as log:
        return subprocess.Popen(
            [sys.executable, str(HERE / script), folder, *arguments],
            env=surroundings,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
