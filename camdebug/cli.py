"""The command ``camdebug``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from camdebug import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "demo":
        from camdebug.demo.run import run_demo
        from camdebug.demo.twins import DemoError

        try:
            run_demo(options.output, seed=options.seed, epochs=options.epochs, with_wandb=options.wandb)
        except DemoError as error:
            print(f"camdebug demo: {error}", file=sys.stderr)
            return 2
        return 0
    _parser().print_help()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    demo.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="of data, weights and order")
    demo.add_argument("--epochs", type=_at_least(1), default=8, metavar="N", help="epochs of each twin")
    demo.add_argument("--wandb", action="store_true", help="also log to Weights & Biases, offline")
    return parser


class _at_least:  # noqa: N801 - reads as a function where it is used
    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = self._least - 1
        if value < self._least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {self._least} or more, got {text!r}")
        return value
