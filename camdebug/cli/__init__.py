"""The command ``camdebug``.

``doctor`` and ``probes`` are commands of their own, ``probe_sets`` what the latter does · ``parsing`` what options may
hold · ``words`` what is said
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from camdebug import __version__
from camdebug.cli.doctor import add_doctor
from camdebug.cli.parsing import OneLineParser, at_least
from camdebug.cli.probes import add_probes

_INTERRUPTED, _NOBODY_READS = 130, 141
"""As shells have it: 128 and the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("camdebug: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough; what is left would fail again when Python ends
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    return status


def _demo(options: argparse.Namespace) -> int:
    from camdebug.demo.run import run_demo
    from camdebug.demo.twins import DemoError

    try:
        run_demo(options.output, seed=options.seed, epochs=options.epochs, with_wandb=options.wandb)
    except DemoError as error:
        print(f"camdebug demo: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="camdebug",
        description="See where a model looks while it trains, and be told when it leans on the background.",
    )
    parser.add_argument("--version", action="version", version=f"camdebug {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a network with a planted shortcut and a clean twin, offline, in about a minute",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("--output", type=Path, default=Path("camdebug-demo"), metavar="DIR", help="folder to write to")
    demo.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of data, weights and order")
    demo.add_argument("--epochs", type=at_least(1), default=8, metavar="N", help="epochs of each twin")
    demo.add_argument("--wandb", action="store_true", help="also log to Weights & Biases, offline")
    demo.set_defaults(run=_demo)
    add_doctor(commands)
    add_probes(commands)
    return parser
