"""Paired timing and a small table."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def paired_ratios(
    baseline: Callable[[], object], others: dict[str, Callable[[], object]], rounds: dict[str, int]
) -> dict[str, list[float]]:
    """Time the others in turn, a baseline run between any two; ratios to the mean of the two baselines around each.

    The contenders take turns within a round, so that drift of the machine meets all alike. One warm-up each.
    """
    baseline()
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for number in range(-1, max(rounds.values())):
        before = seconds(baseline)
        for name, run in others.items():
            if number >= rounds[name] or rounds[name] == 0:
                continue
            middle, after = seconds(run), seconds(baseline)
            if number >= 0 or rounds[name] == 1:
                ratios[name].append(middle / ((before + after) / 2))
            before = after
    return {name: values[: rounds[name]] for name, values in ratios.items()}


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "runs": len(values),
    }


def arguments(description: str, **defaults: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser.parse_args()


def keep(path: Path | None, figures: dict[str, Any]) -> None:
    if path is None:
        return
    import torch

    script = Path(sys.argv[0])
    command = ["python", f"{script.parent.parent.name}/{script.parent.name}/{script.name}", *sys.argv[1:]]
    about = {"command": " ".join(command), "torch": torch.__version__, "threads": torch.get_num_threads()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "machine": platform.machine(), **figures}, indent=1) + "\n", encoding="utf-8")
