"""Where runs are kept: one small file each, written whole or not at all, so that a study can be stopped and resumed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import camdebug
from tests.benchmarks.detection.runs import Row, RunConfig, run


def path_of(folder: Path, config: RunConfig) -> Path:
    return folder / f"{config.name}.json"


def read(folder: Path, config: RunConfig) -> Row | None:
    """The run, or ``None`` when it is not there, or not finished."""
    try:
        row: Any = json.loads(path_of(folder, config).read_text(encoding="utf-8"))
        finished = row["config"] == asdict(config) and len(row["epochs"]) == config.epochs
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return row if finished else None


def write(folder: Path, config: RunConfig, row: Row) -> None:
    """Atomically: a reader sees the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{config.name}.{os.getpid()}.tmp"
    unfinished.write_text(json.dumps(row, separators=(",", ":")), encoding="utf-8")
    unfinished.replace(path_of(folder, config))


def run_all(
    configs: Sequence[RunConfig], folder: Path, *, jobs: int, runner: Callable[[RunConfig], Row] = run
) -> list[str]:
    """Run what is not finished yet, and say how far it is.

    Returns:
        Names of the runs that failed; they are tried again the next time.
    """
    there = [(config, read(folder, config)) for config in configs]
    waiting = [config for config, row in there if row is None]
    print(f"{len(configs) - len(waiting)} of {len(configs)} runs are there; {len(waiting)} to go", flush=True)
    _tell_of_other_code([row for _, row in there if row is not None])
    started, failed = time.perf_counter(), []
    for done, (config, error) in enumerate(_results(waiting, folder, jobs, runner), 1):
        if error:
            failed.append(config.name)
            print(f"{config.name} failed:\n{error}", flush=True)
        if done % 10 == 0 or done == len(waiting):
            print(f"{done}/{len(waiting)} after {time.perf_counter() - started:.0f} s", flush=True)
    return failed


def _tell_of_other_code(rows: Sequence[Row]) -> None:
    """In one line, where there are such runs. They are kept: whoever wants them anew deletes them."""
    others = Counter(code for row in rows if (code := row.get("code", "unknown")) != code_version())
    if others:
        made_with = ", ".join(f"{count} with {code}" for code, count in sorted(others.items()))
        print(f"made with other package code than now ({code_version()}), and kept: {made_with}", flush=True)


def _results(
    configs: Sequence[RunConfig], folder: Path, jobs: int, runner: Callable[[RunConfig], Row]
) -> Iterator[tuple[RunConfig, str]]:
    """Each run and its error, empty when there was none; in this process where there is but one job."""
    if jobs == 1:
        yield from ((config, _one(config, folder, runner)) for config in configs)
        return
    # A fresh interpreter each: torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[str], RunConfig] = {pool.submit(_one, c, folder, runner): c for c in configs}
        for future in as_completed(running):
            yield running[future], future.result()


def _one(config: RunConfig, folder: Path, runner: Callable[[RunConfig], Row]) -> str:
    try:
        write(folder, config, {**runner(config), "code": code_version()})
    except Exception:  # one run must not end a study of hours: it is told, fails the command, and is tried again
        return traceback.format_exc()
    return ""


@cache
def code_version() -> str:
    """Of the package, from its sources as they were when this process asked first."""
    digest = hashlib.sha256()
    root = Path(camdebug.__file__).parent
    for source in sorted(root.rglob("*.py")):
        digest.update(str(source.relative_to(root)).encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
