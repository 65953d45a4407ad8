"""``python -m tests.benchmarks.detection --mode small|full``, from the root of the repository. Resumable."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.detection import figure, report, work
from tests.benchmarks.detection.study import study

_RESULTS = Path(__file__).parent.parent / "results"


def main() -> int:
    """Run what is missing, then report on what is there."""
    options = _options()
    configs = study(options.mode)
    failed = [] if options.report_only else work.run_all(configs, options.work / options.mode, jobs=options.jobs)
    rows = [row for config in configs if (row := work.read(options.work / options.mode, config))]
    command = f"python -m tests.benchmarks.detection --mode {options.mode}"
    figures = {"command": command, "planned_runs": len(configs), **report.summary(rows)}
    report.show(figures)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.figure:
        figure.draw(figures, report.units(rows), options.figure)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.detection", description=__doc__)
    parser.add_argument("--mode", choices=["small", "full"], default="small")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".detection-runs", help="the runs' folder")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--report-only", action="store_true", help="of the runs that are there")
    parser.add_argument("--json", type=Path, help="default: the committed results, in full mode only")
    parser.add_argument("--figure", type=Path, help="likewise")
    options = parser.parse_args()
    if options.mode == "full":
        options.json = options.json or _RESULTS / "detection.json"
        options.figure = options.figure or _RESULTS / "detection.png"
    return options


if __name__ == "__main__":
    sys.exit(main())
