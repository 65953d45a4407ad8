"""The command ``camdebug``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from camdebug import __version__
from camdebug.wording import visible


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
    if options.command == "doctor":
        return _doctor(options)
    _parser().print_help()
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """0 without problems, 1 with some, 2 when there is nothing to examine or what is asked for cannot be written."""
    from camdebug.doctor.examine import examine
    from camdebug.doctor.loading import LoadingError, load

    try:
        model, pictures = load(options.target)
        report = examine(
            model,
            pictures,
            method=options.method,
            target_layer=options.target_layer,
            chunk_size=options.chunk_size,
            epochs=options.epochs,
        )
    except (LoadingError, TypeError, ValueError) as error:
        print(f"camdebug doctor: {visible(_in_options(str(error)))}", file=sys.stderr)
        return 2
    print(_in_options(str(report)))
    try:
        if options.json is not None:
            report.save(options.json)
        if options.picture is not None and report.picture is not None:
            report.picture.save(options.picture)
            print(f"{'picture':<11}{options.picture}")
    except (OSError, ValueError) as error:  # Pillow's error for an unknown file ending is a ValueError
        print(f"camdebug doctor: cannot write it ({error})", file=sys.stderr)
        return 2
    return 0 if report.ok else 1


def _in_options(text: str) -> str:
    """Arguments as the command has them; several layers can be asked for in Python only."""
    text = re.sub(r"\btarget_layer=(?=['\w])", "--target-layer ", text)
    return re.sub(r"\btarget_layer\b(?!=\[)=?", "--target-layer", text).replace("chunk_size", "--chunk-size")


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
    _add_doctor(commands)
    return parser


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="one dry run before a training: what looks will do with a model and pictures, and what they will refuse",
        description="The exit status is 0 without problems, 1 with some, 2 when model and pictures cannot be loaded.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    doctor.add_argument(
        "target",
        metavar="package.module:name",
        help="a function without arguments that returns (model, probes_or_batch), or a dict with the keys model and "
        "probes or batch; looked for in the current directory too",
    )
    doctor.add_argument("--target-layer", metavar="NAME", help="dotted name; by default the last spatial stage")
    doctor.add_argument("--method", default="hirescam", metavar="NAME", help="of the maps")
    doctor.add_argument("--chunk-size", type=_at_least(1), default=32, metavar="N", help="pictures in one forward")
    doctor.add_argument("--epochs", type=_at_least(1), metavar="N", help="of the training, with a look each")
    doctor.add_argument("--picture", type=Path, metavar="FILE", help="PNG of boxes and maps over some pictures")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="the report for programs")


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
